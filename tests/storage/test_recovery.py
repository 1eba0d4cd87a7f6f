"""What a killed process left in its rings is moved into the journal once; one process at a time writes."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fasttune import _core
from fasttune.checkpoint import memory_name
from fasttune.engine.records import ExperimentRecords
from fasttune.error import ExperimentLockedError
from fasttune.storage import MemoryStorage, SqliteStorage
from fasttune.storage.base import Entry
from fasttune.storage.recovery import (
    ExperimentLock,
    copied_rings,
    left_in,
    read_rings,
    recover_rings,
    ring_path,
    ring_sources,
    writer_of,
)

CAPACITY = 1 << 14


def new_ring(folder: Path, source: int, capacity: int = CAPACITY, more: int = 0) -> _core.Ring:
    """A ring in its file, with ``more`` bytes of another ring behind it."""
    path = ring_path(str(folder), source)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w+b") as file:
        size = _core.Ring.nbytes(capacity)
        file.truncate(size + more)
        return _core.Ring(memoryview(mmap.mmap(file.fileno(), 0))[:size], create=True)


def numbers(storage: MemoryStorage | SqliteStorage, source: int) -> list[int]:
    """Trial numbers of a source's records, as the journal has them."""
    return [record[3] for one, _, data in storage.read() if one == source for record in _core.decode(data)]


def test_what_is_left_is_moved_once(tmp_path: Path) -> None:
    storage = SqliteStorage(str(tmp_path))
    try:
        ring = new_ring(tmp_path, 7, more=4096 + 8192)
        for k in range(10):
            ring.write(_core.KIND_META, k)
        del ring
        assert ring_sources(str(tmp_path)) == [7]
        assert recover_rings(str(tmp_path), storage) == 240
        assert numbers(storage, 7) == list(range(10))
        assert storage.positions() == {7: 240}
        assert not (tmp_path / "rings").exists()
        assert recover_rings(str(tmp_path), storage) == 0
        assert numbers(storage, 7) == list(range(10))
    finally:
        storage.close()


@pytest.mark.parametrize("when", ["taken", "committed", "released"])
def test_the_journals_position_wins(tmp_path: Path, when: str) -> None:
    """Killed before the commit, between commit and release, behind both: every record is moved once."""
    storage = MemoryStorage()
    ring = new_ring(tmp_path, 1)
    for k in range(700):  # goes round the ring's end
        if not ring.write(_core.KIND_META, k, payload=b"x" * 40):
            batch: list[Entry] = []
            while (data := ring.take()) is not None:
                batch.append((1, ring.position, bytes(data)))
            storage.append(batch)
            ring.release()
            assert ring.write(_core.KIND_META, k, payload=b"x" * 40)
    data = ring.take()
    if when != "taken":
        storage.append([(1, ring.position, bytes(data))])
    if when == "released":
        ring.release()
    del ring, data
    recover_rings(str(tmp_path), storage)
    assert numbers(storage, 1) == list(range(700))


def test_a_process_killed_while_it_reports_loses_nothing(tmp_path: Path) -> None:
    """Everything that write() returned for is in the journal afterwards, whole and in order."""
    script = (
        "import mmap, os, sys\n"
        "from fasttune import _core\n"
        "with open(sys.argv[1], 'r+b') as file:\n"
        "    ring = _core.Ring(mmap.mmap(file.fileno(), 0))\n"
        "k = 0\n"
        "while ring.write(_core.KIND_META, k, payload=b'x' * (k % 40)):\n"
        "    k += 1\n"
        "    os.write(1, b'.')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    for source, dots in ((3, 30), (4, 10**6)):
        del_ring = new_ring(tmp_path, source)
        del del_ring
        child = subprocess.Popen(
            [sys.executable, "-c", script, ring_path(str(tmp_path), source)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        told = len(child.stdout.read(dots))
        child.kill()
        told += len(child.stdout.read())
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
        storage = MemoryStorage()
        recover_rings(str(tmp_path), storage)
        found = numbers(storage, source)
        assert found == list(range(len(found)))
        assert told <= len(found) <= told + 1


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, 1, "of another version"),
        (8, 2**40, "it cannot hold"),
        (8, 2**20, "cut off"),
        (64, 2**50, "has been overwritten"),
        (64, 25, "not between two records"),
        (8, 2**63, "it cannot hold"),
        (16, 1, "damaged at byte 4096"),  # its epoch: no seal is its own
    ],
)
def test_a_damaged_ring_is_told_and_the_others_are_moved(
    tmp_path: Path, at: int, value: int, message: str
) -> None:
    for source in (1, 2, 3):
        ring = new_ring(tmp_path, source)
        ring.write(_core.KIND_META, source)
        del ring
    with open(ring_path(str(tmp_path), 2), "r+b") as file:
        file.seek(at)
        file.write(struct.pack("<Q", value))
    storage = MemoryStorage()
    with pytest.warns(RuntimeWarning, match=f"cannot be read .*({message})"):
        recover_rings(str(tmp_path), storage)
    assert [numbers(storage, source) for source in (1, 2, 3)] == [[1], [], [3]]
    assert ring_sources(str(tmp_path)) == []


def test_damaged_records_of_a_ring_do_not_reach_the_journal(tmp_path: Path) -> None:
    ring = new_ring(tmp_path, 1)
    for k in range(300):
        ring.write(_core.KIND_META, k, payload=b"x" * 16)
    del ring
    with open(ring_path(str(tmp_path), 1), "r+b") as file:
        file.seek(4096 + 40 * 100)
        file.write(b"\xff" * 8)
    storage = MemoryStorage()
    with pytest.warns(RuntimeWarning, match="damaged at byte 8096, 8000 bytes before its end"):
        recover_rings(str(tmp_path), storage)
    assert numbers(storage, 1) == list(range(100))


def test_no_flipped_bit_and_no_missing_page_becomes_a_record(tmp_path: Path) -> None:
    """Every byte of what is left, every bit of some of them, pages of zeros and of an earlier lap."""
    ring = new_ring(tmp_path, 1)
    for lap in range(2):
        written = 0
        while ring.write(_core.KIND_META, lap * 1000 + written, payload=b"x" * (written % 3 * 8), step=written):
            written += 1
        if lap == 0:
            ring.take()
            ring.release()
            earlier = Path(ring_path(str(tmp_path), 1)).read_bytes()
            begin = ring.position
    del ring
    file = Path(ring_path(str(tmp_path), 1))
    whole = file.read_bytes()
    entries, why = _core.read_ring(whole, begin)
    right = [record[3:5] for _, data in entries for record in _core.decode(data)]
    assert why == ""
    assert right == [(1000 + k, k) for k in range(len(right))]
    assert len(right) > 400

    def survives(image: bytes) -> None:
        found, said = _core.read_ring(image, begin)
        told = [record[3:5] for _, data in found for record in _core.decode(data)]
        assert told == right[: len(told)]
        assert len(told) == len(right) or said

    for at in range(4096, 4096 + CAPACITY, 7):
        image = bytearray(whole)
        image[at] ^= 1 << at % 8
        survives(bytes(image))
    for at in range(4096, len(whole), 4096):
        survives(whole[:at] + bytes(4096) + whole[at + 4096 :])
        survives(whole[:at] + earlier[at : at + 4096] + whole[at + 4096 :])
    for at in range(0, len(whole), 1024):
        survives(whole[:at])


@pytest.mark.parametrize("size", [0, 100, _core.Ring.nbytes(CAPACITY)])
def test_a_ring_that_was_never_made_holds_nothing(tmp_path: Path, size: int) -> None:
    new_ring(tmp_path, 1)
    with open(ring_path(str(tmp_path), 1), "w+b") as file:
        file.truncate(size)
    assert recover_rings(str(tmp_path), MemoryStorage()) == 0
    assert ring_sources(str(tmp_path)) == []


def test_behind_a_damaged_journal_the_rings_go_on_from_what_is_whole(tmp_path: Path) -> None:
    storage = SqliteStorage(str(tmp_path))
    try:
        storage.append([(1, 24, _core.encode(_core.KIND_META, 0)), (1, 48, _core.encode(_core.KIND_META, 1))])
        storage.connection.execute("UPDATE journal SET crc = 0 WHERE id = 2")
        ring = new_ring(tmp_path, 1)
        for k in range(4):
            ring.write(_core.KIND_META, k)
        del ring
        with pytest.warns(RuntimeWarning, match="damaged behind entry 1"):
            ends = {source: position for source, position, _ in storage.read()}
        storage.append(read_rings(str(tmp_path), ends))
        assert numbers(storage, 1) == [0, 1, 2, 3]
    finally:
        storage.close()


class FullStorage(MemoryStorage):
    """A storage whose disk is full."""

    def append(self, entries: object, *checkpoints: object) -> None:
        raise OSError("no space left")


def test_a_full_disk_leaves_the_rings(tmp_path: Path) -> None:
    ring = new_ring(tmp_path, 1)
    ring.write(_core.KIND_META, 5)
    del ring
    with pytest.raises(OSError, match="no space left"):
        recover_rings(str(tmp_path), FullStorage())
    storage = MemoryStorage()
    recover_rings(str(tmp_path), storage)
    assert numbers(storage, 1) == [5]


def test_other_files_are_no_rings(tmp_path: Path) -> None:
    (tmp_path / "rings").mkdir()
    for name in ("x.ring", "1.tmp", "rules"):
        (tmp_path / "rings" / name).write_bytes(b"")
    assert ring_sources(str(tmp_path)) == []
    assert ring_sources(str(tmp_path / "missing")) == []


# -- the lock ----------------------------------------------------------------------------------------------


def test_the_second_writer_is_refused_by_name(tmp_path: Path) -> None:
    lock = ExperimentLock(str(tmp_path))
    with pytest.raises(ExperimentLockedError, match=f"being written by process {os.getpid()}"):
        ExperimentLock(str(tmp_path))
    lock.release()
    lock.release()
    ExperimentLock(str(tmp_path)).release()


def test_kill_9_frees_the_lock(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from fasttune.storage.recovery import ExperimentLock\n"
        "lock = ExperimentLock(sys.argv[1])\n"
        "os.write(1, b'.')\n"
        "time.sleep(600)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.read(1) == b"."
        with pytest.raises(ExperimentLockedError, match=f"by process {child.pid}:"):
            ExperimentLock(str(tmp_path))
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    ExperimentLock(str(tmp_path)).release()


def test_who_writes_can_be_asked_without_a_trace(tmp_path: Path) -> None:
    assert writer_of(str(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []
    lock = ExperimentLock(str(tmp_path))
    assert writer_of(str(tmp_path)) == os.getpid()
    assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    lock.release()
    (tmp_path / ".lock").write_text("12345\n")
    before = (tmp_path / ".lock").stat()
    assert writer_of(str(tmp_path)) is None
    assert (tmp_path / ".lock").read_text() == "12345\n"
    assert (tmp_path / ".lock").stat().st_mtime_ns == before.st_mtime_ns


def test_a_forked_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = ExperimentLock(str(tmp_path))
    waits, goes = os.pipe()
    hears, begins = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(begins, b".")
        os.read(waits, 1)
        os._exit(0)
    try:
        os.read(hears, 1)  # it has begun, and so has let go
        lock.release()
        ExperimentLock(str(tmp_path)).release()
    finally:
        os.write(goes, b".")
        os.waitpid(child, 0)
        for end in (waits, goes, hears, begins):
            os.close(end)


def test_a_checkpoint_whose_record_does_not_fit_takes_no_other_ones_place() -> None:
    """Two attempts in a ring, of the second of which the journal knows nothing any more; both have saved at step 1."""

    def begun(changes: int) -> bytes:
        return _core.encode(_core.KIND_START, 0, payload=struct.pack("<IId", 1, changes, 0.0))

    def saved(contents: bytes) -> bytes:
        return _core.encode(_core.KIND_CHECKPOINT, 0, 1, contents, _core.HELD)

    meta = {"format": 1, "name": "n", "metric": None, "mode": None, "prefix": "p", "trainables": [{"name": "t"}]}
    records = ExperimentRecords(meta, None, "folder")
    records.fold_found(0, _core.encode(_core.KIND_CONFIG, payload=b'{"experiment": 0, "config": {}, "params": {}}'))
    left = begun(0) + saved(b"the first") + begun(1) + saved(b"the second")
    list(records.take_leftovers([(1, len(left), left)], {}))
    assert records.saves.unsaved == {memory_name(0, 1): b"the first"}
    ((source, position, stored),) = records.leftovers
    assert (source, position) == (1, len(left))
    assert [kind for kind, *_ in _core.decode(stored)] == [_core.KIND_START, _core.KIND_CHECKPOINT]
    assert len(records.take_unfit()) == 2


def test_a_journal_that_lost_its_end_finds_it_in_a_ring_that_was_released(tmp_path: Path) -> None:
    """For a reader as for a run that goes on: what the journal had is in the ring until it is written over."""
    ring = new_ring(tmp_path, 3)
    for trial in range(3):
        ring.write(_core.KIND_END, trial)
    while ring.take() is not None:
        pass
    ring.release()
    copies = copied_rings(str(tmp_path))
    first = ring.head // 3
    ((source, position, records),) = left_in(str(tmp_path), copies, {3: first})
    assert (source, position) == (3, ring.head)
    assert [record[3] for record in _core.decode(records)] == [1, 2]
    assert left_in(str(tmp_path), copies, {3: ring.head}) == []


@pytest.mark.parametrize("taken", [False, True])
def test_a_ring_that_holds_nothing_is_not_said_to_be_damaged(tmp_path: Path, taken: bool, recwarn: Any) -> None:
    """A worker was killed before its first record, or behind the last one that the journal has."""
    ring = new_ring(tmp_path, 3)
    if taken:
        ring.write(_core.KIND_META, 1)
        while ring.take() is not None:
            pass
        ring.release()
    assert left_in(str(tmp_path), copied_rings(str(tmp_path)), {3: ring.head}) == []
    assert read_rings(str(tmp_path), {3: ring.head}) == []
    assert [str(one.message) for one in recwarn] == []


def test_a_trial_tells_its_attributes_and_nothing_else_of_itself() -> None:
    meta = {"format": 1, "name": "n", "metric": None, "mode": None, "prefix": "p", "trainables": [{"name": "t"}]}
    records = ExperimentRecords(meta, None, "folder")
    records.fold_found(0, _core.encode(_core.KIND_CONFIG, payload=b'{"experiment": 0, "config": {}, "params": {}}'))
    for told in (b'{"name": "other"}', b'{"dirname": "other"}', b'{"added": {"loss": 0}}', b'{"resources": [[{"CPU": 9}]]}'):
        records.fold_found(1, _core.encode(_core.KIND_TOLD, 0, 0, told))
    assert [one.why.split(", and ")[0] for one in records.take_unfit()] == ["a trial tells its attributes alone"] * 4
    assert (records.trial_name(0), records._additions) == ("t_p_00000", {})
    records.fold_found(1, _core.encode(_core.KIND_TOLD, 0, 0, b'{"attributes": {"a": 1}}'))
    records.fold_found(0, _core.encode(_core.KIND_TOLD, 0, 0, b'{"name": "mine"}'))
    assert (records.attributes_of(0), records.trial_name(0), records.take_unfit()) == ({"a": 1}, "mine", [])
