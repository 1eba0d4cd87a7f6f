"""What holds for every test: results go to a temporary folder, and nothing is left running or mapped."""

from __future__ import annotations

import gc
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

# Several processes of a test share few cores: linear algebra with a thread for each of them would wait for itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("FASTTUNE_CHECKS", "1")  # after each turn of each run what is known of its trials is validated

import pytest
from hypothesis import HealthCheck, settings

# Workers look for modules where this process does, and find there how little of pytest they need.
sys.path.insert(0, str(Path(__file__).parent / "light"))

# The same examples every time, and no failure because the machine was busy. Explore further with --hypothesis-seed=N.
settings.register_profile(
    "fasttune", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fasttune")

_count = itertools.count()


def pytest_report_header() -> str:
    import fasttune
    import fasttune._core as core

    return f"fasttune: {Path(fasttune.__file__).parent}, core: {core.__file__}"


@pytest.fixture(autouse=True)
def results_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of experiments for this test alone; it does not exist before somebody writes to it."""
    path = tmp_path_factory.getbasetemp() / f"results{next(_count)}"
    monkeypatch.setenv("FASTTUNE_RESULTS_DIR", str(path))
    return path


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails a test that leaves a child process, a thread or a shared writable mapping behind."""
    before = _living()
    yield
    left = _living() - before
    if not left:
        return
    gc.collect()  # a mapping goes with the object that owns it
    deadline = time.monotonic() + 2.0
    while (left := _living() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    if left:
        pytest.fail("the test left behind: " + "; ".join(sorted(left)), pytrace=False)


def _living() -> set[str]:
    return _children() | _threads() | _shared_mappings()


def _children() -> set[str]:
    found = set()
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children") as file:
                found.update(f"process {pid}" for pid in file.read().split())
        except OSError:  # the thread has ended meanwhile
            continue
    return found


def _threads() -> set[str]:
    return {f"thread {thread.name} ({thread.ident})" for thread in threading.enumerate()}


def _shared_mappings() -> set[str]:
    with open("/proc/self/maps") as file:
        return {
            f"shared memory {line.rstrip()}"
            for line in file
            if " rw-s " in line and "/dev/nvidia" not in line
        }
