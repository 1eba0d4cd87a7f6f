from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.config import Experiment, ResumeConfig
from fasttune.folder import JOURNAL
from fasttune.resolve import Call
from fasttune.resolve.places import claim_folder, default_storage, experiment_name, find_place, latest_folder
from fasttune.resolve.trainables import resolve_trainable

NOON = time.strptime("2026-03-04 12:00:05", "%Y-%m-%d %H:%M:%S")


def objective(config: dict[str, Any]) -> None:
    tune.report(score=1)


def finished(folder: Path) -> Path:
    """A folder that holds an experiment."""
    folder.mkdir(parents=True)
    (folder / JOURNAL).touch()
    return folder


def claimed(root: Path) -> str:
    """The folder that a new run of the name "mine" gets."""
    claim = claim_folder(str(root), "mine", exclusive=False)
    claim.lock.release()
    return claim.folder


def place_of(root: Path, **call: Any) -> Any:
    experiment = Experiment(None, objective)
    return find_place([experiment], [resolve_trainable(experiment)], Call(storage_path=str(root), **call))


def test_R1_names() -> None:
    assert experiment_name(None, "train", NOON, {}) == ("train_2026-03-04_12-00-05", True)
    assert experiment_name("mine", "train", NOON, {}) == ("mine", False)
    assert experiment_name(None, "train", NOON, {"TUNE_DISABLE_DATED_SUBDIR": "1"}) == ("train", False)
    assert experiment_name("group/mine", "train", NOON, {}) == ("group/mine", False)
    for wrong in ("", "/abs", "../up", "a/../../b"):
        with pytest.raises(ValueError, match="name must be a folder name below storage_path"):
            experiment_name(wrong, "train", NOON, {})


def test_R1_two_runs_within_one_second_have_two_folders(tmp_path: Path) -> None:
    names = [os.path.basename(claim_folder(str(tmp_path), "train_12-00-05", exclusive=True).folder) for _ in range(3)]
    assert names == ["train_12-00-05", "train_12-00-05_2", "train_12-00-05_3"]


def test_R1_a_name_is_taken_by_an_experiment_not_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert claimed(tmp_path) == str(tmp_path / "mine")
    (tmp_path / "mine" / JOURNAL).touch()
    assert claimed(tmp_path) == str(tmp_path / "mine_2")
    (tmp_path / "mine_3").write_text("a file")
    (tmp_path / "mine_2" / JOURNAL).touch()
    assert claimed(tmp_path) == str(tmp_path / "mine_4")


def test_R1_where_experiments_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTTUNE_RESULTS_DIR", "/data/results")
    assert default_storage() == "/data/results"
    monkeypatch.delenv("FASTTUNE_RESULTS_DIR")
    monkeypatch.setenv("HOME", "/srv/ada")
    assert default_storage() == "/srv/ada/fasttune_results"


def test_F5_auto_goes_on_with_the_last_of_that_name(tmp_path: Path) -> None:
    assert latest_folder(str(tmp_path), "mine") is None
    fresh = place_of(tmp_path, name="mine", resume="AUTO")
    claim = fresh.claim()
    assert (claim.folder, claim.earlier) == (str(tmp_path / "mine"), None)
    claim.give_up()
    assert not list(tmp_path.iterdir())
    finished(tmp_path / "mine")
    finished(tmp_path / "mine_2")
    place = place_of(tmp_path, name="mine", resume="AUTO+ERRORED")
    assert place.claim()[::2] == (str(tmp_path / "mine_2"), str(tmp_path / "mine_2"))
    assert place.resume == ResumeConfig(errored="resume")
    assert place_of(tmp_path, name="mine").claim().folder == str(tmp_path / "mine_3")


def test_F5_true_insists(tmp_path: Path) -> None:
    for call in ({"resume": True}, {"resume_config": ResumeConfig()}):
        with pytest.raises(ValueError, match=r"nothing to resume: there is no experiment.db in .*mine"):
            place_of(tmp_path, name="mine", **call)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("resume", [True, "AUTO"])
def test_F5_resume_without_a_name_could_never_find_anything(tmp_path: Path, resume: object) -> None:
    with pytest.raises(ValueError, match=r"needs name=\.\.\.: without one every run has a new folder"):
        place_of(tmp_path, resume=resume)
