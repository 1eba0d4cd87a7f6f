"""Where trials are between two statuses: only steps that are in the table, each told with the trial's story."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttune.engine.phases import (
    ALIVE,
    ANSWERING,
    AT_REST,
    CHOSEN,
    DECIDING,
    EARLY,
    HANDED,
    HANDED_OUT,
    LEAVING,
    NAMES,
    PAUSING,
    RETURNING,
    RUNNING,
    SHELVED,
    SHOWN,
    STATUSES,
    STEPS,
    WAITING,
    IllegalStepError,
    Phases,
)


class Journal:
    """Statuses as records would have them."""

    def __init__(self) -> None:
        self.statuses = ["PENDING"] * 4
        self.shown: dict[int, str] = {}  # trials that are shown in another status than their own
        self.phases = Phases(self.statuses.__getitem__, lambda trial: f"START(step={trial})", self.show)

    def show(self, trial: int, status: str | None) -> None:
        self.shown.pop(trial, None)
        if status is not None:
            self.shown[trial] = status


def test_a_trial_that_is_paused_and_goes_on() -> None:
    journal = Journal()
    phases = journal.phases
    assert phases.of(2) == WAITING
    phases.choose(2)
    assert (phases.of(2), phases.count(HANDED_OUT), phases.those_in(HANDED_OUT)) == (HANDED, 1, [2])
    journal.statuses[2] = "RUNNING"
    assert phases.rest(2) == HANDED
    assert phases.of(2) == RUNNING
    for phase in (DECIDING, ANSWERING, PAUSING):
        phases.step(2, phase)
    phases.choose(2)  # before it is known to be paused
    assert phases.of(2) == EARLY
    assert phases.take_back(2)
    assert phases.of(2) == PAUSING
    phases.choose(2)
    journal.statuses[2] = "PAUSED"
    phases.step(2, RETURNING)
    assert phases.take_back(2)
    assert phases.of(2) == ALIVE
    phases.step(2, LEAVING)
    phases.validate()
    phases.rest(2)
    assert phases.of(2) == SHELVED
    assert not phases.take_back(2)
    phases.choose(2)
    assert phases.of(2) == HANDED
    journal.statuses[2] = "TERMINATED"
    with pytest.raises(IllegalStepError, match=r"trial 2 is handed out between two turns, and TERMINATED; its story: START\(step=2\)"):
        phases.validate()


def test_a_trial_that_was_being_put_away_and_found_no_room_still_is() -> None:
    """It came back alive, and what it saved then was not taken for the end of its leaving: too many lived on."""
    journal = Journal()
    phases = journal.phases
    journal.statuses[0] = "RUNNING"
    for phase in (DECIDING, ANSWERING, PAUSING):
        phases.step(0, phase)
    journal.statuses[0] = "PAUSED"
    phases.step(0, ALIVE)
    phases.step(0, LEAVING)
    phases.choose(0)
    assert phases.of(0) == RETURNING
    assert phases.take_back(0)
    assert phases.of(0) == LEAVING
    phases.choose(0)
    phases.step(0, ALIVE)
    phases.choose(0)
    assert phases.take_back(0)
    assert phases.of(0) == ALIVE


@pytest.mark.parametrize("status", AT_REST)
@pytest.mark.parametrize("phase", STATUSES)
def test_steps_that_are_not_in_the_table_are_refused_with_the_story(status: str, phase: int) -> None:
    journal = Journal()
    journal.statuses[1] = status
    if phase in STEPS[AT_REST[status]]:
        journal.phases.step(1, phase)
        assert journal.phases.of(1) == phase
        return
    with pytest.raises(IllegalStepError, match=rf"trial 1 is \w+ \({status}\), and was to be {NAMES[phase]}; its story: START"):
        journal.phases.step(1, phase)
    assert journal.phases.of(1) == AT_REST[status]


def test_every_phase_can_be_reached_and_every_step_leads_somewhere() -> None:
    reached = {one for steps in STEPS.values() for one in steps}
    assert reached == set(STATUSES)
    assert set(CHOSEN.values()) == set(HANDED_OUT)
    assert all(after in STEPS[before] for before, after in CHOSEN.items())
    assert len(NAMES) == len(STEPS) == len(set(NAMES))


moves = st.tuples(
    st.sampled_from(["step", "choose", "take_back", "rest", "status"]), st.integers(0, 3), st.sampled_from(sorted(STATUSES)),
    st.sampled_from(sorted(AT_REST)),
)  # fmt: skip


@given(st.lists(moves, max_size=40))
def test_it_is_a_dict_of_phases(trace: list[tuple[str, int, int, str]]) -> None:
    journal = Journal()
    phases = journal.phases
    model: dict[int, int] = {}
    were_leaving: set[int] = set()  # those that return, and were being put away before
    since: list[int] = []  # trials, in the order in which they came to where they are

    def at(trial: int) -> int:
        return model.get(trial, AT_REST[journal.statuses[trial]])

    def to(trial: int, phase: int | None) -> None:
        were_leaving.discard(trial)
        if phase == RETURNING and at(trial) == LEAVING:
            were_leaving.add(trial)
        model.pop(trial, None)
        if trial in since:
            since.remove(trial)
        if phase is not None:
            model[trial] = phase
            since.append(trial)

    for what, trial, phase, status in trace:
        before: Any = at(trial)
        if what == "status":
            journal.statuses[trial] = status
        elif what == "rest":
            assert phases.rest(trial) == model.get(trial)
            to(trial, None)
        elif what == "take_back":
            out = model.get(trial) in HANDED_OUT
            assert phases.take_back(trial) == out
            if out:
                to(trial, LEAVING if trial in were_leaving else {EARLY: PAUSING, RETURNING: ALIVE}.get(before))
        else:
            wanted = phase if what == "step" else CHOSEN.get(before, HANDED)
            if wanted in STEPS[before]:
                phases.step(trial, phase) if what == "step" else phases.choose(trial)
                to(trial, wanted)
            else:
                with pytest.raises(IllegalStepError):
                    phases.step(trial, phase) if what == "step" else phases.choose(trial)
        assert journal.shown == {trial: SHOWN[phase] for trial, phase in model.items() if phase in SHOWN}
        for one in range(4):
            assert phases.of(one) == at(one)
        for one in STATUSES:
            assert phases.those_in([one]) == sorted(k for k, value in model.items() if value == one)
            assert phases.count([one]) == len(phases.those_in([one]))
