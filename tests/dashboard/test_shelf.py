"""Experiments are read again when they have changed, and only then; what is said of their progress."""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.dashboard import answers
from fasttune.dashboard.answers import Answers
from fasttune.dashboard.progress import in_words, left_in_words, progress_of
from fasttune.dashboard.question import NotAnswered, Question, plain
from fasttune.dashboard.shelf import Opened, Shelf


def trains(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])


class AfterFive(tune.Stopper):
    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.seen += 1
        return False

    def stop_all(self) -> bool:
        return self.seen >= 5


def run(place: Path, trials: int) -> None:
    space = {"x": tune.uniform(0, 1)}
    given: dict[str, Any] = {"storage_path": place, "executor": "inline", "verbose": 0, "resume": "AUTO", "seed": 1}
    tune.run(trains, name="growing", config=space, num_samples=trials, metric="loss", mode="min", **given)


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    run(tmp_path, 4)
    return tmp_path / "growing"


def test_what_has_not_changed_is_opened_once(growing: Path) -> None:
    shelf = Shelf()
    first = shelf.opened(str(growing))
    first.seconds = 0.0
    assert shelf.opened(str(growing)) is first
    assert shelf.version(str(growing)) == first.version


def test_what_has_changed_is_read_again(growing: Path) -> None:
    shelf = Shelf()
    first = shelf.opened(str(growing))
    first.seconds = 0.0
    run(growing.parent, 9)
    second = shelf.opened(str(growing))
    assert second is not first
    assert (len(first.source), len(second.source)) == (4, 9)
    assert second.version != first.version


def test_reading_takes_a_tenth_of_the_time_at_most(growing: Path) -> None:
    shelf = Shelf()
    first = shelf.opened(str(growing))
    first.seconds = 3600.0  # as if it were very large
    run(growing.parent, 9)
    assert shelf.opened(str(growing)) is first
    assert shelf.version(str(growing)) == first.version  # who has it is told that nothing is new
    first.read_at = time.monotonic() - 36001.0
    assert len(shelf.opened(str(growing)).source) == 9


def test_another_experiment_of_the_same_name_is_another_one(growing: Path) -> None:
    shelf = Shelf()
    first = shelf.opened(str(growing))
    first.seconds = 0.0
    shutil.rmtree(growing)
    run(growing.parent, 4)
    assert shelf.opened(str(growing)) is not first


def test_a_few_are_kept(growing: Path) -> None:
    shelf = Shelf(kept=2)
    copies = [growing.parent / f"copy{k}" for k in range(3)]
    for copy in copies:
        shutil.copytree(growing, copy)
    opened = [shelf.opened(str(copy)) for copy in copies]
    assert shelf.opened(str(copies[2])) is opened[2]
    assert shelf.opened(str(copies[1])) is opened[1]
    again = shelf.opened(str(copies[0]))
    assert again is not opened[0]
    assert again.version == opened[0].version  # it is the same all the same
    assert Shelf().version(str(copies[0])) != opened[0].version  # of another server nobody has anything


def test_an_experiment_that_goes_while_it_is_looked_at(growing: Path) -> None:
    told = Answers(str(growing.parent))
    assert told.experiment("growing")["trials"] == 4
    shutil.rmtree(growing)
    for ask in (told.version, told.experiment):
        with pytest.raises(NotAnswered):
            ask("growing")
    assert told.experiments()["experiments"] == []


def test_the_list_reads_what_it_has_time_for(growing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(3):
        shutil.copytree(growing, growing.parent / f"copy{k}")
    told = Answers(str(growing.parent))
    monkeypatch.setattr(answers, "READING_S", -1.0)
    assert [one["state"] for one in told.experiments()["experiments"]] == ["reading"] * 4
    monkeypatch.setattr(answers, "READING_S", 3600.0)
    assert [one["state"] for one in told.experiments()["experiments"]] == ["finished"] * 4
    monkeypatch.setattr(answers, "READING_S", -1.0)
    assert [one["state"] for one in told.experiments()["experiments"]] == ["finished"] * 4


def test_damage_is_said(growing: Path) -> None:
    journal = sqlite3.connect(growing / "experiment.db")
    journal.execute("UPDATE journal SET data = zeroblob(length(data)) WHERE id = (SELECT max(id) FROM journal)")
    journal.commit()
    journal.close()
    told = progress_of(Opened(str(growing), "v"))
    assert "damaged" in told["said"][0]
    assert told["trials"] == 4


# ---- progress


def test_how_many_trials_were_asked_for(tmp_path: Path) -> None:
    given: dict[str, Any] = {"storage_path": tmp_path, "executor": "inline", "verbose": 0, "metric": "loss", "mode": "min"}
    grid = {"x": tune.grid_search([1, 2, 3]), "y": tune.uniform(0, 1)}
    tune.run(trains, name="grid", config=grid, num_samples=2, **given)
    assert Opened(str(tmp_path / "grid"), "v").source.asked_for() == 6
    tune.run(trains, name="endless", config={"x": tune.uniform(0, 1)}, num_samples=-1, stop=AfterFive(), **given)
    opened = Opened(str(tmp_path / "endless"), "v")
    assert opened.source.asked_for() is None
    told = progress_of(opened)
    assert told["asked"] is None
    assert told["over"] >= 5
    tune.run(trains, name="tpe", config={"x": tune.uniform(0, 1)}, search_alg="tpe", num_samples=7, **given)
    assert Opened(str(tmp_path / "tpe"), "v").source.asked_for() == 7


def test_what_is_left_is_said_where_it_can_be_known() -> None:
    assert left_in_words(100, 40, {"trials": 2.0, "reports": 9.0}) == "about 30 seconds left"
    assert left_in_words(None, 40, {"trials": 2.0, "reports": 9.0}) == ""
    assert left_in_words(100, 0, {"trials": 0.0, "reports": None}) == ""
    assert left_in_words(100, 100, {"trials": 2.0, "reports": 9.0}) == ""


def test_progress_in_words() -> None:
    def said(state: str, asked: int | None, left: str = "", **counts: int) -> str:
        every = {"PENDING": 0, "RUNNING": 0, "PAUSED": 0, "TERMINATED": 0, "ERROR": 0}
        return in_words(state, {**every, **counts}, asked, "3 seconds", left)

    assert said("running", 400, "about 2 minutes left", TERMINATED=37, ERROR=1, RUNNING=2, PENDING=9) == (
        "It has run for 3 seconds: 38 of 400 trials are over, 1 of them failed, 2 run now. About 2 minutes left."
    )
    assert said("running", None, TERMINATED=1, RUNNING=1) == "It has run for 3 seconds: 1 trial is over, 1 runs now."
    assert said("finished", 1500, TERMINATED=1500) == "It took 3 seconds: 1,500 trials are over."
    assert said("unfinished", 4, TERMINATED=1, PAUSED=1, PENDING=2) == (
        "Nobody runs it: 1 of 4 trials is over, and 3 were left when it ended, after 3 seconds. It can be gone on with."
    )


def test_values_become_what_json_has() -> None:
    assert plain({"a": [float("nan"), 2**60, {1: b"x"}, True, None]}) == {"a": [None, str(2**60), {"1": "b'x'"}, True, None]}


def test_a_question_has_to_be_read() -> None:
    question = Question([("a", "1"), ("b", "2")])
    assert question.number("a", 0, 0, 5) == 1
    with pytest.raises(NotAnswered, match="no parameter 'b'; there are a"):
        question.check_all_known()
    assert question.needed("b") == "2"
    question.check_all_known()
