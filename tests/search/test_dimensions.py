"""A space as dimensions: every number stands for one config and back, and the unit cube has the space's own law."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

import fasttune as tune
from fasttune.space.dimensions import CATEGORICAL, FLOAT, INTEGER, Dimensions
from fasttune.space.domains import SearchSpaceError

THING = object()
RICH: dict[str, Any] = {
    "lr": tune.loguniform(1e-5, 1e-1),
    "drop": tune.quniform(0, 1, 0.25),
    "wide": tune.qloguniform(0.5, 8, 0.5),
    "net": {"layers": tune.randint(1, 5), "act": tune.choice(["relu", "tanh"]), "bias": True},
    "units": tune.lograndint(1, 300),
    "batch": tune.qrandint(8, 64, 8),
    "noise": tune.randn(2, 3),
    "opt": tune.choice(
        [
            "sgd",
            {"kind": "adam", "beta": tune.uniform(0.8, 0.99), "eps": tune.choice([1e-8, 1e-6])},
            {"kind": "rms", "beta": tune.uniform(0.1, 0.2)},
            tune.uniform(5, 6),
        ]
    ),
    "both": [tune.choice([THING, None]), 7],
    "twice": tune.sample_from(lambda config: 2 * config["net"]["layers"]),
}


def test_numbers_and_configs_stand_for_each_other() -> None:
    dims = Dimensions(RICH, seed=3)
    for trial in range(2000):
        numbers = dims.draw(trial)
        config = dims.config(numbers, trial)
        assert dims.numbers(config) == numbers
        assert config["twice"] == 2 * config["net"]["layers"]
        again = dims.from_units(dims.to_units(numbers))
        for one, a, b in zip(dims, numbers, again, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                assert math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9), one


def test_names_are_unique_and_conditions_name_their_parent() -> None:
    dims = Dimensions(RICH)
    names = [one.name for one in dims]
    assert len(set(names)) == len(names)
    opt = names.index("opt")
    assert [(one.name, one.option) for one in dims if one.parent == opt] == [
        ("opt/beta", 1),
        ("opt/eps", 1),
        ("opt/beta@2", 2),
        ("opt@3", 3),
    ]
    eps = dims[names.index("opt/eps")]
    assert list(eps.options) == [1e-8, 1e-6]


def test_a_suggestion_has_no_constants() -> None:
    dims = Dimensions(RICH)
    suggestion = dims.suggestion(dims.draw(0))
    assert set(suggestion["net"]) == {"layers", "act"}
    assert suggestion["both"][1] == 7  # a list is suggested as a whole


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        (tune.randint(2, 5), [2, 3, 4]),
        (tune.qrandint(8, 32, 8), [8, 16, 24, 32]),
        (tune.choice(["a", "b"]), [0, 1]),
        (tune.quniform(0, 1, 0.5), [0.0, 0.5, 0.5, 1.0]),
        (tune.lograndint(1, 4), None),
        (tune.qlograndint(2, 16, 2), None),
    ],
)
def test_units_have_the_law_of_the_space(domain: Any, values: list[float] | None) -> None:
    """Evenly spaced units give each value as often as the sampler does."""
    dims = Dimensions({"x": domain}, seed=1)
    n = 40_000
    even = Counter(dims[0].value((k + 0.5) / n) for k in range(n))
    drawn = Counter(dims.draw(trial)[0] for trial in range(n))
    assert set(even) == set(drawn)
    for value, count in even.items():
        assert abs(drawn[value] - count) < 5 * math.sqrt(count), value
    if values is not None:
        share = Counter(values)
        for value, count in even.items():
            assert abs(count / n - share[value] / len(values)) < 1e-3


def test_the_size_counts_configs() -> None:
    inner = tune.choice([{"c": tune.randint(0, 5)}, {"d": tune.choice([1, 2, 3])}, "z"])
    assert Dimensions({"a": tune.choice([1, 2]), "b": inner}).size == 2 * (5 + 3 + 1)
    assert Dimensions({"a": tune.quniform(0, 1, 0.25), "b": tune.qrandint(8, 64, 8)}).size == 5 * 8
    assert Dimensions({"a": tune.uniform(0, 1)}).size == math.inf
    assert Dimensions({"a": tune.choice([1]), "b": tune.sample_from(lambda: 1)}).size == math.inf


def test_what_a_searcher_cannot_express_is_refused_by_name() -> None:
    with pytest.raises(SearchSpaceError, match="TPE cannot walk through the grid_search at 'a/b'"):
        Dimensions({"a": {"b": tune.grid_search([1, 2])}}, "TPE")
    with pytest.raises(SearchSpaceError, match="cannot search 'n': an unbounded normal"):
        Dimensions({"n": tune.randn()}, "BayesOptSearch", kinds=(FLOAT, INTEGER, CATEGORICAL))
    with pytest.raises(SearchSpaceError, match="'o/x', which is there only for one option of 'o'"):
        Dimensions({"o": tune.choice([1, {"x": tune.uniform(0, 1)}])}, "GP", conditional=False)


@pytest.mark.parametrize(
    ("point", "text"),
    [
        ({"lr": 1.0}, "'lr' must be from 1e-05 to 0.1, got 1.0"),
        ({"batch": 12}, "'batch' must be from 8 to 64 in steps of 8"),
        ({"net": {"act": "gelu"}}, "'net/act' must be one of .'relu', 'tanh'., got 'gelu'"),
        ({"opt": {"kind": "adam"}}, "'opt' must be one of"),
    ],
)
def test_points_outside_are_named(point: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Dimensions(RICH).numbers(point, missing=0)


def test_partial_and_flat_points() -> None:
    dims = Dimensions(RICH, seed=5)
    numbers = dims.numbers({"net/layers": 3, "opt": {"kind": "adam", "beta": 0.9, "eps": 1e-6}}, missing=4)
    config = dims.config(numbers)
    assert config["net"]["layers"] == 3
    assert config["opt"] == {"kind": "adam", "beta": 0.9, "eps": 1e-6}
    assert config["lr"] == dims.config(dims.draw(4))["lr"]
    with pytest.raises(KeyError, match="the config has no 'lr'"):
        Dimensions({"lr": tune.uniform(0, 1)}).numbers({})


def test_options_that_look_alike_are_told_apart() -> None:
    dims = Dimensions({"odd": tune.choice(["1", 1, True, 1.0, None, "None"])})
    for index in range(6):
        assert dims.numbers(dims.config([index])) == [index]
