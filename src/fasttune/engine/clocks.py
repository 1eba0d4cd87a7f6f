"""Whose time a run is in."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Time since a run began, and what its records say.

    Attributes:
        second: What a second is called in messages.
        epoch: What ``time.monotonic`` of the run's processes and this clock differ by.
    """

    second: str
    epoch: float

    def now(self) -> float:
        """Unix time; it never jumps."""

    def elapsed(self) -> float:
        """Seconds since the run began."""

    def wait(self, seconds: float) -> None:
        """Let so much time pass, for somebody who needs time of his own."""


class RunClock:
    """This machine's, as it was set when the run began."""

    second = "s"

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self.wait = sleep
        self.began = time.monotonic()
        self.epoch = time.time() - self.began  # unix time that never jumps: epoch + monotonic

    def now(self) -> float:
        return self.epoch + time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self.began
