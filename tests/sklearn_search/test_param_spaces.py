"""Lists, distributions of scipy and domains as a search space, and back to parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
from sklearn.model_selection import ParameterGrid

import fasttune as tune
from fasttune.search import SearchSpace
from fasttune.sklearn.spaces import DrawnFrom, distribution_space, grid_places, grid_space, params_of
from fasttune.space.domains import Categorical, Float, Integer
from fasttune.space.variants import Variants


@pytest.mark.parametrize(
    ("distribution", "kind", "low", "high"),
    [
        (scipy.stats.uniform(2, 3), Float, 2, 5),
        (scipy.stats.loguniform(1e-3, 1e2), Float, 1e-3, 1e2),
        (scipy.stats.reciprocal(1, 10), Float, 1, 10),
        (scipy.stats.randint(3, 9), Integer, 3, 9),
        (scipy.stats.randint(3, 9, loc=2), Integer, 5, 11),
    ],
)
def test_scipys_distributions_are_domains_with_their_bounds(distribution: Any, kind: type, low: float, high: float) -> None:
    domain = distribution_space({"x": distribution})["x"]
    assert type(domain) is kind
    assert (domain.lower, domain.upper) == pytest.approx((low, high))
    drawn = [config["x"] for config in SearchSpace({"x": domain}).configs(2000)]
    expected = distribution.rvs(size=2000, random_state=0)
    # Two samples of one distribution: the largest distance of their steps, at a level that no change of seeds meets.
    assert scipy.stats.ks_2samp(drawn, expected).pvalue > 1e-4


def test_a_normal_distribution_is_a_normal_domain() -> None:
    drawn = [config["x"] for config in SearchSpace(distribution_space({"x": scipy.stats.norm(3, 0.5)})).configs(2000)]
    assert np.mean(drawn) == pytest.approx(3, abs=0.05)
    assert np.std(drawn) == pytest.approx(0.5, abs=0.05)


def test_any_other_distribution_is_drawn_from_by_the_trials_seed() -> None:
    moved = scipy.stats.loguniform(1, 2, loc=1)
    space = distribution_space({"x": scipy.stats.expon(scale=10), "n": scipy.stats.poisson(3), "m": moved})
    assert {type(domain) for domain in space.values()} == {DrawnFrom}
    first, second = SearchSpace(space).configs(50, seed=1), SearchSpace(space).configs(50, seed=1)
    assert first == second
    assert first != SearchSpace(space).configs(50, seed=2)
    assert {type(config["n"]) for config in first} == {int}
    assert len({config["x"] for config in first}) == 50
    assert SearchSpace(space).size() == float("inf")


def test_lists_and_arrays_are_choices_of_python_values() -> None:
    space = distribution_space({"a": np.logspace(-1, 1, 3), "b": ["x", None], "c": range(3), "d": tune.uniform(0, 1)})
    assert space["a"].categories == pytest.approx([0.1, 1.0, 10.0])
    assert {type(value) for value in space["a"].categories} == {float}
    assert space["b"].categories == ["x", None]
    assert space["c"].categories == [0, 1, 2]
    assert space["d"] is not None
    assert type(distribution_space({"x": scipy.stats.randint(3, 4)})["x"]) is Categorical


def test_of_several_dicts_one_is_chosen() -> None:
    given = [{"kernel": ["linear"]}, {"kernel": ["rbf"], "gamma": tune.uniform(0, 1)}]
    params = [params_of(config, given) for config in SearchSpace(distribution_space(given)).configs(20)]
    assert {tuple(one) for one in params} == {("kernel",), ("gamma", "kernel")}
    assert all((one["kernel"] == "rbf") == ("gamma" in one) for one in params)


@pytest.mark.parametrize(
    "given",
    [
        {"a": [1, 2]},
        {"b": [1, 2, 3], "a": ["x", "y"], "c": (True, False)},
        [{"a": [1, 2], "b": [3, 4, 5]}, {"c": np.array([1.0, 2.0])}, {"z": [0], "y": [1, 2]}],
    ],
    ids=["one", "three", "list"],
)
def test_a_grid_stands_in_scikit_learns_order(given: Any) -> None:
    space = grid_space(given)
    variants = Variants(space, 1, seed=0)
    trials = [params_of(variants.config(i), given) for i in range(len(variants))]
    places = grid_places(space)
    assert [one for _, one in sorted(zip(places, trials, strict=True), key=lambda pair: pair[0])] == list(ParameterGrid(given))
