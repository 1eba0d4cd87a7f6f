"""What the kernel says of processes: whether one runs, whose child it is, which come from it. Where there is no /proc (macOS), what
signals can tell."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import NamedTuple

GENERATIONS = 1000  # that are looked back for an ancestor


class ProcessState(NamedTuple):
    """What a process is doing, and where it belongs (``/proc/PID/stat``, see proc(5))."""

    state: str  # "R", "S", "T" (stopped), "Z" (has ended, and waits to be collected), ...
    parent: int
    group: int


def read_small(path: str) -> bytes:
    """A small file of the system; empty if it is not there, or its process ends meanwhile."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


def standing_of(pid: int) -> ProcessState | None:
    """None if there is no such process, or no /proc that knows."""
    words = read_small(f"/proc/{pid}/stat").rpartition(b")")[2].split()  # its name, in parentheses, may hold anything
    return ProcessState(words[0].decode("ascii", "replace"), int(words[1]), int(words[2])) if len(words) > 2 else None


def is_running(pid: int) -> bool:
    """Whether there is such a process; one that only waits to be collected has ended."""
    if os.path.isdir("/proc/self"):
        found = standing_of(pid)
        return found is not None and found.state not in ("Z", "X")
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def descends_from(pid: int, ancestors: Collection[int]) -> bool:
    """Whether a process is one of these, or comes from one whose children still have it for their parent."""
    for _ in range(GENERATIONS):
        if pid in ancestors:
            return True
        found = standing_of(pid)
        if found is None or found.parent <= 1:
            return found is not None and found.parent in ancestors
        pid = found.parent
    return False


def family(*pids: int) -> list[int]:
    """These processes and all that descend from them, as far as their parents live."""
    found = list(pids)
    for pid in found:  # it grows meanwhile
        found += children_of(pid)
    return found


def children_of(pid: int) -> list[int]:
    """The child processes of all threads of a process; none where the kernel has no list."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for task in tasks:
        found += map(int, read_small(f"/proc/{pid}/task/{task}/children").split())
    return found


def orphans(server: int, workers: Collection[int]) -> dict[int, list[int]]:
    """Processes whose parent has ended, by the worker whose process group they are in: they have become the server's."""
    found: dict[int, list[int]] = {}
    for pid in children_of(server):
        if pid not in workers and (told := standing_of(pid)) is not None:
            found.setdefault(told.group, []).append(pid)
    return found
