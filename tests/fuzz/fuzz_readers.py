"""What reads bytes of others, under atheris (``make fuzz``): any input gives an answer or an error in words.

    fuzz_readers.py TARGET [libFuzzer's arguments, e.g. -max_total_time=60]

Targets: journal (records of an experiment), database (SQLite's files), ring, cuda (CUDA_VISIBLE_DEVICES), cpuset.
What it finds becomes a test of its own.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fasttune"]):
    from fasttune import _core
    from fasttune.devices.gpus import Gpu, visible_gpus
    from fasttune.devices.machine import detect
    from fasttune.engine.record_checks import WRONG  # noqa: F401 - instrumented
    from fasttune.engine.records import ExperimentRecords
    from fasttune.engine.sql_table import table_rows
    from fasttune.error import JournalError
    from fasttune.storage.memory import MemoryStorage
    from fasttune.storage.reader import SqliteReader
    from fasttune.storage.recovery import copied_rings, left_in

FOLDER = Path(tempfile.mkdtemp(prefix="fasttune-fuzz-"))
META = {
    "format": 1, "name": "n", "created": 1.0, "prefix": "abc", "metric": "m", "mode": "min", "seed": 1, "hostname": "h", "pid": 1,
    "scheduler": "S", "searcher": "B", "max_failures": 0, "stop": {},
    "trainables": [{"name": "t", "experiment": "n", "num_samples": 9, "is_class": False, "space": ["x"], "resources": None}],
    "variants": [{"format": 1, "space": {"x": {"~": "Float", "bounds": [0.0, 1.0]}}, "points": [], "exact": True, "num_samples": 9,
                  "seed": 1, "constant_grid_search": False, "columns": ["x"]}],
}  # fmt: skip
CONFIGS = struct.pack("<II", 0, 0) + struct.pack("<Q", 0) + struct.pack("<2d", 0.25, 0.5)


def journal(data: bytes) -> None:
    """The first byte: how many are the description. The rest: records, as kind, flags, trial, step and a payload."""
    feed = atheris.FuzzedDataProvider(data)
    meta = json.dumps(META).encode()
    if feed.ConsumeIntInRange(0, 9) == 0:
        meta = feed.ConsumeBytes(400)
    storage = MemoryStorage()
    storage.append([(0, 0, _core.encode(_core.KIND_META, payload=meta))])
    records = [
        _core.encode(_core.KIND_CONFIGS, 0, 2, CONFIGS),
        _core.encode(_core.KIND_START, 0),
        _core.encode(_core.KIND_SCHEMA, payload=b'{"keys": ["m"], "kinds": "f"}'),
    ]
    while feed.remaining_bytes():
        records.append(
            _core.encode(
                feed.ConsumeIntInRange(0, 20),
                feed.ConsumeIntInRange(0, 4),
                feed.ConsumeIntInRange(0, 2**32 - 1) if feed.ConsumeBool() else feed.ConsumeIntInRange(0, 3),
                feed.ConsumeBytes(feed.ConsumeIntInRange(0, 60)),
                feed.ConsumeIntInRange(0, 255),
                feed.ConsumeFloat(),
            )
        )
    whole = b"".join(records)
    if feed.ConsumeBool() and data:
        whole = whole[: -1 - data[0] % 30]
    storage.append([(0, len(whole), whole)])
    try:
        found = ExperimentRecords.read(storage, "/fuzz")
    except JournalError:
        return
    for i in range(len(found)):
        found.config(i), found.last_result(i), found.evaluated_params(i), found.experiment_tag(i), found.trial_dirname(i)
        found.failure(i), found.checkpoints(i), found.resources(i), found.saves.latest(i), found.results(i)
    columns, rows = table_rows(found)
    assert all(len(row) == len(columns) for row in rows)
    assert found.story(0)


def database(data: bytes) -> None:
    """A database that SQLite has made, with bytes changed; and a log of any bytes."""
    feed = atheris.FuzzedDataProvider(data)
    pages = bytearray(GOOD)
    for _ in range(feed.ConsumeIntInRange(0, 20)):
        pages[feed.ConsumeIntInRange(0, len(pages) - 1)] = feed.ConsumeIntInRange(0, 255)
    (FOLDER / "experiment.db").write_bytes(pages)
    (FOLDER / "experiment.db-wal").write_bytes(feed.ConsumeBytes(10_000) if feed.ConsumeBool() else b"")
    reader = SqliteReader(str(FOLDER))
    try:
        found = list(reader.read())
        assert found == ENTRIES[: len(found)]
        list(reader.salvaged([]))
        for key in reader.checkpoint_keys():
            reader.checkpoint(*key)
    except JournalError:
        return


def ring(data: bytes) -> None:
    feed = atheris.FuzzedDataProvider(data)
    made = bytearray(4096 + 4096 + 1024)
    writer = _core.Ring(made, create=True)
    for k in range(feed.ConsumeIntInRange(0, 40)):
        writer.write(_core.KIND_META, k, payload=b"x" * (k % 30))
    del writer
    for _ in range(feed.ConsumeIntInRange(0, 12)):
        at = feed.ConsumeIntInRange(0, 300) if feed.ConsumeBool() else feed.ConsumeIntInRange(0, len(made) - 1)
        made[at] = feed.ConsumeIntInRange(0, 255)
    (FOLDER / "rings" / "1.ring").write_bytes(made[: len(made) - feed.ConsumeIntInRange(0, 3) * 1000])
    for _, _, records in left_in(str(FOLDER), copied_rings(str(FOLDER)), {1: 8 * feed.ConsumeIntInRange(0, 300)}):
        for record in _core.decode(records):
            assert record[0] == _core.KIND_META
            assert record[6].rstrip(b"\0") == b"x" * (record[3] % 30)


GPUS = tuple(Gpu(f"GPU-{k:04d}-aa", index=k) for k in range(4))


def cuda(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    found = visible_gpus(GPUS, text)
    assert len(set(found)) == len(found)
    assert set(found) <= set(GPUS)


def cpuset(data: bytes) -> None:
    """Files of a cgroup."""
    feed = atheris.FuzzedDataProvider(data)
    group = FOLDER / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True, exist_ok=True)
    (FOLDER / "proc" / "self").mkdir(parents=True, exist_ok=True)
    for path in (group / "cpuset.cpus.effective", group / "cpu.max", group / "memory.max", FOLDER / "proc" / "meminfo"):
        path.write_bytes(feed.ConsumeBytes(40))
    (FOLDER / "proc" / "self" / "cgroup").write_bytes(feed.ConsumeBytes(60))
    machine = detect({"CUDA_VISIBLE_DEVICES": ""}, str(FOLDER), affinity=range(8))
    assert 1 <= len(machine.cpus) <= 8


def made_by_sqlite() -> tuple[bytes, list[tuple[int, int, bytes]]]:
    from fasttune.storage.sqlite import SqliteStorage

    entries = [(1, 8 * k + 8, bytes([k]) * (40 * k)) for k in range(60)]
    storage = SqliteStorage(str(FOLDER))
    storage.append(entries, [(k, 1, bytes(500 * k)) for k in range(8)])
    storage.close()
    return (FOLDER / "experiment.db").read_bytes(), entries


TARGETS: dict[str, Callable[[bytes], None]] = {
    "journal": journal, "database": database, "ring": ring, "cuda": cuda, "cpuset": cpuset,
}  # fmt: skip

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    warnings.simplefilter("ignore")
    os.makedirs(FOLDER / "rings")
    GOOD, ENTRIES = made_by_sqlite()
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
