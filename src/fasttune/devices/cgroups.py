"""The control groups of this process: where their files are, whom the kernel killed there for lack of memory, and how
many processes there may be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

MOST_CPUS = 1 << 16  # no system counts further
READ_BYTES = 1 << 14
UNLIMITED = 1 << 60  # bytes; cgroup v1 writes no limit as a number of about 2**63


class ControlGroups:
    """Where the limits of this process are written, looked up once. ``root`` is where /proc and /sys are read from."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._lines = read(root, "proc/self/cgroup").splitlines()
        self._found: dict[str, list[str]] = {}

    def folders(self, controller: str) -> list[str]:
        """The folders of a controller, innermost first; controller "" is cgroup v2.

        Limits of outer groups bind too. Inside a container /proc/self/cgroup often names a folder of the host
        that does not exist here; then the walk outwards ends at the container's own limits.
        """
        if controller not in self._found:
            self._found[controller] = list(self._walk(controller))
        return self._found[controller]

    def _walk(self, controller: str) -> Iterator[str]:
        for line in self._lines or [f"0:{controller}:/"]:
            if line.count(":") < 2:
                continue
            _, names, path = line.split(":", 2)
            if controller not in names.split(","):
                continue
            parts = [part for part in path.split("/") if part not in ("", "..")]
            mounts = (names, controller) if controller else ("", "unified")
            for mount in dict.fromkeys(mounts):
                for depth in range(len(parts), -1, -1):
                    folder = os.path.join(self._root, "sys/fs/cgroup", mount, *parts[:depth])
                    if os.path.isdir(folder):
                        yield folder


def read(folder: str, name: str) -> str:
    """The text of a small system file, "" if it cannot be read."""
    # each run reads a dozen of them: a text file of Python's costs as much again as the system's own calls
    with suppress(OSError):
        fd = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            pieces = list(iter(lambda: os.read(fd, READ_BYTES), b""))
        finally:
            os.close(fd)
        return b"".join(pieces).decode("utf-8", "replace").strip()
    return ""


def cpu_list(text: str) -> set[int]:
    """The ids in "0-3,8"; empty if it is written in another way."""
    cpus: set[int] = set()
    for part in text.split(",") if text else ():
        begin, dash, end = part.partition("-")
        first, last = number_in(begin), number_in(end if dash else begin)
        if first is None or last is None or last >= MOST_CPUS:
            return set()
        cpus.update(range(first, last + 1))
    return cpus


def number_in(text: str) -> int | None:
    """A number of at most 18 digits, as the system writes them; None for everything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


class MemoryKills:
    """The processes of this process's control group that the kernel has killed for lack of memory, its own or that of a
    group around it. ``root`` is where /proc and /sys are read from.

    Only the innermost counter is read: it counts every victim of this group, whoever's limit was hit, and those of the
    groups around it count strangers as well. Where there is none, the machine's own count stands in.
    """

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._told = self._counts()  # less the kills that were told already

    @property
    def readable(self) -> bool:
        """Whether there is any counter."""
        return bool(self._told)

    def next_one(self) -> str | None:
        """What ran out when the next process was killed that has not been told of, in words. None if no counter has
        gone up: whoever died then, did not die of that."""
        risen = [place for place, count in self._counts().items() if count > self._told.get(place, count)]
        for place in risen:
            self._told[place] += 1
        if not risen:
            return None
        limit = self._limit()
        return "the machine's memory was used up" if limit is None else limit

    def _counts(self) -> dict[str, int]:
        counts = {}
        groups = ControlGroups(self._root)
        for controller, name in (("", "memory.events"), ("memory", "memory.oom_control")):
            for folder in groups.folders(controller):
                if (count := _field(read(folder, name), "oom_kill")) is not None:
                    counts[folder] = count
                    break
        if not counts and (count := _field(read(self._root, "proc/vmstat"), "oom_kill")) is not None:
            counts["/proc/vmstat"] = count
        return counts

    def _limit(self) -> str | None:
        """The tightest limit on this process's memory, in words."""
        limits = []
        groups = ControlGroups(self._root)
        for controller, name in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
            for folder in groups.folders(controller):
                text = read(folder, name)
                if text.isdecimal() and int(text) < UNLIMITED:
                    limits.append((int(text), folder))
        if not limits:
            return None
        size, folder = min(limits)
        return f"the cgroup's limit is {size / 2**20:.0f} MiB ({folder})"


def _field(text: str, name: str) -> int | None:
    """The number behind a name in lines of "name number"."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == name and words[1].isdecimal():
            return int(words[1])
    return None


def process_limits(root: str = "/") -> str:
    """What limits how many processes (threads count) there may be, in words: every limit that can be read."""
    import resource

    found = []
    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if most != resource.RLIM_INFINITY:
        found.append(f"RLIMIT_NPROC (ulimit -u) is {most} for this user")
    groups = ControlGroups(root)
    for controller in ("", "pids"):
        for folder in groups.folders(controller):
            limit, current = read(folder, "pids.max"), read(folder, "pids.current")
            if limit.isdecimal():
                found.append(f"pids.max of {folder} is {limit}" + (f" ({current} in use)" if current else ""))
    for name in ("pid_max", "threads-max"):
        if limit := read(root, f"proc/sys/kernel/{name}"):
            found.append(f"kernel.{name} is {limit}")
    return "; ".join(found) or "no limit on processes can be read"
