"""What a machine does to a run: impossible wishes, clocks that jump, small shared memory, no network, busy threads
(C2 rows 20 to 23 and 26 to 28).

Some of it needs namespaces of its own, which not every system gives. Then the figure is "not tried here", with the reason.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from laboratory import MARK, PATIENCE_S, SCRIPT, SOURCE, Lab, check_acks

import fasttune as tune
import forks

Note = Callable[[str, object], None]
NOT_TRIED = "not tried here"


def compiled(source: str, folder: Path, *flags: str, name: str) -> Path:
    """A shared library of a source beside this file."""
    library = folder / name
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    path = Path(__file__).parent / source
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", *flags, "-o", library, path, "-ldl"], check=True)
    return library


def script(lab: Lab, told: dict[str, Any], *before: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """crash_script, started by the words ``before``."""
    return subprocess.run(
        [*before, sys.executable, str(SCRIPT), json.dumps(told)],
        env={**os.environ, "PYTHONPATH": str(SOURCE), MARK: lab.mark, **environ},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        check=False,
    )


def statuses(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)["statuses"]
    return found


def namespace(*flags: str) -> list[str] | None:
    """The words that start a program in namespaces of its own; None where the system gives none."""
    words = ["unshare", *flags]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        return None
    return words


# -- row 20 ------------------------------------------------------------------------------------------------------------


def test_C2_20_a_device_is_given_out_when_the_process_that_had_it_is_gone(tmp_path: Path, record_property: Note) -> None:
    """A machine with one device, on which every second trial is killed. What the driver still holds for a dead process
    is not looked at."""
    folder = tmp_path / "driver"
    folder.mkdir()
    stub = "../resources/stub_nvml.c"
    compiled(stub, folder, "-Wl,-soname,libnvidia-ml.so.1", name="libnvidia-ml.so.1")
    program = f"""
import json, os, signal
import fasttune as tune

def trial(config):
    before = [int(name) for name in os.listdir({str(tmp_path / "pids")!r})]
    alive = [pid for pid in before if pid != os.getpid() and os.path.exists(f"/proc/{{pid}}")]
    open({str(tmp_path / "pids")!r} + f"/{{os.getpid()}}", "w").close()
    tune.report(alive=len(alive), device=os.environ["CUDA_VISIBLE_DEVICES"])
    if config["i"] % 2:
        os.kill(os.getpid(), signal.SIGKILL)

analysis = tune.run(
    tune.with_resources(trial, {{"cpu": 0.1, "gpu": 1}}), config={{"i": tune.grid_search(list(range(20)))}}, verbose=0,
    storage_path={str(tmp_path / "runs")!r}, raise_on_failed_trial=False,
)
print(json.dumps([[t.status, t.last_result["alive"]] for t in analysis.trials]))
"""
    (tmp_path / "pids").mkdir()
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "FAKE_"))}
    paths = {"LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(SOURCE), "FAKE_GPUS": "1"}
    done = forks.run(
        [sys.executable, "-c", program], env={**environ, **paths}, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [status for status, _ in rows] == ["TERMINATED", "ERROR"] * 10
    record_property("kills", 10)
    record_property("devices shared with a dying process", sum(alive for _, alive in rows))
    assert sum(alive for _, alive in rows) == 0


# -- row 21 ------------------------------------------------------------------------------------------------------------

IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"cpu": 9999}, "cpu=9999, this machine has"),
    ({"cpu": 9999.5}, "cpu=9999.5, this machine has"),
    ({"gpu": 64}, "gpu=64, this machine has"),
    ({"gpu": 64, "cpu": 1}, "gpu=64, this machine has"),
    ({"gpu": 1.5}, "whole number when it is more than 1, got 1.5"),
    ({"memory": 2**60}, "memory=1152921504606846976 bytes"),
    ({"memory": 1e30}, "'memory' must be at most"),
    ({"cpu": 10**400}, "'CPU' must be at most"),
    ({"cpu": -1}, "'CPU' must be a finite number >= 0, got -1"),
    ({"cpu": math.nan}, "'CPU' must be a finite number >= 0, got nan"),
    ({"cpu": math.inf}, "'CPU' must be a finite number >= 0, got inf"),
    ({"cpu": "1"}, "'CPU' must be a number >= 0, got '1'"),
    ({"cpu": None}, "'CPU' must be a number >= 0, got None"),
    ({"cpu": [1]}, "'CPU' must be a number >= 0"),
    ({"cpu": 0.00001}, "0 or at least 0.0001"),
    ({"tape": 1}, "tape=1, this machine has 0"),
    ({"custom_resources": {"licence": 2}}, "licence=2, this machine has 0"),
    ({"custom_resources": 3}, "custom_resources must be a dict"),
    ({"cpu": 1, "CPU": 2}, "given twice"),
    ({1: 1}, "named by a string, got 1"),
]


def test_C2_21_impossible_requests_are_refused_before_any_trial(tmp_path: Path, record_property: Note) -> None:
    def train(config: dict[str, Any]) -> None:
        raise AssertionError("a trial was started")

    longest = 0.0
    for k, (request, text) in enumerate(IMPOSSIBLE):
        executor = "inline" if k % 5 else "process"  # they are refused in one place; with workers their server has to end
        began = time.monotonic()
        with pytest.raises((ValueError, TypeError)) as caught:
            tune.run(train, resources_per_trial=request, storage_path=str(tmp_path), verbose=0, executor=executor)
        longest = max(longest, time.monotonic() - began)
        assert text in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    record_property("requests", len(IMPOSSIBLE))
    record_property("named", len(IMPOSSIBLE))
    record_property("most seconds until refused", round(longest, 2))


# -- row 23 ------------------------------------------------------------------------------------------------------------


def test_C2_23_a_clock_that_jumps_changes_nothing(lab: Lab, tmp_path: Path, executor: str, record_property: Note) -> None:
    """A day forth and back every 200 looks at the clock, in every process of a run that has a budget of a minute."""
    clock = compiled("moving_clock.c", tmp_path, name="moving_clock.so")
    told = lab.told("steady", executor, samples=40, reports=10, workers=2, budget=60, scheduler="asha")
    done = script(lab, told, LD_PRELOAD=str(clock))
    assert statuses(done) == ["TERMINATED"] * 40
    state = lab.reopen()
    found = check_acks(lab, state)
    assert found > 40
    record_property("reports", found)
    record_property("trials wrongly ended", 0)
    record_property("acks lost", 0)


# -- rows 26 and 27 ----------------------------------------------------------------------------------------------------


def test_C2_26_shared_memory_that_is_full(lab: Lab, executor: str, record_property: Note) -> None:
    """/dev/shm of one page: rings are files of the experiment's folder, and nothing else is asked of it."""
    words = namespace("--mount", "--propagation", "private")
    if words is None:
        record_property(NOT_TRIED, "this user may not mount")
        return
    full = 'mount -t tmpfs -o size=4k none /dev/shm && head -c 4096 /dev/zero > /dev/shm/full; exec "$@"'
    done = script(lab, lab.told("steady", executor, samples=20, workers=2, scheduler="asha"), *words, "sh", "-c", full, "sh")
    assert statuses(done) == ["TERMINATED"] * 20
    record_property("runs", 1)
    record_property("runs that ended well", 1)


def test_C2_27_no_network_at_all_and_a_tmp_that_is_read_only(lab: Lab, executor: str, record_property: Note) -> None:
    """Not even a loopback; /tmp and the home are read-only, the storage folder is not."""
    words = namespace("--mount", "--net", "--propagation", "private")
    if words is None:
        record_property(NOT_TRIED, "this user gets no namespaces")
        return
    keep = str(lab.folder)
    mounts = (
        f'mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp && mount --bind "{keep}" "{keep}" && '
        f'mount -o remount,bind,rw "{keep}"; '
        'if touch /tmp/written 2>/dev/null; then echo "/tmp can be written" >&2; exit 9; fi; exec "$@"'
    )
    if not keep.startswith("/tmp/"):  # the tests' own folder is elsewhere: /tmp can simply go
        mounts = 'mount -t tmpfs -o ro none /tmp; exec "$@"'
    told = lab.told("steady", executor, samples=20, workers=2)
    done = script(lab, told, *words, "sh", "-c", mounts, "sh", HOME="/nowhere")
    if done.returncode == 9:
        record_property(NOT_TRIED, "/tmp cannot be made read-only")
        return
    assert statuses(done) == ["TERMINATED"] * 20
    record_property("runs", 1)
    record_property("runs that ended well", 1)


def listening(pids: list[int]) -> list[str]:
    """Sockets of these processes that listen: TCP in state 0A, and UNIX sockets with the flag of accepting."""
    inodes = set()
    for pid in pids:
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                target = os.readlink(f"/proc/{pid}/fd/{name}")
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
        except OSError:  # it has ended meanwhile
            continue
    found = []
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        lines = Path(f"/proc/net/{kind}").read_text().splitlines()[1:] if Path(f"/proc/net/{kind}").exists() else []
        found += [line for line in lines if line.split()[9] in inodes and (kind[:3] == "udp" or line.split()[3] == "0A")]
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        flags, inode = line.split()[3], line.split()[6]
        if inode in inodes and int(flags, 16) & 0x10000:
            found.append(line)
    return found


def test_C2_27_nothing_listens(lab: Lab, executor: str, record_property: Note) -> None:
    process = lab.start(lab.told("endless", executor, samples=4, workers=2))
    assert lab.wait_for_acks(50, process)
    pids = lab.marked()
    assert process.pid in pids
    found = listening(pids)
    record_property("listening sockets", len(found))
    assert found == []


# -- row 28 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "starts",
    [pytest.param(3, id="few"), pytest.param(300, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
def test_C2_28_workers_start_beside_busy_threads(tmp_path: Path, starts: int, record_property: Note) -> None:
    """Sixteen threads of the driver take locks, print and allocate, while runs start: none hangs."""
    over = threading.Event()
    lock = threading.Lock()

    def busy() -> None:
        while not over.is_set():
            with lock:
                json.dumps({"x": [0] * 100})
            over.wait(0.0001)

    threads = [threading.Thread(target=busy) for _ in range(16)]
    for thread in threads:
        thread.start()
    try:
        for k in range(starts):
            analysis = tune.run(
                lambda config: {"loss": 1.0},
                num_samples=4,
                name=f"run{k}",
                storage_path=str(tmp_path),
                resources_per_trial={"cpu": 0.25},
                verbose=0,
            )
            assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    finally:
        over.set()
        for thread in threads:
            thread.join()
    record_property("starts", starts)
    record_property("hangs", 0)


def test_C2_28_the_driver_never_initialises_cuda(lab: Lab, tmp_path: Path, record_property: Note) -> None:
    """A libcuda whose cuInit aborts, before all other libraries: a run ends well."""
    cuda = compiled("aborting_cuda.c", tmp_path, "-Wl,-soname,libcuda.so.1", name="libcuda.so.1")
    assert ctypes.CDLL(str(cuda)).cuInit is not None
    done = script(
        lab,
        lab.told("steady", "process", samples=10, workers=2),
        LD_PRELOAD=str(cuda),
        LD_LIBRARY_PATH=str(tmp_path),
    )
    assert statuses(done) == ["TERMINATED"] * 10
    record_property("calls of cuInit", 0)
