"""Where trials run; one file per kind, loaded when it is used. See :mod:`fasttune.executors.base` for the contract.

To add one, write its file and put its class into ``EXECUTORS``; a class of another package is found by an entry point of the
group ``fasttune.executors``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from fasttune.executors.base import Executor as Executor
from fasttune.executors.base import ExecutorSite as ExecutorSite
from fasttune.executors.base import Program as Program

EXECUTORS = {
    "process": "process:ProcessExecutor",
    "inline": "inline:InlineExecutor",
    "thread": "thread:ThreadExecutor",
    "async": "coroutine:CoroutineExecutor",
    "vector": "vector:VectorExecutor",
    "ray": "ray:RayExecutor",
}
VECTOR_EXECUTORS = {  # of functions of columns
    "vector": EXECUTORS["vector"],
    "process": "vector_process:VectorProcessExecutor",
    "thread": "vector_thread:VectorThreadExecutor",
}
DEFAULT = "process"
OF_COROUTINES = "async"
OF_COLUMNS = "vector"
OF_CLUSTERS = ("ray",)  # of other machines: they need an extra of fasttune, and something that gives these out

__all__ = [
    "DEFAULT", "EXECUTORS", "OF_CLUSTERS", "OF_COLUMNS", "OF_COROUTINES", "VECTOR_EXECUTORS", "Executor", "ExecutorSite", "Program",
    "check_executor", "executor_class", "executor_names", "make_executor",
]  # fmt: skip


def executor_names() -> list[str]:
    """The names that ``tune.run(executor=)`` takes, those of other packages included."""
    return [*EXECUTORS, *(name for name in _entry_points() if name not in EXECUTORS)]


def check_executor(executor: str | None, by_default: str = DEFAULT) -> str:
    """The name of the executor; None stands for the one ``by_default``. ValueError if there is none of that name."""
    name = by_default if executor is None else executor
    if not isinstance(name, str) or (name not in EXECUTORS and name not in executor_names()):
        raise ValueError(f"executor must be one of {', '.join(map(repr, executor_names()))}, got {executor!r}")
    return name


def executor_class(name: str, of_columns: bool = False) -> type[Executor]:
    """The class of a name that ``check_executor`` knows, for functions of one config or of columns. TypeError if an entry point is
    none."""
    known = VECTOR_EXECUTORS if of_columns else EXECUTORS
    if name in known:
        module, _, kind = known[name].partition(":")
        found: Any = getattr(import_module(f"{__name__}.{module}"), kind)
    else:
        found = _entry_points()[name].load()
    if not (isinstance(found, type) and issubclass(found, Executor)):
        raise TypeError(f"the executor {name!r} must be a subclass of Executor, got {found!r:.80}")
    return found


def make_executor(name: str, place: ExecutorSite, of_columns: bool = False) -> Executor:
    """The executor of a name, at a place, for functions of one config or of columns."""
    return executor_class(check_executor(name), of_columns).at(place)


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {found.name: found for found in entry_points(group="fasttune.executors")}
