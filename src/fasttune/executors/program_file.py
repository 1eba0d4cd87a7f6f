"""What all workers run, as a file that has no name in any folder: nobody else finds it, nobody can put another in its place,
and nothing of it is left when the processes that have it open are gone, however they ended."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from fasttune.devices.free_memory import free_memory
from fasttune.error import TuneError
from fasttune.executors.server import anonymous_file
from fasttune.out_of_band import MappedFiles, Place, aligned, offsets

NAME = "fasttune-program"  # by which the system lists it where it lies in memory
MOST_OF_FREE = 0.5  # of the memory that is free now: what is larger lies on the disk, where the system can make room
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM)


class ProgramFile:
    """The pickled program, or other bytes, and the buffers that belong to them (``out_of_band``).

    ``places`` lead other processes of this user to them, as long as this one holds the file; ``path`` is where the pickle is.
    What is large lies in memory if it takes less than half of what is free, or else in ``folder``; buffers that are mapped from
    a file already stay there. TuneError when there is no room for it.
    """

    def __init__(self, head: bytes, buffers: Sequence[memoryview] = (), folder: str | None = None) -> None:
        self._mapped = MappedFiles()
        self._fd, self._named, self.path = -1, "", ""
        try:
            elsewhere = [self._mapped.place_of(buffer) for buffer in buffers]
            own = [memoryview(head), *(buffer for buffer, place in zip(buffers, elsewhere, strict=True) if place is None)]
            self._write(own, folder)
        except BaseException:
            self.close()
            raise
        places = iter([Place(self.path, at, piece.nbytes) for at, piece in zip(offsets(own), own, strict=True)])
        self.places = [next(places), *(next(places) if place is None else place for place in elsewhere)]

    def _write(self, pieces: Sequence[memoryview], folder: str | None) -> None:
        if not os.path.isdir("/proc/self/fd"):  # another system than Linux: in the user's temporary folder
            self._fd, self.path = tempfile.mkstemp(prefix=f"{NAME}-")
            self._named = self.path
            _fill(self._fd, pieces)
            return
        self._fd = _filled(pieces, folder)
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"

    def close(self) -> None:
        """Let go of it. Safe to call twice."""
        self._mapped.close()
        if self._fd < 0:
            return
        os.close(self._fd)
        self._fd = -1
        if self._named:
            with suppress(FileNotFoundError):
                os.unlink(self._named)


def _filled(pieces: Sequence[memoryview], folder: str | None) -> int:
    """A file without a name that holds the pieces: in memory, or on the disk when they are too many for that."""
    size = sum(piece.nbytes for piece in pieces)
    in_memory, on_disk = partial(anonymous_file, NAME), partial(nameless_file, folder or tempfile.gettempdir())
    if len(pieces) == 1 or size <= MOST_OF_FREE * free_memory():
        return _first_with_room([in_memory, on_disk], pieces, size, folder)
    return _first_with_room([on_disk, in_memory], pieces, size, folder)


def _first_with_room(makers: list[Callable[[], int]], pieces: Sequence[memoryview], size: int, folder: str | None) -> int:
    failures = []
    for make in makers:
        try:
            return _made(make, pieces)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            failures.append(error)
    raise TuneError(
        f"there is no room for the {size / 2**20:,.0f} MiB that the workers share (what tune.with_parameters was given, and what the "
        f"trainable refers to): neither in memory nor in {folder or tempfile.gettempdir()} ({failures[0].strerror}). Make room there, "
        "store the experiment elsewhere (storage_path=), or save arrays by np.save and hand over np.load(path, mmap_mode='r')"
    ) from failures[0]


def _made(make: Callable[[], int], pieces: Sequence[memoryview]) -> int:
    fd = make()
    try:
        _fill(fd, pieces)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _fill(fd: int, pieces: Sequence[memoryview]) -> None:
    with open(fd, "wb", closefd=False) as file:
        for piece in aligned(pieces):
            file.write(piece)


def nameless_file(folder: str) -> int:
    """An empty file on the folder's disk that has no name there."""
    if hasattr(os, "O_TMPFILE"):
        with suppress(OSError):  # a file system that has no such files
            return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fd, path = tempfile.mkstemp(prefix=".shared_", dir=folder)
    os.unlink(path)
    return fd
