"""Whole runs on all executors of single trials, journal on, and what comes after them: loading, tables, the best trial.

The trainables are made in functions, so that they travel to workers by value: by their name each worker would import pytest, which
takes longer than all that is measured of a single trial.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.executors import EXECUTORS as ALL_EXECUTORS
from fasttune.executors import OF_CLUSTERS, OF_COLUMNS, OF_COROUTINES
from fasttune.schedulers import ASHAScheduler

# The others have benchmarks of their own.
EXECUTORS = [name for name in ALL_EXECUTORS if name not in (OF_COROUTINES, OF_COLUMNS, *OF_CLUSTERS)]

SPACE = {"a": tune.uniform(0.0, 1.0), "b": tune.uniform(0.0, 1.0), "x": tune.uniform(-10.0, 10.0)}


def null_trial() -> Callable[[dict[str, Any]], None]:
    def train(config: dict[str, Any]) -> None:
        tune.report(score=config["a"] * config["x"] ** 2 + config["b"])

    return train


def curve_trial() -> Callable[[dict[str, Any]], None]:
    def train(config: dict[str, Any]) -> None:
        height = config["a"] * config["x"] ** 2 + config["b"]
        for epoch in range(1, 82):
            tune.report(score=height * (1.0 + 1.0 / epoch))

    return train


def run(trainable: Callable[[dict[str, Any]], None], trials: int, executor: str, **keywords: Any) -> Any:
    steered = {"metric": "score", "mode": "min", "verbose": 0, "seed": 0, **keywords}
    return tune.run(trainable, config=SPACE, num_samples=trials, executor=executor, **steered)


@pytest.mark.benchmark(group="one trial, everything included")
@pytest.mark.parametrize("executor", EXECUTORS)
def bench_one_trial(benchmark: Any, executor: str) -> None:
    train = null_trial()
    benchmark.pedantic(lambda: run(train, 1, executor), rounds=10, warmup_rounds=1)


@pytest.mark.benchmark(group="10,000 trials of one report")
@pytest.mark.parametrize("executor", EXECUTORS)
def bench_null_trials(benchmark: Any, executor: str) -> None:
    train = null_trial()
    analysis = benchmark.pedantic(lambda: run(train, 10_000, executor), rounds=5, warmup_rounds=1)
    assert len(analysis.trials) == 10_000


@pytest.mark.benchmark(group="10,000 trials under ASHA")
@pytest.mark.parametrize("executor", EXECUTORS)
def bench_asha_trials(benchmark: Any, executor: str) -> None:
    train = curve_trial()

    def asha() -> Any:
        return run(train, 10_000, executor, scheduler=ASHAScheduler(max_t=81, reduction_factor=3))

    analysis = benchmark.pedantic(asha, rounds=5, warmup_rounds=1)
    assert len(analysis.trials) == 10_000


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment on disk of 10,000 trials that ASHA has stopped."""
    scheduler = ASHAScheduler(max_t=81, reduction_factor=3)
    analysis = run(
        curve_trial(), 10_000, "inline", scheduler=scheduler, storage_path=str(tmp_path_factory.mktemp("big"))
    )
    return Path(analysis.experiment_path)


@pytest.mark.benchmark(group="after a run of 10,000 trials")
@pytest.mark.parametrize("what", ["load", "best_trial", "results_df", "dataframe"])
def bench_analysis(benchmark: Any, experiment: Path, what: str) -> None:
    def load() -> Any:
        return tune.ExperimentAnalysis(str(experiment), default_metric="score", default_mode="min")

    looks: dict[str, Callable[[Any], Any]] = {
        "load": lambda analysis: analysis,
        "best_trial": lambda analysis: analysis.best_trial,
        "results_df": lambda analysis: analysis.results_df,
        "dataframe": lambda analysis: analysis.dataframe(metric="score", mode="min"),
    }
    benchmark.pedantic(lambda: looks[what](load()), rounds=5, warmup_rounds=1)
