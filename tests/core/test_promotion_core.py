"""The compiled promotions are those of the paper's Algorithm 2, and PASHA's on top of it, as slow lines have them."""

from __future__ import annotations

import math
import random
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune._rules import Pasha, Promotion
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model_promotion import CONTINUE, PAUSE, STOP, SlowPasha, SlowPromotion

values = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(-1.0, 1.0, width=32),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
events = st.lists(
    st.tuples(
        st.sampled_from(["report", "report", "report", "report", "jump", "any", "promote", "promote", "end"]),
        st.integers(0, 14),
        st.floats(0, 1),
        values,
    ),
    max_size=60,
)
settings_of = st.tuples(
    st.sampled_from([2, 4, 9, 9.5, 27, 30]),
    st.sampled_from([0.5, 1, 1, 2]),
    st.sampled_from([1.5, 2, 2.5, 3, 4]),
    st.booleans(),
)
KINDS = [(Promotion, SlowPromotion), (Pasha, SlowPasha)]


def same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-12) or a == b


@pytest.mark.parametrize(("fast", "slow"), KINDS, ids=["promotion", "pasha"])
@given(events=events, arguments=settings_of)
@settings(max_examples=rounds(1200), deadline=None)
def test_every_decision_is_that_of_the_slow_rule(fast: Any, slow: Any, events: Any, arguments: Any) -> None:
    """Trials report step by step, jump, go back, are promoted when they are due, and end early."""
    rule, twin = fast(*arguments), slow(*arguments)
    assert rule.rung_milestones == twin.milestones
    at: dict[int, float] = {}
    for what, trial, fraction, value in events:
        if what == "promote":
            assert rule.candidate() == twin.candidate()
            if (found := rule.candidate()) is not None:
                rule.promote(found[0])
                twin.promote(found[0])
        elif what == "end":
            rule.withdraw(trial)
            twin.withdraw(trial)
        else:
            stride = {"report": 1.0, "jump": 1.0 + int(9 * fraction)}.get(what)
            at[trial] = at.get(trial, 0.0) + stride if stride else 40 * fraction
            assert rule.judge(trial, at[trial], value) == twin.judge(trial, at[trial], value)
        assert rule.candidate() == twin.candidate()
        assert rule.candidate(1) == twin.candidate(1)
        assert rule.limit == twin.limit
    assert rule.rung_sizes() == [len(rung) for rung in twin.rungs]
    if isinstance(twin, SlowPasha):
        assert same(rule.epsilon, twin.epsilon)


def jobs(losses: list[float], factor: float = 3, max_t: float = 27) -> Iterator[tuple[int, int]]:
    """(config, rung) of each job that one worker does: ask for a job, do it, tell its loss."""
    rule = Promotion(max_t, 1, factor, False)
    fresh = iter(range(len(losses)))
    while True:
        found = rule.candidate()
        trial = found[0] if found is not None else next(fresh, None)
        if trial is None:
            return
        if found is not None:
            rule.promote(trial)
        yield trial, rule.rung(trial) + 1
        assert rule.judge(trial, rule.milestone(trial), losses[trial]) in (PAUSE, STOP)


def test_Q3_the_job_list_of_one_worker() -> None:
    losses = [0.50, 0.40, 0.60, 0.30, 0.55, 0.35, 0.20, 0.70, 0.25, 0.45, 0.10, 0.65]
    assert " ".join(f"{trial}:{rung}" for trial, rung in jobs(losses)) == (
        "0:0 1:0 2:0 1:1 3:0 3:1 4:0 5:0 5:1 3:2 6:0 6:1 6:2 7:0 8:0 8:1 9:0 10:0 10:1 10:2 10:3 11:0"
    )


def test_a_rung_of_thousands_promotes_the_best_third() -> None:
    rng = random.Random(3)
    losses = [rng.random() for _ in range(3000)]
    done = list(jobs(losses, max_t=9))
    assert sum(rung == 0 for _, rung in done) == 3000
    twin = SlowPromotion(9, 1, 3, False)
    for trial, loss in enumerate(losses):
        twin.enter(trial, 0, -loss)
    best = set(twin.top(0))
    assert best <= {trial for trial, rung in done if rung == 1}


@pytest.mark.parametrize(
    ("arguments", "milestones"),
    [
        ((27, 1, 3), [1, 3, 9, 27]),
        ((243, 1, 3), [1, 3, 9, 27, 81, 243]),
        ((1000, 1, 10), [1, 10, 100, 1000]),
        ((100, 1, 4), [1, 4, 16, 64, 100]),
        ((8.1, 0.1, 3), [0.1, 0.1 * 3, 0.1 * 9, 0.1 * 27, 8.1]),
        ((7, 7, 3), [7]),
    ],
)
def test_milestones_are_exact_and_end_at_max_t(arguments: tuple[float, float, float], milestones: list[float]) -> None:
    assert Promotion(*arguments, True).rung_milestones == milestones


def test_equal_values_are_promoted_in_the_order_they_came() -> None:
    rule = Promotion(9, 1, 3, True)
    assert [rule.judge(trial, 1, 0.5) for trial in range(6)] == [PAUSE] * 6
    for trial in (0, 1):
        assert rule.candidate() == (trial, 0)
        rule.promote(trial)
    assert rule.candidate() is None


def test_a_trial_that_was_displaced_comes_back() -> None:
    rule = Promotion(9, 1, 2, True)
    assert [rule.judge(trial, 1, value) for trial, value in enumerate([5.0, 1.0])] == [PAUSE, PAUSE]
    assert rule.candidate() == (0, 0)
    rule.judge(2, 1, 6.0)
    assert rule.candidate() == (2, 0)  # one of three, and 0 has lost its place
    rule.promote(2)
    assert rule.candidate() is None
    assert rule.judge(3, 1, 2.0) == PAUSE
    assert rule.candidate() == (0, 0)


def test_nan_counts_and_is_never_promoted() -> None:
    rule = Promotion(9, 1, 3, True)
    assert [rule.judge(trial, 1, math.nan) for trial in range(3)] == [PAUSE] * 3
    assert rule.candidate() is None
    assert rule.judge(3, 1, -math.inf) == PAUSE  # one of four: the first NaN holds the place
    rule.judge(4, 1, 0.0)
    assert rule.candidate() == (4, 0)


def test_pasha_opens_a_rung_when_two_change_places() -> None:
    rule = Pasha(27, 1, 3, True)
    for trial, value in enumerate([1.0, 2.0, 3.0, 0.0, 0.0, 0.0]):
        rule.judge(trial, 1, value)
    for trial in (2, 1):
        assert rule.candidate() == (trial, 0)
        rule.promote(trial)
    assert (rule.judge(2, 3, 5.0), rule.limit) == (PAUSE, 1)
    assert (rule.judge(1, 3, 6.0), rule.limit) == (PAUSE, 2)


@pytest.mark.parametrize(
    ("curve", "epsilon", "limit"),
    [
        ((9.2, 8.8, 9.5), 0.5, 1),  # crosses the other's three times: 0.3 below is within the noise
        ((9.2, 9.2, 9.5), 0.0, 2),  # crosses it once: it has become better
        ((9.2, 8.8, 9.1), 0.1, 2),  # the noise is smaller than the distance below
    ],
)
def test_pasha_overlooks_what_is_within_the_noise(
    curve: tuple[float, ...], epsilon: float, limit: int
) -> None:
    rule = Pasha(27, 1, 3, True)
    for trial, value in enumerate([9.0, 8.7, 0.0, 0.0, 0.0, 0.0]):
        rule.judge(trial, 1, value)
    for trial, values in ((0, (9.0, 9.0, 9.0)), (1, curve)):
        rule.promote(trial)
        for t, value in zip((1.5, 2, 3), values, strict=True):
            rule.judge(trial, t, value)
    assert (rule.epsilon, rule.limit) == (pytest.approx(epsilon), limit)


@pytest.mark.parametrize("seed", range(rounds(3)))
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.5])
@pytest.mark.parametrize(("fast", "slow"), KINDS, ids=["promotion", "pasha"])
def test_whole_experiments_are_those_of_the_slow_rule(fast: Any, slow: Any, noise: float, seed: int) -> None:
    """Three workers, 240 trials: enough for more trials in a rung than PASHA compares."""
    rng = random.Random(seed)
    rule, twin = fast(12, 1, 1.5, seed % 2 == 0), slow(12, 1, 1.5, seed % 2 == 0)
    good = [rng.random() for _ in range(240)]
    fresh, workers = iter(range(240)), [-1, -1, -1]
    at = dict.fromkeys(range(240), 0.0)
    most = 0
    while True:
        w = rng.randrange(3)
        if workers[w] < 0:
            found = rule.candidate()
            assert found == twin.candidate()
            if found is not None:
                rule.promote(found[0])
                twin.promote(found[0])
            workers[w] = found[0] if found is not None else next(fresh, -1)
            if max(workers) < 0:
                break
            continue
        trial = workers[w]
        at[trial] += 1.0
        value = good[trial] * math.sqrt(at[trial]) + rng.gauss(0, noise)
        decision = rule.judge(trial, at[trial], value)
        assert decision == twin.judge(trial, at[trial], value)
        if decision != CONTINUE:
            workers[w] = -1
        if isinstance(twin, SlowPasha):
            assert (rule.limit, same(rule.epsilon, twin.epsilon)) == (twin.limit, True)
            most = max(most, len(twin.members))
    assert rule.rung_sizes() == [len(rung) for rung in twin.rungs]
    assert most == 0 or noise > 0 or most == 128


@given(events=events, arguments=settings_of)
@settings(max_examples=rounds(2000), deadline=None)
def test_a_batch_decides_as_one_after_the_other(events: Any, arguments: Any) -> None:
    for fast, _ in KINDS:
        one, many = fast(*arguments), fast(*arguments)
        reports = [(trial, 40 * fraction, value) for _, trial, fraction, value in events]
        decisions = array("b", [9] * len(reports))
        columns = [array(code, column) for code, column in zip("qdd", zip(*reports, strict=True), strict=False)]
        many.decide(*(columns or [array("q"), array("d"), array("d")]), decisions)
        assert list(decisions) == [one.judge(*report) for report in reports]
        assert one.rung_sizes() == many.rung_sizes()


def test_wrong_columns_and_arguments_are_named() -> None:
    rule = Promotion(9, 1, 3, True)
    with pytest.raises(ValueError, match="columns of one length, got 1 trials, 2 times"):
        rule.decide(array("q", [1]), array("d", [0, 1]), array("d", [0]), array("b", [0]))
    with pytest.raises(ValueError, match="numbered from 0"):
        rule.judge(-1, 0.0, 0.0)
    for wrong in ((9, 0, 3), (9, 10, 3), (9, 1, 1), (math.nan, 1, 3), (math.inf, 1, 3)):
        with pytest.raises(ValueError, match="0 < grace_period <= max_t < inf"):
            Promotion(*wrong, True)
    with pytest.raises(ValueError, match="more than 64 rungs"):
        Pasha(1e9, 1, 1.01, True)
    assert rule.judge(0, 9, 1.0) == STOP
