"""Workers that have run enough trials, or have grown too large, are replaced; no trial is lost by it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.argument import checked_size
from fasttune.executors.wear import LOOK_S, Wear, WorkerLimits, own_memory
from fasttune.schedulers import HyperBandScheduler

MIB = 1 << 20
KEPT: list[bytearray] = []


def says_where(config: dict[str, Any]) -> None:
    tune.report(pid=os.getpid())


def leaks(config: dict[str, Any]) -> None:
    KEPT.append(bytearray(os.urandom(1024) * (16 << 10)))  # 16 MiB, all of it touched
    tune.report(pid=os.getpid())


def run(trainable: Any, folder: Path, n: int, **more: Any) -> list[int]:
    """The process of each trial."""
    analysis = tune.run(trainable, num_samples=n, storage_path=str(folder), verbose=0, **more)
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    return [trial.last_result["pid"] for trial in analysis.trials]


@pytest.mark.parametrize("most", [1, 7])
def test_no_worker_runs_more_trials(tmp_path: Path, most: int) -> None:
    pids = Counter(run(says_where, tmp_path, 40, worker_max_trials=most))
    assert max(pids.values()) <= most
    assert len(pids) >= 40 // most


def test_trials_that_are_started_one_by_one_count_too(tmp_path: Path) -> None:
    def request(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": 1}])

    pids = Counter(run(tune.with_resources(says_where, request), tmp_path, 20, worker_max_trials=3))
    assert max(pids.values()) <= 3


def test_what_leaks_is_replaced(tmp_path: Path) -> None:
    """160 MiB above what a worker has without."""
    pids = Counter(run(leaks, tmp_path, 60, worker_max_memory=own_memory(os.getpid()) + 160 * MIB, max_concurrent_trials=1))
    assert len(pids) > 1
    assert len(set(run(leaks, tmp_path, 10, worker_max_memory="1TB", max_concurrent_trials=1))) == 1


def test_paused_trials_that_live_in_a_worker_keep_it(tmp_path: Path) -> None:
    def trains(config: dict[str, Any]) -> None:
        for step in range(9):
            tune.report(loss=config["x"] / (step + 1), pid=os.getpid())

    pids = run(
        trains,
        tmp_path,
        12,
        config={"x": tune.uniform(0, 1)},
        metric="loss",
        mode="min",
        scheduler=HyperBandScheduler(max_t=9, time_attr="training_iteration"),
        worker_max_trials=2,
    )
    assert len(pids) == 12


def test_how_many_it_may_still_have() -> None:
    wear = Wear()
    assert wear.left(WorkerLimits(), 500) == 500
    assert wear.left(WorkerLimits(trials=10), 500) == 10
    wear.trials = 8
    assert wear.left(WorkerLimits(trials=10), 500) == 2
    assert not wear.is_over(WorkerLimits(trials=10), 1)
    wear.trials = 10
    assert wear.is_over(WorkerLimits(trials=10), 1)


def test_what_has_grown_too_large_stays_so_and_is_not_looked_at_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, sizes = [100.0], iter([5, 20, 1])
    monkeypatch.setattr("fasttune.executors.wear.time.monotonic", lambda: now[0])
    monkeypatch.setattr("fasttune.executors.wear.own_memory", lambda pid: next(sizes))
    wear, limits = Wear(), WorkerLimits(memory=10)
    assert [wear.is_over(limits, 7) for _ in range(3)] == [False] * 3
    now[0] += LOOK_S
    assert [wear.is_over(limits, 7) for _ in range(3)] == [True] * 3
    now[0] += LOOK_S
    assert wear.is_over(limits, 7)


def test_memory_of_ones_own_is_measured() -> None:
    before = own_memory(os.getpid())
    block = bytearray(os.urandom(1024) * (64 << 10))
    assert own_memory(os.getpid()) - before > 50 * MIB
    del block
    assert own_memory(2**22 + 1) == 0  # nobody has such an id


@pytest.mark.parametrize(
    ("said", "size"),
    [(5, 5), ("5B", 5), ("2GB", 2_000_000_000), ("500 MB", 500_000_000), ("1.5GiB", 3 << 29), ("1kib", 1024), ("2TiB", 2 << 40)],
)
def test_sizes(said: Any, size: int) -> None:
    assert checked_size("a", said) == size


@pytest.mark.parametrize("wrong", [0, -1, True, "2", "GB", "2 gigabytes", "-1GB", 1.5, float("nan"), [], "0B"])
def test_what_is_no_size_is_refused_before_the_run(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ValueError, match='worker_max_memory must be a number of bytes, or a text like "2GB"'):
        tune.run(says_where, worker_max_memory=wrong, storage_path=str(tmp_path), verbose=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("small", [4, 2**20, "5MB"])
def test_less_than_a_worker_has_was_meant_in_another_unit(tmp_path: Path, small: Any) -> None:
    with pytest.raises(ValueError, match=r"worker_max_memory must be at least 6 MiB .* and 4 GiB are 4 \* 2\*\*30"):
        tune.run(says_where, worker_max_memory=small, storage_path=str(tmp_path), verbose=0)
    assert not list(tmp_path.iterdir())
