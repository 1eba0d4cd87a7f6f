"""How much memory this process may still take, before the machine or a control group has none left."""

from __future__ import annotations

from collections.abc import Iterable

from fasttune.argument import other_unit
from fasttune.devices.cgroups import UNLIMITED, ControlGroups, read

LEAST_MEMORY = 6 << 20  # bytes: an interpreter that has loaded nothing but what runs trials has 7 MiB that are its own

# of each version: its limit, what is in use, and what of that the kernel takes back when it needs it (of memory.stat)
_FILES = (
    ("", "memory.max", "memory.current", ("inactive_file", "active_file")),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
)


def check_worker_memory(asked: Iterable[float]) -> None:
    """Refuses amounts of memory for trials of which one is less than a worker process has by itself.

    Raises:
        ValueError: names it.
    """
    least = min((size for size in asked if size), default=LEAST_MEMORY)
    if least < LEAST_MEMORY:
        raise ValueError(
            f"resource 'memory' must be at least {LEAST_MEMORY >> 20} MiB (it is all that a trial may have, its worker process "
            f"included, which has more by itself), got {least:g}: {other_unit(least)}"
        )


def free_memory(root: str = "/") -> int:
    """Bytes of memory that are free, or can be made so by forgetting what was read from files. ``root`` is where /proc and /sys
    are read from."""
    found = [_free_in_machine(root)]
    groups = ControlGroups(root)
    for controller, limit_name, used_name, cached in _FILES:
        for folder in groups.folders(controller):
            limit, used = read(folder, limit_name), read(folder, used_name)
            if limit.isdecimal() and used.isdecimal() and int(limit) < UNLIMITED:
                counts = dict(line.split()[:2] for line in read(folder, "memory.stat").splitlines() if " " in line)
                found.append(int(limit) - int(used) + sum(int(counts.get(name, 0)) for name in cached))
    return max(0, min(found))


def _free_in_machine(root: str) -> int:
    for line in read(root, "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    import psutil  # type: ignore[import-untyped, unused-ignore]

    return int(psutil.virtual_memory().available)
