"""The executor contract, bound to every executor that is registered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fasttune import vectorized
from fasttune.devices.machine import detect
from fasttune.devices.resources import Supply, resolve_resources
from fasttune.executors import EXECUTORS, Executor, Place, Program, make_executor
from fasttune.testing import ExecutorContract
from fasttune.testing import executors as contract


def made(name: str, folder: str) -> Executor:
    """The executor of a name, with room for two trials of one CPU on a machine without GPUs."""
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    place = Place(
        folder=folder,
        supply=Supply(detect(environ)),
        request=resolve_resources(None),
        limit=2,
        environ_of=lambda placement: environ,
        usage=lambda: "0.0/2 CPUs",
    )
    return make_executor(name, place)


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
    contract.many_reports: steps(150_000),
    contract.endless: endless,
    contract.by_config: lambda configs: {"x": configs["x"]},
}


class TestVector(ExecutorContract):
    """Trials of one call are not paused, have no classes, and one of them has the traceback of all."""

    own_processes = False
    test_a_failure_is_told_with_its_traceback = None
    test_a_paused_trial_goes_on_where_it_was = None
    test_a_resumed_trial_is_asked_from_the_step_it_was_told = None
    test_a_paused_trial_can_be_left_for_good_and_started_anew = None
    test_an_answer_may_be_to_save_first = None
    test_a_paused_trial_saves_when_it_is_told_to = None
    test_a_trial_that_fails_to_save_fails = None
    test_orders_to_trials_that_are_not_paused_do_no_harm = None
    test_paused_trials_clean_up_when_it_is_closed = None

    def make(self, folder: str) -> Executor:
        return made("vector", folder)

    def program(self, folder: Path, trainable: Any, **more: Any) -> Program:
        return super().program(folder, vectorized(size=2)(COLUMNS[trainable]), **more)


def test_every_registered_executor_is_bound() -> None:
    bound: dict[str, Any] = {
        "inline": TestInline, "thread": TestThread, "process": TestProcess, "async": TestAsync, "vector": TestVector,
    }  # fmt: skip
    assert set(EXECUTORS) == set(bound)
