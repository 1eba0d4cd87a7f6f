"""The journal of a folder for those who look at it: while it is written, after a kill, in a folder that is not theirs.

Nothing is written, made, locked or moved there. What a report's process left in its ring is read where it lies, behind
what the journal has of it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from fasttune import _core
from fasttune.error import JournalError
from fasttune.folder import JOURNAL
from fasttune.plain_files import check_folder, open_plain
from fasttune.storage.base import Entry, Held, Key, Storage
from fasttune.storage.database import Cell, DamagedPage, Database, columns
from fasttune.storage.recovery import HEADER, RINGS, ring_path, ring_sources, without_checkpoints
from fasttune.storage.sqlite import is_whole

BATCH = 1 << 20  # bytes of entries that are read before it is looked whether they belong together
LARGEST_ENTRY = 1 << 26  # bytes; the largest that fasttune writes is the description of a search space
LARGEST_RING = 1 << 26
SPARE = 1 << 24  # bytes of rings that are held in memory beyond what they take on the disk
PATIENCE = 1000  # times that a journal may change under a reading before it gets anywhere

_T = TypeVar("_T")


class RingCopy(NamedTuple):
    """What a ring held when it was looked at."""

    path: str
    data: bytearray  # header and records, those that were released left out
    released: int
    head: int


class SqliteReader(Storage):
    """The journal in ``experiment.db`` and in the rings beside it, opened for each reading and closed behind it.

    ``fixed``: every later reading gives what the first whole one gave, although the experiment goes on.
    """

    def __init__(self, folder: str, *, fixed: bool = False) -> None:
        self.folder = folder
        self.path = os.path.join(folder, JOURNAL)
        self._fixed = fixed
        self._last: int | None = None  # the last entry of the first whole reading, if all give the same
        self._left: list[Entry] = []  # what the rings held then
        self._held: dict[Key, bytes] = {}  # checkpoints in memory that were in the rings when they were read last
        self._cells: dict[Key, Cell] | None = None  # where the stored checkpoints are; None: not looked up

    def append(self, entries: Sequence[Entry], checkpoints: Sequence[Held] = (), dropped: Sequence[Key] = ()) -> None:
        raise ValueError(f"the journal in {self.folder} was opened for reading")

    def read(self, after: int = 0) -> Iterator[tuple[int, int, bytes]]:
        fixed = self._last is not None
        copies = [] if fixed else copied_rings(self.folder)  # before the journal: what leaves them meanwhile is there
        positions: dict[int, int] = {}
        n = last = 0
        whole = True
        database = self._open()
        try:
            for number, source, position, data in self._entries(database):
                if data is None:
                    whole = False
                    self._report_damage(number, position)
                    break
                if self._last is not None and number > self._last:
                    break
                positions[source] = max(position, positions.get(source, 0))
                last = number
                n += 1
                if n > after:
                    yield source, position, data
        finally:
            database.close()
        left = self._left if fixed else self._left_in(copies, positions, whole)
        if self._fixed and not fixed:
            self._last, self._left = last, left
        yield from left[max(0, after - n) :]

    def positions(self) -> dict[int, int]:
        positions = {source: position for source, position, _ in self.read()}
        return positions

    def checkpoint(self, trial: int, step: int) -> bytes | None:
        if (trial, step) in self._held:
            return self._held[trial, step]
        found = self._ask(lambda database: self._checkpoint(database, (trial, step)))
        if found is None:
            return None
        crc, data = found
        if not is_whole(trial, step, crc, data):
            raise JournalError(
                f"the checkpoint of trial {trial} at iteration {step} in {self.path} is damaged: its checksum is wrong"
            )
        contents: bytes = data
        return contents

    def checkpoint_keys(self) -> set[Key]:
        if self._fixed and self._last is None and copied_rings(self.folder):
            for _ in self.read():  # what is in the rings depends on what the journal has
                pass
        try:
            stored = set(self._ask(self._checkpoint_cells))
        except JournalError as error:  # the reports can be read all the same
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
            stored = set()
        return stored | self._held.keys()

    def close(self) -> None:
        pass

    # ---- the database

    def _open(self) -> Database:
        try:
            database = Database(self.path)
        except FileNotFoundError:
            raise JournalError(f"there is no experiment at {self.folder!r}: {JOURNAL} does not exist") from None
        except (DamagedPage, OSError) as error:
            raise JournalError(f"cannot open {self.path}: {error}") from error
        try:
            self._root = self._held_together(database, lambda: database.root_of("journal"))
            if self._root is None:
                raise JournalError(
                    f"{self.path} is a database, but not one of fasttune's: it has no table 'journal'"
                )
        except BaseException as error:
            database.close()
            if isinstance(error, DamagedPage):
                raise JournalError(f"cannot open {self.path}: {error}") from error
            raise
        return database

    def _held_together(self, database: Database, ask: Callable[[], _T]) -> _T:
        """An answer from pages that belong together, asked again as long as they changed meanwhile."""
        for _ in range(PATIENCE):
            try:
                answer = ask()
            except DamagedPage:
                if database.still_holds():
                    raise
            else:
                if database.still_holds():
                    return answer
            database.look()
        raise JournalError(f"{self.path} is rewritten faster than it can be read")

    def _entries(self, database: Database) -> Iterator[tuple[int, int, Any, bytes | None]]:
        """(id, source, position, data) of the entries, in batches that belong together; at damage a last one without
        data: the id before it and, as its position, what is wrong."""
        last = 0
        while True:
            batch = self._held_together(database, lambda: self._batch(database, last))  # noqa: B023 - called at once
            yield from batch
            if not batch or batch[-1][3] is None:
                return
            last = batch[-1][0]

    def _batch(self, database: Database, after: int) -> list[tuple[int, int, Any, bytes | None]]:
        root = database.root_of("journal")
        out: list[tuple[int, int, Any, bytes | None]] = []
        size, last = 0, after
        try:
            for cell in database.cells(root or 0, after):
                if cell.size > LARGEST_ENTRY:
                    raise DamagedPage(f"it has {cell.size} bytes")
                row: list[Any] = [*columns(database.content(cell)), None, None, None, None, None]
                if not is_whole(*row[1:5]):
                    raise DamagedPage("its checksum is wrong")
                out.append((cell.key, row[1], row[2], row[4]))
                last = cell.key
                size += cell.size + 64
                if size >= BATCH:
                    break
        except DamagedPage as error:  # or the pages do not belong together, which the caller finds out
            out.append((last, 0, str(error), None))
        return out

    def _report_damage(self, last: int, why: str) -> None:
        where = f"behind entry {last} of its journal" if last else "where its reading began"
        warnings.warn(
            f"{self.path} is damaged {where} ({why}); everything before it was read", RuntimeWarning, stacklevel=3
        )

    def _ask(self, question: Callable[[Database], _T]) -> _T:
        database = self._open()
        try:
            return self._held_together(database, lambda: question(database))
        except DamagedPage as error:
            raise JournalError(f"cannot read the checkpoints in {self.path}: {error}") from error
        finally:
            database.close()

    def _checkpoint_cells(self, database: Database) -> dict[Key, Cell]:
        """Where each stored checkpoint is, by trial and step."""
        root = database.root_of("checkpoints")
        if root is None:  # nobody has written here since there are checkpoints in memory
            return {}
        found: dict[Key, Cell] = {}
        for cell in database.cells(root):
            trial, step, *_ = (*columns(cell.local, 2), None, None)
            if not isinstance(trial, int) or not isinstance(step, int):
                raise DamagedPage(f"row {cell.key} of the table 'checkpoints' says of no trial and step")
            found[trial, step] = cell
        return found

    def _checkpoint(self, database: Database, key: Key) -> tuple[Any, Any] | None:
        """(checksum, contents) as stored. Where it is was mostly looked up before, and is so still."""
        for known in (True, False):
            if not known or self._cells is None:
                self._cells = self._checkpoint_cells(database)
            cell = self._cells.get(key)
            if cell is not None and cell.size <= LARGEST_ENTRY:
                try:
                    _, _, crc, data, *_ = (*columns(database.content(cell)), None, None, None, None)
                except DamagedPage:
                    data = crc = None
                if is_whole(*key, crc, data) or not known:
                    return crc, data
        return None

    # ---- the rings

    def _left_in(self, copies: list[RingCopy], positions: dict[int, int], whole: bool) -> list[Entry]:
        """What the rings hold behind the journal, and the checkpoints that were in it."""
        left: list[Entry] = []
        held: dict[Key, bytes] = {}
        for copy in copies:
            source = int(os.path.basename(copy.path)[:-5])
            if not whole:
                warn_of(copy.path, "the journal before it is damaged")
                continue
            position = positions.get(source, 0)
            if position >= copy.head:  # the journal has all of it by now
                continue
            data: bytearray | None = copy.data
            if position < copy.released:  # the journal was cut off: perhaps it is still there
                data = ring_copy(copy.path, everything=True)
            entries, why = read_ring(data, position) if data is not None else ([], "")
            if why:
                warn_of(copy.path, why)
            stripped, checkpoints = without_checkpoints([(source, behind, data) for behind, data in entries])
            left += stripped
            held.update({(trial, step): saved for trial, step, saved in checkpoints})
        self._held = held
        return left


def warn_of(path: str, why: str) -> None:
    """Say that reports are missing."""
    warnings.warn(f"the ring {path} cannot be read ({why}); its last reports are lost", RuntimeWarning, stacklevel=4)


def copied_rings(folder: str) -> list[RingCopy]:
    """What the rings of an experiment hold now, those left out that hold nothing."""
    try:
        check_folder(os.path.join(folder, RINGS))
    except JournalError as error:
        warn_of(os.path.join(folder, RINGS), str(error))
        return []
    copies: list[RingCopy] = []
    room = SPARE
    for source in ring_sources(folder):
        path = ring_path(folder, source)
        try:
            room += min(os.lstat(path).st_blocks * 512, LARGEST_RING)
            data = ring_copy(path)
        except FileNotFoundError:  # it went into the journal
            continue
        except (JournalError, OSError, ValueError, OverflowError) as error:
            warn_of(path, str(error))
            continue
        if data is None:
            continue
        ring = _core.Ring(data)
        held = ring.head - ring.released
        if held > room:
            warn_of(path, "the rings say that they hold more than is in the files")
            continue
        room -= held
        copies.append(RingCopy(path, data, ring.released, ring.head))
    return copies


def ring_copy(path: str, everything: bool = False) -> bytearray | None:
    """A ring's file up to its last record; without ``everything``, what was released is left out. None: it is empty, or
    was never made. ValueError when it is none."""
    fd = open_plain(path)
    try:
        head = os.pread(fd, HEADER, 0)
        if len(head) < HEADER or not any(head):
            return None  # killed before the ring was made
        capacity = int.from_bytes(head[8:16], "little")
        if not 0 < capacity <= LARGEST_RING or HEADER + capacity > os.fstat(fd).st_size:
            raise ValueError("the buffer is not a ring: its header is damaged or of another size")
        data = bytearray(HEADER + capacity)  # memory is taken by what is copied into it
        data[:HEADER] = head
        ring = _core.Ring(data)
        first, behind = max(0, ring.head - capacity) if everything else ring.released, ring.head
        view = memoryview(data)
        while first < behind:
            at = first & (capacity - 1)
            n = min(behind - first, capacity - at)
            got = os.preadv(fd, [view[HEADER + at : HEADER + at + n]], HEADER + at)
            if got < n:
                raise ValueError("its file is cut off")
            first += n
        return data if ring.head > (0 if everything else ring.released) else None
    finally:
        os.close(fd)


def read_ring(data: bytearray, position: int) -> tuple[list[tuple[int, bytes]], str]:
    """([(position behind, records)], what is wrong or "") of a copied ring from ``position`` on."""
    entries: list[tuple[int, bytes]] = []
    try:
        ring = _core.Ring(data)
        ring.rewind(position)
        while (taken := ring.take()) is not None:
            whole = bytes(taken)
            n = _core.whole_records(whole)
            if n:
                entries.append((ring.position, whole[:n]))
            if n < len(whole):
                return entries, f"it is damaged at byte {ring.position - len(whole) + n}"
    except (ValueError, OverflowError) as error:
        return entries, str(error)
    return entries, ""
