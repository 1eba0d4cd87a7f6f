"""A search space that answers: what is in it, how large it is, its samples as configs and as columns, its JSON."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttune as tune
from fasttune.search import BasicVariantGenerator
from fasttune.space.domains import SearchSpaceError
from rounds import rounds

FINITE: dict[str, Any] = {
    "n": tune.randint(0, 3),
    "q": tune.quniform(0.0, 1.0, 0.25),
    "step": tune.qrandint(2, 8, 2),
    "net": tune.choice([{"kind": "tree", "depth": tune.randint(1, 5)}, {"kind": "linear"}]),
    "bits": [tune.choice([False, True]), "fixed"],
    "grid": tune.grid_search(["a", "b"]),
    "k": 5,
}
SIZE = 3 * 5 * 4 * (4 + 1) * 2 * 2
ENDLESS: dict[str, Any] = {
    "x": tune.uniform(0, 1),
    "lr": tune.loguniform(1e-4, 1e-1),
    "z": tune.randn(0, 1),
    "n": tune.lograndint(1, 100),
    "activation": tune.choice(["relu", "tanh"]),
    "width": tune.choice([16, 32, 64]),
    "opt": tune.choice([{"name": "sgd", "momentum": tune.uniform(0.5, 1)}, {"name": "adam"}]),
}


def test_a_finite_space_is_counted_and_listed() -> None:
    space = tune.SearchSpace(FINITE)
    assert space.size() == SIZE
    assert isinstance(space.size(), int)
    configs = list(space.all_configs())
    assert len(configs) == SIZE == len({repr(config) for config in configs})
    assert all(space.contains(config) for config in configs)
    drawn = {repr(sorted(config.items())) for config in space.configs(4000, seed=1)}
    assert drawn < {repr(sorted(config.items())) for config in configs}  # random search draws nothing else, ends seldom
    assert len(drawn) > SIZE * 0.9


@pytest.mark.parametrize(
    ("space", "size"),
    [
        ({}, 1),
        ({"a": 1}, 1),
        ({"a": tune.uniform(0, 1)}, math.inf),
        ({"a": tune.randn()}, math.inf),
        ({"a": tune.qrandn(0, 1, 0.5)}, math.inf),
        ({"a": tune.uniform(2, 2)}, 1),
        ({"a": tune.sample_from(lambda spec: 1)}, math.inf),
        ({"a": tune.choice([tune.uniform(0, 1), 3])}, math.inf),
        ({"a": tune.randint(0, 10**9), "b": tune.randint(0, 10**9)}, 10**18),
        ({"a": tune.grid_search(range(10**9))}, 10**9),
    ],
)
def test_sizes(space: dict[str, Any], size: float) -> None:
    assert tune.SearchSpace(space).size() == size


def test_an_endless_space_cannot_be_listed() -> None:
    with pytest.raises(ValueError, match="the space has no end"):
        next(tune.SearchSpace(ENDLESS).all_configs())


@settings(max_examples=rounds(600), deadline=None)
@given(seed=st.integers(0, 2**32), space=st.sampled_from([FINITE, ENDLESS]))
def test_what_is_drawn_is_contained_and_what_is_changed_is_not(seed: int, space: dict[str, Any]) -> None:
    asked = tune.SearchSpace(space)
    for config in asked.configs(3, seed=seed):
        assert asked.contains(config)
        assert not asked.contains({**config, "more": 1})
        assert not asked.contains({**config, "n": 1000})
        assert not asked.contains({**config, "n": "1"})
        assert not asked.contains({key: value for key, value in config.items() if key != "n"})
    assert not asked.contains(5)


@pytest.mark.parametrize(
    ("change", "inside"),
    [
        ({"q": 0.5}, True),
        ({"q": 0.3}, False),
        ({"step": 8}, True),
        ({"step": 7}, False),
        ({"net": {"kind": "tree", "depth": 4}}, True),
        ({"net": {"kind": "tree", "depth": 5}}, False),
        ({"net": {"kind": "linear"}}, True),
        ({"net": {"kind": "linear", "depth": 1}}, False),
        ({"bits": [True, "fixed"]}, True),
        ({"bits": [True, "other"]}, False),
        ({"bits": [True]}, False),
        ({"grid": "b"}, True),
        ({"grid": "c"}, False),
        ({"k": 6}, False),
    ],
)
def test_what_lies_inside(change: dict[str, Any], inside: bool) -> None:
    base = {"n": 0, "q": 0.0, "step": 2, "net": {"kind": "linear"}, "bits": [False, "fixed"], "grid": "a", "k": 5}
    assert tune.SearchSpace(FINITE).contains({**base, **change}) is inside


def test_functions_may_give_anything() -> None:
    space = tune.SearchSpace({"a": tune.sample_from(lambda spec: 1)})
    assert space.contains({"a": object()})


@pytest.mark.parametrize("space", [FINITE, ENDLESS])
def test_json_gives_an_equal_space(space: dict[str, Any]) -> None:
    written = tune.SearchSpace(space).to_json()
    again = tune.SearchSpace.from_json(written)
    assert again.to_json() == written
    assert again.configs(50, seed=3) == tune.SearchSpace(space).configs(50, seed=3)
    assert again.size() == tune.SearchSpace(space).size()


def test_what_json_cannot_hold_is_named() -> None:
    with pytest.raises(SearchSpaceError, match="opt/kind = "):
        tune.SearchSpace({"opt": {"kind": object()}}).to_json()
    with pytest.raises(SearchSpaceError, match="what JSON cannot: f = "):
        tune.SearchSpace({"f": tune.sample_from(lambda spec: 1)}).to_json()
    with pytest.raises(SearchSpaceError, match="is not a search space"):
        tune.SearchSpace.from_json("[1]")


def test_a_space_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="grid_search"):
        tune.SearchSpace({"a": tune.grid_search([])})


def test_columns_are_the_configs() -> None:
    space = tune.SearchSpace(ENDLESS)
    columns, configs = space.columns(500, seed=4), space.configs(500, seed=4)
    for key in ("x", "lr", "z", "n", "activation", "width"):
        assert columns[key].tolist() == [config[key] for config in configs]
    assert columns["x"].dtype == np.float64
    assert columns["n"].dtype == columns["width"].dtype == np.int64
    sgd = np.asarray([config["opt"]["name"] == "sgd" for config in configs])
    assert (columns["opt"] == np.where(sgd, 0, 1)).all()
    momentum = columns["opt/momentum"]
    assert np.isnan(momentum[~sgd]).all()
    assert momentum[sgd].tolist() == [c["opt"]["momentum"] for c in configs if c["opt"]["name"] == "sgd"]


def test_columns_of_a_grid_walk_through_it() -> None:
    columns = tune.SearchSpace({"g": tune.grid_search(["a", "b"]), "x": tune.uniform(0, 1)}).columns(3, seed=1)
    assert columns["g"].tolist() == ["a", "b"] * 3
    assert len(set(columns["x"])) == 6


def test_what_has_no_columns_says_so() -> None:
    with pytest.raises(SearchSpaceError, match="use configs"):
        tune.SearchSpace({"f": tune.sample_from(lambda spec: 1)}).columns(2)


def test_configs_are_those_of_a_run_with_that_seed() -> None:
    variants = BasicVariantGenerator(random_state=9).variants(20, ENDLESS)
    assert tune.SearchSpace(ENDLESS).configs(20, seed=9) == [variants.config(i) for i in range(20)]


def test_it_is_taken_wherever_a_dict_is(tmp_path: Any) -> None:
    space = tune.SearchSpace({"x": tune.uniform(0, 1), "k": 5})
    assert dict(space) == {"x": space["x"], "k": 5}
    for search_alg in (None, "tpe"):
        analysis = tune.run(
            lambda config: tune.report(loss=config["x"] + config["k"]),
            config=space,
            num_samples=5,
            search_alg=search_alg,
            metric="loss",
            mode="min",
            executor="inline",
            storage_path=tmp_path,
            verbose=0,
        )
        assert all(space.contains(trial.config) for trial in analysis.trials)
    tuner = tune.Tuner(
        lambda config: tune.report(loss=config["x"]),
        param_space=space,
        tune_config=tune.TuneConfig(num_samples=2, metric="loss", mode="min"),
        run_config=tune.RunConfig(storage_path=tmp_path, verbose=0),
    )
    assert len(tuner.fit()) == 2
