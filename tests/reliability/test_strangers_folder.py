"""A stranger's folder (C2 row 32): whatever it holds, nothing outside it is emptied, written, renamed or deleted, nobody
waits for a pipe, and nothing of another user's is unpickled."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune import _core
from fasttune.checkpoint import is_checkpoint_name, memory_name
from fasttune.cli import main
from fasttune.error import ForeignFileError, JournalError, TuneError
from fasttune.storage import SqliteStorage
from fasttune.storage.reader import SqliteReader
from fasttune.storage.sqlite import FILE_NAME
from fasttune.tuner import check_same_experiment

WORK = "years of work\n" * 1000
STRANGER = 65534


def saves(config: dict[str, Any]) -> None:
    found = tune.get_checkpoint()
    start = found.to_dict()["step"] if found is not None else 0
    for step in range(start + 1, 4):
        tune.report({"loss": config["x"] + step}, checkpoint=tune.Checkpoint.from_dict({"step": step}))


def saves_files(config: dict[str, Any]) -> None:
    import tempfile

    for step in range(1, 4):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "step").write_text(str(step))
            tune.report({"loss": config["x"] + step}, checkpoint=tune.Checkpoint.from_directory(folder))


def a_run(folder: Path, trainable: Any = saves_files, **more: Any) -> tune.ExperimentAnalysis:
    settings: dict[str, Any] = {
        "config": {"x": tune.uniform(0, 1)},
        "num_samples": 2,
        "storage_path": folder,
        "name": "theirs",
        "metric": "loss",
        "mode": "min",
        "verbose": 0,
        "executor": "process",
    }
    return tune.run(trainable, **{**settings, **more})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment that each test has a copy of."""
    folder = tmp_path_factory.mktemp("made")
    a_run(folder, executor="inline")
    return folder / "theirs"


@pytest.fixture
def theirs(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "theirs")
    return tmp_path / "theirs"


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    """A file and a folder of mine, which are the same in the end."""
    folder = tmp_path / "mine"
    folder.mkdir()
    names = ("file", "1.ring", "7.ring", "1.err", "work", "experiment.db", "progress.csv")
    for name in names:
        (folder / name).write_text(WORK)
    (folder / "checkpoint_000000").mkdir()
    (folder / "checkpoint_000000" / "work").write_text(WORK)
    yield folder
    assert sorted(os.listdir(folder)) == sorted([*names, "checkpoint_000000"])
    for name in names:
        assert (folder / name).read_text() == WORK, name
    assert os.listdir(folder / "checkpoint_000000") == ["work"]
    assert (folder / "checkpoint_000000" / "work").read_text() == WORK


def look(folder: Path) -> None:
    """Everything that only looks; what it says is not asked."""
    for reader in (
        tune.ExperimentAnalysis,
        lambda path: main(["ls", str(path)]),
        lambda path: main(["show", str(path)]),
        lambda path: main(["lsx", str(path.parent)]),
        lambda path: check_same_experiment(str(path), "saves_files", {}, None, True),
        lambda path: list(SqliteReader(str(path)).read()),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                reader(folder)
            except (TuneError, ValueError):
                continue


def go_on(folder: Path, **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return a_run(folder.parent, resume="AUTO", num_samples=4, raise_on_failed_trial=False, **more)


def replace(path: Path, by: Callable[[Path], Any]) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
    by(path)


LINKS: dict[str, tuple[str, str]] = {
    ".lock": (".lock", "file"),
    "rings": ("rings", ""),
    "the database": (FILE_NAME, "file"),
    "its log": (FILE_NAME + "-wal", "file"),
    "its index": (FILE_NAME + "-shm", "file"),
    "its journal": (FILE_NAME + "-journal", "file"),
    ".writing": (".writing", ""),
    "tuner.pkl": ("tuner.pkl", "file"),
    "callbacks.pkl": ("callbacks.pkl", "file"),
    "program.pkl": ("program.pkl", "file"),
    "program.pkl.part": ("program.pkl.part", "file"),
    "a folder of a trial": ("saves_files_0", ""),
    "a text": ("pbt_global.txt", "file"),
}


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_links_are_not_followed(theirs: Path, mine: Path, kind: str, executor: str) -> None:
    name, target = LINKS[kind]
    replace(theirs / name, lambda path: path.symlink_to(mine / target))
    look(theirs)
    with pytest.raises(ForeignFileError, match="symbolic link"):
        go_on(theirs, executor=executor)
    assert (theirs / name).is_symlink()


@pytest.mark.parametrize("name", [".lock", FILE_NAME, FILE_NAME + "-wal"])
def test_files_that_have_another_name_are_not_written(theirs: Path, mine: Path, name: str) -> None:
    replace(theirs / name, lambda path: os.link(mine / "file", path))
    look(theirs)
    with pytest.raises(JournalError, match=r"2 names share|not a database"):
        go_on(theirs)


def test_a_ring_that_is_a_link_is_not_read_nor_removed_where_it_leads(theirs: Path, mine: Path) -> None:
    (theirs / "rings").mkdir()
    (theirs / "rings" / "7.ring").symlink_to(mine / "7.ring")
    (theirs / "rings" / "7.err").symlink_to(mine / "1.err")
    look(theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            go_on(theirs)
        except JournalError as refused:
            assert "symbolic link" in str(refused)  # noqa: PT017 - it may also go on without it


def test_a_checkpoint_that_is_a_link_is_not_a_checkpoint(theirs: Path, mine: Path) -> None:
    trial = next(theirs.glob("saves_files_*_00000_*"))
    for one in trial.iterdir():
        replace(one, lambda path: path.symlink_to(mine / "checkpoint_000000"))
    look(theirs)
    assert not tune.ExperimentAnalysis(theirs).trials[0].has_checkpoint()
    go_on(theirs, keep_checkpoints_num=1)


def test_logs_in_a_trials_folder_do_not_follow_links(tmp_path: Path, mine: Path) -> None:
    """What loggers and log_to_file append to may be a link by the time that the run goes on."""

    def fails_once(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        print("a line")
        if not (tmp_path / "again").exists():
            raise ValueError("once")

    settings: dict[str, Any] = {"callbacks": [tune.logger.CSVLoggerCallback()], "num_samples": 1, "executor": "inline"}
    first = a_run(tmp_path, fails_once, raise_on_failed_trial=False, log_to_file=True, **settings)
    folder = Path(first.trials[0].path)
    for name in ("progress.csv", "stdout", "stderr"):
        replace(folder / name, lambda path: path.symlink_to(mine / "progress.csv"))
    (tmp_path / "again").touch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        a_run(tmp_path, fails_once, resume="AUTO+ERRORED", raise_on_failed_trial=False, log_to_file=True, **settings)


OUTSIDE = ("../mine", "../mine/checkpoint_000000", "/etc", "saves/../../mine", "..", ".", "", "a/b/c", "a//b", "a/..", "../..",
           "rings/1.ring", ".writing/x", "experiment.db/x", "memory:1/x", "memory:-1/2", "a\0/b")  # fmt: skip


def test_paths_that_fasttune_does_not_give() -> None:
    assert is_checkpoint_name("saves_abc_00001_1_x=0.5/checkpoint_000001")
    for step, attempt in ((7, 0), (2**31, 0), (7, 1), (7, 2**20)):
        assert is_checkpoint_name(memory_name(3, attempt << 32 | step))
    for path in OUTSIDE:
        assert not is_checkpoint_name(path), path


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("kind", ["checkpoint", "origin"])
def test_a_record_that_names_another_place_deletes_nothing_there(theirs: Path, mine: Path, path: str, kind: str) -> None:
    """The newest of trial 0 is said to be elsewhere; a resume that begins it anew deletes what it had."""
    storage = SqliteStorage(str(theirs))
    storage.connection.execute("DELETE FROM journal WHERE id > 1")
    entries = list(storage.read())
    config = b'{"experiment": 0, "config": {"x": 0.5}, "params": {"x": 0.5}}'
    records = [_core.encode(_core.KIND_CONFIG, 0, payload=config)]
    if kind == "origin":
        change = {"config": None, "donor": None, "checkpoint": path, "iteration": 1, "seconds": 1.0, "tag": None}
        told = json.dumps({**change, "resources": None})
        records.append(_core.encode(_core.KIND_CHANGED, 0, payload=told.encode()))
    records.append(_core.encode(_core.KIND_START, 0))
    if kind == "checkpoint":
        records.append(_core.encode(_core.KIND_CHECKPOINT, 0, 1, path.encode()))
    storage.append([(0, 0, b"".join(records))])
    storage.close()
    assert len(entries) == 1
    look(theirs)
    for resume in ("AUTO+RESTART_ERRORED", "AUTO"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                a_run(theirs.parent, resume=resume, raise_on_failed_trial=False, keep_checkpoints_num=1, executor="inline")
            except TuneError:
                continue


@pytest.mark.parametrize("name", [".lock", FILE_NAME, FILE_NAME + "-wal", "rings/1.ring", "note.txt", "tuner.pkl"])
def test_nobody_waits_for_a_pipe(theirs: Path, name: str) -> None:
    (theirs / "rings").mkdir()
    replace(theirs / name, os.mkfifo)
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("somebody waits for the pipe"))
    signal.alarm(30)
    try:
        look(theirs)
        with suppress(TuneError):
            go_on(theirs, executor="inline")
        with pytest.raises((TuneError, ValueError)):
            tune.Tuner.restore(theirs, saves_files)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_journal_of_sqlites_that_names_another_file_is_refused(theirs: Path, mine: Path) -> None:
    """SQLite would delete the file that it names, once it has rolled back."""
    target = str(mine / "file").encode()
    total = sum(target) & 0xFFFFFFFF
    header = bytes.fromhex("d9d505f920a163d7") + (0).to_bytes(4, "big") + bytes(4) + (3).to_bytes(4, "big")
    header += (512).to_bytes(4, "big") + (4096).to_bytes(4, "big")
    tail = (2**30 // 4096 + 1).to_bytes(4, "big") + target + len(target).to_bytes(4, "big") + total.to_bytes(4, "big")
    (theirs / (FILE_NAME + "-journal")).write_bytes(header.ljust(512, b"\0") + tail + bytes.fromhex("d9d505f920a163d7"))
    look(theirs)
    with pytest.raises(ForeignFileError, match="names another file"):
        go_on(theirs)


def test_no_program_lies_in_the_folder_while_it_runs(tmp_path: Path) -> None:
    seen: list[str] = []

    class Looks(tune.Callback):
        def on_trial_result(self, **_: Any) -> None:
            seen.extend(os.listdir(tmp_path / "theirs"))

    a_run(tmp_path, callbacks=[Looks()])
    assert seen
    assert not {"program.pkl", "program.pkl.part"} & set(seen)


# -- what belongs to others ---------------------------------------------------------------------------------


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Gives a file to somebody else; where we may not, we become somebody else ourselves, as far as it is asked."""

    def call(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, STRANGER, STRANGER)
        else:
            monkeypatch.setattr("fasttune.plain_files.os.geteuid", lambda: STRANGER)

    return call


@pytest.mark.parametrize("name", [".", FILE_NAME, ".lock"])
def test_going_on_in_anothers_folder_needs_trust(tmp_path: Path, give: Callable[[Path], None], name: str) -> None:
    def interrupted(config: dict[str, Any]) -> None:
        saves(config)
        if not (tmp_path / "again").exists():
            raise ValueError("once")

    first = a_run(tmp_path, interrupted, raise_on_failed_trial=False)
    give(tmp_path / "theirs" / name)
    (tmp_path / "again").touch()
    settings: dict[str, Any] = {"resume": "AUTO+ERRORED", "raise_on_failed_trial": False}
    with pytest.raises(ForeignFileError, match=r"belongs to .*uid .*unpickled, which can run any code.*trust=True"):
        a_run(tmp_path, interrupted, **settings)
    assert len(tune.ExperimentAnalysis(tmp_path / "theirs").trials) == len(first.trials)
    again = a_run(tmp_path, interrupted, trust=True, **settings)
    assert {trial.status for trial in again.trials} == {"TERMINATED"}
    with pytest.raises(ForeignFileError), tune.open_experiment({"x": 1}, name="theirs", storage_path=tmp_path):
        pass


def test_restoring_anothers_tuner_needs_trust(tmp_path: Path, give: Callable[[Path], None]) -> None:
    tune.Tuner(
        saves,
        param_space={"x": 1.0},
        tune_config=tune.TuneConfig(metric="loss", mode="min"),
        run_config=tune.RunConfig(name="t", storage_path=str(tmp_path), verbose=0, executor="inline"),
    ).fit()
    give(tmp_path / "t" / "tuner.pkl")
    with pytest.raises(ForeignFileError, match=r"tuner.pkl belongs to .*trust=True"):
        tune.Tuner.restore(tmp_path / "t", saves)
    restored = tune.Tuner.restore(tmp_path / "t", saves, trust=True)
    assert len(restored.get_results()) == 1
    assert restored.fit()[0].metrics["loss"] == 4.0


def test_a_dict_of_another_user_is_not_unpickled(tmp_path: Path, give: Callable[[Path], None]) -> None:
    a_run(tmp_path, saves, executor="inline")
    directory = tune.Checkpoint.from_dict({"step": 9}).to_directory(tmp_path / "saved")
    kept = tune.ExperimentAnalysis(tmp_path / "theirs").trials[0].checkpoint
    travelled = pickle.loads(pickle.dumps(kept))
    assert kept.to_dict() == travelled.to_dict() == {"step": 3}
    give(tmp_path / "theirs" / FILE_NAME)
    give(tmp_path / "saved" / "_dict_checkpoint.pkl")
    for one in (kept, travelled, tune.Checkpoint(directory)):
        with pytest.raises(ForeignFileError, match="belongs to"):
            one.to_dict()
        assert one.to_dict(trust=True)["step"] in (3, 9)
        assert one.to_bytes()
    assert tune.Checkpoint.from_dict({"mine": 1}).to_dict() == {"mine": 1}


def test_a_checkpoint_directory_of_another_user_costs_its_trial_only(tmp_path: Path, give: Callable[[Path], None]) -> None:
    class Saves(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.n = 0

        def step(self) -> dict[str, Any]:
            self.n += 1
            if self.n == 3 and not (tmp_path / "again").exists():
                raise ValueError("once")
            return {"loss": 1.0, "n": self.n, "done": self.n == 5}

        def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
            (Path(checkpoint_dir) / "file").write_text("x")  # so that it is a directory
            return {"n": self.n}

        def load_checkpoint(self, checkpoint: Any) -> None:
            self.n = checkpoint["n"]

    settings: dict[str, Any] = {"checkpoint_freq": 1, "raise_on_failed_trial": False, "executor": "inline"}
    a_run(tmp_path, Saves, **settings)
    (tmp_path / "again").touch()
    pickles = sorted((tmp_path / "theirs").rglob("_dict_checkpoint.pkl"))
    own = [path for path in pickles if "_00001_" in str(path)]
    assert own
    if os.geteuid() == 0:
        for path in own:
            give(path)
        again = a_run(tmp_path, Saves, resume="AUTO+ERRORED", **settings)
        assert [trial.status for trial in again.trials] == ["TERMINATED", "ERROR"]
        assert "belongs to" in str(again.trials[1].get_error())
    again = a_run(tmp_path, Saves, resume="AUTO+ERRORED", trust=True, **settings)
    assert {trial.status for trial in again.trials} == {"TERMINATED"}


def test_one_odd_experiment_does_not_hide_the_others(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k, content in enumerate((b"", b"SQLite format 3\0" + bytes(200), b"x" * 9000)):
        (theirs.parent / f"odd{k}").mkdir()
        (theirs.parent / f"odd{k}" / FILE_NAME).write_bytes(content)
    (theirs.parent / "linked").mkdir()
    (theirs.parent / "linked" / FILE_NAME).symlink_to(theirs / FILE_NAME)
    assert main(["lsx", str(theirs.parent), "--json"]) == 0
    told = {row["name"]: row["status"] for row in json.loads(capsys.readouterr().out)}
    assert told["theirs"] == "finished"
    assert {name for name, status in told.items() if status.startswith("unreadable")} == {"odd0", "odd1", "odd2", "linked"}
