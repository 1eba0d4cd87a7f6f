"""The executor contract, bound to every executor that is registered."""

from __future__ import annotations

import os
from typing import Any

from fasttune.devices.machine import detect
from fasttune.devices.resources import Supply, resolve_resources
from fasttune.executors import EXECUTORS, Executor, Place, make_executor
from fasttune.testing import ExecutorContract


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


class TestProcess(ExecutorContract):
    def make(self, folder: str) -> Executor:
        return made("process", folder)


class TestAsync(ExecutorContract):
    own_processes = False
    coroutines = True

    def make(self, folder: str) -> Executor:
        return made("async", folder)


def test_every_registered_executor_is_bound() -> None:
    bound: dict[str, Any] = {"inline": TestInline, "process": TestProcess, "async": TestAsync}
    assert set(EXECUTORS) == set(bound)
