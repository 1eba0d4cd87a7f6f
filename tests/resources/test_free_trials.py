"""Trials that ask for nothing do not start all at once."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.config import TrainableSpec
from fasttune.devices.machine import Machine, detect
from fasttune.devices.resources import resolve_resources
from fasttune.resolve.trainables import bound_of_the_free


def spec(request: Any) -> TrainableSpec:
    return TrainableSpec("train", print, resolve_resources(request), {}, 1, "e")


@pytest.mark.parametrize(
    ("executor", "cpus", "requests", "most"),
    [
        ("process", 4, [{"cpu": 0}], 16),
        ("process", 64, [{"cpu": 0}], 71),
        ("thread", 4, [{"cpu": 0}, {"cpu": 0}], 16),
        ("process", 4, [{"cpu": 0}, {"cpu": 1}], None),
        ("process", 4, [{"cpu": 0, "licence": 1}], None),
        ("process", 4, [{"cpu": 0, "gpu": 0.1}], None),
        ("process", 4, [None], None),
        ("inline", 4, [{"cpu": 0}], None),
        ("async", 4, [{"cpu": 0}], None),
    ],
)
def test_what_asks_for_nothing_is_bound(executor: str, cpus: int, requests: list[Any], most: int | None) -> None:
    machine = Machine(tuple(range(cpus)))
    assert bound_of_the_free(executor, [spec(one) for one in requests], machine, 0) == most


def met(config: dict[str, Any]) -> None:
    """Says how many others are there, until so many have come."""
    folder = Path(config["folder"])
    own = folder / str(os.getpid())
    own.touch()
    most, until = 0, time.monotonic() + 60
    while time.monotonic() < until and most < config["most"]:
        most = max(most, len(list(folder.iterdir())))
        time.sleep(0.01)
    tune.report(most=most)


@pytest.mark.parametrize("given", [None, 3])
def test_so_many_run_and_no_more(tmp_path: Path, given: int | None) -> None:
    most = given or bound_of_the_free("process", [spec({"cpu": 0})], detect(), 0) or 0
    (tmp_path / "there").mkdir()
    analysis = tune.run(
        met,
        config={"folder": str(tmp_path / "there"), "most": most},
        num_samples=most + 4,
        resources_per_trial={"cpu": 0},
        max_concurrent_trials=given,
        storage_path=str(tmp_path),
        verbose=0,
    )
    processes = len(list((tmp_path / "there").iterdir()))
    assert processes == most  # one worker each: a trial waits until all are there
    assert {trial.last_result["most"] for trial in analysis.trials} == {most}
