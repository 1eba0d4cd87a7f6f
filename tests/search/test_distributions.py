"""What searchers draw is distributed as the domains say, by real statistics at fixed seeds: Kolmogorov-Smirnov for floats,
chi-square for everything that can be counted. Random search draws independent values; Sobol and Halton points are more
even than chance, so of them only the marginal distributions are looked at."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

import fasttune as tune
from fasttune.search import create_searcher

N = 4_096
SPACE: dict[str, Any] = {
    "u": tune.uniform(-5, -1),
    "log": tune.loguniform(1e-4, 1e-1),
    "normal": tune.randn(10, 2),
    "q": tune.quniform(0, 4, 1),
    "n": tune.randint(0, 7),
    "step": tune.qrandint(0, 12, 3),
    "nlog": tune.lograndint(1, 10),
    "kind": tune.choice(["a", "b", "c"]),
    "net": tune.choice([{"depth": tune.randint(1, 5), "w": tune.uniform(0, 1)}, {"leaf": tune.loguniform(1, 100)}]),
}
SEARCHERS = ("random", "sobol", "halton")


@pytest.fixture(scope="module", params=SEARCHERS)
def configs(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    if request.param == "random":
        return tune.SearchSpace(SPACE).configs(N, seed=20_241)
    search = create_searcher(request.param, space=SPACE, metric="loss", mode="min", seed=20_241)
    return [search.ask().config for _ in range(N)]


def even(counts: Any, expected: Any = None) -> bool:
    return bool(stats.chisquare(counts, expected).pvalue > 0.01)


def test_floats(configs: list[dict[str, Any]]) -> None:
    assert stats.kstest([one["u"] for one in configs], stats.uniform(-5, 4).cdf).pvalue > 0.01
    assert stats.kstest([math.log10(one["log"]) for one in configs], stats.uniform(-4, 3).cdf).pvalue > 0.01
    assert stats.kstest([one["normal"] for one in configs], stats.norm(10, 2).cdf).pvalue > 0.01


def test_steps_and_integers(configs: list[dict[str, Any]]) -> None:
    assert even(np.bincount([int(one["q"]) for one in configs]), N * np.array([0.5, 1, 1, 1, 0.5]) / 4)
    assert even(np.bincount([one["n"] for one in configs], minlength=7))
    assert even(np.bincount([one["step"] for one in configs])[::3])
    values = np.arange(1, 10)
    expected = N * (np.log(values + 1) - np.log(values)) / math.log(10)
    assert even(np.bincount([one["nlog"] for one in configs], minlength=10)[1:], expected)


def test_choices_and_what_stands_in_their_options(configs: list[dict[str, Any]]) -> None:
    assert even([sum(one["kind"] == kind for one in configs) for kind in "abc"])
    nets = [one["net"] for one in configs if "depth" in one["net"]]
    leaves = [one["net"]["leaf"] for one in configs if "leaf" in one["net"]]
    assert even([len(nets), len(leaves)])
    assert even(np.bincount([net["depth"] for net in nets])[1:])
    assert stats.kstest([net["w"] for net in nets], stats.uniform(0, 1).cdf).pvalue > 0.01
    assert stats.kstest([math.log10(leaf) for leaf in leaves], stats.uniform(0, 2).cdf).pvalue > 0.01


def test_random_values_are_independent() -> None:
    columns = tune.SearchSpace({name: tune.uniform(0, 1) for name in "abcd"}).columns(20_000, seed=7)
    table = np.asarray([*columns.values(), np.roll(columns["a"], 1)])
    assert np.abs(np.corrcoef(table) - np.eye(5)).max() < 0.03
    boxes = np.floor(table[0] * 8).astype(int) * 8 + np.floor(table[1] * 8).astype(int)
    assert even(np.bincount(boxes, minlength=64))


@pytest.mark.parametrize("seed", range(3))
def test_the_first_trials_of_tpe_lie_evenly_in_the_space(seed: int) -> None:
    """Its start is a Latin hypercube: of n trials one lies in each nth of every float."""
    space = {"u": tune.uniform(-5, -1), "log": tune.loguniform(1e-4, 1e-1)}
    search = create_searcher("tpe", space=space, metric="loss", mode="min", seed=seed, n_initial_points=16)
    drawn = [search.ask().config for _ in range(16)]
    assert sorted(int((one["u"] + 5) / 4 * 16) for one in drawn) == list(range(16))
    assert sorted(int((math.log10(one["log"]) + 4) / 3 * 16) for one in drawn) == list(range(16))
