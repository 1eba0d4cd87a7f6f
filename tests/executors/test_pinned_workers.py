"""``cpu_affinity="cores"``: workers run on the CPUs of their trials; libraries that were loaded before have as many threads."""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fasttune as tune
from fasttune.devices import machine as machines
from fasttune.executors import thread_pools
from fasttune.resolve import Call
from fasttune.tuner import carry_out

HERE = os.sched_getaffinity(0)
FEW = min(2, len(HERE))  # CPUs


def says_where(config: dict[str, Any]) -> None:
    """Waits until as many trials run as are to run together."""
    Path(config["folder"], str(config["x"])).touch()
    while len(os.listdir(config["folder"])) < config["together"]:
        time.sleep(0.001)
    tune.report(cpus=sorted(os.sched_getaffinity(0)))


def run(folder: Path, n: int, **more: Any) -> list[list[int]]:
    """The CPUs of each trial."""
    seen = folder / "seen"
    seen.mkdir()
    space = {"x": tune.grid_search(list(range(n))), "folder": str(seen), "together": n}
    analysis = tune.run(says_where, config=space, storage_path=str(folder), verbose=0, **more)
    return [trial.last_result["cpus"] for trial in analysis.trials]


def test_trials_with_whole_cpus_have_them_alone(tmp_path: Path) -> None:
    sets = run(tmp_path, FEW, cpu_affinity="cores", resources_per_trial={"cpu": 1})
    assert [len(cpus) for cpus in sets] == [1] * FEW
    assert len({cpu for cpus in sets for cpu in cpus}) == FEW
    assert {cpu for cpus in sets for cpu in cpus} <= HERE


def test_fractions_share_one_and_a_trial_may_have_several(tmp_path: Path) -> None:
    halves = run(tmp_path, 2, cpu_affinity="cores", resources_per_trial={"cpu": 0.5})
    assert halves[0] == halves[1]
    assert len(halves[0]) == 1
    (tmp_path / "two").mkdir()
    assert len(run(tmp_path / "two", 1, cpu_affinity="cores", resources_per_trial={"cpu": FEW})[0]) == FEW


def test_without_it_and_for_trials_without_cpus_nothing_is_pinned(tmp_path: Path) -> None:
    for i, more in enumerate([{}, {"cpu_affinity": "cores", "resources_per_trial": {"cpu": 0}}]):
        (tmp_path / f"{i}").mkdir()
        assert run(tmp_path / f"{i}", 1, **more) == [sorted(HERE)]


def test_a_worker_comes_after_another_and_a_tuner_says_it_too(tmp_path: Path) -> None:
    config = tune.RunConfig(cpu_affinity="cores", worker_max_trials=1, storage_path=str(tmp_path), verbose=0)
    space = {"x": tune.grid_search([0, 1, 2]), "folder": str(tmp_path), "together": 0}
    results = tune.Tuner(says_where, param_space=space, run_config=config).fit()
    assert [len(result.metrics["cpus"]) for result in results] == [1, 1, 1]


@pytest.mark.parametrize("wrong", ["core", "numa", 1, True, ["cores"], np.array([0, 1])])
def test_what_is_no_affinity_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ValueError, match="cpu_affinity must be None or 'cores', got "):
        tune.run(says_where, cpu_affinity=wrong, storage_path=str(tmp_path), verbose=0)


@pytest.mark.parametrize("executor", ["inline", "thread"])
def test_it_is_refused_where_there_are_no_workers(tmp_path: Path, executor: str) -> None:
    with pytest.raises(ValueError, match=f"cpu_affinity='cores' pins worker processes to CPUs, and with executor='{executor}'"):
        tune.run(says_where, cpu_affinity="cores", executor=executor, storage_path=str(tmp_path), verbose=0)


def test_under_a_quota_nothing_is_pinned_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every container of the machine would crowd onto the same first CPUs."""
    detect = machines.detect

    def with_quota(**more: Any) -> machines.Machine:
        return replace(detect(**more), bind_cpus=False, cpu_reason="a cgroup quota of 1 CPUs, on a mask of 2")

    monkeypatch.setattr(machines, "detect", with_quota)
    (tmp_path / "seen").mkdir()
    space = {"x": 0, "folder": str(tmp_path / "seen"), "together": 1}
    with caplog.at_level(logging.WARNING, "fasttune"):
        analysis = tune.run(says_where, config=space, cpu_affinity="cores", storage_path=str(tmp_path), verbose=1)
    assert analysis.trials[0].last_result["cpus"] == sorted(HERE)
    assert "pins nothing here, because nobody says which CPUs are meant: there is a cgroup quota of 1 CPUs" in caplog.text


# -- thread pools that were loaded before ------------------------------------------------------------------------------


def says_threads(config: dict[str, Any]) -> dict[str, Any]:
    from threadpoolctl import threadpool_info

    return {"threads": [pool["num_threads"] for pool in threadpool_info()], "preloaded": "numpy" in sys.modules}


@pytest.mark.parametrize("cpus", [1, FEW])
def test_what_the_server_has_loaded_uses_the_cpus_of_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    about_one = {"config": {}, "resources_per_trial": {"cpu": cpus}}
    call = Call(storage_path=str(tmp_path), executor="process", verbose=0)
    [trial] = carry_out(says_threads, about_one, call, preload=("numpy",)).trials
    assert trial.last_result["preloaded"]
    assert trial.last_result["threads"] == [cpus]


def test_torch_is_told_by_its_own_function(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=told.append))
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)  # not installed
    for said in ("3", "4,2", "", "none", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        thread_pools.follow_environment()
    assert told == [3, 4]


def test_nothing_is_loaded_for_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(thread_pools, "set_threads", lambda n: pytest.fail("there is no pool"))
    for name in thread_pools.WITH_POOLS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    thread_pools.follow_environment()
