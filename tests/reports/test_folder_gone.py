"""The folder of a run is gone when its results are looked at."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import fasttune as tune
from fasttune.storage import kept


def train(config: dict[str, Any]) -> None:
    for step in range(3):
        tune.report(
            {"score": config["x"] + step, "note": f"step {step}"}, checkpoint=tune.Checkpoint.from_dict({"step": step})
        )
    if config["x"] == 0:
        raise ValueError("zero is bad")


def run(folder: str | Path, **more: Any) -> tune.ExperimentAnalysis:
    asked: dict[str, Any] = {"config": {"x": tune.grid_search([0, 10, 20])}, "metric": "score", "mode": "max"}
    asked |= {"raise_on_failed_trial": False, "verbose": 0, "name": "e", "storage_path": folder}
    return tune.run(train, **{**asked, **more})


def look_at(analysis: tune.ExperimentAnalysis, scope: str = "last") -> None:
    assert analysis.best_config == {"x": 20}
    assert analysis.best_result["score"] == 22
    assert analysis.default_scope == scope
    assert analysis.dataframe()["score"].tolist() == [2, 12, 22]
    assert analysis.dataframe("score", "min")["score"].tolist() == [0, 10, 20]
    assert analysis.results_df["note"].tolist() == ["step 2"] * 3
    assert [trial.status for trial in analysis.trials] == ["ERROR", "TERMINATED", "TERMINATED"]
    assert analysis.trial_dataframes[analysis.best_trial.trial_id]["score"].tolist() == [20, 21, 22]
    assert analysis.trials[1].metric_analysis["score"]["max"] == 12
    assert [str(error) for error in analysis.errors] == ["zero is bad"]
    best = analysis.best_checkpoint
    assert best is not None
    assert best.to_dict() == {"step": 2}
    assert analysis.best_logdir.startswith(analysis.experiment_path)
    assert analysis.trials[0].error_file is not None
    assert "score" in analysis._repr_html_()


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
@pytest.mark.parametrize("most", [kept.MOST_BYTES, 0], ids=["in memory", "as a descriptor"])
@pytest.mark.parametrize("scope", ["last", "all"])
def test_outside_the_with(executor: str, most: int, scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results were wanted below a with TemporaryDirectory(), and there was a JournalError in place of them."""
    monkeypatch.setattr(kept, "MOST_BYTES", most)
    with TemporaryDirectory() as folder:
        analysis = run(folder, executor=executor, scope=scope)
    look_at(analysis, scope)
    assert not os.path.exists(folder)  # looking makes no folder


def test_a_grid_outside_the_with() -> None:
    """The same, with a Tuner."""
    with TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            train,
            param_space={"x": tune.grid_search([0, 10, 20])},
            tune_config=tune.TuneConfig(metric="score", mode="max"),
            run_config=tune.RunConfig(storage_path=folder, executor="inline", verbose=0),
        )
        grid = tuner.fit()
    best = grid.get_best_result()
    assert best.config == {"x": 20}
    assert best.metrics_dataframe is not None
    assert best.metrics_dataframe["score"].tolist() == [20, 21, 22]
    assert best.path is not None
    assert grid.get_dataframe()["score"].tolist() == [2, 12, 22]
    assert tuner.get_results().num_errors == 1
    assert not os.path.exists(folder)


def test_another_experiment_of_that_name_is_not_taken_for_it(tmp_path: Path) -> None:
    """The first analysis showed reports of the second run, which had the same name."""
    first = run(tmp_path, executor="inline")
    shutil.rmtree(tmp_path / "e")
    second = run(tmp_path, executor="inline", config={"x": tune.grid_search([5, 6, 7])})
    look_at(first)
    assert second.dataframe()["score"].tolist() == [7, 8, 9]


def test_open_descriptors_go_with_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long session must not run out of files because of the results that it looked at."""
    monkeypatch.setattr(kept, "MOST_BYTES", 0)
    run(tmp_path / "warm", executor="inline").dataframe()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(3):
        analysis = run(tmp_path / str(number), executor="inline")
        shutil.rmtree(tmp_path / str(number))
        analysis.dataframe()
        gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    del analysis
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_holding_results_takes_no_lock_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropping old results in a callback of the run that goes on must not unlock its database."""
    monkeypatch.setattr(kept, "MOST_BYTES", 0)
    held = [run(tmp_path, executor="inline", config={"x": tune.grid_search([10, 20])})]
    tried: list[str] = []
    write = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('PRAGMA journal_mode=DELETE')"

    class Drops(tune.Callback):
        def on_trial_result(self, *args: Any, **more: Any) -> None:
            if held:
                held.clear()
                gc.collect()
                done = subprocess.run(
                    [sys.executable, "-c", write, tmp_path / "e/experiment.db"], capture_output=True, text=True
                )
                tried.append(done.stderr)

    again = {"config": {"x": tune.grid_search([10, 20])}, "resume": tune.ResumeConfig(finished="restart")}
    run(tmp_path, executor="inline", callbacks=[Drops()], **again)
    assert "locked" in tried[0]


def test_a_run_that_went_on_changes_no_earlier_results(tmp_path: Path) -> None:
    """An analysis in a notebook showed other numbers after a later cell had gone on with the experiment."""
    first = run(tmp_path, executor="inline")
    run(tmp_path, executor="inline", resume=tune.ResumeConfig(finished="restart", errored="restart"))
    look_at(first)


def test_a_large_journal_that_is_gone_on_with_changes_no_earlier_results(tmp_path: Path) -> None:
    """A run of many trials was gone on with, and its first results could not be put into a table any more."""

    def train(config: dict[str, Any]) -> None:
        for _ in range(3):
            tune.report(loss=config["x"], text="x" * 1000)

    def go(samples: int, **more: Any) -> Any:
        return tune.run(
            train,
            config={"x": tune.uniform(0, 1)},
            num_samples=samples,
            metric="loss",
            mode="min",
            name="large",
            executor="inline",
            storage_path=tmp_path,
            seed=1,
            verbose=0,
            **more,
        )

    before = go(2000)
    assert (tmp_path / "large" / "experiment.db").stat().st_size > kept.MOST_BYTES
    after = go(2010, resume=True)
    assert (len(before.dataframe()), len(after.dataframe())) == (2000, 2010)
    assert (len(before.trials), len(before.results_df)) == (2000, 2000)
