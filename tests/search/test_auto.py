"""``search_alg="auto"``: what it takes when, and that it says so; names get the run's seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import HyperBandForBOHB
from fasttune.search.auto import choose

NUMBERS: dict[str, Any] = {"x": tune.uniform(0, 1), "n": tune.randint(0, 9)}
MIXED: dict[str, Any] = {**NUMBERS, "kind": tune.choice(["a", "b"])}


@pytest.mark.parametrize(
    ("space", "trials", "more", "name"),
    [
        (NUMBERS, 50, {}, "gp"),
        (NUMBERS, 500, {}, "tpe"),
        (NUMBERS, -1, {}, "tpe"),
        (NUMBERS, 50, {"has_budgets": True}, "bohb"),
        (NUMBERS, 50, {"has_metric": False}, "random"),
        (NUMBERS, 1_000_000, {}, "random"),
        (MIXED, 200, {}, "gp"),
        (MIXED, 201, {}, "tpe"),
        ({"x": tune.grid_search([1, 2])}, 5, {}, "random"),
        ({"x": 3}, 5, {}, "random"),
        ({f"x{k}": tune.uniform(0, 1) for k in range(30)}, 50, {}, "tpe"),
    ],
)
def test_what_it_takes(space: dict[str, Any], trials: int, more: dict[str, Any], name: str) -> None:
    choice = choose(space, trials, **{"has_metric": True, **more})
    assert choice.name == name
    assert choice.why


def test_without_scipy_few_trials_get_tpe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose(NUMBERS, 50, has_metric=True).name == "tpe"


def train(config: dict[str, Any]) -> None:
    for step in range(1, 4):
        tune.report(loss=config["x"] / step)


def run(folder: Path, **more: Any) -> tune.ExperimentAnalysis:
    options = {"num_samples": 25, "seed": 3, "verbose": 0, "executor": "inline", **more}
    return tune.run(train, config=MIXED, metric="loss", mode="min", storage_path=str(folder), **options)


def test_it_says_what_it_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, search_alg="auto", verbose=1, num_samples=201)
    said = [line for line in capsys.readouterr().out.splitlines() if "auto" in line]
    assert said == ['fasttune: search_alg="auto" is "tpe": good in every space, and it costs microseconds']
    run(tmp_path, search_alg="auto", scheduler=HyperBandForBOHB(max_t=3), verbose=1)
    assert '"bohb": the scheduler tells budgets' in capsys.readouterr().out


@pytest.mark.parametrize("name", ["auto", "tpe", "evolution", "sobol", "bohb", "gp", "random", "optuna", "hyperopt"])
def test_a_searcher_by_name_has_the_seed_of_the_run(name: str, tmp_path: Path) -> None:
    def xs(seed: int) -> list[float]:
        return [trial.config["x"] for trial in run(tmp_path, search_alg=name, seed=seed, num_samples=14).trials]

    assert xs(3) == xs(3)
    assert xs(3) != xs(4)
