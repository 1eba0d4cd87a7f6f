"""What the driver says of a GPU at this moment: how much of its memory is used, by whom, and whether it is still there."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.processes import descends_from

if TYPE_CHECKING:
    from fasttune.devices.gpu import Gpu

GONE = (6, 15)  # NVML: nobody of that name is there; fallen off the bus


class GpuState(NamedTuple):
    """One look at a device."""

    used: int | None = None  # bytes of its memory; None: the driver does not say
    ours: int | None = None  # of these, those of the processes that were asked about; None: it names none of them
    processes: tuple[int, ...] | None = None  # that compute on it; None: the driver does not say
    lost: str = ""  # why it cannot be used any more, in words


def gpu_state(gpu: Gpu, workers: Collection[int] = ()) -> GpuState:
    """A look at a device; all unknown where there is no driver any more. ``workers`` are processes whose memory, with that of all
    that comes from them, is told as ours."""
    if gpu.maker == "amd":
        from fasttune.devices.amd_gpus import memory_used

        return GpuState(memory_used(gpu.vram) if gpu.vram else None)
    if gpu.maker != "nvidia":
        return GpuState()
    with driver_open() as nvml:
        if nvml is None:
            return GpuState()
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
            used = int(nvml.nvmlDeviceGetMemoryInfo(handle).used)
            return _with_processes(nvml, handle, used, workers)
        except nvml.NVMLError as error:
            gone = f"{gpu.name} {gpu.uuid} is lost: {error} (NVML error {error.value})"
            return GpuState(lost=gone if error.value in GONE else "")


@contextmanager
def driver_open() -> Iterator[Any]:
    """The package that asks the driver, which is open meanwhile: looks within it need not open it each. None where there is no
    driver, or none any more."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # whatever it says
        yield None
        return
    try:
        yield pynvml
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _with_processes(nvml: Any, handle: Any, used: int, workers: Collection[int]) -> GpuState:
    """The state with who uses the memory. In a container the driver may name processes as the host does: then none is ours."""
    try:
        found = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except Exception:  # an older driver; the package says so by an error of another kind
        return GpuState(used)
    pids = tuple(int(one.pid) for one in found)
    mine = [one.usedGpuMemory for one in found if descends_from(int(one.pid), workers)]
    known = bool(mine) and all(size is not None for size in mine)  # some drivers keep sizes to themselves
    return GpuState(used, min(used, sum(mine)) if known else None, pids)


def lost_gpus(environ: Mapping[str, str] | None = None) -> list[str]:
    """Which of the GPUs that this process is sent to by UUID are lost, and why, in words."""
    from fasttune.devices.gpu import Gpu

    mask = (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES", "")
    named = [name for name in mask.split(",") if name.startswith(("GPU-", "MIG-"))]
    return [state.lost for name in named if (state := gpu_state(Gpu(name))).lost]
