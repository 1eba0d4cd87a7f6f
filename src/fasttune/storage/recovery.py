"""What the dead left behind: the lock of an experiment, and the rings of processes that were killed.

A report that returned is in a ring file of the experiment's folder until a commit of the journal holds it.
Whoever looks at the experiment finds it there; whoever goes on with it folds it, and stores what fits. The lock is the
kernel's (flock): it ends with its process.
"""

from __future__ import annotations

import errno
import os
import time
import warnings
from contextlib import suppress

from fasttune import _core
from fasttune.error import ExperimentLockedError
from fasttune.storage.base import Entry, Key, Storage

LOCK_FILE = ".lock"
DYING_S = 3.0  # a worker ends with its driver; this much later it is not waited for any more
PATIENCE_S = 1.0  # for a process that has the lock and has not said who it is
RINGS = "rings"
HEADER = 4096  # bytes before a ring's records
LARGEST_FILE = 1 << 26  # bytes of a ring's file that are looked at; ours are a tenth of that


_held: set[int] = set()  # locks of this process


def _let_go_in_child() -> None:
    """A process that is forked while an experiment is written, by a trial for instance, does not keep it locked."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go_in_child)


class ExperimentLock:
    """The right to write an experiment. Raises ExperimentLockedError, at once, naming the process that writes it.

    A process that only looks whether somebody writes has it for moments; those are waited for. FileNotFoundError when the
    folder, or the lock's file in it, has just been removed.
    """

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, LOCK_FILE)
        self._file: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + PATIENCE_S
        while not self._take():
            owner = _number_in(self._file)
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
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        _held.add(self._file)

    def _take(self) -> bool:
        import fcntl

        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

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
        return self._file is not None and self._file in _held

    def remove(self) -> None:
        """Remove the file while it is locked: of an experiment that was not begun."""
        with suppress(FileNotFoundError):
            os.unlink(self._path)

    def release(self) -> None:
        if self._file is not None:
            if self.held:  # whoever comes next does not read our number while a forked child is still closing its copy
                os.ftruncate(self._file, 0)
            _held.discard(self._file)
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        if getattr(self, "_file", None) in _held:  # of a run that was set up and not carried out; not in a forked child
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


def read_rings(folder: str, positions: dict[int, int], *, quiet: bool = False, wait: bool = False) -> list[Entry]:
    """What the rings of a folder hold behind these positions, oldest ring first. Writes nothing.

    Warns of what cannot be read, unless ``quiet``: somebody writes just now. With ``wait`` a worker that outlives its
    driver by moments is waited for.
    """
    entries: list[Entry] = []
    for source in ring_sources(folder):
        path = ring_path(folder, source)
        try:
            with open(path, "rb") as file:
                if wait:
                    _wait_for_writer(file.fileno())
                memory = file.read(LARGEST_FILE + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            _warn_of(path, str(error))
        else:
            if not any(memory[:HEADER]):
                continue  # killed before the ring was made
            found, why = _core.read_ring(memory, positions.get(source, 0))
            entries += [(source, behind, data) for behind, data in found]
            if why and not quiet:
                _warn_of(path, why)
    return entries


def recover_rings(folder: str, storage: Storage) -> int:
    """Move what is left in the rings into the journal, unread; bytes moved. For a run that an error has ended: whoever
    reads the journal finds out what fits. OSError (no memory, no space, no right) leaves the rings as they are.
    """
    entries: list[Entry] = []
    checkpoints: dict[Key, bytes] = {}
    for source, position, data in read_rings(folder, storage.positions(), wait=True):
        rest, held = _core.without_held(data)
        entries.append((source, position, rest))
        checkpoints.update({(trial, place): saved for trial, place, saved in held})
    if entries:
        storage.append(entries, [(*key, saved) for key, saved in checkpoints.items()])
        storage.flush_to_disk()
    remove_rings(folder)
    return sum(len(data) for _, _, data in entries)


def remove_rings(folder: str) -> None:
    """Everything in the rings is in the journal: take them away."""
    import shutil

    shutil.rmtree(os.path.join(folder, RINGS), ignore_errors=True)


def writer_of(folder: str) -> int | None:
    """The process that writes the experiment at this moment, 0 if it has not said who it is; None when there is none.
    Writes nothing."""
    import fcntl

    try:
        fd = os.open(os.path.join(folder, LOCK_FILE), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _number_in(fd)
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(fd)
    return None


def _number_in(fd: int) -> int:
    """The living process that has written its number into a lock, 0 when it has not yet."""
    text = os.pread(fd, 32, 0)
    if not text.endswith(b"\n") or not text.strip().isdigit():
        return 0
    try:
        os.kill(int(text), 0)
    except (ProcessLookupError, OverflowError):  # a killed one's; the new owner is about to write its own
        return 0
    except PermissionError:
        pass
    return int(text)


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


def _warn_of(path: str, why: str) -> None:
    warnings.warn(
        f"the ring {path} cannot be read ({why}); its last reports are lost", RuntimeWarning, stacklevel=3
    )
