"""The compiled median rule decides as slow lines that compute every mean from scratch at every report."""

from __future__ import annotations

import math
import random
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune._rules import MedianRule
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model_median import CONTINUE, STOP, TOO_FEW, SlowMedian, mean

steps = st.integers(0, 8).map(float)
times = st.one_of(
    st.floats(-1.0, 9.0, width=32), steps, st.sampled_from([-0.0, 1e-300, 1e300, math.inf, math.nan])
)
values = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(-1.0, 1.0, width=32),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
trials = st.integers(0, 7)


def agree(rule: MedianRule, slow: SlowMedian, reports: list[Any]) -> list[int]:
    found = [rule.judge(*report) for report in reports]
    assert found == [slow.judge(*report) for report in reports]
    return found


both = pytest.mark.parametrize("time", [times, steps], ids=["any times", "common steps"])


@both
@given(data=st.data())
@settings(max_examples=rounds(1200), deadline=None)
def test_C6_every_decision_is_that_of_the_slow_rule(time: Any, data: st.DataObject) -> None:
    arguments = {
        "min_samples": data.draw(st.integers(0, 4)),
        "maximise": data.draw(st.booleans()),
        "patience": data.draw(st.integers(0, 3)),
        "last": data.draw(st.booleans()),
    }
    grace = data.draw(st.sampled_from([0.0, 1.0, 2.5, -1.0]))
    numbers = data.draw(st.sampled_from([st.just(0), st.integers(1, 9)]))
    reports = data.draw(st.lists(st.tuples(trials, time, values, numbers), max_size=60))
    agree(MedianRule(grace, **arguments), SlowMedian(grace, **arguments), reports)


@pytest.mark.parametrize("seed", range(rounds(8)))
@pytest.mark.parametrize("kind", ["steps", "floats", "every other step", "restarts"])
def test_C6_longer_experiments_too(kind: str, seed: int) -> None:
    """Enough reports for blocks of time to be halved several times."""
    rng = random.Random(f"{kind} {seed}")
    rule, slow = MedianRule(2.0, 3, True, last=True), SlowMedian(2.0, 3, True, last=True)
    at = dict.fromkeys(range(14), 0.0)
    reports = []
    for _ in range(900):
        trial = rng.randrange(len(at))
        stride = {"floats": rng.random(), "every other step": 1.0 + trial % 3}.get(kind, 1.0)
        at[trial] += stride
        if kind == "restarts" and rng.random() < 0.05:
            at[trial] = float(rng.randrange(int(at[trial]) + 1))
        reports.append((trial, at[trial], rng.gauss(trial / 7, 1.0)))
    found = agree(rule, slow, reports)
    assert {STOP, CONTINUE, TOO_FEW} == set(found)


def test_C6_thousands_of_trials_at_the_same_steps() -> None:
    """Sets that do not fit into one array any more; the slow rule says what the last ones get."""
    rng = random.Random(4)
    rule, slow = MedianRule(1.0, 3, False), SlowMedian(1.0, 3, False)
    told = [(trial, float(t), rng.random()) for trial in range(4000) for t in (1, 2, 3)]
    for report in told:
        rule.judge(*report)
        slow.record(*report)
    agree(rule, slow, [(4000 + k, float(1 + k % 3), rng.uniform(0.4, 0.6)) for k in range(8)])
    back = [(trial, 1.0, 0.5) for trial in range(0, 4000, 2)]  # half of them begin again
    for report in back:
        rule.judge(*report)
        slow.record(*report)
    agree(rule, slow, [(5000 + k, float(1 + k % 3), rng.uniform(0.4, 0.6)) for k in range(8)])
    assert rule.others(3.0) == 2004


def test_an_attempt_that_begins_again_takes_the_place_of_the_one_before() -> None:
    """Whatever was reported in between: the same means, the same best value, the same patience."""
    curve = [0.5, 0.4, 0.3, 0.6, 0.1, 0.2]
    for step in range(1, 5):
        once, twice = (MedianRule(1.0, 1, True, patience=2) for _ in range(2))
        for rule in (once, twice):
            for t in range(1, 7):
                rule.judge(7, t, 0.45, t)
        for t in range(step, 6):
            twice.judge(0, t - 0.25, 9.0, t)  # at other times, as seconds are
        found = [once.judge(0, t, value, t) for t, value in enumerate(curve, 1)]
        for t in range(1, step):
            twice.judge(0, t, curve[t - 1], t)
        assert [twice.judge(0, t, curve[t - 1], t) for t in range(step, 7)] == found[step - 1 :]
        assert [rule.judge(1, 5, 0.4, 5) for rule in (once, twice)] == [CONTINUE, CONTINUE]
        assert once.others(4.9) == twice.others(4.9)


def test_C6_rays_example() -> None:
    """Means 450 and 450 beyond t = 2, 150 and 50 before: 260 is enough at t = 1 and too little at t = 2."""
    rule = MedianRule(0.0, 1, True)
    for t in range(10):
        rule.judge(0, t, t * 100.0)
    for t in range(5):
        rule.judge(1, t, 450.0)
    assert rule.judge(2, 1, 260.0) == CONTINUE
    assert rule.judge(2, 2, 260.0) == STOP
    assert rule.num_stopped == 1


def test_equal_curves_are_not_worse_than_each_other() -> None:
    """The mean of equal numbers is that number, although three times a tenth is not three tenths."""
    rule = MedianRule(0.0, 1, True)
    for trial in range(9):
        assert [rule.judge(trial, t, 0.1) for t in range(50)].count(STOP) == 0


def test_a_mean_does_not_lose_what_is_small() -> None:
    reports = [1e16, 1.0, -1e16, 1.0, 0.1, 0.2, 0.3]
    exact = mean(reports)
    for compared, decision in ((exact, CONTINUE), (math.nextafter(exact, -1), STOP)):
        rule = MedianRule(0.0, 1, True)
        for t, value in enumerate(reports):
            rule.judge(0, t, value)
        assert rule.judge(1, 6, compared) == decision


def test_patience_counts_judgements_in_a_row() -> None:
    rule = MedianRule(0.0, 1, True, patience=3, last=True)
    for t in range(9):
        rule.judge(0, t, 5.0)
    assert [rule.judge(1, t, v) for t, v in enumerate([1, 1, 6, 1, 1, 1])] == [0, 0, 0, 0, 0, 1]


def test_the_best_or_the_last_value_is_compared() -> None:
    for last, decision in ((False, CONTINUE), (True, STOP)):
        rule = MedianRule(0.0, 1, True, last=last)
        for t in range(3):
            rule.judge(0, t, 5.0)
        rule.judge(1, 0, 7.0)
        assert rule.judge(1, 1, 1.0) == decision


@given(reports=st.lists(st.tuples(trials, times, values), max_size=60))
@settings(max_examples=rounds(2000), deadline=None)
def test_a_batch_decides_as_one_after_the_other(reports: list[tuple[int, float, float]]) -> None:
    one, many = MedianRule(1.0, 2, True), MedianRule(1.0, 2, True)
    decisions = array("b", [9] * len(reports))
    columns = [array(code, column) for code, column in zip("qdd", zip(*reports, strict=True), strict=False)]
    many.decide(*(columns or [array("q"), array("d"), array("d")]), decisions)
    assert list(decisions) == [one.judge(*report) for report in reports]
    assert one.num_stopped == many.num_stopped


def test_wrong_columns_and_arguments_are_named() -> None:
    rule = MedianRule(0.0, 1, True)
    with pytest.raises(ValueError, match="columns of one length, got 2 trials, 1 times"):
        rule.decide(array("q", [1, 2]), array("d", [0]), array("d", [0, 0]), array("b", [0, 0]))
    with pytest.raises(ValueError, match="row 1 is of trial -3"):
        rule.decide(array("q", [1, -3]), array("d", [0, 0]), array("d", [0, 0]), array("b", [0, 0]))
    with pytest.raises(ValueError, match="numbered from 0"):
        rule.judge(-1, 0.0, 0.0)
    with pytest.raises(ValueError, match="patience must be >= 0, got -1"):
        MedianRule(0.0, 1, True, patience=-1)
    with pytest.raises(ValueError, match="grace_period must be a number"):
        MedianRule(math.nan, 1, True)
