"""What the median stopping rule costs as an experiment grows: 1,200 trials, and reports without end.

A figure is the time of LOOPS reports. With common steps every report is one search in one set of means; with times of
their own, each report also says from when to when its mean holds.
"""

from __future__ import annotations

import random
from array import array
from typing import Any

import pytest

from fasttune import _rules

LOOPS = 1_200
REPORTS = (1, 10, 100, 800)  # a trial, before the timed ones


def reports(step: int, spread: float, draw: random.Random) -> tuple[Any, Any, Any, Any]:
    """One report of each of LOOPS trials, at the step or up to ``spread`` later."""
    times = array("d", [step + spread * draw.random() for _ in range(LOOPS)])
    return array("q", range(LOOPS)), times, array("d", [draw.random() for _ in range(LOOPS)]), array("b", bytes(LOOPS))


@pytest.mark.benchmark(group="median: 1,200 trials, the next report of each")
@pytest.mark.parametrize("before", REPORTS)
@pytest.mark.parametrize("spread", [0.0, 1.0], ids=["common steps", "any times"])
def bench_next_reports(benchmark: Any, spread: float, before: int) -> None:
    draw = random.Random(0)
    rule = _rules.MedianRule(1.0, 3, True)
    for step in range(1, before + 1):
        rule.decide(*reports(step, spread, draw))
    rounds = iter([reports(before + k, spread, draw) for k in range(1, 11)])
    benchmark.pedantic(rule.decide, setup=lambda: (next(rounds), {}), rounds=10)


@pytest.mark.benchmark(group="median: 1,200 trials at one step, judged from Python")
def bench_one_by_one(benchmark: Any) -> None:
    draw = random.Random(0)
    values = [draw.random() for _ in range(LOOPS)]

    def filled() -> tuple[Any, Any]:
        rule = _rules.MedianRule(1.0, 3, True)
        rule.decide(*reports(1, 0.0, draw))
        return (rule,), {}

    def turn(rule: _rules.MedianRule) -> None:
        for trial, value in enumerate(values, LOOPS):
            rule.judge(trial, 1.0, value)

    benchmark.pedantic(turn, setup=filled, rounds=10)
