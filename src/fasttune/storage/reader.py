"""The journal of a folder for those who look at it: while it is written, after a kill, in a folder that is not theirs.

Nothing is written, made or locked there. What is still in rings is read by ``recovery``, where it lies.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from fasttune.error import JournalError
from fasttune.folder import JOURNAL
from fasttune.storage.base import Entry, Held, Key, Storage
from fasttune.storage.database import PATIENCE_S, Cell, DamagedPage, Database, columns
from fasttune.storage.kept import KeptDatabase
from fasttune.storage.sqlite import is_whole

BATCH = 1 << 20  # bytes of entries that are read before it is looked whether they belong together
# Where every database of ours has these tables, which are made in this order, and which column a stored thing begins with.
# The page that lists the tables may be damaged, and they be whole.
USUAL = {"journal": (2, 1), "checkpoints": (3, 0)}
LARGEST_ENTRY = 1 << 26  # bytes; the largest that fasttune writes is the description of a search space

_T = TypeVar("_T")


class SqliteReader(Storage):
    """The journal in ``experiment.db``, opened for each reading and closed behind it.

    ``fixed``: every later reading gives what the first whole one gave, although the experiment goes on. ``keep``: nobody
    writes it now, and it is still read when the folder is gone. ``last``: the entry up to which it is read.
    """

    def __init__(self, folder: str, *, fixed: bool = False, keep: bool = False, last: int | None = None) -> None:
        self.folder = folder
        self.path = os.path.join(folder, JOURNAL)
        self._fixed = fixed
        self._last = last  # the last entry of the first whole reading, if all give the same
        self._kept: KeptDatabase | None = None
        if keep:
            with suppress(OSError, JournalError):  # it is gone, or no file may be opened: then what is in memory is all
                self._kept = KeptDatabase(self.path)
        self._cells: dict[Key, Cell] | None = None  # where the stored checkpoints are; None: not looked up

    def append(self, entries: Sequence[Entry], checkpoints: Sequence[Held] = (), dropped: Sequence[Key] = ()) -> None:
        raise ValueError(f"the journal in {self.folder} was opened for reading")

    def read(self, after: int = 0) -> Iterator[tuple[int, int, bytes]]:
        last = after  # entries are numbered from 1
        database = self._open()
        try:
            for number, source, position, data in self._entries(database, after):
                if data is None:
                    self._report_damage(number, position)
                    break
                if self._last is not None and number > self._last:
                    return
                last = number
                yield source, position, data
        finally:
            database.close()
        if self._fixed and self._last is None:
            self._last = last

    def salvaged(self, damage: list[str]) -> Iterator[tuple[int, int, bytes]]:
        """Every whole entry, also behind damaged ones; what is wrong with those is added to ``damage``."""
        database = self._open()
        last = 0
        try:
            for cell in database.cells(self._root or 0, damage=damage):
                if cell.key != last + 1:
                    missing = f"entries {last + 1} to {cell.key - 1} are" if cell.key > last + 2 else f"entry {last + 1} is"
                    damage.append(f"{missing} missing")
                last = cell.key
                try:
                    if cell.size > LARGEST_ENTRY:
                        raise DamagedPage(f"it has {cell.size} bytes")
                    row: list[Any] = [*columns(database.content(cell)), None, None, None, None, None]
                    if not is_whole(*row[1:5]):
                        raise DamagedPage("its checksum is wrong")
                except DamagedPage as error:
                    damage.append(f"entry {cell.key}: {error}")
                else:
                    yield row[1], row[2], row[4]
        finally:
            database.close()

    def count(self, table: str) -> int:
        """Rows of a table; 0 where there is none."""

        def counted(database: Database) -> int:
            root = root_of(database, table)
            return 0 if root is None else sum(1 for _ in database.cells(root))

        return self._ask(counted)

    def has_table(self, table: str) -> bool:
        return self._ask(lambda database: root_of(database, table) is not None)

    def positions(self) -> dict[int, int]:
        return {source: position for source, position, _ in self.read()}

    def checkpoint(self, trial: int, step: int) -> bytes | None:
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
        try:
            return set(self._ask(self._checkpoint_cells))
        except JournalError as error:  # the reports can be read all the same
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
            return set()

    def close(self) -> None:
        pass

    # ---- the database

    def _open(self) -> Database:
        try:
            lost = self._kept is not None and not self._kept.in_place
            database = self._kept.opened() if self._kept is not None and lost else Database(self.path)
        except FileNotFoundError:
            raise JournalError(f"there is no experiment at {self.folder!r}: {JOURNAL} does not exist") from None
        except (DamagedPage, OSError) as error:
            raise JournalError(f"cannot open {self.path}: {error}") from error
        try:
            self._root = self._held_together(database, lambda: root_of(database, "journal"))
            if self._root is None and os.path.getsize(self.path) == 0:
                raise JournalError(f"{self.path} is empty: the run that made it ended before it had written anything")
            if self._root is None:
                raise JournalError(
                    f"{self.path} is a database, but not one of fasttune's: it has no table 'journal'"
                )
        except BaseException as error:
            database.close()
            if isinstance(error, (DamagedPage, OSError)):  # it may be taken away at this moment
                raise JournalError(f"cannot open {self.path}: {error}") from error
            raise
        return database

    def _held_together(self, database: Database, ask: Callable[[], _T]) -> _T:
        """An answer from pages that belong together, asked again as long as they changed meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                answer = ask()
            except DamagedPage:
                if database.still_holds():
                    raise
            else:
                if database.still_holds():
                    return answer
            time.sleep(0.001)
            database.look()
        raise JournalError(f"{self.path} is rewritten faster than it can be read")

    def _entries(self, database: Database, last: int = 0) -> Iterator[tuple[int, int, Any, bytes | None]]:
        """(id, source, position, data) of the entries behind ``last``, in batches that belong together; at damage a last
        one without data: the id before it and, as its position, what is wrong."""
        while True:
            batch = self._held_together(database, lambda: self._batch(database, last))  # noqa: B023 - called at once
            yield from batch
            if not batch or batch[-1][3] is None:
                return
            last = batch[-1][0]

    def _batch(self, database: Database, after: int) -> list[tuple[int, int, Any, bytes | None]]:
        root = root_of(database, "journal")
        out: list[tuple[int, int, Any, bytes | None]] = []
        size, last = 0, after
        try:
            for cell in database.cells(root or 0, after):
                if cell.key != last + 1:  # entries are numbered without a gap
                    raise DamagedPage(f"entry {last + 1} is missing")
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
            raise JournalError(f"cannot read {self.path}: {error}") from error
        finally:
            database.close()

    def _checkpoint_cells(self, database: Database) -> dict[Key, Cell]:
        """Where each stored checkpoint is, by trial and step."""
        root = root_of(database, "checkpoints")
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


def root_of(database: Database, table: str) -> int | None:
    """The first page of a table; None where there is none. What the list of tables says is held against what is there."""
    why, root = None, None
    try:
        root = database.root_of(table)
    except DamagedPage as error:
        why = error
    if table in USUAL:
        page, column = USUAL[table]
        if root != page and holds(database, page, column) and not (root is not None and holds(database, root, column)):
            return page
        if why is not None:
            raise why
    return root


def holds(database: Database, root: int, column: int) -> bool:
    """Whether the first row of a table is a whole thing that was stored."""
    try:
        for cell in database.cells(root):
            row: list[Any] = [*columns(database.content(cell)), None, None, None, None, None]
            return is_whole(*row[column : column + 4])
    except DamagedPage:
        pass
    return False
