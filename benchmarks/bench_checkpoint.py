"""What a report costs that comes with a checkpoint: of a dict of 1 KB, a directory of one file of 1 KB, or none.

A figure is the time of a run of one trial with LOOPS reports, so it holds the loop's share: folding, what is kept, the
journal. ``us_per_report`` is the figure per report; ``us_in_trial`` is what the trial itself waits for one.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune

LOOPS = 10_000
DIRECTORIES = 300
WEIGHTS = bytes(1000)


def nothing(step: int) -> None:
    return None


def a_dict(step: int) -> tune.Checkpoint:
    return tune.Checkpoint.from_dict({"step": step, "weights": WEIGHTS})


def some_bytes(step: int) -> tune.Checkpoint:
    return tune.Checkpoint.from_bytes(WEIGHTS)


def a_directory(step: int) -> tune.Checkpoint:
    folder = tempfile.mkdtemp()
    Path(folder, "weights").write_bytes(WEIGHTS)
    return tune.Checkpoint.from_directory(folder)


def reporting(make: Callable[[int], tune.Checkpoint | None], loops: int) -> Callable[[dict[str, Any]], None]:
    def train(config: dict[str, Any]) -> None:
        began = time.perf_counter()
        for step in range(loops):
            tune.report(loss=float(step), checkpoint=make(step))
        tune.report(loss=0.0, us=1e6 * (time.perf_counter() - began) / loops)

    return train


@pytest.mark.benchmark(group="a report with a checkpoint of 1 KB")
@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
@pytest.mark.parametrize("form", [nothing, a_dict, some_bytes, a_directory], ids=lambda form: form.__name__)
@pytest.mark.parametrize("keep", [None, 1])
def bench_checkpoint_report(benchmark: Any, executor: str, form: Any, keep: int | None) -> None:
    loops = DIRECTORIES if form is a_directory else LOOPS
    in_trial: list[float] = []

    def run() -> None:
        analysis = tune.run(
            reporting(form, loops),
            metric="loss",
            mode="min",
            executor=executor,
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=keep),
        )
        in_trial.append(analysis.trials[0].last_result["us"])

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    benchmark.extra_info["us_per_report"] = 1e6 * benchmark.stats["median"] / loops
    benchmark.extra_info["us_in_trial"] = min(in_trial)
