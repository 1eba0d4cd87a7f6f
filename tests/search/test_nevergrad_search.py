"""NevergradSearch against the library itself, whose release holds other libraries at versions of its own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasttune as tune
from fasttune.search import create_searcher
from fasttune.space.dimensions import Dimensions
from fasttune.space.domains import SearchSpaceError
from fasttune.testing import SearcherContract

pytestmark = pytest.mark.nevergrad

RICH: dict[str, Any] = {
    "lr": tune.loguniform(1e-5, 1e-1),
    "drop": tune.quniform(0, 1, 0.25),
    "layers": tune.randint(1, 5),
    "power": tune.qlograndint(2, 64, 2),
    "noise": tune.randn(2, 3),
    "odd": tune.choice([1, True, "1", None]),
    "opt": tune.choice(["sgd", {"kind": "adam", "beta": tune.uniform(0.8, 0.99)}]),
    "fixed": 3,
}


def searcher_of(*args: Any, **arguments: Any) -> Any:
    from fasttune.search.nevergrad import NevergradSearch

    return NevergradSearch(*args, **arguments)


class TestNevergrad(SearcherContract):
    def make(self) -> Any:
        return searcher_of("OnePlusOne", seed=1)


class TestNevergradWithItsOwnSpace(SearcherContract):
    own_space = True

    def make(self) -> Any:
        import nevergrad as ng

        space = ng.p.Dict(x=ng.p.Scalar(lower=0, upper=1), kind=ng.p.Choice(["a", "b", "c"]))
        return searcher_of("TwoPointsDE", space=space, seed=1)


def test_A7_the_space_is_converted_exactly() -> None:
    searcher = searcher_of("RandomSearch", None, RICH, "loss", "min", seed=5)
    dims = Dimensions(RICH)
    seen = set()
    for number in range(80):
        config: Any = searcher.suggest(str(number))
        assert dims.config(dims.numbers(config)) == config
        seen.add(config["layers"])
        searcher.on_trial_complete(str(number), {"loss": math.log(config["lr"])})
    assert seen == {1, 2, 3, 4}
    with pytest.raises(SearchSpaceError, match="NevergradSearch cannot walk through the grid_search at 'g'"):
        searcher_of(space={"g": tune.grid_search([1, 2])}, metric="loss", mode="min")


def test_A6_it_finds_the_least(tmp_path: Path) -> None:
    analysis = tune.run(
        lambda config: tune.report({"loss": (config["x"] - 0.3) ** 2}),
        config={"x": tune.uniform(-5, 5)},
        search_alg=searcher_of("OnePlusOne", {"budget": 60}, seed=3),
        num_samples=60,
        metric="loss",
        mode="min",
        executor="inline",
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert analysis.best_result["loss"] < 1e-3


def test_A9_points_come_first_and_an_optimizer_may_be_made_already() -> None:
    import nevergrad as ng

    space = {"x": tune.uniform(0, 1), "n": tune.randint(0, 5)}
    searcher = searcher_of("OnePlusOne", None, space, "loss", "min", [{"x": 0.5, "n": 2}], seed=1)
    assert searcher.suggest("a") == {"x": 0.5, "n": 2}
    searcher.on_trial_complete("a", {"loss": -5.0})
    assert searcher._optimizer.num_tell == 1
    searcher.suggest("b")
    searcher.on_trial_complete("b", error=True)
    assert searcher._optimizer.num_tell == 2
    own = ng.optimizers.OnePlusOne(ng.p.Dict(x=ng.p.Scalar(lower=0, upper=1)), budget=10)
    assert 0 <= searcher_of(own, metric="loss", mode="min").suggest("a")["x"] <= 1


def test_wrong_arguments_and_nothing_global() -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
    create_searcher("nevergrad", space={"x": tune.uniform(0, 1)}, metric="loss", mode="min", seed=1).suggest("a")
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index,union-attr]
    with pytest.raises(ValueError, match="Nevergrad has no optimizer 'nope'"):
        searcher_of("nope")
    with pytest.raises(TypeError, match="optimizer must be a name, a class or an optimizer"):
        searcher_of(3)


@pytest.mark.parametrize(
    ("space", "names"),
    [
        (lambda p: p.Dict(x=p.Scalar(lower=0, upper=1), n=p.Choice([1, 2])), None),
        (lambda p: p.Instrumentation(x=p.Scalar(lower=0, upper=1), n=p.Choice([1, 2])), None),
        (lambda p: p.Instrumentation(p.Dict(x=p.Scalar(lower=0, upper=1), n=p.Choice([1, 2]))), None),
        (lambda p: p.Tuple(p.Scalar(lower=0, upper=1), p.Choice([1, 2])), ["x", "n"]),
        (lambda p: p.Array(shape=(2,)).set_bounds(0, 2), ["x", "n"]),
        (lambda p: p.Instrumentation(p.Array(shape=(2,)).set_bounds(0, 2)), ["x", "n"]),
    ],
)
def test_A6_an_optimizer_that_was_made_runs_with_any_parametrization(tmp_path: Path, space: Any, names: Any) -> None:
    import nevergrad as ng

    optimizer = ng.optimizers.OnePlusOne(parametrization=space(ng.p), budget=6)
    analysis = tune.run(
        lambda config: tune.report({"loss": config["x"] + config["n"]}),
        search_alg=searcher_of(optimizer, space=names),
        num_samples=6,
        metric="loss",
        mode="min",
        executor="inline",
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert all(set(trial.config) == {"x", "n"} for trial in analysis.trials)
    assert optimizer.num_tell == 6


def test_A6_a_made_optimizer_whose_values_have_no_names_is_refused_at_once() -> None:
    import nevergrad as ng

    optimizer = ng.optimizers.OnePlusOne(parametrization=2, budget=6)
    with pytest.raises(ValueError, match="gives 2 values without names, and space must name each"):
        searcher_of(optimizer)
    with pytest.raises(ValueError, match="gives 2 values without names"):
        searcher_of(optimizer, space=["x"])
    with pytest.raises(ValueError, match="already has its space and its arguments"):
        searcher_of(optimizer, space={"x": tune.uniform(0, 1)})
    with pytest.raises(TypeError, match="space must be a dict or a parametrization"):
        searcher_of("OnePlusOne", space=["x"])


def test_parameters_of_nevergrad_among_domains_are_refused_by_name() -> None:
    import nevergrad as ng

    space = {"x": tune.uniform(0, 1), "net": {"y": [ng.p.Scalar(lower=0.0, upper=1.0)]}}
    with pytest.raises(SearchSpaceError, match=r"as space\['net'\]\['y'\]\[0\]: give the whole space as one ng.p.Dict"):
        searcher_of("OnePlusOne", space=space)
