"""What every storage promises; and what a journal in SQLite does when its file or its disk is damaged."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fasttune.error import JournalError
from fasttune.storage import MemoryStorage, SqliteStorage, Storage
from fasttune.storage.reader import SqliteReader
from fasttune.storage.sqlite import FILE_NAME

ENTRIES = [(0, 0, b"meta"), (1, 8, b"a" * 100), (2, 16, b"b" * 5000), (1, 24, b""), (0, 0, b"c")]


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    one = MemoryStorage() if request.param == "memory" else SqliteStorage(str(tmp_path))
    yield one
    one.close()


def test_entries_come_back_in_their_order(storage: Storage) -> None:
    assert (list(storage.read()), storage.positions()) == ([], {})
    storage.append(ENTRIES[:2])
    storage.append([])
    storage.append(ENTRIES[2:])
    assert list(storage.read()) == ENTRIES
    for after in range(7):
        assert list(storage.read(after)) == ENTRIES[after:]


def test_a_text_file_is_left_beside_the_journal_or_nowhere(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for text in ("first\n", "then\n"):
        storage.write_file("story.txt", text)
        if not isinstance(storage, MemoryStorage):
            assert (tmp_path / "story.txt").read_text() == text
    assert list(elsewhere.iterdir()) == []
    assert not list(tmp_path.glob("*.writing"))


def test_positions_are_those_behind_the_last_entries(storage: Storage) -> None:
    storage.append(ENTRIES)
    assert storage.positions() == {0: 0, 1: 24, 2: 16}
    storage.append([(2, 2**50, b"")])
    assert storage.positions()[2] == 2**50


def test_any_bytes_like_data_is_copied(storage: Storage) -> None:
    data = bytearray(b"12345678")
    storage.append([(1, 8, memoryview(data)), (1, 16, data)])
    data[:] = b"overwrit"
    assert [entry[2] for entry in storage.read()] == [b"12345678"] * 2


def test_a_transaction_is_whole_or_not_at_all(storage: Storage) -> None:
    storage.append(ENTRIES[:1])
    for wrong in ([*ENTRIES[1:], (3, 8, object())], [*ENTRIES[1:], (3, 8)]):
        with pytest.raises((TypeError, ValueError, sqlite3.Error)):
            storage.append(wrong)
        assert list(storage.read()) == ENTRIES[:1]
    storage.append(ENTRIES[1:])
    assert list(storage.read()) == ENTRIES


def test_an_undamaged_journal_needs_no_mending(storage: Storage) -> None:
    storage.append(ENTRIES)
    assert not storage.mend()
    assert list(storage.read()) == ENTRIES


def test_closing_twice_is_safe(storage: Storage) -> None:
    storage.append(ENTRIES)
    storage.flush_to_disk()
    storage.write_table(["a", "A", 'say "x"'], [(1, 2, 3)])
    storage.close()
    storage.close()


# -- SQLite: other processes and connections ---------------------------------------------------------------


def test_what_was_appended_is_there_after_reopening(tmp_path: Path) -> None:
    with_closing(SqliteStorage(str(tmp_path)), lambda storage: storage.append(ENTRIES))
    assert (
        with_closing(SqliteReader(str(tmp_path)), lambda storage: list(storage.read()))
        == ENTRIES
    )
    reader = SqliteReader(str(tmp_path))
    assert (list(reader.read(1)), reader.positions()) == (ENTRIES[1:], {0: 0, 1: 24, 2: 16})
    with pytest.raises(ValueError, match="opened for reading"):
        reader.append(ENTRIES)


def with_closing(storage: SqliteStorage | SqliteReader, work: Callable[[Any], Any]) -> Any:
    try:
        return work(storage)
    finally:
        storage.close()


def test_a_second_connection_reads_while_the_first_writes(tmp_path: Path) -> None:
    writer, reader = SqliteStorage(str(tmp_path)), SqliteReader(str(tmp_path))
    try:
        writer.append([(1, 8, b"0")])
        for k in range(1, 50):
            reading = reader.read()
            seen = [next(reading)]
            writer.append([(1, 8 * k + 8, b"%d" % k)])
            seen += list(reading)
            assert [entry[2] for entry in seen] == [b"%d" % j for j in range(k)]
            assert reader.positions() == {1: 8 * k + 8}
    finally:
        reader.close()
        writer.close()


def test_a_commit_survives_kill_9(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from fasttune.storage import SqliteStorage\n"
        f"storage = SqliteStorage({str(tmp_path)!r})\n"
        "for k in range(10**9):\n"
        "    storage.append([(1, 8 * k + 8, b'x' * 300), (2, 8 * k + 8, b'y' * 300)])\n"
        "    os.write(1, b'.')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    told = len(child.stdout.read(40))
    child.kill()
    told += len(child.stdout.read())
    child.wait()
    child.stdout.close()
    storage = SqliteStorage(str(tmp_path))
    entries = list(storage.read())
    storage.close()
    assert len(entries) % 2 == 0
    assert told <= len(entries) // 2 <= told + 1
    assert entries == [(source, 8 * k + 8, data * 300) for k in range(len(entries) // 2)
                       for source, data in ((1, b"x"), (2, b"y"))]  # fmt: skip


# -- SQLite: damage ----------------------------------------------------------------------------------------


def stored(folder: Path, n: int = 6) -> list[tuple[int, int, bytes]]:
    entries = [(1, 8 * k + 8, bytes([65 + k]) * 500) for k in range(n)]
    with_closing(SqliteStorage(str(folder)), lambda storage: [storage.append([entry]) for entry in entries])
    return entries


def change(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal SET data = CAST('x' || substr(data, 2) AS BLOB) WHERE id = 4",
        "UPDATE journal SET data = substr(data, 1, 499) WHERE id = 4",
        "UPDATE journal SET data = 'text' WHERE id = 4",
        "UPDATE journal SET crc = crc + 1 WHERE id = 4",
        "UPDATE journal SET position = position + 8 WHERE id = 4",
        "UPDATE journal SET position = 'text' WHERE id = 4",
        "UPDATE journal SET source = 0 WHERE id = 4",
    ],
)
def test_what_lies_before_a_damaged_entry_is_read(tmp_path: Path, statement: str) -> None:
    entries = stored(tmp_path)
    change(tmp_path, statement)
    storage = SqliteStorage(str(tmp_path))
    try:
        with pytest.warns(RuntimeWarning, match="damaged behind entry 3 of its journal"):
            assert list(storage.read()) == entries[:3]
        with pytest.warns(RuntimeWarning, match="damaged behind entry 3"):
            assert list(storage.read(2)) == entries[2:3]
        with pytest.warns(RuntimeWarning, match="damaged behind entry 3"):
            assert list(storage.read(3)) == []
    finally:
        storage.close()


def test_what_is_appended_behind_damage_can_be_read(tmp_path: Path) -> None:
    entries = stored(tmp_path)
    change(tmp_path, "UPDATE journal SET crc = crc + 1 WHERE id = 4")
    storage = SqliteStorage(str(tmp_path))
    try:
        with pytest.warns(RuntimeWarning):
            assert storage.mend()
        assert storage.positions() == {1: 24}
        storage.append([(1, 99, b"new")])
        assert list(storage.read()) == [*entries[:3], (1, 99, b"new")]
        assert not storage.mend()
        kept = storage.connection.execute("SELECT id, data FROM damaged ORDER BY id").fetchall()
        assert kept == [(k + 1, entries[k][2]) for k in (3, 4, 5)]
    finally:
        storage.close()


def test_a_run_that_only_reads_on_mends_with_its_first_entry(tmp_path: Path) -> None:
    entries = stored(tmp_path)
    change(tmp_path, "UPDATE journal SET crc = crc + 1 WHERE id = 6")
    storage = SqliteStorage(str(tmp_path))
    try:
        with pytest.warns(RuntimeWarning):
            list(storage.read())
        storage.append([(2, 8, b"new")])
        assert list(storage.read()) == [*entries[:5], (2, 8, b"new")]
    finally:
        storage.close()


def read_whatever(folder: Path) -> list[tuple[int, int, bytes]] | None:
    """Entries of a perhaps damaged file; None when it cannot be opened at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return with_closing(
                SqliteReader(str(folder)), lambda storage: list(storage.read())
            )
        except JournalError:
            return None


def test_flipped_bytes_of_the_file_never_give_other_entries(tmp_path: Path) -> None:
    entries = stored(tmp_path, 40)
    good = (tmp_path / FILE_NAME).read_bytes()
    whole = 0
    for at in range(0, len(good), 97):
        broken = bytearray(good)
        broken[at] ^= 0xFF
        (tmp_path / FILE_NAME).write_bytes(broken)
        found = read_whatever(tmp_path)
        assert found is None or found == entries[: len(found)]
        whole += found == entries
    assert whole < len(range(0, len(good), 97)) / 2


def test_a_truncated_file_gives_what_lies_before(tmp_path: Path) -> None:
    entries = stored(tmp_path, 40)
    good = (tmp_path / FILE_NAME).read_bytes()
    for size in range(0, len(good), 1000):
        (tmp_path / FILE_NAME).write_bytes(good[:size])
        found = read_whatever(tmp_path)
        assert found is None or found == entries[: len(found)]


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 500])
def test_another_file_of_that_name_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(JournalError):
        list(SqliteReader(str(tmp_path)).read())
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_where_there_is_no_experiment_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no experiment at"):
        list(SqliteReader(str(tmp_path)).read())
    with pytest.raises(JournalError, match="cannot open"):
        SqliteStorage(str(tmp_path / "missing"))
    assert list(tmp_path.iterdir()) == []
    change(tmp_path, "CREATE TABLE other (x)")
    with pytest.raises(JournalError, match="not one of fasttune's"):
        list(SqliteReader(str(tmp_path)).read())


# -- SQLite: the folder and the disk -----------------------------------------------------------------------


def test_what_became_of_the_folder_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    other = tmp_path / "other"
    for step, said in (
        (lambda: folder.rename(other), f"{folder} has been removed or renamed"),
        (lambda: (folder.rename(other), folder.mkdir()), f"{folder} has been replaced by another one"),
        (lambda: (folder / FILE_NAME).unlink(), f"{folder / FILE_NAME} has been removed or renamed"),
        (lambda: shutil.copy(folder / FILE_NAME, tmp_path / "x").replace(folder / FILE_NAME),
         f"{folder / FILE_NAME} has been replaced by another one"),
        (lambda: (folder / f"{FILE_NAME}-wal").unlink(), f"{folder / FILE_NAME}-wal has been removed or renamed"),
    ):
        for path in (folder, other):
            shutil.rmtree(path, ignore_errors=True)
        folder.mkdir()
        storage = SqliteStorage(str(folder))
        storage.append(ENTRIES)
        assert storage.gone() is None
        step()
        assert storage.gone() == said
        assert list(storage.read()) == ENTRIES
        storage.close()


def test_the_log_comes_into_the_database_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it has grown, or when something has lain in it for a while, but not for too large a share of the time."""
    now = [100.0]
    flushed: list[float] = []
    real = SqliteStorage._sync

    def sync(storage: SqliteStorage, fd: int, path: str, *call: Any) -> None:
        real(storage, fd, path, *call)
        if path.endswith("-wal"):
            flushed.append(now[0])
            now[0] += 0.2  # so long it takes

    monkeypatch.setattr("fasttune.storage.sqlite.time.monotonic", lambda: now[0])
    monkeypatch.setattr(SqliteStorage, "_sync", sync)
    storage = SqliteStorage(str(tmp_path))
    storage.flush_if_due()  # there is nothing
    storage.append(ENTRIES)
    storage.flush_if_due()
    assert flushed == []
    now[0] = 102.0
    storage.flush_if_due()
    assert flushed == [102.0]
    storage.append(ENTRIES)
    now[0] = 122.1  # 0.2 s is one per cent of twenty
    storage.flush_if_due()
    assert flushed == [102.0]
    now[0] = 122.3
    storage.flush_if_due()
    assert flushed == [102.0, 122.3]
    storage.append([(1, 1 << 30, bytes(1 << 25))])
    storage.flush_if_due()
    assert len(flushed) == 3
    storage.close()


def test_a_durable_storage_brings_every_commit_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = SqliteStorage._sync

    def sync(storage: SqliteStorage, fd: int, path: str, *call: Any) -> None:
        real(storage, fd, path, *call)
        synced.append(os.path.basename(path))

    monkeypatch.setattr(SqliteStorage, "_sync", sync)
    for durable in (True, False):
        storage = SqliteStorage(str(tmp_path), durable=durable)
        synced.clear()
        storage.append(ENTRIES)
        storage.append([], [(0, 1, b"x")])
        assert synced == ([f"{FILE_NAME}-wal"] * 2 if durable else [])
        storage.close()


# -- SQLite: no space --------------------------------------------------------------------------------------


def fill(storage: SqliteStorage) -> int:
    """Append until the disk is full; how many transactions of two entries were taken."""
    for k in range(10_000):
        before = storage.positions()
        try:
            storage.append([(1, 16 * k + 8, b"x" * 9000), (1, 16 * k + 16, b"y" * 9000)])
        except OSError:
            assert storage.positions() == before
            return k
    raise AssertionError("the disk was never full")


def check_full(storage: SqliteStorage, make_room: Callable[[], None]) -> None:
    k = fill(storage)
    assert k > 0
    assert storage.positions() == {1: 16 * k}
    assert len(list(storage.read())) == 2 * k
    with pytest.raises(OSError, match="cannot write"):
        storage.append([(2, 8, b"z" * 10**7)])
    with pytest.raises(OSError, match="cannot write"):
        storage.write_table(["trial"], [("x" * 10**7,)])
    assert storage.positions() == {1: 16 * k}
    make_room()
    storage.append([(2, 8, b"z" * 9000)])
    assert list(storage.read())[2 * k :] == [(2, 8, b"z" * 9000)]


def test_a_file_that_may_not_grow_is_an_os_error(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    storage = SqliteStorage(str(tmp_path))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
        check_full(storage, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
        storage.close()


def test_a_full_disk_is_an_os_error(tmp_path: Path) -> None:
    """On a disk of 2 MB where one can be mounted; elsewhere the limit of the test above stands for it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        return
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(b"\0" * 300_000)
        storage = SqliteStorage(str(disk))
        try:
            check_full(storage, ballast.unlink)
        finally:
            storage.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
