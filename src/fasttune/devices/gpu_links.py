"""How near GPUs lie to each other: by NVLink, or how far up in the tree of PCIe bridges they meet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations
from typing import TYPE_CHECKING, Any

from fasttune.devices.gpu_state import driver_open

if TYPE_CHECKING:
    from fasttune.devices.gpu import Gpu

Distances = tuple[tuple[int, ...], ...]  # by two positions; () where nobody says

NVLINK = -1
FARTHEST = 60  # farther than whatever the driver says: it says nothing of these two
LINK_NAMES = {
    NVLINK: "NVLink",
    0: "one board",
    10: "one PCIe switch",
    20: "several PCIe switches",
    30: "one PCIe host bridge",
    40: "one NUMA node",
    50: "across NUMA nodes",
}


def read_distances(gpus: Sequence[Gpu]) -> Distances:
    """For each two of these devices how far they are from each other (a key of ``LINK_NAMES``), as NVML says; () where it
    cannot be asked. Slices (MIG) have no links."""
    with driver_open() as nvml:
        if nvml is None:
            return ()
        handles = [None if gpu.is_slice else _handle(nvml, gpu) for gpu in gpus]
        far = [[0] * len(gpus) for _ in gpus]
        for i, j in combinations(range(len(gpus)), 2):
            far[i][j] = far[j][i] = _distance(nvml, handles[i], handles[j])
        return tuple(tuple(row) for row in far)


def _handle(nvml: Any, gpu: Gpu) -> Any:
    with suppress(nvml.NVMLError):
        return nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
    return None


def _distance(nvml: Any, one: Any, other: Any) -> int:
    if one is None or other is None:
        return FARTHEST
    with suppress(nvml.NVMLError, AttributeError):  # older releases of the package do not ask for it
        # also through a switch, behind which no link names the other GPU
        if nvml.nvmlDeviceGetP2PStatus(one, other, nvml.NVML_P2P_CAPS_INDEX_NVLINK) == nvml.NVML_P2P_STATUS_OK:
            return NVLINK
    with suppress(nvml.NVMLError):
        return int(nvml.nvmlDeviceGetTopologyCommonAncestor(one, other))
    return FARTHEST


def link_name(distance: int) -> str:
    """What lies between two GPUs, in words."""
    return LINK_NAMES.get(distance, f"PCIe level {distance}")


def described_links(gpus: Sequence[Gpu], distances: Distances) -> list[str]:
    """One line for each kind of link, the nearest first, with the GPUs' indices: "NVLink: 0-1, 2-3"."""
    pairs: dict[int, list[str]] = {}
    for i, j in combinations(range(len(distances)), 2):
        if distances[i][j] != FARTHEST:
            pairs.setdefault(distances[i][j], []).append(f"{gpus[i].index}-{gpus[j].index}")
    return [f"{link_name(distance)}: {', '.join(pairs[distance])}" for distance in sorted(pairs)]
