"""What is measured: workloads, their contenders, and what is read off each run.

In every workload the first contender is the one that all others are compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """One run of one program: what it answered, and what was seen from outside."""

    answer: dict[str, Any]
    wall_seconds: float  # from the start of the process to its end
    first_result_seconds: float | None  # from the start of the process; None if the program notes none
    peak_mb: float | None  # of the whole process tree, shared pages counted once; None unless asked for


@dataclass(frozen=True)
class Column:
    """A figure read off a measurement. ``cost`` figures are better when small, rates when large."""

    title: str
    read: Callable[[Measurement], float]
    cost: bool
    digits: int = 0


@dataclass(frozen=True)
class Contender:
    """A program's work of a given size. ``env`` names the environment it runs in: see environments.py."""

    name: str
    env: str
    work: str
    n: int
    quick_n: int


@dataclass(frozen=True)
class Workload:
    key: str
    title: str
    columns: tuple[Column, ...]
    contenders: tuple[Contender, ...]
    memory: bool = False


TRIALS = Column("trials/s", lambda m: m.answer["trials"] / m.answer["seconds"], cost=False)
LONG_TRIALS = Column("trials/s", TRIALS.read, cost=False, digits=2)
REPORTS = Column("reports/s", lambda m: m.answer["reports"] / m.answer["seconds"], cost=False)
FILES = Column("files", lambda m: m.answer["files"], cost=True)
PEAK = Column("peak MB of the process tree", lambda m: m.peak_mb or float("nan"), cost=True)
FIRST = Column("first result, s", lambda m: m.first_result_seconds or float("nan"), cost=True, digits=3)
WHOLE = Column("whole script, s", lambda m: m.wall_seconds, cost=True, digits=3)
IMPORT = Column("process that only imports, s", lambda m: m.wall_seconds, cost=True, digits=3)
IMPORT_MB = Column("resident MB", lambda m: m.answer["mb"], cost=True, digits=1)


EFFICIENCY = Column(  # 1: each of the two works as fast as one process alone
    "of twice one process", lambda m: m.answer["alone"] / m.answer["seconds"] / 2, cost=False, digits=3
)
FIRST_RUN = Column("first run, ms", lambda m: 1e3 * m.answer["first"], cost=True, digits=1)
LATER_RUNS = Column("later runs, ms", lambda m: 1e3 * m.answer["later"], cost=True, digits=1)


def of_ideal(ideal_seconds: float, of: str = "trials") -> Column:
    """How long it took beside the sum of ``ideal_seconds`` for each trial, or each report."""
    return Column(
        "times the ideal",
        lambda m: m.answer["seconds"] / (m.answer[of] * ideal_seconds),
        cost=True,
        digits=3,
    )


WORKLOADS = (
    Workload(
        "P1",
        "Null trials, one report each, in one process",
        (TRIALS, FILES),
        (
            Contender("fasttune, inline, journal on", "fasttune", "null-inline", 10_000, 1_000),
            Contender("bare loop", "plain", "bare", 10_000, 1_000),
            Contender("bare loop that writes JSON lines", "plain", "json-lines", 10_000, 1_000),
            Contender("Optuna, in memory", "optuna", "null", 10_000, 1_000),
            Contender("Optuna, journal file", "optuna", "null-journal", 1_000, 100),
            Contender("Optuna, SQLite", "optuna", "null-sqlite", 200, 50),
            Contender("Ray Tune, fastest settings", "ray", "null-fast", 200, 10),
            Contender("Ray Tune, defaults", "ray", "null-default", 20, 4),
        ),
    ),
    Workload(
        "P2",
        "The same on 2 worker processes",
        (TRIALS, FILES),
        (
            Contender("fasttune, defaults, journal on", "fasttune", "null-process", 100_000, 2_000),
            Contender("fasttune, 10,000 trials", "fasttune", "null-process", 10_000, 1_000),
            Contender("multiprocessing.Pool, chunks of 64", "plain", "pool-64", 100_000, 2_000),
            Contender("multiprocessing.Pool, chunks of 64, 10,000", "plain", "pool-64", 10_000, 1_000),
            Contender("multiprocessing.Pool, one by one", "plain", "pool-1", 10_000, 1_000),
            Contender("ProcessPoolExecutor.submit", "plain", "submit", 10_000, 1_000),
            Contender("joblib", "plain", "joblib", 10_000, 1_000),
            Contender("Optuna, 2 threads", "optuna", "null-2-threads", 2_000, 200),
        ),
    ),
    Workload(
        "P3",
        "2 concurrent trials reporting 2 metrics in a tight loop (n reports each)",
        (REPORTS,),
        (
            Contender("fasttune, 2 workers, journal on", "fasttune", "reports", 1_000_000, 20_000),
            Contender("fasttune, 5 times as long", "fasttune", "reports", 5_000_000, 100_000),
            Contender("bare loop, one process", "plain", "bare-reports", 1_000_000, 20_000),
            Contender("multiprocessing.Queue", "plain", "queue-reports", 100_000, 5_000),
            Contender("pipe with an answer each", "plain", "pipe-reports", 20_000, 2_000),
            Contender("Optuna, median pruner, 2 threads", "optuna", "reports", 10_000, 500),
            Contender("Ray Tune", "ray", "reports", 1_000, 20),
        ),
    ),
    Workload(
        "P4",
        "ASHA, max_t 81, eta 3, reports in tight loops",
        (TRIALS, REPORTS),
        (
            Contender("fasttune, inline, journal on", "fasttune", "asha-inline", 10_000, 500),
            Contender("fasttune, 2 workers, journal on", "fasttune", "asha-process", 10_000, 500),
            Contender("fasttune, 2 workers, 100,000 trials", "fasttune", "asha-process", 100_000, 1_000),
            Contender("hand-written loop, sorted lists", "plain", "asha-loop", 10_000, 500),
            Contender("the same over pipes to 2 processes", "plain", "asha-pipe", 10_000, 500),
            Contender("Optuna, SuccessiveHalving", "optuna", "halving", 10_000, 200),
            Contender("Ray Tune", "ray", "asha", 200, 8),
        ),
    ),
    Workload(
        "P5 import",
        "Cold start: a process that only imports (n is the repeat, not a size)",
        (IMPORT, IMPORT_MB),
        (
            Contender("import fasttune", "fasttune", "import:fasttune", 1, 1),
            Contender("nothing", "plain", "import:sys", 1, 1),
            Contender("import numpy", "fasttune", "import:numpy", 1, 1),
            Contender("import optuna", "optuna", "import:optuna", 1, 1),
            Contender("from ray import tune", "ray", "import:ray.tune", 1, 1),
        ),
    ),
    Workload(
        "P5 first result",
        "Cold start: from the start of the process",
        (FIRST, WHOLE),
        (
            Contender("fasttune, inline", "fasttune", "first-inline", 10, 10),
            Contender("fasttune, workers", "fasttune", "first-process", 10, 10),
            Contender("bare loop", "plain", "first-bare", 10, 10),
            Contender("multiprocessing.Pool", "plain", "first-pool", 10, 10),
            Contender("Optuna", "optuna", "first", 10, 10),
            Contender("Ray Tune", "ray", "first", 10, 10),
        ),
    ),
    Workload(
        "P6",
        "Memory",
        (PEAK,),
        (
            Contender("fasttune, inline", "fasttune", "null-inline", 10_000, 1_000),
            Contender("fasttune, 2 workers", "fasttune", "null-process", 10_000, 1_000),
            Contender("fasttune, inline, 1,000,000 trials", "fasttune", "null-inline", 1_000_000, 10_000),
            Contender("bare loop", "plain", "bare", 10_000, 1_000),
            Contender("multiprocessing.Pool", "plain", "pool-64", 10_000, 1_000),
            Contender("Optuna, in memory", "optuna", "null", 10_000, 1_000),
            Contender("Ray Tune", "ray", "null-fast", 100, 10),
        ),
        memory=True,
    ),
    Workload(
        "P7",
        "Trials that sleep 0.1 s, 16 at once",
        (of_ideal(0.1 / 16),),
        (
            Contender("fasttune, workers", "fasttune", "sleeps", 400, 64),
            Contender("multiprocessing.Pool", "plain", "sleep-pool", 400, 64),
            Contender("ProcessPoolExecutor", "plain", "sleep-processes", 400, 64),
            Contender("joblib", "plain", "sleep-joblib", 400, 64),
            Contender("Ray Tune", "ray", "sleeps", 64, 16),
        ),
    ),
    Workload(
        "P8",
        "96 trials at once, 50 reports/s each (n reports each)",
        (of_ideal(0.02 / 96, "reports"),),
        (
            Contender("fasttune, workers, journal on", "fasttune", "paced-process", 500, 50),
            Contender("fasttune, threads, journal on", "fasttune", "paced-thread", 500, 50),
            Contender("processes and a queue, nothing stored", "plain", "paced-processes", 500, 50),
            Contender("threads and a queue, nothing stored", "plain", "paced-threads", 500, 50),
            Contender("Optuna, in memory, n_jobs=96", "optuna", "paced", 500, 50),
        ),
    ),
    Workload(
        "P12",
        "Trials of two milliseconds of Python, 2 at once, beside the same ones one after the other",
        (EFFICIENCY,),
        (
            Contender("fasttune, defaults, journal on", "fasttune", "computing", 2_000, 100),
            Contender("multiprocessing.Pool, one by one", "plain", "computing-pool", 2_000, 100),
            Contender("ProcessPoolExecutor.map", "plain", "computing-submit", 2_000, 100),
            Contender("joblib", "plain", "computing-joblib", 2_000, 100),
            Contender("Optuna, n_jobs=2", "optuna", "computing", 2_000, 100),
        ),
    ),
    Workload(
        "P14 random",
        "Vectors of trials: random search of a numpy objective",
        (TRIALS, PEAK),
        (
            Contender("fasttune, vectors of 4,096, journal on", "fasttune", "vector-null", 1_000_000, 20_000),
            Contender("fasttune, 10,000,000 trials", "fasttune", "vector-null", 10_000_000, 40_000),
            Contender("hand-written numpy over the same batches, nothing stored", "plain", "numpy-null", 10_000_000, 40_000),
            Contender("Optuna, in memory, one by one", "optuna", "null", 10_000, 1_000),
        ),
        memory=True,
    ),
    Workload(
        "P14 ASHA",
        "Vectors of trials: ASHA, max_t 81, eta 3, in columns",
        (TRIALS, REPORTS),
        (
            Contender("fasttune, vectors of 4,096, journal on", "fasttune", "vector-asha", 1_000_000, 20_000),
            Contender("hand-written numpy, nothing stored", "plain", "numpy-asha", 1_000_000, 20_000),
            Contender("fasttune, one by one, inline", "fasttune", "asha-inline", 100_000, 1_000),
        ),
    ),
    Workload(
        "P7 LightGBM",
        "LightGBM on one core each, 2 at once, data in memory",
        (LONG_TRIALS,),
        (
            Contender("fasttune, threads", "fasttune", "boost-thread", 60, 8),
            Contender("fasttune, workers", "fasttune", "boost-process", 60, 8),
            Contender("one after the other", "plain", "boost", 60, 8),
            Contender("ThreadPoolExecutor", "plain", "boost-threads", 60, 8),
            Contender("Optuna, n_jobs=2", "optuna", "boost-threads", 60, 8),
        ),
    ),
    Workload(
        "P15 threads",
        "Trials that sleep 0.1 s, 16 at once, in threads",
        (of_ideal(0.1 / 16),),
        (
            Contender("fasttune, threads, journal on", "fasttune", "sleeps-thread", 400, 64),
            Contender("ThreadPoolExecutor", "plain", "sleep-threads", 400, 64),
            Contender("Optuna, n_jobs=16", "optuna", "sleep-threads", 400, 64),
        ),
    ),
    Workload(
        "P15 coroutines",
        "Trials that wait for a second, all at once",
        (Column("s, of which 1 is the wait", lambda m: m.answer["seconds"], cost=True, digits=3),),
        (
            Contender("fasttune, coroutines, 1,000, journal on", "fasttune", "awaits", 1_000, 100),
            Contender("asyncio.gather, 1,000", "plain", "gather", 1_000, 100),
            Contender("fasttune, coroutines, 10,000, journal on", "fasttune", "awaits", 10_000, 1_000),
            Contender("asyncio.gather, 10,000", "plain", "gather", 10_000, 1_000),
            Contender("threads, 1,000", "plain", "second-threads", 1_000, 100),
            Contender("Optuna, 100 threads, 100", "optuna", "second-threads", 100, 20),
        ),
    ),
    Workload(
        "P17",
        "A run of one trial: the first one of a process, and those after it (n is the repeat, not a size)",
        (FIRST_RUN, LATER_RUNS),
        (
            Contender("fasttune, workers, journal on", "fasttune", "again-process", 1, 1),
            Contender("fasttune, threads, journal on", "fasttune", "again-thread", 1, 1),
            Contender("fasttune, inline, journal on", "fasttune", "again-inline", 1, 1),
            Contender("multiprocessing.Pool, made anew", "plain", "pool-again", 1, 1),
            Contender("multiprocessing.Pool, kept", "plain", "pool-kept", 1, 1),
            Contender("joblib", "plain", "joblib-again", 1, 1),
            Contender("Optuna, in memory", "optuna", "again", 1, 1),
            Contender("Optuna, SQLite", "optuna", "again-sqlite", 1, 1),
        ),
    ),
    Workload(
        "P18 null",
        "Null trials on a Ray cluster of 2 nodes of one CPU each, on this machine",
        (TRIALS,),
        (
            Contender('fasttune, executor="ray", journal on', "ray_cluster", "null-here", 20_000, 1_000),
            Contender("fasttune, 200,000 trials", "ray_cluster", "null-here", 200_000, 2_000),
            Contender("Ray Tune, fastest settings", "ray_cluster", "null-there", 100, 10),
        ),
    ),
    Workload(
        "P18 ASHA",
        "ASHA on the same cluster, max_t 81, eta 3, reports in tight loops",
        (TRIALS, REPORTS),
        (
            Contender('fasttune, executor="ray", journal on', "ray_cluster", "asha-here", 5_000, 500),
            Contender("Ray Tune, fastest settings", "ray_cluster", "asha-there", 50, 8),
        ),
    ),
    Workload(
        "P9",
        "Growth: the same work, ten and a hundred times as much of it",
        (TRIALS,),
        (
            Contender("random, 10,000", "fasttune", "null-inline", 10_000, 1_000),
            Contender("random, 100,000", "fasttune", "null-inline", 100_000, 2_000),
            Contender("random, 1,000,000", "fasttune", "null-inline", 1_000_000, 4_000),
            Contender("ASHA, 10,000", "fasttune", "asha-inline", 10_000, 500),
            Contender("ASHA, 100,000", "fasttune", "asha-inline", 100_000, 1_000),
            Contender("ASHA, 1,000,000", "fasttune", "asha-inline", 1_000_000, 2_000),
        ),
    ),
)
