"""The end of a run, or of an experiment: what becomes of trials that nobody will begin, choose or hear of any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fasttune.engine.phases import HANDED_OUT

if TYPE_CHECKING:
    from fasttune.engine.state import ExperimentState


class Ending:
    """How a run ends before its trials are all over; nothing of it is so as long as it goes on.

    Attributes:
        why: No trial is started any more, because of this.
        for_good: And none ever will be: a stopper says that the experiment is done.
        lacking: What it was ended for is its metric, which no report has: that in words.
        failed_fast: The trial that it was ended for, because it failed.
        grace: Seconds that its trials have to end by themselves; None: as many as ever.
    """

    def __init__(self) -> None:
        self.why: str | None = None
        self.for_good = False
        self.lacking = ""
        self.failed_fast: int | None = None
        self.grace: float | None = None


def end_running(state: ExperimentState) -> None:
    """Trials that began while the run was being ended have ended with it."""
    for i in state.table.of_status("RUNNING"):
        state.end(i)


def end_paused(state: ExperimentState) -> None:
    """Paused trials that nobody will choose any more are over."""
    for i in _of_status(state, "PAUSED"):
        if not state.phases.is_in(i, HANDED_OUT):
            state.remove(i)


def _of_status(state: ExperimentState, status: str) -> Iterator[int]:
    """The trials of a status, each if it still has it when its turn comes: a scheduler that hears of one may end others."""
    for i in state.table.of_status(status):
        if state.table.status(i) == status:
            yield i


def end_waiting(state: ExperimentState) -> None:
    """Trials that wait are over, if the experiment is: nobody will start them."""
    if state.ending.for_good:
        for status in ("PENDING", "PAUSED"):
            for i in _of_status(state, status):
                state.remove(i)


def poll_stoppers(state: ExperimentState) -> None:
    """Ask the stopper about the whole experiment, once a turn."""
    stopper = state.spec.stop.stopper
    if state.ending.why is None and stopper is not None and state.times.call(stopper.stop_all):
        state.ending.for_good = stopper.ends_for_good()
        state.stop_all(state.times.call(stopper.reason))
