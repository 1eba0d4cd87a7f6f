"""The reader of SQLite's files against SQLite itself, on files that are whole, torn, changed under it, and hostile."""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from fasttune._core import overflow_run
from fasttune.error import JournalError
from fasttune.storage import SqliteStorage
from fasttune.storage.database import DamagedPage, Database, columns, varint
from fasttune.storage.reader import SqliteReader
from fasttune.storage.sqlite import FILE_NAME
from rounds import seeds


def rows(path: Path, table: str = "t") -> list[tuple[Any, ...]]:
    """(key, columns...) of a table as our reader sees them."""
    database = Database(str(path))
    try:
        root = database.root_of(table)
        assert root is not None
        return [(cell.key, *columns(database.content(cell))) for cell in database.cells(root)]
    finally:
        database.close()


def by_sqlite(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return [
        (key, *[value.encode() if isinstance(value, str) else value for value in row])
        for key, *row in connection.execute("SELECT rowid, a, b, c FROM t ORDER BY rowid")
    ]


def some_value(draw: random.Random) -> Any:
    kind = draw.randrange(8)
    if kind == 0:
        return None
    if kind == 1:
        return draw.choice([0, 1, -1, 127, -128, 2**15, -(2**23), 2**31, 2**47, -(2**63), 2**63 - 1])
    if kind == 2:
        return draw.choice([0.5, -1e308, 5e-324, float("inf")])
    if kind == 3:
        return "ä" * draw.randrange(40)
    return draw.randbytes(draw.choice([0, 3, 100, 480, 1000, 4060, 5000, 20_000]))


@pytest.mark.parametrize("page_size", [512, 1024, 4096, 65536])
@pytest.mark.parametrize("seed", range(4))
def test_random_tables_are_read_as_sqlite_reads_them(tmp_path: Path, page_size: int, seed: int) -> None:
    draw = random.Random(seed)
    path = tmp_path / "d"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size = {page_size}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE before (x)")
    connection.execute("CREATE TABLE t (a, b, c)")
    for step in range(120):
        connection.execute("BEGIN")
        for _ in range(draw.randrange(1, 12)):
            if draw.random() < 0.75:
                values = [some_value(draw) for _ in range(3)]
                connection.execute("INSERT INTO t VALUES (?, ?, ?)", values)
            else:
                at = draw.randrange(1, 700)
                connection.execute(draw.choice(["DELETE FROM t WHERE rowid = ?", "UPDATE t SET a = 7 WHERE rowid = ?"]), (at,))
        connection.execute("COMMIT" if draw.random() < 0.9 else "ROLLBACK")
        if step % 40 == 39:
            connection.execute(f"PRAGMA wal_checkpoint({draw.choice(['PASSIVE', 'TRUNCATE', 'RESTART'])})")
        if step % 20 == 10:
            assert rows(path) == by_sqlite(connection)
    expected = by_sqlite(connection)
    assert len(expected) > 100
    assert rows(path) == expected
    connection.execute("VACUUM")
    assert [row[1:] for row in rows(path)] == [row[1:] for row in by_sqlite(connection)]
    connection.close()
    assert not (tmp_path / "d-wal").exists()
    assert [row[1:] for row in rows(path)] == [row[1:] for row in expected]


def test_pages_that_follow_each_other_are_read_at_once() -> None:
    pages = [bytes([k]) * 60 for k in range(1, 5)]
    following = [6, 7, 8, 30]  # the page behind each of pages 5 to 8
    data = b"".join(number.to_bytes(4, "big") + page for number, page in zip(following, pages, strict=True))
    whole = b"".join(page[:56] for page in pages)  # 60 usable bytes of a page, less the number
    assert overflow_run(data, 64, 60, 5, 1000) == (whole, 30, 4)
    assert overflow_run(data, 64, 60, 5, 100) == (whole[:100], 7, 2)
    assert overflow_run(data[:-1], 64, 60, 5, 1000) == (whole[: 3 * 56], 8, 3)
    assert overflow_run(data, 64, 60, 9, 1000) == (whole[:56], 6, 1)  # its next page is not behind it
    assert overflow_run(b"", 64, 60, 5, 10) == (b"", 5, 0)
    with pytest.raises(ValueError, match="a page of 64 bytes cannot have 65 usable ones"):
        overflow_run(data, 64, 65, 5, 10)


def entries_of(n: int) -> list[tuple[int, int, bytes]]:
    return [(1, 8 * k + 8, (b"%d " % k) * (1 + k * 37 % 400)) for k in range(n)]


def test_every_torn_log_is_read_as_sqlite_reads_it(tmp_path: Path) -> None:
    """Cut at every 97th byte, and with one byte flipped: what our reader takes for whole is what SQLite does."""
    made = tmp_path / "made"
    made.mkdir()
    storage = SqliteStorage(str(made))
    for entry in entries_of(25):
        storage.append([entry])
    for name in (FILE_NAME, FILE_NAME + "-wal"):
        shutil.copy(made / name, tmp_path / name)
    storage.close()
    log = (tmp_path / (FILE_NAME + "-wal")).read_bytes()
    for at in range(0, len(log), 1499):
        for kind in ("cut", "flipped"):
            torn = bytearray(log[:at]) if kind == "cut" else bytearray(log)
            if kind == "flipped":
                torn[at] ^= 0x10
            folder = tmp_path / "torn"
            folder.mkdir()
            shutil.copy(tmp_path / FILE_NAME, folder / FILE_NAME)
            (folder / (FILE_NAME + "-wal")).write_bytes(torn)
            try:
                ours: Any = list(SqliteReader(str(folder)).read())
            except JournalError:
                ours = "refused"
            connection = sqlite3.connect(folder / FILE_NAME)
            try:
                theirs: Any = connection.execute("SELECT source, position, data FROM journal ORDER BY id").fetchall()
            except sqlite3.DatabaseError:
                theirs = "refused"
            connection.close()
            assert ours == theirs, (kind, at)
            shutil.rmtree(folder)


WRITER = """
import os, sys, time
from fasttune.storage import SqliteStorage
storage = SqliteStorage(sys.argv[1])
k = 0
os.write(1, b".")
while True:
    storage.append(
        [(1, 8 * k + 8, (b"%d " % k) * (1 + k * 37 % 400))],
        [(k % 50, 1, bytes(k * 91 % 30_000))],
        [((k + 25) % 50, 1)],
    )
    k += 1
    if k % 7 == 0:
        storage.flush_to_disk()
        # a hundred times as often as a run does it, and a busy machine's reader still has its turns; in the end it shall
        # not be that the journal grows faster than it is read
        time.sleep(0.01 if k < 1500 else 0.1)
    if k % 30 == 0:
        storage.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
"""


def test_what_is_read_while_it_is_written_belongs_together(tmp_path: Path) -> None:
    """The writer brings its log into the database, begins it anew and uses pages again, all the time."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        assert writer.stdout.read(1) == b"."
        seen = []
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reader = SqliteReader(str(tmp_path))
            while len(seen) < 40 or seen[-1] < 1500:
                found = list(reader.read())
                assert found == entries_of(len(found))
                seen.append(len(found))
                for key in sorted(reader.checkpoint_keys())[:3]:
                    reader.checkpoint(*key)  # it may be dropped by now, but is never damaged
        assert seen == sorted(seen)
    finally:
        writer.kill()
        writer.wait()
        if writer.stdout is not None:
            writer.stdout.close()
    assert list(SqliteReader(str(tmp_path)).read())[: seen[-1]] == entries_of(seen[-1])


@pytest.mark.parametrize("close", [False, True])
def test_a_log_that_came_and_went_while_nobody_looked_is_noticed(tmp_path: Path, close: bool) -> None:
    """Its first bytes look as before: there are none. Pages of the database were written over meanwhile."""
    storage = SqliteStorage(str(tmp_path))
    storage.append(entries_of(20))
    storage.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database = Database(str(tmp_path / FILE_NAME))
    try:
        root = database.root_of("journal")
        assert root is not None
        before = len(list(database.cells(root)))
        assert database.still_holds()
        os.utime(tmp_path / FILE_NAME, ns=(0, 0))  # clocks of files tick slowly on older systems
        database.look()
        assert len(list(database.cells(root))) == before
        storage.append(entries_of(40)[20:])
        if close:
            storage.close()
        else:
            storage.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert not database.still_holds()
        database.look()
        assert len(list(database.cells(root))) == 40
        assert database.still_holds()
    finally:
        database.close()
        storage.close()


def test_a_reader_in_the_writers_process_leaves_it_its_locks(tmp_path: Path) -> None:
    """Closing any descriptor of the database would take SQLite's locks away: another process that closes it would then
    remove the log under the writer."""
    storage = SqliteStorage(str(tmp_path))
    try:
        storage.append([(1, 8, b"one")])
        for _ in range(3):
            assert len(list(SqliteReader(str(tmp_path)).read())) == 1
        script = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
            "print(c.execute('SELECT count(*) FROM journal').fetchone()[0]); c.close()"
        )
        subprocess.run([sys.executable, "-c", script, str(tmp_path / FILE_NAME)], check=True, capture_output=True)
        assert storage.gone() is None, "the log is still the writer's"
        storage.append([(1, 16, b"two")])
        assert [data for _, _, data in SqliteReader(str(tmp_path)).read()] == [b"one", b"two"]
        assert len(os.listdir("/proc/self/fd")) < 200
    finally:
        storage.close()


def test_a_transaction_that_never_ended_keeps_nobody_from_reading(tmp_path: Path) -> None:
    """Frames at the log's end without the one that ends their transaction, of pages that are read: a power cut leaves them."""
    made, torn = tmp_path / "made", tmp_path / "torn"
    made.mkdir()
    torn.mkdir()
    storage = SqliteStorage(str(made))
    small = entries_of(3)
    storage.append(small)
    storage.append([(1, 1000, b"x" * 30_000)])  # several frames, the tables' own pages among them
    for name in (FILE_NAME, FILE_NAME + "-wal"):
        shutil.copy(made / name, torn / name)
    storage.close()
    log = torn / (FILE_NAME + "-wal")
    os.truncate(log, log.stat().st_size - 4096 - 24)
    reader = SqliteReader(str(torn))
    assert list(reader.read()) == small
    assert reader.positions() == {1: small[-1][1]}
    database = Database(str(torn / FILE_NAME))
    try:
        assert database.root_of("journal") is not None
        assert database.still_holds()
    finally:
        database.close()


# -- hostile files -----------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    folder = tmp_path / "stored"
    folder.mkdir()
    storage = SqliteStorage(str(folder))
    storage.append(entries_of(200))
    storage.close()
    return folder


def test_flipped_bytes_end_in_a_prefix_or_an_error(stored: Path) -> None:
    whole = (stored / FILE_NAME).read_bytes()
    expected = entries_of(200)
    for seed in seeds(1500):
        draw = random.Random(seed)
        broken = bytearray(whole)
        for _ in range(draw.randrange(1, 4)):
            broken[draw.randrange(len(broken))] = draw.choice([0, 1, 0x0D, 0x05, 0x7F, 0x80, 0xFF, draw.randrange(256)])
        (stored / FILE_NAME).write_bytes(broken)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                found = list(SqliteReader(str(stored)).read())
            except JournalError:
                continue
        assert found == expected[: len(found)], seed


def test_numbers_that_are_cut_off(tmp_path: Path) -> None:
    assert varint(b"\x81\x00", 0) == (128, 2)
    assert varint(b"\xff" * 9, 0) == (2**64 - 1, 9)
    for data in (b"", b"\x80", b"\xff" * 8):
        with pytest.raises(DamagedPage):
            varint(data, 0)
    with pytest.raises(DamagedPage):
        columns(b"\x02\x0a")
    with pytest.raises(DamagedPage):
        columns(b"\x7f\x00")


READ = """
import resource, sys, warnings
import fasttune.storage.reader
before = resource.getrusage(resource.RUSAGE_SELF)
warnings.simplefilter("ignore")
from fasttune.error import JournalError
from fasttune.storage.reader import SqliteReader
reader = SqliteReader(sys.argv[1])
n = 0
try:
    for _ in reader.read():
        n += 1
except JournalError as error:
    print("JournalError", error)
reader.checkpoint_keys()
after = resource.getrusage(resource.RUSAGE_SELF)
print(n, after.ru_maxrss - before.ru_maxrss, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
"""


def costs(folder: Path) -> tuple[int, float, float]:
    """Entries that were read, megabytes and seconds of the processor that it took, in a process of 600 MB at most."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))  # noqa: E731
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, preexec_fn=limit, timeout=60, check=True
    )
    n, kilobytes, seconds = done.stdout.splitlines()[-1].split()
    return int(n), int(kilobytes) / 1024, float(seconds)


def page_of_rows(cells: list[bytes], page_size: int = 4096) -> bytes:
    """A leaf of a table."""
    page = bytearray(page_size)
    end, pointers = page_size, b""
    for cell in cells:
        end -= len(cell)
        page[end : end + len(cell)] = cell
        pointers += end.to_bytes(2, "big")
    page[0], page[3:5], page[5:7] = 0x0D, len(cells).to_bytes(2, "big"), end.to_bytes(2, "big")
    page[8 : 8 + len(pointers)] = pointers
    return bytes(page)


def page_of_children(children: list[tuple[int, int]], last: int, page_size: int = 4096) -> bytes:
    """An interior page of a table: (child, largest key in it), and the child of the rest."""
    page = bytearray(page_size)
    end, pointers = page_size, b""
    for child, key in children:
        cell = child.to_bytes(4, "big") + bytes([0x80 | key >> 7, key & 0x7F])
        end -= len(cell)
        page[end : end + len(cell)] = cell
        pointers += end.to_bytes(2, "big")
    page[0], page[3:5], page[8:12] = 0x05, len(children).to_bytes(2, "big"), last.to_bytes(4, "big")
    page[12 : 12 + len(pointers)] = pointers
    return bytes(page)


def root_of(path: Path) -> int:
    database = Database(str(path))
    try:
        return database.root_of("journal") or 0
    finally:
        database.close()


def patch(path: Path, number: int, page: bytes) -> None:
    with path.open("r+b") as file:
        file.seek((number - 1) * len(page))
        file.write(page)


def test_a_tree_that_unfolds_to_more_than_the_file_is_refused(stored: Path) -> None:
    """Each level names the next one four hundred times: 10^50 rows in a few pages."""
    path = stored / FILE_NAME
    pages = path.stat().st_size // 4096
    patch(path, root_of(path), page_of_children([(pages, key) for key in range(1, 400)], pages))
    for level in range(8):
        patch(path, pages - level, page_of_children([(pages - level - 1, key) for key in range(1, 400)], pages - level - 1))
    n, megabytes, seconds = costs(stored)
    assert n < 10
    assert megabytes < 100
    assert seconds < 1.5


def test_pages_that_come_back_to_themselves_are_refused(stored: Path) -> None:
    """A row of 900 MB whose pages form a circle, in a file whose end is a hole."""
    path = stored / FILE_NAME
    root, pages = root_of(path), path.stat().st_size // 4096
    with path.open("r+b") as file:
        file.truncate(1 << 30)
        file.seek(28)
        file.write((1 << 18).to_bytes(4, "big"))
    size = 60 << 20
    head = bytes([0x80 | size >> 21, 0x80 | size >> 14 & 0x7F, 0x80 | size >> 7 & 0x7F, size & 0x7F, 1])
    usable = 4096
    least = (usable - 12) * 32 // 255 - 23
    local = least + (size - least) % (usable - 4)
    local = least if local > usable - 35 else local
    patch(path, root, page_of_rows([head + bytes(local) + pages.to_bytes(4, "big")]))
    patch(path, pages, pages.to_bytes(4, "big") + bytes(4092))
    n, megabytes, seconds = costs(stored)
    assert n == 0
    assert megabytes < 100
    assert seconds < 1.5


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP TABLE journal", "CREATE VIEW journal (id, source, position, crc, data) AS WITH RECURSIVE n(i) AS "
         "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, 1, 8 * i, 0, zeroblob(1000000) FROM n"],
        ["DROP TABLE journal", "CREATE TABLE journal (id INTEGER PRIMARY KEY, source, position, crc, "
         "data AS (zeroblob(1000000000)))", "INSERT INTO journal (source, position, crc) VALUES (1, 8, 0)"],
        ["DROP TABLE journal", "CREATE TABLE journal (id TEXT PRIMARY KEY, source) WITHOUT ROWID",
         "INSERT INTO journal VALUES ('a', 1)"],
        ["INSERT INTO journal VALUES (9999, 1, 8, 0, zeroblob(90000000))"],
    ],
    ids=["an endless view", "a column that is computed", "no keys", "a huge row"],
)  # fmt: skip
def test_another_thing_of_that_name_costs_little(stored: Path, statements: list[str]) -> None:
    connection = sqlite3.connect(stored / FILE_NAME)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    n, megabytes, seconds = costs(stored)
    assert n in (0, 200)
    assert megabytes < 100
    assert seconds < 1.5


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER more AFTER INSERT ON journal BEGIN DELETE FROM journal; END",
        "CREATE INDEX other ON journal (hex(data))",
        "CREATE VIEW IF NOT EXISTS other AS SELECT 1; ALTER TABLE journal ADD COLUMN more DEFAULT 7",
    ],
)
def test_the_writer_refuses_tables_that_do_something_of_their_own(stored: Path, statement: str) -> None:
    connection = sqlite3.connect(stored / FILE_NAME)
    connection.executescript(statement)
    connection.close()
    with pytest.raises(JournalError, match="that fasttune does not make"):
        SqliteStorage(str(stored))
    assert list(SqliteReader(str(stored)).read()) == entries_of(200)


def test_a_sparse_log_of_two_gigabytes_costs_nothing(stored: Path) -> None:
    with (stored / (FILE_NAME + "-wal")).open("wb") as file:
        file.truncate(2 << 30)
    n, megabytes, seconds = costs(stored)
    assert n == 200
    assert megabytes < 100
    assert seconds < 1.5
