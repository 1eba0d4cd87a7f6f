"""Pickles whose large buffers lie beside them, in memory that all workers share (PEP 574).

Pickle's protocol 5 keeps the contents of arrays apart from what describes them. A worker maps them instead of copying them,
so arrays, sparse matrices and the columns of data frames that hold numbers are there once, however many workers there are.
Columns of Python objects are copied. The mapping is private: who writes into an array writes into its own copy of that page.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pickle

SMALLEST = 1 << 20  # bytes of a buffer that is shared; to map a smaller one costs more than to copy it
ALIGNMENT = 64  # bytes, of each buffer's beginning: what vector instructions want
_PADDING = bytes(ALIGNMENT)


class Place(NamedTuple):
    """Bytes of a file that processes of this user can open."""

    path: str
    offset: int
    size: int
    read_only: bool = False


class Buffers:
    """The ``buffer_callback`` of a pickler, which keeps what is at least so large."""

    def __init__(self, smallest: int = SMALLEST) -> None:
        self.kept: list[memoryview] = []
        self._smallest = smallest

    def __call__(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether the buffer is to be in the pickle."""
        raw = buffer.raw()
        if raw.nbytes < max(1, self._smallest):  # nothing cannot be mapped
            return True
        self.kept.append(raw)
        return False

    def reducers(self) -> dict[type, Callable[[Any], Any]]:
        """How arrays are pickled that pickle would copy: such as lie in pieces, and those that numpy has mapped from a file."""
        numpy = sys.modules.get("numpy")
        return {} if numpy is None else {numpy.ndarray: self._reduce_array, numpy.memmap: self._reduce_mapped}

    def _reduce_array(self, array: Any) -> Any:
        dates = array.dtype.kind in "mM"  # of which numpy gives no buffers
        if array.nbytes < self._smallest or array.dtype.hasobject or (array.flags.forc and not dates):
            return array.__reduce_ex__(5)
        import numpy as np

        whole = array if array.flags.forc else np.ascontiguousarray(array)
        if whole is not array:
            whole.flags.writeable = array.flags.writeable
        return (_viewed, (whole.view("i8"), array.dtype)) if dates else whole.__reduce_ex__(5)

    def _reduce_mapped(self, array: Any) -> Any:
        if array.nbytes < self._smallest:
            return array.__reduce_ex__(5)
        import numpy as np

        return _as_memmap, (array.view(np.ndarray),)


def _viewed(array: Any, dtype: Any) -> Any:
    return array.view(dtype)


def _as_memmap(array: Any) -> Any:
    import numpy as np

    return array.view(np.memmap)


# -- what is written -----------------------------------------------------------------------------------------------------


def aligned(pieces: Sequence[memoryview]) -> Iterator[memoryview]:
    """The pieces, each followed by what it lacks to a whole number of alignments."""
    for piece in pieces:
        yield piece
        yield memoryview(_PADDING)[: -piece.nbytes % ALIGNMENT]


def offsets(pieces: Sequence[memoryview]) -> list[int]:
    """Where each of the pieces begins, so aligned."""
    found, at = [], 0
    for piece in pieces:
        found.append(at)
        at += piece.nbytes + -piece.nbytes % ALIGNMENT
    return found


class MappedFiles:
    """The files that this process has mapped and nobody can write to through that mapping: what lies in one needs no copy. They
    are held open, so that it may be removed meanwhile."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int, int, str, int]] | None = None  # begin, end, offset in the file, path, inode
        self._fds: dict[str, int] = {}

    def place_of(self, piece: memoryview) -> Place | None:
        """Where in a file the bytes lie; None if they lie in no such file."""
        import numpy as np

        if not piece.readonly:
            return None
        if self._ranges is None:
            self._ranges = list(_mapped_ranges())
        begin = np.frombuffer(piece, np.uint8).ctypes.data
        for first, limit, offset, path, inode in self._ranges:
            if first <= begin and begin + piece.nbytes <= limit:
                fd = self._opened(path, inode)
                at = offset + begin - first
                if fd is None or os.fstat(fd).st_size < at + piece.nbytes:
                    return None
                return Place(f"/proc/{os.getpid()}/fd/{fd}", at, piece.nbytes, read_only=True)
        return None

    def _opened(self, path: str, inode: int) -> int | None:
        fd = self._fds.get(path)
        if fd is None:
            with suppress(OSError):  # removed, or nobody's that we may read
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                if os.fstat(fd).st_ino == inode:
                    self._fds[path] = fd
                else:  # another file has that name by now
                    os.close(fd)
                    fd = None
        return fd

    def close(self) -> None:
        """Let go of the files. Safe to call twice."""
        while self._fds:
            os.close(self._fds.popitem()[1])


def _mapped_ranges() -> Iterator[tuple[int, int, int, str, int]]:
    """What of this process's memory is a file's, shared, and only to be read."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n").split(maxsplit=5) for line in file]
    except OSError:  # another system than Linux
        return
    for words in lines:
        if len(words) == 6 and words[1] == "r--s" and words[5].startswith("/"):
            begin, _, end = words[0].partition("-")
            yield int(begin, 16), int(end, 16), int(words[2], 16), words[5], int(words[4])


# -- what is read --------------------------------------------------------------------------------------------------------


def load(places: Sequence[Place], loads: Callable[..., Any], *, writable: bool = True) -> Any:
    """What was pickled: ``loads(pickle, buffers=...)`` with the buffers mapped. The first place is the pickle's.

    ``writable``: those that could be written to where they come from can be here, each process in its own copy of the page.
    OSError when a file has gone, or when there is no room for the mapping.
    """
    head, *rest = places
    with open(head.path, "rb") as file:
        file.seek(head.offset)
        data = file.read(head.size)
    return loads(data, buffers=_mapped(rest, writable)) if rest else loads(data)


def _mapped(places: Sequence[Place], writable: bool) -> Iterator[memoryview]:
    """The bytes of each place. A file is mapped once: a process cannot have as many mappings as a frame may have columns."""
    mapped: dict[str, tuple[memoryview, int]] = {}
    for path in {place.path for place in places}:
        within = [place for place in places if place.path == path]
        begin = min(place.offset for place in within)
        begin -= begin % mmap.ALLOCATIONGRANULARITY
        end = max(place.offset + place.size for place in within)
        private = writable and not within[0].read_only
        mapped[path] = memoryview(_mapping(path, begin, end - begin, private)), begin
    for place in places:
        memory, begin = mapped[place.path]
        yield memory[place.offset - begin :][: place.size]


def _mapping(path: str, offset: int, length: int, private: bool) -> mmap.mmap:
    with open(path, "rb") as file:
        if private:
            # not where the system reckons that all of it could be written to and so copied: then it can be read
            with suppress(OSError):
                return mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY, offset=offset)
        return mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=offset)
