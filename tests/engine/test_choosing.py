"""What is handed out next, where thousands of trials are handed out before one of them begins (coroutines): the work that is done."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fasttune import _core
from fasttune.engine.choosing import Choosing
from fasttune.engine.phases import Phases


class CountedTable:
    """A table of trials that counts how many numbers it gives."""

    def __init__(self, n: int) -> None:
        self._table = _core.TrialTable("m")
        self._table.apply(_core.encode(_core.KIND_CONFIGS, 0, n, b"\0" * 8), 0)
        self.steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def of_status(self, *given: Any) -> list[int]:
        return self._counted(self._table.of_status(*given))

    def shown_in(self, *given: Any) -> list[int]:
        return self._counted(self._table.shown_in(*given))

    def _counted(self, found: list[int]) -> list[int]:
        self.steps += 1 + len(found)
        return found


class CountedPhases(Phases):
    """Phases that count how many trials they give."""

    steps = 0

    def those_in(self, phases: Any) -> list[int]:
        found = super().those_in(phases)
        self.steps += 1 + len(found)
        return found


class Experiment:
    """Trials that wait, and a scheduler that takes the first one that does."""

    chooses = exhausted = gives_blocks = True

    def __init__(self, n: int) -> None:
        self.table: Any = CountedTable(n)
        self.phases = CountedPhases(self.table.status, lambda i: "no story", self.table.show)
        self.orders: Any = SimpleNamespace(changes={}, ends={}, blocks=lambda i: False)
        self.scheduler: Any = SimpleNamespace(choose_trial_to_run=self.first)
        self.view: Any = None
        self.times: Any = SimpleNamespace(call=lambda call, view: call(view))
        self.trials: Any = [SimpleNamespace(index=i) for i in range(n)]
        self.choosing = Choosing(self)

    def __len__(self) -> int:
        return len(self.trials)

    def first(self, view: Any) -> Any:
        return next(iter(self.choosing.trials_of("PENDING", 1)), None)

    def chunk_of(self, i: int) -> Any:
        return None

    def suggest(self, n: int) -> bool:
        return False

    def hear_orders(self) -> None:
        pass

    @property
    def steps(self) -> int:
        return int(self.table.steps + self.phases.steps)


def handed_out(n: int) -> Experiment:
    experiment = Experiment(n)
    assert [chosen.trial for chosen in iter(experiment.choosing.next, None)] == list(range(n))
    return experiment


@pytest.mark.parametrize("n", [50, 1_000])
def test_each_trial_that_is_handed_out_costs_the_same(n: int) -> None:
    assert handed_out(n).steps <= 6 * (n + 1)


def test_what_is_handed_out_runs_to_those_who_look_and_is_chosen_again_when_it_comes_back() -> None:
    experiment = handed_out(5)
    choosing = experiment.choosing
    assert [trial.index for trial in choosing.trials_of("RUNNING")] == [0, 1, 2, 3, 4]
    assert choosing.trials_of("PENDING") == []
    choosing.put_back(3, True)
    choosing.end_turn()
    assert [trial.index for trial in choosing.trials_of("PENDING")] == [3]
    choosing.validate()
    again = choosing.next()
    assert again is not None
    assert again.trial == 3


def test_trials_that_wait_are_dropped_and_put_back_where_they_were() -> None:
    experiment = Experiment(4)
    experiment.chooses = False
    choosing = experiment.choosing
    choosing.all_are_known()
    for i in (2, 0, 3, 0):  # one that waits already keeps its place
        choosing.wait(i)
    choosing.drop(3)
    choosing.drop(1)  # does not wait
    first = choosing.next()
    assert first is not None
    assert first.trial == 2
    choosing.put_back(2, True)
    assert list(choosing.waiting) == [2, 0]
