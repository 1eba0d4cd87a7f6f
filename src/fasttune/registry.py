"""Trainables by name, for specifications that are text."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from fasttune.error import TuneError
from fasttune.trainable import check_trainable

_trainables: dict[str, Any] = {}
_envs: dict[str, Callable[..., Any]] = {}


def register_trainable(name: str, trainable: Any, warn: bool = True) -> None:
    """Let ``name`` stand for a function, a partial, another callable or a class derived from Trainable.

    What cannot be a trainable is refused at once. With ``warn``, taking a name away from another trainable is
    told.
    """
    _check_name(name)
    check_trainable(trainable)
    if warn and _trainables.get(name, trainable) is not trainable:
        warnings.warn(f"the trainable name {name!r} now stands for another trainable", stacklevel=2)
    _trainables[name] = trainable


def get_trainable(name: str) -> Any:
    """What was registered under this name; TuneError lists the known names if there is nothing."""
    if name not in _trainables:
        known = ", ".join(sorted(_trainables)) or "none yet"
        raise TuneError(
            f"Unknown trainable {name!r}; registered in this process: {known}. Call "
            "tune.register_trainable(name, ..) first"
        )
    return _trainables[name]


def register_env(name: str, env_creator: Callable[..., Any]) -> None:
    """Keep a maker of environments under a name, for libraries that look it up with ``get_env``."""
    _check_name(name)
    if not callable(env_creator):
        raise TypeError(
            f"register_env({name!r}) needs a function that makes an environment, got {env_creator!r}"
        )
    _envs[name] = env_creator


def get_env(name: str) -> Callable[..., Any]:
    """The maker of environments that was registered under this name."""
    if name not in _envs:
        raise TuneError(f"Unknown environment {name!r}; registered: {', '.join(sorted(_envs)) or 'none yet'}")
    return _envs[name]


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"a name to register must be text, got {name!r}")
