"""Trials that are to end, which no scheduler said (``stop.requests``, ``trial_timeout_s``): who was asked, who was not told yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from fasttune.engine.instructions import Stop
from fasttune.engine.orders import OVER, Remove
from fasttune.engine.phases import BEING_PAUSED, HANDED_OUT, Phases

if TYPE_CHECKING:
    from fasttune import _core
    from fasttune.engine.choosing import Choosing


class Stoppable(Protocol):
    """What is looked at of the experiment."""

    @property
    def phases(self) -> Phases: ...
    @property
    def table(self) -> _core.TrialTable: ...
    @property
    def choosing(self) -> Choosing: ...
    @property
    def chooses(self) -> bool: ...  # the scheduler says which trial runs


class OutsideStops:
    """A trial ends at its next report, as if its scheduler had stopped it there, or (``at_once``) without waiting for that. One
    that does not run ends now.

    Attributes:
        asked: Trials that are to end; whether at once.
    """

    def __init__(self, known: Stoppable) -> None:
        self._known = known
        self.asked: dict[int, bool] = {}
        self._due: dict[int, tuple[bool, float | None]] = {}  # those of them that were not told yet; and their grace

    def is_news(self, i: int, at_once: bool) -> bool:
        """Whether trial i can still be ended, and nobody has asked for that, or not for so much."""
        asked = self.asked.get(i)
        return self._known.table.status(i) not in OVER and asked is not True and (asked is None or at_once)

    def ask(self, i: int, at_once: bool, grace: float | None = None) -> None:
        """Trial i is to end; see :meth:`steps`. ``grace``: the seconds that it has, if at once, before it is ended; None: as ever."""
        self.asked[i] = at_once
        self._due[i] = at_once, grace

    @property
    def are_due(self) -> bool:
        """There are trials that are still to be told to stop."""
        return bool(self._due)

    def steps(self) -> Iterator[Stop | Remove]:
        """What was asked of trials, as far as that can be had now."""
        for i, (at_once, grace) in list(self._due.items()):
            step = self._step(i, at_once, grace)
            if step is not None:
                yield step
            if step is not None or self._known.table.status(i) in OVER:
                self._due.pop(i, None)

    def _step(self, i: int, at_once: bool, grace: float | None) -> Stop | Remove | None:
        known = self._known
        status = known.table.status(i)
        if status in OVER or known.phases.is_in(i, (*HANDED_OUT, *BEING_PAUSED)):
            return None  # it begins, or is paused, in a moment; then it is told between two turns, as the journal will say
        if status == "RUNNING":
            return Stop(i, not at_once, grace)
        if status == "PENDING" and not known.chooses and i not in known.choosing.waiting:
            return None  # a worker has it
        return Remove(i)
