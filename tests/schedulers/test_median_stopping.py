"""Row C6: the median stopping rule as a scheduler, on the stage and in runs."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttune as tune
from fasttune.schedulers import MedianStoppingRule, create_scheduler
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[0]))
sys.path.insert(0, str(Path(__file__).parents[1]))
from stage import Stage

from model_median import STOP, TOO_FEW, SlowMedian


def rule(**given: Any) -> MedianStoppingRule:
    asked: dict[str, Any] = {"grace_period": 0, "min_samples_required": 1, "min_time_slice": math.inf, **given}
    return MedianStoppingRule("t", **asked)


def two_others(scheduler: MedianStoppingRule) -> tuple[Stage, Any]:
    """One trial that grows by 100 a step, ten reports; one that stays at 450, five reports; and a third."""
    stage = Stage(scheduler)
    growing, level, third = stage.add(3)
    stage.choose_all()
    for t in range(10):
        stage.report(growing, t=t, score=100.0 * t)
    for t in range(5):
        stage.report(level, t=t, score=450.0)
    return stage, third


def test_C6_260_is_enough_at_1_and_too_little_at_2() -> None:
    stage, third = two_others(rule())
    assert stage.report(third, t=1, score=260.0) == "CONTINUE"
    assert stage.report(third, t=2, score=260.0) == "STOP"
    assert third.status == "TERMINATED"
    assert stage.scheduler.debug_string() == "Using MedianStoppingRule: num_stopped=1."


def test_C6_the_best_value_counts_and_equal_survives() -> None:
    stage, third = two_others(rule())
    assert stage.report(third, t=5, score=450.0) == "CONTINUE"
    assert stage.report(third, t=6, score=0.0) == "CONTINUE"
    assert stage.report(third, t=9, score=449.0) == "CONTINUE"  # the others' mean is 450
    stage, third = two_others(rule(smoothing="last"))
    assert stage.report(third, t=5, score=450.0) == "CONTINUE"
    assert stage.report(third, t=6, score=0.0) == "STOP"


def test_C6_nothing_is_decided_in_the_grace_period_nor_with_too_few() -> None:
    stage, third = two_others(rule(grace_period=2.5))
    assert stage.report(third, t=2, score=10.0) == "CONTINUE"
    assert stage.report(third, t=2.6, score=10.0) == "CONTINUE"  # the others have reported nothing since 2.5
    assert stage.report(third, t=3, score=10.0) == "STOP"
    stage, third = two_others(rule(min_samples_required=3))
    assert stage.report(third, t=3, score=10.0) == "CONTINUE"


def test_C6_what_was_reported_in_the_grace_period_is_not_in_the_means() -> None:
    stage = Stage(rule(grace_period=2))
    first, second = stage.add(2)
    stage.choose_all()
    for t, score in enumerate([1000.0, 1000.0, 10.0, 10.0]):
        stage.report(first, t=t, score=score)
    assert stage.report(second, t=3, score=11.0) == "CONTINUE"


def test_C6_completed_trials_stay_and_their_last_report_counts_once() -> None:
    stage = Stage(rule())
    first, second, third = stage.add(3)
    stage.choose_all()
    for t, score in enumerate([0.0, 0.0, 9.0]):
        stage.report(first, t=t, score=score)
    stage.complete(first)  # 9 is shown again; the mean is 3, and 4.5 if it counted twice
    assert stage.report(second, t=2, score=4.0) == "CONTINUE"
    assert stage.report(third, t=2, score=2.0) == "STOP"


def test_C6_a_soft_stop_pauses_once() -> None:
    scheduler = rule(hard_stop=False)
    stage, third = two_others(scheduler)
    (fourth,) = stage.add(1)
    assert stage.report(third, t=2, score=1.0) == "PAUSE"
    assert stage.choose() is fourth
    assert stage.choose() is third
    assert [stage.report(third, t=t, score=-5.0) for t in range(3, 9)] == ["CONTINUE"] * 6
    assert scheduler.debug_string().endswith("num_stopped=1.")


def test_C6_too_few_others_make_room_for_those_that_wait() -> None:
    stage = Stage(MedianStoppingRule("t", grace_period=1, min_samples_required=2, min_time_slice=3))
    first, second = stage.add(2)
    assert stage.choose() is first
    assert stage.report(first, t=1, score=1.0) == "PAUSE"
    assert stage.choose() is second
    assert stage.report(second, t=1, score=1.0) == "PAUSE"
    assert stage.choose() is first
    assert [stage.report(first, t=t, score=1.0) for t in (2, 3, 4)] == ["CONTINUE"] * 3  # its slice is 3 long
    assert stage.report(first, t=4.5, score=1.0) == "PAUSE"
    stage.choose_all()
    assert stage.report(first, t=9, score=1.0) == "CONTINUE"  # nobody waits


def test_patience_and_min_are_passed_on() -> None:
    stage = Stage(rule(patience=2), mode="min")
    first, second = stage.add(2)
    stage.choose_all()
    for t in range(4):
        stage.report(first, t=t, score=1.0)
    assert [stage.report(second, t=t, score=2.0) for t in range(2)] == ["CONTINUE", "STOP"]


def test_reports_without_time_or_value_go_on() -> None:
    stage, third = two_others(rule())
    assert stage.report(third, score=1.0) == "CONTINUE"
    third.last_result.clear()
    assert stage.report(third, t=5) == "CONTINUE"
    assert stage.report(third, t=5, score="bad") == "CONTINUE"
    assert stage.report(third, t=5, score=math.nan) == "CONTINUE"
    assert stage.report(third, t=6, score=-math.inf) == "STOP"


events = st.lists(
    st.tuples(
        st.sampled_from(["report"] * 6 + ["jump", "back", "complete", "fail", "mute"]),
        st.integers(0, 6),
        st.one_of(st.integers(-2, 2).map(float), st.sampled_from([math.nan, math.inf, -math.inf])),
    ),
    max_size=50,
)


@given(events=events, hard=st.booleans(), patience=st.integers(1, 2))
@settings(max_examples=rounds(300), deadline=None)
def test_C6_traces_with_ends_failures_jumps_and_gaps(events: Any, hard: bool, patience: int) -> None:
    """The scheduler and the slow rule hear the same; whoever is paused goes on at once."""
    asked: dict[str, Any] = {"grace_period": 1, "min_samples_required": 2, "patience": patience}
    stage, slow = Stage(rule(hard_stop=hard, **asked)), SlowMedian(1, 2, True, patience)
    stage.add(7)
    stage.choose_all()
    let_off = set()
    at = [0.0] * 7
    for what, index, value in events:
        trial = stage.trials[index]
        if trial.status != "RUNNING":
            continue
        if what in ("complete", "fail"):
            getattr(stage, what)(trial)
        elif what == "mute":
            assert stage.report(trial, t=None, score=value) == "CONTINUE"
            trial.last_result.clear()
        else:
            at[index] = max(0.0, at[index] + {"report": 1.0, "jump": 3.0, "back": -2.0}[what])
            decision = stage.report(trial, t=at[index], score=value)
            if index in let_off:
                assert decision == "CONTINUE"
                continue
            wanted = slow.judge(index, at[index], value, trial.last_result["training_iteration"])
            if wanted == STOP and not hard:
                let_off.add(index)
            assert decision == (("STOP" if hard else "PAUSE") if wanted == STOP else "CONTINUE"), (wanted, TOO_FEW)
            stage.choose_all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"grace_period": "1"}, "grace_period must be a number, got '1'"),
        ({"grace_period": math.nan}, "grace_period must be a number, got nan"),
        ({"min_samples_required": -1}, "min_samples_required must be an integer >= 0, got -1"),
        ({"min_samples_required": 1.5}, "min_samples_required must be an integer >= 0, got 1.5"),
        ({"min_time_slice": None}, "min_time_slice must be a number, got None"),
        ({"patience": -1}, "patience must be an integer >= 0, got -1"),
        ({"smoothing": "mean"}, "smoothing must be 'last' or 'best', got 'mean'"),
        ({"mode": "least"}, "mode must be 'min' or 'max', got 'least'"),
    ],
)
def test_wrong_arguments_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MedianStoppingRule(**wrong)
    with pytest.raises(TypeError):
        create_scheduler("medianstopping", grace=1)
    with pytest.raises(ValueError, match="without a metric and mode"):
        Stage(MedianStoppingRule(), metric=None).add()


# -- whole runs ---------------------------------------------------------------------------------------------------------


def curve(config: dict[str, Any]) -> None:
    for step in range(1, 21):
        tune.report(score=config["x"] * step)


def run(trainable: Any, folder: Path, executor: str, scheduler: Any, **more: Any) -> tune.ExperimentAnalysis:
    return tune.run(
        trainable,
        scheduler=scheduler,
        metric="score",
        mode="max",
        executor=executor,
        storage_path=str(folder),
        verbose=0,
        **more,
    )


def steps(analysis: tune.ExperimentAnalysis) -> list[int]:
    return [trial.last_result["training_iteration"] for trial in analysis.trials]


both = pytest.mark.parametrize("executor", ["inline", "thread", "process"])


@both
@pytest.mark.parametrize("hard", [True, False])
def test_C6_in_a_run(executor: str, hard: bool, tmp_path: Path) -> None:
    xs = [3.0, 4.0, 2.0, 5.0, 1.0, 4.5]
    scheduler = MedianStoppingRule(
        "training_iteration", grace_period=4, min_samples_required=2, min_time_slice=math.inf, hard_stop=hard
    )
    config = {"x": tune.grid_search(xs)}
    analysis = run(curve, tmp_path, executor, scheduler, config=config, max_concurrent_trials=1)
    # 2 * 4 is less than the median of 3 * 4 and 4 * 4; so is 1 * 4
    assert steps(analysis) == [20, 20, 4 if hard else 20, 20, 4 if hard else 20, 20]
    assert scheduler.debug_string() == "Using MedianStoppingRule: num_stopped=2."


@both
def test_C6_time_slices_let_everybody_get_as_far(executor: str, tmp_path: Path) -> None:
    scheduler = MedianStoppingRule("training_iteration", grace_period=2, min_samples_required=3)
    config = {"x": tune.uniform(0, 1)}
    analysis = run(curve, tmp_path, executor, scheduler, config=config, num_samples=12, max_concurrent_trials=2)
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert analysis.best_config == max((trial.config for trial in analysis.trials), key=lambda c: c["x"])
    assert steps(analysis).count(20) < 12
