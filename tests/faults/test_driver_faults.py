"""The driver is interrupted, stopped for a while, run a thousand times in one process (C2 rows 17, 19, 24)."""

from __future__ import annotations

import gc
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import crash_script
import pytest
from laboratory import Lab, check_acks, wait_until

Note = Callable[[str, object], None]


@pytest.mark.parametrize(
    "points", [pytest.param(4, id="few"), pytest.param(100, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_C2_17_signals_at_random_points(tmp_path: Path, points: int, number: signal.Signals, record_property: Note) -> None:
    draw = random.Random(points)
    seconds = []
    acks = 0
    for k in range(points):
        folder = tmp_path / str(k)
        folder.mkdir()
        lab = Lab(folder)
        try:
            process = lab.start(lab.told("endless", draw.choice(["inline", "thread", "process"]), samples=3, workers=2))
            assert lab.wait_for_acks(draw.randint(1, 300), process)
            began = time.monotonic()
            process.send_signal(number)
            process.communicate(timeout=60)
            seconds.append(time.monotonic() - began)
            assert process.returncode == (0 if number == signal.SIGINT else -number)
            lab.nobody_left()
            acks += check_acks(lab, lab.reopen())
        finally:
            lab.close()
    record_property("signals", points)
    record_property("acks lost", 0)
    record_property("orphans", 0)
    record_property("most seconds to the end", round(max(seconds), 2))
    record_property("seconds to the end, median", round(sorted(seconds)[len(seconds) // 2], 2))


def open_things() -> dict[str, int]:
    """What a process may leave behind, counted."""
    gc.collect()
    with open("/proc/self/maps") as file:
        shared = sum(" rw-s " in line for line in file)
    with open("/proc/self/status") as file:
        threads = next(int(line.split()[1]) for line in file if line.startswith("Threads:"))
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        children = len(file.read().split())
    return {
        "files": len(os.listdir("/proc/self/fd")),
        "shared mappings": shared,
        "threads": threads,
        "children": children,
    }


@pytest.mark.parametrize(
    "runs", [pytest.param(12, id="few"), pytest.param(1000, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_C2_19_many_experiments_in_one_process(lab: Lab, runs: int, record_property: Note) -> None:
    """Every tenth one on workers, each with another scheduler or none."""

    def one(k: int) -> None:
        executor = "process" if k % 10 == 0 else "inline"
        scheduler = [None, "asha", "median_stopping_rule"][k % 3]
        told = lab.told("steady", executor, name=f"run{k}", samples=2, workers=2, scheduler=scheduler)
        crash_script.run(told)

    for k in range(3):  # what stays open is opened by the first ones
        one(10 * k)
    shared = set(os.listdir("/dev/shm"))
    before = open_things()
    for k in range(30, 30 + runs):
        one(k)
    after = open_things()
    wait_until(lambda: set(os.listdir("/dev/shm")) <= shared, "nothing new in /dev/shm")  # other programs come and go there
    record_property("experiments", runs)
    record_property("leaked objects", sum(max(0, after[name] - before[name]) for name in before))
    assert after == before
    assert not list(lab.folder.rglob("rings"))


@pytest.mark.parametrize(
    "seconds", [pytest.param(1.5, id="short"), pytest.param(10.0, id="long", marks=pytest.mark.slow)]
)
def test_C2_24_a_driver_that_stands_still_fails_no_trial(lab: Lab, seconds: float, record_property: Note) -> None:
    """As a laptop does that sleeps: the driver alone, and then all processes."""
    process = lab.start(lab.told("steady", "process", samples=60, reports=8, workers=2))
    assert lab.wait_for_acks(20, process)
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.send_signal(signal.SIGCONT)
    lab.wait_for_acks(20, process)
    everybody = lab.marked()
    for pid in everybody:
        try:
            os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:
            continue
    time.sleep(seconds)
    for pid in everybody:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert '"TERMINATED"' in out
    assert "ERROR" not in out
    record_property("trials", 60)
    record_property("trials wrongly failed", 0)
    assert check_acks(lab, lab.reopen()) == 60 * 8
