"""Which GPUs a trial gets where a count of shares does not say it: by memory, and several that lie near each other.

Nothing here asks the driver: what is free and how far devices are from each other comes in, positions come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from math import comb
from typing import NamedTuple

from fasttune.devices.gpu_links import Distances

WHOLE = 10_000  # units of a GPU
POLICIES = ("pack", "spread", "close")
MOST_SETS = 5_000  # of devices that are compared one by one; beyond it, those that grow from each device


class GpuPart(NamedTuple):
    """What one bundle wants: so many devices, of each so many units and bytes of memory. No units: as large a share of the
    device as of its memory."""

    devices: int
    units: int
    memory: int

    def units_of(self, total: int) -> int:
        """Its share of a device with so many bytes. Rounded down: shares never add up to more than what they are of."""
        return self.units or max(1, self.memory * WHOLE // total)


class GpuLeft(NamedTuple):
    """What is left of a device: units, and bytes of its memory, of so many in all."""

    units: int
    memory: int
    total: int
    joinable: bool = True  # may be one of several of a trial

    def holds(self, part: GpuPart) -> bool:
        """Whether there is room for a part. Of a device whose memory nobody knows none can be promised."""
        if part.memory and not 0 < part.memory <= min(self.memory, self.total):
            return False
        return part.units_of(self.total) <= self.units


class GpuTaken(NamedTuple):
    """A device's position, and what a trial gets of it."""

    device: int
    units: int
    memory: int


def choose(parts: Iterable[GpuPart], left: Sequence[GpuLeft], policy: str, distances: Distances = ()) -> list[GpuTaken] | None:
    """The devices for all parts of one trial, each device once, or None if they do not fit now.

    A part of several devices gets the nearest that are free, under "close" none but the nearest that there could be. A share
    goes to the device with least left ("spread": with most left).
    """
    rest = list(left)
    parts = list(parts)
    several = sum(part.devices for part in parts) > 1
    chosen: dict[int, GpuTaken] = {}
    for part in parts:
        fitting = [k for k, one in enumerate(rest) if one.holds(part) and (one.joinable or not several)]
        devices = _for_part(part, fitting, rest, policy, distances)
        if devices is None:
            return None
        for k in devices:
            taken = GpuTaken(k, part.units_of(rest[k].total), part.memory)
            rest[k] = rest[k]._replace(units=rest[k].units - taken.units, memory=rest[k].memory - taken.memory)
            before = chosen.get(k, GpuTaken(k, 0, 0))
            chosen[k] = GpuTaken(k, before.units + taken.units, before.memory + taken.memory)
    return list(chosen.values())


def _for_part(
    part: GpuPart, fitting: Sequence[int], left: Sequence[GpuLeft], policy: str, distances: Distances
) -> Sequence[int] | None:
    if len(fitting) < part.devices:
        return None
    if part.devices > 1:
        return nearest(part.devices, fitting, [k for k, one in enumerate(left) if one.joinable], policy == "close", distances)
    if part.units == WHOLE:  # large ones are left to those who need them
        return [min(fitting, key=lambda k: (left[k].total if part.memory else 0, k))]
    sign = -1 if policy == "spread" else 1
    return [min(fitting, key=lambda k: (sign * left[k].units, sign * left[k].memory, k))]


# ---- near each other


def nearest(
    count: int, free: Sequence[int], all_devices: Sequence[int], insists: bool, distances: Distances
) -> Sequence[int] | None:
    """So many of the free devices, the nearest to each other: those whose farthest two are nearest, then with the least sum. Of sets
    alike, the one that leaves the fewest as near beside it, so that they stay together for others; then the first.

    Args:
        insists: None rather than a set that is farther apart than the nearest of all devices.
    """
    if not distances:
        return free[:count]
    best = min(_sets(count, free, distances), key=lambda one: (*_spread_of(one, distances), _left_near(one, free, distances), one))
    if insists and len(free) < len(all_devices):
        ideal = min(_spread_of(one, distances) for one in _sets(count, all_devices, distances))
        if _spread_of(best, distances) > ideal:
            return None
    return best


def _spread_of(devices: Sequence[int], distances: Distances) -> tuple[int, int]:
    """The farthest two, and the sum: work that is shared waits for its slowest link."""
    pairs = [distances[i][j] for i, j in combinations(devices, 2)]
    return max(pairs), sum(pairs)


def _left_near(devices: Sequence[int], free: Sequence[int], distances: Distances) -> int:
    """How many of the free devices that are not taken are as near to one that is."""
    farthest, _ = _spread_of(devices, distances)
    return sum(any(distances[k][i] <= farthest for i in devices) for k in free if k not in devices)


def _sets(count: int, devices: Sequence[int], distances: Distances) -> Iterable[tuple[int, ...]]:
    """All sets of so many devices; where these are too many, for each device the one that grows from it by the nearest."""
    if comb(len(devices), count) <= MOST_SETS:
        return combinations(devices, count)
    return [_grown(first, count, devices, distances) for first in devices]


def _grown(first: int, count: int, devices: Sequence[int], distances: Distances) -> tuple[int, ...]:
    grown = [first]
    while len(grown) < count:
        others = (k for k in devices if k not in grown)
        grown.append(min(others, key=lambda k: (max(distances[k][i] for i in grown), sum(distances[k][i] for i in grown), k)))
    return tuple(sorted(grown))
