"""A stopper is shown each report of a trial once, in order, whoever ends the trial with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasttune as tune
from fasttune.stopper import ExperimentPlateauStopper, RegretStopper, Stopper


class Sees(Stopper):
    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.seen.append((trial_id, result["training_iteration"]))
        return False

    def stop_all(self) -> bool:
        return False

    def __deepcopy__(self, memo: dict[int, Any]) -> Sees:
        """A simulation is given a copy, which sees what this one does."""
        made = Sees()
        made.seen = self.seen
        return made


def plain(config: dict[str, Any]) -> None:
    for step in range(1, 5):
        tune.report(loss=config["x"] + 1 / step, **({"done": True} if step == config.get("done") else {}))


async def waits(config: dict[str, Any]) -> None:
    for step in range(1, 5):
        tune.report(loss=config["x"] + 1 / step)


@tune.vectorized
def columns(config: dict[str, Any]) -> Any:
    x = np.asarray(config["x"])
    for step in range(1, 5):
        rows = yield {"loss": x + 1 / step}
        x = rows.take(x) if rows is not None else x


class Stepped(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.x = config["x"]

    def step(self) -> dict[str, Any]:
        return {"loss": self.x + 1 / (self.iteration + 1), "done": self.iteration == 3}

    def save_checkpoint(self, folder: str) -> dict[str, Any]:
        return {"x": self.x}

    def load_checkpoint(self, saved: Any) -> None:
        self.x = saved["x"]


def run(trainable: Any, stop: Any, **more: Any) -> Any:
    asked = {"config": {"x": tune.uniform(0, 1)}, "num_samples": 4, "metric": "loss", "mode": "min", "seed": 1, "verbose": 0, **more}
    return tune.run(trainable, stop=stop, **asked)


def reports(analysis: Any) -> list[tuple[str, int]]:
    known = {trial.trial_id: trial.last_result["training_iteration"] for trial in analysis.trials}
    return sorted((name, step) for name, last in known.items() for step in range(1, last + 1))


@pytest.mark.parametrize("scheduler", [None, "asha"])
@pytest.mark.parametrize("limits", [{}, {"training_iteration": 3}, {"loss": 0.6}], ids=["none", "step", "metric"])
@pytest.mark.parametrize(("trainable", "executor"), [
    (plain, "inline"), (plain, "thread"), (plain, "process"), (waits, "async"), (columns, "vector"), (Stepped, "inline"),
])  # fmt: skip
def test_each_report_is_shown_once(trainable: Any, executor: str, limits: dict[str, float], scheduler: str | None) -> None:
    stopper = Sees()
    found = run(trainable, [limits, stopper] if limits else stopper, executor=executor, scheduler=scheduler)
    assert sorted(stopper.seen) == reports(found)
    for trial in found.trials:
        steps = [step for seen, step in stopper.seen if seen == trial.trial_id]
        assert steps == sorted(steps)


def test_what_says_that_it_is_done_and_results_of_others() -> None:
    stopper = Sees()
    found = run(plain, stopper, config={"x": 0.5, "done": 2}, executor="inline")
    assert sorted(stopper.seen) == reports(found)
    stopper = Sees()
    found = run(plain, stopper, config={"x": tune.choice([0.25, 0.5])}, on_duplicate="reuse", num_samples=6, executor="inline")
    assert {seen for seen, _ in stopper.seen} == {trial.trial_id for trial in found.trials}


def test_simulations_and_runs_that_go_on(tmp_path: Path) -> None:
    stopper = Sees()
    made = tune.simulate(
        lambda config, step: {"loss": config["x"] + 1 / step} if step < 5 else None, {"x": tune.uniform(0, 1)}, num_samples=3,
        metric="loss", mode="min", stop=[{"training_iteration": 3}, stopper],
    )  # fmt: skip
    assert sorted(stopper.seen) == reports(made)
    where = {"name": "again", "storage_path": str(tmp_path), "resume": "AUTO", "executor": "inline"}
    run(plain, [{"training_iteration": 3}, Sees()], num_samples=2, **where)
    stopper = Sees()
    found = run(plain, [{"training_iteration": 3}, stopper], num_samples=4, **where)
    assert sorted(stopper.seen) == reports(found)


def test_stoppers_of_the_whole_run_hear_of_trials_that_report_once() -> None:
    once = {"executor": "inline", "num_samples": 400, "search_alg": "tpe"}
    for stopper in (RegretStopper(), ExperimentPlateauStopper("loss", std=0.05, top=5)):
        found = run(lambda config: tune.report(loss=config["x"]), [{"training_iteration": 1}, stopper], **once)
        assert len(found.trials) < 400
