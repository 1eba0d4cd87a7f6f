"""BayesOptSearch against the library itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasttune as tune
from fasttune.search import create_searcher
from fasttune.search.bayesopt import BayesOptSearch
from fasttune.space.domains import SearchSpaceError
from fasttune.testing import SearcherContract


class TestBayesOpt(SearcherContract):
    trials = 6
    space: dict[str, Any] = {"x": tune.uniform(0, 1), "n": tune.lograndint(1, 100)}  # noqa: RUF012

    def make(self) -> BayesOptSearch:
        return BayesOptSearch(random_search_steps=4)

    def check(self, config: Any) -> None:
        assert 0 <= config["x"] <= 1
        assert config["n"] in range(1, 100)


def test_A5_it_finds_the_least_of_a_parabola(tmp_path: Path) -> None:
    """In fewer than 50 trials, to five decimals; the run may end by itself when nothing new is suggested."""
    analysis = tune.run(
        lambda config: tune.report({"loss": config["x"] ** 2}),
        config={"x": tune.uniform(0, 20)},
        search_alg=BayesOptSearch(),
        num_samples=49,
        metric="loss",
        mode="min",
        executor="inline",
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert analysis.best_config["x"] <= 1e-5
    assert len(analysis.trials) < 50


def test_A5_key_concepts(tmp_path: Path) -> None:
    """The block of the Key Concepts page with the import line changed."""

    def trainable(config: dict[str, Any]) -> None:
        for x in range(20):
            tune.report(score=config["a"] * x**2 + config["b"])

    algo = BayesOptSearch(random_search_steps=4)
    analysis = tune.run(
        trainable,
        config={"a": tune.uniform(0, 1), "b": tune.uniform(0, 20)},
        metric="score",
        mode="min",
        search_alg=algo,
        stop={"training_iteration": 20},
        num_samples=8,
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert len(analysis.trials) == 8
    assert all(trial.last_result["training_iteration"] == 20 for trial in analysis.trials)


def test_A7_domains_are_searched_in_their_own_scale() -> None:
    space = {"lr": tune.loguniform(1e-6, 1.0), "batch": tune.qrandint(8, 64, 8), "n": tune.randint(0, 3)}
    searcher = BayesOptSearch(space, "loss", "min", random_search_steps=3)
    small = 0
    for number in range(7):
        config: Any = searcher.suggest(str(number))
        if config is None:
            continue
        small += config["lr"] < 1e-3
        assert config["batch"] in range(8, 65, 8)
        assert config["n"] in (0, 1, 2)
        searcher.on_trial_complete(str(number), {"loss": config["lr"]})
    assert small >= 2
    for key, domain in (("c", tune.choice([1, 2])), ("n", tune.randn())):
        with pytest.raises(SearchSpaceError, match=f"BayesOptSearch cannot search '{key}'"):
            BayesOptSearch({key: domain}, "loss", "min")


def test_A13_failures_in_the_random_phase_hold_nobody_up(tmp_path: Path) -> None:
    def fragile(config: dict[str, Any]) -> None:
        if config["x"] > 0.3:
            raise ArithmeticError("this config fails")
        tune.report({"loss": config["x"]})

    analysis = tune.run(
        fragile,
        config={"x": tune.uniform(0, 1)},
        search_alg=BayesOptSearch(random_search_steps=5),
        num_samples=10,
        metric="loss",
        mode="min",
        executor="inline",
        storage_path=str(tmp_path),
        raise_on_failed_trial=False,
        verbose=0,
    )
    assert len(analysis.trials) == 10


def test_A11_a_search_that_finds_nothing_new_ends(tmp_path: Path) -> None:
    analysis = tune.run(
        lambda config: tune.report({"loss": config["n"]}),
        config={"n": tune.randint(0, 3)},
        search_alg=BayesOptSearch(random_search_steps=2),
        num_samples=50,
        metric="loss",
        mode="min",
        executor="inline",
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert sorted(trial.config["n"] for trial in analysis.trials) in ([0, 1, 2], [0, 1], [1, 2], [0, 2])


def test_trials_that_are_out_differ() -> None:
    searcher = BayesOptSearch({"x": (0, 1), "y": (0, 1)}, "loss", "min", random_search_steps=3)
    for number in range(6):
        config: Any = searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), {"loss": (config["x"] - 0.5) ** 2 + config["y"]})
    out: list[Any] = [searcher.suggest(f"out{number}") for number in range(4)]
    points = [(config["x"], config["y"]) for config in out if config is not None]
    assert len(points) == len(set(points)) >= 3


def test_A10_an_earlier_analysis_is_learnt_from(tmp_path: Path) -> None:
    space = {"x": tune.uniform(0, 1)}
    analysis = tune.run(
        lambda config: tune.report({"loss": config["x"]}),
        config=space,
        num_samples=5,
        metric="loss",
        mode="min",
        executor="inline",
        storage_path=str(tmp_path),
        verbose=0,
    )
    searcher = BayesOptSearch(space, "loss", "min", analysis=analysis, random_search_steps=0)
    assert len(searcher._optimizer.space) == 5


def test_arguments_and_global_state() -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
    assert isinstance(create_searcher("bayesopt", patience=2), BayesOptSearch)
    searcher = BayesOptSearch({"x": (0, 1)}, "loss", "min", random_search_steps=1)
    for number in range(3):
        searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), {"loss": number})
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index,union-attr]
    with pytest.raises(ValueError, match="utility_kwargs takes kind, kappa, xi, got 'kapa'"):
        BayesOptSearch(utility_kwargs={"kapa": 1})
    with pytest.raises(ValueError, match="patience must be an integer >= 1, got 0"):
        BayesOptSearch(patience=0)
    with pytest.raises(ValueError, match="the bounds of 'x' must be"):
        BayesOptSearch({"x": (0, 1, 2)})
