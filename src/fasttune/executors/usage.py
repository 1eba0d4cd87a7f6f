"""What one trial has used of its worker process so far, for ``measure_usage=True``: each of its reports has it.

The worker asks the kernel about itself: processor time by getrusage, memory by the highest mark of its resident set, which is set
back when a trial begins. What it uses of GPUs nobody tells it; the driver's process looks at them (`gpu_meter.py`) and writes what it
finds into the worker's gauge, a few numbers of memory that both have mapped.
"""

from __future__ import annotations

import math
import resource
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fasttune.processes import read_small
from fasttune.result_keys import CPU_SECONDS, GPU_UTILIZATION, PEAK_GPU_MEMORY, PEAK_MEMORY

# The gauge, numbers of eight bytes each. The worker writes the first, the driver the others: MEASURED last when they are of a trial,
# and first (0) when they are not any more.
LIFE = 0  # number of the stretch of a trial that goes on here, 0: none
MEASURED = 1  # of which stretch the others are
GPU_BYTES = 2  # the most at once; NaN: not known
GPU_PERCENT = 3  # of the time in which the device was busy, on average; NaN: not known
GAUGE_NUMBERS = 8


class Usage:
    """Of the trial that runs here from now on. While it is left, for another one, nothing counts: :meth:`leave`, :meth:`come`."""

    _lives = 0  # of all trials of this process

    def __init__(self, gauge: memoryview[float] | None) -> None:
        self._gauge = gauge
        self._cpu_s = 0.0  # of earlier stretches, as the others
        self._peak = 0
        self._gpu = (math.nan, math.nan)
        self.come()

    def come(self) -> None:
        """The trial goes on."""
        self._began = cpu_seconds()
        self._is_marked = forget_peak()
        Usage._lives += 1
        if self._gauge is not None:
            self._gauge[LIFE] = float(Usage._lives)

    def leave(self) -> None:
        """Another trial has its turn."""
        self._peak, self._gpu = self._peak_so_far(), self._gpu_so_far()
        self._cpu_s += cpu_seconds() - self._began
        if self._gauge is not None:
            self._gauge[LIFE] = 0.0

    def beside(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """The metrics of a report, and what was used until now; a metric of the same name stays."""
        used: dict[str, Any] = {
            PEAK_MEMORY: self._peak_so_far(),
            CPU_SECONDS: round(self._cpu_s + cpu_seconds() - self._began, 6),
        }
        peak, percent = self._gpu_so_far()
        if not math.isnan(peak):
            used[PEAK_GPU_MEMORY] = int(peak)
        if not math.isnan(percent):
            used[GPU_UTILIZATION] = round(percent, 3)
        return {**metrics, **{name: value for name, value in used.items() if name not in metrics}}

    def _peak_so_far(self) -> int:
        return max(self._peak, resident(b"VmHWM:" if self._is_marked else b"VmRSS:"))

    def _gpu_so_far(self) -> tuple[float, float]:
        gauge = self._gauge
        if gauge is None or gauge[MEASURED] != gauge[LIFE]:
            return self._gpu
        peak, percent = gauge[GPU_BYTES], gauge[GPU_PERCENT]
        if gauge[MEASURED] != gauge[LIFE]:  # they were changed meanwhile
            return self._gpu
        before, percent_before = self._gpu
        return peak if math.isnan(before) else max(before, peak), percent_before if math.isnan(percent) else percent


def cpu_seconds() -> float:
    """Of all threads of this process, and of its children that have ended and were waited for."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def forget_peak() -> bool:
    """From now on the most memory is that since now. False: the system does not forget."""
    with suppress(OSError):
        with open("/proc/self/clear_refs", "wb", buffering=0) as file:
            file.write(b"5")
        return True
    return False


def resident(mark: bytes) -> int:
    """Bytes that this process has in memory (VmRSS), or had at most (VmHWM); 0 where the system does not say."""
    text = read_small("/proc/self/status")
    at = text.find(mark)
    return 0 if at < 0 else int(text[at + len(mark) :].split(None, 1)[0]) << 10
