"""OptunaSearch against the library itself."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

import fasttune as tune
from fasttune.search import create_searcher
from fasttune.search.optuna import OptunaSearch
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
    "odd": tune.choice([1, True, "1", None, THING, [1, 2]]),
    "opt": tune.choice(["sgd", {"kind": "adam", "beta": tune.uniform(0.8, 0.99)}, tune.uniform(5, 6)]),
    "fixed": 3,
}


class TestOptuna(SearcherContract):
    def make(self) -> OptunaSearch:
        return OptunaSearch(seed=1)


class TestOptunaWithRandomSampler(SearcherContract):
    def make(self) -> OptunaSearch:
        return OptunaSearch(sampler=optuna.samplers.RandomSampler(seed=2))


def by_run(trial: Any) -> dict[str, Any]:
    trial.suggest_float("x", 0.0, 1.0)
    trial.suggest_categorical("kind", ["a", "b", "c"])
    return {"constant": 7}


class TestOptunaDefinedByRun(SearcherContract):
    own_space = True

    def make(self) -> OptunaSearch:
        return OptunaSearch(by_run, seed=1)


def spent(searcher: OptunaSearch, n: int) -> list[dict[str, Any]]:
    """n configs, each told a loss."""
    made = []
    for number in range(n):
        config: Any = searcher.suggest(str(number))
        made.append(config)
        searcher.on_trial_complete(str(number), {"loss": config["lr"] + config["layers"]})
    return made


def test_A7_the_space_is_converted_exactly() -> None:
    searcher = OptunaSearch(RICH, "loss", "min", seed=5)
    dims = Dimensions(RICH)
    for config in spent(searcher, 150):
        numbers = dims.numbers(config)  # every value lies in its domain
        assert dims.config(numbers) == config
        assert config["batch"] % 8 == 0
        assert config["power"] % 2 == 0
    names = {name for trial in searcher.study.trials for name in trial.params}
    assert {"opt/beta", "opt@2"} <= names
    assert all(("opt/beta" in trial.params) == (trial.params["opt"] == 1) for trial in searcher.study.trials)


def test_A7_what_it_cannot_search_is_refused() -> None:
    with pytest.raises(SearchSpaceError, match="OptunaSearch cannot search 'n': an unbounded normal"):
        OptunaSearch({"n": tune.randn()}, "loss", "min")
    with pytest.raises(SearchSpaceError, match="OptunaSearch cannot walk through the grid_search at 'g'"):
        OptunaSearch({"g": tune.grid_search([1, 2])}, "loss", "min")


def test_a_dict_of_distributions_is_a_space() -> None:
    space = {
        "a": optuna.distributions.FloatDistribution(1e-3, 1.0, log=True),
        "b": optuna.distributions.IntDistribution(1, 9, step=2),
        "c": optuna.distributions.CategoricalDistribution(["x", "y"]),
        "d": optuna.distributions.FloatDistribution(0.0, 1.0, step=0.25),
    }
    searcher = OptunaSearch(space, "loss", "min", seed=0)
    for number in range(30):
        config: Any = searcher.suggest(str(number))
        assert 1e-3 <= config["a"] <= 1.0
        assert config["b"] in (1, 3, 5, 7, 9)
        assert config["c"] in ("x", "y")
        assert config["d"] in (0.0, 0.25, 0.5, 0.75, 1.0)
        searcher.on_trial_complete(str(number), {"loss": config["a"]})


def test_A6_it_finds_the_least(tmp_path: Path) -> None:
    analysis = tune.run(
        lambda config: tune.report({"loss": (config["x"] - 0.3) ** 2}),
        config={"x": tune.uniform(-10, 10)},
        search_alg=OptunaSearch(seed=3),
        num_samples=60,
        metric="loss",
        mode="min",
        executor="inline",
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert analysis.best_result["loss"] < 1e-1


def test_A9_points_and_rewards() -> None:
    points = [{"x": 0.5, "kind": "b"}, {"x": 0.1, "kind": "c"}]
    space = {"x": tune.uniform(0, 1), "kind": tune.choice(["a", "b", "c"])}
    for given in (space, by_run):
        searcher = OptunaSearch(given, "loss", "min", points, seed=1)
        for point in points:
            config: Any = searcher.suggest(str(point))
            assert {key: config[key] for key in point} == point
            searcher.on_trial_complete(str(point), {"loss": config["x"]})
        assert [trial.values for trial in searcher.study.trials] == [[0.5], [0.1]]
        told = OptunaSearch(given, "loss", "max", points, seed=1, evaluated_rewards=[3.0, 4.0])
        assert told.study.best_value == 4.0
        assert told.study.best_params == {"x": 0.1, "kind": "c"}


def test_states_and_intermediate_values() -> None:
    searcher = OptunaSearch({"x": tune.uniform(0, 1)}, "score", "max", seed=1)
    searcher.suggest("a")
    searcher.on_trial_result("a", {"score": 1.0, "training_iteration": 1})
    searcher.on_trial_result("a", {"score": 1.0, "training_iteration": 1})  # again, after a restart
    searcher.on_trial_result("a", {"score": math.nan, "training_iteration": 2})
    searcher.on_trial_complete("a", {"score": 2.0, "training_iteration": 3})
    searcher.suggest("b")
    searcher.on_trial_complete("b", error=True)
    searcher.add_evaluated_point({"x": 0.5}, 7.0, pruned=True)
    states = [trial.state.name for trial in searcher.study.trials]
    assert states == ["COMPLETE", "FAIL", "PRUNED"]
    assert searcher.study.trials[0].intermediate_values == {1: 1.0}
    assert searcher.study.trials[2].intermediate_values == {0: 7.0}
    assert searcher.study.best_value == 2.0
    assert searcher.study.direction.name == "MAXIMIZE"


def test_several_objectives(tmp_path: Path) -> None:
    searcher = OptunaSearch(metric=["loss", "speed"], mode=["min", "max"], seed=1)
    tune.run(
        lambda config: tune.report({"loss": config["x"] ** 2, "speed": config["x"]}),
        config={"x": tune.uniform(0, 1)},
        search_alg=searcher,
        num_samples=12,
        executor="inline",
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert [direction.name for direction in searcher.study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert len(searcher.study.best_trials) == 12  # every trial is on the front


def test_a_storage_is_gone_on_with(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    space = {"lr": tune.uniform(0, 1), "layers": tune.randint(0, 3)}
    for _ in range(2):
        spent(OptunaSearch(space, "loss", "min", study_name="s", storage=storage, seed=1), 3)
    assert len(optuna.load_study(study_name="s", storage=storage).trials) == 6


def test_nothing_global_is_touched(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("optuna")
    before = (logger.level, list(logger.handlers), np.random.get_state()[1].tolist())  # type: ignore[index,union-attr]
    spent(OptunaSearch({"lr": tune.uniform(0, 1), "layers": tune.randint(0, 3)}, "loss", "min", seed=1), 15)
    after = (logger.level, list(logger.handlers), np.random.get_state()[1].tolist())  # type: ignore[index,union-attr]
    assert before == after
    assert capsys.readouterr().err == ""


def test_wrong_arguments() -> None:
    assert isinstance(create_searcher("optuna", seed=1), OptunaSearch)
    with pytest.raises(TypeError, match="sampler must be an Optuna sampler"):
        OptunaSearch(sampler=optuna.samplers.TPESampler)
    with pytest.raises(ValueError, match="seed is for the default sampler"):
        OptunaSearch(sampler=optuna.samplers.TPESampler(), seed=1)
    with pytest.raises(TypeError, match="must return None or a dict of constants, got float"):
        OptunaSearch(lambda trial: 1.0, "loss", "min").suggest("a")
