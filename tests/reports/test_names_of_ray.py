"""What programs written for Ray Tune ask of trials, results, checkpoints and schedulers."""

import os
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import ASHAScheduler, FIFOScheduler, ResourceChangingScheduler


def run(trainable: Any, folder: Path, **more: Any) -> Any:
    return tune.run(trainable, **{"storage_path": str(folder), "name": "a", "verbose": 0, "executor": "inline", **more})


def saves(config: dict[str, Any]) -> None:
    for step in range(3):
        kept = tune.Checkpoint.from_dict({"x": step, "fill": b"x" * config.get("size", 0)}) if step != 1 else None
        tune.report({"x": step}, checkpoint=kept)


class Counts(tune.Trainable):
    def step(self) -> dict[str, Any]:
        return {"x": self.iteration, "done": self.iteration >= 3}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass


def test_a_checkpoint_tells_its_path_under_its_old_names(tmp_path: Path) -> None:
    """``trial.checkpoint.value`` was an AttributeError at the end of a long run."""
    checkpoint = run(saves, tmp_path).trials[0].checkpoint
    assert checkpoint.value == checkpoint.local_path == checkpoint.path
    assert os.path.isdir(checkpoint.value)


@pytest.mark.parametrize(("size", "name"), [(0, None), (100_000, "checkpoint_000001")])
def test_a_result_says_that_it_came_with_a_checkpoint(tmp_path: Path, size: int, name: str | None) -> None:
    """Which results had a checkpoint could not be seen in them."""
    seen: list[tuple[bool, Any]] = []

    class Looks(tune.Callback):
        def on_trial_result(self, *, result: dict[str, Any], **info: Any) -> None:  # type: ignore[override]
            seen.append((result.get("should_" + "checkpoint", False), result.get("checkpoint_dir_name", "none")))

    analysis = run(saves, tmp_path, config={"size": size}, callbacks=[Looks()])
    first = None if name is None else "checkpoint_000000"
    assert seen == [(True, first), (False, "none"), (True, name)]
    for told in (analysis, tune.ExperimentAnalysis(str(tmp_path / "a"))):
        last = told.trials[0].last_result
        assert (last["should_checkpoint"], last["checkpoint_dir_name"]) == (True, name)


def test_a_trial_says_how_it_was_asked_to_run(tmp_path: Path) -> None:
    """``trial.checkpoint_freq`` and its like were missing."""
    start = run(Counts, tmp_path / "start", checkpoint_freq=1).trials[0].checkpoint.path
    analysis = run(
        Counts, tmp_path, checkpoint_freq=2, checkpoint_at_end=True, log_to_file=("out", "err"), restore=start,
        trial_name_creator=lambda trial: f"mine_{trial.index}", executor="process",
    )  # fmt: skip
    import pickle

    loaded = tune.ExperimentAnalysis(str(tmp_path / "a")).trials[0]
    for trial in (analysis.trials[0], loaded, pickle.loads(pickle.dumps(loaded))):
        assert (trial.checkpoint_freq, trial.checkpoint_at_end) == (2, True)
        assert trial.log_to_file == ("out", "err")
        assert trial.restore_path == start
        assert trial.custom_trial_name == "mine_0"
    plain = run(saves, tmp_path / "plain").trials[0]
    assert (plain.checkpoint_freq, plain.checkpoint_at_end, plain.log_to_file) == (0, False, (None, None))
    assert (plain.restore_path, plain.custom_trial_name) == (None, None)


def test_nothing_to_restore_is_a_missing_file(tmp_path: Path) -> None:
    """``except FileNotFoundError`` around Tuner.restore did not catch that there was nothing."""
    with pytest.raises(FileNotFoundError, match="no experiment to restore in"):
        tune.Tuner.restore(str(tmp_path / "nothing"), saves)


def test_a_default_of_checkpoint_dir_stands_for_a_fresh_start(tmp_path: Path) -> None:
    """A function's own default of ``checkpoint_dir`` was overwritten by None."""
    seen: list[Any] = []

    def function(config: dict[str, Any], checkpoint_dir: str = "begin here") -> None:
        seen.append(checkpoint_dir)
        tune.report({"x": 1}, checkpoint=tune.Checkpoint.from_dict({"x": 1}))
        if len(seen) == 1:
            raise OSError

    run(function, tmp_path, max_failures=1)
    assert seen[0] == "begin here"
    assert os.path.isdir(seen[1])


def test_stop_criteria_may_be_nested_as_results_are(tmp_path: Path) -> None:
    """``stop={"a": {"b": 6}}`` was refused."""

    def function(config: dict[str, Any]) -> None:
        for step in range(20):
            tune.report({"a": {"b": step, "c": {"d": 2 * step}}})

    assert run(function, tmp_path / "1", stop={"a": {"b": 6}}).trials[0].last_result["training_iteration"] == 7
    stop = {"a": {"b": 16, "c": {"d": 6}}}
    assert run(function, tmp_path / "2", stop=stop).trials[0].last_result["training_iteration"] == 4
    with pytest.raises(ValueError, match="'a/b' is given twice"):
        run(function, tmp_path / "3", stop={"a": {"b": 6}, "a/b": 7})
    with pytest.raises(ValueError, match=r"stop\['a/b'\] is an empty dict"):
        run(function, tmp_path / "3", stop={"a": {"b": {}}})
    with pytest.raises(ValueError, match="a metric name must be text, got 1"):
        run(function, tmp_path / "3", stop={"a": {1: 2}})


def balanced(tune_controller: Any, trial: Any, result: dict[str, Any], scheduler: Any) -> Any:
    """All CPUs, shared evenly among the trials that live, and never less than a trial asked for."""
    base = scheduler.base_trial_resources
    least = base.required_resources.get("CPU", 0)
    updater = getattr(tune_controller, "trial_executor", tune_controller)._resource_updater
    assert updater.get_num_cpus() == tune_controller._resource_updater.get_num_cpus()
    share = max(least, tune_controller._resource_updater.get_num_cpus() // len(tune_controller.get_live_trials()))
    assert tune_controller._resource_updater.get_num_gpus() >= 0
    return tune.PlacementGroupFactory([{"CPU": share, "GPU": 0}])


def test_an_allocation_function_asks_how_much_there_is(tmp_path: Path) -> None:
    """An allocation function as it is written for Ray Tune raised an AttributeError with its first result."""
    scheduler = ResourceChangingScheduler(FIFOScheduler(), balanced)
    analysis = run(Counts, tmp_path, scheduler=scheduler, resources_per_trial={"cpu": 1}, executor="process")
    assert analysis.trials[0].status == "TERMINATED"
    cpus = len(os.sched_getaffinity(0))
    assert 1 <= analysis.trials[0].placement_group_factory.required_resources["CPU"] <= cpus


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_trial_knows_where_the_run_was_started(
    tmp_path: Path, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials that looked for their data below ``TUNE_ORIG_WORKING_DIR`` found no such variable."""
    monkeypatch.delenv("TUNE_ORIG_WORKING_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    analysis = run(lambda config: {"where": os.environ["TUNE_ORIG_WORKING_DIR"]}, tmp_path / "r", executor=executor)
    assert analysis.trials[0].last_result["where"] == str(tmp_path)
    assert "TUNE_ORIG_WORKING_DIR" not in os.environ


def sometimes(config: dict[str, Any]) -> None:
    for step in range(4):
        tune.report({"loss": 1.0 / (step + 1)} if step % 2 else {"warmup": step})


@pytest.mark.parametrize("scheduler", [None, ASHAScheduler(max_t=4)])
def test_reports_without_the_metric_may_be_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: Any
) -> None:
    """``TUNE_DISABLE_STRICT_METRIC_CHECKING=1`` was not looked at, and trials failed whose first reports lack the metric."""
    asked = {"metric": "loss", "mode": "min", "raise_on_failed_trial": False}
    analysis = run(sometimes, tmp_path / "strict", **asked)
    assert analysis.trials[0].status == "ERROR"
    monkeypatch.setenv("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    analysis = run(sometimes, tmp_path / "loose", scheduler=scheduler, **asked)
    assert analysis.trials[0].status == "TERMINATED"
    assert analysis.best_result["loss"] == 0.25
    monkeypatch.setenv("TUNE_DISABLE_STRICT_METRIC_CHECKING", "0")
    assert run(sometimes, tmp_path / "0", **asked).trials[0].status == "ERROR"
