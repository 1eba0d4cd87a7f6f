"""Control groups for workers, where this process may make them: the kernel itself holds each to its memory (cgroup v2)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress

from fasttune.devices.cgroups import ControlGroups, number_in, read
from fasttune.processes import descends_from

OURS = "fasttune-"  # begins the names of groups that are made here
TRIES = 20  # to move what is in a group, which may fork meanwhile
SPARE = 16 << 20  # bytes: who takes memory slowly is ended by the run's own look, which can say how much it was

_lock = threading.Lock()
_open: dict[str, MemoryGroups] = {}  # by the root of /proc and /sys


class MemoryGroups:
    """One group for each worker, below the group of this process.

    Processes may lie in the leaves only ("no internal processes", the kernel's admin-guide/cgroup-v2). So those of this process's
    own group go into one beside the workers', and back when the last run has ended. That is done only in a group that a
    service manager has delegated ("user.delegate", systemd's CGROUP_DELEGATION), and that nobody else is in: of a driver that
    is killed the manager clears it away. All stay below the group that they were put into, with its limits.
    """

    def __init__(self, root: str, home: str, moves: bool) -> None:
        self.root = root
        self.users = 0  # runs
        self._home = home
        self._leaf = os.path.join(home, f"{OURS}{os.getpid()}") if moves else None
        self._held: dict[int, int] = {}  # worker -> bytes that it may have
        self._over: list[str] = []  # groups of workers that have ended, or are about to
        self._remove(
            os.path.join(home, name) for name in _names(home) if name.startswith(OURS)
        )  # of a driver that was killed
        if self._leaf is not None:
            try:
                os.mkdir(self._leaf)
                _move_all(home, self._leaf)
                _write(home, "cgroup.subtree_control", "+memory")
            except OSError:
                self._undo()
                raise

    def hold(self, worker: int, most: int) -> None:
        """From now on this process, and all that it starts, may have so many bytes. One that has ended, or that the kernel
        does not let be moved, is let be."""
        if self._held.get(worker) == most:
            return
        folder = self._folder(worker)
        try:
            if worker not in self._held:
                os.mkdir(folder)
                _write(folder, "memory.oom.group", "1")
            _write(folder, "memory.max", str(most + max(SPARE, most // 16)))
            if worker not in self._held:
                _write(folder, "cgroup.procs", str(worker))
        except OSError:
            with suppress(OSError):
                os.rmdir(folder)
        self._held[worker] = most

    def forget(self, worker: int) -> bool:
        """A worker has ended; whether the kernel has ended it for its memory."""
        if self._held.pop(worker, None) is None:
            return False
        folder = self._folder(worker)
        events = dict(line.split() for line in read(folder, "memory.events").splitlines())
        self._over = self._remove([*self._over, folder])
        return bool(number_in(events.get("oom_kill", "0")))

    def close(self) -> None:
        """A run has ended; with the last one the groups go."""
        with _lock:
            self.users -= 1
            if self.users == 0:
                _open.pop(self.root, None)
                for worker in list(self._held):
                    self.forget(worker)
                self._undo()

    def _undo(self) -> None:
        """What has not ended yet goes to where it came from."""
        self._over = self._remove(self._over)
        if self._leaf is None:
            return
        with suppress(OSError):
            _write(self._home, "cgroup.subtree_control", "-memory")
            for folder in (*self._over, self._leaf):
                _move_all(folder, self._home)
            self._remove([*self._over, self._leaf])

    def _remove(self, folders: Iterable[str]) -> list[str]:
        """Those that somebody lives in stay, and are returned."""
        left = []
        for folder in folders:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                left.append(folder)
        return left

    def _folder(self, worker: int) -> str:
        return os.path.join(self._home, f"{OURS}worker-{worker}")


def open_groups(root: str = "/") -> MemoryGroups | None:
    """The groups of this process's runs; None where it may not make any. ``root``: where /proc and /sys are read from."""
    with _lock:
        found = _open.get(root)
        if found is None:
            home = next(iter(ControlGroups(root).folders("")), None)
            if home is None or not _may_be_divided(home):
                return None
            divided = "memory" in read(home, "cgroup.subtree_control").split()
            if not divided and not (_is_delegated(home) and _is_ours_alone(home)):
                return None
            try:
                found = _open[root] = MemoryGroups(root, home, moves=not divided)
            except OSError:
                return None
        found.users += 1
        return found


def _may_be_divided(home: str) -> bool:
    """The group has the memory controller, and this user may make others below it."""
    if "memory" not in read(home, "cgroup.controllers").split():
        return False
    return all(os.access(os.path.join(home, name), os.W_OK) for name in ("", "cgroup.procs", "cgroup.subtree_control"))


def _is_delegated(home: str) -> bool:
    try:
        return os.getxattr(home, "user.delegate") == b"1"
    except (OSError, AttributeError):  # not on macOS
        return False


def _is_ours_alone(home: str) -> bool:
    """Nobody is in the group but this process and what has come of it."""
    pids = _pids(home)
    return os.getpid() in pids and all(descends_from(pid, [os.getpid()]) for pid in pids)


def _move_all(source: str, target: str) -> None:
    """OSError when the kernel refuses, or when ever more come."""
    for _ in range(TRIES):
        pids = _pids(source)
        if not pids:
            return
        for pid in pids:
            with suppress(ProcessLookupError):
                _write(target, "cgroup.procs", str(pid))
    raise OSError(f"{source} is not empty")


def _pids(folder: str) -> list[int]:
    return [pid for word in read(folder, "cgroup.procs").split() if (pid := number_in(word))]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _write(folder: str, name: str, text: str) -> None:
    fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _forget_in_child() -> None:
    _open.clear()


os.register_at_fork(after_in_child=_forget_in_child)
