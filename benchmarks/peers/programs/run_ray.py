"""Ray Tune: at its defaults, and at the fastest settings that its options allow.

``ray.init`` stays off the clock except where a cold start is measured.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from shared import ETA, MAX_T, loss_at, main, note_first_result, objective

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def null_trial(config: dict[str, Any]) -> None:
    from ray import tune

    tune.report({"score": objective(config["a"], config["b"], config["x"])})


def first_trial(config: dict[str, Any]) -> None:
    null_trial(config)
    note_first_result()


def reporting_trial(config: dict[str, Any]) -> None:
    from ray import tune

    for step in range(config["reports"]):
        tune.report({"loss": 1.0 / (step + 1), "accuracy": step * 1e-7})


def curve_trial(config: dict[str, Any]) -> None:
    from ray import tune

    a, b, x = config["a"], config["b"], config["x"]
    for epoch in range(1, MAX_T + 1):
        tune.report({"loss": loss_at(a, b, x, epoch)})


def sleeping_trial(config: dict[str, Any]) -> None:
    from ray import tune

    time.sleep(config["sleep"])
    tune.report({"score": 1.0})


def space() -> dict[str, Any]:
    from ray import tune

    return {"a": tune.uniform(0.0, 1.0), "b": tune.uniform(0.0, 1.0), "x": tune.uniform(-10.0, 10.0)}


def tuned(
    args: argparse.Namespace, trainable: Any, fast: bool = True, cpus: int = 2, **keywords: Any
) -> dict[str, Any]:
    if fast:
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1000000"
    import ray
    from ray import tune

    # The workers import this program's module by name, so they must find it.
    here = os.path.dirname(os.path.abspath(__file__))
    ray.init(
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": here}},
    )
    keywords = {"config": space(), "num_samples": args.n, "reuse_actors": fast, **keywords}
    started = time.perf_counter()
    analysis = tune.run(trainable, storage_path=args.folder, verbose=0, **keywords)
    seconds = time.perf_counter() - started
    reports = sum(trial.last_result.get("training_iteration", 0) for trial in analysis.trials)
    return {"trials": len(analysis.trials), "reports": reports, "seconds": seconds}


def curves(args: argparse.Namespace) -> dict[str, Any]:
    from ray.tune.schedulers import ASHAScheduler

    asha = ASHAScheduler(max_t=MAX_T, grace_period=1, reduction_factor=ETA)
    return tuned(args, curve_trial, scheduler=asha, metric="loss", mode="min")


main(
    {
        "null-default": lambda args: tuned(args, null_trial, fast=False),
        "null-fast": lambda args: tuned(args, null_trial),
        "reports": lambda args: tuned(args, reporting_trial, config={"reports": args.n}, num_samples=2),
        "asha": curves,
        "first": lambda args: tuned(args, first_trial, fast=False),
        "sleeps": lambda args: tuned(args, sleeping_trial, cpus=16, config={"sleep": 0.1}),
    }
)
