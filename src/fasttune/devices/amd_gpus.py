"""AMD's GPUs, as the kernel's driver lists them (no library of ROCm is needed), and which of them masks leave.

ROCR_VISIBLE_DEVICES filters first, by place or UUID; HIP_VISIBLE_DEVICES (or CUDA_VISIBLE_DEVICES, which HIP takes too) counts
among what is left.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from fasttune.devices.cgroups import cpu_list, read
from fasttune.devices.gpu import Gpu, both

NODES = "sys/class/kfd/kfd/topology/nodes"
DISCRETE = (1, 2)  # kinds of memory that is a GPU's own


def detect_amd(environ: Mapping[str, str], root: str = "/") -> tuple[tuple[Gpu, ...], str]:
    """The GPUs that this process may use, and why there are not more."""
    present = tuple(_read_nodes(root))
    if not present:
        return (), ""
    visible, reason = present, ""
    for name in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES" if "HIP_VISIBLE_DEVICES" in environ else "CUDA_VISIBLE_DEVICES"):
        if name not in environ:
            continue
        before, visible = visible, _left_by(visible, environ[name])
        if len(visible) < len(before):
            reason = both(reason, f"{name}={environ[name]!r} hides {len(before) - len(visible)} of {len(before)} GPUs")
    return visible, reason


def _read_nodes(root: str) -> list[Gpu]:
    """Every node that computes and is no CPU, in the driver's order."""
    numbers = sorted(int(name) for name in os.listdir(os.path.join(root, NODES)) if name.isdecimal())
    gpus: list[Gpu] = []
    for number in numbers:
        told = _properties(root, f"{NODES}/{number}/properties")
        if told.get("simd_count", 0) > 0:
            gpus.append(_gpu(root, f"{NODES}/{number}", told, len(gpus)))
    return gpus


def _gpu(root: str, node: str, told: Mapping[str, int], index: int) -> Gpu:
    device = f"sys/class/drm/renderD{told.get('drm_render_minor', 0)}/device"
    unique, place = told.get("unique_id", 0), told.get("location_id", 0)
    numa = read(root, f"{device}/numa_node")
    vram = os.path.join(root, device, "mem_info_vram_used")
    return Gpu(
        f"GPU-{unique:016x}" if unique else f"AMD-{index}",  # older ones have no name for life
        read(root, f"{device}/product_name") or read(root, f"{node}/name") or "AMD GPU",
        index,
        _memory(root, node),
        cpus=tuple(sorted(cpu_list(read(root, f"{device}/local_cpulist")))),
        pci=f"{told.get('domain', 0):04x}:{place >> 8 & 0xFF:02x}:{place >> 3 & 0x1F:02x}.{place & 7}" if place else "",
        numa=int(numa) if numa.isdecimal() else None,
        maker="amd",
        vram=vram if os.path.exists(vram) else "",
    )


def _memory(root: str, node: str) -> int:
    banks = os.path.join(root, node, "mem_banks")
    told = [_properties(root, f"{node}/mem_banks/{name}/properties") for name in (os.listdir(banks) if os.path.isdir(banks) else ())]
    return sum(one.get("size_in_bytes", 0) for one in told if one.get("heap_type") in DISCRETE)


def _properties(root: str, name: str) -> dict[str, int]:
    """The lines "name number" of a file."""
    pairs = (line.split() for line in read(root, name).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _left_by(gpus: Sequence[Gpu], mask: str) -> tuple[Gpu, ...]:
    """What a mask leaves, in its order: places among these, or UUIDs. What names none hides itself and all behind it."""
    left: list[Gpu] = []
    for entry in map(str.strip, mask.split(",")):
        named = [gpu for at, gpu in enumerate(gpus) if entry in (str(at), gpu.uuid)]
        if not named or named[0] in left:
            break
        left += named
    return tuple(left)


def memory_used(file: str) -> int | None:
    """Bytes of a GPU's memory that anybody uses; None: the driver does not say."""
    text = read("/", file.lstrip("/"))
    return int(text) if text.isdecimal() else None
