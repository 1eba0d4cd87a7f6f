"""The cost of one decision of every rule of the core, at 10^2 to 10^6 trials: a table.

    python -m benchmarks.decisions                    all of them, about half a minute
    python -m benchmarks.decisions --rules asha --most 10000 --repeats 3

A rule decides a batch in C (``decide``), so a figure has no Python in it. For each size the rule is filled with that
many trials, then batches of new reports are timed: the median is given, in ns a decision. Goal Q8: under 1 us at 1,200 trials.
Goal P9: what a trial costs does not grow; the last column is the cost at the largest size by that at 1,000.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from array import array
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

from fasttune import _core, _rules

SIZES = (100, 1_000, 1_200, 10_000, 100_000, 1_000_000)
BATCH = 1_000
ROUNDS = 15


class Batch(NamedTuple):
    """Reports to be decided: columns of one length."""

    trials: array[int]
    times: array[float]
    values: array[float]

    def decide(self, rule: Any) -> array[int]:
        decisions = array("b", bytes(len(self.trials)))
        rule.decide(self.trials, self.times, self.values, decisions)
        return decisions


def batch(trials: range, time: float, draw: random.Random) -> Batch:
    """One report of each trial at the same time."""
    return Batch(array("q", trials), array("d", [time]) * len(trials), array("d", [draw.random() for _ in trials]))


class Bench(NamedTuple):
    """A rule that holds ``size`` trials, and the batches to be timed on it."""

    rule: Any
    batches: Iterator[Batch]


def asha(size: int, **more: Any) -> Bench:
    """A rung that holds ``size`` values: each decision is of a new trial at it."""
    draw = random.Random(0)
    rule = _core.Asha(81, 1, 3, 1, True, **more)
    batch(range(size), 1.0, draw).decide(rule)
    news = (batch(range(size + k * BATCH, size + (k + 1) * BATCH), 1.0, draw) for k in range(ROUNDS))
    return Bench(rule, news)


def hyperband(size: int) -> Bench:
    """Brackets of ``size`` trials, each batch whole ones: the halving, when the last has arrived, is in the cost."""
    draw = random.Random(0)
    length = size * max(1, BATCH // size)
    rounds = max(2, min(ROUNDS, 3_000_000 // length))
    rule = _rules.HyperBand([[(size, 1.0), (max(1, size // 3), 3.0)]], True)
    for trial in range(length * rounds):
        rule.add(trial)
        rule.started(trial)
    return Bench(rule, (batch(range(k * length, (k + 1) * length), 1.0, draw) for k in range(rounds)))


def population(size: int) -> Bench:
    """A population of ``size``: each decision gives a trial a new score and finds its quantile."""
    draw = random.Random(0)
    rule = _rules.Population(0.25, 1.0)
    batch(range(size), 1.0, draw).decide(rule)

    def again() -> Iterator[Batch]:
        for k in range(ROUNDS):
            trials = array("q", [draw.randrange(size) for _ in range(BATCH)])
            steps = array("d", [2.0 + k * BATCH + i for i in range(BATCH)])
            yield Batch(trials, steps, array("d", [draw.random() for _ in trials]))

    return Bench(rule, again())


def median_rule(size: int) -> Bench:
    """``size`` trials that have reported at three steps: each decision is of a new trial's first report."""
    draw = random.Random(0)
    rule = _rules.MedianRule(1.0, 3, True)
    for step in (1.0, 2.0, 3.0):
        batch(range(size), step, draw).decide(rule)
    return Bench(rule, (batch(range(size + k * BATCH, size + (k + 1) * BATCH), 1.0, draw) for k in range(ROUNDS)))


def median_any_time(size: int) -> Bench:
    """``size`` trials that have reported three times, no two at the same time; each batch at times of its own."""
    draw = random.Random(0)
    rule = _rules.MedianRule(0.0, 3, True)

    def scattered(trials: range, time: float) -> Batch:
        rows = batch(trials, time, draw)
        return rows._replace(times=array("d", [time + draw.random() for _ in trials]))

    for step in (0.0, 1.0, 2.0):
        scattered(range(size), step).decide(rule)
    return Bench(rule, (scattered(range(size + k * BATCH, size + (k + 1) * BATCH), 1.0) for k in range(ROUNDS)))


def promotion(size: int, kind: str = "Promotion") -> Bench:
    """A rung of ``size`` trials, each decision is of a new one at it."""
    draw = random.Random(0)
    rule = getattr(_core, kind)(81, 1, 3, True)
    batch(range(size), 1.0, draw).decide(rule)
    return Bench(rule, (batch(range(size + k * BATCH, size + (k + 1) * BATCH), 1.0, draw) for k in range(ROUNDS)))


# Name -> (class of the core, its bench). One line for each rule; a class that this build has not is left out.
RULES: dict[str, tuple[str, Callable[[int], Bench]]] = {
    "asha": ("Asha", asha),
    "asha, rank": ("Asha", lambda size: asha(size, rank=True)),
    "hyperband": ("HyperBand", hyperband),
    "median": ("MedianRule", median_rule),
    "median, any time": ("MedianRule", median_any_time),
    "promotion": ("Promotion", promotion),
    "pasha": ("Pasha", lambda size: promotion(size, "Pasha")),
    "population": ("Population", population),
}


def cost(make: Callable[[int], Bench], size: int, rounds: int) -> float:
    """Nanoseconds of one decision: the median over the rounds."""
    bench = make(size)
    seen = []
    for _, reports in zip(range(rounds), bench.batches, strict=False):
        decisions = array("b", bytes(len(reports.trials)))
        began = time.perf_counter_ns()
        bench.rule.decide(*reports, decisions)
        seen.append((time.perf_counter_ns() - began) / len(reports.trials))
    return median(seen)


def present() -> dict[str, Callable[[int], Bench]]:
    """The rules of this build that decide batches."""
    return {
        name: make
        for name, (kind, make) in RULES.items()
        if hasattr(getattr(_core, kind, None), "decide")
    }


def table(rules: list[str], most: int, rounds: int) -> Iterator[str]:
    """The table, line by line as it is measured."""
    sizes = [size for size in SIZES if size <= most]
    known = present()
    yield f"ns a decision, median of {rounds} batches; load average {os.getloadavg()[0]:.1f}"
    yield f"{'rule':<18}" + "".join(f"{f'{size:,}':>12}" for size in sizes) + f"{'growth':>10}"
    for name in rules or known:
        costs = {size: cost(known[name], size, rounds) for size in sizes}
        growth = f"{costs[sizes[-1]] / costs[1_000]:10.2f}" if 1_000 in costs else ""
        yield f"{name:<18}" + "".join(f"{costs[size]:12.0f}" for size in sizes) + growth


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rules", default="", help=f"of {', '.join(present())}; default all, with ';' between them")
    parser.add_argument("--most", type=int, default=SIZES[-1], help="largest number of trials")
    parser.add_argument("--repeats", type=int, default=ROUNDS, help=f"batches, at most {ROUNDS}")
    asked = parser.parse_args()
    rules = [name.strip() for name in asked.rules.split(";") if name.strip()]
    if unknown := set(rules) - set(present()):
        raise SystemExit(f"no rule {', '.join(sorted(unknown))}; there are {', '.join(present()) or 'none'}")
    for line in table(rules, asked.most, min(ROUNDS, asked.repeats)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
