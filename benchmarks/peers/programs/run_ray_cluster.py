"""Trials on a Ray cluster of two nodes of one CPU each, all on this machine: fasttune's executor beside Ray Tune.

The cluster is there before the clock starts; what a tuner starts on it, actors and all, is on the clock.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

from shared import ETA, MAX_T, loss_at, main, objective

os.environ.update(
    RAY_AIR_NEW_OUTPUT="0",
    RAY_AUTH_MODE="disabled",
    RAY_USAGE_STATS_ENABLED="0",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    TUNE_GLOBAL_CHECKPOINT_S="1000000",
)
STORE = 100_000_000  # bytes of the object store of each node


def null_here(config: dict[str, Any]) -> None:
    import fasttune

    fasttune.report({"score": objective(config["a"], config["b"], config["x"])})


def null_there(config: dict[str, Any]) -> None:
    from ray import tune

    tune.report({"score": objective(config["a"], config["b"], config["x"])})


def curve_here(config: dict[str, Any]) -> None:
    import fasttune

    for epoch in range(1, MAX_T + 1):
        fasttune.report({"loss": loss_at(config["a"], config["b"], config["x"], epoch)})


def curve_there(config: dict[str, Any]) -> None:
    from ray import tune

    for epoch in range(1, MAX_T + 1):
        tune.report({"loss": loss_at(config["a"], config["b"], config["x"], epoch)})


def timed(args: argparse.Namespace, run: Callable[..., Any], trainable: Any, uniform: Any, **more: Any) -> dict[str, Any]:
    """One run on a fresh cluster."""
    import ray
    from ray.cluster_utils import Cluster

    # Workers import this program by its name, and the shared one beside it.
    here = os.path.dirname(os.path.abspath(__file__))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    node = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    space = {"a": uniform(0.0, 1.0), "b": uniform(0.0, 1.0), "x": uniform(-10.0, 10.0)}
    try:
        started = time.perf_counter()
        analysis = run(trainable, config=space, num_samples=args.n, storage_path=args.folder, verbose=0, **more)
        seconds = time.perf_counter() - started
        reports = sum(trial.last_result.get("training_iteration", 0) for trial in analysis.trials)
        return {"trials": len(analysis.trials), "reports": reports, "seconds": seconds}
    finally:
        ray.shutdown()
        cluster.shutdown()


def here(args: argparse.Namespace, trainable: Any, **more: Any) -> dict[str, Any]:
    import fasttune

    return timed(args, fasttune.run, trainable, fasttune.uniform, executor="ray", **more)


def there(args: argparse.Namespace, trainable: Any, **more: Any) -> dict[str, Any]:
    from ray import tune

    return timed(args, tune.run, trainable, tune.uniform, reuse_actors=True, **more)


def asha_here(args: argparse.Namespace) -> dict[str, Any]:
    from fasttune.schedulers import ASHAScheduler

    scheduler = ASHAScheduler(max_t=MAX_T, grace_period=1, reduction_factor=ETA)
    return here(args, curve_here, scheduler=scheduler, metric="loss", mode="min")


def asha_there(args: argparse.Namespace) -> dict[str, Any]:
    from ray.tune.schedulers import ASHAScheduler

    scheduler = ASHAScheduler(max_t=MAX_T, grace_period=1, reduction_factor=ETA)
    return there(args, curve_there, scheduler=scheduler, metric="loss", mode="min")


if __name__ == "__main__":  # workers import it
    main(
        {
            "null-here": lambda args: here(args, null_here),
            "null-there": lambda args: there(args, null_there),
            "asha-here": asha_here,
            "asha-there": asha_there,
        }
    )
