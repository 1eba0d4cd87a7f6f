"""An SQLite database as its files tell it, read without SQLite: nothing is made, locked or written, whatever it holds.

SQLite opens a database in WAL mode only where it may make its index (``-shm``) beside it. Here the pages come from the
database and from the whole transactions of its write-ahead log, of which a later frame of a page replaces an earlier one
(https://www.sqlite.org/fileformat2.html). While somebody writes, a page of the database may be overwritten by a
checkpoint: ``still_holds`` finds out whether what was read belongs together, by looking at what the log got meanwhile, or,
where there is no log, at when the database was written last.

Work and memory are bounded by the bytes that are really there: keys have to grow, a chain of pages may not come back to
itself, and all rows together may not hold more than the file.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from fasttune import _core
from fasttune.plain_files import open_plain

MAGIC = b"SQLite format 3\0"
LOG_HEADER, FRAME_HEADER = 32, 24
LOG_MAGIC = 0x377F0682  # with the lowest bit: its checksums are over big-endian words
FEW_PAGES = 16  # of the rest of a row that are read at once, as long as they do not follow each other
MOST_PAGES = 256  # where they do
CHUNK = 1 << 20  # bytes of the log that are read at once
DEEPEST = 20  # levels that a tree of SQLite can have
SMALLEST_PAGE, LARGEST_PAGE = 512, 65536
PATIENCE_S = 20.0  # so long the files may change under a reading before it gets anywhere
TABLE_LEAF, TABLE_INTERIOR = 0x0D, 0x05


# Databases that SQLite has open in this process, by device and inode, and descriptors of them that wait to be closed:
# closing any descriptor of a file takes away the locks that the process has on it, SQLite's too.
_in_use: dict[tuple[int, int], list[int]] = {}


class written:
    """From now to ``close()`` SQLite has this database open in this process."""

    def __init__(self, path: str) -> None:
        found = os.stat(path)
        self._place = found.st_dev, found.st_ino
        _in_use.setdefault(self._place, [])

    def close(self) -> None:
        for fd in _in_use.pop(self._place, ()):
            os.close(fd)


def _opened(path: str) -> int:
    """A descriptor of a database; one that waits to be closed, if there is one."""
    found = os.lstat(path)
    waiting = _in_use.get((found.st_dev, found.st_ino))
    return waiting.pop() if waiting else open_plain(path)


def close_file(fd: int) -> None:
    """Close a descriptor of a database, now or when SQLite has closed it too."""
    found = os.fstat(fd)
    waiting = _in_use.get((found.st_dev, found.st_ino))
    if waiting is None:
        os.close(fd)
    else:
        waiting.append(fd)


class DamagedPage(ValueError):
    """The database is not what SQLite writes; says where."""


class Cell(NamedTuple):
    """A row that has not been read yet."""

    key: int
    size: int  # bytes of its record
    local: bytes  # the first of them
    overflow: int  # page of the rest, or 0


class Database:
    """The database at ``path`` and its log, opened once. OSError, or JournalError for what is no plain file."""

    def __init__(self, path: str) -> None:
        self._log: int | None = None
        self._changes = True  # others may write it
        self._file = _opened(path)
        try:
            with suppress(FileNotFoundError):
                self._log = open_plain(path + "-wal")
            self._log_path = path + "-wal"
            self.look()
        except BaseException:
            self.close()
            raise

    @classmethod
    def kept(cls, file: int, log: int | None) -> Database:
        """Of descriptors, which are closed with it, of files that nobody writes or removes."""
        made = cls.__new__(cls)
        made._file, made._log, made._log_path, made._changes = file, log, "", False
        try:
            made.look()
        except BaseException:
            made.close()
            raise
        return made

    def close(self) -> None:
        close_file(self._file)
        if self._log is not None:
            os.close(self._log)
            self._log = None

    # ---- what the files hold now

    def look(self) -> None:
        """Take in the log's transactions as they are now: what is read from here on is as of this moment."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._look()
                return
            except DamagedPage:
                if self.still_holds() or time.monotonic() > deadline:
                    raise

    def _look(self) -> None:
        self._frames: dict[int, int] = {}  # page -> where the log has it
        self._read: set[int] = set()  # pages of the database that were read since still_holds
        self._newer: set[int] = set()  # pages that the log got after this moment
        self._salts: tuple[int, int] | None = None
        self._taken = 0  # bytes of rows that were read
        self.pages = 0
        self._head = self._log_head()
        self._written = self._when_written()
        self.page_size = 0
        self._take_log()
        size = os.fstat(self._file).st_size
        if not self.page_size:
            head = os.pread(self._file, 100, 0)
            if not head and not size:
                return  # nothing was ever written
            if len(head) < 100 or head[:16] != MAGIC:
                raise DamagedPage("file is not a database")
            self.page_size = _page_size(int.from_bytes(head[16:18], "big"))
        if not self._frames:
            self.pages = size // self.page_size
        first = self._page(1)
        if first[:16] != MAGIC:
            raise DamagedPage("file is not a database")
        self._usable = self.page_size - first[20]
        if self._usable < 480:
            raise DamagedPage(f"its pages cannot have {self._usable} usable bytes")

    def still_holds(self) -> bool:
        """Whether all that was read since ``look`` was as of that moment."""
        if self._log_head() != self._head:
            return False
        if not self._head:  # a log that came and went meanwhile looks as if there had been none
            return self._when_written() == self._written
        if self._salts is not None:
            waiting: list[int] = []
            for page, pages in self._next_frames():
                waiting.append(page)
                if pages:  # a commit
                    self._newer.update(waiting)
                    waiting.clear()
            self._go_back(len(waiting))
        held = not (self._newer & self._read)
        self._read.clear()
        return held

    def _when_written(self) -> tuple[int, int]:
        """Time of the last write to the database, and its size."""
        found = os.fstat(self._file)
        return found.st_mtime_ns, found.st_size

    def _log_head(self) -> bytes:
        if not self._changes:
            return b"" if self._log is None else os.pread(self._log, LOG_HEADER, 0)
        if self._log is not None and os.fstat(self._log).st_nlink == 0:  # removed by whoever closed the database
            os.close(self._log)
            self._log = None
        if self._log is None:
            with suppress(FileNotFoundError):
                self._log = open_plain(self._log_path)
        return b"" if self._log is None else os.pread(self._log, LOG_HEADER, 0)

    def _take_log(self) -> None:
        """The newest frame of each page, of transactions that are whole."""
        head = self._head
        if len(head) < LOG_HEADER:
            return
        magic, version, size, _, salt0, salt1, sum0, sum1 = struct.unpack(">8I", head)
        if magic & ~1 != LOG_MAGIC or version != 3007000 or not _is_page_size(size):
            return
        self._big = bool(magic & 1)
        sums = _core.wal_checksum(head[:24], self._big)
        if sums != (sum0, sum1):
            return
        self._log_page, self._salts, self._sums, self._log_end = size, (salt0, salt1), sums, LOG_HEADER
        waiting: dict[int, int] = {}
        at = behind = LOG_HEADER
        for page, pages in self._next_frames():
            waiting[page] = at + FRAME_HEADER
            at += FRAME_HEADER + size
            if pages:  # a commit
                self._frames.update(waiting)
                waiting.clear()
                self.pages = pages
                behind = at
        self._go_back((self._log_end - behind) // (FRAME_HEADER + size))
        if self._frames:
            self.page_size = size

    def _next_frames(self) -> Iterator[tuple[int, int]]:
        """(page, pages of the database if it ends a transaction) of the whole frames behind those that were seen."""
        assert self._log is not None
        assert self._salts is not None
        frame = FRAME_HEADER + self._log_page
        at_once = max(1, CHUNK // frame) * frame
        while True:
            data = os.pread(self._log, at_once, self._log_end)
            found, *sums = _core.wal_frames(data, self._log_page, self._big, *self._salts, *self._sums)
            self._sums = (sums[0], sums[1])
            self._log_end += len(found) * frame
            yield from found
            if len(found) * frame < at_once:
                return

    def _go_back(self, frames: int) -> None:
        """The last frames belong to no whole transaction, and say nothing: they will be looked at again. A dead writer has
        left them for good; the next one writes others over them."""
        if not frames:
            return
        assert self._log is not None
        self._log_end -= frames * (FRAME_HEADER + self._log_page)
        last = self._log_end - FRAME_HEADER - self._log_page
        at = last + 16 if last >= LOG_HEADER else 24  # a frame's header ends with the sums so far, as the log's does
        sums = os.pread(self._log, 8, at)
        self._sums = struct.unpack(">2I", sums) if len(sums) == 8 else (0, 0)  # else it was cut off, and has another head

    def _page(self, number: int) -> bytes:
        if not 0 < number <= self.pages:
            raise DamagedPage(f"page {number} of {self.pages} is missing")
        at = self._frames.get(number)
        if at is not None:
            assert self._log is not None
            data = os.pread(self._log, self.page_size, at)
        else:
            self._read.add(number)
            data = os.pread(self._file, self.page_size, (number - 1) * self.page_size)
        if len(data) < self.page_size:
            raise DamagedPage(f"page {number} of {self.pages} is missing")
        return data

    # ---- tables

    def root_of(self, table: str) -> int | None:
        """The first page of a table; None when there is no plain table of that name."""
        if not self.page_size:
            return None
        for cell in self.cells(1):
            kind, name, _, root = (*columns(cell.local, 4), None, None, None, None)[:4]
            if kind == b"table" and name == table.encode() and isinstance(root, int) and root > 1:
                return root
        return None

    def cells(self, root: int, after: int = -(2**63), damage: list[str] | None = None) -> Iterator[Cell]:
        """Rows of the table with this first page, in the order of their keys, those up to ``after`` left out.

        With ``damage`` pages that are damaged are left out, and what is wrong with them is added to it.
        """
        yield from self._walked(root, [after], DEEPEST, True, damage)

    def _walked(
        self, number: int, last: list[int], levels: int, is_root: bool, damage: list[str] | None
    ) -> Iterator[Cell]:
        try:
            yield from self._walk(number, last, levels, is_root, damage)
        except DamagedPage as error:
            if damage is None:
                raise
            damage.append(str(error))

    def _walk(
        self, number: int, last: list[int], levels: int, is_root: bool, damage: list[str] | None
    ) -> Iterator[Cell]:
        page = self._page(number)
        at = 100 if number == 1 else 0
        kind, n = page[at], int.from_bytes(page[at + 3 : at + 5], "big")
        if kind not in (TABLE_LEAF, TABLE_INTERIOR) or not levels:
            raise DamagedPage(f"page {number} is not one of a table")
        pointers = at + (8 if kind == TABLE_LEAF else 12)
        if pointers + 2 * n > self._usable or (n == 0 and not is_root):
            raise DamagedPage(f"page {number} cannot have {n} rows")
        places = struct.unpack_from(f">{n}H", page, pointers)
        if kind == TABLE_LEAF:
            largest = None
            for place in places:
                cell = self._cell(page, place, number)
                if largest is not None and cell.key <= largest:
                    raise DamagedPage(f"the rows of page {number} are not in order")
                largest = cell.key
                if cell.key > last[0]:
                    last[0] = cell.key
                    yield cell
            return
        for place in places:
            child = int.from_bytes(page[place : place + 4], "big")
            key, _ = varint(page, place + 4)
            if key <= last[0]:  # left out
                continue
            before = last[0]
            yield from self._walked(child, last, levels - 1, False, damage)
            if damage is None and (last[0] == before or last[0] > key):
                raise DamagedPage(f"page {child} has no rows that belong there")
        yield from self._walked(int.from_bytes(page[at + 8 : at + 12], "big"), last, levels - 1, False, damage)

    def _cell(self, page: bytes, place: int, number: int) -> Cell:
        if place + 4 > self._usable:
            raise DamagedPage(f"a row of page {number} lies outside of it")
        size, at = varint(page, place)
        key, at = varint(page, at)
        if key >= 1 << 63:
            key -= 1 << 64
        if not 0 <= size <= self.pages * self._usable:
            raise DamagedPage(f"a row of page {number} says that it has {size} bytes")
        local = size
        if size > self._usable - 35:
            least = (self._usable - 12) * 32 // 255 - 23
            local = least + (size - least) % (self._usable - 4)
            if local > self._usable - 35:
                local = least
        end = at + local
        if end + (4 if local < size else 0) > self._usable:
            raise DamagedPage(f"a row of page {number} lies outside of it")
        overflow = int.from_bytes(page[end : end + 4], "big") if local < size else 0
        return Cell(key, size, page[at:end], overflow)

    def content(self, cell: Cell) -> bytes:
        """The whole record of a row."""
        self._taken += cell.size
        if self._taken > self.pages * self.page_size:
            raise DamagedPage("its rows share pages: together they would be larger than the database")
        parts, left, number = [cell.local], cell.size - len(cell.local), cell.overflow
        seen: set[int] = set()
        at_once = FEW_PAGES
        while left:
            content, behind, pages = self._overflow(number, left, at_once)
            before = len(seen)
            seen.update(range(number, number + pages))
            if len(seen) < before + pages:
                raise DamagedPage(f"the pages of row {cell.key} come back to page {number}")
            parts.append(content)
            left -= len(content)
            number = behind
            at_once = min(MOST_PAGES, 2 * at_once) if pages == at_once else FEW_PAGES
        return b"".join(parts)

    def _overflow(self, number: int, left: int, at_once: int) -> tuple[bytes, int, int]:
        """Some of the rest of a row, from page ``number`` on: (content, the page that goes on with it, how many pages)."""
        pages = min(at_once, -(-left // (self._usable - 4)), self.pages - number + 1)
        in_log = bool(self._frames) and any(page in self._frames for page in range(number, number + pages))
        if pages < 2 or number < 1 or in_log:
            page = self._page(number)
            return page[4 : 4 + min(left, self._usable - 4)], int.from_bytes(page[:4], "big"), 1
        data = os.pread(self._file, pages * self.page_size, (number - 1) * self.page_size)
        if len(data) < self.page_size:
            raise DamagedPage(f"page {number} of {self.pages} is missing")
        content, behind, pages = _core.overflow_run(data, self.page_size, self._usable, number, left)
        self._read.update(range(number, number + pages))
        return content, behind, pages


def _is_page_size(size: int) -> bool:
    return SMALLEST_PAGE <= size <= LARGEST_PAGE and size & (size - 1) == 0


def _page_size(told: int) -> int:
    size = LARGEST_PAGE if told == 1 else told
    if not _is_page_size(size):
        raise DamagedPage(f"its pages cannot have {size} bytes")
    return size


def varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, place behind it) of an SQLite integer of one to nine bytes."""
    value = 0
    try:
        for k in range(at, at + 8):
            byte = data[k]
            if byte < 0x80:
                return value << 7 | byte, k + 1
            value = value << 7 | byte & 0x7F
        return value << 8 | data[at + 8], at + 9
    except IndexError:
        raise DamagedPage("a number is cut off") from None


INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type -> bytes


def columns(record: bytes, most: int = 16) -> list[Any]:
    """The first ``most`` values of a record: integers, floats, None; texts and blobs as bytes, cut off where the record
    is. DamagedPage when it is none."""
    end, at = varint(record, 0)
    if end > len(record):
        raise DamagedPage("the head of a row is cut off")
    out: list[Any] = []
    place = end
    while at < end and len(out) < most:
        kind = record[at]
        at += 1
        if kind >= 0x80:  # rare: a long text or blob
            kind, at = varint(record, at - 1)
        if kind >= 12:
            n = (kind - 12) // 2
            out.append(record[place : place + n])
        elif kind == 7:
            n = 8
            out.append(struct.unpack(">d", record[place : place + 8].rjust(8, b"\0"))[0])
        elif kind in INTEGERS:
            n = INTEGERS[kind]
            out.append(int.from_bytes(record[place : place + n], "big", signed=True))
        elif kind in (0, 8, 9):
            n = 0
            out.append(None if kind == 0 else kind - 8)
        else:
            raise DamagedPage(f"a value of a row is of the unknown kind {kind}")
        place += n
    return out
