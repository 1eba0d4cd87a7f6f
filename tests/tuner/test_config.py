from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fasttune.config import (
    CheckpointConfig,
    Experiment,
    FailureConfig,
    ResumeConfig,
    ResumeType,
    RunConfig,
    SyncConfig,
    TuneConfig,
    check_cluster_only,
    check_config,
    check_metric_mode,
    objectives_of,
    one_storage_path,
    resolve_checkpoint_config,
    resolve_log_to_file,
    resolve_num_samples,
    resolve_resume,
    resolve_seconds,
)
from fasttune.error import TuneError


def objective(config: dict[str, Any]) -> None:
    pass


def test_R10_a_repr_lists_what_was_changed() -> None:
    assert repr(TuneConfig()) == "TuneConfig()"
    assert repr(TuneConfig(num_samples=3, mode="max")) == "TuneConfig(mode='max', num_samples=3)"
    run = RunConfig(name="a", failure_config=FailureConfig(max_failures=2), verbose=0)
    assert repr(run) == "RunConfig(name='a', failure_config=FailureConfig(max_failures=2), verbose=0)"
    assert repr(ResumeConfig(errored="restart")) == f"ResumeConfig(errored={ResumeType.RESTART!r})"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_to_keep": 0}, "num_to_keep must be None or at least 1, got 0"),
        ({"checkpoint_score_order": "best"}, "checkpoint_score_order must be 'max' or 'min', got 'best'"),
        ({"checkpoint_frequency": -1}, "checkpoint_frequency must be 0 .never. or more, got -1"),
    ],
)
def test_R10_checkpoint_config_refuses(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        CheckpointConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"max_failures": 1, "fail_fast": True}, "max_failures must be 0, got 1"),
        ({"max_failures": -1, "fail_fast": "raise"}, "max_failures must be 0, got -1"),
        ({"fail_fast": "now"}, "fail_fast must be True, False or 'raise', got 'now'"),
        ({"max_failures": -2}, "max_failures must be -1"),
        ({"max_failures": 1.5}, "got 1.5"),
    ],
)
def test_F2_failure_config_refuses(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        FailureConfig(**settings)


def test_R10_unknown_settings_are_errors() -> None:
    for kind in (TuneConfig, RunConfig, CheckpointConfig, FailureConfig, SyncConfig, ResumeConfig):
        with pytest.raises(TypeError, match="surprise"):
            kind(surprise=1)


def test_R10_a_sync_config_is_taken_unless_it_wants_something_uploaded() -> None:
    check_cluster_only(sync_config=SyncConfig(sync_period=10, sync_artifacts=True))
    with pytest.raises(ValueError, match="experiments stay on this machine"):
        SyncConfig(upload_dir="s3://bucket")
    with pytest.raises(ValueError, match="sync_config='auto' has no meaning on one machine"):
        check_cluster_only(sync_config="auto")


@pytest.mark.parametrize(
    ("given", "unfinished", "errored"),
    [
        (True, "resume", "skip"),
        ("AUTO", "resume", "skip"),
        ("auto", "resume", "skip"),
        ("AUTO+ERRORED", "resume", "resume"),
        ("AUTO+RESTART_ERRORED", "resume", "restart"),
        ("AUTO+ERRORED_ONLY", "skip", "resume"),
        ("ERRORED_ONLY", "skip", "resume"),
        ("AUTO+RESTART_ERRORED_ONLY", "skip", "restart"),
        (ResumeConfig(unfinished="skip", errored="resume"), "skip", "resume"),
    ],
)
def test_F5_forms_of_resume(given: object, unfinished: str, errored: str) -> None:
    meant = resolve_resume(given)
    assert meant is not None
    assert (meant.finished, meant.unfinished, meant.errored) == ("skip", unfinished, errored)


def test_F5_no_resume_and_unknown_forms() -> None:
    assert resolve_resume(None) is None
    assert resolve_resume(False) is None
    for wrong in ("PROMPT", "REMOTE", "AUTO+ERROR", "", 1, []):
        with pytest.raises(ValueError, match="resume must be None, False, True or one of 'AUTO'"):
            resolve_resume(wrong)
    with pytest.raises(ValueError, match="must be one of 'resume', 'restart', 'skip', got 'again'"):
        ResumeConfig(errored="again")


def test_K4_old_words_for_checkpoints() -> None:
    made = resolve_checkpoint_config(
        None, keep_checkpoints_num=3, checkpoint_score_attr="min-loss", checkpoint_freq=5
    )
    assert made == CheckpointConfig(3, "loss", "min", 5)
    assert resolve_checkpoint_config({"num_to_keep": 2}) == CheckpointConfig(num_to_keep=2)
    with pytest.raises(
        ValueError, match="keep_checkpoints_num and checkpoint_config say the same thing twice"
    ):
        resolve_checkpoint_config(CheckpointConfig(), keep_checkpoints_num=3)
    with pytest.raises(TypeError, match="must be a CheckpointConfig, got int"):
        resolve_checkpoint_config(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "files"),
    [
        (False, None),
        (None, None),
        (True, ("stdout", "stderr")),
        ("all.log", ("all.log", "all.log")),
        (["o", "e"], ("o", "e")),
    ],
)
def test_T14_forms_of_log_to_file(given: object, files: object) -> None:
    assert resolve_log_to_file(given) == files


@pytest.mark.parametrize("wrong", [("a",), ("a", "b", "c"), (1, 2), 3, b"ab"])
def test_T14_other_forms_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="log_to_file"):
        resolve_log_to_file(wrong)


def test_R5_a_time_budget_is_seconds_or_a_timedelta() -> None:
    assert resolve_seconds(None) is None
    assert resolve_seconds(2) == 2.0
    assert resolve_seconds(timedelta(minutes=1)) == 60.0
    for wrong in (0, -1, float("nan"), "60", True, timedelta(0)):
        with pytest.raises(ValueError, match="time_budget_s must be a positive number"):
            resolve_seconds(wrong)  # type: ignore[arg-type]


def test_R1_num_samples() -> None:
    class Index:
        def __index__(self) -> int:
            return 4

    assert [resolve_num_samples(n) for n in (1, -1, Index())] == [1, -1, 4]
    for wrong in (0, -2):
        with pytest.raises(ValueError, match="num_samples must be at least 1, or -1"):
            resolve_num_samples(wrong)
    for wrong_kind in (1.5, "3", None, True):
        with pytest.raises(TypeError, match="num_samples must be an integer"):
            resolve_num_samples(wrong_kind)


def test_R1_config_is_a_dict_and_stays_the_callers() -> None:
    given = {"a": {"b": 1}, "c": [1]}
    own = check_config(given)
    given["a"]["b"] = 2  # type: ignore[index]
    assert own == {"a": {"b": 1}, "c": [1]}
    assert own["c"] is given["c"]
    assert check_config(None) == {}
    with pytest.raises(ValueError, match=r"config must be a dict .* got list"):
        check_config([1])


def test_R8_metric_and_mode() -> None:
    assert check_metric_mode("loss", "min") == ("loss", "min")
    assert check_metric_mode("loss", None) == ("loss", None)
    assert check_metric_mode(None, "max") == ("_metric", "max")
    assert check_metric_mode(None, None) == (None, None)
    with pytest.raises(ValueError, match="mode must be 'min' or 'max', got 'maximum'"):
        check_metric_mode("loss", "maximum")
    with pytest.raises(TypeError, match="metric must be the name of a reported value, got dict"):
        check_metric_mode({"a": "max"}, "max")
    assert check_metric_mode(["a", "b"], "max") == (None, None)
    assert objectives_of(["a", "b"], "max") == {"a": "max", "b": "max"}
    assert objectives_of("a", "max") == {}


def test_R1_one_place_to_store(tmp_path: Any) -> None:
    assert one_storage_path(None, None) is None
    assert one_storage_path(tmp_path, None) == str(tmp_path)
    assert one_storage_path(None, tmp_path) == str(tmp_path)
    assert one_storage_path("file:///data", None) == "/data"
    with pytest.raises(ValueError, match="two names for one thing"):
        one_storage_path("/a", "/b")
    with pytest.raises(ValueError, match="a folder of this machine, got 's3://bucket/x'"):
        one_storage_path("s3://bucket/x", None)


@pytest.mark.parametrize("settings", [{"checkpoint_at_end": True}, {"checkpoint_freq": 2}])
def test_K3_a_function_saves_by_itself(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="works for Trainable classes only"):
        Experiment("e", objective, **settings)


def test_R9_a_spec_dict_is_an_experiment() -> None:
    spec = {"run": objective, "stop": {"x": 1}, "num_samples": 2, "config": {"a": 1}, "env": "CartPole"}
    one = Experiment.from_json("name", spec)
    assert (one.name, one.num_samples) == ("name", 2)
    assert one.config == {"a": 1, "env": "CartPole"}
    assert one.public_spec == {"stop": {"x": 1}, "num_samples": 2, "time_budget_s": None}
    assert "env" in spec  # the caller's dict is as it was
    with pytest.raises(TuneError, match="names nothing to run"):
        Experiment.from_json("name", {"stop": {}})
    with pytest.raises(TypeError, match="sample_num"):
        Experiment.from_json("name", {"run": objective, "sample_num": 3})
