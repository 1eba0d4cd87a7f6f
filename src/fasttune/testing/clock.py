"""A clock for tests: it moves when it is told to."""

from __future__ import annotations


class VirtualClock:
    """Seconds since ``start``, for everything that takes a ``clock``; call it to read it."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = float(start)

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if not seconds >= 0:
            raise ValueError(f"a clock only goes forward: seconds must be >= 0, got {seconds!r}")
        self._now += seconds

    sleep = advance  # in place of time.sleep
