"""Programs that make errors of warnings (``python -W error``): what a run warns of while it goes on costs nobody its results."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.error import FolderGoneError
from fasttune.once import warn_in_run


@pytest.fixture(autouse=True)
def errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def run(train: Any, folder: Path, **more: Any) -> Any:
    asked = {"config": {"x": tune.uniform(0, 1)}, "num_samples": 3, "metric": "loss", "mode": "min", "seed": 1, **more}
    return tune.run(train, name="a", storage_path=str(folder), verbose=0, **asked)


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_folder_that_goes_leaves_what_was_found(tmp_path: Path, executor: str, caplog: pytest.LogCaptureFixture) -> None:
    class Removes(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            shutil.rmtree(tmp_path / "a", ignore_errors=True)

    asked = {"executor": executor, "callbacks": [Removes()], "max_concurrent_trials": 1, "num_samples": 50}
    found = run(lambda config: config["x"], tmp_path, **asked)
    assert found.trials[0].status == "TERMINATED"
    assert "RuntimeWarning: the run was ended: " in caplog.text


def test_what_ends_no_trial_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = run(lambda config: config["x"], tmp_path, stop={"nowhere": 3}, executor="inline")
    assert [trial.status for trial in found.trials] == ["TERMINATED"] * 3
    assert "stop={'nowhere': 3} ends no trial" in caplog.text


def test_a_space_that_is_used_up_ends_the_search(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = run(lambda config: config["x"], tmp_path, config={"x": tune.choice([1, 2])}, on_duplicate="skip", executor="inline")
    assert sorted(trial.config["x"] for trial in found.trials) == [1, 2]
    assert "all 2 configs of the search space have been tried" in caplog.text


def test_others_are_warned_as_ever() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_in_run("something", RuntimeWarning)
    (one,) = caught
    assert (str(one.message), one.category, one.filename) == ("something", RuntimeWarning, __file__)


def test_a_folder_that_is_gone_before_the_run_begins_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fasttune import tuner

    def gone(folder: str, kept: bytes | None) -> None:
        shutil.rmtree(folder)
        open(os.path.join(folder, "tuner.pkl"), "wb")  # noqa: SIM115

    monkeypatch.setattr(tuner, "_write_tuner_file", gone)
    settings = tune.RunConfig(name="a", storage_path=str(tmp_path), verbose=0)
    with pytest.raises(FolderGoneError, match="has been removed before the run began"):
        tune.Tuner(lambda config: 1, param_space={}, run_config=settings).fit()
