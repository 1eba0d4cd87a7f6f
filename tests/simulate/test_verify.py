"""A journal replayed through a fresh scheduler gives the identical decisions."""

from __future__ import annotations

import inspect
import math
import os
import random
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune import schedulers
from fasttune.analysis import ExperimentAnalysis
from fasttune.schedulers import ASHAScheduler, TrialScheduler, create_scheduler
from fasttune.trial import Trial


def curve(config: dict[str, Any]) -> None:
    for step in range(1, 10):
        tune.report({"score": config["x"] - 1.0 / step})


def run(folder: Path, scheduler: TrialScheduler, executor: str = "inline", **more: Any) -> ExperimentAnalysis:
    asked: dict[str, Any] = {"config": {"x": tune.uniform(0, 1)}, "num_samples": 12, **more}
    return tune.run(
        curve,
        metric="score",
        mode="max",
        scheduler=scheduler,
        executor=executor,
        storage_path=folder,
        seed=3,
        verbose=0,
        **asked,
    )


class WorseThanTheLast(TrialScheduler):
    """Stops a trial whose score is worse than that of the report before it; pauses every fourth report."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor
        self.before = 0.0

    def on_trial_result(self, state: Any, trial: Trial, result: dict[str, Any]) -> str:
        worse = result["score"] < self.factor * self.before
        self.before = result["score"]
        if worse:
            return self.STOP
        return self.PAUSE if result["training_iteration"] % 4 == 0 and not result["done"] else self.CONTINUE


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
@pytest.mark.parametrize("brackets", [1, 2])
def test_compiled_decisions_are_repeated(tmp_path: Path, executor: str, brackets: int) -> None:
    settings: dict[str, Any] = {"max_t": 9, "reduction_factor": 3, "brackets": brackets}
    analysis = run(tmp_path, ASHAScheduler(**settings), executor, num_samples=40)
    assert ExperimentAnalysis(analysis.experiment_path).verify(ASHAScheduler(**settings)) == []


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_decisions_that_were_asked_are_repeated(tmp_path: Path, executor: str) -> None:
    analysis = run(tmp_path, WorseThanTheLast(), executor)
    assert analysis.verify(WorseThanTheLast()) == []
    assert len({trial.last_result["training_iteration"] for trial in analysis.trials}) > 1


class Improves(tune.Trainable):
    """A score that comes closer to x with every step; it has saved where it is."""

    def setup(self, config: dict[str, Any]) -> None:
        self.x, self.n = config["x"], 0

    def step(self) -> dict[str, Any]:
        self.n += 1
        return {"score": self.x - 1.0 / self.n, "n": self.n, "done": self.n >= 9}

    def save_checkpoint(self, folder: str) -> dict[str, Any]:
        return {"n": self.n}

    def load_checkpoint(self, state: dict[str, Any]) -> None:
        self.n = state["n"]


# What schedulers are given here, as far as they take it: a run of nine steps.
NINE_STEPS: dict[str, Any] = {
    "time_attr": "training_iteration",
    "max_t": 9,
    "grace_period": 1,
    "reduction_factor": 3,
    "min_samples_required": 2,
    "min_time_slice": math.inf,  # whether one makes room depends on who waits just then, which the journal does not tell
    "perturbation_interval": 3,
    "hyperparam_mutations": {"x": tune.uniform(0, 1)},
    "hyperparam_bounds": {"x": [0.0, 1.0]},
}


def small(name: str) -> TrialScheduler | None:
    """The scheduler of a name, for nine steps; None if it needs more than that to be made."""
    kind = getattr(schedulers, schedulers._NAMES[name])
    taken = inspect.signature(kind).parameters
    settings = {key: value for key, value in NINE_STEPS.items() if key in taken}
    needed = [one for one in taken.values() if one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    return None if {one.name for one in needed} - settings.keys() else create_scheduler(name, **settings)


def registered() -> list[str]:
    known = set(schedulers._NAMES)
    return sorted(name for name in known if small(name))


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
@pytest.mark.parametrize("name", registered())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_scheduler_decides_again_as_it_did(tmp_path: Path, name: str, executor: str) -> None:
    analysis = tune.run(
        Improves,
        config={"x": tune.uniform(0, 1)},
        num_samples=8,
        metric="score",
        mode="max",
        scheduler=small(name),
        executor=executor,
        storage_path=tmp_path,
        resources_per_trial={"cpu": 0.5},  # more than there are CPUs: some are handed out long before they begin
        seed=3,
        verbose=0,
    )
    assert analysis.verify(small(name)) == []
    opened = ExperimentAnalysis(analysis.experiment_path)
    assert opened.verify(small(name)) == []


class Counts(TrialScheduler):
    """Decides by who else waits, is handed out or runs."""

    def on_trial_result(self, state: Any, trial: Trial, result: dict[str, Any]) -> str:
        waiting, running = state.trials_of("PENDING"), state.trials_of("RUNNING")
        return self.STOP if (len(waiting) + 2 * len(running)) % 3 == 0 else self.CONTINUE

    def choose_trial_to_run(self, state: Any) -> Trial | None:
        return next(iter(state.trials_of("PENDING", 1)), None)


def test_what_was_handed_out_and_had_not_begun_ran_in_the_eyes_of_a_replay_too(tmp_path: Path) -> None:
    """A worker takes its time to come up, and the others report meanwhile."""

    def train(config: dict[str, Any]) -> None:
        (tmp_path / "begun").mkdir(exist_ok=True)
        (tmp_path / "begun" / str(os.getpid())).touch()
        for n in range(20):
            tune.report(score=n)

    analysis = tune.run(
        train,
        num_samples=24,
        metric="score",
        mode="max",
        scheduler=Counts(),
        resources_per_trial={"cpu": 0.25},
        storage_path=tmp_path,
        verbose=0,
    )
    assert len(list((tmp_path / "begun").iterdir())) > 1
    assert analysis.verify(Counts()) == []


class Fails(tune.Trainable):
    """Fails at some steps, at others when it is tried again."""

    def setup(self, config: dict[str, Any]) -> None:
        self.total, self.draw = 0.0, random.Random(f"{config['k']} {config['seed']}")

    def step(self) -> dict[str, Any]:
        self.total += self.draw.random()
        if self.draw.random() < 0.08:
            raise ValueError("it fails")
        return {"score": self.total + self.config["k"] * 0.1, "done": self.iteration >= 11}

    def save_checkpoint(self, folder: str) -> dict[str, Any]:
        return {"total": self.total}

    def load_checkpoint(self, state: dict[str, Any]) -> None:
        self.total = state["total"]


@pytest.mark.parametrize("seed", [11, 33, 39, 51, 53, 65])
def test_who_is_tried_again_waits_until_all_that_came_with_it_was_seen(tmp_path: Path, seed: int) -> None:
    """A trial failed, and others reported in the same turn: live it was there again before they were judged, in the journal
    behind them."""

    def scheduler() -> TrialScheduler:
        return create_scheduler("hyperband", max_t=12)

    analysis = tune.run(
        Fails,
        config={"k": tune.grid_search(list(range(12))), "seed": seed},
        metric="score",
        mode="min",
        scheduler=scheduler(),
        executor="inline",
        max_failures=3,
        max_concurrent_trials=random.Random(seed).choice([1, 2, 4, None]),
        raise_on_failed_trial=False,
        storage_path=tmp_path,
        seed=seed,
        verbose=0,
    )
    assert sum(trial.num_failures for trial in analysis.trials) > 0
    assert analysis.verify(scheduler()) == []


def test_other_settings_decide_otherwise(tmp_path: Path) -> None:
    asked = run(tmp_path / "asked", WorseThanTheLast())
    other = asked.verify(WorseThanTheLast(factor=0.5))
    assert other
    assert {(one.recorded, one.replayed) for one in other} >= {("STOP", "CONTINUE")}
    judged = run(tmp_path / "judged", ASHAScheduler(max_t=9, reduction_factor=3), num_samples=40)
    other = judged.verify(ASHAScheduler(max_t=9, reduction_factor=2))
    assert any((one.recorded, one.replayed) == ("STOP", "CONTINUE") for one in other)


def test_what_limits_and_the_runs_end_decided_is_no_schedulers_difference(tmp_path: Path) -> None:
    class Ends(tune.Stopper):
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            self.calls += 1
            return False

        def stop_all(self) -> bool:
            return self.calls >= 20

    limited = run(tmp_path / "limited", ASHAScheduler(max_t=9, reduction_factor=3), stop={"training_iteration": 5})
    assert limited.verify(ASHAScheduler(max_t=9, reduction_factor=3)) == []
    ended = run(tmp_path / "ended", WorseThanTheLast(), stop=Ends())
    assert ended.verify(WorseThanTheLast(), stop=Ends()) == []


def test_a_resumed_run_is_verified_as_a_whole(tmp_path: Path) -> None:
    for n in (6, 12):
        resume = {"resume": True} if n == 12 else {}
        analysis = run(
            tmp_path, ASHAScheduler(max_t=9, reduction_factor=3), name="halves", num_samples=n, **resume
        )
    assert len(analysis.trials) == 12
    assert analysis.verify(ASHAScheduler(max_t=9, reduction_factor=3)) == []


def test_another_kind_of_scheduler_is_refused(tmp_path: Path) -> None:
    analysis = run(tmp_path, WorseThanTheLast())
    with pytest.raises(ValueError, match="was run by WorseThanTheLast, and a AsyncHyperBandScheduler"):
        analysis.verify(ASHAScheduler())


def test_simulations_are_verified_in_the_same_way() -> None:
    made = tune.simulate(
        lambda config, step: config["x"] - 1 / step,
        {"x": tune.uniform(0, 1)},
        num_samples=40,
        steps=9,
        metric="score",
        mode="max",
        workers=4,
        scheduler=ASHAScheduler(max_t=9, reduction_factor=3),
    )
    assert made.verify(ASHAScheduler(max_t=9, reduction_factor=3)) == []
    assert made.verify(ASHAScheduler(max_t=9, reduction_factor=2))


def test_a_trial_that_reached_a_limit_is_judged_when_it_ends(tmp_path: Path) -> None:
    """Its report was not judged; its end was, and stands in the rung for all that come after it."""

    def asha() -> TrialScheduler:
        return ASHAScheduler(max_t=9, grace_period=1, reduction_factor=2)

    analysis = run(tmp_path, asha(), config={"x": tune.uniform(0, 1)}, num_samples=60, stop={"score": 0.3})
    ended = [trial.last_result["training_iteration"] for trial in analysis.trials if trial.last_result["score"] >= 0.3]
    assert len(set(ended)) > 1
    assert analysis.verify(asha()) == []
