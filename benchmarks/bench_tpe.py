"""What one suggestion of the native TPE costs, asked and told through the searcher, after 100, 1,000 and 5,000 results.

Ten parameters of all kinds. A figure is one suggest() and one on_trial_complete(); "core" is the model alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import TPESearch

RESULTS = (100, 1_000, 5_000)
SPACE: dict[str, Any] = {
    "lr": tune.loguniform(1e-5, 1.0),
    "decay": tune.loguniform(1e-7, 0.1),
    "momentum": tune.uniform(0, 1),
    "drop": tune.quniform(0, 0.8, 0.1),
    "clip": tune.uniform(0.1, 10),
    "layers": tune.randint(1, 9),
    "units": tune.lograndint(8, 1025),
    "heads": tune.randint(1, 17),
    "optimizer": tune.choice(["sgd", "adam", "lion"]),
    "batch": tune.choice([16, 32, 64, 128]),
}


def loss(config: dict[str, Any]) -> float:
    value = 0.1 * (math.log10(config["lr"]) + 2.5) ** 2 + 0.02 * (math.log10(config["decay"]) + 4) ** 2
    value += (config["momentum"] - 0.9) ** 2 + (config["drop"] - 0.2) ** 2 + 0.01 * abs(config["clip"] - 1)
    value += 0.05 * abs(config["layers"] - 4) + 0.1 * abs(math.log2(config["units"]) - 7) + 0.01 * config["heads"]
    return value + 0.1 * (config["optimizer"] == "sgd") + 0.05 * (config["batch"] != 64)


def filled(n: int, **more: Any) -> tuple[TPESearch, Callable[[], None]]:
    """A searcher after n results of its own suggestions, and what makes one more."""
    searcher = TPESearch(SPACE, "loss", "min", seed=0, **more)
    result = {"loss": 0.0, "training_iteration": 1}

    def one() -> None:
        config: Any = searcher.suggest("t")
        result["loss"] = loss(config)
        searcher.on_trial_complete("t", result)

    for _ in range(n):
        one()
    return searcher, one


@pytest.mark.benchmark(group="TPE: suggest and tell, 10 mixed parameters")
@pytest.mark.parametrize("results", RESULTS)
@pytest.mark.parametrize("multivariate", [True, False], ids=["together", "one by one"])
def bench_suggestion(benchmark: Any, multivariate: bool, results: int) -> None:
    _, one = filled(results, multivariate=multivariate)
    benchmark.pedantic(one, rounds=100)


@pytest.mark.benchmark(group="TPE: a suggestion of the core")
@pytest.mark.parametrize("results", RESULTS)
def bench_core(benchmark: Any, results: int) -> None:
    searcher, _ = filled(results)
    model, number = searcher._model, iter(range(10**6, 10**7))
    benchmark.pedantic(lambda: model.tell(model.ask(next(number))[0], 1, 9.0), rounds=100)
