"""Goal Q3 and the contract of promotion-type ASHA and PASHA: on the stage, and in runs on both executors."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttune as tune
from fasttune.schedulers import ASHAPromotionScheduler, PASHAScheduler, TrialScheduler, create_scheduler
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[0]))
from stage import Stage

LOSSES = [0.50, 0.40, 0.60, 0.30, 0.55, 0.35, 0.20, 0.70, 0.25, 0.45, 0.10, 0.65]
JOBS = "0:0 1:0 2:0 1:1 3:0 3:1 4:0 5:0 5:1 3:2 6:0 6:1 6:2 7:0 8:0 8:1 9:0 10:0 10:1 10:2 10:3 11:0"
KINDS = [ASHAPromotionScheduler, PASHAScheduler]


def promotion(**given: Any) -> ASHAPromotionScheduler:
    return ASHAPromotionScheduler(**{"max_t": 27, "reduction_factor": 3, **given})


def test_Q3_the_job_list_on_the_stage() -> None:
    stage = Stage(promotion(), metric="loss", mode="min")
    stage.add(len(LOSSES))
    rungs = {1: 0, 3: 1, 9: 2, 27: 3}
    jobs = []
    while (trial := stage.choose()) is not None:
        while trial.status == "RUNNING":
            stage.report(trial, loss=LOSSES[trial.index])
            step = trial.last_result["training_iteration"]
            if step in rungs:
                jobs.append(f"{trial.index}:{rungs[step]}")
    assert " ".join(jobs) == JOBS
    assert len(stage.decisions) == len(jobs)  # it was asked at rungs only


def test_a_free_worker_never_waits() -> None:
    """Algorithm 2 begins a trial whenever nobody may be promoted, however many are under way."""
    stage = Stage(promotion())
    stage.add(50)
    assert len(stage.choose_all()) == 50


def test_a_promotion_that_could_not_be_run_is_chosen_again() -> None:
    stage = Stage(promotion())
    stage.add(5)
    for score in (3.0, 2.0, 1.0):
        trial = stage.choose()
        stage.report(trial, score=score)
    chosen = stage.choose()
    assert chosen.index == 0
    chosen.status = "PAUSED"  # the machine took it back: no room
    assert stage.choose() is chosen
    chosen.status = "RUNNING"  # it is set aside for this turn
    assert stage.scheduler.choose_trial_to_run(stage).index == 3


def test_a_promoted_trial_that_fails_and_is_tried_again_goes_on_to_its_rung() -> None:
    stage = Stage(promotion())
    stage.add(6)
    for score in (3.0, 2.0, 1.0):
        stage.report(stage.choose(), score=score)
    trial = stage.choose()
    stage.scheduler.on_trial_error(stage, trial)
    trial.status = "PENDING"
    stage.scheduler.on_trial_add(stage, trial)
    trial.last_result.clear()
    assert stage.choose() is trial
    assert [stage.report(trial, score=3.0) for _ in range(3)] == ["CONTINUE", "CONTINUE", "PAUSE"]


def test_a_trial_that_ended_is_not_promoted() -> None:
    stage = Stage(promotion())
    stage.add(4)
    best = stage.choose()
    stage.report(best, score=9.0)
    stage.scheduler.on_trial_remove(stage, best)
    best.status = "TERMINATED"
    for _ in range(2):
        stage.report(stage.choose(), score=1.0)
    assert stage.choose().index == 3


def test_times_that_are_no_steps_are_asked_about_at_every_report() -> None:
    stage = Stage(promotion(time_attr="seconds"))
    (trial,) = stage.add(1)
    assert stage.scheduler.ask_from(trial) == 0
    stage.choose()
    assert stage.report(trial, seconds=0.4, score=1.0) == "CONTINUE"
    assert stage.report(trial, score=1.0, seconds=None) == "CONTINUE"
    assert stage.report(trial, seconds=1.4, score=1.0) == "PAUSE"


def test_milestones_between_steps_are_met_at_the_next_step() -> None:
    scheduler = promotion(reduction_factor=2.5, max_t=16)
    assert scheduler.milestones == [1, 2.5, 6.25, 15.625, 16]
    stage = Stage(scheduler)
    (trial,) = stage.add(1)
    stage.choose()
    stage.report(trial, score=1.0)
    assert scheduler.ask_from(trial) == 3


def test_pasha_shows_how_far_it_has_opened() -> None:
    scheduler = PASHAScheduler(max_t=27, reduction_factor=3)
    stage = Stage(scheduler)
    stage.add(8)
    assert scheduler.resource_limit == 3
    better_late = {0: (3.0, 4.0, 4.0), 1: (2.0, 5.0, 6.0)}
    while (trial := stage.choose()) is not None:
        while trial.status == "RUNNING":
            step = trial.last_result.get("training_iteration", 0)
            stage.report(trial, score=better_late[trial.index][min(step, 2)] if trial.index < 2 else 0.0)
    assert scheduler.resource_limit == 9
    assert scheduler.epsilon == 0.0
    assert "open up to 9, epsilon 0" in scheduler.debug_string()


happenings = st.lists(
    st.tuples(
        st.sampled_from(["choose"] * 3 + ["report"] * 5 + ["jump", "back", "complete", "fail", "mute"]),
        st.integers(0, 20),
        st.one_of(st.integers(-3, 3).map(float), st.sampled_from([math.nan, math.inf, -math.inf])),
    ),
    max_size=70,
)


@pytest.mark.parametrize("kind", KINDS)
@given(happenings=happenings, time_attr=st.sampled_from(["training_iteration", "t"]))
@settings(max_examples=rounds(300), deadline=None)
def test_whatever_happens_what_is_chosen_may_run(kind: Any, happenings: Any, time_attr: str) -> None:
    """The stage checks that answers are legal, and that only trials that wait are chosen; no rung promotes more than
    its share, and nobody is promoted who has ended."""
    scheduler = kind(time_attr, max_t=9, reduction_factor=2)
    stage = Stage(scheduler)
    stage.add(8)
    for what, pick, value in happenings:
        running = stage.trials_of("RUNNING")
        if what == "choose" or not running:
            stage.choose()
            continue
        trial = running[pick % len(running)]
        if what in ("complete", "fail"):
            getattr(stage, what)(trial)
        elif what == "mute":
            stage.report(trial, score=None)
        else:
            stride = {"report": 1, "jump": 4, "back": -3}[what]
            step = max(1, trial.last_result.get("training_iteration", 0) + stride)
            stage.report(trial, training_iteration=step, t=step + 0.5, score=value)
    stage.choose_all()
    assert not stage.trials_of("PENDING")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_t": 0}, "max_t must be a finite number > 0, got 0"),
        ({"max_t": math.inf}, "max_t must be a finite number > 0, got inf"),
        ({"grace_period": 0}, "grace_period must be a number > 0, got 0"),
        ({"max_t": 5, "grace_period": 6}, r"grace_period must be at most max_t \(5\), got 6"),
        ({"reduction_factor": 1}, "reduction_factor must be a number > 1, got 1"),
        ({"reduction_factor": 1.01}, "more than 64 rungs"),
    ],
)
def test_wrong_arguments_are_named(kind: Any, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**wrong)
    with pytest.raises(TypeError):
        kind(max_tt=3)
    with pytest.raises(ValueError, match=f"{kind.__name__} was run without a metric and mode"):
        Stage(kind(), metric=None).add()


def test_C15_their_names() -> None:
    assert type(create_scheduler("asha_promotion", max_t=9)) is ASHAPromotionScheduler
    assert type(create_scheduler("PASHA", max_t=9)) is PASHAScheduler
    with pytest.raises(TypeError):
        create_scheduler("pasha", max_tt=9)


# -- whole runs ---------------------------------------------------------------------------------------------------------


def losses(config: dict[str, Any]) -> None:
    state = []
    for step in range(1, 40):
        state.append(step)
        tune.report(loss=config["loss"], state=len(state))


class Losses(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.state = 0

    def step(self) -> dict[str, Any]:
        self.state += 1
        return {"loss": self.config["loss"], "state": self.state}


class Watch(tune.Callback):
    """Which trial came to which rung, in order."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **more: Any) -> None:
        rungs = {1: 0, 3: 1, 9: 2, 27: 3}
        if result["training_iteration"] in rungs:
            self.jobs.append(f"{trial.index}:{rungs[result['training_iteration']]}")


def run(trainable: Any, folder: Path, executor: str, scheduler: TrialScheduler, **more: Any) -> tune.ExperimentAnalysis:
    return tune.run(
        trainable,
        config={"loss": tune.grid_search(LOSSES)},
        scheduler=scheduler,
        metric="loss",
        mode="min",
        executor=executor,
        storage_path=str(folder),
        verbose=0,
        **more,
    )


def reached(analysis: tune.ExperimentAnalysis) -> list[int]:
    return [trial.last_result["training_iteration"] for trial in analysis.trials]


both = pytest.mark.parametrize("executor", ["inline", "thread", "process"])


@both
@pytest.mark.parametrize("trainable", [losses, Losses])
def test_Q3_the_job_list_in_a_run(executor: str, trainable: Any, tmp_path: Path) -> None:
    watch = Watch()
    analysis = run(trainable, tmp_path, executor, promotion(), max_concurrent_trials=1, callbacks=[watch])
    highest = {}
    for job in JOBS.split():
        trial, rung = map(int, job.split(":"))
        highest[trial] = 3**rung
    assert reached(analysis) == [highest[trial] for trial in range(len(LOSSES))]
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    for trial in analysis.trials:  # nobody began again from the first step
        assert trial.last_result["state"] == trial.last_result["training_iteration"]
    assert watch.jobs == JOBS.split()


@both
@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_promote_too(executor: str, kind: Any, tmp_path: Path) -> None:
    analysis = run(losses, tmp_path, executor, kind(max_t=9, reduction_factor=3), max_concurrent_trials=2)
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    most = 3 if kind is PASHAScheduler else 9  # nobody changes places: two rungs are enough for PASHA
    assert max(reached(analysis)) == most
    assert reached(analysis).count(1) >= 6
    assert analysis.best_config == {"loss": 0.10}
    assert [trial.last_result["state"] for trial in analysis.trials] == reached(analysis)


@both
def test_failures_in_a_run_are_tried_again(executor: str, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    def fails_once(config: dict[str, Any]) -> None:
        for step in range(1, 40):
            mark = marks / f"{config['loss']}"
            if step == 2 and not mark.exists():
                mark.touch()
                raise RuntimeError("once")
            tune.report(loss=config["loss"])

    analysis = run(fails_once, tmp_path, executor, promotion(max_t=9), max_concurrent_trials=2, max_failures=1)
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert max(reached(analysis)) == 9
