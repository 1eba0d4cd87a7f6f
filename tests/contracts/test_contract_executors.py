"""The executor contract, bound to every executor that is registered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttune import vectorized
from fasttune.devices.machine import detect
from fasttune.devices.resources import Supply, resolve_resources
from fasttune.executors import (
    EXECUTORS,
    VECTOR_EXECUTORS,
    Executor,
    ExecutorSite,
    Program,
    make_executor,
    vector,
    vector_thread,
)
from fasttune.testing import ExecutorContract
from fasttune.testing import executors as contract


def made(name: str, folder: str, of_columns: bool = False) -> Executor:
    """The executor of a name, with room for two trials of one CPU on a machine without GPUs."""
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    place = ExecutorSite(
        folder=folder,
        supply=Supply(detect(environ)),
        request=resolve_resources(None),
        limit=2,
        environ_of=lambda placement: environ,
        usage=lambda: "0.0/2 CPUs",
    )
    return make_executor(name, place, of_columns)


class TestInline(ExecutorContract):
    own_processes = False

    def make(self, folder: str) -> Executor:
        return made("inline", folder)


class TestThread(ExecutorContract):
    own_processes = False

    def make(self, folder: str) -> Executor:
        return made("thread", folder)


class TestProcess(ExecutorContract):
    def make(self, folder: str) -> Executor:
        return made("process", folder)


class TestAsync(ExecutorContract):
    own_processes = False
    coroutines = True

    def make(self, folder: str) -> Executor:
        return made("async", folder)


def failing(configs: dict[str, Any]) -> Any:
    yield {"score": 1}
    raise ArithmeticError("no luck with this one")


def steps(n: int) -> Any:
    def yielding(configs: dict[str, Any]) -> Any:
        for step in range(1, n + 1):
            yield {"score": step}

    return yielding


def counting(configs: dict[str, Any], state: Any = None) -> Any:
    """Each row counts to five, however often its trial is paused, saved and brought back."""
    step = np.zeros(len(configs["x"])) if state is None else state
    while True:
        step = step + 1
        rows = yield {"score": step, "done": step >= 5}, step
        if rows is not None:
            step = rows.take(step)


def to_five(configs: dict[str, Any], state: Any = None) -> Any:
    """The same of rows in step, which end when the function does."""
    inner, tell = counting(configs, state), None
    while True:
        told, step = inner.send(tell)
        tell = yield {"score": told["score"]}, step
        if (step == 5).all():
            return


def endless(configs: dict[str, Any]) -> Any:
    try:
        while True:
            yield {"score": 1}
    finally:
        with open(os.path.join(configs["folder"][0], "cleaned_up"), "w") as file:
            file.write("abcde_00000")


# The trials of the contract, as functions that evaluate many of them in a call.
COLUMNS: dict[Any, Any] = {
    contract.five_reports: steps(5),
    contract.failing: failing,
    contract.endless: endless,
    contract.by_config: lambda configs: {"x": configs["x"]},
    contract.Counter: counting,
    contract.leaving_a_word: counting,
}


class TestVector(ExecutorContract):
    """One trial of a call that fails has the traceback of all; a paused row has no code of its own that could be left, and a
    trial that cannot be saved fails with its call."""

    own_processes = False
    test_a_failure_is_told_with_its_traceback = None
    test_a_paused_trial_can_be_left_for_good_and_started_anew = None
    test_a_trial_that_fails_to_save_fails = None
    test_paused_trials_clean_up_when_it_is_closed = None

    many_steps = 2_000  # of 32 metrics: more than a ring holds

    @pytest.fixture(autouse=True)
    def small_rings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (vector, vector_thread):
            monkeypatch.setattr(module, "RING_BYTES", 1 << 18)

    def test_more_reports_than_a_ring_holds(self, tmp_path: Path) -> None:
        """Fewer than of single trials: a step costs a vector more than a report costs those."""
        n = self.many_steps

        def many(configs: dict[str, Any]) -> Any:
            wide = {f"m{k}": np.zeros(len(configs["x"])) for k in range(32)}
            for _ in range(n):
                yield wide

        executor = self.make(str(tmp_path))
        drive = contract.Drive(executor, ExecutorContract.program(self, tmp_path, vectorized(size=2)(many)))
        try:
            drive.give(1)
            drive.until(lambda: drive.over(0))
        finally:
            executor.close()
        assert drive.steps(0) == list(range(1, n + 1))

    def make(self, folder: str) -> Executor:
        return made("vector", folder, True)

    def program(self, folder: Path, trainable: Any, **more: Any) -> Program:
        function = to_five if trainable is contract.five_reports and more.get("pauses") else COLUMNS[trainable]
        return super().program(folder, vectorized(size=2)(function), **more)


class TestVectorInProcesses(TestVector):
    """A worker has many trials: its death is that of all of them, and no one of them is the one that ran."""

    own_processes = True
    many_steps = 16_000  # that to a worker is larger
    test_a_process_that_dies_is_told_once_after_all_it_wrote = None
    test_a_trial_that_does_not_listen_can_be_killed = None

    def make(self, folder: str) -> Executor:
        return made("process", folder, True)


class TestVectorInThreads(TestVector):
    def make(self, folder: str) -> Executor:
        return made("thread", folder, True)


def test_every_registered_executor_is_bound() -> None:
    bound: dict[str, Any] = {
        "inline": TestInline, "thread": TestThread, "process": TestProcess, "async": TestAsync, "vector": TestVector,
        "ray": None,  # tests/clusters, in an environment of its own
    }  # fmt: skip
    assert set(EXECUTORS) == set(bound)
    assert set(VECTOR_EXECUTORS) == {"vector", "process", "thread"}  # TestVector, TestVectorInProcesses, TestVectorInThreads
