"""Populations that are compared at equal training time: who is ranked where, and when it is decided."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttune as tune
from fasttune._rules import LOWER, MIDDLE, UPPER
from fasttune.schedulers import PB2, PopulationBasedTraining
from fasttune.schedulers.equal_times import EqualTimes
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from stage import Stage

from model_equal_times import SlowEqualTimes

values = st.one_of(st.integers(-3, 3).map(float), st.floats(-1.0, 1.0), st.sampled_from([math.nan, math.inf, -math.inf]))
reports = st.tuples(st.just("report"), st.integers(0, 7), st.tuples(st.floats(1.0, 3.0), values))
others = st.tuples(st.sampled_from(["forget", "copy"]), st.integers(0, 7), st.integers(0, 7))


@given(
    trace=st.lists(st.one_of(reports, reports, reports, others), max_size=80),
    fraction=st.sampled_from([0.0, 0.2, 0.25, 0.5]),
    interval=st.sampled_from([1.0, 2.5]),
    maximise=st.booleans(),
    population=st.integers(1, 8),
)
@settings(max_examples=rounds(800), deadline=None)
def test_every_decision_is_that_of_the_slow_rule(trace, fraction, interval, maximise, population):
    fast, slow = EqualTimes(fraction, interval, maximise), SlowEqualTimes(fraction, interval, maximise)
    clock: dict[int, float] = {}
    for what, trial, more in trace:
        if what == "forget":
            fast.forget(trial)
            slow.forget(trial)
            clock.pop(trial, None)
        elif what == "copy":
            if trial != more and trial in clock and more in clock:
                fast.copied(trial, more)
                slow.copy(trial, more)
                clock[trial] = clock[more]
        else:
            clock[trial] = clock.get(trial, 0.0) + interval * more[0]
            fast.enter(trial, clock[trial], more[1])
            slow.enter(trial, clock[trial], more[1])
            assert fast.undecided(math.inf) == [trial]
            donors = slow.donors(trial, population)
            drawn = {fast.donor(trial, population, random.Random(seed)) for seed in range(8)} - {None}
            assert drawn <= donors
            assert fast.settle(trial, population) == slow.settle(trial, population)
        assert not fast.anybody_waits


def test_scores_that_all_have_left_behind_are_forgotten() -> None:
    ranked = EqualTimes(0.25, 1.0, True)
    for time in range(1, 1000):
        for trial in range(4):
            ranked.enter(trial, float(time), float(trial))
            ranked.settle(trial, 4)
    assert len(ranked._ranks) == 1
    assert [len(mine) for mine in ranked._in.values()] == [1] * 4


def test_a_trial_is_compared_where_more_than_half_have_been() -> None:
    ranked = EqualTimes(0.25, 10.0, True)
    for trial in range(4):
        ranked.enter(trial, 10.0, float(trial))
        ranked.settle(trial, 4)
    ranked.enter(0, 20.0, 100.0)  # by its score at 10, the worst of four
    assert ranked.settle(0, 4) == LOWER
    ranked.enter(1, 20.0, 200.0)
    assert ranked.settle(1, 4) == MIDDLE
    ranked.enter(2, 20.0, 50.0)  # three of four are there now, and it is the worst of them
    assert ranked.settle(2, 4) == LOWER
    ranked.enter(3, 20.0, 300.0)
    assert ranked.settle(3, 4) == UPPER


# ---- on a stage


def pbt(**more: Any) -> PopulationBasedTraining:
    given: dict[str, Any] = {
        "time_attr": "training_iteration",
        "perturbation_interval": 10,
        "hyperparam_mutations": {"x": lambda: 0.0},
        "resample_probability": 0.0,
        **more,
    }
    return PopulationBasedTraining(**given)


def population(n: int, places: int, **more: Any) -> tuple[Stage, list[Any]]:
    """n trials that take turns in so many places."""
    stage = Stage(pbt(**more))
    trials = stage.add(n)
    for trial in trials:
        trial.config = {"x": 100.0 * (trial.index + 1)}
    for _ in range(places):
        stage.choose()
    return stage, trials


def turn(stage: Stage, trial: Any, time: int, score: float) -> str:
    """The trial reports; who is chosen then begins."""
    decision = stage.report(trial, training_iteration=time, score=score)
    if decision == "PAUSE":
        stage.choose()
    return decision


def test_one_that_takes_turns_is_decided_about_when_it_may_be_run_next() -> None:
    stage, trials = population(4, 1)
    for trial in trials[:3]:
        assert turn(stage, trial, 10, float(trial.index)) == "PAUSE"
        assert stage.changes == []
    assert turn(stage, trials[3], 10, 3.0) == "PAUSE"
    assert [(change.trial, change.donor) for change in stage.changes] == [(trials[0], trials[3])]


def test_what_improves_with_training_is_not_better_for_having_come_first() -> None:
    """The first three of each round come with a score that is better than the old one of the last, which is the best."""
    stage, trials = population(4, 1)
    for time in (10, 20, 30):
        for _ in trials:
            running = stage.trials_of("RUNNING")[0]
            turn(stage, running, time, 10.0 * time + running.index)
    assert [change.donor.index for change in stage.changes] == [3, 3, 3]


def test_with_a_place_for_each_nobody_pauses_but_those_that_copy() -> None:
    stage, trials = population(4, 4)
    for time in (10, 20):
        for trial in trials:
            decision = stage.report(trial, training_iteration=time, score=time - float(trial.index))
            assert (decision == "PAUSE") == (trial in [change.trial for change in stage.changes])
            stage.choose_all()
    assert {change.trial.index for change in stage.changes} <= {2, 3}
    assert stage.changes


def test_a_trial_that_copied_is_not_sent_back_before_it_has_a_score_of_its_own() -> None:
    stage, trials = population(4, 4)
    for trial in trials:
        stage.report(trial, training_iteration=10, score=-float(trial.index))
    assert [change.trial for change in stage.changes] == trials[2:]  # the worst of three, and of four
    assert {change.donor for change in stage.changes} == {trials[0]}
    stage.choose_all()
    assert stage.report(trials[3], training_iteration=20, score=-50.0) == "CONTINUE"  # alone there: the old score is not its own
    assert len(stage.changes) == 2


def test_those_that_wait_for_a_decision_have_it_when_who_was_waited_for_ends() -> None:
    stage, trials = population(4, 1)
    for trial in trials[:3]:
        turn(stage, trial, 10, float(trial.index))
    assert stage.changes == []
    stage.fail(trials[3])
    assert [(change.trial, change.donor) for change in stage.changes] == [(trials[0], trials[2])]


def test_one_that_is_gone_on_with_undecided_is_decided_about_at_its_next_perturbation() -> None:
    """A scheduler chooses from what can be run: here the last trial cannot."""
    stage, trials = population(3, 1)
    turn(stage, trials[0], 10, 0.0)
    stage.report(trials[1], training_iteration=10, score=1.0)
    trials[2].status = "RUNNING"  # as it is shown while it cannot be run
    assert stage.choose() is trials[0]
    trials[2].status = "PENDING"
    assert stage.scheduler.ask_from(trials[0]) == 20
    assert stage.report(trials[0], training_iteration=20, score=0.5) == "PAUSE"
    assert stage.choose() is trials[2]
    assert turn(stage, trials[2], 10, 2.0) == "PAUSE"
    assert stage.changes == []  # the first one, which was the worst there, is further by now, and nobody has come there yet
    assert turn(stage, stage.trials_of("RUNNING")[0], 20, 3.0) == "PAUSE"
    assert turn(stage, stage.trials_of("RUNNING")[0], 20, 4.0) == "PAUSE"
    assert [change.trial for change in stage.changes] == [trials[0]]


def test_ways_to_compare_are_named() -> None:
    for made in (lambda **more: pbt(**more), lambda **more: PB2(hyperparam_bounds={"x": [0.0, 1.0]}, **more)):
        with pytest.raises(ValueError, match="compare must be one of 'equal_times', 'last_scores', got 'scores'"):
            made(compare="scores")
        assert made(compare="last_scores")._equal_times is None
        assert made()._equal_times is not None
        assert made(synch=True)._equal_times is None  # all are compared at one time


# ---- on the machine


class Curve(tune.Trainable):
    """A score that grows by the config's x."""

    def setup(self, config: dict[str, Any]) -> None:
        self.x, self.score = config["x"], 0.0

    def step(self) -> dict[str, Any]:
        self.score += self.x
        return {"score": self.score}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"score": self.score}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.score = checkpoint["score"]


def run(tmp_path: Path, **more: Any) -> tuple[tune.ExperimentAnalysis, PopulationBasedTraining]:
    scheduler = pbt(perturbation_interval=2, hyperparam_mutations={"x": tune.uniform(0, 1)}, clip=True, seed=3, **more.pop("pbt", {}))
    given: dict[str, Any] = {"num_samples": 8, "stop": {"training_iteration": 20}, "name": "population", "executor": "inline"}
    analysis = tune.run(
        Curve, config={"x": tune.uniform(0, 1)}, scheduler=scheduler, metric="score", mode="max", storage_path=str(tmp_path),
        verbose=0, seed=0, **{**given, **more},
    )  # fmt: skip
    return analysis, scheduler


def test_taking_turns_decides_as_in_step(tmp_path: Path) -> None:
    """One at a time, all have come to a perturbation when it is decided: the same as waiting for the last one."""
    turns, _ = run(tmp_path / "turns", max_concurrent_trials=1)
    in_step, _ = run(tmp_path / "step", max_concurrent_trials=1, pbt={"synch": True})

    def copiers(analysis: tune.ExperimentAnalysis) -> set[tuple[str, int]]:
        """Before all have come to the largest x; whom they copied hangs on who came first of equals."""
        copies = analysis.lineage()
        early = copies[copies["training_iteration"] <= 8]
        return {(one.rsplit("_")[-1], when) for one, when in zip(early["trial_id"], early["training_iteration"], strict=True)}

    assert copiers(turns) == copiers(in_step)
    assert len(copiers(turns)) == 8


@pytest.mark.parametrize("places", [1, 3, 8])
@pytest.mark.parametrize("executor", ["inline", "thread"])
def test_a_replay_decides_the_same(tmp_path: Path, executor: str, places: int) -> None:
    analysis, scheduler = run(tmp_path, executor=executor, max_concurrent_trials=places)
    assert {trial.last_result["training_iteration"] for trial in analysis.trials} == {20}
    assert scheduler.num_perturbations > 0
    again, _ = run(tmp_path, executor=executor, max_concurrent_trials=places, resume=True, num_samples=12)
    assert {trial.last_result["training_iteration"] for trial in again.trials} == {20}
    assert [trial.last_result for trial in again.trials[:8]] == [trial.last_result for trial in analysis.trials]
