"""Trials that are coroutines: how much a run adds to what they wait for, and what one of them costs.

    PYTHONPATH=src python -m pytest benchmarks/bench_coroutines.py

The first group is whole runs of trials that wait for a second, beside ``asyncio.gather`` of the same; the others do not wait.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import ASHAScheduler, PopulationBasedTraining
from fasttune.schedulers.base import TrialScheduler

SPACE = {"x": tune.uniform(0.0, 1.0)}
ROUNDS = {"rounds": 5, "warmup_rounds": 1}


class AsksAlways(TrialScheduler):
    """Is asked about every report."""

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self.CONTINUE


async def waits(config: dict[str, Any]) -> None:
    await asyncio.sleep(1.0)
    tune.report(loss=config["x"])


async def null(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])


async def curve(config: dict[str, Any]) -> None:
    for step in range(1, 82):
        await asyncio.sleep(0)
        tune.report(loss=config["x"] * (1.0 + 1.0 / step))


def run(trainable: Any, trials: int, **more: Any) -> Any:
    analysis = tune.run(
        trainable, config=SPACE, num_samples=trials, metric="loss", mode="min", verbose=0, seed=0, **more
    )
    assert len(analysis.trials) == trials
    return analysis


@pytest.mark.benchmark(group="trials that wait for a second, all at once")
@pytest.mark.parametrize("trials", [1_000, 10_000])
@pytest.mark.parametrize("what", ["asyncio.gather", "fasttune", "fasttune, awaited"])
def bench_waits(benchmark: Any, what: str, trials: int) -> None:
    async def gather() -> None:
        await asyncio.gather(*(asyncio.sleep(1.0) for _ in range(trials)))

    async def awaited() -> None:
        await tune.arun(waits, config=SPACE, num_samples=trials, metric="loss", mode="min", verbose=0, seed=0)

    ways: dict[str, Any] = {
        "asyncio.gather": lambda: asyncio.run(gather()),
        "fasttune": lambda: run(waits, trials),
        "fasttune, awaited": lambda: asyncio.run(awaited()),
    }
    benchmark.pedantic(ways[what], **ROUNDS)


@pytest.mark.benchmark(group="10,000 coroutines of one report")
@pytest.mark.parametrize("scheduler", [None, AsksAlways])
def bench_null(benchmark: Any, scheduler: Any) -> None:
    benchmark.pedantic(lambda: run(null, 10_000, scheduler=scheduler and scheduler()), **ROUNDS)


@pytest.mark.benchmark(group="1,000 coroutines of up to 81 reports")
@pytest.mark.parametrize("scheduler", ["none", "asha", "asked", "pbt"])
def bench_curves(benchmark: Any, scheduler: str) -> None:
    made: dict[str, Any] = {
        "none": lambda: None,
        "asha": lambda: ASHAScheduler(max_t=81, reduction_factor=3),
        "asked": AsksAlways,
        "pbt": lambda: PopulationBasedTraining(
            time_attr="training_iteration", perturbation_interval=27, hyperparam_mutations={"x": tune.uniform(0, 1)}, seed=0
        ),
    }
    benchmark.pedantic(lambda: run(curve, 1_000, scheduler=made[scheduler]()), **ROUNDS)
