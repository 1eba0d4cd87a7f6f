"""A cluster of several nodes, of which one goes down in the middle."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import ASHAScheduler

pytestmark = pytest.mark.ray

STORE = 100_000_000  # bytes of a node's object store


def slow(config: dict[str, Any]) -> None:
    """Says on which node it runs, and goes on from its last step."""
    raylet = int(os.environ["RAY_RAYLET_PID"])
    checkpoint = tune.get_checkpoint()
    begin = checkpoint.to_dict()["step"] if checkpoint is not None else 0
    for step in range(begin + 1, 28):
        time.sleep(0.05)
        metrics = {"loss": config["x"] + 1 / step, "begun_at": begin, "raylet": raylet}
        tune.report(metrics, checkpoint=tune.Checkpoint.from_dict({"step": step}))


class Kills(tune.Callback):
    """Takes a node down when a trial on it has reported twice, from another thread: the run goes on meanwhile."""

    def __init__(self, cluster: Any, node: Any) -> None:
        self.cluster, self.node = cluster, node
        [raylet] = node.all_processes["raylet"]
        self.raylet = raylet.process.pid
        self.seen: set[int] = set()
        self.thread: threading.Thread | None = None

    def on_trial_result(self, **told: Any) -> None:
        result = told["result"]
        self.seen.add(result["raylet"])
        if self.thread is None and result["raylet"] == self.raylet and result["training_iteration"] == 2:
            self.thread = threading.Thread(target=self.cluster.remove_node, args=(self.node,), kwargs={"allow_graceful": False})
            self.thread.start()


def test_a_node_that_goes_down_costs_its_running_trials(tmp_path: Path, cluster: Any) -> None:
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(2)]
    cluster.wait_for_nodes()
    kills = Kills(cluster, nodes[0])
    analysis = tune.run(
        slow, config={"x": tune.uniform(0.0, 1.0)}, num_samples=60, metric="loss", mode="min", seed=4, executor="ray",
        scheduler=ASHAScheduler(max_t=27, grace_period=3, reduction_factor=3), max_failures=2, callbacks=[kills],
        storage_path=str(tmp_path), name="run", verbose=0,
    )  # fmt: skip
    assert kills.thread is not None
    kills.thread.join()
    assert len(kills.seen) == 3  # trials ran on all nodes
    cluster.remove_node(nodes[1])
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    failed = [trial for trial in analysis.trials if trial.num_failures]
    assert len(failed) == 1  # there was one CPU, so one trial ran
    assert failed[0].num_failures == 1
    assert failed[0].last_result["begun_at"] > 0  # it went on elsewhere from what it had saved
    assert analysis.verify(ASHAScheduler(max_t=27, grace_period=3, reduction_factor=3)) == []
