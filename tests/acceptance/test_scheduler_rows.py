"""Rows C6, C8, C12, C14 and C15: more of the schedulers, in runs as a user writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.devices.machine import detect
from fasttune.schedulers import (
    ASHAScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    ResourceChangingScheduler,
    TrialScheduler,
)

CPUS = len(detect().cpus)


def lines(config: dict[str, Any]) -> None:
    for step in range(1, 6):
        tune.report(score=config["slope"] * step)


def test_C6_a_trial_below_the_median_of_the_others_is_stopped(run):
    rule = MedianStoppingRule(time_attr="training_iteration", grace_period=0, min_samples_required=2)
    analysis = run(
        lines,
        config={"slope": tune.grid_search([5, 4, 3, 1])},
        scheduler=rule,
        metric="score",
        mode="max",
        max_concurrent_trials=1,
    )
    steps = [trial.last_result["training_iteration"] for trial in analysis.trials]
    assert steps[:2] == [5, 5]  # too few others to judge them by
    assert steps[-1] < 5


class Learner(tune.Trainable):
    """Its score grows by its rate; a copy goes on from the donor's score."""

    def setup(self, config: dict[str, Any]) -> None:
        self.score, self.n = 0.0, 0

    def step(self) -> dict[str, Any]:
        self.n += 1
        self.score += self.config["rate"]
        return {"score": self.score, "n": self.n, "done": self.n == 12}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"score": self.score, "n": self.n}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.score, self.n = checkpoint["score"], checkpoint["n"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        return True


@pytest.mark.parametrize("burn_in", [0, 8])
def test_C8_a_synchronous_population_perturbs_in_step_and_not_before_the_burn_in(run, burn_in):
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=4,
        burn_in_period=burn_in,
        hyperparam_mutations={"rate": [1, 2, 3, 4]},
        synch=True,
    )
    analysis = run(
        Learner, config={"rate": tune.grid_search([1, 2, 3, 4])}, scheduler=scheduler, metric="score", mode="max"
    )
    changes = analysis.lineage()
    assert len(changes) >= 1
    assert set(changes["training_iteration"]) <= {4, 8, 12}
    assert changes["training_iteration"].min() == max(4, burn_in)
    assert all(trial.last_result["n"] == 12 for trial in analysis.trials)


def test_C12_a_trial_that_is_alone_gets_what_is_free(run):
    class Told(Learner):
        def step(self):
            result = super().step()
            return {**result, "cpus": tune.get_trial_resources().required_resources["CPU"]}

    analysis = run(Told, config={"rate": 1}, scheduler=ResourceChangingScheduler(), metric="score", mode="max")
    frame = analysis.trial_dataframes[analysis.trials[0].trial_id]
    assert frame["n"].tolist() == list(range(1, 13))
    assert frame["cpus"].tolist() == [1] + [CPUS] * 11


class TakesTurns(TrialScheduler):
    """Pauses after every report; whoever is least far is next."""

    def on_trial_result(self, state, trial, result):
        return self.PAUSE

    def choose_trial_to_run(self, state):
        waiting = [*state.trials_of("PENDING", -1), *state.trials_of("PAUSED", -1)]
        return min(waiting, key=lambda trial: trial.last_result.get("training_iteration", 0), default=None)


@pytest.mark.parametrize("trainable", [Learner, lines], ids=["class", "function without checkpoints"])
def test_C14_a_paused_trial_goes_on_as_it_was(run, trainable):
    analysis = run(trainable, config={"rate": 2, "slope": 2}, num_samples=3, scheduler=TakesTurns())
    for trial in analysis.trials:
        assert trial.status == "TERMINATED"
        frame = analysis.trial_dataframes[trial.trial_id]
        assert frame["score"].tolist() == [2.0 * step for step in range(1, len(frame) + 1)]
        assert frame["training_iteration"].tolist() == list(range(1, len(frame) + 1))


def test_C15_schedulers_by_name_steer_a_run(run):
    names = ("fifo", "async_hyperband", "asynchyperband", "median_stopping_rule", "medianstopping", "hyperband")
    for name in names:
        analysis = run(lines, config={"slope": 1}, scheduler=name, metric="score", mode="max")
        assert analysis.trials[0].status == "TERMINATED"
    assert isinstance(tune.create_scheduler("ASHA", max_t=9), ASHAScheduler)
    assert tune.create_scheduler("pbt", hyperparam_mutations={"a": [1]}).mode is None
    with pytest.raises(ValueError, match="aasha"):
        tune.create_scheduler("aasha")
    with pytest.raises(TypeError, match="max_time"):
        tune.create_scheduler("asha", max_time=3)


def test_C15_a_saved_asha_goes_on_with_its_rungs(run, tmp_path):
    def one_step(config):
        tune.report(score=config["score"])
        tune.report(score=config["score"])

    goal = {"metric": "score", "mode": "max", "max_concurrent_trials": 1}
    first = ASHAScheduler(max_t=8, grace_period=1, reduction_factor=2)
    run(one_step, config={"score": tune.grid_search([8, 7, 6, 5, 9, 10])}, scheduler=first, **goal)
    first.save(str(tmp_path / "asha.json"))
    again = ASHAScheduler(max_t=8, grace_period=1, reduction_factor=2)
    again.restore(str(tmp_path / "asha.json"))
    analysis = run(one_step, config={"score": tune.grid_search([4, 11])}, scheduler=again, **goal)
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [1, 2]


def test_C15_populations_by_name(run):
    analysis = run(
        Learner,
        config={"rate": tune.grid_search([1, 2, 3, 4])},
        scheduler=tune.create_scheduler(
            "pbt",
            time_attr="training_iteration",
            perturbation_interval=3,
            hyperparam_mutations={"rate": [1, 2, 3, 4]},
            synch=True,  # so that somebody copies somebody, whoever is ahead
        ),
        metric="score",
        mode="max",
    )
    assert Path(analysis.experiment_path, "pbt_global.txt").exists()
