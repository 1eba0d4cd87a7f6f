"""HyperOptSearch against the library itself."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hyperopt import hp

import fasttune as tune
from fasttune.search import create_searcher
from fasttune.search.hyperopt import HyperOptSearch
from fasttune.space.dimensions import Dimensions
from fasttune.space.domains import SearchSpaceError
from fasttune.testing import SearcherContract

THING = object()
RICH: dict[str, Any] = {
    "lr": tune.loguniform(1e-5, 1e-1),
    "drop": tune.quniform(0, 1, 0.25),
    "wide": tune.qloguniform(0.5, 8, 0.5),
    "layers": tune.randint(1, 5),
    "units": tune.lograndint(1, 300),
    "batch": tune.qrandint(8, 64, 8),
    "power": tune.qlograndint(2, 64, 2),
    "noise": tune.randn(2, 3),
    "step": tune.qrandn(0, 2, 0.5),
    "odd": tune.choice([1, True, "1", None, THING, [1, 2]]),
    "opt": tune.choice(["sgd", {"kind": "adam", "beta": tune.uniform(0.8, 0.99)}, tune.uniform(5, 6)]),
    "fixed": 3,
}


class TestHyperOpt(SearcherContract):
    def make(self) -> HyperOptSearch:
        return HyperOptSearch(random_state_seed=1, n_initial_points=4)


class TestHyperOptWithItsOwnSpace(SearcherContract):
    own_space = True

    def make(self) -> HyperOptSearch:
        space = {"x": hp.uniform("x", 0, 1), "kind": hp.choice("kind", ["a", "b", "c"]), "more": {"n": 3}}
        return HyperOptSearch(space, random_state_seed=1, n_initial_points=4)


def test_A7_the_space_is_converted_exactly() -> None:
    searcher = HyperOptSearch(RICH, "loss", "min", random_state_seed=5, n_initial_points=20)
    dims = Dimensions(RICH)
    seen: set[Any] = set()
    for number in range(80):
        config: Any = searcher.suggest(str(number))
        assert dims.config(dims.numbers(config)) == config  # every value lies in its domain
        seen.add(config["layers"])
        searcher.on_trial_complete(str(number), {"loss": config["lr"] + config["layers"]})
    assert seen == {1, 2, 3, 4}
    docs = searcher._trials.trials
    assert all(bool(doc["misc"]["vals"]["opt/beta"]) == (doc["misc"]["vals"]["opt"] == [1]) for doc in docs)


def test_A7_a_grid_is_refused() -> None:
    with pytest.raises(SearchSpaceError, match="HyperOptSearch cannot walk through the grid_search at 'g'"):
        HyperOptSearch({"g": tune.grid_search([1, 2])}, "loss", "min")


@pytest.mark.parametrize("own", [False, True])
def test_A6_it_finds_the_least(tmp_path: Path, own: bool) -> None:
    space = {"x": hp.uniform("x", -5, 5)} if own else None
    analysis = tune.run(
        lambda config: tune.report({"score": -((config["x"] - 0.3) ** 2)}),
        config={} if own else {"x": tune.uniform(-5, 5)},
        search_alg=HyperOptSearch(space, random_state_seed=3),
        num_samples=100,
        metric="score",
        mode="max",
        executor="inline",
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert analysis.best_result["score"] > -1e-2


def test_A9_points_come_first_and_are_learnt() -> None:
    points = [{"x": 0.5, "n": 2}, {"n": 3}]
    space = {"x": tune.uniform(0, 1), "n": tune.randint(0, 5)}
    searcher = HyperOptSearch(space, "loss", "min", points, random_state_seed=1)
    assert searcher.suggest("a") == points[0]
    second: Any = searcher.suggest("b")
    assert second["n"] == 3
    searcher.on_trial_complete("a", {"loss": 0.5})
    searcher.on_trial_complete("b", error=True)
    searcher.add_evaluated_point({"x": 0.1, "n": 0}, 0.25)
    docs = searcher._trials.trials
    assert [doc["result"].get("loss") for doc in docs] == [0.5, 0.25]  # the failed one is no result
    assert docs[0]["misc"]["vals"] == {"x": [0.5], "n": [2.5]}


def test_nothing_global_is_touched(capsys: pytest.CaptureFixture[str]) -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
    level = logging.getLogger("hyperopt").level
    searcher = HyperOptSearch({"x": tune.uniform(0, 1)}, "loss", "min", n_initial_points=2, random_state_seed=1)
    for number in range(5):
        searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), {"loss": number})
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index,union-attr]
    assert logging.getLogger("hyperopt").level == level
    assert capsys.readouterr().err == ""


def test_wrong_arguments() -> None:
    assert isinstance(create_searcher("hyperopt", gamma=0.2), HyperOptSearch)
    with pytest.raises(ValueError, match="n_initial_points must be an integer >= 0, got -1"):
        HyperOptSearch(n_initial_points=-1)
    with pytest.raises(ValueError, match="gamma must be a number > 0 and < 1, got 2"):
        HyperOptSearch(gamma=2)
    with pytest.raises(ValueError, match="not with Hyperopt's own"):
        HyperOptSearch({"x": hp.uniform("x", 0, 1)}, points_to_evaluate=[{"x": 0.5}])
