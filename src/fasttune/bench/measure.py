"""One measurement, in a process of its own: nothing of an earlier one is in its memory.

The process is handed a Task (pickled, by standard input) and writes its Figures (JSON) to a file. It runs the
load until it knows how large a run of the wanted length is, then so often as asked, then once more with trials
that take the time of their reports.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import fasttune as tune
from fasttune._core import TrialTable
from fasttune.bench import loads
from fasttune.schedulers.base import TrialScheduler, compiled_rule

FIRST_SIZE = 16
LARGEST_SIZE = 1_000_000
LARGEST_POPULATION_STEPS = 1_000_000
TIMED_TRIALS = 256  # at most, of the run whose trials take the time of their reports
TIMED_REPORTS = 8192
START_UPS = 3


@dataclass(frozen=True)
class Task:
    """What to measure. ``make`` gives a new scheduler for each run; ``size`` None: what fits ``seconds``."""

    load: str
    executor: str
    make: Callable[[], TrialScheduler]
    size: int | None
    reports: int
    seconds: float
    repeats: int
    seed: int


@dataclass(frozen=True)
class Figures:
    """What was seen. Seconds are wall time of a whole run, from its call to its analysis."""

    size: int
    trials: int
    reports: int
    seconds: list[float]
    decisions: int
    decided_in_report: bool
    decision_us: tuple[float, float] | None  # median and 99th percentile; None where reports decide
    report_us: tuple[float, float] | None  # what a trial waits in report()
    driver_mb: float  # peak resident memory of the driver
    bytes_per_report: float  # of the folder on disk


@dataclass
class Ran:
    """One run."""

    seconds: float
    table: TrialTable
    decision_s: Sequence[float]
    compiled: bool
    report_s: Sequence[float]
    bytes_on_disk: int


def main() -> None:
    """Entry of the process: the task comes by standard input, the figures go to the file named by argv[1]."""
    import cloudpickle

    task: Task = cloudpickle.load(sys.stdin.buffer)
    figures = measure(task)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(asdict(figures), file)


def measure(task: Task) -> Figures:
    """Run the load as the task wants it."""
    size = task.size or _fitting_size(task)
    runs = [_run(task, size) for _ in range(task.repeats)]
    resident = _peak_resident_mb()  # before the analysis brings its libraries
    middle = sorted(runs, key=lambda ran: ran.seconds)[len(runs) // 2]
    table = middle.table
    waits = [seconds for ran in runs for seconds in ran.decision_s]
    return Figures(
        size=size,
        trials=len(table),
        reports=table.reports,
        seconds=[ran.seconds for ran in runs],
        decisions=table.judgements if middle.compiled else len(middle.decision_s),
        decided_in_report=middle.compiled,
        decision_us=_microseconds(waits) if waits else None,
        report_us=_report_times(task, size) if task.load in ("reports", "curves") else None,
        driver_mb=resident,
        bytes_per_report=middle.bytes_on_disk / max(1, table.reports),
    )


def _fitting_size(task: Task) -> int:
    """Size of a run whose work takes ``task.seconds``, and at least START_UPS times as long as starting it, which
    costs the same whatever the size."""
    _run(task, 1)  # what is imported and opened once
    start = min(_run(task, 1).seconds for _ in range(2))
    wanted = max(task.seconds, START_UPS * start)
    largest = LARGEST_POPULATION_STEPS // loads.POPULATION if task.load == "population" else LARGEST_SIZE
    size = FIRST_SIZE
    while True:
        work = max(_run(task, size).seconds - start, 1e-4)
        fitting = int(size * wanted / work)
        if work >= wanted / 6 or size >= largest:
            return max(1, min(fitting, largest))
        size = min(largest, max(2 * size, min(fitting // 2, 16 * size)))


def _run(task: Task, size: int, timed: bool = False) -> Ran:
    scheduler = task.make()
    compiled = compiled_rule(scheduler) is not None
    decision_s: list[float] = []
    if not compiled:
        _take_times(scheduler, decision_s)
    folder = tempfile.mkdtemp(dir=os.environ["FASTTUNE_RESULTS_DIR"])
    try:
        began = time.perf_counter()
        analysis = _load(task, size, timed, scheduler, folder)
        seconds = time.perf_counter() - began
        state: Any = analysis._source
        report_s = _waited(state) if timed else ()
        return Ran(seconds, state.table, decision_s, compiled, report_s, _bytes_in(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _load(task: Task, size: int, timed: bool, scheduler: TrialScheduler, folder: str) -> tune.ExperimentAnalysis:
    given: dict[str, Any] = {"scheduler": scheduler, "storage_path": folder, "verbose": 0, "seed": task.seed}
    given |= {"executor": task.executor, "metric": "score", "mode": "min", "raise_on_failed_trial": True}
    config: dict[str, Any] = loads.space()
    if task.load == "population":
        stop = {"training_iteration": size}
        return tune.run(loads.OneOfMany, config=config, num_samples=loads.POPULATION, stop=stop, **given)
    if task.load == "trials":
        return tune.run(loads.one_report, config=config, num_samples=size, **given)
    config["reports"] = size if task.load == "reports" else task.reports
    trials = len(os.sched_getaffinity(0)) if task.load == "reports" else size
    return tune.run(loads.timed_curve if timed else loads.curve, config=config, num_samples=trials, **given)


def _take_times(scheduler: TrialScheduler, into: list[float]) -> None:
    """Note how long each decision of the loop takes: 0.1 us are added to it."""
    decide, clock, note = scheduler.on_trial_result, time.perf_counter, into.append

    def timed(state: Any, trial: Any, result: dict[str, Any]) -> str:
        began = clock()
        decision = decide(state, trial, result)
        note(clock() - began)
        return decision

    scheduler.on_trial_result = timed  # type: ignore[method-assign]


def _report_times(task: Task, size: int) -> tuple[float, float] | None:
    """Median and 99th percentile of what trials wait in ``report()``."""
    ran = _run(task, TIMED_REPORTS if task.load == "reports" else min(size, TIMED_TRIALS), timed=True)
    return _microseconds(ran.report_s) if len(ran.report_s) else None


def _waited(state: Any) -> list[float]:
    """What each report says of the one before it; a trial's first one has nothing to say."""
    from fasttune.tables.columns import Columns

    columns = Columns(state)
    waited, _ = columns.metric("waited")
    seconds: list[float] = waited[columns.step > 1].tolist()
    return seconds


def _microseconds(seconds: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(seconds)
    return median(ordered) * 1e6, ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e6


def _bytes_in(folder: str) -> int:
    return sum(os.path.getsize(os.path.join(where, name)) for where, _, names in os.walk(folder) for name in names)


def _peak_resident_mb() -> float:
    """Of this process; 0 where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next((int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM")), 0.0)
    except OSError:
        return 0.0
