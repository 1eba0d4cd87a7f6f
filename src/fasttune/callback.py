"""Hooks into a run, for what watches it: loggers, reporters, dashboards.

A hook that nobody overrides costs nothing. A hook that raises is logged once, with its traceback, and not
called again: the experiment goes on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from fasttune.hook_times import UNTIMED
from fasttune.result_keys import SHOULD_CHECKPOINT

HOOKS = (
    "setup",
    "on_step_begin",
    "on_step_end",
    "on_trial_start",
    "on_trial_restore",
    "on_trial_save",
    "on_trial_result",
    "on_trial_complete",
    "on_trial_recover",
    "on_trial_error",
    "on_checkpoint",
    "on_experiment_end",
)


class Callback:
    """Derive from it and override the hooks you need. They are called in the loop's thread, with keywords
    only.

    ``trials`` is a lazy sequence of all trials, ``trial`` the one it is about, ``iteration`` the loop's turn.

    ``asks_for_checkpoints``: whether ``on_trial_result`` may set ``result["should_checkpoint"] = True``, on which a class
    Trainable saves before it goes on. Reports of class Trainables then wait for it. None: whether the callback's code
    names that key.
    """

    asks_for_checkpoints: bool | None = None

    def setup(
        self,
        stop: Any = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        **info: Any,
    ) -> None:
        """Called once, before any other hook. ``info`` has ``path``, the experiment's folder."""

    def on_step_begin(self, iteration: int, trials: Sequence[Any], **info: Any) -> None:
        """Called before each turn of the loop."""

    def on_step_end(self, iteration: int, trials: Sequence[Any], **info: Any) -> None:
        """Called after each turn of the loop."""

    def on_trial_start(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Called when a trial starts to run, also after a pause."""

    def on_trial_restore(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Called when a trial has gone back to a checkpoint."""

    def on_trial_save(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Called when a checkpoint of a trial has been written."""

    def on_trial_result(
        self, iteration: int, trials: Sequence[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Called for each report. What is changed in ``result`` is seen by the callbacks that follow; keys that are added
        are in the trial's ``last_result``. What the trial reported stays what it reported."""

    def on_trial_complete(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Called when a trial has ended well, or was stopped."""

    def on_trial_recover(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Called when a trial failed and will be tried again."""

    def on_trial_error(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Called when a trial has failed for good."""

    def on_checkpoint(
        self, iteration: int, trials: Sequence[Any], trial: Any, checkpoint: Any, **info: Any
    ) -> None:
        """Called with each checkpoint that is kept."""

    def on_experiment_end(self, trials: Sequence[Any], **info: Any) -> None:
        """Called once, after the last trial."""

    def get_state(self) -> dict[str, Any] | None:
        """What ``set_state`` needs after a resume, anything that can be pickled; None for nothing. Asked every few seconds
        and at the end."""
        return None

    def set_state(self, state: dict[str, Any]) -> None:
        """Take up the state of an earlier session of this experiment. Called once, behind ``setup``, if there is one."""


class CallbackList:
    """The callbacks of one run, called in their order. The sequence that was given is not kept and not
    changed.

    _hooks   hook -> the bound methods that override it; a hook without any is not in it
    """

    def __init__(self, callbacks: Sequence[Callback] = ()) -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(
                    f"callbacks must be objects of classes derived from tune.Callback, got {callback!r}; "
                    "is a pair of brackets () missing after the class?"
                )
        self._callbacks = tuple(callbacks)
        self.times = UNTIMED
        self._stateless: list[Callback] = []  # whose get_state() has raised
        self._hooks: dict[str, list[tuple[Callback, Callable[..., None]]]] = {}
        for hook in HOOKS:
            overriding = [
                (callback, getattr(callback, hook)) for callback in callbacks if _overrides(callback, hook)
            ]
            if overriding:
                self._hooks[hook] = overriding

    def __len__(self) -> int:
        return len(self._callbacks)

    def __iter__(self) -> Iterator[Callback]:
        return iter(self._callbacks)

    def wants(self, hook: str) -> bool:
        """Whether any callback would be called: if not, what it would be told need not be made."""
        return hook in self._hooks

    def fire(self, hook: str, **arguments: Any) -> None:
        """Call a hook of all callbacks that override it. Their exceptions end here; Ctrl-C does not."""
        for callback, method in tuple(self._hooks.get(hook, ())):
            try:
                self.times.call(method, **arguments)
            except Exception:
                self._drop(hook, callback)

    def setup(
        self,
        stop: Any = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        path: str | None = None,
    ) -> None:
        """Set every callback up. One that cannot be set up takes no part in the run."""
        arguments: dict[str, Any] = {
            "stop": stop, "num_samples": num_samples, "total_num_samples": total_num_samples,
            **({} if path is None else {"path": path}),
        }  # fmt: skip
        for callback, method in tuple(self._hooks.get("setup", ())):
            try:
                self.times.call(method, **_accepted(method, arguments))
            except Exception:
                for hook in HOOKS:
                    self._drop(hook, callback, say=hook == "setup")

    def get_state(self) -> dict[str, Any]:
        """State of the callbacks that have one, by place in the list and class name."""
        states: dict[str, Any] = {}
        for place, callback in enumerate(self._callbacks):
            if not _overrides(callback, "get_state") or callback in self._stateless:
                continue
            try:
                states[_key(place, callback)] = self.times.call(callback.get_state)
            except Exception:
                self._stateless.append(callback)
                _say_raised("get_state", callback)
        return {key: state for key, state in states.items() if state is not None}

    def set_state(self, states: dict[str, Any]) -> list[str]:
        """Give each callback the state that was taken at the same place from the same class; the names of those that
        nobody took."""
        homeless = dict(states)
        for place, callback in enumerate(self._callbacks):
            state = homeless.pop(_key(place, callback), None)
            if state is not None:
                try:
                    self.times.call(callback.set_state, state)
                except Exception:
                    _say_raised("set_state", callback)
        return list(homeless)

    @property
    def keeps_state(self) -> bool:
        """Whether any callback has a state of its own making."""
        return any(_overrides(callback, "get_state") for callback in self._callbacks)

    @property
    def asks_for_checkpoints(self) -> bool:
        """Whether a callback may ask for a checkpoint of the trial whose result it is told."""
        return any(_asks(callback) for callback in self._callbacks if _overrides(callback, "on_trial_result"))

    def _drop(self, hook: str, callback: Callback, say: bool = True) -> None:
        """Call this hook of this callback no more; called where its exception is being handled."""
        if say:
            _say_raised(hook, callback)
        left = [(other, method) for other, method in self._hooks.get(hook, ()) if other is not callback]
        if left:
            self._hooks[hook] = left
        else:
            self._hooks.pop(hook, None)


def _overrides(callback: Callback, hook: str) -> bool:
    method = getattr(callback, hook)
    return getattr(method, "__func__", method) is not getattr(Callback, hook)


def _say_raised(hook: str, callback: Callback) -> None:
    """Where its exception is being handled."""
    import logging

    logging.getLogger("fasttune").exception(
        "%s.%s() raised an error and is not called again in this run", type(callback).__name__, hook
    )


def _asks(callback: Callback) -> bool:
    """Whether it says that it may ask for checkpoints, or its own code names the key."""
    if callback.asks_for_checkpoints is not None:
        return callback.asks_for_checkpoints
    own = [kind for kind in type(callback).__mro__ if kind.__module__.partition(".")[0] not in ("fasttune", "builtins")]
    codes = [found.__code__ for kind in own for found in vars(kind).values() if hasattr(found, "__code__")]
    while codes:
        code = codes.pop()
        if "SHOULD_CHECKPOINT" in code.co_names or any(_names(one) for one in code.co_consts):
            return True
        codes += [one for one in code.co_consts if hasattr(one, "co_names")]
    return False


def _names(constant: object) -> bool:
    """The key itself, or among the keywords of a call or the keys of a dict."""
    return SHOULD_CHECKPOINT in constant if isinstance(constant, tuple) else constant == SHOULD_CHECKPOINT


def _accepted(method: Callable[..., None], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, without the path for one that has no ``**info``, or none of them for a ``setup(self)`` as it was
    written once."""
    import inspect

    known = {name: value for name, value in arguments.items() if name != "path"}
    for told in (arguments, known):
        with suppress(TypeError):
            inspect.signature(method).bind(**told)
            return told
    warnings.warn(
        "a callback's setup() should take (stop=None, num_samples=None, total_num_samples=None, **info)",
        FutureWarning,
        stacklevel=3,
    )
    return {}


def _key(place: int, callback: Callback) -> str:
    return f"{place}-{type(callback).__name__}"
