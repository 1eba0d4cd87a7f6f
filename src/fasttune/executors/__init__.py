"""Where trials run; one file per kind. See :mod:`fasttune.executors.base` for the contract."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fasttune.executors.base import Executor as Executor
from fasttune.executors.base import Program as Program

EXECUTORS = ("process", "inline")

__all__ = ["EXECUTORS", "Executor", "Program", "make_executor"]


def make_executor(
    name: str,
    *,
    folder: str,
    supply: Any,
    request: Any,
    limit: int,
    environ_of: Callable[[Any], dict[str, str]],
    usage: Callable[[], str],
    first_source: int,
) -> Executor:
    """The executor of a name; ``supply`` hands out the machine's resources, ``request`` is what one trial asks for."""
    if name == "inline":
        from fasttune.executors.inline import InlineExecutor

        return InlineExecutor(folder, slots=_fitting(supply, request, limit), usage=usage(), source=first_source)
    if name == "process":
        from fasttune.executors.process import ProcessExecutor

        return ProcessExecutor(
            folder,
            place=supply.acquire,
            free=supply.release,
            environ_of=environ_of,
            request=request,
            limit=limit,
            usage=usage,
            first_source=first_source,
        )
    raise ValueError(f"executor must be one of {', '.join(EXECUTORS)}, got {name!r}")


def _fitting(supply: Any, request: Any, limit: int) -> int:
    """How many trials fit at once, found by trying; at most one per CPU if they ask for nothing."""
    taken: list[Any] = []
    while len(taken) < min(limit, os.cpu_count() or 1, 4096) and (placement := supply.acquire(request)) is not None:
        taken.append(placement)
    for placement in taken:
        supply.release(placement)
    return max(1, len(taken))
