"""What the dead left behind: the lock of an experiment, and the rings of processes that were killed.

A report that returned is in a ring file of the experiment's folder until a commit of the journal holds it.
Whoever looks at the experiment finds it there; whoever goes on with it folds it, and stores what fits. The lock is the
kernel's (flock): it ends with its process.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from struct import Struct
from typing import NamedTuple

from fasttune import _core
from fasttune.error import ExperimentLockedError, JournalError
from fasttune.folder import LOCK_FILE as LOCK_FILE
from fasttune.folder import RINGS as RINGS
from fasttune.once import warn_in_run
from fasttune.plain_files import check_folder, open_plain
from fasttune.storage.base import Entry, Key, Storage

DYING_S = 3.0  # a worker ends with its driver; this much later it is not waited for any more
PATIENCE_S = 1.0  # for a process that has the lock and has not said who it is
HEADER = _core.Ring.HEADER  # bytes before a ring's records
LARGEST_RING = 1 << 26  # bytes of records that one may have room for; ours are a tenth of that
SPARE = 1 << 24  # bytes of rings that are held in memory beyond what they take on the disk
PLACES = Struct("<8x Q 48x Q 120x Q")  # capacity, head and released in a ring's header


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
        self._file: int | None = open_plain(self._path, os.O_RDWR | os.O_CREAT)
        deadline = time.monotonic() + PATIENCE_S
        while not self._take():
            owner = 0 if self._is_looked_at() else _number_in(self._file)
            if owner or time.monotonic() >= deadline:
                self.release()
                raise ExperimentLockedError(
                    f"the experiment at {folder!r} is being written by process {owner or 'unknown'}: "
                    "wait for it, stop it, or give this run another name"
                )
            time.sleep(0.002)
        if not self.is_in_place:
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

    def _is_looked_at(self) -> bool:
        """Whether those who have it only look: then there is room for one more of them."""
        import fcntl

        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    @property
    def is_in_place(self) -> bool:
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
            _held.discard(self._file)
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        # of a run that was set up and not carried out; not in a forked child. At an interpreter's end there may be no set any more
        if _held is not None and getattr(self, "_file", None) in _held:
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
        found, why = _left_in_file(ring_path(folder, source), positions.get(source, 0), wait)
        entries += [(source, behind, records) for behind, records in found]
        if why and not quiet:
            _warn_of(ring_path(folder, source), why)
    return entries


def _left_in_file(path: str, position: int, wait: bool = False) -> tuple[list[tuple[int, bytes]], str]:
    """([(position behind, records)], what is wrong or "") of a ring's file behind this position."""
    try:
        fd = open_plain(path)
    except FileNotFoundError:
        return [], ""
    except (JournalError, OSError) as error:
        return [], str(error)
    try:
        if wait:
            _wait_for_writer(fd)
        data = _contents(fd, everything=True)
    except OSError as error:
        return [], str(error)
    finally:
        os.close(fd)
    return ([], "") if data is None else _core.read_ring(data, position)


class RingCopy(NamedTuple):
    """What a ring held when it was looked at, behind what was released."""

    source: int
    released: int
    head: int
    data: bytearray


def copied_rings(folder: str) -> list[RingCopy]:
    """What the rings of an experiment hold now. For whoever reads the journal next: what
    leaves a ring meanwhile is in the journal before."""
    try:
        check_folder(os.path.join(folder, RINGS))
    except JournalError as error:
        _warn_of(os.path.join(folder, RINGS), str(error))
        return []
    copies: list[RingCopy] = []
    room = SPARE
    for source in ring_sources(folder):
        path = ring_path(folder, source)
        try:
            fd = open_plain(path)
        except FileNotFoundError:  # it went into the journal
            continue
        except (JournalError, OSError) as error:
            _warn_of(path, str(error))
            continue
        try:
            data = _contents(fd)
            room += min(os.fstat(fd).st_blocks * 512, LARGEST_RING)
        finally:
            os.close(fd)
        if data is None:
            continue
        _, head, released = PLACES.unpack_from(data.ljust(PLACES.size, b"\0"))
        if head == released > 0 and len(data) > HEADER:
            data = data[:HEADER]  # the journal has all of it, unless a power cut took its end: see left_in
        room -= min(max(0, head - released), len(data))
        if room < 0:
            _warn_of(path, "the rings say that they hold more than is in their files")
            break
        copies.append(RingCopy(source, released, head, data))
    return copies


def left_in(folder: str, copies: list[RingCopy], positions: dict[int, int], *, quiet: bool = False) -> list[Entry]:
    """What copied rings hold behind these positions of a journal that was read after them."""
    entries: list[Entry] = []
    for copy in copies:
        position = positions.get(copy.source, 0)
        if position >= copy.head > 0:  # the journal has all of it by now
            continue
        if position < copy.released and not quiet:  # the journal was cut off: perhaps the ring has it still
            found, why = _left_in_file(ring_path(folder, copy.source), position)
        else:
            found, why = _core.read_ring(copy.data, position)
        entries += [(copy.source, behind, records) for behind, records in found]
        if why and not quiet:
            _warn_of(ring_path(folder, copy.source), why)
    return entries


def _contents(fd: int, everything: bool = False) -> bytearray | None:
    """A ring's file as far as it holds something: from what was released on, or (``everything``) all that may not be
    overwritten yet. Bytes in between take no memory. None: it was never made. A header that cannot be comes alone."""
    head_bytes = os.pread(fd, HEADER, 0)
    if not any(head_bytes):
        return None  # killed before the ring was made
    if len(head_bytes) < HEADER:
        return bytearray(head_bytes)
    capacity, head, released = PLACES.unpack_from(head_bytes)
    size = HEADER + capacity + capacity // 4  # records, and a seal of 4 bytes for every 16
    if not HEADER <= capacity <= LARGEST_RING or capacity & (capacity - 1) or size > os.fstat(fd).st_size:
        return bytearray(head_bytes)
    data = bytearray(size)
    data[:HEADER] = head_bytes
    if everything or released > head or head - released > capacity:
        released = max(0, head - capacity)
    while released < head:
        at = released & (capacity - 1)
        n = min(head - released, capacity - at)
        _copy_into(data, fd, HEADER + at, n)
        first, behind = at >> 4, (at + n + 15) >> 4
        _copy_into(data, fd, HEADER + capacity + 4 * first, 4 * (behind - first))
        released += n
    return data


def _copy_into(data: bytearray, fd: int, at: int, n: int) -> None:
    """Bytes of the file to the same place."""
    view = memoryview(data)
    while n > 0:
        got = os.preadv(fd, [view[at : at + n]], at)
        if not got:
            return
        at += got
        n -= got


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
    """Everything in the rings is in the journal: take them away. A link of that name is not followed."""
    import shutil

    shutil.rmtree(os.path.join(folder, RINGS), ignore_errors=True)


def writer_of(folder: str) -> int | None:
    """The process that writes the experiment at this moment, 0 if it has not said who it is; None when there is none, or
    that cannot be found out. Writes nothing."""
    import fcntl

    try:
        fd = open_plain(os.path.join(folder, LOCK_FILE))
    except (OSError, JournalError):
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


def nobody_writes(folder: str) -> bool:
    """Whether it is certain that no process writes the experiment at this moment: its lock is there, and free."""
    import fcntl

    try:
        fd = open_plain(os.path.join(folder, LOCK_FILE))
    except (OSError, JournalError):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


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
    warn_in_run(
        f"the ring {path} cannot be read ({why}); its last reports are lost", RuntimeWarning, stacklevel=3
    )
