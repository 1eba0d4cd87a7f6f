"""A GPU whose process has ended is given out again when its memory is free, or after ten seconds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from fasttune.devices.gpu import Gpu
from fasttune.devices.gpu_state import GpuState
from fasttune.devices.held_memory import LOOK_S, PATIENCE_S, SLACK, PatientSupply
from fasttune.devices.machine import Machine
from fasttune.devices.resources import PlacementGroupFactory

ONE = PlacementGroupFactory([{"CPU": 1, "GPU": 1}])
HALF = PlacementGroupFactory([{"CPU": 1, "GPU": 0.5}])
GIB = 1 << 30


class Driver:
    """Two GPUs, of whose memory somebody else uses 1 GiB each, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.used: dict[str, int | None] = {"GPU-0": GIB, "GPU-1": GIB}
        self.asked = 0
        gpus = (Gpu("GPU-0", "Fake"), Gpu("GPU-1", "Fake", 1))
        self.supply = PatientSupply(Machine((0, 1, 2, 3), gpus), look=self.of, clock=lambda: self.now)

    def of(self, gpu: Gpu, workers: object) -> GpuState:
        self.asked += 1
        return GpuState(self.used[gpu.uuid])

    def later(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def driver() -> Driver:
    return Driver()


def got(placement: Any) -> str | None:
    return None if placement is None else placement.gpus[0][0].uuid


def test_what_is_free_at_once_is_given_out_at_once(driver: Driver) -> None:
    first = driver.supply.acquire(ONE)
    assert first is not None
    driver.used["GPU-0"] = GIB + SLACK
    driver.supply.give_back(first)
    assert not driver.supply.waits
    assert got(driver.supply.acquire(ONE)) == "GPU-0"


def test_memory_that_is_held_is_waited_for(driver: Driver) -> None:
    first = driver.supply.acquire(ONE)
    assert first is not None
    driver.used["GPU-0"] = 9 * GIB
    driver.supply.give_back(first)
    assert driver.supply.waits
    assert got(driver.supply.acquire(ONE)) == "GPU-1"  # the other one is there
    assert driver.supply.acquire(ONE) is None
    assert driver.supply.total()["gpu"] == 2
    driver.used["GPU-0"] = GIB
    assert driver.supply.acquire(ONE) is None  # it has looked just now
    driver.later(LOOK_S)
    assert got(driver.supply.acquire(ONE)) == "GPU-0"
    assert not driver.supply.waits


def test_after_ten_seconds_it_is_given_out_all_the_same_and_that_is_said_once(driver: Driver) -> None:
    first = driver.supply.acquire(ONE)
    assert first is not None
    driver.used["GPU-0"] = 3 * GIB
    driver.supply.give_back(first)
    driver.later(PATIENCE_S)
    with pytest.warns(RuntimeWarning, match=r"Fake GPU-0 uses 2,048 MiB more than before the run, 10 s after"):
        again = driver.supply.acquire(ONE)
    assert again is not None
    assert got(again) == "GPU-0"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        driver.supply.give_back(again)  # it is as it was
    assert not driver.supply.waits


def test_a_driver_that_says_nothing_is_not_waited_for(driver: Driver) -> None:
    driver.used["GPU-0"] = None
    first = driver.supply.acquire(ONE)
    assert first is not None
    driver.supply.give_back(first)
    second = driver.supply.acquire(ONE)
    assert got(second) == "GPU-0"
    assert second is not None
    driver.used["GPU-0"] = 3 * GIB
    driver.supply.give_back(second)
    assert not driver.supply.waits


def test_a_gpu_that_is_shared_is_not_waited_for(driver: Driver) -> None:
    shares = [driver.supply.acquire(HALF) for _ in range(2)]
    driver.used["GPU-0"] = 9 * GIB
    assert shares[0] is not None
    driver.supply.give_back(shares[0])
    assert got(driver.supply.acquire(HALF)) == "GPU-0"


def test_what_no_process_has_had_is_not_looked_at(driver: Driver) -> None:
    first = driver.supply.acquire(ONE)
    assert first is not None
    asked = driver.asked
    driver.used["GPU-0"] = 9 * GIB
    driver.supply.release(first)
    assert got(driver.supply.acquire(ONE)) == "GPU-0"
    assert driver.asked == asked


def test_a_run_waits_and_goes_on(ask: Callable[..., Any], results_dir: Any) -> None:
    """The trial is killed; its device seems to be in use for some looks. A scheduler that chooses finds no trial that could run
    meanwhile, which is no end."""
    code = """
import os, signal, fasttune as tune
from fasttune.schedulers import FIFOScheduler
def trial(config):
    if not os.path.exists(config["mark"]):
        open(config["mark"], "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    tune.report(seen=os.environ["CUDA_VISIBLE_DEVICES"])
class Chooses(FIFOScheduler):
    def choose_trial_to_run(self, state):
        return next((one for one in state.get_trials() if one.status == "PENDING"), None)
mark = os.path.join(os.environ["FASTTUNE_RESULTS_DIR"], "killed")
analysis = tune.run(
    trial, config={"mark": mark}, num_samples=2, resources_per_trial={"cpu": 0.1, "gpu": 1}, max_failures=1, verbose=0,
    scheduler=Chooses(),
)
answer = [one.status for one in analysis.trials]
"""
    import os

    used = ",".join(["0"] * 2 + ["50"] * 8 + ["0"])
    environ = {"FASTTUNE_RESULTS_DIR": os.environ["FASTTUNE_RESULTS_DIR"], "FAKE_GPUS": "1", "FAKE_USED": used}
    assert ask(code, **environ) == ["TERMINATED"] * 2
