"""Orders and paused trials that live: what follows from what, as values, without a run. Somebody must do it step by step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fasttune.engine.instructions import Discard, SaveNow
from fasttune.engine.orders import AskToSave, ChangeTo, Hold, LetGo, Orders, PausedTrials, Remove
from fasttune.engine.phases import ALIVE, ANSWERING, DECIDING, LEAVING, PAUSING, Phases
from fasttune.error import TuneError
from fasttune.schedulers.base import Change, End, Save


class Trials:
    """What is known of some trials, as whoever tests has it."""

    def __init__(self, *statuses: str, is_class: bool = True) -> None:
        self.live = True
        self.statuses = list(statuses)
        self.iterations = [3] * len(statuses)
        self.saved: dict[int, int] = {}  # iteration of the newest checkpoint
        self.classes = is_class
        self.trials: Any = [SimpleNamespace(index=i) for i in range(len(statuses))]
        self.table: Any = SimpleNamespace(status=self.statuses.__getitem__, iteration=self.iterations.__getitem__)
        self.phases = Phases(self.statuses.__getitem__, lambda i: "no story", lambda i, status: None)

    def status(self, i: int) -> str:
        return self.statuses[i]

    def saves_rows(self, i: int) -> bool:
        return False

    def saves_when_told(self, i: int) -> bool:
        return self.classes

    def has_present_checkpoint(self, i: int) -> bool:
        return self.saved.get(i) == self.iterations[i]

    def start_point(self, i: int) -> tuple[str, int, float] | None:
        return (f"{i}/{self.saved[i]}", self.saved[i], 0.5) if i in self.saved else None

    def pause(self, *trials: int) -> None:
        """They were answered PAUSE, and are not known to be paused."""
        for i in trials:
            self.statuses[i] = "RUNNING"
            for phase in (DECIDING, ANSWERING, PAUSING):
                self.phases.step(i, phase)

    def leave_alive(self, *trials: int) -> None:
        """They are paused, and their code lives."""
        self.pause(*trials)
        for i in trials:
            self.statuses[i] = "PAUSED"
            self.phases.step(i, ALIVE)


def orders_for(trials: Trials) -> Orders:
    return Orders(trials, "Somebody")


def taken(orders: Orders, *wanted: Any) -> list[Any]:
    return [step for order in wanted for step in orders.take(order)]


def test_a_paused_trial_is_told_to_save_and_one_that_runs_saves_with_its_answer() -> None:
    trials = Trials("RUNNING", "PAUSED")
    trials.leave_alive(1)
    orders = orders_for(trials)
    assert taken(orders, Save(trials.trials[0]), Save(trials.trials[1]), Save(trials.trials[1])) == [SaveNow(1)]
    assert orders.saving == {0, 1}
    assert [orders.takes_due(i) for i in (0, 0, 1)] == [True, False, False]
    assert [*orders.saved(0), *orders.saved(1)] == []
    assert not orders.saving


@pytest.mark.parametrize(("why", "is_class", "live"), [("a function", False, True), ("it is replayed", True, False)])
def test_nobody_is_told_to_save_who_cannot(why: str, is_class: bool, live: bool) -> None:
    trials = Trials("PAUSED", is_class=is_class)
    trials.leave_alive(0)
    trials.live = live
    assert taken(orders_for(trials), Save(trials.trials[0])) == [], why


def test_what_has_saved_where_it_is_does_not_save_again() -> None:
    trials = Trials("PAUSED")
    trials.leave_alive(0)
    trials.saved[0] = 3
    assert taken(orders_for(trials), Save(trials.trials[0])) == []


def test_an_end_waits_for_the_pause() -> None:
    trials = Trials("PENDING", "RUNNING", "TERMINATED")
    orders = orders_for(trials)
    assert taken(orders, End(trials.trials[0]), End(trials.trials[2])) == [Remove(0)]
    trials.pause(1)
    assert taken(orders, End(trials.trials[1])) == []
    assert orders.blocks(1)
    trials.statuses[1] = "PAUSED"
    assert list(orders.paused(1)) == [Remove(1)]
    assert not orders.blocks(1)


def test_what_runs_can_be_neither_ended_nor_changed() -> None:
    trials = Trials("RUNNING")
    with pytest.raises(TuneError, match=r"Somebody ordered the end of .* which is RUNNING"):
        taken(orders_for(trials), End(trials.trials[0]))
    with pytest.raises(TuneError, match=r"Somebody ordered a change of .* which is RUNNING"):
        taken(orders_for(trials), Change(trials.trials[0], config={}))
    with pytest.raises(TuneError, match=r"Somebody.orders\(\) must return Save, End or Change orders, got 7"):
        taken(orders_for(trials), 7)


def test_a_copy_waits_for_its_donors_checkpoint_and_holds_it_until_it_is_in_use() -> None:
    trials = Trials("PAUSED", "PAUSED")
    trials.leave_alive(0, 1)
    trials.saved[0] = 3
    orders = orders_for(trials)
    change = Change(trials.trials[0], config={"x": 1}, donor=trials.trials[1])
    assert taken(orders, Save(trials.trials[1]), change) == [SaveNow(1)]
    assert orders.blocks(0)
    trials.saved[1] = 3
    point = ("1/3", 3, 0.5)
    assert list(orders.saved(1)) == [Hold("1/3"), ChangeTo(0, change, point), LetGo("1/3")]
    assert not orders.blocks(0)


def test_each_step_is_done_before_the_next_is_asked_for() -> None:
    """Two copy one donor; what the first change does to what is known, the second sees."""
    trials = Trials("PAUSED", "PAUSED", "PAUSED")
    trials.leave_alive(0, 1, 2)
    orders = orders_for(trials)
    changes = [Change(trials.trials[i], config={"x": i}, donor=trials.trials[2]) for i in (0, 1)]
    assert taken(orders, Save(trials.trials[2]), *changes) == [SaveNow(2)]
    trials.saved.update({0: 3, 1: 3, 2: 3})
    seen = []
    for step in orders.saved(2):
        seen.append(step)
        if isinstance(step, ChangeTo):
            trials.saved[2] = 2
    assert [step.found for step in seen if isinstance(step, ChangeTo)] == [("2/3", 3, 0.5), ("2/2", 2, 0.5)]


def test_a_change_without_a_checkpoint_is_told_once_and_not_done() -> None:
    trials = Trials("PAUSED", "PAUSED", is_class=False)
    orders = orders_for(trials)
    with pytest.warns(RuntimeWarning, match="was to go on from a checkpoint, and it has none"):
        assert taken(orders, Change(trials.trials[0], config={})) == []
    assert taken(orders, Change(trials.trials[1], config={})) == []
    assert not orders.changes


def test_a_replayed_change_is_held_to_the_checkpoint_of_its_place() -> None:
    trials = Trials("PAUSED", "PAUSED")
    trials.live = False
    trials.saved[1] = 3
    orders = orders_for(trials)
    change = Change(trials.trials[0], config={}, donor=trials.trials[1])
    assert taken(orders, change) == [Hold("1/3")]
    trials.saved[1] = 2  # another one by now
    trials.live = True
    assert list(orders.after_replay()) == [ChangeTo(0, change, ("1/3", 3, 0.5)), LetGo("1/3")]


def test_what_the_journal_has_is_not_done_twice() -> None:
    trials = Trials("PAUSED", "PAUSED", "PAUSED")
    trials.live = False
    trials.saved[1] = 3
    orders = orders_for(trials)
    assert taken(orders, *[Change(trials.trials[i], config={}, donor=trials.trials[1]) for i in (0, 2)]) == [Hold("1/3")] * 2
    assert list(orders.changed(0)) == [LetGo("1/3")]
    assert list(orders.ended(2)) == [LetGo("1/3")]
    assert not orders.changes


def paused(trials: Trials, shelf: PausedTrials, i: int) -> list[Any]:
    trials.pause(i)
    trials.statuses[i] = "PAUSED"
    return list(shelf.paused(i))


def test_the_longest_paused_is_put_away_when_there_are_too_many() -> None:
    trials = Trials(*["RUNNING"] * 4)
    trials.saved[0] = 3
    shelf = PausedTrials(trials, 1)
    assert paused(trials, shelf, 0) == []
    assert paused(trials, shelf, 1) == [Discard(0)]
    assert paused(trials, shelf, 2) == [AskToSave(1)]
    assert [trials.phases.is_in(i, (LEAVING,)) for i in range(3)] == [False, True, False]
    trials.saved[1] = 3
    assert list(shelf.saved(1)) == [Discard(1)]
    assert list(shelf.saved(2)) == []


def test_who_was_chosen_or_cannot_save_stays() -> None:
    trials = Trials(*["RUNNING"] * 3)
    shelf = PausedTrials(trials, 0)
    trials.saved[0] = 3
    trials.leave_alive(0)
    shelf.back(0)
    trials.phases.choose(0)
    trials.classes = False
    assert paused(trials, shelf, 1) == []
    assert trials.phases.is_in(1, (ALIVE,))
    assert list(shelf.leave(2)) == []
    assert list(shelf.leave(1)) == [Discard(1)]
