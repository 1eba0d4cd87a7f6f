"""A GPU is given out again when the memory of whoever had it is free: a process that was killed holds it a little longer."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from fasttune.devices.resources import PlacementGroupFactory, Supply

if TYPE_CHECKING:
    from fasttune.devices.gpus import Gpu
    from fasttune.devices.machine import Machine
    from fasttune.devices.resources import Placement

PATIENCE_S = 10.0  # then it is given out all the same
SLACK = 64 << 20  # bytes above what was used before the run: a driver's own books move that much
LOOK_S = 0.02  # how often the driver is asked
WHOLE = 10_000  # units of a GPU


class Returned(NamedTuple):
    """A placement that came back, and is not given out yet."""

    placement: Placement
    until: float
    gpus: tuple[Gpu, ...]


class PatientSupply(Supply):
    """A Supply for trials in processes of their own, which end or are killed. A GPU that one of them had alone waits until no
    more of its memory is used than before the run, for ten seconds at most; of one that is shared nobody can tell whose it is.

    Args:
        machine: what there is.
        used: bytes that are used of a GPU's memory; None: the driver does not say.
        clock: seconds that never jump.
    """

    def __init__(
        self,
        machine: Machine,
        used: Callable[[Gpu], int | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(machine)
        self._used = memory_used if used is None else used
        self._clock = clock
        self._before: dict[str, int | None] = {}  # uuid -> bytes that were used when it was given out first
        self._held: list[Returned] = []
        self._next = 0.0  # when the driver is asked again

    @property
    def waits(self) -> bool:
        """Something came back and is not given out yet."""
        return bool(self._held)

    def acquire(self, request: PlacementGroupFactory) -> Placement | None:
        self._look()
        placement = super().acquire(request)
        if placement is not None:
            for gpu, _ in placement.gpus:
                if gpu.uuid not in self._before:
                    self._before[gpu.uuid] = self._used(gpu)
        return placement

    def give_back(self, placement: Placement) -> None:
        alone = tuple(gpu for gpu, units in placement.gpus if units == WHOLE)
        if all(map(self._is_free, alone)):
            self.release(placement)
        else:
            self._held.append(Returned(placement, self._clock() + PATIENCE_S, alone))

    def _look(self) -> None:
        """Give back what is free by now, or was waited for long enough."""
        now = self._clock()
        if not self._held or now < self._next:
            return
        self._next = now + LOOK_S
        held, self._held = self._held, []
        for one in held:
            taken = [gpu for gpu in one.gpus if not self._is_free(gpu)]
            if taken and now < one.until:
                self._held.append(one)
                continue
            for gpu in taken:
                self._give_up(gpu)
            self.release(one.placement)

    def _is_free(self, gpu: Gpu) -> bool:
        before = self._before.get(gpu.uuid)
        now = None if before is None else self._used(gpu)
        return before is None or now is None or now <= before + SLACK

    def _give_up(self, gpu: Gpu) -> None:
        now, before = self._used(gpu), self._before.get(gpu.uuid)
        if now is None or before is None:
            return
        self._before[gpu.uuid] = now  # it is said once, and not waited for again
        warnings.warn(
            f"{gpu.name} {gpu.uuid} uses {(now - before) >> 20:,} MiB more than before the run, {PATIENCE_S:g} s after its process "
            "has ended: another program has come, or what the trial has started lives on. It is given out all the same",
            RuntimeWarning,
            stacklevel=2,
        )


def memory_used(gpu: Gpu) -> int | None:
    """Bytes of a GPU's memory that anybody uses; None: the driver does not say."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no driver any more, whatever it says
        return None
    try:
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)).used)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
