from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from fake_source import FakeSource, FakeTrial, of_scores

from fasttune.checkpoint import Checkpoint
from fasttune.error import TrialFailedError
from fasttune.trial import ERROR, PENDING, RUNNING, Trial, TrialFailure, Trials, trial_folder


def test_a_trial_shows_what_its_source_says() -> None:
    source = of_scores([1.0, 2.0])
    source.trials[0].config = {"lr": 0.1, "net": {"width": 8}}
    trial = Trial(source, 0)
    assert trial.trial_id == "ab12c_00000"
    assert trial.trainable_name == "train"
    assert trial.config == {"lr": 0.1, "net": {"width": 8}}
    assert trial.evaluated_params == {"lr": 0.1, "net/width": 8}
    assert trial.experiment_tag == "0_lr=0.1,net/width=8"
    assert trial.status == Trial.TERMINATED
    assert trial.is_finished()
    assert trial.last_result["score"] == 2.0
    assert trial.last_result["training_iteration"] == 2
    assert trial.placement_group_factory == trial.resources == {"cpu": 1}
    assert trial.node_ip == "127.0.0.1"
    assert str(trial) == "train_ab12c_00000"


def test_changing_a_config_that_was_looked_at_changes_nothing() -> None:
    trial = Trial(FakeSource([FakeTrial(config={"net": {"width": 8}})]), 0)
    trial.config["net"]["width"] = 9
    assert trial.config == {"net": {"width": 8}}


def test_metric_analysis_of_a_history() -> None:
    nan = float("nan")
    values = [9.0, nan, 1.0, 2.0, 3.0, 4.0, 5.0]
    reports = [{"score": value, "deep": {"flag": True}, "name": "text"} for value in values]
    found = Trial(FakeSource([FakeTrial(reports, {"id": 3})]), 0).metric_analysis
    assert found["score"]["max"] == 9.0
    assert found["score"]["min"] == 1.0
    assert found["score"]["last"] == 5.0
    assert found["score"]["last-5-avg"] == 3.0
    assert found["score"]["avg"] != found["score"]["avg"]
    assert found["deep/flag"]["avg"] == 1.0
    assert "name" not in found
    assert not any(key.startswith("config") for key in found)
    assert not {"pid", "timestamp", "done", "time_since_restore"} & found.keys()
    assert found["training_iteration"]["max"] == 7


def test_avg_divides_by_the_number_of_reports_not_by_the_reported_iteration() -> None:
    reports = [{"score": 2.0, "training_iteration": 100}, {"score": 4.0, "training_iteration": 200}]
    assert Trial(FakeSource([FakeTrial(reports)]), 0).metric_analysis["score"]["avg"] == 3.0


def test_metric_n_steps_are_the_latest_values() -> None:
    steps = Trial(of_scores(list(range(12))), 0).metric_n_steps["score"]
    assert steps == {"5": [7, 8, 9, 10, 11], "10": list(range(2, 12))}


def test_views_are_equal_by_experiment_and_index() -> None:
    source, other = of_scores([1], [2]), of_scores([1], [2], path="/elsewhere")
    assert Trial(source, 0) == Trial(source, 0)
    assert len({Trial(source, 0), Trial(source, 0), Trial(source, 1), Trial(other, 0)}) == 3
    assert Trial(source, 0) != "train_ab12c_00000"


def test_trials_is_a_lazy_sequence_that_follows_its_source() -> None:
    source = of_scores([1], [2], [3])
    trials = Trials(source)
    assert len(trials) == 3
    assert [trial.index for trial in trials] == [0, 1, 2]
    assert trials[-1].index == 2
    assert [trial.index for trial in trials[1:]] == [1, 2]
    assert trials[::-1][0] == trials[2]
    first = trials[0]
    assert trials[0] is first
    assert first in trials
    assert first not in trials[1:]
    source.trials.append(FakeTrial())
    assert len(trials) == 4
    with pytest.raises(IndexError, match="trial 4 of an experiment of 4 trials"):
        trials[4]


def test_a_million_trials_are_not_made() -> None:
    class Many(FakeSource):
        def __len__(self) -> int:
            return 10**6

    trials = Trials(Many([]))
    assert trials[999_999].trial_id == "ab12c_999999"
    assert len(trials[500:]) == 10**6 - 500


def test_folder_is_made_when_it_is_asked_for_and_has_a_safe_name(tmp_path: Path) -> None:
    source = of_scores([1], path=str(tmp_path))
    source.trials[0].config = {"a": "x/y:z*", "long": "v" * 200}
    trial = Trial(source, 0)
    folder = trial_folder(source, 0)
    assert not os.listdir(tmp_path)
    assert trial.path == trial.logdir == trial.local_path == folder
    assert os.path.isdir(folder)
    assert os.path.basename(folder).startswith("train_ab12c_00000_0_a=x_y_z_,long=vvv")
    assert len(os.path.basename(folder)) == 130


def test_own_names_of_trials_and_folders() -> None:
    class Named(FakeSource):
        def trial_name(self, i: int) -> str:
            return f"mine/{i}"

        def trial_dirname(self, i: int) -> str:
            return f"folder{i}"

    source = Named([FakeTrial()])
    assert str(Trial(source, 0)) == "mine_0"
    assert trial_folder(source, 0) == "/nowhere/experiment/folder0"


def test_error_file_is_written_when_asked_for(tmp_path: Path) -> None:
    failure = TrialFailure("Traceback (most recent call last):\n  ...\nValueError: bad lr\n", None, 2)
    source = of_scores([1], path=str(tmp_path))
    trial = Trial(source, 0)
    assert trial.error_file is None
    assert trial.get_error() is None
    source.trials[0].failure = failure
    source.trials[0].status = ERROR
    assert trial.num_failures == 2
    path = trial.error_file
    assert path is not None
    assert Path(path).name == "error.txt"
    assert (
        Path(path).read_text()
        == "Failure # 2\nTraceback (most recent call last):\n  ...\nValueError: bad lr\n"
    )
    assert trial.error_file == path
    error = trial.get_error()
    assert isinstance(error, TrialFailedError)
    assert str(error) == "trial ab12c_00000 failed: ValueError: bad lr"
    assert error.traceback_text == failure.text
    assert trial.get_pickled_error() is None


def test_an_exception_that_is_known_is_given_as_it_is() -> None:
    reason = KeyError("lr")
    source = FakeSource([FakeTrial(status=ERROR, failure=TrialFailure("text", reason, 1))])
    assert Trial(source, 0).get_error() is reason
    assert Trial(source, 0).get_pickled_error() is reason


def test_checkpoint_is_the_latest() -> None:
    source = of_scores([1.0, 2.0, 3.0], [1.0])
    source.trials[0].checkpoints = [("/c/0", 0), ("/c/1", 2)]
    assert Trial(source, 0).checkpoint == Checkpoint("/c/1")
    latest = Trial(source, 0).latest_checkpoint_result
    assert latest is not None
    assert latest["score"] == 3.0
    assert Trial(source, 0).has_checkpoint()
    assert Trial(source, 1).checkpoint is None
    assert Trial(source, 1).latest_checkpoint_result is None
    assert not Trial(source, 1).has_checkpoint()


def test_a_pickled_trial_is_a_snapshot() -> None:
    source = of_scores([1.0, 2.0], [5.0], [7.0])
    source.trials[1].status = RUNNING
    source.trials[1].failure = TrialFailure("Error", ValueError("x"), 1)
    copy = pickle.loads(pickle.dumps(Trial(source, 1)))
    source.trials[1].reports.append({"score": 6.0})
    assert copy == Trial(source, 1)
    assert copy.status == RUNNING
    assert copy.last_result["score"] == 5.0
    assert copy.metric_analysis["score"]["last"] == 5.0
    assert copy.config == {"id": 1}
    assert copy.logdir == trial_folder(source, 1)
    assert isinstance(copy.get_error(), ValueError)
    assert pickle.loads(pickle.dumps(copy)) == copy


class StubbornError(Exception):
    """Dumps, but does not load: its arguments are not those of __init__."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} {b}")


def test_an_exception_that_does_not_unpickle_leaves_its_text() -> None:
    failure = TrialFailure("Traceback\nStubbornError: 1 2", StubbornError(1, 2), 1)
    copy = pickle.loads(pickle.dumps(Trial(FakeSource([FakeTrial(failure=failure)]), 0)))
    assert str(copy.get_error()) == "trial ab12c_00000 failed: StubbornError: 1 2"


def test_pickled_trials_keep_their_order_and_history() -> None:
    source = of_scores([1.0, 2.0], [5.0, 6.0, 7.0], [])
    for trials in (Trials(source), Trials(source, [1, 0])):
        copy = pickle.loads(pickle.dumps(trials))
        assert [trial.index for trial in copy] == [trial.index for trial in trials]
        assert [t.metric_analysis["score"] for t in copy[:2]] == [
            t.metric_analysis["score"] for t in trials[:2]
        ]
    assert not Trial(FakeSource([FakeTrial(status=PENDING)]), 0).is_finished()
