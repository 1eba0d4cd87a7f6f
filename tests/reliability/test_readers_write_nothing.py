"""Whoever looks at an experiment changes nothing in its folder, needs no right to write there, and sees every report:
also what a killed run left in its rings, on a full disk, in another user's folder, and while the run goes on."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import crash_script
import pytest
from laboratory import Lab, check_acks, numbers_of

import fasttune as tune
from fasttune.cli import main
from fasttune.engine.opening import open_records
from fasttune.resolve.earlier import earlier_metas
from fasttune.storage.reader import SqliteReader
from fasttune.tuner import check_same_experiment

NOBODY = 65534


def all_of(folder: str) -> dict[str, tuple[Any, ...]]:
    """Every name below a folder with all that can be told of it but the time of reading."""
    found: dict[str, tuple[Any, ...]] = {}
    for where, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            path = os.path.join(where, name)
            told = os.lstat(path)
            content = ""
            if stat.S_ISREG(told.st_mode):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            found[os.path.relpath(path, folder)] = (
                told.st_ino, told.st_mode, told.st_uid, told.st_nlink, told.st_size, told.st_mtime_ns, told.st_ctime_ns,
                content,
            )  # fmt: skip
    return found


def analysis(folder: str) -> Any:
    found = tune.ExperimentAnalysis(folder, default_metric="loss", default_mode="min")
    assert len(found.results_df) == len(found.trials)
    assert found.best_config
    for trial in found.trials:
        assert trial.last_result
        assert trial.metric_history("loss") if hasattr(trial, "metric_history") else True
    return found


def restored(folder: str) -> None:
    settings = {"tune_config": tune.TuneConfig(metric="loss", mode="min"), "run_config": tune.RunConfig()}
    space = {"x": tune.uniform(0, 1), "reports": 1, "acks": "x"}
    tuner = tune.Tuner.restore(folder, crash_script.endless, param_space=space, new_space=True, **settings)
    assert len(tuner.get_results()) > 0


def stored(folder: str) -> None:
    reader = SqliteReader(folder)
    assert len(list(reader.read())) > 1
    assert reader.positions()
    reader.checkpoint_keys()
    assert reader.checkpoint(10**6, 1) is None


def listed(*line: str) -> Callable[[str], Any]:
    def call(folder: str) -> None:
        assert main([line[0], folder if line[0] != "lsx" else os.path.dirname(folder), *line[1:]]) == 0

    return call


READERS: dict[str, Callable[[str], Any]] = {
    "analysis": analysis,
    "load": open_records,
    "ls": listed("ls", "--json"),
    "lsx": listed("lsx", "--json"),
    "show": listed("show", "--json"),
    "show as text": listed("show"),
    "restore": restored,
    "what was asked": earlier_metas,
    "same experiment": lambda folder: check_same_experiment(folder, "endless", {}, None, True),
    "reader": stored,
}


@pytest.fixture
def killed(lab: Lab) -> Lab:
    """A run that was killed with all its workers: its log and its rings are as they were."""
    process = lab.start(lab.told("endless", "process", samples=2, workers=2))
    assert lab.wait_for_acks(300, process)
    lab.kill_everything()
    process.wait()
    lab.nobody_left()
    names = os.listdir(lab.experiment)
    assert "rings" in names
    assert "experiment.db-wal" in names
    return lab


def test_no_reader_changes_a_name_a_byte_or_a_time(killed: Lab) -> None:
    before = all_of(killed.experiment)
    for name, reader in READERS.items():
        reader(killed.experiment)
        assert all_of(killed.experiment) == before, name
    assert check_acks(killed, killed.reopen()) > 0
    assert all_of(killed.experiment) == before


def test_without_its_rings_reports_are_missing(killed: Lab) -> None:
    """The test before sees what is in the rings: without them it would not see all."""
    shutil.rmtree(os.path.join(killed.experiment, "rings"))
    assert len(numbers_of(killed.reopen())) < len(killed.acks())


def test_after_an_end_the_folder_stays_as_it_is(tmp_path: Path) -> None:
    """Also where SQL's table was not written, and where there never was a lock."""
    tune.run(crash_script.steady, name="done", storage_path=tmp_path, executor="inline", verbose=0, metric="loss", mode="min",
             config={"x": tune.uniform(0, 1), "reports": 3, "acks": str(tmp_path / "acks")}, num_samples=3)  # fmt: skip
    folder = tmp_path / "done"
    (folder / ".lock").unlink()
    before = all_of(str(folder))
    for name, reader in READERS.items():
        if name not in ("restore", "same experiment"):
            reader(str(folder))
            assert all_of(str(folder)) == before, name


def as_nobody(work: Callable[[], Any]) -> None:
    """``work`` in a process of a user who owns nothing here; its traceback, if there is one, fails the test."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as told:
        text = told.read()
    os.waitpid(pid, 0)
    assert not text, text


@pytest.fixture
def others(killed: Lab) -> Iterator[str]:
    """The experiment where somebody else may read it and not write."""
    home = tempfile.mkdtemp()
    folder = os.path.join(home, "theirs")
    shutil.copytree(killed.experiment, folder)
    for where, _, files in os.walk(home):
        os.chmod(where, 0o555)
        for name in files:
            os.chmod(os.path.join(where, name), 0o444)
    yield folder
    for where, _, _ in os.walk(home):
        os.chmod(where, 0o755)
    shutil.rmtree(home)


def test_somebody_who_may_only_read_sees_every_report(killed: Lab, others: str) -> None:
    for reader in READERS.values():
        reader(others)  # loads what is loaded late: a user without rights may not even reach Python's own files
    acks = set(killed.acks())
    before = all_of(others)

    def look() -> None:
        assert not os.access(others, os.W_OK)
        for name, reader in READERS.items():
            try:
                reader(others)
            except BaseException as error:
                raise AssertionError(name) from error
        assert acks <= set(numbers_of(open_records(others)))

    as_nobody(look)
    assert all_of(others) == before


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


def test_a_full_disk_can_be_read(killed: Lab, tmp_path: Path) -> None:
    """On a disk of its own where one can be mounted; elsewhere no file may grow, which is the same to a reader."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        disk.rmdir()
        shutil.copytree(killed.experiment, disk / "crash")
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            found = numbers_of(open_records(str(disk / "crash")))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert set(killed.acks()) <= set(found)
        return
    try:
        shutil.copytree(killed.experiment, disk / "crash")
        with pytest.raises(OSError, match="No space"):
            fill(disk / "ballast")
        before = all_of(str(disk))
        for reader in READERS.values():
            reader(str(disk / "crash"))
        assert set(killed.acks()) <= set(numbers_of(open_records(str(disk / "crash"))))
        assert all_of(str(disk)) == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_beside_a_run_every_report_is_seen_when_it_has_returned(lab: Lab, executor: str) -> None:
    """Not only what was committed: whoever opens the folder sees what was acknowledged before. What is looked at stays
    as it was when it was opened."""
    process = lab.start(lab.told("endless", executor, samples=3, workers=2))
    assert lab.wait_for_acks(50, process)
    for _ in range(25):
        acks = set(lab.acks())
        state = lab.reopen()
        first = numbers_of(state)
        assert acks <= set(first)
        assert len(first) == len(set(first)) == state.table.reports
        lab.wait_for_acks(1, process)
        state._blocks = None
        assert sorted(numbers_of(state)) == sorted(first)
