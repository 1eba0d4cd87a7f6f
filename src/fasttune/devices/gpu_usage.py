"""How much of a GPU is used, asked of the driver: by some processes, as far as it knows them by their numbers, or by anybody."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fasttune.devices.gpu import Gpu


class GpuUsage:
    """A connection to the driver, open until it is closed. Everything is None that the driver does not say."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._seen: dict[tuple[str, int], int] = {}  # up to when the driver has told how busy it was with a process
        try:
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
        except Exception:  # no driver, whatever it says: the trials run all the same
            return

    def close(self) -> None:
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            with suppress(nvml.NVMLError):
                nvml.nvmlShutdown()

    def memory(self, gpu: Gpu) -> int | None:
        """Bytes that anybody uses."""
        used: int | None = self._asked(gpu, lambda nvml, device: int(nvml.nvmlDeviceGetMemoryInfo(device).used))
        return used

    def memory_of(self, gpu: Gpu, pids: Collection[int]) -> int | None:
        """Bytes that these processes use; None, if the driver knows none of them: within a container it has other numbers for them."""

        def ask(nvml: Any, device: Any) -> int | None:
            known = [one.usedGpuMemory for one in nvml.nvmlDeviceGetComputeRunningProcesses(device) if one.pid in pids]
            return None if not known or None in known else int(sum(known))

        used: int | None = self._asked(gpu, ask)
        return used

    def percent(self, gpu: Gpu) -> float | None:
        """Of the last moment (a sixth of a second to a whole one), in which the device was busy."""
        busy: float | None = self._asked(gpu, lambda nvml, device: float(nvml.nvmlDeviceGetUtilizationRates(device).gpu))
        return busy

    def percent_of(self, gpu: Gpu, pids: Collection[int]) -> float | None:
        """As percent, of the time since this was asked last, and with these processes."""
        key = gpu.uuid, min(pids, default=0)

        def ask(nvml: Any, device: Any) -> float | None:
            samples = [one for one in nvml.nvmlDeviceGetProcessUtilization(device, self._seen.get(key, 0)) if one.pid in pids]
            self._seen[key] = max((one.timeStamp for one in samples), default=self._seen.get(key, 0))
            return float(sum(one.smUtil for one in samples)) if samples else None

        busy: float | None = self._asked(gpu, ask)
        return busy

    def _asked(self, gpu: Gpu, ask: Any) -> Any:
        if self._nvml is None:
            return None
        try:
            return ask(self._nvml, self._nvml.nvmlDeviceGetHandleByUUID(gpu.uuid))
        except Exception:  # also of the package, for a driver that is older than it is: no figure is worth a run
            return None
