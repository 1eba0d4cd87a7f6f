"""ASHA's class: what it refuses, its rungs, Ray Tune's decisions, and its state in a file."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stage import Stage

from fasttune.schedulers import ASHAScheduler, AsyncHyperBandScheduler, create_scheduler
from fasttune.schedulers.base import compiled_rule


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_t": 0}, "max_t must be a number > 0, got 0"),
        ({"max_t": math.nan}, "max_t must be a number > 0, got nan"),
        ({"max_t": True}, "max_t must be a number"),
        ({"grace_period": 101}, r"grace_period must be at most max_t \(100\), got 101"),
        ({"grace_period": -1}, "grace_period must be a number > 0"),
        ({"reduction_factor": 1}, "reduction_factor must be a number > 1"),
        ({"brackets": 0}, "brackets must be an integer from 1 to 16"),
        ({"brackets": 1.0}, "brackets must be an integer"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"patience": -1}, "patience must be an integer from 0 to 64 rungs, got -1"),
        ({"patience": 1.5}, "patience must be an integer"),
        ({"rule": "ranks"}, "rule must be 'percentile' or 'rank', got 'ranks'"),
        ({"smoothing": "mean"}, "smoothing must be 'last' or 'best', got 'mean'"),
        ({"reduction_factor": 1.01}, "makes more than 64 rungs from grace_period 1.0 to max_t 100.0"),
        ({"max_t": math.inf}, "more than 64 rungs"),
        ({"metric": "date"}, "metric must name a number that trials report, got 'date'"),
        ({"time_attr": "hostname"}, "time_attr must name a number that trials report"),
        ({"mode": "best"}, "mode must be 'min' or 'max'"),
    ],
)
def test_C2_wrong_settings_are_named_at_once(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ASHAScheduler(**given)


def test_C2_a_metric_of_the_run_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="'trial_id', which fasttune fills in"):
        ASHAScheduler().set_search_properties("trial_id", "max")


@pytest.mark.parametrize(
    ("max_t", "grace", "factor", "milestones"),
    [
        (729, 1, 10, [1, 10, 100]),
        (243, 1, 3, [1, 3, 9, 27, 81, 243]),
        (1000, 1, 10, [1, 10, 100, 1000]),
        (1e6, 1, 2, [2.0**k for k in range(20)]),
        (81, 0.5, 2.5, [0.5, 1.25, 3.125, 7.8125, 19.53125, 48.828125]),
    ],
)
def test_C2_milestones(max_t: float, grace: float, factor: float, milestones: list[float]) -> None:
    assert ASHAScheduler(max_t=max_t, grace_period=grace, reduction_factor=factor).milestones == [milestones]


def test_C2_what_a_report_holds_is_compiled_and_what_is_filled_in_behind_it_is_asked() -> None:
    def rule(time_attr: str, metric: str) -> Any:
        return compiled_rule(ASHAScheduler(time_attr, metric, "max"))

    for time_attr in ("training_iteration", "time_total_s", "epochs", "a/b"):
        assert rule(time_attr, "score") is not None
    for time_attr in ("timestamp", "time_since_restore", "iterations_since_restore"):
        assert rule(time_attr, "score") is None
    for metric in ("time_total_s", "training_iteration", "time_this_iter_s", "config/x"):
        assert rule("epochs", metric) is None


# -- Ray Tune's decisions ------------------------------------------------------------------------------------


class RayBracket:
    """Ray Tune's bracket as ray_tune_facts 6.1 puts it: highest milestone first, numpy's percentile."""

    def __init__(self, milestones: list[float], factor: float, sign: float) -> None:
        self.rungs: list[tuple[float, dict[int, float]]] = [(m, {}) for m in reversed(milestones)]
        self.factor, self.sign = factor, sign

    def on_result(self, trial: int, time: float, value: float | None) -> bool:
        for milestone, recorded in self.rungs:
            if time < milestone or trial in recorded:
                continue
            held = list(recorded.values())
            cutoff = None
            if held and not np.isnan(held).all():
                with np.errstate(invalid="ignore"):  # inf - inf
                    cutoff = np.nanpercentile(held, (1 - 1 / self.factor) * 100)
            recorded[trial] = math.nan if value is None else self.sign * value
            return value is not None and cutoff is not None and self.sign * value < cutoff
        return False


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("mode", ["min", "max"])
def test_C2_Q1_equal_to_ray_tune_on_every_report(seed: int, mode: str) -> None:
    """But for its two defects: no report jumps over rungs here, and its rungs are taken from the exact list."""
    draw = random.Random(seed)
    max_t, grace, factor = draw.choice([(81, 1, 3), (100, 1, 4), (20, 2, 2), (27, 1, 1.5)])
    scheduler = ASHAScheduler(max_t=max_t, grace_period=grace, reduction_factor=factor)
    stage = Stage(scheduler, mode=mode)
    ray = RayBracket(scheduler.milestones[0], factor, 1.0 if mode == "max" else -1.0)
    running = stage.add(40)
    while stage.choose() is not None:
        pass
    decided = 0
    while running:
        trial = draw.choice(running)
        value = draw.choice([draw.gauss(0, 1), float(draw.randrange(3)), math.nan, math.inf, -math.inf])
        before = trial.last_result.get("training_iteration", 0)
        wanted = before + 1 >= max_t or ray.on_result(trial.index, before + 1, value)
        assert (stage.report(trial, score=value) == "STOP") == wanted
        decided += wanted
        if wanted:
            if before + 1 >= max_t:
                ray.on_result(trial.index, before + 1, value)
            running.remove(trial)
    assert decided == 40


def test_C3_stop_last_trials_false() -> None:
    scheduler = ASHAScheduler(max_t=4, grace_period=2, reduction_factor=2, stop_last_trials=False)
    stage = Stage(scheduler)
    trials = stage.add(4)
    stage.choose_all()
    told = [stage.report(trial, training_iteration=2, score=s) for trial, s in zip(trials, [10, 8, 6, 4], strict=True)]
    assert told == ["CONTINUE", "STOP", "STOP", "STOP"]
    assert {stage.report(trials[0], training_iteration=t, score=-t) for t in range(3, 99)} == {"CONTINUE"}


def test_C2_times_that_are_missing_or_no_numbers_reach_no_rung() -> None:
    stage = Stage(AsyncHyperBandScheduler("epoch", max_t=9, reduction_factor=3, smoothing="best"))
    one, two = stage.add(2)
    stage.choose_all()
    assert stage.report(one, epoch=1, score=5) == "CONTINUE"
    for more in ({}, {"epoch": math.nan}, {"epoch": "1"}, {"epoch": None}, {"epoch": -math.inf}):
        two.last_result = {}
        assert stage.report(two, training_iteration=1, score=1, **more) == "CONTINUE"
    assert stage.report(two, epoch=1.5, score=None) == "CONTINUE"  # no metric: not judged
    assert stage.report(two, epoch=1.5, score=True) == "STOP"  # a bool is a number, as in a compiled report
    assert stage.report(one, epoch=math.inf, score=0) == "STOP"  # past max_t


# -- state in a file -----------------------------------------------------------------------------------------


def first_six(scheduler: Any) -> Any:
    stage = Stage(scheduler)
    trials = stage.add(8)
    stage.choose_all()
    for trial, score in zip(trials[:6], [1, 2, 3, 5, 8, 9], strict=True):
        stage.report(trial, training_iteration=1, score=score)
    return stage


def test_C15_asha_saved_after_six_results_stops_a_seventh_that_is_worse(tmp_path: Path) -> None:
    saved = ASHAScheduler(max_t=9, reduction_factor=3, patience=1)
    first_six(saved)
    saved.save(str(tmp_path / "asha"))
    again = create_scheduler("asha", max_t=9, reduction_factor=3)
    stage = Stage(again)
    trials = stage.add(8)
    stage.choose_all()
    again.restore(str(tmp_path / "asha"))
    assert compiled_rule(again) is None
    assert stage.report(trials[6], training_iteration=1, score=4) == "STOP"
    assert stage.report(trials[7], training_iteration=1, score=20) == "CONTINUE"
    assert stage.report(trials[5], training_iteration=1, score=-20) == "CONTINUE"  # it was judged there


@pytest.mark.parametrize("more", [{}, {"rule": "rank", "patience": 2}, {"smoothing": "best", "brackets": 2}])
def test_C15_a_restored_scheduler_goes_on_as_the_saved_one(tmp_path: Path, more: dict[str, Any]) -> None:
    draw = random.Random(5)
    rows = [(draw.randrange(20), {"training_iteration": t, "score": draw.random()}) for t in range(1, 9) for _ in range(30)]
    schedulers = [ASHAScheduler(max_t=9, reduction_factor=2, **more) for _ in range(2)]
    stages = [Stage(scheduler) for scheduler in schedulers]
    for stage in stages:
        stage.add(20)

    def told(scheduler: Any, stage: Any, part: list[Any]) -> list[str]:
        return [scheduler.on_trial_result(stage, stage.trials[i], result) for i, result in part]

    told(schedulers[0], stages[0], rows[:120])
    schedulers[0].save(str(tmp_path / "asha"))
    schedulers[1].restore(str(tmp_path / "asha"))
    assert told(schedulers[0], stages[0], rows[120:]) == told(schedulers[1], stages[1], rows[120:])
    assert schedulers[0].debug_string() == schedulers[1].debug_string()


def test_C15_a_state_of_other_rungs_is_refused(tmp_path: Path) -> None:
    saved = ASHAScheduler(max_t=9, reduction_factor=3)
    first_six(saved)
    saved.save(str(tmp_path / "asha"))
    with pytest.raises(ValueError, match=r"another AsyncHyperBandScheduler: reduction_factor: 3 was, 2 is"):
        ASHAScheduler(max_t=9, reduction_factor=2).restore(str(tmp_path / "asha"))
    with pytest.raises(ValueError, match="already judged 6 times"):
        saved.restore(str(tmp_path / "asha"))
