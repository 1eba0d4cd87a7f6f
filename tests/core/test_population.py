"""Ranks and quantiles of a population, kept while scores change, are those of sorting everybody."""

from __future__ import annotations

import math
import random
import sys
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune._rules import LOWER, MIDDLE, NOT_DUE, UPPER, Population
from rounds import rounds, seeds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model_population import SlowPopulation

values = st.one_of(
    st.integers(-3, 3).map(float), st.floats(-1.0, 1.0), st.sampled_from([math.nan, math.inf, -math.inf])
)
steps = st.tuples(st.integers(0, 15), st.floats(0.0, 3.0), values)
other = st.tuples(st.sampled_from(["forget", "take_over"]), st.integers(0, 15), st.integers(0, 15))
fractions = st.sampled_from([0.0, 0.1, 0.2, 0.25, 1 / 3, 0.49, 0.5])


@given(
    trace=st.lists(st.one_of(steps, steps, steps, other), max_size=80),
    fraction=fractions,
    interval=st.sampled_from([0.5, 1.0, 2.0, 2.5]),
    burn_in=st.sampled_from([0.0, 0.0, 3.0]),
    maximise=st.booleans(),
)
@settings(max_examples=rounds(1500), deadline=None)
def test_C7_every_decision_is_that_of_the_slow_rule(trace, fraction, interval, burn_in, maximise):
    fast = Population(fraction, interval, burn_in, maximise)
    slow = SlowPopulation(fraction, interval, burn_in, maximise)
    clock = [0.0] * 16
    for first, second, third in trace:
        if first == "forget":
            fast.forget(second)
            slow.forget(second)
            clock[second] = 0.0
        elif first == "take_over":
            fast.take_over(second, third)
            slow.take_over(second, third)
        else:
            clock[first] += second
            assert fast.judge(first, clock[first], third) == slow.judge(first, clock[first], third)
        lower, upper = slow.quantiles()
        k = fast.quantile_size
        assert [fast.at(j) for j in range(k)] == lower
        assert [fast.at(len(fast) - k + j) for j in range(k)] == upper


def test_C7_random_populations_are_ranked_as_the_slow_rule_ranks_them():
    """Longer lives than the ones above: reports, copies, and trials that leave and come again, in one stream each. Ten
    thousand of them in `make test-all`."""
    for seed in seeds(10_000):
        draw = random.Random(seed)
        n, steps = draw.randint(1, 24), draw.randint(1, 60)
        settings = draw.choice([0.0, 0.1, 0.2, 0.25, 1 / 3, 0.5]), draw.choice([0.5, 1.0, 2.5]), draw.choice([0.0, 3.0])
        maximise = draw.random() < 0.5
        fast, slow = Population(*settings, maximise), SlowPopulation(*settings, maximise)
        clock = [0.0] * n
        for _ in range(steps):
            i, what = draw.randrange(n), draw.random()
            if what < 0.04:
                fast.forget(i)
                slow.forget(i)
                clock[i] = 0.0
            elif what < 0.12:
                donor = draw.randrange(n)
                fast.take_over(i, donor)
                slow.take_over(i, donor)
            else:
                clock[i] += draw.choice([0.0, 0.5, 1.0, 1.0, 3.0])
                value = draw.choice([draw.random(), draw.random(), float(draw.randint(-2, 2)), math.nan, math.inf])
                assert fast.judge(i, clock[i], value) == slow.judge(i, clock[i], value), (seed, i)
        lower, upper = slow.quantiles()
        k = fast.quantile_size
        assert [fast.at(j) for j in range(k)] == lower, seed
        assert [fast.at(len(fast) - k + j) for j in range(k)] == upper, seed


@given(trace=st.lists(steps, max_size=60), fraction=fractions, maximise=st.booleans())
@settings(max_examples=rounds(3000), deadline=None)
def test_a_batch_is_decided_as_one_report_after_the_other(trace, fraction, maximise):
    single, batch = (Population(fraction, 1.0, 0.0, maximise) for _ in range(2))
    wanted = [single.judge(*row) for row in trace]
    decisions = array("b", bytes(len(trace)))
    trials, times, scores = (list(column) for column in zip(*trace, strict=True)) if trace else ([], [], [])
    batch.decide(array("q", trials), array("d", times), array("d", scores), decisions)
    assert list(decisions) == wanted
    assert [batch.rank(i) for i in range(16)] == [single.rank(i) for i in range(16)]


QUARTERS = [0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5]  # of 1 to 20 trials
HALVES = [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10]
TENTHS = [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize(("fraction", "sizes"), [(0.25, QUARTERS), (0.5, HALVES), (0.1, TENTHS), (0.0, [0] * 20)])
def test_C7_quantiles_for_1_to_20_trials(fraction, sizes):
    for n, size in enumerate(sizes, start=1):
        population = Population(fraction, 1.0)
        for trial in range(n):
            population.judge(trial, 1.0, float(trial))
        assert population.quantile_size == size
        places = [population.place(trial) for trial in range(n)]
        assert places == [LOWER] * size + [MIDDLE] * (n - 2 * size) + [UPPER] * size


def test_Q6_of_two_trials_in_lock_step_with_equal_scores_one_is_lower():
    population = Population(0.25, 1.0)
    assert population.judge(0, 1, 0.5) == MIDDLE  # alone
    assert population.judge(1, 1, 0.5) == LOWER  # the later of equals
    assert population.judge(0, 2, 0.7) == UPPER
    assert population.judge(1, 2, 0.7) == LOWER


def test_a_score_that_is_nan_has_no_rank():
    population = Population(0.5, 1.0)
    population.judge(0, 1, 1.0)
    population.judge(1, 1, 2.0)
    assert population.judge(1, 2, math.nan) == MIDDLE
    assert (len(population), population.rank(1), population.place(0)) == (1, -1, MIDDLE)


def test_a_trial_is_due_after_the_burn_in_and_an_interval():
    population = Population(0.25, 4.0, 10.0)
    assert population.due(3) == 10.0
    assert population.judge(3, 9.5, 1.0) == NOT_DUE
    assert population.judge(3, math.nan, 1.0) == NOT_DUE
    assert population.rank(3) == -1
    assert population.judge(3, 11.0, 1.0) == MIDDLE
    assert (population.due(3), population.trained(3)) == (15.0, 11.0)
    population.forget(3)
    assert (population.due(3), population.trained(3), len(population)) == (10.0, 0.0, 0)


def test_a_large_population_stays_in_order():
    n = 50_000
    population = Population(0.25, 1.0)
    trials = array("q", [(i * 7919) % n for i in range(n)])
    scores = array("d", [float(i) for i in trials])
    population.decide(trials, array("d", [1.0] * n), scores, array("b", bytes(n)))
    assert [population.at(rank) for rank in range(0, n, 997)] == list(range(0, n, 997))
    assert population.rank(12_345) == 12_345
    for trial in range(0, n, 2):
        population.forget(trial)
    assert population.at(10) == 21


@pytest.mark.parametrize("wrong", [(-0.1, 1.0), (0.6, 1.0), (math.nan, 1.0), (0.25, 0.0), (0.25, math.nan)])
def test_settings_that_cannot_be_are_errors(wrong):
    with pytest.raises(ValueError, match="must be"):
        Population(*wrong)


def test_numbers_and_ranks_that_cannot_be_are_errors():
    population = Population(0.25, 1.0)
    with pytest.raises(ValueError, match="must be >= 0"):
        population.judge(-1, 1.0, 1.0)
    with pytest.raises(IndexError, match="rank"):
        population.at(0)
    with pytest.raises(ValueError, match="one length"):
        population.decide(array("q", [1]), array("d"), array("d"), array("b"))
    with pytest.raises(ValueError, match="row 0 is of trial -1: trials are numbered from 0"):
        population.decide(array("q", [-1]), array("d", [1.0]), array("d", [1.0]), array("b", [0]))
