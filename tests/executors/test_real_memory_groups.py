"""Where groups of cgroup v2 can be made, the kernel holds workers to their memory. The run's own looks are switched off here.

Collected only where this user may make such groups (conftest.py of this folder).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

MOUNT = Path("/sys/fs/cgroup")

SCRIPT = """
import json, os, signal, sys
from pathlib import Path

import fasttune as tune
from fasttune.executors import memory_watch

memory_watch.MemoryWatch.look = lambda *_: iter(())
MIB = 1 << 20
how = sys.argv[1]

def filled(size):
    return bytearray(os.urandom(MIB)) * size

def train(config):
    tune.report(loss=1, group=Path("/proc/self/cgroup").read_text().strip())
    if config["x"] == 1 and how == "grows":
        held = filled(4000)
    if config["x"] == 1 and how == "child":
        if os.fork() == 0:
            held = filled(4000)
            os._exit(0)
        os.wait()
    if config["x"] == 1 and how == "driver":
        os.kill(DRIVER, signal.SIGKILL)
        signal.pause()
    held = filled(100)
    tune.report(loss=2, group=Path("/proc/self/cgroup").read_text().strip())

DRIVER = os.getpid()
before = Path("/proc/self/cgroup").read_text().strip()
analysis = tune.run(
    train, config={"x": tune.grid_search([0, 1, 2, 3])}, resources_per_trial={"cpu": 0.5, "memory": 200 * MIB}, verbose=0,
    storage_path=sys.argv[2], raise_on_failed_trial=False, metric="loss", mode="min",
)
told = {
    "before": before, "after": Path("/proc/self/cgroup").read_text().strip(),
    "status": [trial.status for trial in analysis.trials], "error": [str(trial.get_error()) for trial in analysis.trials],
    "groups": [trial.last_result["group"] for trial in analysis.trials],
}
print(json.dumps(told))
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A group that is the script's alone."""
    made = MOUNT / f"test-{os.getpid()}"
    made.mkdir()
    os.setxattr(made, "user.delegate", b"1")
    yield made
    for folder in (*made.iterdir(), made):
        if folder.is_dir():
            with suppress(OSError):
                (folder / "cgroup.kill").write_text("1")
    for folder in (*(one for one in made.iterdir() if one.is_dir()), made):
        for _ in range(1000):
            with suppress(OSError):
                folder.rmdir()
                break


def start(group: Path, how: str, folder: Path) -> subprocess.CompletedProcess[str]:
    enter = f"import os; from pathlib import Path; Path({str(group / 'cgroup.procs')!r}).write_text(str(os.getpid()))\n"
    return subprocess.run(
        [sys.executable, "-c", enter + SCRIPT, how, str(folder)], capture_output=True, text=True, timeout=120
    )


def run(group: Path, how: str, folder: Path) -> dict[str, Any]:
    done = start(group, how, folder)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def folders(group: Path) -> list[str]:
    return sorted(one.name for one in group.iterdir() if one.is_dir())


@pytest.mark.parametrize("how", ["grows", "child"])
def test_the_kernel_ends_who_takes_all_at_once(group: Path, tmp_path: Path, how: str) -> None:
    told = run(group, how, tmp_path)
    assert told["status"] == ["TERMINATED", "ERROR", "TERMINATED", "TERMINATED"]
    assert "was ended for its memory: it took all at once what the kernel lets it have" in told["error"][1]
    assert "asked for 200 MiB" in told["error"][1]
    assert all("/fasttune-worker-" in one for one in told["groups"])
    assert told["before"] == told["after"] == f"0::/{group.name}"
    assert folders(group) == []


def test_a_driver_that_is_killed_leaves_nothing_that_hinders_the_next_one(group: Path, tmp_path: Path) -> None:
    """What it had started ends; its groups are empty, as a service manager removes them, or the next run."""
    assert start(group, "driver", tmp_path).returncode == -9
    deadline = time.monotonic() + 60
    while "populated 1" in (group / "cgroup.events").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "populated 0" in (group / "cgroup.events").read_text()
    assert len(folders(group)) > 1
    (group / "cgroup.subtree_control").write_text("-memory")
    told = run(group, "grows", tmp_path)
    assert told["status"] == ["TERMINATED", "ERROR", "TERMINATED", "TERMINATED"]
    assert folders(group) == []


def test_the_group_that_a_run_is_in_still_holds_it(group: Path, tmp_path: Path) -> None:
    (group / "memory.max").write_text(str(120 << 20))
    done = start(group, "nothing", tmp_path)
    assert done.returncode != 0 or "ERROR" in done.stdout


def test_a_group_that_nobody_has_delegated_is_left_as_it_is(group: Path, tmp_path: Path) -> None:
    os.removexattr(group, "user.delegate")
    told = run(group, "nothing", tmp_path)
    assert told["groups"] == [f"0::/{group.name}"] * 4
    assert (group / "cgroup.subtree_control").read_text() == ""
