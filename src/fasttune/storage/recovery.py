"""What the dead left behind: the lock of an experiment, and the rings of processes that were killed.

A report that returned is in a ring file of the experiment's folder until a commit of the journal holds it.
Whoever opens the experiment next moves what is still there into the journal. The lock is the kernel's
(flock): it ends with its process.
"""

from __future__ import annotations

import os
import warnings

from fasttune import _core
from fasttune.error import ExperimentLockedError
from fasttune.storage.base import Entry, Storage

LOCK_FILE = ".lock"
RINGS = "rings"
HEADER = 4096  # bytes before a ring's records


class ExperimentLock:
    """The right to write an experiment. Raises ExperimentLockedError naming the process that has it."""

    def __init__(self, folder: str) -> None:
        import fcntl

        self._path = os.path.join(folder, LOCK_FILE)
        self._file: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            self._file = None
            raise ExperimentLockedError(
                f"the experiment at {folder!r} is being written by process {owner}: "
                "wait for it, stop it, or give this run another name"
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

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
    """Move what killed processes left in their rings into the journal; bytes moved. The caller has the lock.

    What a ring holds goes on from where the journal ends. Behind a damaged entry of the journal there is no
    such place, and the rings are given up. OSError (no memory, no space, no right) leaves the rings that
    were not yet moved as they are.
    """
    sources = ring_sources(folder)
    damaged = bool(sources) and storage.mend()
    positions = storage.positions() if sources else {}
    moved = 0
    for source in sources:
        path = ring_path(folder, source)
        if damaged:
            _warn_of(path, "the journal before it is damaged")
        elif entries := _left_in(path, source, positions.get(source, 0)):
            storage.append(entries)
            moved += sum(len(data) for _, _, data in entries)
        os.unlink(path)
    _remove_rest(os.path.join(folder, RINGS))
    return moved


def _left_in(path: str, source: int, position: int) -> list[Entry]:
    """What the ring of a file holds from ``position`` on, up to the first damaged record."""
    import mmap

    with open(path, "r+b") as file:
        if os.fstat(file.fileno()).st_size < HEADER:
            return []  # killed before the ring was made
        memory = mmap.mmap(file.fileno(), 0)  # unmapped with its last user
    if not any(memory[:HEADER]):
        return []
    capacity = int.from_bytes(memory[8:16], "little")
    entries: list[Entry] = []
    try:
        ring = _core.Ring(memoryview(memory)[: HEADER + capacity])
        ring.rewind(position)
        while (data := ring.take()) is not None:
            _core.decode(data)  # what is damaged here must not make the journal unreadable
            entries.append((source, ring.position, bytes(data)))
    except (ValueError, OverflowError) as error:
        _warn_of(path, str(error))
    return entries


def _warn_of(path: str, why: str) -> None:
    warnings.warn(
        f"the ring {path} cannot be read ({why}); its last reports are lost", RuntimeWarning, stacklevel=3
    )


def _remove_rest(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
