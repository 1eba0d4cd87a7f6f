"""BayesOptSearch and NevergradSearch in one environment, whose bayesian-optimization is the 1.4 that Nevergrad pins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.extras import installed
from fasttune.search import create_searcher
from fasttune.search.bayesopt import BayesOptSearch, FirstGeneration

pytestmark = pytest.mark.nevergrad


@pytest.mark.parametrize(
    ("name", "settings"), [("bayesopt", {"random_state": 1}), ("nevergrad", {"optimizer": "OnePlusOne", "seed": 1})]
)
def test_A6_both_searchers_work_beside_each_other(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    analysis = tune.run(
        lambda config: tune.report({"loss": (config["x"] - 2) ** 2}),
        config={"x": tune.uniform(0, 5)},
        search_alg=create_searcher(name, **settings),
        num_samples=20,
        max_concurrent_trials=2,
        metric="loss",
        mode="min",
        executor="inline",
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert analysis.best_result["loss"] < 0.2


def test_A5_trials_that_are_out_are_taken_for_as_bad_as_the_worst(capfd: pytest.CaptureFixture[str]) -> None:
    assert str(installed("bayesian-optimization")).startswith("1.4")
    searcher = BayesOptSearch({"x": (0, 1), "n": tune.randint(0, 3)}, "loss", "min", random_search_steps=3)
    for number in range(5):
        config: Any = searcher.suggest(str(number))
        if config is not None:
            searcher.on_trial_complete(str(number), {"loss": (config["x"] - 0.5) ** 2 + config["n"]})
    optimizer = searcher._optimizer
    assert isinstance(optimizer, FirstGeneration)
    assert optimizer._out == []
    out = [searcher.suggest(f"out{number}") for number in range(3)]
    assert len(optimizer._out) == sum(config is not None for config in out) >= 2
    assert len({str(config) for config in out}) == 3 or None in out
    known = len(optimizer.space)
    for number, config in enumerate(out):
        if config is not None:
            searcher.on_trial_complete(f"out{number}", {"loss": 1.0})
    assert optimizer._out == []
    assert len(optimizer.space) > known
    for _ in range(2):  # the library prints a line when it is told the same point again
        searcher.add_evaluated_point({"x": 0.25, "n": 1}, 1.0)
    assert capfd.readouterr().out == ""


def test_A5_the_same_seed_gives_the_same_suggestions() -> None:
    first, second = (
        BayesOptSearch({"x": (0, 1)}, "loss", "min", random_search_steps=2, random_state=3, utility_kwargs=kind)
        for kind in ({"kind": "ei", "xi": 0.1}, {"kind": "ei", "xi": 0.1})
    )
    for number in range(4):
        config: Any = first.suggest(str(number))
        assert second.suggest(str(number)) == config
        for searcher in (first, second):
            if config is not None:
                searcher.on_trial_complete(str(number), {"loss": (config["x"] - 0.5) ** 2})
