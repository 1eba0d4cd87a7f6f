"""A disk that fails, a power cut, a folder that goes, and a database that others hold."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import crash_script
import pytest
from laboratory import Lab, check_acks, numbers_of, wait_until

import fasttune as tune
from fasttune import _core
from fasttune.engine import loop
from fasttune.engine.opening import open_records
from fasttune.error import FolderGoneError, JournalError, JournalLockedError
from fasttune.storage.sqlite import FILE_NAME, SqliteStorage
from rounds import thinned

SHIM = Path(__file__).with_name("failing_disk.c")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "failing_disk.so"
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True)
    return library


class Disk:
    """The disk below the laboratory's experiment, which fails from a moment on, and what of it a power cut leaves."""

    def __init__(self, lab: Lab, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rule = lab.folder / "rule"
        self.image = lab.folder / "image"
        self.image.mkdir()
        lab.new_interpreters = True
        for name, value in (
            ("LD_PRELOAD", str(library)),
            ("DISK_ROOT", lab.experiment),
            ("DISK_RULE", str(self.rule)),
            ("DISK_IMAGE", str(self.image)),
        ):
            monkeypatch.setenv(name, value)

    def fail(self, calls: str, number: int, ending: str) -> None:
        part = self.rule.with_suffix(".part")
        part.write_text(f"{calls} {number} {ending}\n")
        part.rename(self.rule)


@pytest.fixture
def disk(lab: Lab, shim: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(lab, shim, monkeypatch)


def last_line(process: subprocess.Popen[str]) -> str:
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    return err.strip().splitlines()[-1]


def last_entry(lab: Lab) -> int:
    """The number of the last entry that was committed."""
    connection = sqlite3.connect(f"file:{lab.experiment}/{FILE_NAME}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT max(id) FROM journal").fetchone()[0])
    finally:
        connection.close()


def has_a_journal(database: Path) -> bool:
    """Without its log."""
    if not database.exists():
        return False
    alone = database.with_name("alone.db")
    shutil.copyfile(database, alone)
    connection = sqlite3.connect(alone)
    try:
        return connection.execute("SELECT count(*) FROM journal").fetchone() != (0,)
    except sqlite3.DatabaseError:
        return False
    finally:
        connection.close()
        for path in database.parent.glob("alone.db*"):
            path.unlink()


# -- errors of the disk --------------------------------------------------------------------------------------


ERRORS = [
        ("fsync,fdatasync", 5, "-wal", r"[Errno 5] cannot bring the journal to the disk: Input/output error"),
        ("fsync,fdatasync", 5, ".db", r"[Errno 5] cannot write the journal: disk I/O error (SQLITE_IOERR_FSYNC)"),
        ("fsync,fdatasync", 28, "-wal", r"[Errno 28] cannot bring the journal to the disk: No space left on device"),
        ("write,pwrite", 28, ".db", r"[Errno 28] cannot write the journal: database or disk is full (SQLITE_FULL)"),
        ("write,pwrite", 28, "-wal", r"[Errno 28] cannot write the journal: database or disk is full (SQLITE_FULL)"),
        ("write,pwrite", 5, "-wal", r"[Errno 5] cannot write the journal: disk I/O error (SQLITE_IOERR_WRITE)"),
]


def with_workers_twice(error: tuple[str, int, str, str], executor: str) -> bool:
    """The journal is written in one place whoever runs the trials."""
    return executor == "inline" or error in (ERRORS[0], ERRORS[4])


@pytest.mark.parametrize(
    ("error", "executor"), thinned(itertools.product(ERRORS, ["inline", "thread", "process"]), with_workers_twice)
)
def test_an_error_of_the_disk_ends_the_run_by_name(
    lab: Lab, disk: Disk, executor: str, error: tuple[str, int, str, str]
) -> None:
    """Also one of bringing the journal to the disk, which nothing but the run's own checkpoints would hear of. No report
    is lost that was acknowledged, and the run goes on when the disk is well again."""
    calls, number, ending, said = error
    told = lab.told("endless", executor, samples=2, workers=2, resume="AUTO")
    process = lab.start(told)
    assert lab.wait_for_acks(20, process)
    wait_until(lambda: has_a_journal(disk.image / FILE_NAME), "the first flush")  # else it could fail in its middle
    flushed = last_entry(lab)
    wait_until(lambda: last_entry(lab) > flushed, "a commit behind it, with which SQLite itself syncs the log's new head")
    disk.fail(calls, number, ending)
    line = last_line(process)
    assert said in line
    assert FILE_NAME in line
    lab.nobody_left()
    state = lab.reopen()
    check_acks(lab, state)
    assert state.table.counts()["TERMINATED"] == 0
    disk.rule.unlink()
    process = lab.start(told)
    assert lab.wait_for_acks(20, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    check_acks(lab, lab.reopen())


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """A disk in memory of this size; False where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_run_on_a_disk_that_is_full_goes_on_on_a_larger_one(lab: Lab, executor: str) -> None:
    """On a real one, where one can be mounted; elsewhere the rules above stand for it."""
    disk = lab.folder / "disk"
    with small_disk(disk, "9m" if executor == "inline" else "14m") as mounted:  # with the rings
        if not mounted:
            return
        told = lab.told("storm", executor, samples=2, workers=2, reports=20_000, resume="AUTO")
        process = lab.start({**told, "folder": str(disk)})
        assert "[Errno 28] cannot write the journal: database or disk is full (SQLITE_FULL)" in last_line(process)
        lab.experiment = str(disk / "crash")
        subprocess.run(["mount", "-o", "remount,size=128m", str(disk)], check=True)
        state = lab.reopen()
        check_acks(lab, state)
        assert state.table.counts()["TERMINATED"] < 2
        analysis = crash_script.run({**told, "folder": str(disk)})
        assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
        check_acks(lab, lab.reopen())


def test_after_a_failed_flush_nothing_is_taken_and_the_log_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel could not write may be gone from its memory: nobody copies it into the database."""
    storage = SqliteStorage(str(tmp_path))
    storage.append([(1, 8, b"before")])
    monkeypatch.setattr("fasttune.storage.sqlite.os.fsync", failing)
    with pytest.raises(OSError, match=r"\[Errno 5\] cannot bring the journal to the disk"):
        storage.flush_to_disk()
    monkeypatch.undo()
    for call in (lambda: storage.append([(1, 16, b"after")]), lambda: storage.write_table(["trial"], [(0,)])):
        with pytest.raises(OSError, match=r"\[Errno 5\] nothing more is written after this"):
            call()
    with pytest.raises(OSError, match="Errno 5"):
        storage.flush_to_disk()
    assert list(storage.read()) == [(1, 8, b"before")]
    storage.close()
    assert (tmp_path / "experiment.db-wal").exists()
    again = SqliteStorage(str(tmp_path))
    assert list(again.read()) == [(1, 8, b"before")]
    again.append([(1, 16, b"after")])
    again.close()
    assert not (tmp_path / "experiment.db-wal").exists()


def failing(fd: int) -> None:
    raise OSError(5, os.strerror(5))


# -- the power -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["process", "full"])
def test_an_experiment_that_has_begun_is_on_the_disk(lab: Lab, disk: Disk, executor: str, durability: str) -> None:
    """Without its log the database is an experiment all the same, from its first flush on, or with its first report where a report
    that returned is on the disk."""
    process = lab.start(lab.told("endless", executor, samples=2, workers=2, durability=durability))
    assert lab.wait_for_acks(1, process)
    if durability == "process":
        wait_until(lambda: has_a_journal(disk.image / FILE_NAME), "the first flush")
    lab.kill_everything()
    process.wait()
    lab.nobody_left()
    os.remove(Path(lab.experiment) / "experiment.db-wal")
    shutil.rmtree(Path(lab.experiment) / "rings")
    assert lab.reopen().meta["metric"] == "loss"
    for name in (FILE_NAME, "experiment.db-wal"):
        assert (disk.image / name).exists()
    os.remove(disk.image / "experiment.db-wal")
    assert open_records(str(disk.image)).meta["metric"] == "loss"


@pytest.mark.parametrize("left", ["nothing", "zeros", "no table"])
def test_a_run_that_died_while_its_database_was_made_can_be_begun(tmp_path: Path, executor: str, left: str) -> None:
    """Killed, or without power, before the first record: nobody had been told anything."""
    folder = tmp_path / "e"
    folder.mkdir()
    if left == "no table":
        connection = sqlite3.connect(folder / FILE_NAME)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    else:
        (folder / FILE_NAME).write_bytes(bytes(8192 if left == "zeros" else 0))
    analysis = tune.run(
        lambda config: {"loss": 1.0}, name="e", storage_path=tmp_path, num_samples=2, metric="loss", mode="min",
        executor=executor, verbose=0, resume="AUTO",
    )  # fmt: skip
    assert analysis.experiment_path == str(folder)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2


def test_a_database_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    connection = sqlite3.connect(tmp_path / "e" / FILE_NAME)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = (tmp_path / "e" / FILE_NAME).read_bytes()
    with pytest.raises(JournalError, match="not one of fasttune's"):
        tune.run(lambda config: {"loss": 1.0}, name="e", storage_path=tmp_path, resume="AUTO", executor="inline", verbose=0)
    assert (tmp_path / "e" / FILE_NAME).read_bytes() == before


def test_a_lost_log_costs_little(lab: Lab, disk: Disk, executor: str) -> None:
    """What the log has is brought into the database every few seconds, not only when it is large."""
    process = lab.start(lab.told("endless", executor, samples=2, workers=2))
    wait_until(lambda: rows_without_log(lab.experiment, lab.folder / "copy") > 1, "the log in the database")
    assert process.poll() is None


def rows_without_log(experiment: str, copy: Path) -> int:
    copy.mkdir(exist_ok=True)
    source = Path(experiment) / FILE_NAME
    if not source.exists():
        return 0
    shutil.copyfile(source, copy / FILE_NAME)
    connection = sqlite3.connect(copy / FILE_NAME)
    try:
        return int(connection.execute("SELECT count(*) FROM journal").fetchone()[0])
    except sqlite3.DatabaseError:  # copied in the middle of a checkpoint
        return 0
    finally:
        connection.close()
        for name in os.listdir(copy):
            os.remove(copy / name)


@pytest.mark.parametrize("trainable", ["endless", "saving"])
def test_full_durability_survives_the_power(lab: Lab, disk: Disk, executor: str, trainable: str) -> None:
    """Of the files only what was brought to the disk is left, of the rings nothing: every report that was acknowledged
    is there."""
    told = lab.told(trainable, executor, samples=2, workers=2, reports=100_000, durability="full")
    process = lab.start(told)
    assert lab.wait_for_acks(60, process)
    lab.kill_everything()
    process.wait()
    lab.nobody_left()
    acks = set(lab.acks())
    assert len(acks) >= 40
    assert acks <= set(numbers_of(open_records(str(disk.image))))


def test_full_durability_acknowledges_nothing_that_the_disk_refused(lab: Lab, disk: Disk, executor: str) -> None:
    process = lab.start(lab.told("endless", executor, samples=2, workers=2, durability="full"))
    assert lab.wait_for_acks(20, process)
    disk.fail("fsync,fdatasync", 5, "-wal")
    before = len(lab.acks())
    assert "[Errno 5] cannot bring the journal to the disk: Input/output error" in last_line(process)
    assert len(lab.acks()) - before <= 2  # one of each worker, that the disk had already
    check_acks(lab, lab.reopen())


@pytest.mark.parametrize("scheduler", [None, "asha", "median_stopping_rule", "hyperband"])
def test_full_durability_with_schedulers(tmp_path: Path, executor: str, scheduler: str | None) -> None:
    """Reports that are answered by the loop wait for both, the answer and the disk."""

    def train(config: dict[str, Any]) -> None:
        for step in range(9):
            tune.report(loss=config["x"] + step)

    def run(name: str, durability: str) -> list[tuple[str, int]]:
        analysis = tune.run(
            train, name=name, storage_path=tmp_path, config={"x": tune.uniform(0, 1)}, num_samples=8, metric="loss",
            mode="min", executor=executor, scheduler=scheduler, max_concurrent_trials=1, seed=3, verbose=0,
            durability=durability,
        )  # fmt: skip
        return [(trial.status, trial.last_result["training_iteration"]) for trial in analysis.trials]

    assert run("full", "full") == run("process", "process")


def test_full_durability_of_classes_and_checkpoints(tmp_path: Path, executor: str) -> None:
    class Steps(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.n = 0

        def step(self) -> dict[str, Any]:
            self.n += 1
            return {"loss": self.n, "done": self.n == 4}

        def save_checkpoint(self, folder: str) -> None:
            Path(folder, "n").write_text(str(self.n))

        def load_checkpoint(self, folder: str) -> None:
            self.n = int(Path(folder, "n").read_text())

    analysis = tune.run(
        Steps, name="e", storage_path=tmp_path, num_samples=2, metric="loss", mode="min", executor=executor, verbose=0,
        checkpoint_freq=2, checkpoint_at_end=True, durability="full",
    )  # fmt: skip
    assert [trial.last_result["loss"] for trial in analysis.trials] == [4, 4]
    assert all(trial.checkpoint is not None for trial in analysis.trials)


def test_durability_is_checked_at_every_door(tmp_path: Path) -> None:
    said = r"durability must be 'process' .* or 'full' .*, got 'power'"
    with pytest.raises(ValueError, match=said):
        tune.run(lambda config: None, storage_path=tmp_path, durability="power")
    with pytest.raises(ValueError, match=said):
        tune.run_experiments({"e": {"run": print, "storage_path": tmp_path}}, durability="power")
    with pytest.raises(ValueError, match=said):
        tune.open_experiment({}, name="e", storage_path=tmp_path, durability="power")
    with pytest.raises(ValueError, match=said):
        tune.Tuner(lambda config: None, run_config=tune.RunConfig(storage_path=tmp_path, durability="power"))
    assert not list(tmp_path.iterdir())


def test_told_by_hand_with_full_durability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a method has returned, the disk has what was told."""
    synced: list[str] = []
    real = SqliteStorage._sync

    def sync(storage: SqliteStorage, fd: int, path: str, *call: Any) -> None:
        real(storage, fd, path, *call)
        synced.append(path)

    monkeypatch.setattr(SqliteStorage, "_sync", sync)
    experiment = tune.open_experiment(
        {"x": tune.uniform(0, 1)}, name="e", metric="loss", mode="min", storage_path=tmp_path, durability="full"
    )
    with experiment:
        asked = experiment.ask()
        assert asked is not None
        for _ in range(3):
            before = len(synced)
            experiment.report(asked, 1.0)
            assert len(synced) > before
    assert len(experiment.analysis.trials) == 1


# -- a full disk, noticed within a trial that runs in the loop's process -------------------------------------


def quiet(config: dict[str, Any]) -> None:
    for step in range(60):
        time.sleep(0.005)
        tune.report(loss=step)


def swallows(config: dict[str, Any]) -> None:
    for step in range(60):
        time.sleep(0.005)
        try:
            tune.report(loss=step)
        except BaseException:
            return


def protests(config: dict[str, Any]) -> None:
    try:
        quiet(config)
    except BaseException as error:
        raise ValueError("left in the middle") from error


def yields(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for step in range(60):
        time.sleep(0.005)
        yield {"loss": step}


class Stepping(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.n = 0

    def step(self) -> dict[str, Any]:
        time.sleep(0.005)
        self.n += 1
        return {"loss": self.n - 1, "done": self.n == 60}


class Broken(Exception):
    pass


@pytest.mark.parametrize("trainable", [quiet, swallows, protests, yields, Stepping])
@pytest.mark.parametrize("broken", [OSError, Broken, KeyboardInterrupt])
def test_what_breaks_in_the_loop_within_a_trial_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainable: Any, broken: type[BaseException]
) -> None:
    """As on workers: the trial is left where it is, nothing is recorded of that, and it goes on when the run does."""

    def run() -> Any:
        return tune.run(
            trainable, name="e", storage_path=tmp_path, num_samples=3, metric="loss", mode="min", executor="inline",
            verbose=0, resume="AUTO", seed=1,
        )  # fmt: skip

    real, calls = SqliteStorage.append, [0]

    def append(storage: SqliteStorage, entries: Any, *more: Any) -> None:
        within = any(source for source, _, _ in entries)
        calls[0] += within
        if calls[0] >= 3 and within:
            raise broken(28, "raised in the loop")
        real(storage, entries, *more)

    monkeypatch.setattr(SqliteStorage, "append", append)
    with pytest.raises(broken):
        run()
    monkeypatch.undo()
    before = open_records(str(tmp_path / "e"))
    assert before.table.counts()["TERMINATED"] == before.table.counts()["ERROR"] == 0
    assert 0 < before.table.iteration(0) < 60
    analysis = run()
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 3
    assert [trial.last_result["loss"] for trial in analysis.trials] == [59] * 3


# -- the folder ----------------------------------------------------------------------------------------------


def disturbing(config: dict[str, Any]) -> None:
    """After some reports the trial itself does what somebody might do to the folder; then it goes on for ever."""
    folder = Path(config["folder"])
    for step in range(10**9):
        time.sleep(0.002)
        tune.report(loss=step)
        if step == 50 and not Path(config["done"]).exists():
            Path(config["done"]).touch()  # before it: the run may be over while the folder is still being replaced
            DISTURBANCES[config["how"]](folder)


def removed(folder: Path) -> None:
    shutil.rmtree(folder)


def renamed(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def replaced(folder: Path) -> None:
    """By the folder of another experiment, with rings that bear the same numbers."""
    renamed(folder)
    shutil.copytree(folder.with_name("other"), folder)


def database_replaced(folder: Path) -> None:
    (folder / FILE_NAME).unlink()
    shutil.copyfile(folder.with_name("other") / FILE_NAME, folder / FILE_NAME)


def log_removed(folder: Path) -> None:
    (folder / "experiment.db-wal").unlink()


def read_only(folder: Path) -> None:
    if os.geteuid() == 0:
        subprocess.run(["chattr", "+i", folder], check=True)
    else:
        folder.chmod(0o555)


def writable(folder: Path) -> None:
    if os.geteuid() == 0:
        subprocess.run(["chattr", "-i", folder], check=True)
    else:
        folder.chmod(0o755)


DISTURBANCES = {one.__name__: one for one in (removed, renamed, replaced, database_replaced, log_removed, read_only)}


def other_experiment(folder: Path) -> dict[str, bytes]:
    """An experiment beside it, killed, so that it has rings; what its files hold."""
    folder.mkdir()
    storage = SqliteStorage(str(folder))
    storage.append([(1, 8, b"another's")])
    storage.close()
    (folder / "rings").mkdir()
    for source in range(1, 9):
        (folder / "rings" / f"{source}.ring").write_bytes(b"another's ring")
    (folder / "program.pkl").write_bytes(b"another's program")
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_disturbed(tmp_path: Path, how: str, executor: str, **more: Any) -> Any:
    return tune.run(
        disturbing, name="e", storage_path=tmp_path, num_samples=2, metric="loss", mode="min", executor=executor,
        config={"folder": str(tmp_path / "e"), "done": str(tmp_path / "done"), "how": how, "x": tune.uniform(0, 1)},
        max_concurrent_trials=1, verbose=0, **more,
    )  # fmt: skip


@contextmanager
def writable_again(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        if folder.exists():
            writable(folder)


@pytest.mark.parametrize("how", sorted(DISTURBANCES))
def test_a_folder_that_goes_is_noticed_and_the_results_are_there(tmp_path: Path, executor: str, how: str) -> None:
    before = other_experiment(tmp_path / "other")
    with writable_again(tmp_path / "e"), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        analysis = run_disturbed(tmp_path, how, executor)
        noticed = time.time() - (tmp_path / "done").stat().st_mtime
        assert noticed < 10  # within two seconds on a machine that has time
        ended = [str(one.message) for one in said if "the run was ended" in str(one.message)]
        assert len(ended) == 1
        assert str(tmp_path / "e") in ended[0]
        trial = analysis.trials[0]
        assert trial.last_result["loss"] >= 50
        assert len(analysis.results_df) >= 1
        assert analysis.best_config["x"] == trial.config["x"]
        (frame,) = [one for one in analysis.trial_dataframes.values() if len(one) > 40]
        assert list(frame["loss"])[:50] == list(range(50))
        if how == "replaced":
            assert contents(tmp_path / "e") == before
        if how in ("renamed", "replaced"):  # the moved folder is whole, and can be gone on with
            (tmp_path / "e").rename(tmp_path / "was_e") if how == "replaced" else None
            (tmp_path / "elsewhere").rename(tmp_path / "e")
            moved = open_records(str(tmp_path / "e"))
            assert moved.table.iteration(0) == trial.last_result["training_iteration"]
            assert moved.status(0) == "RUNNING"


@pytest.mark.parametrize("how", sorted(DISTURBANCES))
@pytest.mark.parametrize("held_up", ["by a trial", "by a callback"])
def test_it_is_said_while_the_loop_is_held_up(tmp_path: Path, held_up: str, how: str) -> None:
    """A trial in this process that reports nothing, or a hook, keeps the loop from looking: it is said before they come back."""
    other_experiment(tmp_path / "other")
    heard: list[str] = []

    def hold_up() -> None:
        DISTURBANCES[how](tmp_path / "e")
        until = time.monotonic() + 60
        while not said and time.monotonic() < until:
            time.sleep(0.01)
        heard.extend(str(one.message) for one in said)

    class Slow(tune.Callback):
        def on_trial_result(self, *args: Any, **more: Any) -> None:
            if held_up == "by a callback" and not heard:
                hold_up()

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        if held_up == "by a trial" and not heard:
            hold_up()
        tune.report(loss=2.0)

    with writable_again(tmp_path / "e"), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        analysis = tune.run(
            train, name="e", storage_path=tmp_path, metric="loss", mode="min", executor="inline", verbose=0, callbacks=[Slow()]
        )
    assert len(heard) == 1
    assert str(tmp_path / "e") in heard[0]
    assert "The run ends as soon as what runs in this process comes back" in heard[0]
    assert sum("the run was ended" in str(one.message) for one in said) == 1
    assert analysis.trials[0].metric_analysis["loss"]["min"] == 1.0


def test_an_interrupt_in_a_read_only_folder_returns_the_results(lab: Lab, executor: str) -> None:
    process = lab.start(lab.told("endless", executor, samples=2, workers=2, frame=True))
    assert lab.wait_for_acks(20, process)
    with writable_again(Path(lab.experiment)):
        read_only(Path(lab.experiment))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert json.loads(out)["rows"] >= 1
        assert "may not be written any more" in err
    check_acks(lab, lab.reopen())


@pytest.mark.parametrize(
    "where", ["SqliteStorage.append", "write_table", "SqliteStorage.write_table", "write_files"]
)
def test_a_folder_that_goes_while_the_run_ends(
    tmp_path: Path, executor: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Whichever step of the end comes upon it."""
    *classes, name = where.split(".")
    owner: Any = getattr(loop, classes[0]) if classes else loop
    real: Callable[..., Any] = getattr(owner, name)

    ended: set[int] = set()

    def step(*given: Any) -> Any:
        if where == "SqliteStorage.append":
            ended.update(trial for _, _, data in given[1] for kind, _, _, trial, *_ in _core.decode(data) if kind == _core.KIND_END)
        if where != "SqliteStorage.append" or len(ended) == 2:
            shutil.rmtree(tmp_path / "e", ignore_errors=True)
        return real(*given)

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)

    monkeypatch.setattr(owner, name, step)
    with pytest.warns(RuntimeWarning, match="the run was ended"):
        analysis = tune.run(
            train, name="e", storage_path=tmp_path, num_samples=2, metric="loss", mode="min", executor=executor, verbose=0
        )
    assert analysis.best_result["loss"] == 1.0
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2


def test_told_by_hand_in_a_folder_that_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fasttune.engine.folder_watch.WATCH_S", 0.0)
    experiment = tune.open_experiment({"x": tune.uniform(0, 1)}, name="e", metric="loss", mode="min", storage_path=tmp_path)
    asked = experiment.ask()
    assert asked is not None
    experiment.report(asked, 1.0)
    shutil.rmtree(tmp_path / "e")
    for _ in range(2):  # however often it is asked
        with pytest.raises(FolderGoneError, match=r"e has been removed or renamed"):
            experiment.report(asked, 2.0)
    with pytest.raises(FolderGoneError, match=r"e has been removed or renamed"):
        experiment.ask()
    with pytest.warns(RuntimeWarning, match="the run was ended"):
        experiment.close()
    assert experiment.analysis.trials[0].last_result["loss"] in (1.0, 2.0)
    assert experiment.analysis.trials[0].metric_analysis["loss"]["min"] == 1.0


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_folder_that_goes_before_the_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, executor: str) -> None:
    """It was made anew, without the lock: another process could write the same experiment at the same time."""
    other_experiment(tmp_path / "other")
    before = contents(tmp_path / "other")
    real = loop.TuneLoop._take_lock

    def goes(self: Any) -> Any:
        DISTURBANCES[how](tmp_path / "e")
        return real(self)

    monkeypatch.setattr(loop.TuneLoop, "_take_lock", goes)
    with pytest.raises(FolderGoneError, match=r"e has been removed or replaced before the run began"):
        run_disturbed(tmp_path, how, executor, resume="AUTO")
    assert contents(tmp_path / "e") == before if how == "replaced" else not (tmp_path / "e").exists()


# -- a database that others hold -----------------------------------------------------------------------------


@contextmanager
def held(experiment: str) -> Iterator[None]:
    """A write transaction of another process, as a database browser leaves it open."""
    connection = sqlite3.connect(Path(experiment) / FILE_NAME, isolation_level=None, timeout=30)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def wait_for_words(process: subprocess.Popen[str], words: str) -> str:
    """What the process prints until then."""
    assert process.stderr is not None
    told = ""
    while words not in told:
        line = process.stderr.readline()
        assert line, told
        told += line
    return told


def test_a_foreign_transaction_is_waited_for_and_named(lab: Lab, executor: str) -> None:
    process = lab.start(lab.told("steady", executor, samples=200, workers=2, reports=10))
    assert lab.wait_for_acks(100, process)
    with held(lab.experiment):
        told = wait_for_words(process, "holds a write transaction")
        assert f"process {os.getpid()} (" in told
        before = numbers_of(lab.reopen_as_it_is())
        time.sleep(0.3)
        assert process.poll() is None
        assert numbers_of(lab.reopen_as_it_is()) == before
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "holds a write transaction" not in err  # it is said once
    assert json.loads(out)["statuses"] == ["TERMINATED"] * 200
    check_acks(lab, lab.reopen())


def test_an_interrupt_while_others_hold_the_database(lab: Lab, executor: str) -> None:
    """The results come at once, from memory; what could not be stored is in the rings, for the next one."""
    told = lab.told("steady", executor, samples=200, workers=2, reports=10, resume="AUTO", frame=True)
    process = lab.start(told)
    assert lab.wait_for_acks(100, process)
    with held(lab.experiment):
        wait_for_words(process, "holds a write transaction")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert time.monotonic() - began < 20
        assert process.returncode == 0, err
        assert "the run was ended" in err
        assert json.loads(out)["rows"] >= 1
    lab.nobody_left()
    check_acks(lab, lab.reopen())
    analysis = crash_script.run(told)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 200
    check_acks(lab, lab.reopen())


def test_a_storage_waits_as_it_is_told(tmp_path: Path) -> None:
    calls = []

    def while_locked() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise JournalLockedError("enough")

    storage = SqliteStorage(str(tmp_path), while_locked=while_locked)
    storage.append([(1, 8, b"a")])
    with held(str(tmp_path)), pytest.raises(JournalLockedError, match="enough"):
        storage.append([(1, 16, b"b")])
    storage.append([(1, 24, b"c")])
    assert list(storage.read()) == [(1, 8, b"a"), (1, 24, b"c")]
    storage.close()
