"""What this process may use of its machine: CPU ids, memory and GPUs.

``detect()`` reads affinity, cgroups v1 and v2, and NVML; nothing here creates a CUDA context. A ``Machine`` is a value:
one with eight GPUs is one line in a test.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fasttune.devices.cgroups import ControlGroups, read

MOST_CPUS = 1 << 16  # no system counts further


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device. `uuid` is its name for life, `index` its place in PCI order until the next reboot."""

    uuid: str
    name: str = "NVIDIA GPU"
    index: int = 0
    memory_bytes: int = 0
    cpus: tuple[int, ...] = ()  # next to it (same NUMA node); () if the driver does not say


@dataclass(frozen=True, slots=True)
class Machine:
    """What this process may use of its machine.

    `cpus` are CPU ids. Where a quota allows fewer CPUs than the mask does, they are only as many ids as the
    quota allows, and `bind_cpus` is False: the threads may run anywhere, and binding them would crowd every
    container of the machine onto the same few.
    """

    cpus: tuple[int, ...]
    gpus: tuple[Gpu, ...] = ()
    memory_bytes: int = 0
    custom: Mapping[str, float] = field(default_factory=dict)
    bind_cpus: bool = True
    cpu_reason: str = ""  # why there are not more CPUs, "" if nothing limits them
    gpu_reason: str = ""  # why there are not more GPUs, "" if all are here


def detect(
    environ: Mapping[str, str] | None = None,
    root: str = "/",
    *,
    affinity: Iterable[int] | None = None,
    gpus: Sequence[int | str] | None = None,
) -> Machine:
    """The CPUs, GPUs and memory that affinity, cgroups and CUDA_VISIBLE_DEVICES leave to this process.

    Args:
        environ: the environment; None: this process's.
        root: where /proc and /sys are read from.
        affinity: the CPU ids that the process may run on; None: asked from the system.
        gpus: use these only, see `choose_gpus`.
    """
    environ = os.environ if environ is None else environ
    groups = ControlGroups(root)
    cpus, bind_cpus, cpu_reason = _detect_cpus(groups, _affinity() if affinity is None else affinity)
    visible, gpu_reason = detect_gpus(environ)
    chosen = choose_gpus(visible, gpus)
    if len(chosen) < len(visible):
        gpu_reason = _both(gpu_reason, f"gpus={gpus!r} chooses {len(chosen)} of {len(visible)} visible GPUs")
    return Machine(
        cpus=cpus,
        gpus=chosen,
        memory_bytes=_detect_memory(root, groups),
        bind_cpus=bind_cpus,
        cpu_reason=cpu_reason,
        gpu_reason=gpu_reason,
    )


# ------------------------------------------------------------------------------------------- CPUs and memory


def _affinity() -> Iterable[int]:
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _detect_cpus(groups: ControlGroups, affinity: Iterable[int]) -> tuple[tuple[int, ...], bool, str]:
    """CPU ids, whether they may be bound to, and what limits them."""
    allowed = sorted(affinity) or [0]
    cpuset = _cgroup_cpuset(groups)
    if cpuset & set(allowed):  # an empty intersection is a stale file, not a machine without CPUs
        allowed = sorted(cpuset & set(allowed))
    quota = _cgroup_quota(groups)
    if quota is None or math.ceil(quota) >= len(allowed):
        return tuple(allowed), True, ""
    count = max(1, math.ceil(quota))
    reason = f"a cgroup quota of {quota:g} CPUs, on a mask of {len(allowed)}"
    return tuple(allowed[:count]), False, reason


def _detect_memory(root: str, groups: ControlGroups) -> int:
    """Bytes of memory, a cgroup's limit included."""
    sizes = [_installed_memory(root)]
    for controller, name in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
        for folder in groups.folders(controller):
            size = _number(read(folder, name))
            if size is not None:
                sizes.append(size)
    return min(sizes)


def _installed_memory(root: str) -> int:
    for line in read(root, "proc/meminfo").splitlines():
        if line.startswith("MemTotal:") and (kilobytes := _number(line[9:].removesuffix("kB").strip())) is not None:
            return kilobytes * 1024
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().total)


def _cgroup_quota(groups: ControlGroups) -> float | None:
    """The CPUs' worth of time that the tightest quota grants, None without one."""
    quotas = []
    for folder in groups.folders(""):
        quotas.append(read(folder, "cpu.max").split())
    for folder in groups.folders("cpu"):
        quotas.append([read(folder, "cpu.cfs_quota_us"), read(folder, "cpu.cfs_period_us")])
    # "max" and -1 mean no quota
    pairs = [(_number(q[0]), _number(q[1])) for q in quotas if len(q) == 2]
    return min((quota / period for quota, period in pairs if quota and period), default=None)


def _cgroup_cpuset(groups: ControlGroups) -> set[int]:
    """The CPUs of the innermost cpuset that names any, empty without one."""
    for controller, names in (
        ("", ("cpuset.cpus.effective",)),
        ("cpuset", ("cpuset.effective_cpus", "cpuset.cpus")),
    ):
        for folder in groups.folders(controller):
            for name in names:
                cpus = _cpu_list(read(folder, name))
                if cpus:
                    return cpus
    return set()


def _cpu_list(text: str) -> set[int]:
    """The ids in "0-3,8"; empty if it is written in another way."""
    cpus: set[int] = set()
    for part in text.split(",") if text else ():
        begin, dash, end = part.partition("-")
        first, last = _number(begin), _number(end if dash else begin)
        if first is None or last is None or last >= MOST_CPUS:
            return set()
        cpus.update(range(first, last + 1))
    return cpus


def _number(text: str) -> int | None:
    """A number of at most 18 digits, as the system writes them; None for everything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


# ------------------------------------------------------------------------------------------------------ GPUs


def detect_gpus(environ: Mapping[str, str] | None = None) -> tuple[tuple[Gpu, ...], str]:
    """The GPUs that this process may use, and why there are not more ("" if there is no reason).

    Costs one failed dlopen on a machine without NVIDIA's driver. Never raises for a broken driver or device.
    """
    environ = os.environ if environ is None else environ
    mask = environ.get("CUDA_VISIBLE_DEVICES")
    if mask is not None and not mask.strip():
        return (), "CUDA_VISIBLE_DEVICES is empty, which hides all GPUs"
    present, reason = _read_nvml()
    visible = visible_gpus(present, mask)
    if len(visible) < len(present):
        hidden = f"CUDA_VISIBLE_DEVICES={mask!r} hides {len(present) - len(visible)} of {len(present)} GPUs"
        reason = _both(reason, hidden)
    return visible, reason


def _both(first: str, second: str) -> str:
    return f"{first}; {second}" if first else second


def _read_nvml() -> tuple[tuple[Gpu, ...], str]:
    """Every GPU that the driver knows, in PCI order."""
    if sys.platform == "linux":
        import ctypes

        try:  # before pynvml, which costs 20 ms: most machines without a GPU end here
            ctypes.CDLL("libnvidia-ml.so.1")
        except OSError as error:
            absent = "cannot open shared object" in str(error)
            return (), f"no NVIDIA driver ({'libnvidia-ml.so.1 not found' if absent else error})"
    try:
        import pynvml
    except ImportError as error:
        return (), f"the package nvidia-ml-py cannot be imported ({error}); install it to use GPUs"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return (), f"the NVIDIA driver does not answer: {_nvml_text(error)}"
    try:
        return _read_devices(pynvml)
    except pynvml.NVMLError as error:
        return (), f"the NVIDIA driver does not list its GPUs: {_nvml_text(error)}"
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _read_devices(nvml: Any) -> tuple[tuple[Gpu, ...], str]:
    gpus, reasons = [], []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            gpus.append(_read_device(nvml, index))
        except nvml.NVMLError as error:
            reasons.append(f"GPU {index} skipped: {_nvml_text(error)}")
    return tuple(gpus), "; ".join(reasons) or ("" if gpus else "the NVIDIA driver knows no GPU")


def _read_device(nvml: Any, index: int) -> Gpu:
    """A device with its UUID, without which nobody can be sent to it, and what else the driver tells."""
    device = nvml.nvmlDeviceGetHandleByIndex(index)
    uuid = _text(nvml.nvmlDeviceGetUUID(device))
    name, memory = "NVIDIA GPU", 0
    cpus: tuple[int, ...] = ()
    with suppress(nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        name = _text(nvml.nvmlDeviceGetName(device))
    with suppress(nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        memory = int(nvml.nvmlDeviceGetMemoryInfo(device).total)
    with suppress(nvml.NVMLError):
        cpus = _mask_bits(nvml.nvmlDeviceGetCpuAffinity(device, 16))  # 16 words: 1,024 CPUs
    return Gpu(uuid, name, index, memory, cpus)


def _mask_bits(words: Iterable[int]) -> tuple[int, ...]:
    return tuple(64 * at + bit for at, word in enumerate(words) for bit in range(64) if word >> bit & 1)


def _text(value: str | bytes) -> str:
    """Older releases of the package answer in bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _nvml_text(error: Any) -> str:
    return f"{error} (NVML error {error.value})"


def visible_gpus(all_gpus: Sequence[Gpu], value: str | None) -> tuple[Gpu, ...]:
    """The GPUs that a CUDA_VISIBLE_DEVICES of `value` leaves, in its order, by CUDA's rules.

    None: all. Entries are indices in PCI order, UUIDs or beginnings of a UUID that fit one device only. An
    entry that names no device hides itself and everything after it; a device named twice hides all.
    """
    if value is None:
        return tuple(all_gpus)
    visible: list[Gpu] = []
    for entry in value.split(","):
        gpu = _gpu_named(all_gpus, entry.strip())
        if gpu is None:
            break
        if gpu in visible:
            return ()
        visible.append(gpu)
    return tuple(visible)


def _gpu_named(gpus: Sequence[Gpu], entry: str) -> Gpu | None:
    if entry.isdecimal():
        fitting = [gpu for gpu in gpus if gpu.index == _number(entry)]
    else:
        fitting = [gpu for gpu in gpus if entry.startswith("GPU-") and gpu.uuid.startswith(entry)]
    return fitting[0] if len(fitting) == 1 else None


def choose_gpus(visible: Sequence[Gpu], gpus: Sequence[int | str] | None) -> tuple[Gpu, ...]:
    """The GPUs of run(gpus=[...]): int k is the k-th visible one, a string a UUID or its beginning."""
    if gpus is None:
        return tuple(visible)
    if isinstance(gpus, (str, int)):
        raise TypeError(f"gpus must be a list of indices or UUIDs, got {gpus!r}; one GPU is [{gpus!r}]")
    chosen: list[Gpu] = []
    for wanted in gpus:
        gpu = _choose_gpu(visible, wanted)
        if gpu in chosen:
            raise ValueError(f"gpus={list(gpus)!r} names {gpu.uuid} twice")
        chosen.append(gpu)
    return tuple(chosen)


def _choose_gpu(visible: Sequence[Gpu], wanted: int | str) -> Gpu:
    if isinstance(wanted, bool) or not isinstance(wanted, (int, str)):
        raise TypeError(f"gpus must hold indices (int) or UUIDs (str), got {wanted!r}")
    if isinstance(wanted, int):
        if 0 <= wanted < len(visible):
            return visible[wanted]
    else:
        fitting = [gpu for gpu in visible if wanted and gpu.uuid.startswith(wanted)]
        if len(fitting) == 1:
            return fitting[0]
    there = ", ".join(f"{k}: {gpu.uuid} ({gpu.name})" for k, gpu in enumerate(visible)) or "no GPU"
    raise ValueError(f"gpus names {wanted!r}, which is not exactly one of the visible GPUs; there is {there}")
