"""A program whose working directory has been removed under it: what does not need it runs, all else says what it is needed for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.working_directory import absolute


@pytest.fixture
def removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is gone."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()


def train(config: dict[str, Any]) -> None:
    tune.report(score=1.0)


@pytest.mark.usefixtures("removed")
def test_workers_have_nowhere_to_begin(tmp_path: Path) -> None:
    said = r"working directory of this process has been removed.*worker processes begin in it.*executor='thread'.*os.chdir"
    with pytest.raises(FileNotFoundError, match=said):
        tune.run(train, storage_path=str(tmp_path / "results"), verbose=0)
    assert not (tmp_path / "results").exists()  # said before anything was made


@pytest.mark.usefixtures("removed")
@pytest.mark.parametrize("executor", ["inline", "thread"])
def test_trials_of_this_process_need_none(tmp_path: Path, executor: str) -> None:
    analysis = tune.run(train, storage_path=str(tmp_path / "results"), executor=executor, verbose=0)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"]


@pytest.mark.usefixtures("removed")
def test_relative_paths_are_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"storage_path 'results' is relative to it\. Go to a folder"):
        tune.run(train, storage_path="results", executor="inline", verbose=0)
    with pytest.raises(FileNotFoundError, match="the experiment 'old' is relative to it"):
        tune.ExperimentAnalysis("old")


@pytest.mark.parametrize("path", ["", ".", "a/../b", "/x//y/", "~", "~/z/", "../q"])
def test_paths_are_those_of_abspath(path: str) -> None:
    assert absolute(path, "it") == os.path.abspath(os.path.expanduser(path))
