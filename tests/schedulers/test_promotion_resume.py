"""Killed runs under promotions, PASHA and the median rule go on: every trial gets as far as in a run nobody killed."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import ASHAPromotionScheduler, MedianStoppingRule, PASHAScheduler, TrialScheduler


def schedulers() -> dict[str, TrialScheduler]:
    return {
        "promotion": ASHAPromotionScheduler(max_t=9, reduction_factor=3),
        "pasha": PASHAScheduler(max_t=9, reduction_factor=3),
        "median": MedianStoppingRule(
            "training_iteration", grace_period=2, min_time_slice=math.inf, patience=2, smoothing="last"
        ),
    }


def slowly(config: dict[str, Any]) -> None:
    draw = random.Random(config["n"])
    good = draw.random()
    for _ in range(12):
        with open(config["notes"], "a") as file:
            file.write(".")
        time.sleep(0.001)
        tune.report(score=good + 0.1 * draw.random())


def the_run(folder: str, name: str, kind: str, executor: str, resume: Any = None) -> tune.ExperimentAnalysis:
    return tune.run(
        slowly,
        name=name,
        storage_path=folder,
        config={"n": tune.grid_search(list(range(40))), "notes": os.path.join(folder, "notes")},
        metric="score",
        mode="max",
        seed=1,
        verbose=0,
        executor=executor,
        max_concurrent_trials=1,
        resume=resume,
        scheduler=schedulers()[kind],
    )


def iterations(analysis: tune.ExperimentAnalysis) -> list[int]:
    return [trial.last_result["training_iteration"] for trial in analysis.trials]


@pytest.mark.parametrize("executor", ["inline", "process"])
@pytest.mark.parametrize("kind", list(schedulers()))
def test_a_killed_run_goes_on_with_the_same_decisions(tmp_path: Path, kind: str, executor: str) -> None:
    """kill -9 of everything in the middle, twice."""
    notes = tmp_path / "notes"
    for upto in (20, 50):
        told = json.dumps([str(tmp_path), "killed", kind, executor, "AUTO"])
        process = subprocess.Popen(
            [sys.executable, __file__, told],
            env={**os.environ, "PYTHONPATH": str(Path(tune.__file__).parents[1])},
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while not (notes.exists() and notes.stat().st_size >= upto):
            assert process.poll() is None, "the run ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    resumed = the_run(str(tmp_path), "killed", kind, executor, resume=True)
    whole = the_run(str(tmp_path), "whole", kind, executor)
    assert iterations(resumed) == iterations(whole)
    assert {trial.status for trial in resumed.trials} == {"TERMINATED"}
    assert len(set(iterations(whole))) > 1


if __name__ == "__main__":
    the_run(*json.loads(sys.argv[1]))
