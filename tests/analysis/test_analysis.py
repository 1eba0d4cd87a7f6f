from __future__ import annotations

import logging
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_source import FakeSource, FakeTrial, of_scores

from fasttune.analysis import ExperimentAnalysis, ResultGrid
from fasttune.analysis.result import Result
from fasttune.checkpoint import Checkpoint
from fasttune.error import NoBestTrialError, TuneError
from fasttune.trial import ERROR, RUNNING, Trial, TrialFailure, trial_folder

NAN, INF = math.nan, math.inf

# five trials of nine reports: each scope has another winner
SCORES = [
    [5, 4, 4, 4, 4, 4, 4, 4, 0],
    [4, 3, 3, 3, 3, 3, 3, 3, 1],
    [2, 1, 1, 1, 1, 1, 1, 1, 8],
    [9, 7, 7, 7, 7, 7, 7, 7, 6],
    [7, 5, 5, 5, 5, 5, 5, 5, 3],
]


def best(analysis: ExperimentAnalysis, mode: str, scope: str = "last", **options: Any) -> int:
    trial = analysis.get_best_trial("score", mode, scope, **options)
    assert trial is not None
    return trial.index


@pytest.mark.parametrize(
    ("mode", "scope", "winner", "statistic", "value"),
    [
        ("max", "all", 3, "max", 9),
        ("min", "all", 0, "min", 0),
        ("max", "last", 2, "last", 8),
        ("min", "last", 0, "last", 0),
        ("max", "avg", 3, "avg", 64 / 9),
        ("min", "avg", 2, "avg", 17 / 9),
        ("max", "last-5-avg", 3, "last-5-avg", 34 / 5),
        ("min", "last-5-avg", 2, "last-5-avg", 12 / 5),
        ("max", "last-10-avg", 3, "last-10-avg", 64 / 9),
        ("min", "last-10-avg", 2, "last-10-avg", 17 / 9),
    ],
)
def test_N3_scopes(mode: str, scope: str, winner: int, statistic: str, value: float) -> None:
    analysis = ExperimentAnalysis(of_scores(*SCORES))
    trial = analysis.get_best_trial("score", mode, scope)
    assert trial is not None
    assert trial.index == winner
    assert trial.metric_analysis["score"][statistic] == pytest.approx(value)


def test_N3_unknown_scope_and_mode() -> None:
    analysis = ExperimentAnalysis(of_scores(*SCORES))
    with pytest.raises(ValueError, match=r"scope must be one of last, all, .*, got 'median'"):
        analysis.get_best_trial("score", "max", "median")
    with pytest.raises(ValueError, match="mode must be"):
        analysis.get_best_trial("score", "biggest")
    with pytest.raises(ValueError, match="no metric was given"):
        analysis.get_best_trial(mode="max")
    with pytest.raises(ValueError, match="no mode was given"):
        analysis.get_best_trial("score")


def test_N3_ties_keep_the_first() -> None:
    analysis = ExperimentAnalysis(of_scores([1, 2], [3, 2], [2, 2]))
    assert best(analysis, "max") == best(analysis, "min") == 0
    assert best(analysis, "max", "all") == 1


def test_N3_last_is_the_last_report_that_has_the_metric() -> None:
    source = of_scores([1.0, 5.0], [4.0])
    source.trials[0].reports.append({"other": 1.0})
    assert best(ExperimentAnalysis(source), "max") == 0


def test_N1_the_best_by_the_default_metric(tmp_path: Path) -> None:
    source = of_scores(*SCORES, path=str(tmp_path), metric="score")
    source.trials[2].checkpoints = [("/c/0", 0), ("/c/1", 8), ("/c/2", 4)]
    analysis = ExperimentAnalysis(source, default_metric="score", default_mode="max")
    assert analysis.best_trial == Trial(source, 2)
    assert analysis.best_config == {"id": 2}
    assert analysis.best_logdir == trial_folder(source, 2) == analysis.get_best_logdir()
    assert os.path.isdir(analysis.best_logdir)
    assert analysis.best_checkpoint == Checkpoint("/c/1")
    assert analysis.best_result["score"] == 8
    assert analysis.best_result == source.last_result(2)
    frame = analysis.best_result_df
    assert frame.index.tolist() == ["ab12c_00002"]
    assert frame.index.name == "trial_id"
    assert frame["score"].tolist() == [8]
    assert frame["config/id"].tolist() == [2]
    assert analysis.best_dataframe["score"].tolist() == SCORES[2]
    assert analysis.get_best_config("score", "min", "avg") == {"id": 2}


def test_N1_the_metric_of_the_experiment_is_the_default() -> None:
    source = of_scores(*SCORES)
    source.metric, source.mode = "score", "min"
    assert ExperimentAnalysis(source).best_config == {"id": 0}
    assert ExperimentAnalysis(source, default_mode="max").best_config == {"id": 2}


def test_N1_best_without_a_default_metric_says_what_to_do() -> None:
    analysis = ExperimentAnalysis(of_scores([1.0]))
    for name in ("best_trial", "best_config", "best_result", "best_logdir", "best_dataframe"):
        with pytest.raises(ValueError, match="needs a metric and a mode"):
            getattr(analysis, name)


def test_N2_results_df() -> None:
    source = FakeSource(
        [
            FakeTrial(
                [{"a": 1, "in": {"b": 0.5}, "ok": True}, {"a": 2, "in": {"b": 1.5}, "ok": False}], {"lr": 0.1}
            ),
            FakeTrial([], {"lr": 0.2, "net": {"w": 3}}, RUNNING),
            FakeTrial([{"a": 7, "note": "text"}], {"lr": 0.3}),
        ]
    )
    analysis = ExperimentAnalysis(source)
    frame = analysis.results_df
    assert frame.index.tolist() == ["ab12c_00000", "ab12c_00001", "ab12c_00002"]
    assert frame["config/lr"].tolist() == [0.1, 0.2, 0.3]
    assert frame["a"].isna().tolist() == [False, True, False]
    assert frame.loc["ab12c_00000", "in/b"] == 1.5
    assert frame.loc["ab12c_00002", "note"] == "text"
    assert frame.loc["ab12c_00001", "config/net/w"] == 3
    assert analysis.results == {source.trial_id(i): source.last_result(i) for i in range(3)}


@pytest.mark.parametrize(("mode", "peak"), [("max", 100), ("min", -100), (None, 0)])
def test_N2_dataframe_rows(mode: str | None, peak: int) -> None:
    source = of_scores([3, 100, -100, 100, 0], [100, -100, 0], metric="peak")
    frame = ExperimentAnalysis(source).dataframe("peak", mode)
    assert frame["peak"].tolist() == [peak, peak]
    assert frame["peak"].dtype == np.int64
    assert frame["config/id"].tolist() == [0, 1]
    assert frame["logdir"].tolist() == [trial_folder(source, 0), trial_folder(source, 1)]
    assert frame["trial_id"].tolist() == ["ab12c_00000", "ab12c_00001"]
    if mode == "max":
        assert frame["training_iteration"].tolist() == [2, 1]
    assert frame["done"].tolist() == [mode is None] * 2


def test_N2_dataframe_leaves_out_trials_without_a_value_and_checks_its_arguments() -> None:
    source = of_scores([1.0, NAN], [NAN], [], ["text"])
    analysis = ExperimentAnalysis(source)
    assert analysis.dataframe("score", "max")["trial_id"].tolist() == ["ab12c_00000"]
    assert len(analysis.dataframe()) == 3
    with pytest.raises(ValueError, match="mode='max' needs a metric"):
        analysis.dataframe(mode="max")
    with pytest.raises(ValueError, match="mode must be"):
        analysis.dataframe("score", "most")
    with pytest.raises(ValueError, match="metric 'scor' was never reported; reported were: score"):
        analysis.dataframe("scor", "max")


def test_N2_frames_of_an_experiment_without_reports() -> None:
    analysis = ExperimentAnalysis(FakeSource([FakeTrial(config={"a": 1}), FakeTrial(config={"a": 2})]))
    assert analysis.dataframe().empty
    assert analysis.dataframe("score", "max").empty
    assert analysis.results_df["config/a"].tolist() == [1, 2]
    assert analysis.trial_dataframes["ab12c_00000"].empty
    assert analysis.stats()["reports"] == 0
    nothing = ExperimentAnalysis(FakeSource([]))
    assert nothing.results_df.empty
    assert len(nothing.trials) == 0
    assert nothing.get_best_trial("score", "max") is None


def test_N2_making_frames_makes_no_folders(tmp_path: Path) -> None:
    analysis = ExperimentAnalysis(of_scores(*SCORES, path=str(tmp_path)))
    analysis.dataframe()
    analysis.get_best_trial("score", "max")
    repr(ResultGrid(analysis))
    assert not os.listdir(tmp_path)


def test_N2_trial_dataframes_are_made_one_by_one() -> None:
    source = of_scores(*SCORES)
    frames = ExperimentAnalysis(source).trial_dataframes
    assert list(frames) == [source.trial_id(i) for i in range(5)]
    frame = frames["ab12c_00003"]
    assert frame is frames["ab12c_00003"]
    assert frame["score"].tolist() == SCORES[3]
    assert frame["training_iteration"].tolist() == list(range(1, 10))
    for key in ("time_total_s", "time_this_iter_s", "time_since_restore"):
        assert frame[key].tolist() == pytest.approx([result[key] for result in source.results(3)])
    for key in ("done", "date", "timestamp", "pid", "hostname", "iterations_since_restore", "experiment_tag"):
        assert frame[key].tolist() == [result[key] for result in source.results(3)]


def test_N2_column_types() -> None:
    reports: list[dict[str, Any]] = [
        {"n": 1, "x": 1.0, "b": True, "mixed": 1, "list": [1, 2], "big": 2**60},
        {"n": 2, "x": NAN, "b": False, "mixed": 2.5, "some": 3},
    ]
    frame = ExperimentAnalysis(FakeSource([FakeTrial(reports)])).trial_dataframes["ab12c_00000"]
    kinds = {name: str(frame[name].dtype) for name in ("n", "x", "b", "mixed", "some", "list")}
    assert kinds == {
        "n": "int64",
        "x": "float64",
        "b": "bool",
        "mixed": "float64",
        "some": "float64",
        "list": "object",
    }
    assert frame["list"][0] == [1, 2]
    assert frame["big"][0] == 2**60
    assert pd.isna(frame["list"][1])


def test_N4_nan_and_infinite_scores_are_left_out_unless_wanted() -> None:
    analysis = ExperimentAnalysis(of_scores([NAN], [INF], [-INF], [3.0], [4.0]))
    assert best(analysis, "max") == 4
    assert best(analysis, "min") == 3
    assert best(analysis, "max", filter_nan_and_inf=False) == 1
    assert best(analysis, "min", filter_nan_and_inf=False) == 2


def test_N4_a_nan_in_a_history_does_not_hide_the_best_value() -> None:
    analysis = ExperimentAnalysis(of_scores([NAN, 9.0, NAN], [5.0, 5.0, 5.0]))
    assert best(analysis, "max", "all") == 0
    assert best(analysis, "max", "last") == 1
    assert best(analysis, "max", "avg") == 1


def test_N4_a_nan_does_not_spread_to_the_next_trial() -> None:
    analysis = ExperimentAnalysis(of_scores([NAN, NAN], [1.0, 1.0], [INF, -INF], [2.0, 2.0]))
    assert best(analysis, "max", "avg") == 3
    assert best(analysis, "min", "last-5-avg") == 1


def test_N4_one_trial_needs_no_metric(caplog: pytest.LogCaptureFixture) -> None:
    analysis = ExperimentAnalysis(of_scores([NAN]))
    assert analysis.get_best_trial() == analysis.trials[0]
    assert analysis.get_best_trial("no such metric", "max") == analysis.trials[0]
    assert not caplog.records


def test_N4_no_usable_value_is_none_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    analysis = ExperimentAnalysis(of_scores([NAN], [INF]), default_metric="scores", default_mode="max")
    with caplog.at_level(logging.WARNING):
        assert analysis.get_best_trial("score", "max") is None
        assert analysis.get_best_config() is None
    assert "no trial has a usable value of metric 'scores'; reported were: score" in caplog.text
    for name in ("best_trial", "best_config", "best_logdir", "best_checkpoint", "best_result", "best_dataframe"):
        with pytest.raises(NoBestTrialError, match="no best trial found: no trial has a usable value of metric 'scores'"):
            getattr(analysis, name)


def test_N4_trials_of_every_status_count() -> None:
    source = of_scores([1.0], [2.0])
    source.trials[1].status = ERROR
    assert best(ExperimentAnalysis(source), "max") == 1


def test_N4_auto_filled_keys_are_metrics_too() -> None:
    analysis = ExperimentAnalysis(of_scores([1.0], [1.0, 1.0], [1.0]))
    slowest = analysis.get_best_trial("time_total_s", "max")
    longest = analysis.get_best_trial("training_iteration", "max")
    assert slowest is not None
    assert longest is not None
    assert slowest.index == longest.index == 1
    assert analysis.dataframe("training_iteration", "max")["training_iteration"].tolist() == [1, 2, 1]


def test_N4_a_number_that_is_too_big_for_a_float_column_counts() -> None:
    assert best(ExperimentAnalysis(of_scores([2**60], [5], ["text"])), "max") == 0


def test_N4_reports_that_were_repeated_after_a_failure_count_once() -> None:
    again = FakeTrial([{"score": v} for v in (1, 2, 90, 3, 4)], steps=[1, 2, 3, 2, 3])
    shorter = FakeTrial([{"score": v} for v in (5, 6, 95, 7)], steps=[1, 2, 3, 1])
    plain = FakeTrial([{"score": v} for v in (6, 6)])
    source = FakeSource([again, plain, shorter])
    analysis = ExperimentAnalysis(source)
    frames = analysis.trial_dataframes
    assert [frames[i]["score"].tolist() for i in frames] == [[1, 3, 4], [6, 6], [7]]
    assert best(analysis, "max", "all") == 2
    assert analysis.dataframe("score", "max")["score"].tolist() == [4, 6, 7]
    assert Trial(source, 0).metric_analysis["score"]["max"] == 4


def test_N5_loads_from_a_folder_or_a_file_in_it(tmp_path: Path, stand_ins: dict[str, Any]) -> None:
    stand_ins[str(tmp_path)] = of_scores(*SCORES, path=str(tmp_path))
    journal = tmp_path / "experiment.db"
    journal.touch()
    for where in (tmp_path, str(tmp_path), journal):
        assert len(ExperimentAnalysis(where).trials) == 5
    with pytest.raises(ValueError, match="storage_filesystem is not supported"):
        ExperimentAnalysis(tmp_path, storage_filesystem=object())  # type: ignore[arg-type]


def test_N5_an_analysis_of_some_trials_in_their_order() -> None:
    source = of_scores(*SCORES)
    chosen = [Trial(source, i) for i in (4, 1, 0)]
    analysis = ExperimentAnalysis(source, trials=chosen)
    assert list(analysis.trials) == chosen
    assert analysis.dataframe()["config/id"].tolist() == [4, 1, 0]
    assert analysis.dataframe("score", "max")["score"].tolist() == [7, 4, 5]
    assert analysis.results_df["config/id"].tolist() == [4, 1, 0]
    assert best(analysis, "max") == 4
    assert best(analysis, "max", "all") == 4
    assert list(analysis.trial_dataframes) == ["ab12c_00004", "ab12c_00001", "ab12c_00000"]
    with pytest.raises(ValueError, match="is not one of the experiment"):
        ExperimentAnalysis(source, trials=[Trial(of_scores([1], path="/other"), 0)])


def test_a_pickled_analysis_gives_the_same_answers() -> None:
    source = of_scores(*SCORES, ["text"], [])
    source.trials[1].checkpoints = [("/c/0", 2)]
    analysis = ExperimentAnalysis(source, default_metric="score", default_mode="max")
    copy = pickle.loads(pickle.dumps(analysis))
    assert copy.best_config == analysis.best_config
    pd.testing.assert_frame_equal(copy.results_df, analysis.results_df)
    pd.testing.assert_frame_equal(copy.dataframe("score", "min"), analysis.dataframe("score", "min"))
    assert copy.trials[3].metric_analysis["score"] == analysis.trials[3].metric_analysis["score"]
    assert copy.get_best_checkpoint(copy.trials[1]) == Checkpoint("/c/0")


def test_configs_and_stats() -> None:
    analysis = ExperimentAnalysis(of_scores([1.0, 2.0], [3.0]))
    assert analysis.get_all_configs() == {"ab12c_00000": {"id": 0}, "ab12c_00001": {"id": 1}}
    assert analysis.get_all_configs(prefix=True)["ab12c_00001"] == {"config/id": 1}
    assert analysis.stats() == {
        "start_time": 1_700_000_001.0,
        "timestamp": 1_700_000_011.0,
        "trials": {"TERMINATED": 2},
        "reports": 3,
    }
    assert analysis.experiment_path == "/nowhere/experiment"


def checkpointed() -> FakeSource:
    """Trial i reports i * 1 .. i * 5, a checkpoint with each; the third one of trial 2 has NaN."""
    trials = []
    for i in range(1, 6):
        reports = [{"score": float(i * k)} for k in range(1, 6)]
        trials.append(FakeTrial(reports, checkpoints=[(f"/c/{i}/{k}", k) for k in range(5)]))
    trials[1].reports[2]["score"] = NAN
    return FakeSource(trials)


def test_N7_best_and_last_checkpoint() -> None:
    source = checkpointed()
    analysis = ExperimentAnalysis(source)
    trial = analysis.trials[1]
    assert analysis.get_best_checkpoint(trial, "score", "max") == Checkpoint("/c/2/4")
    assert analysis.get_best_checkpoint(trial, "score", "min") == Checkpoint("/c/2/0")
    assert analysis.get_best_checkpoint("ab12c_00001", "score", "max") == Checkpoint("/c/2/4")
    assert analysis.get_best_checkpoint(trial_folder(source, 1), "score", "max") == Checkpoint("/c/2/4")
    assert analysis.get_last_checkpoint(trial) == Checkpoint("/c/2/4")
    assert analysis.get_last_checkpoint(metric="score", mode="max") == Checkpoint("/c/5/4")
    assert analysis.get_last_checkpoint(metric="score", mode="min") == Checkpoint("/c/1/4")
    assert analysis.get_last_checkpoint() == Checkpoint("/c/1/4")
    paths = analysis.get_trial_checkpoints_paths(analysis.trials[4], "score")
    assert paths == [(f"/c/5/{k}", 5.0 * (k + 1)) for k in range(5)]


def test_N7_no_checkpoint_is_none_and_an_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    source = of_scores([NAN, 1.0], [1.0])
    source.trials[0].checkpoints = [("/c/0", 0)]
    analysis = ExperimentAnalysis(source)
    assert analysis.get_best_checkpoint(analysis.trials[0], "score", "max") is None
    assert analysis.get_best_checkpoint(analysis.trials[1], "score", "max") is None
    assert "none of its 1 has a usable value of 'score'" in caplog.text
    assert "it has none" in caplog.text
    with pytest.raises(ValueError, match="'ab12c_7' is not one of the experiment"):
        analysis.get_best_checkpoint("ab12c_7", "score", "max")


# ---- ResultGrid


def grid() -> ResultGrid:
    source = FakeSource([FakeTrial([{"loss": 1.0}], {"x": 1}), FakeTrial([{"loss": 2.0}], {"x": 2}, ERROR)])
    source.trials[1].failure = TrialFailure("Traceback", RuntimeError("broken"), 1)
    source.trials[1].checkpoints = [("/tmp/ckpt2", 0)]
    return ResultGrid(ExperimentAnalysis(source))


def test_N6_grid_repr() -> None:
    assert (
        repr(grid())
        == """ResultGrid<[
  Result(
    metrics={'loss': 1.0},
    path='/nowhere/experiment/train_ab12c_00000_0_x=1',
    filesystem='local',
    checkpoint=None
  ),
  Result(
    error='RuntimeError',
    metrics={'loss': 2.0},
    path='/nowhere/experiment/train_ab12c_00001_1_x=2',
    filesystem='local',
    checkpoint=Checkpoint(filesystem=local, path=/tmp/ckpt2)
  )
]>"""
    )


def test_N6_a_long_grid_is_cut_short_in_its_repr() -> None:
    text = repr(ResultGrid(ExperimentAnalysis(of_scores(*[[1.0]] * 103))))
    assert text.count("Result(") == 100
    assert text.endswith(",\n  and 3 more\n]>")


def test_N6_grid_is_a_sequence_of_results() -> None:
    results = grid()
    assert len(results) == 2
    assert [result.config for result in results] == [{"x": 1}, {"x": 2}]
    assert results[-1].config == {"x": 2}
    assert [result.config for result in results[:1]] == [{"x": 1}]
    with pytest.raises(IndexError):
        results[2]
    result = results[1]
    assert isinstance(result.error, RuntimeError)
    assert result.checkpoint == Checkpoint("/tmp/ckpt2")
    assert result.best_checkpoints is not None
    assert [saved for saved, _ in result.best_checkpoints] == [Checkpoint("/tmp/ckpt2")]
    assert result.metrics is not None
    assert result.metrics["config"] == result.config
    assert result.metrics_dataframe is not None
    assert result.metrics_dataframe["loss"].tolist() == [2.0]
    copy = pickle.loads(pickle.dumps(result))
    assert copy.metrics_dataframe["loss"].tolist() == [2.0]


def test_N6_grid_counts() -> None:
    source = FakeSource([FakeTrial(status=RUNNING) for _ in range(10)])
    for i in (4, 6, 8):
        source.trials[i].status, source.trials[i].failure = ERROR, TrialFailure("Test error", None, 1)
    for i in (3, 5):
        source.trials[i].status = "TERMINATED"
    results = ResultGrid(ExperimentAnalysis(source))
    assert len(results.errors) == results.num_errors == 3
    assert results.num_terminated == 2
    assert results.experiment_path == "/nowhere/experiment"
    assert results.filesystem == "local"


def test_N6_a_retried_trial_that_ended_well_has_no_error() -> None:
    source = FakeSource([FakeTrial([{"x": 1}], failure=TrialFailure("once", None, 1))])
    assert ResultGrid(ExperimentAnalysis(source))[0].error is None


def test_N6_best_result() -> None:
    results = grid()
    assert results.get_best_result("loss", "max").config == {"x": 2}
    assert results.get_best_result("loss", "min").config == {"x": 1}
    for given in ({}, {"metric": "loss"}, {"mode": "max"}):
        with pytest.raises(ValueError, match=r"no (metric|mode) was given"):
            results.get_best_result(**given)
    with pytest.raises(RuntimeError, match="No best trial found for metric 'los'"):
        results.get_best_result("los", "max")
    one = ResultGrid(ExperimentAnalysis(of_scores([1.0])))
    assert one.get_best_result().metrics == one[0].metrics


def test_N6_get_dataframe() -> None:
    results = ResultGrid(
        ExperimentAnalysis(
            FakeSource([FakeTrial([{"m": w}, {"m": 4 * w}, {"m": 3 * w}], {"in": {"w": w}}) for w in (1, 2)])
        )
    )
    assert results.get_dataframe()["m"].tolist() == [3, 6]
    assert results.get_dataframe("m", "max")["m"].tolist() == [4, 8]
    assert results.get_dataframe(filter_metric="m", filter_mode="min")["m"].tolist() == [1, 2]
    assert results.get_dataframe()["config/in/w"].tolist() == [1, 2]


def test_N6_a_results_folder_exists_when_it_is_looked_at(tmp_path: Path) -> None:
    result = ResultGrid(ExperimentAnalysis(of_scores([1.0], path=str(tmp_path))))[0]
    assert not os.listdir(tmp_path)
    assert result.path is not None
    assert os.path.isdir(result.path)


def test_N6_result_from_path(tmp_path: Path, stand_ins: dict[str, Any]) -> None:
    source = stand_ins[str(tmp_path)] = of_scores([1.0], [2.0], path=str(tmp_path))
    result = Result.from_path(trial_folder(source, 1))
    assert result.metrics == source.last_result(1)
    with pytest.raises(TuneError, match="is not the folder of a trial"):
        Result.from_path(tmp_path / "nothing")


def test_tables_for_notebooks() -> None:
    source = of_scores(*[[1.0]] * 22)
    source.trials[0].config = {"name": "<b>"}
    for shown in (
        ExperimentAnalysis(source)._repr_html_(),
        ResultGrid(ExperimentAnalysis(source))._repr_html_(),
    ):
        assert shown.count("<tr>") == 21
        assert "name=&lt;b&gt;" in shown
        assert "score=1" in shown
        assert "and 2 more" in shown
    assert repr(ExperimentAnalysis(source)) == "<ExperimentAnalysis of 22 trials in /nowhere/experiment>"


def test_importing_trials_and_results_is_light() -> None:
    code = "import sys, fasttune.trial; print({'numpy', 'pandas', 'logging', 'pickle'} & sys.modules.keys())"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
    )
