"""What the dead left behind: the lock of an experiment, and the rings of processes that were killed.

A report that returned is in a ring file of the experiment's folder until a commit of the journal holds it.
Whoever opens the experiment next moves what is still there into the journal. The lock is the kernel's
(flock): it ends with its process.
"""

from __future__ import annotations

import errno
import os
import time
import warnings
from contextlib import suppress

from fasttune import _core
from fasttune.error import ExperimentLockedError
from fasttune.storage.base import Entry, Held, Key, Storage

LOCK_FILE = ".lock"
DYING_S = 3.0  # a worker ends with its driver; this much later it is not waited for any more
PATIENCE_S = 1.0  # for a process that has the lock and has not said who it is
RINGS = "rings"
HEADER = 4096  # bytes before a ring's records


class ExperimentLock:
    """The right to write an experiment. Raises ExperimentLockedError, at once, naming the process that writes it.

    A process that only tidies up (``reading``) has it for moments; those are waited for. FileNotFoundError when the
    folder, or the lock's file in it, has just been removed.
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
        if not self._is_named():
            self.release()
            raise FileNotFoundError(errno.ENOENT, "the lock was removed by the process that had it", self._path)
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

    def _is_named(self) -> bool:
        """The file that is locked is the one that others will lock."""
        assert self._file is not None
        try:
            named, locked = os.stat(self._path), os.fstat(self._file)
        except OSError:
            return False
        return (named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino)

    @property
    def held(self) -> bool:
        """It was not released yet."""
        return self._file is not None

    def remove(self) -> None:
        """Remove the file while it is locked: of an experiment that was not begun."""
        with suppress(FileNotFoundError):
            os.unlink(self._path)

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:  # of a run that was set up and not carried out
            self.release()


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
        with open(path, "r+b") as file:
            _wait_for_writer(file.fileno())
            if damaged:
                _warn_of(path, "the journal before it is damaged")
            elif entries := _left_in(path, file.fileno(), source, positions.get(source, 0)):
                stripped, checkpoints = without_checkpoints(entries)
                storage.append(stripped, checkpoints)
                moved += sum(len(data) for _, _, data in entries)
            os.unlink(path)
    _remove_rest(os.path.join(folder, RINGS))
    return moved


def without_checkpoints(entries: list[Entry]) -> tuple[list[Entry], list[Held]]:
    """Entries as the journal takes them, and the checkpoints in memory that were in them: stored apart, so that the
    journal does not grow with those that are not kept."""
    stripped: list[Entry] = []
    checkpoints: dict[Key, bytes] = {}
    for source, position, data in entries:
        rest, held = _core.without_held(data)
        stripped.append((source, position, rest))
        checkpoints.update({(trial, step): saved for trial, step, saved in held})
    return stripped, [(trial, step, saved) for (trial, step), saved in checkpoints.items()]


def _wait_for_writer(fd: int) -> None:
    """Wait until no other process writes this ring: a worker holds the kernel's lock on its file until it is dead,
    which may be moments after its driver."""
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
    """What the ring of a file holds from ``position`` on, up to the first damaged record."""
    import mmap

    if os.fstat(fd).st_size < HEADER:
        return []  # killed before the ring was made
    memory = mmap.mmap(fd, 0)  # unmapped with its last user
    if not any(memory[:HEADER]):
        return []
    capacity = int.from_bytes(memory[8:16], "little")
    entries: list[Entry] = []
    try:
        ring = _core.Ring(memoryview(memory)[: HEADER + capacity])
        ring.rewind(position)
        while (data := ring.take()) is not None:
            whole = bytes(data)
            n = _core.whole_records(whole)
            if n:
                entries.append((source, ring.position, whole[:n]))
            if n < len(whole):
                _warn_of(path, f"it is damaged at byte {ring.position - len(whole) + n}")
                break
    except (ValueError, OverflowError) as error:
        _warn_of(path, str(error))
    return entries


def _warn_of(path: str, why: str) -> None:
    warnings.warn(
        f"the ring {path} cannot be read ({why}); its last reports are lost", RuntimeWarning, stacklevel=3
    )


def _remove_rest(folder: str) -> None:
    if os.path.isdir(folder):
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
