"""A point to evaluate says what the space has: a name that nothing would ever read is refused before the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import ConcurrencyLimiter, HaltonSearch, SobolSearch, TPESearch, TuneBOHB
from fasttune.search.basic_variant import BasicVariantGenerator
from fasttune.search.evolution import EvolutionSearch
from fasttune.search.hyperopt import HyperOptSearch
from fasttune.search.optuna import OptunaSearch
from fasttune.search.random_search import RandomSearch

SPACE: dict[str, Any] = {
    "lr": tune.uniform(0, 1),
    "epochs": 10,
    "net": {"layers": [tune.randint(1, 4), 7], "act": tune.choice(["a", {"slope": tune.uniform(0, 1)}])},
    2: tune.uniform(0, 1),
}
SEARCHERS = {
    "tpe": lambda points: TPESearch(points_to_evaluate=points),
    "sobol": lambda points: SobolSearch(points_to_evaluate=points),
    "halton": lambda points: HaltonSearch(points_to_evaluate=points),
    "bohb": lambda points: TuneBOHB(points_to_evaluate=points),
    "evolution": lambda points: EvolutionSearch(points_to_evaluate=points),
    "optuna": lambda points: OptunaSearch(points_to_evaluate=points),
    "hyperopt": lambda points: HyperOptSearch(points_to_evaluate=points),
    "limited": lambda points: ConcurrencyLimiter(TPESearch(points_to_evaluate=points), 2),
    "random": lambda points: RandomSearch(points_to_evaluate=points),
    "none": lambda points: BasicVariantGenerator(points_to_evaluate=points),
}


def train(config: dict[str, Any]) -> None:
    tune.report(loss=config["lr"])


def run(point: dict[str, Any], searcher: Any, folder: Path, **more: Any) -> Any:
    given: dict[str, Any] = {"metric": "loss", "mode": "min", "num_samples": 2, "executor": "inline", "verbose": 0}
    return tune.run(
        train, search_alg=searcher([point]), storage_path=folder, name="e", **{"config": SPACE, **given, **more}
    )


@pytest.mark.parametrize("kind", SEARCHERS)
@pytest.mark.parametrize(
    "point", [{"learning_rate": 0.5}, {"net": {"layrs": [1, 7]}}, {"net/layers/5": 1}, {"lr": 0.5, "Lr": 0.5}], ids=str
)
def test_a_name_that_the_space_does_not_have(tmp_path: Path, kind: str, point: dict[str, Any]) -> None:
    """A misspelt key of a point was dropped, and the point that should be tried first never was."""
    with pytest.raises(
        (ValueError, KeyError), match=r"points_to_evaluate names '(learning_rate|net/layrs|net/layers/5|Lr)'"
    ):
        run(point, SEARCHERS[kind], tmp_path)
    assert not (tmp_path / "e" / "experiment.db").exists()


@pytest.mark.parametrize("kind", [kind for kind in SEARCHERS if kind not in ("random", "none")])
def test_a_constant_that_a_point_would_change(tmp_path: Path, kind: str) -> None:
    """``{"epochs": 5}`` in a point was dropped where the space says 10; random search takes it, with a warning."""
    with pytest.raises(
        ValueError, match="points_to_evaluate names 'epochs', which is 10 in the space and not searched, got 5"
    ):
        run({"epochs": 5}, SEARCHERS[kind], tmp_path)


@pytest.mark.parametrize("kind", SEARCHERS)
@pytest.mark.parametrize(
    "point",
    [
        {"lr": 0.25, "epochs": 10, "net": {"layers": [2, 7], "act": {"slope": 0.5}}, 2: 0.5},
        {"lr": 0.25, "net/layers/0": 2, "net/act": "a"},
        {"lr": 0.25},
    ],
    ids=["whole", "flat", "part"],
)
def test_points_that_are_some_are_tried_first(tmp_path: Path, kind: str, point: dict[str, Any]) -> None:
    """The check must not refuse a whole config of an earlier run, constants included."""
    first = run(point, SEARCHERS[kind], tmp_path).trials[0].config
    assert first["lr"] == 0.25
    assert first["epochs"] == 10
    assert first["net"]["layers"][0] == 2 or len(point) == 1


def test_a_space_that_is_defined_by_a_function(tmp_path: Path) -> None:
    """Optuna drops what the function does not ask for."""

    def define(trial: Any) -> None:
        trial.suggest_float("lr", 0, 1)

    for point, words in (
        ({"learning_rate": 0.5}, "'learning_rate', which the space function does not suggest"),
        ({"lr": 0.5}, ""),
    ):
        searcher = lambda points: OptunaSearch(define, points_to_evaluate=points)  # noqa: E731
        if words:
            with pytest.raises(ValueError, match=words):
                run(point, searcher, tmp_path, config=None)
        else:
            assert run(point, searcher, tmp_path, config=None).trials[0].config == {"lr": 0.5}
