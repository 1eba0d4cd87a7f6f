"""The GPUs that this process may use, as NVML and CUDA_VISIBLE_DEVICES tell. Nothing here creates a CUDA context. Where NVIDIA has
none, AMD's and Apple's are counted.

A device is what a trial can be sent to: a GPU, or one slice of a GPU that is cut into them (MIG). A process can use one slice at
a time, and of a GPU that is cut nothing but its slices (NVIDIA's MIG user guide, "CUDA device enumeration").
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from fasttune.devices.gpu import Gpu, both

SMALLEST_MASK = 16  # words of 64 bits: 1,024 CPUs


def detect_gpus(environ: Mapping[str, str] | None = None, root: str = "/") -> tuple[tuple[Gpu, ...], str]:
    """The GPUs that this process may use, and why there are not more ("" if there is no reason).

    Costs one failed dlopen and a folder that is not there on a machine without GPUs. Never raises for a broken driver or device.

    Args:
        environ: the environment; None: this process's.
        root: where /sys is read from, which tells of AMD's.
    """
    environ = os.environ if environ is None else environ
    mask = environ.get("CUDA_VISIBLE_DEVICES")
    if mask is not None and not mask.strip():
        return (), "CUDA_VISIBLE_DEVICES is empty, which hides all GPUs"
    present, reason = _read_nvml()
    if not present:
        others, why = detect_others(environ, root)
        if others or why:
            return others, why
    visible = visible_gpus(present, mask)
    if len(visible) < len(present):
        hidden = f"CUDA_VISIBLE_DEVICES={mask!r} hides {len(present) - len(visible)} of {len(present)} GPUs"
        reason = both(reason, hidden)
    return visible, reason


def detect_others(environ: Mapping[str, str], root: str = "/") -> tuple[tuple[Gpu, ...], str]:
    """GPUs of other makers than NVIDIA: AMD's, by the kernel's list, or the one of an Apple chip; and why there are not more."""
    if os.path.isdir(os.path.join(root, "sys/class/kfd/kfd/topology/nodes")):
        from fasttune.devices.amd_gpus import detect_amd

        return detect_amd(environ, root)
    if sys.platform == "darwin" and os.uname().machine == "arm64":
        return (Gpu("apple-gpu", "Apple GPU", maker="apple"),), ""
    return (), ""


# ------------------------------------------------------------------------------------------------- NVML


def _read_nvml() -> tuple[tuple[Gpu, ...], str]:
    """Every device that the driver knows, in PCI order."""
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
    gpus: list[Gpu] = []
    reasons = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            whole = _read_device(nvml, handle, index)
            slices = _read_slices(nvml, handle, whole)
        except nvml.NVMLError as error:
            reasons.append(f"GPU {index} skipped: {_nvml_text(error)}")
            continue
        if slices == []:
            reasons.append(f"GPU {index} skipped: it is in MIG mode and has no slices (nvidia-smi mig -cgi makes some)")
        gpus.extend([whole] if slices is None else slices)
    return tuple(gpus), "; ".join(reasons) or ("" if gpus else "the NVIDIA driver knows no GPU")


def _read_device(nvml: Any, handle: Any, index: int) -> Gpu:
    """A GPU with its UUID, without which nobody can be sent to it, and what else the driver tells."""
    uuid = _text(nvml.nvmlDeviceGetUUID(handle))
    pci, numa = "", None
    cpus: tuple[int, ...] = ()
    with suppress(nvml.NVMLError):
        cpus = _mask_bits(nvml.nvmlDeviceGetCpuAffinity(handle, SMALLEST_MASK))
    with suppress(nvml.NVMLError):
        pci = _text(nvml.nvmlDeviceGetPciInfo(handle).busId)
    with suppress(nvml.NVMLError, AttributeError):  # older releases of the package do not ask for it
        numa = int(nvml.nvmlDeviceGetNumaNodeId(handle))
    return Gpu(uuid, *_named(nvml, handle, index), cpus=cpus, pci=pci, numa=numa)


def _named(nvml: Any, handle: Any, index: int) -> tuple[str, int, int]:
    """Name, place and bytes of memory of a device."""
    name, memory = "NVIDIA GPU", 0
    with suppress(nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        name = _text(nvml.nvmlDeviceGetName(handle))
    with suppress(nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    return name, index, memory


def _read_slices(nvml: Any, handle: Any, whole: Gpu) -> list[Gpu] | None:
    """The slices of a GPU in MIG mode; None for one that is in no such mode. A slice lies where its GPU does."""
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
        most = int(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)) if current else 0
    except nvml.NVMLError:  # a GPU that cannot be cut
        return None
    if not current:
        return None
    slices = []
    for k in range(most):
        with suppress(nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument):  # so many are not cut
            one = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, k)
            uuid = _text(nvml.nvmlDeviceGetUUID(one))
            named = _named(nvml, one, whole.index)
            slices.append(Gpu(uuid, *named, cpus=whole.cpus, parent=whole.uuid, pci=whole.pci, numa=whole.numa))
    return slices


def _mask_bits(words: Iterable[int]) -> tuple[int, ...]:
    return tuple(64 * at + bit for at, word in enumerate(words) for bit in range(64) if word >> bit & 1)


def _text(value: str | bytes) -> str:
    """Older releases of the package answer in bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _nvml_text(error: Any) -> str:
    return f"{error} (NVML error {error.value})"


# --------------------------------------------------------------------------------------- which of them


def visible_gpus(all_gpus: Sequence[Gpu], value: str | None) -> tuple[Gpu, ...]:
    """The GPUs that a CUDA_VISIBLE_DEVICES of `value` leaves, in its order, by CUDA's rules.

    None: all. Entries are indices in PCI order, UUIDs or beginnings of a UUID that fit one device only; of a GPU that is cut
    into slices all of them. An entry that names no device hides itself and everything after it; a device named twice hides all.
    """
    if value is None:
        return tuple(all_gpus)
    visible: list[Gpu] = []
    for entry in value.split(","):
        named = gpus_named(all_gpus, entry.strip())
        if not named:
            break
        if any(gpu in visible for gpu in named):
            return ()
        visible += named
    return tuple(visible)


def gpus_named(gpus: Sequence[Gpu], entry: str | int) -> list[Gpu]:
    """The device of an index in PCI order, of a UUID or of the beginning of one; of a GPU that is cut its slices. [] if that is
    none, or not exactly one."""
    if isinstance(entry, int) or entry.isdecimal():
        return [gpu for gpu in gpus if gpu.index == int(entry)] if len(str(entry)) <= 18 else []
    if entry.startswith("MIG-"):
        fitting = [gpu for gpu in gpus if gpu.is_slice and gpu.uuid.startswith(entry)]
        return fitting if len(fitting) == 1 else []
    if not entry.startswith("GPU-"):
        return []
    fitting = [gpu for gpu in gpus if (gpu.parent or gpu.uuid).startswith(entry)]
    return fitting if len({gpu.parent or gpu.uuid for gpu in fitting}) == 1 else []


def choose_gpus(visible: Sequence[Gpu], gpus: Sequence[int | str] | None) -> tuple[Gpu, ...]:
    """The GPUs of run(gpus=[...]): int k is the k-th visible one, a string a UUID or its beginning (of a GPU that is cut: all
    its slices)."""
    if gpus is None:
        return tuple(visible)
    if isinstance(gpus, (str, int)):
        raise TypeError(f"gpus must be a list of indices or UUIDs, got {gpus!r}; one GPU is [{gpus!r}]")
    chosen: list[Gpu] = []
    for wanted in gpus:
        for gpu in _choose_gpu(visible, wanted):
            if gpu in chosen:
                raise ValueError(f"gpus={list(gpus)!r} names {gpu.uuid} twice")
            chosen.append(gpu)
    return tuple(chosen)


def _choose_gpu(visible: Sequence[Gpu], wanted: int | str) -> Sequence[Gpu]:
    if isinstance(wanted, bool) or not isinstance(wanted, (int, str)):
        raise TypeError(f"gpus must hold indices (int) or UUIDs (str), got {wanted!r}")
    if isinstance(wanted, int):
        if 0 <= wanted < len(visible):
            return [visible[wanted]]
    elif wanted and not wanted.isdecimal():  # a text of digits is no place
        alike = [gpu for gpu in visible if gpu.uuid.startswith(wanted)]
        if fitting := gpus_named(visible, wanted) or (alike if len(alike) == 1 else []):
            return fitting
    if not visible:
        raise ValueError(
            f"gpus names {wanted!r}, and there is no GPU that this process sees. Usual cause: CUDA_VISIBLE_DEVICES, or a container "
            "that was given none; `fasttune doctor` says what there is"
        )
    there = ", ".join(f"{k}: {gpu.uuid} ({gpu.name})" for k, gpu in enumerate(visible))
    raise ValueError(f"gpus names {wanted!r}, which is not exactly one of the visible GPUs; there is {there}")
