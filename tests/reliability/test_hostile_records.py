"""Journals whose checksums are right and whose records are made up (C2 row 32): an error in words, soon and in little
memory, or a record that is left out; never a KeyError, and never the experiments beside it."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import fasttune as tune
from fasttune import _core
from fasttune.cli import main
from fasttune.engine.opening import open_records
from fasttune.engine.sql_table import table_rows
from fasttune.error import JournalError
from fasttune.storage import SqliteStorage
from fasttune.storage.reader import SqliteReader
from fasttune.storage.sqlite import checksum
from rounds import rounds, seeds


def trial(config: dict[str, Any]) -> None:
    for step in range(3):
        tune.report({"loss": config["x"] + step, "text": "a"}, checkpoint=tune.Checkpoint.from_dict({"step": step}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An experiment whose configs are numbered, and one that a searcher suggested."""
    folder = tmp_path_factory.mktemp("made")
    space = {"x": tune.uniform(0, 1), "y": {"z": tune.choice([1, "b"])}}
    settings: dict[str, Any] = {"metric": "loss", "mode": "min", "num_samples": 3, "verbose": 0, "executor": "inline"}
    for name, searcher in (("numbered", None), ("searched", "random")):
        tune.run(trial, name=name, config=space, search_alg=searcher, storage_path=folder, seed=0, **settings)
    return {name: folder / name for name in ("numbered", "searched")}


def entries_of(folder: Path) -> list[tuple[int, int, bytes]]:
    return list(SqliteReader(str(folder)).read())


def rewritten(source: Path, target: Path, entries: list[tuple[int, int, bytes]]) -> Path:
    """A copy of an experiment with these entries."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    storage = SqliteStorage(str(target))
    storage.connection.execute("DELETE FROM journal")
    storage.append(entries)
    storage.close()
    return target


def use_everything(folder: Path) -> None:
    """Whatever an analysis can be asked. Errors in words are fine; the caller sees all others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            analysis = tune.ExperimentAnalysis(str(folder), default_metric="loss", default_mode="min")
        except JournalError:
            return
        assert len(analysis.results_df) <= len(analysis.trials)
        analysis.dataframe("loss", "min") if "loss" in analysis.results_df.columns else None
        for one in analysis.trials:
            assert one.trial_id
            assert str(one)
            one.config, one.evaluated_params, one.experiment_tag, one.status, one.last_result  # noqa: B018
            one.get_error(), one.has_checkpoint(), one.resources
        table_rows(open_records(str(folder)))
        with suppress(ValueError):  # there may be no best one
            _ = analysis.best_config


# -- META ----------------------------------------------------------------------------------------------------

DEEP = json.loads("[" * 200 + "]" * 200)
ODD: list[Any] = [None, 0, -1, 1e308, True, "", "../../x", "x" * 5000, [], {}, [None], [[]], {"a": None}, 10**30, DEEP]


def meta_of(folder: Path) -> dict[str, Any]:
    kind, *_, payload = _core.decode(entries_of(folder)[0][2])[0]
    assert kind == _core.KIND_META
    return dict(json.loads(payload.rstrip(b"\0")))


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the values of a JSON object are."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *[found for key, part in items for found in paths_in(part, (*path, key))]]


def changed(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """The value with another one, or none at all (``by`` is ...), in one place."""
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and by is ...:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(copy[path[0]], path[1:], by)
    return copy


@pytest.mark.parametrize("name", ["numbered", "searched"])
def test_a_description_that_says_anything(made: dict[str, Path], tmp_path: Path, name: str) -> None:
    meta, rest = meta_of(made[name]), entries_of(made[name])[1:]
    draw = random.Random(3)
    target = rewritten(made[name], tmp_path / "odd", entries_of(made[name]))
    storage = SqliteStorage(str(target))
    try:
        first = storage.connection.execute("SELECT min(id) FROM journal").fetchone()[0]
        for path in paths_in(meta):
            for by in [..., *draw.sample(ODD, rounds(4))] if path else ODD:
                if (path and by is ...) or path or not isinstance(by, dict):
                    payload = json.dumps(changed(meta, path, by) if path or by is not ... else None).encode()
                    data = _core.encode(_core.KIND_META, payload=payload)
                    storage.connection.execute(
                        "UPDATE journal SET data = ?, crc = ? WHERE id = ?", (data, checksum(0, 0, data), first)
                    )
                    try:
                        use_everything(target)
                    except Exception as error:
                        raise AssertionError((path, by if by is not DEEP else "deep")) from error
    finally:
        storage.close()
    assert rest


@pytest.mark.parametrize("payload", [b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"null", b"7", b'"x"'])
def test_a_description_that_is_no_object(made: dict[str, Path], tmp_path: Path, payload: bytes) -> None:
    data = _core.encode(_core.KIND_META, payload=payload)
    folder = rewritten(made["numbered"], tmp_path / "odd", [(0, 0, data)])
    with pytest.raises(JournalError, match="the description of the experiment"):
        open_records(str(folder))


# -- the records behind it -------------------------------------------------------------------------------------

CONFIG = {"experiment": 0, "config": {"x": 0.5}, "params": {"x": 0.5}}
CHANGED = {"config": {"x": 1}, "donor": 0, "checkpoint": "a/b", "iteration": 1, "seconds": 1.0, "tag": "t", "resources": [[{}]]}
TOLD = {"name": "n", "dirname": "d", "resources": [[{"CPU": 1}], "PACK"]}
KINDS = {_core.KIND_CONFIG: CONFIG, _core.KIND_CHANGED: CHANGED, _core.KIND_TOLD: TOLD}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["numbered", "searched"])
def test_a_record_that_says_anything(made: dict[str, Path], tmp_path: Path, kind: int, name: str) -> None:
    entries = entries_of(made[name])
    n = len(open_records(str(made[name])))
    about = n if kind == _core.KIND_CONFIG else n - 1
    told = KINDS[kind]
    payloads = [json.dumps(told).encode(), b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"null"]
    ways = [(path, by) for path in paths_in(told) for by in [..., *ODD] if path or by is not ...]
    ways = random.Random(kind).sample(ways, rounds(len(ways)))
    payloads += [json.dumps(changed(told, path, by)).encode() for path, by in ways]
    for k, payload in enumerate(payloads):
        requeued = _core.encode(_core.KIND_REQUEUED, about) if kind == _core.KIND_CHANGED else b""
        records = requeued + _core.encode(kind, about, 1, payload) + _core.encode(_core.KIND_START, about)
        folder = rewritten(made[name], tmp_path / "odd", [*entries, (0, 0, records)])
        try:
            use_everything(folder)
        except Exception as error:
            raise AssertionError((k, payload[:200])) from error


HEAD = struct.Struct("<II")


THIRD = HEAD.pack(0, 3)
BLOCKS = [b"", b"\0" * 7, HEAD.pack(5, 0), HEAD.pack(0, 2**32 - 1), THIRD, THIRD + b"\xff" * 8]
BLOCKS += [THIRD + struct.pack("<Q", n) + rest for n, rest in ((8, b"[[1,2,3]"), (2**40, b""), (0, b"x" * 16))]


@pytest.mark.parametrize("payload", BLOCKS)
@pytest.mark.parametrize("n", [0, 1, 2, 70_000, 20_000_000, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("name", ["numbered", "searched"])
def test_a_block_that_announces_anything(made: dict[str, Path], tmp_path: Path, name: str, payload: bytes, n: int) -> None:
    records = _core.encode(_core.KIND_CONFIGS, 3, n, payload) + _core.encode(_core.KIND_START, 3)
    use_everything(rewritten(made[name], tmp_path / "odd", [*entries_of(made[name]), (0, 0, records)]))


@settings(max_examples=rounds(60), phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_records_of_any_bytes(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whole records of every kind, with any header and any payload, among those that are right."""
    entries = entries_of(made["numbered"])
    for _ in range(data.draw(st.integers(1, 4))):
        record = _core.encode(
            data.draw(st.integers(0, 40)),
            data.draw(st.sampled_from([0, 1, 2, 3, 4, 2**31, 2**32 - 1])),
            data.draw(st.sampled_from([0, 1, 2, 3, 4, 2**20, 2**31, 2**32 - 1])),
            data.draw(st.one_of(st.binary(max_size=60), st.sampled_from([b"{}", b"[]", b'{"keys": [], "kinds": ""}']))),
            data.draw(st.integers(0, 255)),
            data.draw(st.sampled_from([0.0, -1.0, float("nan"), float("inf"), 1e300])),
        )
        at = data.draw(st.integers(1, len(entries)))
        entries.insert(at, (data.draw(st.integers(0, 2)), 0, record))
    use_everything(rewritten(made["numbered"], tmp_path_factory.mktemp("odd") / "odd", entries))


def test_flipped_bytes_with_the_right_checksum(made: dict[str, Path], tmp_path: Path) -> None:
    entries = entries_of(made["numbered"])
    for seed in seeds(150):
        draw = random.Random(seed)
        odd = []
        for source, position, data in entries:
            broken = bytearray(data)
            if draw.random() < 0.5:
                for _ in range(draw.randrange(1, 4)):
                    broken[draw.randrange(len(broken))] = draw.choice([0, 1, 2, 0x7F, 0xFF, draw.randrange(256)])
            odd.append((source, position, bytes(broken)))
        use_everything(rewritten(made["numbered"], tmp_path / "odd", odd))


# -- their price -------------------------------------------------------------------------------------------------

OPEN = """
import resource, sys, warnings
import fasttune as tune
from fasttune.engine.opening import open_records
import fasttune.storage.reader, fasttune.space.variants
warnings.simplefilter("ignore")
before = resource.getrusage(resource.RUSAGE_SELF)
try:
    state = open_records(sys.argv[1])
    for i in range(min(3, len(state))):
        state.config(i), state.last_result(i)
except tune.TuneError as error:
    print(type(error).__name__, error)
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_maxrss - before.ru_maxrss, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
"""


def costs(folder: Path) -> tuple[str, float, float]:
    """What was said, megabytes, and seconds of the processor."""
    done = subprocess.run([sys.executable, "-c", OPEN, str(folder)], capture_output=True, text=True, timeout=60, check=True)
    *said, last = done.stdout.splitlines()
    kilobytes, seconds = last.split()
    return "\n".join(said), int(kilobytes) / 1024, float(seconds)


def test_few_bytes_that_announce_much_cost_little(made: dict[str, Path], tmp_path: Path) -> None:
    records = _core.encode(_core.KIND_CONFIGS, 3, 20_000_000, HEAD.pack(0, 3) + bytes(8))
    assert len(records) == 40
    entries = [*entries_of(made["numbered"]), (0, 0, records)]
    said, megabytes, seconds = costs(rewritten(made["numbered"], tmp_path / "odd", entries))
    assert "20000000 trials from 3 on are announced" in said
    assert megabytes < 100
    assert seconds < 1.5


def test_many_blocks_of_trials_that_say_nothing_cost_little(tmp_path: Path) -> None:
    """Without a parameter a config takes no bytes: as many as may wait, and no more."""
    tune.run(trial, name="same", config={"x": 1.0}, storage_path=tmp_path, verbose=0, executor="inline", num_samples=2)
    entries = entries_of(tmp_path / "same")
    blocks = [
        _core.encode(_core.KIND_CONFIGS, 2 + 60_000 * k, 60_000, HEAD.pack(0, 2 + 60_000 * k) + bytes(8)) for k in range(1000)
    ]
    folder = rewritten(tmp_path / "same", tmp_path / "odd", [*entries, (0, 0, b"".join(blocks))])
    said, megabytes, seconds = costs(folder)
    assert "are announced while" in said
    assert megabytes < 100
    assert seconds < 1.5


def test_a_schema_of_many_names_costs_little(made: dict[str, Path], tmp_path: Path) -> None:
    names = [f"name{i}" for i in range(200_000)]
    schema = json.dumps({"keys": names, "kinds": "f" * len(names)}).encode()
    records = [_core.encode(_core.KIND_SCHEMA, payload=schema), _core.encode(_core.KIND_REQUEUED, 0)]
    folder = rewritten(made["numbered"], tmp_path / "odd", [*entries_of(made["numbered"]), (9, 8, b"".join(records))])
    _, megabytes, seconds = costs(folder)
    assert megabytes < 100
    assert seconds < 1.5


def test_a_range_of_many_options_costs_little(made: dict[str, Path], tmp_path: Path) -> None:
    for space in (
        {"x": {"grid_search": {"~": "range", "start": 0, "stop": 10**12, "step": 1}}},
        {"x": {"grid_search": {"~": "range", "start": 0, "stop": 10**30, "step": 1}}},
        {"x": {"~": "range", "start": 0, "stop": 10**30, "step": 1}, "y": {"~": "Categorical", "options": [[]]}},
        {f"g{i}": {"grid_search": list(range(50))} for i in range(50)},
    ):
        meta = meta_of(made["numbered"])
        meta["variants"][0] |= {"space": space, "columns": [name for name in space if name != "x" or "y" not in space]}
        data = _core.encode(_core.KIND_META, payload=json.dumps(meta).encode())
        folder = rewritten(made["numbered"], tmp_path / "odd", [(0, 0, data)])
        _, megabytes, seconds = costs(folder)
        assert megabytes < 100, space
        assert seconds < 1.5, space


def test_a_sparse_ring_of_two_gigabytes_costs_little(made: dict[str, Path], tmp_path: Path) -> None:
    """Whatever its header says that it holds."""
    folder = tmp_path / "odd"
    shutil.copytree(made["numbered"], folder)
    (folder / "rings").mkdir()
    ring = bytearray(4096 + 65536 + 65536 // 4)
    _core.Ring(ring, create=True)
    magic = bytes(ring[:8])
    told = [(1 << 30, 1 << 29), (1 << 26, 1 << 26), (1 << 22, 1 << 21), (4096, 1 << 60), (3, 8)]
    for source, (capacity, head) in enumerate(told, 1):
        with (folder / "rings" / f"{source}.ring").open("wb") as file:
            file.truncate(2 << 30)
            file.write(magic + struct.pack("<Q", capacity))
            file.seek(64)
            file.write(struct.pack("<Q", head))
    _, megabytes, seconds = costs(folder)
    assert megabytes < 100
    assert seconds < 1.5


def test_odd_journals_do_not_hide_the_others(made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(made["numbered"], tmp_path / "good")
    meta = meta_of(made["numbered"])
    odd_ones = ({"trainables": []}, {"variants": [{}]}, {"format": 99}, {"seed": []})
    for k, odd in enumerate([{}, *({**meta, **one} for one in odd_ones)]):
        data = _core.encode(_core.KIND_META, payload=json.dumps(odd).encode())
        rewritten(made["numbered"], tmp_path / f"odd{k}", [(0, 0, data)])
    capsys.readouterr()
    assert main(["lsx", str(tmp_path), "--json"]) == 0
    told = {row["name"]: row["status"] for row in json.loads(capsys.readouterr().out)}
    assert told.pop("good") == "finished"
    assert len(told) == 5
    assert all(status.startswith("unreadable: ") for status in told.values())
