"""Stoppers, and what users may write as stop=."""

from __future__ import annotations

import datetime
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fasttune as tune
from fasttune.error import MissingMetricError
from fasttune.stopper import (
    CombinedStopper,
    ExperimentPlateauStopper,
    FunctionStopper,
    MaximumIterationStopper,
    NoopStopper,
    Stopper,
    StopRules,
    TimeoutStopper,
    TrialPlateauStopper,
    resolve_stop,
)

PLATEAU = [10, 11, 12] + [20] * 10


class Clock:
    """Seconds that are told to pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def stopped_at(stopper: Stopper, values: list[Any], metric: str = "score") -> int:
    """Number of the report with which the stopper stops a trial, or of the last one."""
    for count, value in enumerate(values, 1):
        if stopper("t", {metric: value, "training_iteration": count}):
            return count
    return len(values)


@pytest.mark.parametrize(
    ("options", "iteration"),
    [
        ({}, 7),
        ({"grace_period": 9}, 9),
        ({"metric_threshold": 22, "mode": "max"}, 13),
        ({"metric_threshold": 20, "mode": "max"}, 7),
        ({"metric_threshold": 22, "mode": "min"}, 7),
        ({"num_results": 6, "std": 1e-9}, 9),
    ],
)
def test_R4_trial_plateau(options: dict[str, Any], iteration: int) -> None:
    assert stopped_at(TrialPlateauStopper("score", **options), PLATEAU) == iteration


def test_R4_trial_plateau_keeps_trials_apart() -> None:
    stopper = TrialPlateauStopper("score", num_results=2, grace_period=0)
    assert [
        stopper(trial, {"score": value}) for trial, value in [("a", 1), ("b", 5), ("a", 1), ("b", 9)]
    ] == [
        False,
        False,
        True,
        False,
    ]
    assert not stopper.stop_all()


def test_R4_trial_plateau_zero_is_a_threshold_and_needs_a_mode() -> None:
    with pytest.raises(ValueError, match=r"metric_threshold=0\.0 needs mode"):
        TrialPlateauStopper("score", metric_threshold=0.0)
    stopper = TrialPlateauStopper("score", metric_threshold=0.0, mode="min")
    assert stopped_at(stopper, [1.0] * 9 + [0.0] * 9) == 13


def test_R4_trial_plateau_ignores_nan_and_infinity() -> None:
    assert stopped_at(TrialPlateauStopper("score"), [math.nan] * 9) == 9
    assert stopped_at(TrialPlateauStopper("score"), [math.inf] * 9) == 9


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12), st.integers(1, 5), st.integers(0, 6))
def test_R4_trial_plateau_equals_the_plain_rule(values: list[float], last: int, grace: int) -> None:
    def plain() -> int:
        for count in range(1, len(values) + 1):
            window = values[max(0, count - last) : count]
            if count >= grace and len(window) == last and float(np.std(window)) < 0.5:
                return count
        return len(values)

    stopper = TrialPlateauStopper("score", std=0.5, num_results=last, grace_period=grace)
    assert stopped_at(stopper, values) == plain()


def test_R4_experiment_plateau_after_patience() -> None:
    for patience, expected in [(0, 10), (1, 10), (3, 12)]:
        stopper = ExperimentPlateauStopper("score", patience=patience)
        assert not stopper.stop_all()
        assert stopped_at(stopper, [0.5] * 20) == expected
        assert stopper.stop_all()


def test_R4_experiment_plateau_looks_at_the_best_of_its_mode() -> None:
    values = [9.0, 1.0, 8.0, 1.0, 5.0, 1.0, 5.0, 5.0]
    assert stopped_at(ExperimentPlateauStopper("score", top=3, mode="min"), values) == 6
    assert stopped_at(ExperimentPlateauStopper("score", top=3, mode="max"), values) == len(values)
    assert stopped_at(ExperimentPlateauStopper("score", top=2, mode="max", std=1.0), values) == 3


def test_R4_experiment_plateau_takes_nan_for_no_value() -> None:
    stopper = ExperimentPlateauStopper("score", top=2)
    assert stopped_at(stopper, [math.nan, 1.0, math.nan, 1.0]) == 4


@pytest.mark.parametrize(
    "options",
    [{"top": 1}, {"top": 1.5}, {"patience": -1}, {"std": 0}, {"std": "x"}, {"mode": "best"}, {"top": True}],
)
def test_R4_experiment_plateau_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        ExperimentPlateauStopper("score", **options)


def test_plateau_stoppers_find_nested_metrics_and_miss_loudly() -> None:
    stopper = TrialPlateauStopper("a/b", num_results=1, grace_period=1)
    assert stopper("t", {"a": {"b": 1.0}})
    assert stopper("t", {"a/b": 1.0})
    with pytest.raises(MissingMetricError, match="'a/b' is not in the result of trial t, which has: a, c"):
        stopper("t", {"a": 1.0, "c": 2})


def test_R4_maximum_iteration_counts_reports_of_each_trial() -> None:
    stopper = MaximumIterationStopper(3)
    answers = [stopper(trial, {"training_iteration": 100}) for trial in "aabaab"]
    assert answers == [False, False, False, True, True, False]
    with pytest.raises(ValueError, match="max_iter must be an integer >= 1, got 0"):
        MaximumIterationStopper(0)


def test_R4_timeout_budget_survives_a_pause() -> None:
    clock = Clock()
    stopper = TimeoutStopper(60, clock=clock)
    clock.now += 500  # before the first turn nothing counts
    assert not stopper.stop_all()
    clock.now += 40
    assert stopper.remaining() == 20
    state = stopper.__getstate__()
    clock.now += 200  # the experiment is down
    again = TimeoutStopper.__new__(TimeoutStopper)
    again.__setstate__(state)
    assert not again.stop_all()
    assert again.remaining() == 20
    clock.now += 19.5
    assert not again.stop_all()
    clock.now += 1
    assert again.stop_all()
    assert not again("t", {})


def test_R4_timeout_takes_a_timedelta_is_pickled_and_can_be_told_what_was_used() -> None:
    stopper = TimeoutStopper(datetime.timedelta(minutes=1))
    stopper.spend(45)
    assert pickle.loads(pickle.dumps(stopper)).remaining() == 15
    for wrong in (0, -1, "60", math.nan, True, None):
        with pytest.raises(ValueError, match="number of seconds > 0 or a timedelta"):
            TimeoutStopper(wrong)


def test_an_end_is_said_in_the_words_of_what_the_user_wrote() -> None:
    clock = Clock()
    of_its_own = TimeoutStopper(60, clock=clock)
    budget = resolve_stop(None, 90).stopper
    assert budget is not None
    assert budget.reason() == "the time budget of 90 s (time_budget_s) is used up"
    assert pickle.loads(pickle.dumps(budget)).reason() == budget.reason()
    assert Asked(True).reason() == "Asked.stop_all() ended it"
    several = CombinedStopper(Asked(False), of_its_own, Asked(True))
    assert not of_its_own.stop_all()
    clock.now += 61
    assert several.stop_all()
    assert several.reason() == "the 60 s of TimeoutStopper are used up, and Asked.stop_all() ended it"


@pytest.mark.parametrize("asked", ["time_budget_s", "stop"])
def test_the_last_block_names_the_time_that_is_used_up(asked: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def reports_for_ever(config: dict[str, Any]) -> None:
        while True:
            tune.report(score=1.0)

    given: dict[str, Any] = {"time_budget_s": 0.05} if asked == "time_budget_s" else {"stop": TimeoutStopper(0.05)}
    tune.run(reports_for_ever, executor="inline", storage_path=str(tmp_path), verbose=1, **given)
    said = {"time_budget_s": "the time budget of 0.05 s (time_budget_s) is used up", "stop": "the 0.05 s of TimeoutStopper are used"}
    assert said[asked] in " ".join(capsys.readouterr().out.split())


class Asked(Stopper):
    """Counts how often it was asked, and says what it was told to say."""

    def __init__(self, answer: bool) -> None:
        self.answer, self.calls, self.turns = answer, 0, 0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.calls += 1
        return self.answer

    def stop_all(self) -> bool:
        self.turns += 1
        return self.answer


def test_combined_asks_every_one_every_time() -> None:
    first, second = Asked(True), Asked(False)
    combined = CombinedStopper(first, second)
    assert combined("t", {})
    assert combined.stop_all()
    assert (first.calls, second.calls, first.turns, second.turns) == (1, 1, 1, 1)
    assert not CombinedStopper(Asked(False), Asked(False))("t", {})
    with pytest.raises(ValueError, match="takes Stopper objects"):
        CombinedStopper(lambda trial_id, result: True)  # type: ignore[arg-type]


def test_who_asks_for_every_report() -> None:
    assert not NoopStopper().asks_every_report
    assert not TimeoutStopper(1).asks_every_report
    assert not CombinedStopper(NoopStopper(), TimeoutStopper(1)).asks_every_report
    assert CombinedStopper(NoopStopper(), MaximumIterationStopper(1)).asks_every_report
    assert Asked(False).asks_every_report


def test_a_stopper_that_overrides_nothing_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Stopper must override __call__"):
        Stopper()("t", {})
    with pytest.raises(NotImplementedError, match=r"Stopper must override stop_all"):
        Stopper().stop_all()
    assert not NoopStopper()("t", {})
    assert not NoopStopper().stop_all()


def test_R3_dict_of_thresholds_nested_by_name() -> None:
    rules = resolve_stop({"a/b/c": 6, "training_iteration": 10, "acc": np.float32(0.5), "end": math.inf})
    assert rules == StopRules({"a/b/c": 6.0, "training_iteration": 10.0, "acc": 0.5, "end": math.inf}, None)
    assert resolve_stop(None) == resolve_stop({}) == StopRules({}, None)
    assert resolve_stop(rules) == rules


def test_R3_function_stops_at_8() -> None:
    rules = resolve_stop(lambda trial_id, result: result["training_iteration"] - 1 > 6)
    assert rules.thresholds == {}
    assert isinstance(rules.stopper, FunctionStopper)
    assert stopped_at(rules.stopper, [0] * 20) == 8


def test_R3_stopper_and_list_of_them() -> None:
    stopper = MaximumIterationStopper(4)
    assert resolve_stop(stopper).stopper is stopper
    assert resolve_stop([stopper]).stopper is stopper
    combined = resolve_stop(
        [MaximumIterationStopper(9), lambda trial_id, result: result["score"] > 2]
    ).stopper
    assert isinstance(combined, CombinedStopper)
    assert stopped_at(combined, [1, 2, 3, 4]) == 3


def test_R4_a_list_may_hold_dicts() -> None:
    rules = resolve_stop([{"a": 3}, MaximumIterationStopper(9), {"b/c": 0.5, "done": True}])
    assert rules.thresholds == {"a": 3.0, "b/c": 0.5, "done": 1.0}
    assert isinstance(rules.stopper, MaximumIterationStopper)
    with pytest.raises(ValueError, match=r"stop: 'a' is given twice: 3\.0 and 4"):
        resolve_stop([{"a": 3}, {"a": 4}])


def test_R5_time_budget_joins_whatever_there_is() -> None:
    budget = resolve_stop({"a": 1}, 60)
    assert budget.thresholds == {"a": 1.0}
    assert isinstance(budget.stopper, TimeoutStopper)
    assert budget.stopper.remaining() == 60
    both = resolve_stop(MaximumIterationStopper(2), datetime.timedelta(minutes=1)).stopper
    assert isinstance(both, CombinedStopper)
    assert [type(part) for part in both.stoppers] == [MaximumIterationStopper, TimeoutStopper]
    with pytest.raises(ValueError, match="time_budget_s must be a number of seconds > 0"):
        resolve_stop(None, 0)


class NotAStopper:
    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return True

    def stop_all(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ({"a": {"b": {}}}, r"stop\['a/b'\] is an empty dict"),
        ({"a": "6"}, "must be a number that the metric is to reach, got '6'"),
        ({"a": None}, "must be a number"),
        ({"a": math.nan}, "must be a number"),
        ({3: 1}, "a metric name must be text, got 3"),
        (lambda result: True, r"is called with \(trial_id, result\), but <lambda>\(result\)"),
        ([lambda: True], "cannot take these two"),
        (NotAStopper(), "NotAStopper has a stop_all"),
        (NotAStopper, "NotAStopper has a stop_all"),
        (MaximumIterationStopper, r"write MaximumIterationStopper\(\.\.\.\)"),
        (5, "a dict of thresholds, a function"),
        ([{"a": 1}, 5], "a dict of thresholds, a function"),
    ],
)
def test_R3_mistakes_are_told_at_once(stop: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        resolve_stop(stop)


def test_function_stopper_knows_functions() -> None:
    assert FunctionStopper.is_valid_function(lambda trial_id, result: True)
    assert not FunctionStopper.is_valid_function(NotAStopper())
    assert not FunctionStopper.is_valid_function(MaximumIterationStopper(1))
    with pytest.raises(ValueError, match="must be callable"):
        FunctionStopper(3)  # type: ignore[arg-type]
