"""The journal in ``experiment.db``: one SQLite database in WAL mode, written by group commit.

Tables:
    journal(id, source, position, crc, data)   the truth: blobs of whole records, with a CRC-32 of each entry
    checkpoints(trial, step, crc, data)        checkpoints in memory that are kept, with a CRC-32 of each
    damaged(id, source, position, crc, data)   what :meth:`SqliteStorage.mend` put aside, if it ever had to
    aside(source, why, data)                   records that were whole and did not fit what the journal says, if any
    trials(...)                                made from the journal for people and SQL tools

Nothing in it is ever executed when it is opened. A commit survives the death of the process (WAL,
synchronous=NORMAL). What survives a power cut is what was flushed to the disk: every commit if the storage is
``durable``, else what :meth:`SqliteStorage.flush_if_due` has brought there, which is never far behind.

SQLite's own checkpoints of the write-ahead log are switched off, because nobody hears of it when they fail: the kernel
tells an error of fsync once, and what it could not write may be gone from its memory. Ours are looked at, and after a
failed one the storage takes nothing more.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from zlib import crc32

from fasttune.checkpoint import step_of
from fasttune.error import JournalError
from fasttune.folder import JOURNAL as FILE_NAME
from fasttune.folder import UNFINISHED
from fasttune.once import warn_in_run
from fasttune.plain_files import check_database, write_whole
from fasttune.storage.base import Aside, Entry, Held, Key, Storage
from fasttune.storage.database import written

if TYPE_CHECKING:
    import sqlite3


SETTINGS = (
    "PRAGMA synchronous = OFF",  # while it is made; it is brought to the disk as a whole (4 fsyncs fewer)
    "PRAGMA journal_mode = WAL",  # readers never wait for the writer
    "PRAGMA wal_autocheckpoint = 0",  # ours are in flush_to_disk()
    "PRAGMA cache_size = -4096",
)
TABLES = (
    "CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, source INTEGER NOT NULL, "
    "position INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS checkpoints (trial INTEGER NOT NULL, step INTEGER NOT NULL, "
    "crc INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (trial, step))",
)
MADE = "PRAGMA synchronous = NORMAL"  # a commit is in the kernel: it survives us, not the power

FLUSH_BYTES = 1 << 25  # the write-ahead log is brought into the database when it has grown by this much,
FLUSH_S = 2.0  # or when this long ago something was appended that is only in it,
FIRST_FLUSH_S = 0.25  # the first time so long after it was made: a run that is over by then waits for the disk once, at its end,
FLUSH_SHARE = 0.01  # but no more than this share of the time is spent on that,
FLUSH_MOST_S = 30.0  # as long as it is not later than this
LOCKED_MS = 20  # one try to get the right to write; while others have it, `while_locked` is called after each
LOCKED_S = 10.0  # so long they are waited for where nobody has said what to do meanwhile
PAGE = 4096
WRITE_LOCK = "120"  # the byte of the -shm file that the kernel's lock of a writer is on
DATA_SYNC = getattr(os, "fdatasync", os.fsync)
LOST_WRITES = ("SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC")  # what was written before may be gone


def check_tables(connection: sqlite3.Connection, path: str) -> None:
    """JournalError when what bears the name of one of our tables is another thing, or does something of its own."""
    ours = {words.split()[5]: " ".join(words.replace("IF NOT EXISTS ", "").split()) for words in TABLES}
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    if found and not any(name == "journal" for _, name, _, _ in found):
        raise JournalError(f"{path} is a database, but not one of fasttune's: it has no table 'journal'")
    for kind, name, table, sql in found:
        plain = kind == "table" and sql is not None and " ".join(sql.split()) == ours.get(name)
        if table in ours and not plain and not (kind == "index" and sql is None):
            raise JournalError(
                f"{path} has a {kind} {name!r} that fasttune does not make: what it does when something is written is not "
                f"known. {mending(path)}"
            )


def mending(path: str) -> str:
    """What can be done about a database that SQLite, which writes it, refuses: readers do without SQLite."""
    folder = os.path.dirname(path)
    return (
        "What can be read of it ExperimentAnalysis still reads, and a copy of that which can be gone on with is made by: "
        f"fasttune doctor {folder} --repair"
    )


def refused(path: str) -> str | None:
    """Why a run could not go on with this database although it may be readable; None: it could. Writes nothing."""
    import sqlite3
    from urllib.parse import quote

    connection = sqlite3.connect(f"file:{quote(os.path.abspath(path))}?mode=ro&immutable=1", uri=True)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        check_tables(connection, path)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return f"{error}. {mending(path)}"
    except JournalError as error:
        return str(error)
    finally:
        connection.close()
    return None


class SqliteStorage(Storage):
    """The journal of the experiment in ``folder``, for the process that writes it; readers have ``SqliteReader``.

    ``durable``: what :meth:`append` has stored is on the disk when it returns. ``while_locked`` is called again and
    again while another process holds a write transaction, and ends the wait by raising.
    """

    def __init__(
        self,
        folder: str,
        *,
        durable: bool = False,
        while_locked: Callable[[], None] | None = None,
    ) -> None:
        self.path = os.path.join(folder, FILE_NAME)
        self._connection: sqlite3.Connection | None = self._connect()
        self._damaged_behind: int | None = (
            None  # id of the last good entry, once a reading came upon a damaged one
        )
        self._durable = durable
        self._while_locked = while_locked
        self._failed: OSError | None = None  # the disk has lost something: nothing more is taken
        self._named = False  # the names of the files are on the disk, too
        self._unflushed = 0  # bytes appended since the last flush
        self._flush_at = time.monotonic() + FIRST_FLUSH_S
        self._places: list[tuple[str, tuple[int, int]]] = []  # what has to stay where it is: path, device and inode
        self._wal_fd = -1
        self._places = [(path, place_of(path)) for path in (folder, self.path, self.path + "-wal")]
        self._wal_fd = os.open(self.path + "-wal", os.O_RDONLY | os.O_CLOEXEC)  # no lock of SQLite's is on this file
        self._connection.execute(f"PRAGMA busy_timeout = {LOCKED_MS}")

    def _connect(self) -> sqlite3.Connection:
        import sqlite3

        check_database(self.path)
        if is_blank(self.path):
            os.truncate(self.path, 0)  # the power went before anything of it was on the disk
        try:
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=10.0
            )
        except sqlite3.OperationalError as error:
            raise JournalError(f"cannot open {self.path}: {error}") from error
        try:
            connection.execute("PRAGMA trusted_schema = OFF")  # what the file says is not to call functions
            check_tables(connection, self.path)
            for statement in (*SETTINGS, *TABLES, MADE):
                connection.execute(statement)
            connection.execute("SELECT max(id) FROM journal").fetchone()  # damage shows here, before anything is done
            self._check_log(connection)
        except (
            sqlite3.DatabaseError,
            UnicodeDecodeError,
        ) as error:  # the latter comes from damaged names of tables
            connection.close()
            way = "" if isinstance(error, sqlite3.OperationalError) else f". {mending(self.path)}"
            raise JournalError(f"cannot open {self.path}: {error}{way}") from error
        except BaseException:
            connection.close()
            raise
        self._written = written(self.path)
        return connection

    def _check_log(self, connection: sqlite3.Connection) -> None:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal":
            connection.close()
            raise JournalError(
                f"SQLite cannot keep a write-ahead log in {os.path.dirname(self.path)} (it answers {mode!r}): is it on a "
                "network file system? Experiments need a local disk"
            )

    @property
    def connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError(f"{self.path} is closed")
        return self._connection

    @property
    def last_entry(self) -> int:
        """The number of the last entry of the journal; 0 for an empty one."""
        (last,) = self.connection.execute("SELECT max(id) FROM journal").fetchone()
        return last or 0

    def append(self, entries: Sequence[Entry], checkpoints: Sequence[Held] = (), dropped: Sequence[Key] = ()) -> None:
        with self._transaction() as connection:
            if self._damaged_behind is not None:
                self._cut_off(self._damaged_behind)
            connection.executemany(
                "INSERT INTO journal (source, position, crc, data) VALUES (?, ?, ?, ?)",
                [(source, position, checksum(source, position, data), data) for source, position, data in entries],
            )
            if dropped:
                connection.executemany("DELETE FROM checkpoints WHERE trial = ? AND step = ?", dropped)
            if checkpoints:
                connection.executemany(
                    "INSERT OR REPLACE INTO checkpoints (trial, step, crc, data) VALUES (?, ?, ?, ?)",
                    [(trial, step, checksum(trial, step, data), data) for trial, step, data in checkpoints],
                )
        self._damaged_behind = None
        self._unflushed += PAGE + sum(len(data) for _, _, data in entries) + sum(len(data) for _, _, data in checkpoints)
        if self._durable:
            self._sync(self._wal_fd, self.path + "-wal")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction, committed when the block ends well. OSError for what the file system says."""
        import sqlite3

        connection = self.connection
        if self._failed is not None:
            raise OSError(self._failed.errno, f"nothing more is written after this: {self._failed.strerror}", self.path)
        try:
            self._begin(connection)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.DatabaseError as error:
            raise self._os_error(error) from error

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Get the right to write; while another process has it, wait for it."""
        import sqlite3

        deadline = 0.0
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if primary_code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise
                deadline = deadline or time.monotonic() + LOCKED_S
                if self._while_locked is not None:
                    self._while_locked()
                elif time.monotonic() >= deadline:
                    raise

    def _os_error(self, error: sqlite3.DatabaseError) -> OSError:
        """What SQLite says of the file system, with the number that the system gives it."""
        import sqlite3

        name = getattr(error, "sqlite_errorname", None)
        numbers = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS}
        numbers.update({sqlite3.SQLITE_BUSY: errno.EAGAIN, sqlite3.SQLITE_LOCKED: errno.EAGAIN})
        found = OSError(
            numbers.get(primary_code(error), errno.EIO),
            f"cannot write the journal: {error}{f' ({name})' if name else ''}",
            self.path,
        )
        if name in LOST_WRITES:
            self._failed = found
        return found

    def _sync(self, fd: int, path: str, call: Callable[[int], None] = DATA_SYNC) -> None:
        """Bring a file to the disk. A failure is the end: asked again, the system would say that all is well."""
        try:
            call(fd)
        except OSError as error:
            self._failed = OSError(error.errno, f"cannot bring the journal to the disk: {error.strerror}", path)
            raise self._failed from error

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
            if number != last + 1 and (last or not after):  # entries are numbered without a gap
                self._report_damage(last, f"entry {last + 1} is missing")
                return
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
        with self._transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS aside (source INTEGER, why TEXT, data BLOB)")
            connection.executemany("INSERT INTO aside (source, why, data) VALUES (?, ?, ?)", records)

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
        warn_in_run(
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
                f"the checkpoint of trial {trial} at iteration {step_of(step)} in {self.path} is damaged: its checksum is "
                "wrong"
            )
        found: bytes = data
        return found

    def checkpoint_keys(self) -> set[Key]:
        try:
            return set(self._ask_checkpoints("trial, step"))
        except JournalError as error:  # the reports can be read all the same
            warn_in_run(str(error), RuntimeWarning, stacklevel=2)
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
        names = unique_names(columns)
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        with self._transaction() as connection:
            connection.execute("DROP TABLE IF EXISTS trials")
            connection.execute(f"CREATE TABLE trials ({quoted}, PRIMARY KEY ({quoted.split(', ')[0]}))")
            connection.executemany(f"INSERT INTO trials VALUES ({', '.join('?' * len(columns))})", rows)
        self._unflushed += PAGE

    def write_file(self, name: str, text: str) -> None:
        path = os.path.join(os.path.dirname(self.path), name)
        try:
            write_whole(path, text.encode(), UNFINISHED)
        except OSError:
            with suppress(OSError):
                os.unlink(path + UNFINISHED)
            raise

    def flush_to_disk(self) -> None:
        """Bring the write-ahead log into the database, and both to the disk; the first time their names, too.

        About 1 ms on a solid-state disk. What a reader still looks at stays in the log until the next time.
        """
        import sqlite3

        connection = self.connection
        if self._failed is not None:
            raise self._failed
        began = time.monotonic()
        try:
            self._sync(self._wal_fd, self.path + "-wal")  # SQLite would not say which error it was
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.DatabaseError as error:
            raise self._os_error(error) from error
        if not self._named:
            self._sync_names()
        now = time.monotonic()
        self._unflushed = 0
        self._flush_at = now + min(FLUSH_MOST_S, max(FLUSH_S, (now - began) / FLUSH_SHARE))

    def _sync_names(self) -> None:
        """The folder's entries, and its own entry in the folder above: a file without a name is lost."""
        folder = os.path.dirname(os.path.abspath(self.path))
        for one in (folder, os.path.dirname(folder)):
            try:
                fd = os.open(one, os.O_RDONLY | os.O_CLOEXEC)
            except PermissionError:  # a folder above that may be passed through and not read
                continue
            try:
                self._sync(fd, one, os.fsync)
            finally:
                os.close(fd)
        self._named = True

    def flush_if_due(self) -> None:
        if self._unflushed >= FLUSH_BYTES or (self._unflushed and time.monotonic() >= self._flush_at):
            self.flush_to_disk()

    def gone(self) -> str | None:
        for path, before in self._places:
            try:
                now = place_of(path)
            except FileNotFoundError:
                return f"{path} has been removed or renamed"
            except OSError as error:
                return f"{path} cannot be reached any more ({error.strerror})"
            if now != before:
                return f"{path} has been replaced by another one"
        folder = os.path.dirname(self.path)
        if self._places and not os.access(folder, os.W_OK | os.X_OK):
            return f"{folder} may not be written any more"
        return None

    def close(self) -> None:
        if self._connection is not None:
            if self._failed is not None:
                self._close_as_it_is()
            self._connection.close()
            self._connection = None
            self._written.close()
            if self._wal_fd >= 0:
                os.close(self._wal_fd)

    def _close_as_it_is(self) -> None:
        """Close without the checkpoint that SQLite makes when the last one leaves: it would copy pages that the disk
        may not have, and remove the log. Whoever opens it next reads the log by its checksums. A second connection,
        which may not write, is the last one."""
        import sqlite3
        from urllib.parse import quote

        assert self._connection is not None
        try:
            last = sqlite3.connect(f"file:{quote(self.path)}?mode=ro", uri=True)
            try:
                last.execute("SELECT count(*) FROM sqlite_master").fetchone()
                self._connection.close()
            finally:
                last.close()
        except (sqlite3.DatabaseError, UnicodeDecodeError):  # the file cannot even be read
            return


def is_blank(path: str) -> bool:
    """The file is there and holds nothing, or zeros where a database begins."""
    try:
        with open(path, "rb") as file:
            return not any(file.read(100))
    except OSError:
        return False


def place_of(path: str) -> tuple[int, int]:
    """Device and inode of what a path leads to."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


def primary_code(error: sqlite3.DatabaseError) -> int:
    """SQLite's number for the kind of an error; -1 when there is none."""
    code: int = getattr(error, "sqlite_errorcode", -1)
    return code & 0xFF if code >= 0 else -1


def who_writes(path: str) -> str:
    """Who holds the write transaction of this database, in words: the kernel lists its locks."""
    try:
        found = os.stat(path + "-shm")
        with open("/proc/locks", encoding="ascii") as file:
            for line in file:
                words = line.split()
                if words[1] != "POSIX" or words[3] != "WRITE" or words[6] != WRITE_LOCK:
                    continue
                if words[5] == f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}":
                    return f"process {words[4]} ({name_of_process(int(words[4]))})"
    except (OSError, IndexError, ValueError):
        pass
    return "another process"


def name_of_process(pid: int) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()


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
