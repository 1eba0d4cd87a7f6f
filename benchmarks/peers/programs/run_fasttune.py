"""fasttune at its defaults, journal on. Imported inside the works, so that a cold start is measured whole."""

from __future__ import annotations

import argparse
import time
from typing import Any

from shared import (
    AT_ONCE,
    ETA,
    MAX_T,
    beside_one_process,
    boosted,
    boosting_data,
    computed,
    loss_at,
    main,
    note_first_result,
    objective,
    paced,
    run_again_and_again,
)


def null_trial(config: dict[str, Any]) -> None:
    import fasttune as tune

    tune.report(score=objective(config["a"], config["b"], config["x"]))


def first_trial(config: dict[str, Any]) -> None:
    null_trial(config)
    note_first_result()


def reporting_trial(config: dict[str, Any]) -> None:
    from fasttune import report

    for step in range(config["reports"]):
        report(loss=1.0 / (step + 1), accuracy=step * 1e-7)


def curve_trial(config: dict[str, Any]) -> None:
    from fasttune import report

    a, b, x = config["a"], config["b"], config["x"]
    for epoch in range(1, MAX_T + 1):
        report(loss=loss_at(a, b, x, epoch))


def sleeping_trial(config: dict[str, Any]) -> None:
    import fasttune as tune

    time.sleep(config["sleep"])
    tune.report(score=1.0)


def paced_trial(config: dict[str, Any]) -> None:
    from fasttune import report

    paced(config["reports"], lambda step: report(loss=1.0 / (step + 1)))


def computing_trial(config: dict[str, Any]) -> None:
    import fasttune as tune

    tune.report(score=computed(config["x"]))


def null_column(configs: dict[str, Any]) -> dict[str, Any]:
    return {"score": objective(configs["a"], configs["b"], configs["x"])}


def curve_column(configs: dict[str, Any]) -> Any:
    best, epoch = objective(configs["a"], configs["b"], configs["x"]), 0
    while True:
        epoch += 1
        rows = yield {"loss": best * (1.0 + 1.0 / epoch)}
        if rows is not None:
            best = rows.take(best)


async def awaiting_trial(config: dict[str, Any]) -> None:
    import asyncio

    import fasttune as tune

    await asyncio.sleep(config["sleep"])
    tune.report(score=1.0)


def space() -> dict[str, Any]:
    import fasttune as tune

    return {"a": tune.uniform(0.0, 1.0), "b": tune.uniform(0.0, 1.0), "x": tune.uniform(-10.0, 10.0)}


def tuned(args: argparse.Namespace, trainable: Any, executor: str | None, **keywords: Any) -> dict[str, Any]:
    import fasttune as tune

    keywords = {"config": space(), "num_samples": args.n, **keywords}
    started = time.perf_counter()
    analysis = tune.run(trainable, executor=executor, storage_path=args.folder, verbose=0, seed=0, **keywords)
    seconds = time.perf_counter() - started
    # Outside the clock: that everything has been done and stored.
    return {"trials": len(analysis.trials), "reports": stored_reports(analysis), "seconds": seconds}


def stored_reports(analysis: Any) -> int:
    """Reports in the journal on disk, read piece by piece: memory is measured too."""
    from fasttune import _core
    from fasttune.storage.reader import SqliteReader

    columns, found = _core.ReportColumns(), 0
    for source, _, data in SqliteReader(str(analysis.experiment_path)).read():
        columns.add(data, source)
        found += sum(len(trial) // 4 for _, _, trial, *_ in columns.blocks())  # handed out, and let go of
    return found


def asha() -> Any:
    from fasttune.schedulers import ASHAScheduler

    return ASHAScheduler(max_t=MAX_T, grace_period=1, reduction_factor=ETA)


def curves(args: argparse.Namespace, executor: str) -> dict[str, Any]:
    return tuned(args, curve_trial, executor, scheduler=asha(), metric="loss", mode="min")


def reports(args: argparse.Namespace) -> dict[str, Any]:
    return tuned(args, reporting_trial, "process", config={"reports": args.n}, num_samples=2)


def vectors(args: argparse.Namespace, columns: Any, **keywords: Any) -> dict[str, Any]:
    import fasttune as tune

    return tuned(args, tune.vectorized(size=4096)(columns), None, **keywords)


def sleeps(args: argparse.Namespace, executor: str) -> dict[str, Any]:
    import os

    resources = {"cpu": len(os.sched_getaffinity(0)) / 16}  # sixteen at once
    return tuned(args, sleeping_trial, executor, config={"sleep": 0.1}, resources_per_trial=resources)


def paced_reports(args: argparse.Namespace, executor: str) -> dict[str, Any]:
    import os

    resources = {"cpu": len(os.sched_getaffinity(0)) / AT_ONCE}
    given = {"reports": args.n}
    return tuned(args, paced_trial, executor, config=given, num_samples=AT_ONCE, resources_per_trial=resources)


def computing(args: argparse.Namespace) -> dict[str, Any]:
    import fasttune as tune

    given = {"x": tune.uniform(0.0, 1.0)}
    return beside_one_process(args.n, lambda: tuned(args, computing_trial, None, config=given))


def again(args: argparse.Namespace, executor: str) -> dict[str, Any]:
    return run_again_and_again(lambda: tuned(argparse.Namespace(n=1, folder=args.folder), null_trial, executor))


def boost(args: argparse.Namespace, executor: str) -> dict[str, Any]:
    import fasttune as tune

    def boosting_trial(config: dict[str, Any], data: Any) -> None:
        tune.report(wrong=boosted(data, config["leaves"], config["rate"]))

    given = {"leaves": tune.randint(8, 65), "rate": tune.uniform(0.02, 0.3)}
    with_data = tune.with_parameters(boosting_trial, data=boosting_data())
    return tuned(args, with_data, executor, config=given, max_concurrent_trials=2)


def awaits(args: argparse.Namespace) -> dict[str, Any]:
    # What is loaded at the first use is not the subject: one trial that does not wait comes before.
    tuned(argparse.Namespace(n=1, folder=args.folder), awaiting_trial, "async", config={"sleep": 0.0})
    return tuned(args, awaiting_trial, "async", config={"sleep": 1.0})


main(
    {
        "null-inline": lambda args: tuned(args, null_trial, "inline"),
        "null-process": lambda args: tuned(args, null_trial, "process"),
        "reports": reports,
        "asha-inline": lambda args: curves(args, "inline"),
        "asha-process": lambda args: curves(args, "process"),
        "first-inline": lambda args: tuned(args, first_trial, "inline"),
        "first-process": lambda args: tuned(args, first_trial, "process"),
        "vector-null": lambda args: vectors(args, null_column, metric="score", mode="min"),
        "vector-asha": lambda args: vectors(args, curve_column, scheduler=asha(), metric="loss", mode="min"),
        "sleeps": lambda args: sleeps(args, "process"),
        "sleeps-thread": lambda args: sleeps(args, "thread"),
        "paced-process": lambda args: paced_reports(args, "process"),
        "paced-thread": lambda args: paced_reports(args, "thread"),
        "computing": computing,
        "again-inline": lambda args: again(args, "inline"),
        "again-process": lambda args: again(args, "process"),
        "again-thread": lambda args: again(args, "thread"),
        "boost-process": lambda args: boost(args, "process"),
        "boost-thread": lambda args: boost(args, "thread"),
        "awaits": awaits,
    }
)
