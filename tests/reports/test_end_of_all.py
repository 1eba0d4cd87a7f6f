"""A stopper ends the whole experiment: what had not begun is over too, and nothing is counted any more."""

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.stopper import Stopper
from fasttune.trial import Trial


class Enough(Stopper):
    """Ends all at the first report of iteration 3."""

    def __init__(self) -> None:
        self.enough = False
        self.calls = 0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.calls += 1
        self.enough = self.enough or result["training_iteration"] >= 3
        return False

    def stop_all(self) -> bool:
        return self.enough


class EnoughUnasked(Enough):
    asks_every_report = False

    def stop_all(self) -> bool:
        self.calls += 1
        return self.calls > 3


class Told(tune.Callback):
    def __init__(self) -> None:
        self.complete: list[int] = []
        self.iterations: list[int] = []

    def on_trial_complete(self, trial: Trial, **info: Any) -> None:  # type: ignore[override]
        self.complete.append(trial.index)

    def on_trial_result(self, result: dict[str, Any], **info: Any) -> None:  # type: ignore[override]
        self.iterations.append(result["training_iteration"])


def endless(config: dict[str, Any]) -> None:
    while True:
        tune.report(x=1)


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_what_never_started_is_over_and_no_report_comes_behind_the_end(tmp_path: Path, executor: str) -> None:
    """After ``stop_all`` trials waited for ever as PENDING, and one more report of each counted."""
    stopper, told = Enough(), Told()
    analysis = tune.run(
        endless,
        num_samples=9,
        stop=stopper,
        callbacks=[told],
        executor=executor,
        max_concurrent_trials=2,
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert max(told.iterations) == 3
    on_its_way = len(told.iterations) - stopper.calls  # of the other trial: made before anybody could tell it
    assert 0 <= on_its_way <= (0 if executor == "inline" else 1)
    assert sorted(told.complete) == list(range(len(analysis.trials)))
    begun = [trial for trial in analysis.trials if trial.last_result]
    assert begun
    assert all(trial.last_result["training_iteration"] <= 3 for trial in begun)
    again = tune.run(
        endless, num_samples=9, stop={"x": 1}, resume="AUTO", name=Path(analysis.experiment_path).name,
        executor="inline", storage_path=str(tmp_path), verbose=0,
    )  # fmt: skip
    assert {trial.status for trial in again.trials} == {"TERMINATED"}


def test_a_stopper_that_is_not_asked_ends_all_in_the_same_way(tmp_path: Path) -> None:
    """A stopper that looks at the whole experiment only left its waiting trials as PENDING."""
    analysis = tune.run(
        endless, num_samples=9, stop=EnoughUnasked(), executor="inline", storage_path=str(tmp_path), verbose=0
    )
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}


def test_a_class_that_saves_at_its_end_counts_the_step_that_it_saves(tmp_path: Path) -> None:
    """The checkpoint at the end of a stopped class was of another iteration than its last result."""

    class Counts(tune.Trainable):
        def step(self) -> dict[str, Any]:
            return {"x": self.iteration + 1}

        def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
            return {"saved": self.iteration}

    analysis = tune.run(
        Counts, num_samples=2, stop=Enough(), checkpoint_at_end=True, executor="process", max_concurrent_trials=2,
        storage_path=str(tmp_path), verbose=0,
    )  # fmt: skip
    for trial in analysis.trials:
        if trial.checkpoint is not None:
            assert (
                trial.checkpoint.to_dict()["saved"] == trial.last_result["x"] == trial.last_result["training_iteration"]
            )
    assert any(trial.checkpoint for trial in analysis.trials)


def test_a_checkpoint_that_came_too_late_is_gone_with_its_report(tmp_path: Path) -> None:
    """A report behind the end left a checkpoint directory that belonged to nothing."""

    def function(config: dict[str, Any]) -> None:
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        while True:
            tune.report({"x": 1}, checkpoint=tune.Checkpoint.from_directory(str(source)))

    analysis = tune.run(
        function, num_samples=2, stop=Enough(), executor="inline", storage_path=str(tmp_path / "r"), verbose=0
    )
    for trial in analysis.trials:
        folders = [one for one in Path(trial.path).iterdir() if one.name.startswith("checkpoint_")]
        assert len(folders) == trial.last_result.get("training_iteration", 0)


def test_a_block_that_came_too_late_leaves_the_checkpoint_that_was(tmp_path: Path) -> None:
    """Checkpoints written again and again under one number were lost when the run ended."""

    def function(config: dict[str, Any]) -> None:
        while True:
            with tune.checkpoint_dir(step=0) as folder:
                Path(folder, "state").write_text("kept")
            tune.report(x=1)

    analysis = tune.run(
        function, num_samples=2, stop=Enough(), executor="inline", storage_path=str(tmp_path / "r"), verbose=0
    )
    saved = [trial.checkpoint for trial in analysis.trials if trial.last_result]
    assert saved
    assert all(Path(one.path, "state").read_text() == "kept" for one in saved)
