"""The executor contract, bound to the one that runs trials on a Ray cluster."""

from __future__ import annotations

import pytest

from fasttune.devices.resources import Supply, resolve_resources
from fasttune.executors import Executor, ExecutorSite, executor_class, make_executor
from fasttune.testing import ExecutorContract

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


def made(folder: str) -> Executor:
    """An executor with room for two trials of one CPU."""
    machine = executor_class("ray").machine()
    assert machine is not None
    place = ExecutorSite(
        folder=folder,
        supply=Supply(machine),
        request=resolve_resources(None),
        limit=2,
        environ_of=lambda placement: {},
        usage=lambda: "0.0/2 CPUs",
    )
    return make_executor("ray", place)


class TestRay(ExecutorContract):
    def make(self, folder: str) -> Executor:
        return made(folder)
