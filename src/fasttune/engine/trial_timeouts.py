"""Trials that have run longer than they may (``trial_timeout_s``), whether they report or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasttune import _core

LOOK_S = 0.1  # how often the loop looks
GRACE_S = 0.5  # what such a trial has to end by itself, before it is ended


class TrialTimeouts:
    """``seconds`` is how long a trial may run (its ``time_total_s``); None: for ever."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._next = 0.0  # when to look again

    def rest(self, seconds: float) -> float:
        """How long the loop may sleep, if that was as long as this."""
        return seconds if self._seconds is None else min(seconds, LOOK_S)

    def over(self, table: _core.TrialTable, now: float, total: Callable[[int, float], float]) -> list[tuple[int, str]]:
        """The running trials that have had their time, and that in words. ``total``: how long a trial has run, by a moment."""
        if self._seconds is None or now < self._next:
            return []
        self._next = now + LOOK_S
        found = [(i, total(i, now)) for i in table.of_status("RUNNING")]
        return [(i, self._said(seconds)) for i, seconds in found if seconds > self._seconds]

    def _said(self, seconds: float) -> str:
        return f"trial_timeout_s={self._seconds:g}: it had run for {seconds:.1f} s"
