"""One decision of HyperBand, in the core and through its scheduler, at 10^3 and 10^6 trials: what has to be flat is the growth.

A round is everything that happens to LOOPS trials of brackets of 81 (or, "one bracket", a single bracket of all of them):
they are added, chosen, and report at each milestone until they end; a figure divided by the decisions is the cost of one.
"""

from __future__ import annotations

import random
from array import array
from typing import Any

import pytest

from fasttune import _rules
from fasttune.schedulers import HyperBandScheduler
from fasttune.schedulers.brackets import halving_stages

SIZES = (1_000, 1_000_000)


class Bare:
    """A trial and an experiment that cost nothing, so that what is timed is the scheduler."""

    trial_id = "bare"
    total = None
    searcher = None

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self.status = "PENDING"
        self.trials: Any = self

    def __getitem__(self, index: int) -> Bare:
        return Bare(index)

    def is_finished(self) -> bool:
        return False

    def trials_of(self, status: str, most: int = -1) -> list[Any]:
        return []


def filled(size: int, plan: list[Any]) -> _rules.HyperBand:
    rule = _rules.HyperBand(plan, True)
    for trial in range(size):
        rule.add(trial)
    return rule


def ready(size: int, plan: list[Any]) -> tuple[Any, ...]:
    draw = random.Random(0).random
    reports = array("q", range(size)), array("d", [1.0]) * size, array("d", (draw() for _ in range(size)))
    return filled(size, plan), *reports, array("b", [0]) * size


@pytest.mark.benchmark(group="hyperband: decide(batch) without the GIL, all trials at the first milestone")
@pytest.mark.parametrize("shape", ["brackets of 81", "one bracket"])
@pytest.mark.parametrize("size", SIZES)
def bench_decide(benchmark: Any, size: int, shape: str) -> None:
    plan = [halving_stages(81 if shape == "brackets of 81" else size, 3, 1, 81)]
    benchmark.pedantic(
        lambda rule, *columns: rule.decide(*columns), setup=lambda: (ready(size, plan), {}), rounds=3
    )
    benchmark.extra_info["ns a decision"] = round(benchmark.stats.stats.min / size * 1e9, 1)


def run_all(rule: _rules.HyperBand, times: list[float]) -> int:
    """Choose and report until nobody is left; the number of decisions."""
    decisions = 0
    while (trial := rule.choose()) >= 0:
        rule.started(trial)
        rule.report(trial, rule.milestone(trial), times[trial & 1023])
        decisions += 1
    return decisions


@pytest.mark.benchmark(group="hyperband: choose, start and report, whole lives")
@pytest.mark.parametrize("size", SIZES)
def bench_lives(benchmark: Any, size: int) -> None:
    plan = HyperBandScheduler().brackets
    draw = random.Random(0).random
    values = [draw() for _ in range(1024)]
    decisions = benchmark.pedantic(run_all, setup=lambda: ((filled(size, plan), values), {}), rounds=2)
    benchmark.extra_info["ns a decision"] = round(benchmark.stats.stats.min / decisions * 1e9, 1)


@pytest.mark.benchmark(group="hyperband: on_trial_result of the scheduler")
@pytest.mark.parametrize("size", SIZES)
def bench_scheduler(benchmark: Any, size: int) -> None:
    scheduler = HyperBandScheduler(metric="score", mode="max")
    state = Bare()
    trials = [Bare(index) for index in range(size)]
    for trial in trials:
        scheduler.on_trial_add(state, trial)  # type: ignore[arg-type]
    result = {"training_iteration": 1, "score": 0.5}
    turn = random.Random(0).choices(trials, k=1_000)

    def reports() -> None:
        for trial in turn:
            scheduler.on_trial_result(state, trial, result)  # type: ignore[arg-type]

    benchmark(reports)
    benchmark.extra_info["ns a decision"] = round(benchmark.stats.stats.min / len(turn) * 1e9, 1)
