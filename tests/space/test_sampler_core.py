"""The compiled sampler against its slow twin, and against the distributions it promises."""

from __future__ import annotations

import math
import struct

import model_sampling
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fasttune import _draws
from fasttune.space import functions as space
from rounds import rounds

KNOWN_ANSWERS = [  # of the Random123 distribution
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]

RULES = [
    ("u", -5.0, -1.0, 0.0),
    ("u", 3.2, 5.4, 0.2),
    ("l", 1e-4, 1e-1, 0.0),
    ("l", 1e-4, 1e-1, 5e-5),
    ("n", 10.0, 2.0, 0.0),
    ("n", 10.0, 2.0, 0.2),
    ("i", -9, 15, 1),
    ("i", -7, 5, 3),
    ("j", 1, 10, 1),
    ("j", 1, 6, 2),
    ("i", -(2**63), 2**63 - 1, 1),
    ("g", 1, 3, 0),
    ("g", 3, 4, 0),
]

seeds = st.integers(0, 2**64 - 1)
trials = st.integers(0, 2**62)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, answer):
    assert _draws.philox4x32(counter, key) == answer
    assert tuple(model_sampling.philox(counter, key)) == answer


@given(seed=seeds, trial=trials)
@settings(max_examples=rounds(3000), deadline=None)
def test_values_equal_the_slow_twin_exactly(seed, trial):
    drawn = _draws.Sampler(RULES, seed, grid=12).values(trial)
    expected = [model_sampling.value(rule, k, seed, trial, trial % 12) for k, rule in enumerate(RULES)]
    assert list(drawn) == expected
    assert [type(a) for a in drawn] == [float] * 6 + [int] * 7


@given(seed=seeds, first=st.integers(0, 2**40), n=st.integers(0, 20))
@settings(max_examples=rounds(500), deadline=None)
def test_a_block_is_the_values_of_its_trials_as_columns(seed, first, n):
    rules = [rule for rule in RULES if rule[0] != "g" and abs(rule[1]) < 2**53]
    sampler = _draws.Sampler(rules, seed)
    columns = struct.unpack(f"{len(rules) * n}d", sampler.block(first, n))
    for i in range(n):
        assert columns[i::n] == sampler.values(first + i)


@pytest.mark.parametrize("n", [1, 7, 8, 255, 256, 257, 700])
def test_columns_of_many_trials_are_the_values_of_each(n):
    """They are drawn eight at a time, and 256 together."""
    sampler = _draws.Sampler(RULES, 2**63 + 5, grid=12)
    numbers = [*range(2**32 - n // 2, 2**32 + n - n // 2)]
    columns = sampler.columns(np.array(numbers, dtype=np.int64))
    made = [
        np.frombuffer(column, np.int64 if rule[0] in "ijg" else np.float64).tolist()
        for rule, column in zip(RULES, columns, strict=True)
    ]
    assert list(zip(*made, strict=True)) == [sampler.values(number) for number in numbers]


@given(seed=seeds, numbers=st.lists(trials, max_size=6))
def test_columns_are_the_values_of_any_trials(seed, numbers):
    sampler = _draws.Sampler(RULES, seed, grid=12)
    columns = sampler.columns(np.array(numbers, dtype=np.int64))
    made = [
        np.frombuffer(column, np.int64 if rule[0] in "ijg" else np.float64).tolist()
        for rule, column in zip(RULES, columns, strict=True)
    ]
    assert list(zip(*made, strict=True)) == [sampler.values(trial) for trial in numbers]


def test_parts_are_what_a_node_gives_to_each_config():
    draw = _draws.SpaceNode(_draws.SpaceNode.DRAW, leaf=0)
    part = _draws.SpaceNode(_draws.SpaceNode.LIST, children=(draw, _draws.SpaceNode(_draws.SpaceNode.CONST, value="x")))
    root = _draws.SpaceNode(_draws.SpaceNode.DICT, keys=("a",), children=(part,))
    sampler = _draws.Sampler([("i", 0, 100, 1)], 7, root)
    numbers = np.array([3, 0, 2**40], dtype=np.int64)
    made = sampler.parts(part, numbers)
    assert made == [sampler.config(trial)["a"] for trial in numbers.tolist()]
    assert len({id(one) for one in made}) == 3


def test_many_leaves_do_not_fit_on_the_stack_and_are_right_all_the_same():
    rules = [("u", 0.0, 1.0, 0.0)] * 101
    assert list(_draws.Sampler(rules, 3).values(5)) == [
        model_sampling.value(rule, k, 3, 5) for k, rule in enumerate(rules)
    ]


def test_constant_trials_of_one_sample_share_their_random_values():
    sampler = _draws.Sampler([("g", 1, 3, 0), ("u", 0.0, 1.0, 0.0)], 1, offset=2, grid=3, constant=True)
    rows = [sampler.values(i) for i in range(2, 8)]
    assert [row[0] for row in rows] == [0, 1, 2, 0, 1, 2]
    assert len({row[1] for row in rows[:3]}) == len({row[1] for row in rows[3:]}) == 1
    assert rows[0][1] != rows[3][1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([("x", 0, 1, 0)], 0), "rule must be one of"),
        (([], -1), "seed must be"),
        (([], 2**64), "seed must be"),
        (([("i", 3, 3, 1)], 0), "at least one value"),
    ],
)
def test_errors_name_the_rule_and_the_value(arguments, words):
    with pytest.raises(ValueError, match=words):
        _draws.Sampler(*arguments)


def test_build_checks_the_number_of_values():
    with pytest.raises(ValueError, match="1 leaves, got 2 values"):
        _draws.Sampler([("u", 0, 1, 0)], 0).build([1.0, 2.0])


N = 20_000


def drawn(domain):
    return np.asarray(domain.sample(size=N, random_state=20_240))


def test_floats_are_distributed_as_promised():
    assert stats.kstest(drawn(space.uniform(-5, -1)), stats.uniform(-5, 4).cdf).pvalue > 0.01
    logs = np.log10(drawn(space.loguniform(1e-4, 1e-1)))
    assert stats.kstest(logs, stats.uniform(-4, 3).cdf).pvalue > 0.01
    assert stats.kstest(drawn(space.randn(10, 2)), stats.norm(10, 2).cdf).pvalue > 0.01


def test_integers_are_distributed_as_promised():
    counts = np.bincount(drawn(space.randint(0, 7)), minlength=7)
    assert stats.chisquare(counts).pvalue > 0.01
    counts = np.bincount(drawn(space.qrandint(0, 12, 3)))[::3]
    assert stats.chisquare(counts).pvalue > 0.01
    values = np.arange(1, 10)
    expected = N * (np.log(values + 1) - np.log(values)) / math.log(10)
    counts = np.bincount(drawn(space.lograndint(1, 10)), minlength=10)[1:]
    assert stats.chisquare(counts, expected).pvalue > 0.01
    indices = np.arange(1, 6)
    expected = N * (np.log(indices + 1) - np.log(indices)) / math.log(6)
    counts = np.bincount(drawn(space.qlograndint(1, 10, 2)))[2::2]
    assert stats.chisquare(counts, expected).pvalue > 0.01


def test_choice_is_even_and_the_end_values_of_quniform_are_half_as_likely():
    counts = np.bincount([int(x) for x in space.choice([0, 1, 2]).sample(size=N, random_state=1)])
    assert stats.chisquare(counts).pvalue > 0.01
    counts = np.bincount(drawn(space.quniform(0, 4, 1)).astype(int))
    assert stats.chisquare(counts, N * np.array([0.5, 1, 1, 1, 0.5]) / 4).pvalue > 0.01


def test_leaves_and_trials_are_independent_of_each_other():
    sampler = _draws.Sampler([("u", 0, 1, 0)] * 4, 9)
    columns = np.frombuffer(sampler.block(0, N)).reshape(4, N)
    correlations = np.corrcoef([*columns, np.roll(columns[0], 1)])
    assert np.abs(correlations - np.eye(5)).max() < 0.03
