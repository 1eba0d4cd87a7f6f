"""Two processes that begin, or go on with, the same experiment at the same moment: its lock decides."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from laboratory import SOURCE, Lab

import fasttune as tune
import forks
from fasttune import plain_files
from fasttune.engine.opening import open_records
from fasttune.error import ExperimentLockedError
from fasttune.plain_files import FILES
from fasttune.resolve import places, spec
from fasttune.storage.recovery import ExperimentLock
from rounds import rounds

SCRIPT = """
import json, os, sys
import fasttune as tune

told = json.loads(sys.argv[1])

def one_run(folder):
    def train(config):
        tune.report(loss=config["x"])
        with open(os.path.join(folder, "trained"), "a") as file:
            file.write(f"{config['x']!r}\\n")

    try:
        analysis = tune.run(
            train, name="e", storage_path=folder, config={"x": tune.uniform(0, 1)}, num_samples=3,
            metric="loss", mode="min", verbose=0, executor=told["executor"], resume=told["resume"],
        )
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["path", analysis.experiment_path]

print("ready", flush=True)
for folder in sys.stdin:
    print(json.dumps(one_run(folder.rstrip())), flush=True)
"""


def train(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])


def a_run(folder: Path, **more: Any) -> Any:
    return tune.run(
        train, name="e", storage_path=folder, config={"x": tune.uniform(0, 1)}, num_samples=3, metric="loss", mode="min",
        executor="inline", verbose=0, **more,
    )  # fmt: skip


def a_pair(lab: Lab, executor: str, resume: str | None) -> list[subprocess.Popen[str]]:
    """Two processes that are ready to run in the folders they are told of."""
    told = json.dumps({"executor": executor, "resume": resume})
    pair = [
        forks.Popen(
            [sys.executable, "-c", SCRIPT, told],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in "12"
    ]
    lab.started += pair
    for process in pair:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    return pair


def both_at_once(pair: list[subprocess.Popen[str]], folder: Path) -> tuple[list[list[str]], list[str]]:
    """What the two answered that were let go together, and the configs that were trained."""
    folder.mkdir()
    for process in pair:
        assert process.stdin is not None
        process.stdin.write(f"{folder}\n")
        process.stdin.flush()
    answers = []
    for process in pair:
        assert process.stdout is not None
        answers.append(json.loads(process.stdout.readline()))
    return answers, (folder / "trained").read_text().split()


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
@pytest.mark.parametrize("resume", ["AUTO", None])
def test_two_processes_at_the_same_moment(lab: Lab, executor: str, resume: str | None) -> None:
    """With resume="AUTO" one trains and the other is refused, naming it, or goes on with what the first one has done. Two
    new runs get a folder each."""
    pair = a_pair(lab, executor, resume)
    for attempt in range(rounds(6) if executor == "process" else 6):
        folder = lab.folder / f"round_{attempt}"
        answers, trained = both_at_once(pair, folder)
        experiments = sorted(path.parent.name for path in folder.glob("*/experiment.db"))
        assert len(set(trained)) == len(trained)
        if resume is None:
            assert experiments == ["e", "e_2"]
            assert sorted(answers) == [["path", str(folder / "e")], ["path", str(folder / "e_2")]]
            assert len(trained) == 6
            continue
        assert experiments == ["e"]
        assert len(trained) == 3
        assert ["path", str(folder / "e")] in answers
        for kind, text in answers:
            assert kind == "path" or (kind == "ExperimentLockedError" and "is being written by process" in text)


def test_a_run_that_ends_between_the_look_and_the_lock_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look finds nothing; before the lock is taken another one's whole run happens. With its seed."""
    real, looks = places.latest_folder, [0]

    def look(root: str, name: str) -> str | None:
        found = real(root, name)
        looks[0] += 1
        if looks[0] == 1:
            first.append(a_run(tmp_path, resume="AUTO"))
        return found

    first: list[Any] = []
    monkeypatch.setattr(places, "latest_folder", look)
    second = a_run(tmp_path, resume="AUTO")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e"]
    assert [trial.config for trial in second.trials] == [trial.config for trial in first[0].trials]
    state = open_records(str(tmp_path / "e"))
    assert [state.table.attempt(i) for i in range(len(state))] == [1, 1, 1]


@pytest.mark.parametrize("resume", ["AUTO", None])
def test_a_run_that_is_about_to_begin_has_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: str | None
) -> None:
    """The first one holds the lock and has written nothing yet: the second one is refused, or takes another folder."""
    answers: list[Any] = []
    where = "searcher_of_run" if resume else "result_lines"  # a new run takes its folder when all is known to be well
    real = getattr(spec, where)

    def meanwhile(*given: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        return real(*given)

    def other() -> None:
        try:
            answers.append(a_run(tmp_path, resume=resume).experiment_path)
        except ExperimentLockedError as error:
            answers.append(str(error))

    monkeypatch.setattr(spec, where, meanwhile)
    assert a_run(tmp_path, resume=resume).experiment_path == str(tmp_path / "e")
    if resume is None:
        assert answers == [str(tmp_path / "e_2")]
    else:
        assert f"is being written by process {os.getpid()}" in answers[0]
        assert [path.name for path in tmp_path.iterdir()] == ["e"]


@pytest.mark.parametrize("resume", ["AUTO", None])
def test_a_run_that_is_refused_leaves_no_folder_and_no_lock(tmp_path: Path, resume: str | None) -> None:
    for wrong in ({"search_alg": "no such searcher"}, {"scheduler": 5}):
        with pytest.raises((TypeError, ValueError)):
            a_run(tmp_path / "new", resume=resume, **wrong)
        assert not list(tmp_path.iterdir())
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "mine").write_text("kept")
    with pytest.raises(ValueError, match="no such searcher"):
        a_run(tmp_path, resume=resume, search_alg="no such searcher")
    assert (tmp_path / "e" / "mine").read_text() == "kept"
    assert a_run(tmp_path, resume=resume).experiment_path == str(tmp_path / "e")


@pytest.mark.parametrize("name", sorted(set(FILES) - {"experiment.db"}))
def test_a_file_that_goes_while_the_folder_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The run before ends at this moment: it takes its log, its lock or its texts away."""
    first = a_run(tmp_path)
    going = tmp_path / "e" / name
    going.touch()
    real = os.scandir

    @contextmanager
    def scandir(folder: str) -> Iterator[Iterator[os.DirEntry[str]]]:
        with real(folder) as found:
            seen = list(found)
        going.unlink(missing_ok=True)
        yield iter(seen)

    monkeypatch.setattr(plain_files.os, "scandir", scandir)
    plain_files.check_before_writing(str(tmp_path / "e"))
    assert not going.exists()
    monkeypatch.undo()
    assert [one.config for one in a_run(tmp_path, resume="AUTO").trials] == [one.config for one in first.trials]


@pytest.mark.parametrize(
    ("step", "resume"),
    [("mkdir", "AUTO"), ("isdir", "AUTO"), ("scandir", "AUTO"), ("open", "AUTO"), ("mkdir", None), ("open", None)],
)
def test_a_folder_that_is_taken_away_by_who_had_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, resume: str | None
) -> None:
    """Somebody who was refused removes the folders that it had made, between any two steps of ours: they are made again."""
    folder, times = tmp_path / "above" / "e", [0]
    where = os.path if step == "isdir" else os
    real: Any = getattr(where, step)

    def taken_away(path: Any, *more: Any, **named: Any) -> Any:
        if str(path).startswith(str(folder)) and times[0] < 2:
            times[0] += 1
            shutil.rmtree(folder.parent, ignore_errors=True)
        return real(path, *more, **named)

    monkeypatch.setattr(where, step, taken_away)
    assert a_run(folder.parent, resume=resume).experiment_path == str(folder)
    assert times[0]


def test_a_place_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match="link"):
        a_run(tmp_path / "link" / "below", resume="AUTO")


def test_a_lock_that_was_removed_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waited for it while the run that had it was refused does not hold what nobody else would see."""
    first = ExperimentLock(str(tmp_path))
    real = ExperimentLock._take

    def take(lock: ExperimentLock) -> bool:
        if lock is not first and first.held:
            first.remove()
            first.release()
        return real(lock)

    monkeypatch.setattr(ExperimentLock, "_take", take)
    with pytest.raises(FileNotFoundError, match="the lock was removed"):
        ExperimentLock(str(tmp_path))
    ExperimentLock(str(tmp_path)).release()
