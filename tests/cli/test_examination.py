"""fasttune doctor PATH: what is whole, what is not, and a copy of what is; fasttune table PATH."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune import _core
from fasttune.cli import main
from fasttune.storage import SqliteStorage
from fasttune.storage.recovery import ExperimentLock, ring_path


def trial(config: dict[str, Any]) -> None:
    for step in range(4):
        tune.report({"loss": config["x"] + step}, checkpoint=tune.Checkpoint.from_dict({"step": step}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    settings: dict[str, Any] = {"metric": "loss", "mode": "min", "verbose": 0, "executor": "inline", "storage_path": folder}
    tune.run(trial, name="run", config={"x": tune.uniform(0, 1)}, num_samples=5, **settings)
    return folder / "run"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "run")
    (tmp_path / "run" / "note.txt").write_text("mine")
    return tmp_path / "run"


Doctor = Any


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    def call(path: Path, *more: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = main(["doctor", str(path), "--json", *more])
        out = capsys.readouterr().out
        return code, json.loads(out[out.index("{") :])

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sql(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "experiment.db")
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_whole_experiment_is_told_so_and_left_as_it_is(folder: Path, doctor: Doctor) -> None:
    before = contents(folder)
    code, told = doctor(folder)
    assert code == 0
    assert all(one["ok"] for one in told.values())
    assert told["records"]["text"] == "20 reports of 5 trials"
    assert told["written by"]["text"] == "nobody"
    assert "5 checkpoints" in told["in memory"]["text"] or "checkpoints" in told["in memory"]["text"]
    assert contents(folder) == before
    assert doctor(folder / "experiment.db")[0] == 0


def test_who_writes_is_told(folder: Path, doctor: Doctor) -> None:
    lock = ExperimentLock(str(folder))
    try:
        assert doctor(folder)[1]["written by"]["text"] == f"process {os.getpid()}, now"
        assert main(["doctor", str(folder), "--repair"]) == 1
    finally:
        lock.release()


def test_where_there_is_no_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tmp_path)]) == 1
    assert "there is no experiment" in capsys.readouterr().err
    assert main(["doctor", "--repair"]) == 1
    assert "--repair needs the folder" in capsys.readouterr().err


DAMAGE = {
    "an entry's checksum": ("UPDATE journal SET crc = crc + 1 WHERE id = 3", "journal", "checksum is wrong"),
    "an entry is missing": ("DELETE FROM journal WHERE id = 3", "journal", "entry 3 is missing"),
    "a checkpoint": ("UPDATE checkpoints SET crc = 0 WHERE trial = 1", "in memory", "is damaged"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_told_and_a_copy_of_the_rest_is_whole(folder: Path, doctor: Doctor, kind: str) -> None:
    statement, where, words = DAMAGE[kind]
    sql(folder, statement)
    before = contents(folder)
    code, told = doctor(folder)
    assert code == 1
    assert not told[where]["ok"]
    assert words in told[where]["text"]
    code, told = doctor(folder, "--repair")
    assert code == 0, told
    copy = folder.parent / "run_repaired"
    assert told["folder"]["text"].startswith(str(copy))
    assert contents(folder) == before
    analysis = tune.ExperimentAnalysis(copy)
    assert analysis.trials
    assert (copy / "note.txt").read_text() == "mine"
    if kind == "a checkpoint":
        assert len(analysis.trials) == 5
        assert analysis.trials[0].checkpoint.to_dict() == {"step": 3}
    again = tune.run(
        trial, name="run_repaired", storage_path=folder.parent, config={"x": tune.uniform(0, 1)}, num_samples=6, resume="AUTO",
        metric="loss", mode="min", verbose=0, executor="inline", raise_on_failed_trial=False,
    )  # fmt: skip
    assert len(again.trials) == 6
    assert doctor(folder, "--repair")[1]["folder"]["text"].startswith(f"{copy}_2")


def test_what_rings_hold_is_told_and_comes_into_the_copy(folder: Path, doctor: Doctor) -> None:
    """Reports of a run that was killed before they were stored; and a ring that is none."""
    storage = SqliteStorage(str(folder))
    storage.append([(0, 8, _core.encode(_core.KIND_CONFIGS, 5, 1, bytes(4) + (5).to_bytes(4, "little") + bytes(8) + bytes(8)))])
    storage.close()
    (folder / "rings").mkdir()
    ring = bytearray(4096 + 4096 + 1024)
    writer = _core.Ring(ring, create=True)
    writer.write(_core.KIND_START, 5)
    writer.write(_core.KIND_SCHEMA, payload=b'{"keys": ["loss"], "kinds": "f"}')
    for step in (1, 2, 3):
        writer.write(_core.KIND_REPORT, 5, step, payload=bytes(8))
    Path(ring_path(str(folder), 77)).write_bytes(ring)
    code, told = doctor(folder)
    assert code == 0, told
    assert told["rings"]["text"] == "1 hold 3 reports that the journal does not have yet"
    Path(ring_path(str(folder), 78)).write_bytes(b"x" * 9000)
    code, told = doctor(folder)
    assert code == 1
    assert "header is damaged" in told["rings"]["text"]
    code, told = doctor(folder, "--repair")
    assert code == 0
    assert told["records"]["text"] == "23 reports of 6 trials"
    assert "rings" not in told


def test_links_are_told_and_do_not_come_into_the_copy(folder: Path, tmp_path: Path, doctor: Doctor) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "linked").symlink_to(tmp_path / "secret")
    (folder / "a_trial").mkdir()
    (folder / "a_trial" / "linked").symlink_to(tmp_path / "secret")
    (folder / "a_trial" / "file").write_text("x")
    os.mkfifo(folder / "a_trial" / "pipe")
    code, told = doctor(folder)
    assert code == 1
    assert "symbolic link" in told["to go on"]["text"]
    assert doctor(folder, "--repair")[0] == 0
    assert os.listdir(tmp_path / "run_repaired" / "a_trial") == ["file"]
    assert not os.path.lexists(tmp_path / "run_repaired" / "linked")


def test_a_folder_that_everybody_may_write_is_told(folder: Path, doctor: Doctor) -> None:
    folder.chmod(0o777)
    code, told = doctor(folder)
    assert code == 1
    assert "everybody may write" in told["rights"]["text"]


def test_a_file_that_is_no_database(tmp_path: Path, doctor: Doctor) -> None:
    (tmp_path / "experiment.db").write_bytes(b"x" * 9000)
    code, told = doctor(tmp_path)
    assert code == 1
    assert "file is not a database" in told["journal"]["text"]
    assert main(["doctor", str(tmp_path), "--repair"]) == 1
    assert not os.path.lexists(f"{tmp_path}_repaired")


def test_the_table_for_sql_is_written_when_asked(folder: Path, doctor: Doctor) -> None:
    sql(folder, "DROP TABLE IF EXISTS trials")
    assert "no table 'trials'" in doctor(folder)[1]["for SQL"]["text"]
    tune.ExperimentAnalysis(folder)
    assert "no table 'trials'" in doctor(folder)[1]["for SQL"]["text"]
    assert main(["table", str(folder)]) == 0
    assert "is there" in doctor(folder)[1]["for SQL"]["text"]
    connection = sqlite3.connect(folder / "experiment.db")
    assert connection.execute("SELECT count(*), min(iterations) FROM trials").fetchone() == (5, 4)
    connection.close()
    assert main(["table", str(folder.parent)]) == 1
