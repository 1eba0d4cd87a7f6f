"""Goal P9: a trial costs the same, whether it is the thousandth or the millionth.

    python -m benchmarks.bench_growth                      every kind, 100,000 trials: a table, half a minute
    python -m benchmarks.bench_growth --trials 1000000     the goal's size, some minutes
    python -m pytest benchmarks/bench_growth.py            100,000 trials; the ratios are in extra_info

One run, inline; its trials look at the clock, and the time from one thousand trials to the next is what they cost, all
included. "late / early" compares the last twenty thousands with the first twenty behind trial 1,000, medians both.
Bytes a report and memory a trial are differences of two runs, one ten times as large, each in its own process.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

import pytest

import fasttune as tune
from fasttune.bench import loads
from fasttune.bench.measure import Task
from fasttune.bench.suite import measured
from fasttune.schedulers import FIFOScheduler, TrialScheduler

STEP = 1_000  # trials between two looks at the clock
WINDOW = 20  # such steps that make up "early" and "late"
TRIALS = 100_000
LEAST = 4 * STEP  # an early and a late step, the first left out
REPORTS = 9


class Growth(NamedTuple):
    """What trials cost, in us: around trial 1,000 to 21,000, and the last 20,000."""

    early: float
    late: float

    @property
    def ratio(self) -> float:
        return self.late / self.early


def kinds() -> dict[str, Callable[[], TrialScheduler]]:
    """Random and grid search without a scheduler, then random search under every scheduler that judges curves."""
    found: dict[str, Callable[[], TrialScheduler]] = {"random": FIFOScheduler, "grid": FIFOScheduler}
    for label, kind in loads.measurable().items():
        if kind is not FIFOScheduler and not loads.is_population(kind):
            found[label] = loads.standard_maker(kind, REPORTS)
    return found


def space(kind: str, trials: int) -> dict[str, Any]:
    """Three parameters, drawn or on a grid of at least so many points."""
    if kind != "grid":
        return dict(loads.space())
    side = 1 + round(trials ** (1 / 3))
    values = [i / side for i in range(side)]
    return {"a": tune.grid_search(values), "b": tune.grid_search(values), "x": tune.grid_search(values)}


def growth(kind: str, trials: int) -> Growth:
    """Run ``trials`` trials of a kind and compare the cost of the early and the late ones."""
    marks: list[float] = []
    begun = 0

    def trial(config: dict[str, Any]) -> None:
        nonlocal begun
        if begun % STEP == 0:
            marks.append(time.perf_counter())
        begun += 1
        height = loads.height(config)
        for epoch in range(1, 2 if kind in ("random", "grid") else REPORTS + 1):
            tune.report(score=height * (1.0 + 1.0 / epoch))

    tune.run(
        trial,
        config=space(kind, trials),
        num_samples=1 if kind == "grid" else trials,
        scheduler=kinds()[kind](),
        metric="score",
        mode="min",
        executor="inline",
        seed=0,
        verbose=0,
    )
    costs = [(after - before) / STEP * 1e6 for before, after in pairwise(marks)][1:]
    window = min(WINDOW, len(costs) // 2)
    return Growth(median(costs[:window]), median(costs[-window:]))


class Size(NamedTuple):
    """What is left of a trial: bytes on disk a report, early and late, and bytes of memory a trial."""

    early: float
    late: float
    memory: float


def size(kind: str, trials: int) -> Size:
    """From two runs, of a tenth of the trials and of all of them."""
    load = "trials" if kind == "random" else "curves"
    few, many = (
        measured(Task(load, "inline", kinds()[kind], n, REPORTS, 1.0, 1, 0), 600.0) for n in (trials // 10, trials)
    )
    bytes_few, bytes_many = (one["bytes_per_report"] * one["reports"] for one in (few, many))
    late = (bytes_many - bytes_few) / (many["reports"] - few["reports"])
    memory = (many["driver_mb"] - few["driver_mb"]) * 2**20 / (many["trials"] - few["trials"])
    return Size(few["bytes_per_report"], late, memory)


@pytest.mark.benchmark(group="growth: 100,000 trials, see extra_info")
@pytest.mark.parametrize("kind", list(kinds()))
def bench_growth(benchmark: Any, kind: str) -> None:
    found = benchmark.pedantic(partial(growth, kind, TRIALS), rounds=1)
    benchmark.extra_info.update(found._asdict(), ratio=found.ratio)


def table(chosen: list[str], trials: int) -> Iterator[str]:
    """The table, line by line as it is measured."""
    yield f"{trials:,} trials, inline, journal on; load average {os.getloadavg()[0]:.1f}"
    yield f"{'':<20}{'us a trial':>12}{'late':>8}{'late/early':>12}{'bytes/report':>14}{'late':>8}{'memory/trial':>14}"
    for kind in chosen or kinds():
        cost = growth(kind, trials)
        line = f"{kind:<20}{cost.early:12.2f}{cost.late:8.2f}{cost.ratio:12.2f}"
        if kind != "grid":  # its configs are on no grid in the runs that are measured apart
            left = size(kind, trials)
            line += f"{left.early:14.0f}{left.late:8.0f}{left.memory:14.0f}"
        yield line


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_growth")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--only", default="", help=f"of {', '.join(kinds())}")
    asked = parser.parse_args()
    if asked.trials < LEAST:
        parser.error(f"--trials must be at least {LEAST}, got {asked.trials}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FASTTUNE_RESULTS_DIR"] = folder
        for line in table([name.strip() for name in asked.only.split(",") if name.strip()], asked.trials):
            print(line, flush=True)


if __name__ == "__main__":
    main()
