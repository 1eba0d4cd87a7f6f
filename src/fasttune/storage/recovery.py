"""What the dead left behind: the lock of an experiment, and the rings of processes that were killed.

A report that returned is in a ring file of the experiment's folder until a commit of the journal holds it. Whoever opens
the experiment next moves what is still there into the journal. The lock is the kernel's (flock): it ends with its process.
"""

from __future__ import annotations

import os
import time
import warnings
from typing import Any

from fasttune import _core
from fasttune.error import ExperimentLockedError
from fasttune.storage.base import Entry, Storage

LOCK_FILE = ".lock"
DYING_S = 3.0  # a worker ends with its driver; this much later it is not waited for any more
PATIENCE_S = 1.0  # for a process that has the lock and has not said who it is
RINGS = "rings"
HEADER = 4096  # bytes before a ring's records


class ExperimentLock:
    """The right to write an experiment. Raises ExperimentLockedError, at once, naming the process that writes it.

    A process that only tidies up (``reading``) has it for moments; those are waited for.
    """

    def __init__(self, folder: str, *, reading: bool = False) -> None:
        self._path = os.path.join(folder, LOCK_FILE)
        self._file: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + (0.0 if reading else PATIENCE_S)
        while not self._take():
            owner = self._owner()
            if owner or time.monotonic() >= deadline:
                self.release()
                raise ExperimentLockedError(
                    f"the experiment at {folder!r} is being written by process {owner or 'unknown'}: "
                    "wait for it, stop it, or give this run another name"
                )
            time.sleep(0.002)
        os.ftruncate(self._file, 0)
        if not reading:
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def _take(self) -> bool:
        import fcntl

        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _owner(self) -> int:
        """The living process that has written its number, 0 when it has not yet."""
        assert self._file is not None
        text = os.pread(self._file, 32, 0)
        if not text.endswith(b"\n") or not text.strip().isdigit():
            return 0
        try:
            os.kill(int(text), 0)
        except ProcessLookupError:  # a killed one's; the new owner is about to write its own
            return 0
        except PermissionError:
            pass
        return int(text)

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def ring_path(folder: str, source: int) -> str:
    """File of the ring of one source."""
    return os.path.join(folder, RINGS, f"{source}.ring")


def ring_sources(folder: str) -> list[int]:
    """Sources whose ring files exist, oldest first."""
    try:
        names = os.listdir(os.path.join(folder, RINGS))
    except FileNotFoundError:
        return []
    return sorted(int(name[:-5]) for name in names if name.endswith(".ring") and name[:-5].isdigit())


def recover_rings(folder: str, storage: Storage) -> int:
    """Move what killed processes left in their rings into the journal; bytes moved. The caller holds the lock."""
    sources = ring_sources(folder)
    positions = storage.positions() if sources else {}
    moved = 0
    for source in sources:
        path = ring_path(folder, source)
        with open(path, "r+b") as file:
            _wait_for_writer(file.fileno())
            entries = _left_in(path, file.fileno(), source, positions.get(source, 0))
            if entries:
                storage.append(entries)
                moved += sum(len(data) for _, _, data in entries)
            os.unlink(path)
    _remove_rest(os.path.join(folder, RINGS))
    return moved


def _wait_for_writer(fd: int) -> None:
    """Wait until no other process writes this ring: a worker holds the kernel's lock on its file until it is dead, which
    may be moments after its driver."""
    import fcntl

    deadline = time.monotonic() + DYING_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.001)
        except OSError:  # a file system without locks
            return


def _left_in(path: str, fd: int, source: int, position: int) -> list[Entry]:
    """Records of a ring's file that the journal does not hold; what is damaged is warned of and left out."""
    try:
        memory = _contents(fd)
        if not any(memory[:64]):
            return []  # its process was killed before it began
        ring = _core.Ring(memory)
        ring.rewind(position)
    except (ValueError, OSError) as error:
        _warn(f"the ring {path} cannot be read ({error}); its last reports are lost")
        return []
    entries: list[Entry] = []
    while (data := ring.take()) is not None:
        whole = bytes(data)
        n = _core.whole_records(whole)
        entries.append((source, ring.position, whole[:n]))
        if n < len(whole):
            _warn(f"the ring {path} is damaged at byte {ring.position - len(whole) + n}; what comes after is lost")
            break
    return entries


def _contents(fd: int) -> bytearray:
    """The bytes of the file that are the ring of reports: its header tells how many."""
    head = os.pread(fd, HEADER, 0)
    capacity = int.from_bytes(head[8:16], "little")
    if capacity > os.fstat(fd).st_size:
        raise ValueError(f"its header speaks of {capacity} bytes, the file has {os.fstat(fd).st_size}")
    return bytearray(head + os.pread(fd, capacity, HEADER))


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=4)


def _remove_rest(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


