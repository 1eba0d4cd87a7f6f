"""What holds for every test: results go to a temporary folder, and nothing is left running or mapped."""

from __future__ import annotations

import gc
import itertools
import os
import secrets
import shlex
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

# Several processes of a test share few cores: linear algebra with a thread for each of them would wait for itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("FASTTUNE_CHECKS", "1")  # after each turn of each run what is known of its trials is validated

import pytest
from hypothesis import HealthCheck, settings

import forks
import rounds

# Workers look for modules where this process does, and find there how little of pytest they need.
sys.path.insert(0, str(Path(__file__).parent / "light"))

with suppress(ImportError, AttributeError):  # Hypothesis has had it since 2025
    # It draws now and then a constant of the modules that are loaded, and which these are depends on the tests before: from the
    # same seed would come other examples.
    from hypothesis.internal.conjecture import providers

    providers._get_local_constants = partial(lambda none: none, providers.Constants())

gc.disable()  # until all tests are known: what is loaded stays

_count = itertools.count()
_failed = pytest.StashKey[bool]()  # of a test
_mapped: set[str] = set()  # shared memory that is there before a test, and may be there behind it


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """The examples of Hypothesis are the same every time, or of a seed: of ``--hypothesis-seed=N`` where somebody asks for it,
    of a random one with all rounds. It is known before Hypothesis looks at its options, and before a test is imported."""
    option = config.option
    if hasattr(config, "workerinput"):
        option.hypothesis_seed = config.workerinput["hypothesis_seed"]
    elif rounds.ALL and option.hypothesis_seed is None:
        option.hypothesis_seed = str(secrets.randbelow(1 << 32))
    seeded = option.hypothesis_seed is not None
    rounds.seed = int(option.hypothesis_seed or 0)
    # No failure because the machine was busy; no store of earlier failures, which a seed would not say.
    settings.register_profile(
        "fasttune",
        derandomize=not seeded,
        database=None,
        print_blob=seeded,
        deadline=None,
        max_examples=rounds.rounds(1000),
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("fasttune")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """All workers of pytest-xdist draw from one seed: that of the header."""
    node.workerinput["hypothesis_seed"] = node.config.option.hypothesis_seed


def pytest_report_header(config: pytest.Config) -> list[str]:
    import fasttune
    import fasttune._core as core

    lines = [f"fasttune: {Path(fasttune.__file__).parent}, core: {core.__file__}"]
    if config.option.hypothesis_seed is not None:
        seed = config.option.hypothesis_seed
        lines.append(f"seed of what is drawn: {seed}; the same again: ARGS=--hypothesis-seed={seed}")
    return lines


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A test that has failed says how to run it on the same examples."""
    report = yield
    if report.failed:
        item.stash[_failed] = True
    seed = item.config.option.hypothesis_seed
    if report.failed and report.when == "call" and seed is not None:
        setting = "FASTTUNE_ALL_ROUNDS=1 " if rounds.ALL else ""
        again = f"{setting}python -m pytest {shlex.quote(item.nodeid)} --hypothesis-seed={seed}"
        report.sections.append(("with the same seed again", again))
    return report


@pytest.fixture(autouse=True)
def results_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of experiments for this test alone; it does not exist before somebody writes to it. Of a test that fails it stays,
    as ``tmp_path`` does: those of all tests would be gigabytes."""
    path = tmp_path_factory.getbasetemp() / f"results{next(_count)}"
    with pytest.MonkeyPatch.context() as patch:  # behind those of the test, which may be of what removes the folder
        patch.setenv("FASTTUNE_RESULTS_DIR", str(path))
        yield path
    if not request.node.stash.get(_failed, False):
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def on_disk(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that is not in memory, as that of other tests may be."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="fasttune-test-") as folder:
        yield Path(folder)


@pytest.fixture
def no_resting_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that count descriptors or processes: without the server that rests until the next run."""
    from fasttune.executors import server

    server.end_resting()
    monkeypatch.setenv("FASTTUNE_KEEP_SERVER", "0")


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails a test that leaves a child process, a thread or a shared writable mapping behind."""
    before = _children() | _threads()
    yield
    known = before | _mapped
    left = _living() - known
    if left:
        gc.collect()  # a mapping goes with the object that owns it
        deadline = time.monotonic() + 2.0
        while (left := _living() - known) and time.monotonic() < deadline:
            time.sleep(0.01)
    if left:
        _mapped.update(left)
        pytest.fail("the test left behind: " + "; ".join(sorted(left)), pytrace=False)


def pytest_collection_finish() -> None:
    """The half million objects that tests are made of stay: a test that collects garbage, or makes much, would look through them
    each time (a quarter of a second on a busy machine)."""
    gc.enable()
    gc.collect()
    gc.freeze()
    _mapped.update(_shared_mappings())


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """What fixtures of many tests map is none of one test's."""
    try:
        return (yield)
    finally:
        if fixturedef.scope != "function":
            _mapped.update(_shared_mappings())


def _living() -> set[str]:
    """To read what is mapped takes longest, and the end of one test is the beginning of the next one."""
    mapped = _shared_mappings()
    _mapped.intersection_update(mapped)
    return _children() | _threads() | mapped


def _children() -> set[str]:
    """But for the server of workers that rests until the next run, and that of ``forks``: these end with this process."""
    found = set()
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children") as file:
                found.update(f"process {pid}" for pid in file.read().split())
        except OSError:  # the thread has ended meanwhile
            continue
    resting = sys.modules["fasttune.executors.server"]._resting if "fasttune.executors.server" in sys.modules else []
    return found - {f"process {pid}" for pid in forks.pids().union(server.pid for server in resting)}


def _threads() -> set[str]:
    return {f"thread {thread.name} ({thread.ident})" for thread in threading.enumerate()}


def _shared_mappings() -> set[str]:
    with open("/proc/self/maps") as file:
        return {
            f"shared memory {line.rstrip()}"
            for line in file
            if " rw-s " in line and "/dev/nvidia" not in line
        }
