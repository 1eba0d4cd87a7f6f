"""Rows N1 to N6 on real runs: what comes out, live and from disk, on both executors."""

from __future__ import annotations

import logging
import math
import os
import pickle
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune


def peak(config: dict[str, Any]) -> None:
    """Goes up to its height, then down to the negative of it, then ends at 0."""
    for value in (0.0, config["height"], -config["height"], 0.0):
        tune.report(score=value, nested={"height": config["height"]}, name=f"h{config['height']}")


@pytest.fixture
def analysis(run):
    return run(peak, config={"height": tune.grid_search([10, 100, 50])}, metric="score", mode="max")


def objective(x: float, a: float, b: float) -> float:
    return float(a * (x**0.5) + b)


def trainable(config: dict[str, Any]) -> None:
    for x in range(20):
        tune.report(score=objective(x, config["a"], config["b"]))


def test_N1_the_analysis_block_of_key_concepts(run):
    analysis = run(
        trainable,
        config={"a": tune.uniform(0, 1), "b": tune.uniform(0, 1)},
        metric="score",
        mode="min",
        num_samples=10,
        stop={"training_iteration": 20},
    )
    best_trial = analysis.best_trial
    best_config = analysis.best_config
    best_logdir = analysis.best_logdir
    best_checkpoint = analysis.best_checkpoint
    best_result = analysis.best_result
    best_result_df = analysis.best_result_df
    values = [objective(19, **trial.config) for trial in analysis.trials]
    assert best_trial.last_result["score"] == min(values)
    assert best_config == best_trial.config
    assert best_logdir == best_trial.logdir
    assert os.path.isdir(best_logdir)
    assert best_checkpoint is None
    assert best_result["score"] == min(values)
    assert list(best_result_df["score"]) == [min(values)]
    assert list(best_result_df.index) == [best_trial.trial_id]


def test_N2_the_results_block_of_key_concepts(analysis):
    frame = analysis.results_df
    assert list(frame["score"]) == [0.0, 0.0, 0.0]
    assert list(frame["nested/height"]) == [10, 100, 50]
    assert list(frame.index) == [trial.trial_id for trial in analysis.trials]
    assert list(analysis.dataframe(metric="score", mode="max")["score"]) == [10.0, 100.0, 50.0]
    assert list(analysis.dataframe(metric="score", mode="min")["score"]) == [-10.0, -100.0, -50.0]
    assert list(analysis.dataframe()["score"]) == [0.0, 0.0, 0.0]
    assert list(analysis.dataframe()["config/height"]) == [10, 100, 50]
    assert list(analysis.dataframe()["logdir"]) == [trial.logdir for trial in analysis.trials]
    with pytest.raises(ValueError, match="needs a metric"):
        analysis.dataframe(mode="max")
    with pytest.raises(ValueError, match="mode must be"):
        analysis.dataframe(metric="score", mode="best")


@pytest.mark.parametrize(
    ("scope", "mode", "height"),
    [
        ("last", "max", 10),  # all are 0.0: ties keep the first
        ("all", "max", 100),
        ("all", "min", 100),
        ("avg", "max", 10),
        ("last-5-avg", "min", 10),
        ("last-10-avg", "max", 10),
    ],
)
def test_N3_scopes(analysis, scope, mode, height):
    assert analysis.get_best_trial("score", mode, scope).config["height"] == height


def test_N3_scopes_of_the_five_by_nine_table(run):
    values = {
        0: [50, 100, 80, 60, 40, 30, 20, 10, 0],
        1: [10, 20, 30, 40, 50, 60, 70, 80, 90],
        2: [90, 10, 90, 10, 90, 10, 90, 10, 90],
        3: [5, 5, 5, 5, 5, 5, 5, 5, 99],
        4: [60, 60, 60, 60, 60, 60, 60, 60, 60],
    }

    def replays(config):
        for value in values[config["row"]]:
            tune.report(score=value)

    analysis = run(replays, config={"row": tune.grid_search(list(values))})
    scores = {
        "last": lambda row: row[-1],
        "avg": lambda row: sum(row) / len(row),
        "last-5-avg": lambda row: sum(row[-5:]) / 5,
        "last-10-avg": lambda row: sum(row) / len(row),
    }
    for scope, score in scores.items():
        for mode, pick in (("max", max), ("min", min)):
            expected = pick(values, key=lambda k: score(values[k]))
            assert analysis.get_best_config("score", mode, scope) == {"row": expected}
    assert analysis.get_best_config("score", "max", "all") == {"row": 0}
    assert analysis.get_best_config("score", "min", "all") == {"row": 0}


def test_N4_nan_infinity_one_trial_and_errors(run, caplog):
    def strange(config):
        tune.report(score=config["x"])

    analysis = run(strange, config={"x": tune.grid_search([math.nan, math.inf, 1.0, 2.0])})
    assert analysis.get_best_config("score", "max") == {"x": 2.0}
    assert analysis.get_best_config("score", "max", filter_nan_and_inf=False) == {"x": math.inf}
    with pytest.raises(ValueError, match="metric"):
        _ = analysis.best_trial
    with caplog.at_level(logging.WARNING):
        assert analysis.get_best_trial("nothing", "max") is None
    assert "reported were: score" in caplog.text
    with pytest.raises(ValueError, match="scope"):
        analysis.get_best_trial("score", "max", scope="first")
    one = run(strange, config={"x": math.nan})
    assert one.get_best_trial("anything", "max").trial_id == one.trials[0].trial_id


def test_N4_trials_that_failed_count_with_what_they_reported(run):
    def fails(config):
        tune.report(score=config["x"])
        if config["x"] == 3:
            raise RuntimeError("three")

    analysis = run(fails, config={"x": tune.grid_search([1, 3, 2])}, raise_on_failed_trial=False)
    assert analysis.get_best_config("score", "max") == {"x": 3}
    assert analysis.get_best_trial("score", "max").status == "ERROR"


def frames(analysis: tune.ExperimentAnalysis) -> dict[str, Any]:
    return {
        name: frame.drop(columns=["logdir"], errors="ignore").to_csv()
        for name, frame in {
            "results": analysis.results_df,
            "last": analysis.dataframe(),
            "best": analysis.dataframe("score", "max"),
            **analysis.trial_dataframes,
        }.items()
    }


def test_N5_from_disk_and_from_a_moved_folder(analysis, tmp_path):
    again = tune.ExperimentAnalysis(analysis.experiment_path)
    assert frames(again) == frames(analysis)
    assert (again.default_metric, again.default_mode) == ("score", "max")
    assert [str(trial) for trial in again.trials] == [str(trial) for trial in analysis.trials]
    assert [trial.logdir for trial in again.trials] == [trial.logdir for trial in analysis.trials]
    moved = tmp_path / "elsewhere"
    shutil.move(analysis.experiment_path, moved)
    there = tune.ExperimentAnalysis(moved, default_metric="score", default_mode="min")
    assert frames(there) == frames(again)
    assert there.best_trial.logdir.startswith(str(moved))
    assert tune.ExperimentAnalysis(moved / "experiment.db").best_config == {"height": 10}


def test_N5_a_pickled_analysis(analysis):
    again = pickle.loads(pickle.dumps(analysis))
    assert frames(again) == frames(analysis)
    assert again.get_best_config("score", "max", "all") == {"height": 100}


def test_N5_nothing_there_and_a_damaged_journal(analysis, tmp_path):
    with pytest.raises(tune.TuneError, match="no experiment at"):
        tune.ExperimentAnalysis(tmp_path / "nothing")
    expected = len(analysis.trials)
    path = Path(analysis.experiment_path, "experiment.db")
    with sqlite3.connect(path) as connection:
        last = connection.execute("SELECT max(id) FROM journal").fetchone()[0]
        connection.execute("UPDATE journal SET crc = crc + 1 WHERE id = ?", (last,))
    connection.close()
    with pytest.warns(RuntimeWarning, match="damaged"):
        again = tune.ExperimentAnalysis(analysis.experiment_path)
    assert len(again.trials) <= expected
    other = tmp_path / "other"
    other.mkdir()
    (other / "experiment.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(tune.TuneError):
        tune.ExperimentAnalysis(other)


def test_N5_anybody_can_read_the_table(analysis):
    tune.ExperimentAnalysis(analysis.experiment_path)
    connection = sqlite3.connect(os.path.join(analysis.experiment_path, "experiment.db"))
    rows = connection.execute('SELECT trial_id, status, score, "config/height" FROM trials ORDER BY trial').fetchall()
    connection.close()
    assert rows == [(t.trial_id, "TERMINATED", 0.0, t.config["height"]) for t in analysis.trials]


def test_N6_result_grid_and_results(run_config):
    grid = tune.Tuner(
        peak,
        param_space={"height": tune.grid_search([10, 100])},
        tune_config=tune.TuneConfig(metric="score", mode="max"),
        run_config=run_config(name="grid"),
    ).fit()
    assert len(grid) == 2
    result = grid[1]
    assert result.metrics["score"] == 0.0
    assert result.config == {"height": 100}
    assert result.error is None
    assert result.checkpoint is None
    assert list(result.metrics_dataframe["score"]) == [0.0, 100, -100, 0.0]
    assert grid.get_best_result(scope="all").config == {"height": 100}
    assert list(grid.get_dataframe(filter_metric="score", filter_mode="max")["score"]) == [10.0, 100.0]
    assert [one.config["height"] for one in grid] == [10, 100]
    text = repr(grid)
    assert text.startswith(
        "ResultGrid<[\n  Result(\n    metrics={'score': 0.0, 'nested': {'height': 10}, 'name': 'h10'},"
    )
    assert text.endswith("\n]>")
    again = tune.Result.from_path(result.path)
    assert again.metrics["score"] == 0.0
    assert again.config == {"height": 100}


def test_N6_no_best_result(run_config):
    grid = tune.Tuner(peak, param_space={"height": tune.grid_search([1, 2])}, run_config=run_config()).fit()
    with pytest.raises(ValueError, match="metric"):
        grid.get_best_result()
    with pytest.raises(RuntimeError, match="No best trial found"):
        grid.get_best_result("misspelt", "max")


def saves(config: dict[str, Any]) -> None:
    import tempfile

    for i in range(3):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "i").write_text(str(i))
            score = [1.0, 3.0, 2.0][i] * config["x"]
            tune.report({"score": score}, checkpoint=tune.Checkpoint.from_directory(folder))


def test_N7_checkpoints_by_metric(run):
    analysis = run(saves, config={"x": tune.grid_search([1, 5])}, metric="score", mode="max")
    trial = analysis.best_trial
    assert trial.config == {"x": 5}
    assert Path(analysis.best_checkpoint.path, "i").read_text() == "1"
    assert Path(analysis.get_best_checkpoint(trial, "score", "min").path, "i").read_text() == "0"
    assert Path(analysis.get_last_checkpoint(trial).path, "i").read_text() == "2"
    assert [value for _, value in analysis.get_trial_checkpoints_paths(trial, "score")] == [5.0, 15.0, 10.0]
    again = tune.ExperimentAnalysis(analysis.experiment_path)
    assert again.best_checkpoint == analysis.best_checkpoint


def test_N2_tables_of_20_000_keys(run, executor):
    """With each executor they arrive; what each table is made of does not depend on it."""

    def wide(config: dict[str, Any]) -> None:
        tune.report({"loss": 1.0, **{f"k{i}": i for i in range(20_000)}})

    analysis = run(wide, metric="loss", mode="min")
    more = (analysis.dataframe(), *analysis.trial_dataframes.values()) if executor == "inline" else ()
    for frame in (analysis.results_df, *more):
        assert frame["k19999"].tolist() == [19_999]
