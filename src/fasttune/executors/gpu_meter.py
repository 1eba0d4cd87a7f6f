"""Looks at the GPUs of workers now and then, and writes what it finds where their trials read it (:mod:`fasttune.executors.usage`)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from fasttune.executors.usage import GPU_BYTES, GPU_PERCENT, LIFE, MEASURED
from fasttune.processes import family

if TYPE_CHECKING:
    from fasttune.executors.slot import Slot

LOOK_S = 0.1  # how often
WHOLE = 10_000  # units of a GPU


class GpuMeter:
    """Measures for as long as the run lasts.

    Args:
        usage: what the driver is asked by; None: a connection of its own.
        clock: seconds that never jump.
    """

    def __init__(self, usage: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        if usage is None:
            from fasttune.devices.gpu_usage import GpuUsage

            usage = GpuUsage()
        self._usage = usage
        self._clock = clock
        self._next = 0.0
        self._before: dict[int, dict[str, int]] = {}  # worker -> bytes in use of each of its GPUs before it was there
        self._sums: dict[int, tuple[float, int]] = {}  # worker -> sum of percents in this stretch of a trial, and of how many

    def expect(self, source: int, placement: Any) -> None:
        """A worker is about to begin on these devices."""
        self._before[source] = {gpu.uuid: self._usage.memory(gpu) or 0 for gpu, _ in placement.gpus}

    def forget(self, source: int) -> None:
        """It has ended."""
        self._before.pop(source, None)
        self._sums.pop(source, None)

    def rest(self, seconds: float) -> float:
        """How long the poll may sleep, if that was as long as this."""
        return min(seconds, LOOK_S)

    def look(self, slots: Iterable[Slot]) -> None:
        """Measure the trials that run, if it is time to."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + LOOK_S
        for slot in slots:
            if slot.lives and slot.source in self._before and (life := slot.wire.gauge[LIFE]):
                self._measure(slot, life)

    def close(self) -> None:
        self._usage.close()

    def _measure(self, slot: Slot, life: float) -> None:
        gauge, pids = slot.wire.gauge, family(slot.pid)
        found = [self._of_device(slot, gpu, units, pids) for gpu, units in slot.placement.gpus]
        size = sum(math.nan if size is None else size for size, _ in found)
        percent = sum(math.nan if percent is None else percent for _, percent in found) / max(1, len(found))
        if gauge[MEASURED] == life:
            size = max(size, gauge[GPU_BYTES]) if not math.isnan(size) else gauge[GPU_BYTES]
        else:
            gauge[MEASURED] = 0.0
            self._sums.pop(slot.source, None)
        total, count = self._sums.get(slot.source, (0.0, 0))
        if not math.isnan(percent):
            total, count = total + percent, count + 1
            self._sums[slot.source] = total, count
        gauge[GPU_BYTES] = size
        gauge[GPU_PERCENT] = total / count if count else math.nan
        gauge[MEASURED] = life

    def _of_device(self, slot: Slot, gpu: Any, units: int, pids: list[int]) -> tuple[int | None, float | None]:
        """Bytes and percent of one device: of the processes, or of the device if nobody else has a part of it."""
        alone = units == WHOLE
        size, usage = self._usage.memory_of(gpu, pids), self._usage
        if size is None and alone and (used := usage.memory(gpu)) is not None:
            size = max(0, used - self._before[slot.source].get(gpu.uuid, 0))
        return size, usage.percent(gpu) if alone else usage.percent_of(gpu, pids)
