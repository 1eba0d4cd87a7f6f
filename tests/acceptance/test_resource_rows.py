"""Rows G1 and G3: what trials ask for decides how many run at once; what cannot be is said. (G2: test_gpu_rows.py.)"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune import PlacementGroupFactory
from fasttune.devices.machine import detect

PATIENCE_S = 60


def meets_the_others(config: dict[str, Any]) -> None:
    """Ends once as many as were asked have been here at once, in processes of their own."""
    folder = Path(config["folder"])
    (folder / str(os.getpid())).touch()
    until = time.monotonic() + PATIENCE_S
    while len(list(folder.iterdir())) < config["together"] and time.monotonic() < until:
        time.sleep(0.002)
    tune.report(pid=os.getpid(), met=len(list(folder.iterdir())))


HALF = {"cpu": 0.1, "memory": int(detect().memory_bytes * 0.4)}


@pytest.mark.parametrize(
    ("asked", "together"),
    [
        ({"cpu": 1}, 2),
        ({"cpu": 2}, 1),
        ({"cpu": 0.5}, 4),
        (HALF, 2),
        (PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}]), 1),
        (PlacementGroupFactory([{}, {"CPU": 1}]), 2),
    ],
    ids=["one", "two", "half", "memory", "bundles", "empty head"],
)
def test_G1_as_many_at_once_as_the_machine_holds(tmp_path, monkeypatch, asked, together):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(2)))
    folder = tmp_path / "met"
    folder.mkdir()
    analysis = tune.run(
        meets_the_others,
        config={"folder": str(folder), "together": together},
        resources_per_trial=asked,
        num_samples=6,
        storage_path=tmp_path / "runs",
        verbose=0,
    )
    assert len({trial.last_result["pid"] for trial in analysis.trials}) == together
    assert isinstance(analysis.trials[0].placement_group_factory, PlacementGroupFactory)


def test_G1_words_and_numbers_that_cannot_be(run):
    for asked, told in (
        ({"cpu": 1, "custom_resources": {"hi": 1}}, "hi"),
        ({"cpu": 1, "hi": 1}, "hi"),
        ({"cpu": -1}, "CPU"),
        ({"cpu": "many"}, "CPU"),
    ):
        with pytest.raises((ValueError, TypeError), match=told):
            run(lambda config: 1, resources_per_trial=asked)


def test_G3_what_can_never_start_is_refused_at_once(run, tmp_path):
    for asked, told in (
        ({"cpu": 10_000}, "trial asks cpu=10000, this machine has"),
        ({"gpu": 999}, "trial asks gpu=999"),
    ):
        with pytest.raises(ValueError, match=told):
            run(lambda config: 1, resources_per_trial=asked)
    assert not list(tmp_path.iterdir())
