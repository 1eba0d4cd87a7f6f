"""Workers that have done enough: libraries leak, and a fresh process has forgotten all of it."""

from __future__ import annotations

import resource
import time
from typing import NamedTuple

LOOK_S = 0.2  # how often the memory of one worker is looked at
PAGE = resource.getpagesize()


class WorkerLimits(NamedTuple):
    """What one worker may do before another one comes in its place."""

    trials: int | None = None
    memory: int | None = None  # bytes that are its own

    @property
    def are_some(self) -> bool:
        """There are any."""
        return self.trials is not None or self.memory is not None


NO_LIMITS = WorkerLimits()


class Wear:
    """How worn one worker is."""

    __slots__ = ("_heavy", "_next", "trials")

    def __init__(self) -> None:
        self.trials = 0  # that it was given
        self._heavy = False
        self._next = 0.0

    @property
    def is_heavy(self) -> bool:
        """It was found to have grown too large."""
        return self._heavy

    def left(self, limits: WorkerLimits, otherwise: int) -> int:
        """How many trials it may still be given, ``otherwise`` at most; one, if it has had all of them."""
        return otherwise if limits.trials is None else max(1, min(otherwise, limits.trials - self.trials))

    def is_over(self, limits: WorkerLimits, pid: int) -> bool:
        """It shall be given nothing more. One that has grown too large stays so, whatever it gives back."""
        if limits.trials is not None and self.trials >= limits.trials:
            return True
        if limits.memory is None or self._heavy or not pid or (now := time.monotonic()) < self._next:
            return self._heavy
        self._next = now + LOOK_S
        self._heavy = own_memory(pid) > limits.memory
        return self._heavy


def own_memory(pid: int) -> int:
    """Bytes of a process that lie in memory and are no file's; 0 for one that is not there (or where /proc is not)."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            _, resident, shared, *_ = file.read().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * PAGE
