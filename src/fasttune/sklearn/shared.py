"""One object, in one piece of memory, for all worker processes.

Pickle's protocol 5 keeps the contents of arrays apart from what describes them (PEP 574). They lie in a file without a name,
once for all workers, each of which maps it: so arrays, sparse matrices and the columns of data frames that hold numbers are
read-only views of the same pages there, however many workers there are. Columns of Python objects are copied.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import Any

from fasttune.executors.program_file import ProgramFile

ALIGNMENT = 64  # bytes, of each array's beginning: what vector instructions want
_PADDING = bytes(ALIGNMENT)

_last: tuple[str, Any] | None = None  # this process's object, by the mark of its file: all of a worker's trials have the same


class Shared:
    """Holds ``value``; pickled, it is where the value lies, and what it holds there is read-only.

    The file is written when it is first pickled, so trials in this process cost nothing. ``close`` lets go of it: what is
    mapped by then stays.
    """

    def __init__(self, value: Any) -> None:
        self._value = value
        self._file: ProgramFile | None = None
        self._sizes: tuple[int, ...] = ()
        self._mark = os.urandom(8).hex()

    def get(self) -> Any:
        """The value."""
        return self._value

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self._file is None:
            self._write()
        assert self._file is not None
        return Mapped, (self._file.path, self._sizes, self._mark)

    def _write(self) -> None:
        import pickle

        import cloudpickle  # type: ignore[import-untyped, unused-ignore]

        buffers: list[pickle.PickleBuffer] = []
        head = cloudpickle.dumps(self._value, protocol=5, buffer_callback=buffers.append)
        pieces = [memoryview(head), *(buffer.raw() for buffer in buffers)]
        self._sizes = tuple(piece.nbytes for piece in pieces)
        self._file = ProgramFile(*_aligned(pieces))


class Mapped:
    """What a :class:`Shared` is in another process: the value is mapped when it is first asked for."""

    def __init__(self, path: str, sizes: tuple[int, ...], mark: str) -> None:
        self._path, self._sizes, self._mark = path, sizes, mark

    def get(self) -> Any:
        """The value. FileNotFoundError when the process that wrote it has let go of it."""
        global _last
        if _last is None or _last[0] != self._mark:
            _last = self._mark, self._load()
        return _last[1]

    def _load(self) -> Any:
        import pickle

        with open(self._path, "rb") as file:
            memory = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        parts = []
        at = 0
        for size in self._sizes:
            parts.append(memory[at : at + size])
            at += size + -size % ALIGNMENT
        return pickle.loads(parts[0], buffers=parts[1:])


def _aligned(pieces: list[memoryview]) -> Iterator[memoryview]:
    """The pieces, each followed by what it lacks to a whole number of alignments."""
    for piece in pieces:
        yield piece
        yield memoryview(_PADDING)[: -piece.nbytes % ALIGNMENT]
