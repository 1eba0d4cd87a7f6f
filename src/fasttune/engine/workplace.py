"""Where a run's trials are carried out: the machine, what of it is given out, and the executor that is made for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fasttune.devices.machine import detect
from fasttune.devices.resources import Supply, resolve_resources, with_declared
from fasttune.executors.wear import WorkerLimits
from fasttune.trainable import is_vectorized

if TYPE_CHECKING:
    from fasttune.config import RunSpec
    from fasttune.executors.base import Executor


class Workplace:
    """The machine that a run has to itself, and how its trials' processes are set up there.

    machine  what there is: CPUs, memory, GPUs (looked for also where no trial asks for any: it shall see none)
    supply   what of it is free
    """

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._where = _started_from()
        # its functions evaluate many trials in one call: all of them, or none
        self._of_columns = is_vectorized(spec.trainables[0].trainable)
        self.machine = spec.machine or with_declared(detect(gpus=spec.gpus), spec.resources)
        self.supply = self._make_supply()

    def executor(self, request: Any, first_source: int, hurried: Callable[[], bool]) -> Executor:
        """The executor that was asked for. ``request``: what most trials need; ``hurried``: whether nobody waits any longer
        for what is to end."""
        from fasttune.executors import ExecutorSite, make_executor

        spec = self._spec
        place = ExecutorSite(
            folder=spec.path,
            supply=self.supply,
            request=request if not callable(request) else resolve_resources(None),
            limit=spec.max_concurrent or sys.maxsize,
            environ_of=self._environ_of,
            cpus_of=self._cpus_of(),
            usage=self.usage,
            first_source=first_source,
            awaited=spec.awaited,
            measures=spec.measure_usage,
            worker_limits=WorkerLimits(spec.worker_max_trials, spec.worker_max_memory),
            hurried=hurried,
        )
        return make_executor(spec.executor, place, self._of_columns)

    @contextmanager
    def told_to(self, executor: Executor) -> Iterator[None]:
        """Trials in this process find in its environment what those in a worker find in theirs."""
        mine = {k: v for k, v in self._where.items() if k not in os.environ} if executor.same_process else {}
        os.environ.update(mine)
        try:
            yield
        finally:
            for name in mine:
                os.environ.pop(name, None)

    def _make_supply(self) -> Supply:
        """A GPU that processes have is looked at before another one gets it."""
        from fasttune.executors import executor_class

        machine, spec = self.machine, self._spec
        if not machine.gpus:
            return Supply(machine)
        from fasttune.devices.gpu_links import read_distances

        where = executor_class(spec.executor, self._of_columns)
        if where.here or where.same_process or where.elsewhere:
            return Supply(machine, spec.gpu_policy, read_distances)
        from fasttune.devices.held_memory import PatientSupply

        return PatientSupply(machine, spec.gpu_policy, read_distances)

    def _environ_of(self, placement: Any) -> dict[str, str]:
        from fasttune.devices.trial_process import process_environ

        return process_environ(placement, {**self._where, **os.environ})

    def _cpus_of(self) -> Callable[[Any], tuple[int, ...]]:
        """What says on which CPUs the process of a placement runs; () for all: its own where workers are pinned, else those next
        to its GPUs, unless the user has said where threads run."""
        if self._spec.pins_workers:
            return lambda placement: tuple(placement.cpus)
        if not any(gpu.cpus for gpu in self.machine.gpus) or sys.platform != "linux":
            return lambda placement: ()
        from fasttune.devices.machine import allowed_cpus
        from fasttune.devices.trial_process import is_pinned, near_cpus

        affinity = os.sched_getaffinity(0)
        if is_pinned(os.environ, affinity, allowed_cpus()):
            return lambda placement: ()
        return lambda placement: near_cpus(placement, affinity)

    def usage(self) -> str:
        """What of it is in use, in words."""
        free, total = self.supply.available(), self.supply.total()
        return ", ".join(
            f"{total[name] - free[name]:.1f}/{total[name]:g} {label}"
            for name, label in (("cpu", "CPUs"), ("gpu", "GPUs"))
        )


def _started_from() -> dict[str, str]:
    """What tells trials written for Ray Tune, which moves them, where the run was started: here they stay there."""
    try:
        return {"TUNE_ORIG_WORKING_DIR": os.getcwd()}
    except FileNotFoundError:  # it has been removed
        return {}
