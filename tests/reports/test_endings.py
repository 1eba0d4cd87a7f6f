"""How a run ends: failed trials and Ctrl-C lose no result, and the next step is told."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.error import IncompleteTrialsError


def fails_at_two(config: dict[str, Any]) -> None:
    tune.report(score=config["x"])
    if config["x"] == 2:
        raise ValueError("two is bad")


SPACE = {"x": tune.grid_search([1, 2, 3])}


def run(folder: Path, trainable: Any = fails_at_two, **more: Any) -> tune.ExperimentAnalysis:
    asked: dict[str, Any] = {"config": SPACE, "name": "e", "storage_path": folder, "metric": "score", "mode": "max"}
    return tune.run(trainable, **{**asked, "executor": "inline", "verbose": 0, **more})


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_the_exception_has_the_results(tmp_path: Path, executor: str) -> None:
    """One trial of a thousand failed in the last minute, and the results of all others were gone with the exception."""
    with pytest.raises(IncompleteTrialsError) as caught:
        run(tmp_path, executor=executor)
    analysis = caught.value.analysis
    assert analysis.best_config == {"x": 3}
    assert sorted(analysis.results_df["score"]) == [1, 2, 3]
    text = str(caught.value)
    assert "1 of 3 failed" in text
    assert str(tmp_path / "e") in text
    assert "raise_on_failed_trial=False returns them" in text
    assert text.endswith("ValueError: two is bad")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == text
    assert again.analysis.best_config == {"x": 3}


def test_a_raised_error_of_a_trial_says_where_the_results_are(tmp_path: Path) -> None:
    """With fail_fast='raise' there was an exception of one's own without a line, and no word of the results."""
    with pytest.raises(ValueError, match="two is bad") as caught:
        run(tmp_path, fail_fast="raise")
    assert str(tmp_path / "e") in caught.value.__notes__[0]
    assert 'raise ValueError("two is bad")' in str(caught.value.__cause__)


def interrupted_at_two(config: dict[str, Any]) -> None:
    tune.report(score=config["x"])
    if config["x"] == 2:
        os.kill(os.getpid(), signal.SIGINT)
    tune.report(score=config["x"])


def test_after_ctrl_c_the_screen_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C one had to search the docs for how to go on, and began anew."""
    analysis = run(tmp_path, interrupted_at_two, verbose=1)
    assert analysis.interrupted
    assert pickle.loads(pickle.dumps(analysis)).interrupted
    assert tune.ExperimentAnalysis(tmp_path / "e").interrupted
    said = capsys.readouterr().out
    assert f"tune.run(..., name='e', storage_path='{tmp_path}', resume='AUTO')" in said
    monkeypatch.setitem(globals(), "os", Deaf())
    assert not run(tmp_path, interrupted_at_two, resume="AUTO").interrupted
    assert not tune.ExperimentAnalysis(tmp_path / "e").interrupted


class Deaf:
    """In place of ``os``: nobody presses Ctrl-C."""

    getpid = os.getpid

    @staticmethod
    def kill(pid: int, number: int) -> None:
        pass


def test_a_tuner_says_it_in_its_own_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was said about going on was of another door than the one that had been used."""
    grid = tune.Tuner(
        interrupted_at_two,
        param_space=SPACE,
        run_config=tune.RunConfig(name="t", storage_path=tmp_path, executor="inline"),
    ).fit()
    assert grid.interrupted
    assert f"Tuner.restore('{tmp_path}/t', trainable).fit()" in capsys.readouterr().out


def test_in_the_usual_place_only_the_name_is_needed(results_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The call to go on with was longer than it had to be."""
    tune.run(interrupted_at_two, config=SPACE, name="e", executor="inline")
    assert "tune.run(..., name='e', resume='AUTO')" in capsys.readouterr().out
