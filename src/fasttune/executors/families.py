"""Which processes come from a worker, as the kernel lists them."""

from __future__ import annotations

import os


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


def orphans(server: int, workers: set[int]) -> dict[int, list[int]]:
    """Processes whose parent has ended, by the worker whose process group they are in: they have become the server's."""
    found: dict[int, list[int]] = {}
    for pid in children_of(server):
        if pid not in workers and (words := read_small(f"/proc/{pid}/stat").rpartition(b")")[2].split()):
            found.setdefault(int(words[2]), []).append(pid)
    return found


def read_small(path: str) -> bytes:
    """A small file of the system; empty if it is not there, or its process ends meanwhile."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""
