"""Where trials run; one file per kind, loaded when it is used. See :mod:`fasttune.executors.base` for the contract.

To add one, write its file and put its class into ``EXECUTORS``; a class of another package is found by an entry point of the
group ``fasttune.executors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from fasttune.executors.base import Executor as Executor
from fasttune.executors.base import Place as Place
from fasttune.executors.base import Program as Program

EXECUTORS = {
    "process": "process:ProcessExecutor",
    "inline": "inline:InlineExecutor",
    "vector": "vector:VectorExecutor",
    "thread": "thread:ThreadExecutor",
}
DEFAULT = "process"
FOR_FORM = {"columns": "vector"}  # where functions of a form run, and nothing else does

__all__ = [
    "DEFAULT", "EXECUTORS", "FOR_FORM", "Executor", "Place", "Program", "check_executor", "executor_class", "executor_for",
    "executor_names", "make_executor",
]  # fmt: skip


def executor_names() -> list[str]:
    """The names that ``tune.run(executor=)`` takes, those of other packages included."""
    return [*EXECUTORS, *(name for name in _entry_points() if name not in EXECUTORS)]


def check_executor(executor: str | None) -> str:
    """The name of the executor; None stands for worker processes. ValueError if there is none of that name."""
    name = DEFAULT if executor is None else executor
    if not isinstance(name, str) or (name not in EXECUTORS and name not in executor_names()):
        raise ValueError(f"executor must be one of {', '.join(map(repr, executor_names()))}, got {executor!r}")
    return name


def executor_for(executor: str | None, forms: Mapping[str, str]) -> str:
    """The name of the executor, for trainables of these forms (name of each -> ``trainable.call_form``). ValueError if it
    cannot run one of them."""
    wanted = {FOR_FORM.get(form) for form in forms.values()}
    if executor is None and len(wanted) == 1:
        (only,) = wanted
        return check_executor(only)
    name = check_executor(executor)
    for trainable, form in forms.items():
        own = FOR_FORM.get(form)
        if own is not None and own != name:
            raise ValueError(f"{trainable} runs by executor={own!r} alone, which is its default, got executor={name!r}")
        if own is None and name in FOR_FORM.values():
            raise ValueError(
                f"executor={name!r} evaluates many trials in one call, and {trainable} evaluates one: make it a function of "
                "columns of configs by @tune.vectorized, or leave executor= out"
            )
    return name


def executor_class(name: str) -> type[Executor]:
    """The class of a name that ``check_executor`` knows. TypeError if an entry point is none."""
    if name in EXECUTORS:
        module, _, kind = EXECUTORS[name].partition(":")
        found: Any = getattr(import_module(f"{__name__}.{module}"), kind)
    else:
        found = _entry_points()[name].load()
    if not (isinstance(found, type) and issubclass(found, Executor)):
        raise TypeError(f"the executor {name!r} must be a subclass of Executor, got {found!r:.80}")
    return found


def make_executor(name: str, place: Place) -> Executor:
    """The executor of a name, at a place."""
    return executor_class(check_executor(name)).at(place)


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {found.name: found for found in entry_points(group="fasttune.executors")}
