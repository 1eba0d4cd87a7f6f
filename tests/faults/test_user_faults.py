"""Hostile results and storms of reports (C2 rows 30, 31)."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from laboratory import Lab, check_acks

import fasttune as tune

Note = Callable[[str, object], None]

STORED: dict[str, Any] = {
    "nan": math.nan,
    "inf": math.inf,
    "minus inf": -math.inf,
    "1e308": 1e308,
    "2**70": 2**70,
    "int64": np.int64(3),
    "float32": np.float32(0.5),
    "bool": np.bool_(True),
    "none": None,
    "text": "x" * (1 << 16),
    "deep": {"a": {"b": {"c": {"d": 1.0}}}},
    "list": [1, 2.5, "three"],
    "empty": {},
    "bytes": b"abc",
    "object": object(),
    "set": {1, 2},
    "complex": 1j,
    "ten thousand keys": {f"k{i}": i for i in range(10_000)},
}
REFUSED: dict[str, Any] = {"ten MB of text": "x" * (10 << 20)}


@pytest.mark.parametrize("scheduler", [None, "asha"])
def test_C2_30_hostile_values_are_stored_or_refused_by_name(
    tmp_path: Path, executor: str, scheduler: str | None, record_property: Note
) -> None:
    """Beside the metric, whatever they are: refused ones cost their trial, with the key's name; nobody else."""
    names = [*STORED, *REFUSED, "nothing odd"]

    def train(config: dict[str, Any]) -> None:
        odd = {**STORED, **REFUSED}.get(config["which"], 0)
        for step in range(3):
            tune.report({"loss": 1.0 + step, "odd": odd})

    analysis = tune.run(
        train,
        config={"which": tune.grid_search(names)},
        metric="loss",
        mode="min",
        scheduler=scheduler,
        storage_path=str(tmp_path),
        executor=executor,
        verbose=0,
        raise_on_failed_trial=False,
    )
    statuses = {name: trial.status for name, trial in zip(names, analysis.trials, strict=True)}
    assert [name for name, status in statuses.items() if status == "ERROR"] == list(REFUSED)
    for name, trial in zip(names, analysis.trials, strict=True):
        if name in REFUSED:
            assert "too large" in str(trial.get_error())
    record_property("values stored", len(STORED))
    record_property("values refused by name", len(REFUSED))
    assert tune.ExperimentAnalysis(analysis.experiment_path).best_config["which"] in STORED | {"nothing odd": 0}


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("scheduler", ["asha", "median_stopping_rule", "hyperband", "pasha", "asha_promotion"])
def test_C2_30_a_metric_that_is_no_number_is_never_the_best(
    tmp_path: Path, mode: str, scheduler: str, record_property: Note
) -> None:
    """NaN on the way, infinities, 1e308: the best is a number, and schedulers find one for their cut-offs."""
    values = [math.nan, 0.5, math.nan, 0.25, 1e308, -1e308, math.nan, 0.75]

    def train(config: dict[str, Any]) -> None:
        for step in range(9):
            tune.report(loss=values[(config["i"] + step) % len(values)] if config["i"] % 2 else values[config["i"]])

    analysis = tune.run(
        train,
        config={"i": tune.grid_search(list(range(8)))},
        metric="loss",
        mode=mode,
        scheduler=scheduler,
        storage_path=str(tmp_path),
        executor="inline",
        verbose=0,
    )
    best = analysis.best_result["loss"]
    assert not math.isnan(best)
    record_property("best that is no number", 0)


def test_C2_30_keys_that_go_missing(tmp_path: Path, executor: str, record_property: Note) -> None:
    """A trial that leaves its metric out costs itself, by name; one that leaves others out is whole."""

    def train(config: dict[str, Any]) -> None:
        told = {"loss": 1.0, "a": 1, "b": 2}
        tune.report(told)
        del told[config["leaves"]]
        tune.report(told)

    analysis = tune.run(
        train,
        config={"leaves": tune.grid_search(["a", "loss", "b"])},
        metric="loss",
        mode="min",
        storage_path=str(tmp_path),
        executor=executor,
        verbose=0,
        raise_on_failed_trial=False,
    )
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED"]
    assert "loss" in str(analysis.trials[1].get_error())
    record_property("missing metrics named", 1)


def peak_mb(pid: int) -> float:
    """The most memory that a process has had, in MB; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:")), 0.0)
    except OSError:
        return 0.0


@pytest.mark.parametrize(
    "reports",
    [pytest.param(2_000, id="small"), pytest.param(200_000, id="large", marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def test_C2_31_a_storm_of_reports(lab: Lab, reports: int, record_property: Note) -> None:
    """Eight workers report as fast as they can, each report a hundred and eighty bytes: none is lost, memory is bounded."""
    process = lab.start(lab.told("storm", "process", samples=8, reports=reports, workers=8, cpu=0.1))
    peak: list[float] = [0.0]

    def watch() -> None:
        while process.poll() is None:
            peak[0] = max(peak[0], peak_mb(process.pid))
            threading.Event().wait(0.05)

    watching = threading.Thread(target=watch)
    watching.start()
    _, err = process.communicate(timeout=1200)
    watching.join()
    assert process.returncode == 0, err
    found = check_acks(lab, lab.reopen())
    assert found == 8 * reports
    record_property("reports", found)
    record_property("acks lost", 0)
    record_property("most memory of the driver (MB)", round(peak[0]))
    assert peak[0] < 2000
