"""Checkpoints that others go on from: populations, and trials that are paused and put away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from savers import folders, stored

import fasttune as tune
from fasttune.schedulers import HyperBandScheduler, PopulationBasedTraining

Run = Callable[..., tune.ExperimentAnalysis]


class Learns(tune.Trainable):
    """Its value is the sum of the rates of its steps; a dict holds them."""

    def setup(self, config: dict[str, Any]) -> None:
        self.rates: list[float] = []

    def step(self) -> dict[str, Any]:
        self.rates = [*self.rates, self.config["x"]]
        return {"value": sum(self.rates), "n": len(self.rates), "done": len(self.rates) >= 20}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any] | None:
        return {"rates": self.rates}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.rates = list(checkpoint["rates"])


class LearnsInFiles(Learns):
    """The same with a file."""

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "rates").write_text(repr(self.rates))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.rates = [float(part) for part in Path(checkpoint, "rates").read_text().strip("[]").split(",") if part]


def learns(config: dict[str, Any]) -> None:
    """The same as a function that saves at each step."""
    before = tune.get_checkpoint()
    rates: list[float] = [] if before is None else before.to_dict()["rates"]
    while len(rates) < 20:
        rates.append(config["x"])
        saved = tune.Checkpoint.from_dict({"rates": rates})
        tune.report(value=sum(rates), n=len(rates), checkpoint=saved)


def population(interval: int = 4) -> PopulationBasedTraining:
    return PopulationBasedTraining(
        "training_iteration",
        perturbation_interval=interval,
        hyperparam_mutations={"x": tune.uniform(0, 10)},
        seed=3,
        clip=True,
    )


def of_all(trainable: Any, **options: Any) -> dict[str, Any]:
    return {
        "config": {"x": tune.uniform(0, 1)},
        "num_samples": 6,
        "metric": "value",
        "mode": "max",
        "max_concurrent_trials": 2,
        **options,
    }


def every_value_was_earned(analysis: tune.ExperimentAnalysis) -> None:
    """Each trial has made as many steps as it counts, whoever made the first ones."""
    for trial in analysis.trials:
        assert trial.status == "TERMINATED"
        frame = analysis.trial_dataframes[trial.trial_id]
        assert list(frame["n"]) == list(frame["training_iteration"])
    assert max(trial.last_result["n"] for trial in analysis.trials) >= 20


@pytest.mark.parametrize("trainable", [Learns, LearnsInFiles, learns])
@pytest.mark.parametrize("scope", ["trial", "experiment"])
def test_K4_a_donors_only_checkpoint_is_never_deleted(run: Run, trainable: Any, scope: str) -> None:
    """num_to_keep=1, and the rule keeps the worst: what others go on from stays all the same."""
    rule = tune.CheckpointConfig(
        num_to_keep=1, checkpoint_score_attribute="value", checkpoint_score_order="min", scope=scope
    )
    analysis = run(trainable, **of_all(trainable), scheduler=population(), checkpoint_config=rule)
    every_value_was_earned(analysis)
    assert any(one.donor is not None for one in analysis._source.lineage())
    kept = len(stored(analysis.experiment_path)) + sum(map(len, folders(analysis.experiment_path).values()))
    assert kept <= (12 if scope == "trial" else 1), "nobody needs the others any more"


@pytest.mark.parametrize("trainable", [Learns, learns])
def test_C14_a_population_with_few_alive_at_once(run: Run, trainable: Any) -> None:
    """Paused members beyond the limit are put away and come back from their checkpoints."""
    rule = tune.CheckpointConfig(num_to_keep=1)
    options = of_all(trainable, num_samples=8, max_suspended=1)
    analysis = run(trainable, **options, scheduler=population(2), checkpoint_config=rule)
    every_value_was_earned(analysis)


@pytest.mark.parametrize("trainable", [Learns, LearnsInFiles, learns])
@pytest.mark.parametrize("alive", [0, 2])
def test_C14_hyperband_puts_suspended_trials_away_and_restores_them(run: Run, trainable: Any, alive: int) -> None:
    scheduler = HyperBandScheduler("training_iteration", max_t=9, reduction_factor=3)
    rates = list(range(9, 0, -1))  # the best are paused first, so they are the ones put away
    analysis = run(
        trainable,
        config={"x": tune.grid_search([float(rate) for rate in rates])},
        metric="value",
        mode="max",
        max_concurrent_trials=1,
        max_suspended=alive,
        scheduler=scheduler,
        checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
    )
    for trial, rate in zip(analysis.trials, rates, strict=True):
        n = trial.last_result["training_iteration"]
        assert (trial.last_result["n"], trial.last_result["value"]) == (n, n * rate)
        frame = analysis.trial_dataframes[trial.trial_id]
        assert list(frame["training_iteration"]) == list(range(1, n + 1))
    continued = [trial for trial in analysis.trials if trial.last_result["training_iteration"] > 1]
    assert any(trial.last_result["iterations_since_restore"] < trial.last_result["n"] for trial in continued)
    assert max(trial.last_result["n"] for trial in analysis.trials) == 9


def test_C14_a_function_that_saved_earlier_stays_alive(run: Run) -> None:
    """Its checkpoint is not of where it is: putting it away would lose steps, so the limit gives way."""

    def seldom(config: dict[str, Any]) -> None:
        before = tune.get_checkpoint()
        n = 0 if before is None else before.to_dict()["n"]
        while n < 9:
            n += 1
            saved = tune.Checkpoint.from_dict({"n": n}) if n == 2 else None
            tune.report(value=n * config["x"], n=n, checkpoint=saved)

    analysis = run(
        seldom,
        config={"x": tune.grid_search([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])},
        metric="value",
        mode="max",
        max_suspended=0,
        scheduler=HyperBandScheduler("training_iteration", max_t=9, reduction_factor=3),
    )
    for trial in analysis.trials:
        assert trial.last_result["n"] == trial.last_result["training_iteration"]
        assert trial.last_result["iterations_since_restore"] == trial.last_result["n"]


class Grows(tune.Trainable):
    """Its score is how often it has stepped, times its rate."""

    def setup(self, config: dict[str, Any]) -> None:
        self.steps = 0

    def step(self) -> dict[str, Any]:
        self.steps += 1
        return {"score": self.steps * self.config["rate"], "steps": self.steps}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.steps = checkpoint["steps"]


@pytest.mark.parametrize("seed", range(14, 22))
def test_finished_trials_go_on_from_the_checkpoint_that_they_were_given(tmp_path: Path, seed: int) -> None:
    """A trial that copied another one and has not saved since has nothing but that one's checkpoint; it stays."""

    def go(steps: int, **more: Any) -> tune.ExperimentAnalysis:
        scheduler = PopulationBasedTraining(
            time_attr="training_iteration",
            metric="score",
            mode="max",
            perturbation_interval=2,
            hyperparam_mutations={"rate": tune.uniform(0, 1)},
            seed=seed,
        )
        return tune.run(
            Grows,
            config={"rate": tune.uniform(0, 1)},
            num_samples=4,
            stop={"training_iteration": steps},
            scheduler=scheduler,
            name="grows",
            storage_path=tmp_path,
            executor="inline",
            seed=seed,
            verbose=0,
            **more,
        )

    go(5)
    found = go(9, resume_config=tune.ResumeConfig(finished="resume"))
    assert [(trial.status, trial.last_result["steps"]) for trial in found.trials] == [("TERMINATED", 9)] * 4
