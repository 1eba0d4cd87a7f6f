"""The end of a run, or of an experiment: what becomes of trials that nobody will begin, choose or hear of any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasttune.engine.phases import HANDED_OUT

if TYPE_CHECKING:
    from fasttune.engine.state import ExperimentState


def end_running(state: ExperimentState) -> None:
    """Trials that began while the run was being ended have ended with it."""
    for i in state.table.of_status("RUNNING"):
        state.end(i)


def end_paused(state: ExperimentState) -> None:
    """Paused trials that nobody will choose any more are over."""
    for i in state.table.of_status("PAUSED"):
        if not state.phases.is_in(i, HANDED_OUT):
            state.remove(i)


def end_waiting(state: ExperimentState) -> None:
    """Trials that wait are over, if the experiment is: nobody will start them."""
    if state.all_over:
        for status in ("PENDING", "PAUSED"):
            for i in state.table.of_status(status):
                state.remove(i)


def poll_stoppers(state: ExperimentState) -> None:
    """Ask the stopper about the whole experiment, once a turn."""
    stopper = state.stopper
    if state.stopping is None and stopper is not None and state.times.call(stopper.stop_all):
        state.all_over = stopper.ends_for_good()
        state.stop_all(f"{type(stopper).__name__} says so")
