"""The database of a run that is over, for when its folder is not there any more: its results are still asked for.

A folder may be a temporary one, or make room for the next experiment of that name. A small file is kept as its bytes, a
large one as a descriptor, which holds the file on the disk as long as somebody holds the results.
"""

from __future__ import annotations

import os
from contextlib import suppress

from fasttune.plain_files import open_plain
from fasttune.storage.database import Database, close_file

MOST_BYTES = 1 << 22  # of a file that is kept in memory


class KeptFile:
    """One file as it was when it was kept."""

    def __init__(self, path: str) -> None:
        self._fd = -1
        fd = open_plain(path)
        try:
            found = os.fstat(fd)
            self._as_kept = found
            self._bytes = os.pread(fd, found.st_size, 0) if found.st_size <= MOST_BYTES else b""
            if found.st_size > MOST_BYTES:
                self._fd, fd = fd, -1
        finally:
            if fd >= 0:
                close_file(fd)

    def is_at(self, path: str) -> bool:
        """Whether this very file has that name; of one that is kept as bytes, and may have gone: unchanged."""
        try:
            found = os.lstat(path)
        except OSError:
            return False
        before = self._as_kept
        if (found.st_dev, found.st_ino) != (before.st_dev, before.st_ino):
            return False
        return self._fd >= 0 or (found.st_mtime_ns, found.st_size) == (before.st_mtime_ns, before.st_size)

    def opened(self) -> int:
        """A descriptor to read it from."""
        if self._fd >= 0:
            return os.dup(self._fd)
        import tempfile

        with tempfile.TemporaryFile() as file:
            file.write(self._bytes)
            file.flush()
            return os.dup(file.fileno())

    def __del__(self) -> None:
        if self._fd >= 0:
            close_file(self._fd)
            self._fd = -1


class KeptDatabase:
    """A database and its log, if it had one left, as they were when nobody wrote them any more."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = KeptFile(path)
        self._log: KeptFile | None = None
        with suppress(FileNotFoundError):
            if os.path.getsize(path + "-wal"):
                self._log = KeptFile(path + "-wal")

    @property
    def in_place(self) -> bool:
        """Whether the folder still has it."""
        return self._file.is_at(self._path)

    def opened(self) -> Database:
        """The database, read from what was kept."""
        return Database.kept(self._file.opened(), None if self._log is None else self._log.opened())
