"""Whatever a scheduler does to rows, in whatever order: what the journal says of each trial's sum is true."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from told_by_journal import check_sums

import fasttune as tune
from fasttune.schedulers import FIFOScheduler
from fasttune.schedulers.base import Change, End, Save
from rounds import seeds

SPACE = {"lr": tune.uniform(0.1, 1.0)}


class Capricious(FIFOScheduler):
    """Draws what it does: answers, orders, who runs."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.draw = random.Random(seed)
        self.given: list[Any] = []
        self.saved: set[int] = set()

    def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
        draw = self.draw
        if result.get("done") or trial.is_finished():
            return self.CONTINUE
        if draw.random() < 0.3:
            self.given.append(Save(trial))
            self.saved.add(trial.index)
        paused = [one for one in state.trials_of("PAUSED") if one is not trial]
        if paused and draw.random() < 0.05:
            self.given.append(End(draw.choice(paused)))
            return self.CONTINUE
        answer = draw.choices([self.CONTINUE, self.PAUSE, self.STOP], [6, 3, 0.2])[0]
        if answer == self.PAUSE and draw.random() < 0.4:
            donors = [one for one in state.trials_of("RUNNING") if one is not trial and one.index in self.saved]
            donor = draw.choice(donors) if donors and draw.random() < 0.7 else None
            self.given.append(Change(trial, config={"lr": draw.uniform(0.1, 1.0)}, donor=donor))
        return answer

    def orders(self) -> Any:
        given, self.given = self.given, []
        return given

    def ask_from(self, trial: Any) -> int:
        return (trial.last_result or {}).get("training_iteration", 0) + self.draw.randint(1, 3)

    def choose_trial_to_run(self, state: Any) -> Any:
        waiting = [*state.trials_of("PENDING"), *state.trials_of("PAUSED")]
        return self.draw.choice(waiting) if waiting else None


def adding(configs: dict[str, Any], state: Any = None) -> Any:
    total = np.zeros(len(configs["lr"])) if state is None else state
    while True:
        total += configs["lr"]  # in place: what was taken aside must not change with it
        rows = yield {"sum": total}, total
        if rows is not None:
            assert len(rows) == len(rows.index) == len(rows.configs["lr"]) == len(rows.steps)
            total, configs = rows.take(total, np.zeros(int(rows.fresh.sum()))), rows.configs


@pytest.mark.parametrize("seed", seeds(60))
def test_what_is_done_to_rows_is_done_to_their_trials(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    executor = draw.choice(["vector", "vector", "thread", "process"]) if seed % 4 == 0 else "vector"
    analysis = tune.run(
        tune.vectorized(size=draw.choice([1, 3, 6, 20]), refill=draw.random() < 0.5)(adding), config=SPACE, metric="sum", mode="max",
        num_samples=draw.randint(1, 15), scheduler=Capricious(seed), stop={"training_iteration": draw.randint(3, 12)}, verbose=0,
        storage_path=str(tmp_path), seed=seed, executor=executor, max_suspended=draw.choice([None, 0, 2]),
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=draw.choice([0, 2]), checkpoint_at_end=draw.random() < 0.5),
    )  # fmt: skip
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    check_sums(analysis)
