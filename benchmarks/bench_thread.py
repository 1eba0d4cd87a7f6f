"""Trials in threads beside those in workers: what waits, what lets go of the GIL, and what a large array costs to hand over.

The trainables are made in functions, so that they travel to workers by value: by their name each worker would import pytest.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import fasttune as tune

IN_THREADS_OR_WORKERS = ["thread", "process"]
SLEEPS, SLEEP_S, AT_ONCE = 160, 0.1, 16


def sleeping() -> Any:
    seconds = SLEEP_S

    def train(config: dict[str, Any]) -> None:
        time.sleep(seconds)
        tune.report(score=1.0)

    return train


def sorting() -> Any:
    """Some milliseconds a trial, most of them without the GIL."""

    def train(config: dict[str, Any], data: Any) -> None:
        tune.report(score=float(np.sort(data * config["x"])[0]))

    return tune.with_parameters(train, data=np.random.default_rng(0).normal(size=200_000))


def looking() -> Any:
    def train(config: dict[str, Any], data: Any) -> None:
        tune.report(score=float(data[0]))

    return tune.with_parameters(train, data=np.zeros(50_000_000))


def run(trainable: Any, trials: int, executor: str, **more: Any) -> Any:
    return tune.run(
        trainable, config={"x": tune.uniform(0.0, 1.0)}, num_samples=trials, executor=executor, verbose=0, seed=0, **more
    )


@pytest.mark.benchmark(group=f"{SLEEPS} trials that sleep {SLEEP_S} s, {AT_ONCE} at once: ideally {SLEEPS * SLEEP_S / AT_ONCE} s")
@pytest.mark.parametrize("executor", IN_THREADS_OR_WORKERS)
def bench_sleeping_trials(benchmark: Any, executor: str) -> None:
    train = sleeping()

    def sleep() -> Any:
        return run(train, SLEEPS, executor, resources_per_trial={"cpu": 1 / 16}, max_concurrent_trials=AT_ONCE)

    benchmark.pedantic(sleep, rounds=5, warmup_rounds=1)
    benchmark.extra_info["of_ideal"] = benchmark.stats["median"] * AT_ONCE / (SLEEPS * SLEEP_S)


@pytest.mark.benchmark(group="100 trials that sort an array of 200,000 numbers")
@pytest.mark.parametrize("executor", [*IN_THREADS_OR_WORKERS, "inline"])
def bench_sorting_trials(benchmark: Any, executor: str) -> None:
    train = sorting()
    analysis = benchmark.pedantic(lambda: run(train, 100, executor), rounds=5, warmup_rounds=1)
    assert len(analysis.trials) == 100


@pytest.mark.benchmark(group="2 trials that look into an array of 400 MB")
@pytest.mark.parametrize("executor", IN_THREADS_OR_WORKERS)
def bench_handing_over_large_data(benchmark: Any, executor: str) -> None:
    train = looking()
    benchmark.pedantic(lambda: run(train, 2, executor), rounds=3, warmup_rounds=1)
