"""Memory of GPUs is promised when it is really there: what ours were promised is theirs, what others hold is seen by the driver."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune.devices.gpu import Gpu
from fasttune.devices.gpu_state import GpuState
from fasttune.devices.held_memory import HEALTH_S, LOOK_S, PATIENCE_S, SAY_S, SHORT_S, STATE_S, PatientSupply
from fasttune.devices.machine import Machine
from fasttune.devices.resources import Placement, resolve_resources
from fasttune.error import TuneError
from fasttune.processes import descends_from, is_running
from rounds import rounds

GIB = 1 << 30
SIZE = 100 * GIB
THIRTY = resolve_resources({"cpu": 0, "gpu_memory": 30 * GIB})


class Device:
    """One GPU of 100 GiB, the processes on it, and a clock."""

    def __init__(self, names_processes: bool = True, gpus: int = 1) -> None:
        self.now = 100.0
        self.strangers = 0
        self.ours: dict[int, int] = {}  # process -> bytes
        self.names_processes = names_processes
        self.processes: tuple[int, ...] = (1, 2)
        self.silent = False
        self.asked = 0
        self.lost: set[str] = set()
        machine = Machine((0, 1, 2, 3), tuple(Gpu(f"GPU-{k}", "Fake", k, SIZE) for k in range(gpus)))
        self.supply = PatientSupply(machine, look=self.look, clock=lambda: self.now, runs=lambda pid: pid in self.ours)

    def look(self, gpu: Gpu, workers: object) -> GpuState:
        self.asked += 1
        if gpu.uuid in self.lost:
            return GpuState(lost=f"Fake {gpu.uuid} is lost")
        if self.silent:
            return GpuState()
        mine = sum(self.ours.values())
        return GpuState(self.strangers + mine, mine if mine and self.names_processes else None, self.processes)

    def acquire(self, request: Any = THIRTY) -> Placement | None:
        self.now += 2 * STATE_S
        return self.supply.acquire(request)


def count(device: Device) -> int:
    """How many trials of 30 GiB begin, each of which takes its memory at once."""
    begun = 0
    while device.acquire() is not None:
        begun += 1
        device.ours[100 + begun] = 30 * GIB
        assert begun < 9
    return begun


@pytest.mark.parametrize("names_processes", [True, False])
@pytest.mark.parametrize(("strangers", "fit"), [(0, 3), (9, 3), (11, 2), (60, 1), (71, 0)])
def test_others_take_room_and_what_ours_use_is_counted_once(strangers: int, fit: int, names_processes: bool) -> None:
    device = Device(names_processes)
    device.strangers = strangers * GIB
    assert count(device) == fit


@pytest.mark.parametrize("names_processes", [True, False])
def test_what_is_promised_and_not_taken_yet_is_reserved(names_processes: bool) -> None:
    device = Device(names_processes)
    device.strangers = 35 * GIB
    assert device.acquire() is not None
    assert device.acquire() is not None
    assert device.acquire() is None  # 35 GiB are used of 100, and 60 are promised
    device.ours = {1: 30 * GIB, 2: 20 * GIB}
    assert device.acquire() is None


def test_a_stranger_who_goes_makes_room_while_ours_run() -> None:
    device = Device()
    device.strangers = 60 * GIB
    assert count(device) == 1
    device.strangers = 0
    device.now += 2 * STATE_S
    assert count(device) == 2


def test_where_the_driver_names_no_process_a_stranger_who_goes_is_seen_as_far_as_the_sum_tells() -> None:
    device = Device(names_processes=False)
    device.strangers = 60 * GIB
    assert count(device) == 1
    device.strangers = 0
    assert device.acquire() is not None  # 30 GiB are used; whose they are nobody says, so 30 may still be others'


def test_a_stranger_who_comes_is_seen() -> None:
    device = Device()
    assert device.acquire() is not None
    device.ours[1] = 30 * GIB
    device.strangers = 50 * GIB
    assert device.acquire() is None


def test_who_takes_more_than_it_was_promised_leaves_less_for_others() -> None:
    device = Device(names_processes=False)
    assert device.acquire() is not None
    device.ours[1] = 65 * GIB
    assert device.acquire(resolve_resources({"cpu": 0, "gpu_memory": 40 * GIB})) is None
    assert device.acquire() is not None


def test_a_driver_that_says_nothing_leaves_the_books() -> None:
    device = Device()
    device.silent = True
    device.strangers = 90 * GIB
    assert [device.acquire() is not None for _ in range(4)] == [True, True, True, False]


def test_a_process_that_is_about_to_end_has_what_it_was_promised() -> None:
    device = Device(names_processes=False)
    first = device.acquire()
    assert first is not None
    device.ours[7] = 30 * GIB
    assert device.acquire() is not None
    assert device.acquire() is not None
    device.supply.give_back(first, 7)
    assert device.supply.returning
    assert device.acquire() is None
    del device.ours[7]
    device.now += LOOK_S
    assert device.acquire() is not None
    assert not device.supply.returning


def test_one_that_does_not_end_is_waited_for_ten_seconds() -> None:
    device = Device()
    first = device.acquire()
    assert first is not None
    device.ours[7] = 1 * GIB
    device.supply.give_back(first, 7)
    device.now += PATIENCE_S
    assert device.acquire(resolve_resources({"cpu": 0, "gpu_memory": 99 * GIB})) is not None


def test_that_others_hold_memory_is_said_once_and_it_goes_on_when_they_are_gone() -> None:
    device = Device()
    device.strangers = 80 * GIB
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert device.acquire() is None
        assert device.supply.waits
        device.now += SAY_S / 2
        assert device.acquire() is None
    device.now += SAY_S
    text = r"waits for 30,720 MiB of Fake GPU-0: of its 102,400 MiB others hold 81,920 \(processes 1, 2\)\. It begins when"
    with pytest.warns(RuntimeWarning, match=text):
        assert device.acquire() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        device.now += 3 * SAY_S
        assert device.acquire() is None
        device.strangers = 0
        device.now += 2 * STATE_S
        assert device.acquire() is not None
    device.now += SHORT_S
    assert not device.supply.waits


def test_what_no_process_holds_may_be_the_drivers_own_for_ever() -> None:
    device = Device()
    device.strangers, device.processes = 1 * GIB, ()
    all_of_it = resolve_resources({"cpu": 0, "gpu_memory": 100 * GIB})
    assert device.acquire(all_of_it) is None
    device.now += 2 * SAY_S
    with pytest.warns(RuntimeWarning, match="others hold 1,024.*no process is known there: if it is the driver's own, ask for less"):
        assert device.acquire(all_of_it) is None


def test_who_waits_for_trials_of_ours_asks_no_driver_and_says_nothing() -> None:
    device = Device()
    assert count(device) == 3
    asked = device.asked
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            assert device.supply.acquire(THIRTY) is None
    assert device.asked == asked
    assert not device.supply.waits


class Trial:
    def __init__(self, placement: Placement, pid: int) -> None:
        self.placement, self.pid, self.took = placement, pid, False


@settings(max_examples=rounds(300), deadline=None)
@given(st.booleans(), st.lists(st.tuples(st.sampled_from("atedsg"), st.integers(0, 9)), max_size=60))
def test_nothing_is_promised_that_is_not_there(names_processes: bool, steps: list[tuple[str, int]]) -> None:
    """Trials begin, take their memory, end, die; a stranger comes while none of ours is there (no driver could tell him from
    ours that have not taken theirs, where it names no process), goes, or comes at any time where processes are named."""
    device = Device(names_processes)
    running: list[Trial] = []
    dying: list[Trial] = []
    pids = iter(range(1000, 9999))
    for what, k in steps:
        device.now += 2 * STATE_S
        if what == "a":
            size = (10 + 10 * (k % 3)) * GIB
            placement = device.supply.acquire(resolve_resources({"cpu": 0, "gpu_memory": size}))
            promised = sum(one.placement.promised[0][1] for one in running)
            left = sum(device.ours.get(one.pid, 0) for one in dying)
            if placement is not None:
                running.append(Trial(placement, next(pids)))
                assert promised + size + device.strangers + left <= SIZE
            elif not dying and (names_processes or not running) and (not running or any(one.took for one in running)):
                assert promised + size + device.strangers > SIZE
        elif what == "t" and running:
            one = running[k % len(running)]
            device.ours[one.pid], one.took = one.placement.promised[0][1], True
        elif what == "e" and running:  # its process is still about to end
            one = running.pop(k % len(running))
            device.ours.setdefault(one.pid, 0)
            device.supply.give_back(one.placement, one.pid)
            dying.append(one)
        elif what == "d" and dying:
            device.ours.pop(dying.pop(k % len(dying)).pid, None)
        elif what == "s" and not running and not dying:
            device.strangers = 10 * k * GIB
        elif what == "g":
            device.strangers = 0


# ---- lost devices


def test_a_device_that_is_lost_is_not_given_again() -> None:
    device = Device(gpus=2)
    one = resolve_resources({"cpu": 1, "gpu": 1})
    first, second = device.acquire(one), device.acquire(one)
    assert first is not None
    assert second is not None
    assert device.supply.why_lost(first) == ""
    device.lost.add("GPU-0")
    device.now += HEALTH_S
    with pytest.warns(RuntimeWarning, match=r"Fake GPU-0 is lost\. It is not given to trials any more"):
        assert device.supply.why_lost(first) == "Fake GPU-0 is lost"
    assert device.supply.why_lost(second) == ""
    device.supply.give_back(first)
    assert device.acquire(one) is None
    assert device.supply.available()["cpu"] == 3.0  # its CPU is free
    device.supply.give_back(second)
    again = device.acquire(one)
    assert again is not None
    assert again.gpus[0][0].uuid == "GPU-1"


def test_of_one_that_is_shared_nothing_is_given_again() -> None:
    device = Device(gpus=1)
    half = resolve_resources({"cpu": 0, "gpu": 0.5})
    first, second = device.acquire(half), device.acquire(half)
    assert first is not None
    assert second is not None
    device.lost.add("GPU-0")
    device.now += HEALTH_S
    with pytest.warns(RuntimeWarning, match="lost"):
        assert device.acquire(half) is None
    device.supply.give_back(first)
    assert device.acquire(half) is None
    device.supply.give_back(second)
    with pytest.raises(TuneError, match=r"trial asks gpu=0\.5, this machine has 0 GPUs: Fake GPU-0 is lost"):
        device.acquire(half)


def test_who_wants_no_gpu_asks_no_driver_whether_they_are_there() -> None:
    device = Device()
    device.lost.add("GPU-0")
    device.now += HEALTH_S
    assert device.acquire(resolve_resources({"cpu": 1})) is not None
    assert device.asked == 0


# ---- whose processes


def test_processes_of_ours_are_the_workers_and_what_comes_from_them() -> None:
    me = os.getpid()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert descends_from(pid, [me])
    assert descends_from(pid, [pid])
    assert not descends_from(me, [pid])
    assert not descends_from(me, [])
    assert not descends_from(1, [me])
    assert not descends_from(4_123_456, [me])
    assert not is_running(pid)  # it only waits to be collected
    os.waitpid(pid, 0)
    assert is_running(me)
    assert not is_running(4_123_456)


# ---- runs, on a pretended driver

RUN = """
import ctypes, os, sys, time, warnings
import fasttune as tune

folder = os.environ["FAKE_MEMORY"]

def note(who, size, device=0):
    with open(f"{folder}/new", "w") as file:
        file.write(str(size))
    os.rename(f"{folder}/new", f"{folder}/{device}-{who}")

def together():
    return sum(name.startswith("0-") and os.path.exists(f"/proc/{name[2:]}") for name in os.listdir(folder))

def trial(config):
    path = f"{folder}/.{os.getpid()}"
    with open(path, "w") as file:
        file.write(str(config["size"]))
    os.rename(path, f"{folder}/0-{os.getpid()}")
    deadline = time.monotonic() + 20
    most = together()
    while most < config["wait_for"] and time.monotonic() < deadline:
        time.sleep(0.01)
        most = max(most, together())
    tune.report(most=most, seen=os.environ["CUDA_VISIBLE_DEVICES"])

def run(size, n, **options):
    config = {"size": int(size * 2**30), "wait_for": options.pop("wait_for", 1)}
    return tune.run(
        trial, config=config, num_samples=n, resources_per_trial={"cpu": 0, "gpu_memory": int(size * 2**30)}, verbose=0, **options
    )
"""


@pytest.fixture
def run(ask: Callable[..., Any], results_dir: object, tmp_path: Path) -> Callable[..., Any]:
    """run(code, FAKE_GPUS=..): what the code leaves in `answer`, in a process with the pretended driver; GPU 0 has 1 GiB."""
    memory = tmp_path / "memory"
    memory.mkdir()

    def run(code: str, **environ: str) -> Any:
        told = {"FAKE_GPUS": "1", "FAKE_MEMORY": str(memory), "FASTTUNE_RESULTS_DIR": os.environ["FASTTUNE_RESULTS_DIR"]}
        return ask(f"{RUN}\n{code}", **{**told, **environ})

    return run


@pytest.mark.parametrize("pids", [{}, {"FAKE_HOST_PIDS": "1"}])
def test_three_trials_of_thirty_percent_at_a_time(run: Callable[..., Any], pids: dict[str, str]) -> None:
    code = "answer = [one.last_result['most'] for one in run(0.3, 9, wait_for=3).trials]"
    found = run(code, **pids)
    assert len(found) == 9
    assert max(found) == 3


def test_a_stranger_who_holds_sixty_percent_leaves_room_for_one(run: Callable[..., Any]) -> None:
    code = """
note(os.getppid(), int(0.6 * 2**30))
found = run(0.3, 4)
answer = [[one.status, one.last_result["most"]] for one in found.trials]
"""
    assert run(code) == [["TERMINATED", 2]] * 4  # itself and the stranger


def test_a_run_waits_for_a_stranger_says_so_and_goes_on(run: Callable[..., Any]) -> None:
    code = """
import threading
note(os.getppid(), int(0.8 * 2**30))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    real = warnings.showwarning
    class Frees(tune.Callback):
        steps = 0
        def on_step_begin(self, iteration, trials, **info):
            if any("others hold" in str(one.message) for one in said):
                for name in os.listdir(folder):
                    if name == f"0-{os.getppid()}":
                        os.remove(f"{folder}/{name}")
    found = run(0.3, 2, callbacks=[Frees()])
answer = [[one.status for one in found.trials], [str(one.message) for one in said]]
"""
    status, said = run(code)
    assert status == ["TERMINATED"] * 2
    [text] = [one for one in said if "others hold" in one]
    assert "waits for 307 MiB of Fake GPU 0 GPU-00000000-" in text
    assert f"others hold 820 (processes {os.getpid()})" in text


def test_more_than_any_device_has_is_refused_before_the_first_trial(run: Callable[..., Any]) -> None:
    code = """
try:
    run(5, 1)
except ValueError as error:
    answer = str(error)
"""
    told = run(code)
    assert told.startswith("trial asks gpu_memory=5368709120 bytes (5 GiB) of one device, this machine has Fake GPU 0 GPU-00000000-")
    assert told.endswith("with 1 GiB")


LOST = """
def begin(config):
    tune.report(seen=os.environ["CUDA_VISIBLE_DEVICES"])
    mark = os.environ["FAKE_LOST_FILE"]
    if config["how"] and "GPU-00000000" in os.environ["CUDA_VISIBLE_DEVICES"] and not os.path.exists(mark):
        with open(mark + ".new", "w") as file:
            file.write("0")
        os.rename(mark + ".new", mark)
        if config["how"] == "hangs":
            time.sleep(600)
        raise RuntimeError("CUDA error: unspecified launch failure")
    time.sleep(0.05)
    tune.report(seen=os.environ["CUDA_VISIBLE_DEVICES"])
"""


@pytest.mark.parametrize("how", ["hangs", "raises"])
def test_a_gpu_that_vanishes_fails_its_trial_by_name_and_gets_no_other(run: Callable[..., Any], tmp_path: Path, how: str) -> None:
    code = f"""{LOST}
found = tune.run(
    begin, config={{"how": {how!r}}}, num_samples=60, resources_per_trial={{"cpu": 0, "gpu": 1}}, verbose=0,
    raise_on_failed_trial=False,
)
failed = [one for one in found.trials if one.status == "ERROR"]
late = [one.last_result["seen"] for one in found.trials[-20:]]
answer = [len(failed), found.errors and str(found.errors[0].__cause__ or found.errors[0]), late]
"""
    failed, why, late = run(code, FAKE_GPUS="2", FAKE_LOST_FILE=str(tmp_path / "lost"))
    assert failed >= 1
    assert "Fake GPU 0 GPU-00000000-fa4e-4000-8000-000000000010 is lost" in why or how == "raises"
    assert "GPU-00000000-fa4e-4000-8000-000000000010 is lost: GPU is lost (NVML error 15)" in why
    assert {seen[:12] for seen in late} == {"GPU-00000001"}


def test_a_run_whose_last_gpu_vanishes_ends_and_says_which(run: Callable[..., Any], tmp_path: Path) -> None:
    code = f"""{LOST}
from fasttune.error import TuneError
try:
    tune.run(
        begin, config={{"how": "hangs"}}, num_samples=3, resources_per_trial={{"cpu": 0, "gpu": 1}}, verbose=0,
        raise_on_failed_trial=False,
    )
except TuneError as error:
    answer = str(error)
"""
    told = run(code, FAKE_LOST_FILE=str(tmp_path / "lost"))
    assert told.startswith("trial asks gpu=1, this machine has 0 GPUs: Fake GPU 0 GPU-00000000-")
    assert "NVML error 15" in told
