"""``benchmark``: each load, scheduler and executor in turn, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fasttune.bench.report import BenchmarkReport, Row, machine
from fasttune.executors import EXECUTORS, OF_CLUSTERS, OF_COLUMNS, OF_COROUTINES, check_executor

if TYPE_CHECKING:
    from fasttune.bench.measure import Task
    from fasttune.schedulers.base import TrialScheduler

# The loads are plain functions of one config, for this machine.
OUR_EXECUTORS = tuple(sorted(set(EXECUTORS) - {OF_COROUTINES, OF_COLUMNS, *OF_CLUSTERS}))
QUICK_S = 0.15
LIMIT_S = 60.0  # of a measurement, beside what its runs should take
SIZES_S = 5.0  # finding the size of a run takes at most about as long as this many runs


@dataclass(frozen=True)
class PlannedRow:
    """One row to be: a load under a scheduler on an executor."""

    load: str
    scheduler: str
    executor: str
    make: Callable[[], TrialScheduler]


def benchmark(
    schedulers: Sequence[str | TrialScheduler] | None = None,
    executors: Sequence[str] = OUR_EXECUTORS,
    *,
    trials: int | None = None,
    reports: int | None = None,
    seconds: float = 0.5,
    repeats: int = 3,
    seed: int = 0,
    quick: bool = False,
    progress: Callable[[str], None] | None = None,
) -> BenchmarkReport:
    """How many trials, reports and decisions a second this machine does. Two to three minutes; ``quick``: half a minute.

    Every figure is of whole ``tune.run`` calls with the journal on, in a new process each; experiments are written
    to the folder for temporary files and removed. A load that fails is a row with its error, not an exception.

    Args:
        schedulers: names ("ASHA", "asha", "ASHAScheduler") or schedulers of your own, which are measured as they
            are; None: every registered one that the loads fit. FIFO's two loads, ``trials`` and ``reports``,
            belong to "FIFO".
        executors: names that ``tune.run`` takes, those of other packages included; by default our own.
        trials: trials of a run; None: as many as take about ``seconds``.
        reports: reports of a trial that nobody stops; default 81.
        seconds: work of one run.
        repeats: runs of which the median is given.
        seed: of the configs.
        quick: one run of 0.15 s each.
        progress: is called with a line before each measurement.

    Raises:
        ValueError, TypeError: an unknown scheduler or executor, or a number that is not positive.
    """
    from fasttune.bench.loads import REPORTS

    numbers = {"trials": trials, "reports": reports, "seconds": seconds, "repeats": repeats}
    for name, value in numbers.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be > 0, got {value!r}")
    if quick:
        seconds, repeats = min(seconds, QUICK_S), 1
    where = machine()
    plans = list(plan(schedulers, executors, reports or REPORTS))
    rows = []
    for number, one in enumerate(plans, 1):
        if progress is not None:
            progress(f"{number}/{len(plans)} {one.scheduler}, {one.load}, {one.executor}")
        rows.append(_row(one, trials, reports or REPORTS, seconds, repeats, seed))
    where = replace(where, load_after=os.getloadavg()[0])
    return BenchmarkReport(rows=rows, machine=where, seconds=seconds, repeats=repeats, seed=seed, quick=quick)


def plan(schedulers: Sequence[Any] | None, executors: Sequence[str], reports: int) -> Iterator[PlannedRow]:
    """The rows to be measured, in the order of the report."""
    from fasttune.bench import loads

    if isinstance(schedulers, str) or isinstance(executors, str):
        raise TypeError(f"schedulers and executors are lists of names, got {schedulers!r} and {executors!r}")
    for executor in executors:
        check_executor(executor)
    chosen = _chosen(schedulers, reports)
    for label, kind, make in chosen:
        names = ["population" if loads.is_population(kind) else "curves"]
        if kind is loads.FIFOScheduler:
            names = ["trials", "reports", "curves"]
        for load in names:
            for executor in executors:
                yield PlannedRow(load, label, executor, make)


def _chosen(schedulers: Sequence[Any] | None, reports: int) -> list[tuple[str, type, Callable[[], TrialScheduler]]]:
    """(label, class, maker) of each scheduler, FIFO first."""
    from fasttune.bench import loads
    from fasttune.schedulers.base import TrialScheduler

    known = loads.measurable()
    if schedulers is None:
        labels = sorted(known, key=lambda label: (label != "FIFO", label.lower()))
        return [(label, known[label], loads.standard_maker(known[label], reports)) for label in labels]
    found: list[tuple[str, type, Callable[[], TrialScheduler]]] = []
    for one in schedulers:
        if isinstance(one, TrialScheduler):
            found.append((type(one).__name__, type(one), partial(_copy, _pickled(one))))
        else:
            label, kind = _named(one, known)
            found.append((label, kind, loads.standard_maker(kind, reports)))
    return found


def _named(name: Any, known: dict[str, type[TrialScheduler]]) -> tuple[str, type[TrialScheduler]]:
    from fasttune.bench import loads
    from fasttune.schedulers import scheduler_class

    if not isinstance(name, str):
        raise TypeError(f"schedulers are names or TrialScheduler objects, got {type(name).__name__}: {name!r:.80}")
    wanted = name.lower().removesuffix("scheduler")
    for label, kind in known.items():
        if wanted in (label.lower(), kind.__name__.lower().removesuffix("scheduler")):
            return label, kind
    try:
        kind = scheduler_class(name)
    except ValueError as error:
        raise ValueError(f"there is no scheduler {name!r} to measure; the names are {', '.join(known)}") from error
    if missing := loads.wants(kind):
        raise ValueError(f"{kind.__name__} cannot be measured by its name: it needs {', '.join(missing)}; pass one made")
    return next((label for label, other in known.items() if other is kind), kind.__name__), kind


def _pickled(scheduler: TrialScheduler) -> bytes:
    import cloudpickle

    pickled: bytes = cloudpickle.dumps(scheduler)
    return pickled


def _copy(pickled: bytes) -> TrialScheduler:
    import pickle

    scheduler: TrialScheduler = pickle.loads(pickled)
    return scheduler


# ---- one measurement


def _row(one: PlannedRow, trials: int | None, reports: int, seconds: float, repeats: int, seed: int) -> Row:
    from fasttune.bench.measure import Task

    size = trials if one.load in ("trials", "curves") else None
    task = Task(one.load, one.executor, one.make, size, reports, seconds, repeats, seed)
    limit = LIMIT_S + seconds * (repeats + SIZES_S)
    try:
        return Row.of(one.load, one.scheduler, one.executor, measured(task, limit))
    except MeasurementError as error:
        return Row(one.load, one.scheduler, one.executor, error=str(error))


class MeasurementError(Exception):
    """A measurement did not come to its end; the text is the last line that it wrote."""


def measured(task: Task, limit: float) -> dict[str, Any]:
    """The figures of a task, taken in a new process. Nothing of it is left when this returns."""
    import json

    import cloudpickle

    with tempfile.TemporaryDirectory(prefix="fasttune-bench-", ignore_cleanup_errors=True) as folder:
        result = os.path.join(folder, "figures.json")
        results = os.path.join(folder, "results")
        os.mkdir(results)
        paths = os.pathsep.join([_package_folder(), *map(os.path.abspath, sys.path)])  # of a user's scheduler too
        environ = {**os.environ, "FASTTUNE_RESULTS_DIR": results, "PYTHONPATH": paths}
        code = "from fasttune.bench.measure import main; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, result],
            env=environ,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        _finish(process, cloudpickle.dumps(task), limit)
        with open(result, encoding="utf-8") as file:
            figures: dict[str, Any] = json.load(file)
        return figures


def _finish(process: subprocess.Popen[bytes], task: bytes, limit: float) -> None:
    """Wait for the process, and end it and its workers when this is left in another way."""
    try:
        _, errors = process.communicate(task, timeout=limit)
    except subprocess.TimeoutExpired as late:
        raise MeasurementError(f"not finished after {limit:.0f} s") from late
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        raise MeasurementError(_last(lines) or f"ended with exit code {process.returncode}")


def _last(lines: Iterable[str]) -> str:
    """The exception's own line of a traceback: the last one that is not indented."""
    return next((line for line in reversed(list(lines)) if line and not line[0].isspace()), "")


def _package_folder() -> str:
    import fasttune

    return os.path.dirname(os.path.dirname(os.path.abspath(fasttune.__file__)))


__all__ = ["BenchmarkReport", "MeasurementError", "benchmark", "plan"]
