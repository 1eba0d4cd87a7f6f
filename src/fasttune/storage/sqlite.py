"""The journal in ``experiment.db``: one SQLite database in WAL mode, written by group commit.

Tables:
    journal(id, source, position, crc, data)   the truth: blobs of whole records, with a CRC-32 of each entry
    checkpoints(trial, step, crc, data)        checkpoints in memory that are kept, with a CRC-32 of each
    damaged(id, source, position, crc, data)   what :meth:`SqliteStorage.mend` put aside, if it ever had to
    aside(source, why, data)                   records that were whole and did not fit what the journal says, if any
    trials(...)                                made from the journal for people and SQL tools

Nothing in it is ever executed when it is opened. A commit survives the death of the process (WAL,
synchronous=NORMAL); :meth:`SqliteStorage.flush_to_disk` also makes it survive a power cut.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from zlib import crc32

from fasttune.error import JournalError
from fasttune.folder import JOURNAL as FILE_NAME
from fasttune.folder import UNFINISHED
from fasttune.storage.base import Aside, Entry, Held, Key, Storage

if TYPE_CHECKING:
    import sqlite3


SETTINGS = (
    "PRAGMA journal_mode = WAL",  # readers never wait for the writer
    "PRAGMA synchronous = NORMAL",  # a commit is in the kernel: it survives us, not the power
    "PRAGMA wal_autocheckpoint = 8192",  # 32 MB: each checkpoint costs two fsyncs
    "PRAGMA cache_size = -4096",
)
TABLES = (
    "CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, source INTEGER NOT NULL, "
    "position INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS checkpoints (trial INTEGER NOT NULL, step INTEGER NOT NULL, "
    "crc INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (trial, step))",
)


class SqliteStorage(Storage):
    """The journal of the experiment in ``folder``. With ``create=False`` JournalError when there is none."""

    def __init__(self, folder: str, *, create: bool = True) -> None:
        self.path = os.path.join(folder, FILE_NAME)
        self._connection: sqlite3.Connection | None = self._connect(create)
        self._damaged_behind: int | None = (
            None  # id of the last good entry, once a reading came upon a damaged one
        )

    def _connect(self, create: bool) -> sqlite3.Connection:
        import sqlite3

        if not create and not os.path.exists(self.path):
            raise JournalError(
                f"there is no experiment at {os.path.dirname(self.path)!r}: {FILE_NAME} does not exist"
            )
        try:
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=10.0
            )
        except sqlite3.OperationalError as error:
            raise JournalError(f"cannot open {self.path}: {error}") from error
        try:
            if create:
                for statement in SETTINGS + TABLES:
                    connection.execute(statement)
            elif not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'journal'").fetchone():
                connection.close()
                raise JournalError(
                    f"{self.path} is a database, but not one of fasttune's: it has no table 'journal'"
                )
        except (
            sqlite3.DatabaseError,
            UnicodeDecodeError,
        ) as error:  # the latter comes from damaged names of tables
            connection.close()
            if isinstance(error, sqlite3.OperationalError) and not create:
                return self._connect_read_only()
            raise JournalError(f"cannot open {self.path}: {error}") from error
        return connection

    def _connect_read_only(self) -> sqlite3.Connection:
        """For folders that we may not write to; sees what was checkpointed."""
        import sqlite3
        from urllib.parse import quote

        return sqlite3.connect(f"file:{quote(self.path)}?immutable=1", uri=True, isolation_level=None)

    @property
    def connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError(f"{self.path} is closed")
        return self._connection

    def append(self, entries: Sequence[Entry], checkpoints: Sequence[Held] = (), dropped: Sequence[Key] = ()) -> None:
        import sqlite3

        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if self._damaged_behind is not None:
                    self._cut_off(self._damaged_behind)
                connection.executemany(
                    "INSERT INTO journal (source, position, crc, data) VALUES (?, ?, ?, ?)",
                    [
                        (source, position, checksum(source, position, data), data)
                        for source, position, data in entries
                    ],
                )
                if dropped:
                    connection.executemany("DELETE FROM checkpoints WHERE trial = ? AND step = ?", dropped)
                if checkpoints:
                    connection.executemany(
                        "INSERT OR REPLACE INTO checkpoints (trial, step, crc, data) VALUES (?, ?, ?, ?)",
                        [(trial, step, checksum(trial, step, data), data) for trial, step, data in checkpoints],
                    )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.DatabaseError as error:
            raise OSError(f"cannot write the journal {self.path}: {error}") from error
        self._damaged_behind = None

    def read(self, after: int = 0) -> Iterator[tuple[int, int, bytes]]:
        import sqlite3

        connection = self.connection
        rows = None
        last = 0
        while True:
            try:
                if rows is None:
                    rows = connection.execute(
                        "SELECT id, source, position, crc, data FROM journal ORDER BY id LIMIT -1 OFFSET ?",
                        (after,),
                    )
                row = rows.fetchone()
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                self._report_damage(last if last or not after else None, str(error))
                return
            if row is None:
                return
            number, source, position, crc, data = row
            if not is_whole(source, position, crc, data):
                self._report_damage(number - 1, "its checksum is wrong")
                return
            last = number
            yield source, position, data

    def mend(self) -> bool:
        for _ in self.read():
            pass
        damaged = self._damaged_behind is not None
        if damaged:
            self.append([])
        return damaged

    def set_aside(self, records: Sequence[Aside]) -> None:
        import sqlite3

        connection = self.connection
        try:
            connection.execute("CREATE TABLE IF NOT EXISTS aside (source INTEGER, why TEXT, data BLOB)")
            connection.executemany("INSERT INTO aside (source, why, data) VALUES (?, ?, ?)", records)
        except sqlite3.DatabaseError as error:
            raise OSError(f"cannot write {self.path}: {error}") from error

    def _cut_off(self, last: int) -> None:
        """Move the entries behind ``last`` to the table ``damaged``; in the transaction of the caller."""
        for statement in (
            "CREATE TABLE IF NOT EXISTS damaged (id INTEGER, source, position, crc, data)",
            f"INSERT INTO damaged SELECT id, source, position, crc, data FROM journal WHERE id > {last:d}",
            f"DELETE FROM journal WHERE id > {last:d}",
        ):
            self.connection.execute(statement)

    def _report_damage(self, last: int | None, why: str) -> None:
        self._damaged_behind = last
        where = "where its reading began" if last is None else f"behind entry {last} of its journal"
        warnings.warn(
            f"{self.path} is damaged {where} ({why}); everything before it was read",
            RuntimeWarning,
            stacklevel=3,
        )

    def positions(self) -> dict[int, int]:
        rows = self.connection.execute("SELECT source, max(position) FROM journal GROUP BY source")
        return dict(rows.fetchall())

    def checkpoint(self, trial: int, step: int) -> bytes | None:
        rows = self._ask_checkpoints("crc, data", " WHERE trial = ? AND step = ?", (trial, step))
        if not rows:
            return None
        crc, data = rows[0]
        if not is_whole(trial, step, crc, data):
            raise JournalError(
                f"the checkpoint of trial {trial} at iteration {step} in {self.path} is damaged: its checksum is wrong"
            )
        found: bytes = data
        return found

    def checkpoint_keys(self) -> set[Key]:
        try:
            return set(self._ask_checkpoints("trial, step"))
        except JournalError as error:  # the reports can be read all the same
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
            return set()

    def _ask_checkpoints(self, columns: str, where: str = "", values: Key | tuple[()] = ()) -> list[Any]:
        import sqlite3

        try:
            return self.connection.execute(f"SELECT {columns} FROM checkpoints{where}", values).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if "no such table" in str(error):  # nobody has written here since there are checkpoints in memory
                return []
            raise JournalError(f"cannot read the checkpoints in {self.path}: {error}") from error

    def write_table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        import sqlite3

        names = unique_names(columns)
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute("DROP TABLE IF EXISTS trials")
                connection.execute(f"CREATE TABLE trials ({quoted}, PRIMARY KEY ({quoted.split(', ')[0]}))")
                connection.executemany(f"INSERT INTO trials VALUES ({', '.join('?' * len(columns))})", rows)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.DatabaseError as error:
            raise OSError(f"cannot write {self.path}: {error}") from error

    def write_file(self, name: str, text: str) -> None:
        path = os.path.join(os.path.dirname(self.path), name)
        try:
            with open(path + UNFINISHED, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(path + UNFINISHED, path)
        except OSError:
            with suppress(OSError):
                os.unlink(path + UNFINISHED)
            raise

    def has_table(self) -> bool:
        return (
            self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'trials'").fetchone()
            is not None
        )

    def flush_to_disk(self) -> None:
        self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def checksum(source: int, position: int, data: Any) -> int:
    """CRC-32 of a whole entry: what is stored beside it."""
    return crc32(data, crc32(b"%d %d" % (source, position)))


def is_whole(source: Any, position: Any, crc: Any, data: Any) -> bool:
    """True for an entry as it was stored."""
    typed = isinstance(source, int) and isinstance(position, int) and isinstance(data, bytes)
    return typed and checksum(source, position, data) == crc


def unique_names(columns: Sequence[str]) -> list[str]:
    """SQL column names ignore case; a second one of the same letters gets its number, or the next one that is free."""
    taken: set[str] = set()
    names = []
    theirs = {column.lower() for column in columns}
    for i, column in enumerate(columns):
        name, number = column, i
        while name.lower() in taken or (name is not column and name.lower() in theirs):
            name, number = f"{column}_{number}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names


class SqliteReader(Storage):
    """The journal of a folder, opened for each reading and closed behind it: for a long-lived analysis."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def append(self, entries: Sequence[Entry], checkpoints: Sequence[Held] = (), dropped: Sequence[Key] = ()) -> None:
        raise ValueError(f"the journal in {self.folder} was opened for reading")

    def read(self, after: int = 0) -> Iterator[tuple[int, int, bytes]]:
        storage = SqliteStorage(self.folder, create=False)
        try:
            yield from storage.read(after)
        finally:
            storage.close()

    def positions(self) -> dict[int, int]:
        storage = SqliteStorage(self.folder, create=False)
        try:
            return storage.positions()
        finally:
            storage.close()

    def checkpoint(self, trial: int, step: int) -> bytes | None:
        storage = SqliteStorage(self.folder, create=False)
        try:
            return storage.checkpoint(trial, step)
        finally:
            storage.close()

    def checkpoint_keys(self) -> set[Key]:
        storage = SqliteStorage(self.folder, create=False)
        try:
            return storage.checkpoint_keys()
        finally:
            storage.close()

    def close(self) -> None:
        pass
