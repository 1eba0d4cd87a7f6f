"""ResourceChangingScheduler in real runs: what a trial is told that it has, and that no step is done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.devices.machine import detect
from fasttune.schedulers import ASHAScheduler, ResourceChangingScheduler

CPUS = len(detect().cpus)


class Counts(tune.Trainable):
    """Says which step it is at, how often it was begun, and what it may use."""

    def setup(self, config: dict[str, Any]) -> None:
        self.n, self.begun = 0, 1

    def step(self) -> dict[str, Any]:
        self.n += 1
        cpus = tune.get_trial_resources().required_resources["CPU"]
        return {"score": self.config["x"], "n": self.n, "begun": self.begun, "cpus": cpus, "done": self.n >= 6}

    def save_checkpoint(self, folder: str) -> dict[str, Any]:
        return {"n": self.n, "begun": self.begun}

    def load_checkpoint(self, state: dict[str, Any]) -> None:
        self.n, self.begun = state["n"], state["begun"] + 1


def run(folder: Path, trainable: Any, executor: str, **more: Any) -> tune.ExperimentAnalysis:
    asked: dict[str, Any] = {"num_samples": 1, "scheduler": ResourceChangingScheduler(), **more}
    return tune.run(
        trainable,
        config={"x": tune.uniform(0, 1)},
        metric="score",
        mode="max",
        executor=executor,
        storage_path=folder,
        seed=1,
        verbose=0,
        **asked,
    )


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_C12_a_class_that_is_alone_gets_the_machine(tmp_path: Path, executor: str) -> None:
    analysis = run(tmp_path, Counts, executor)
    (trial,) = analysis.trials
    told = next(iter(analysis.trial_dataframes.values()))
    assert told["n"].tolist() == [1, 2, 3, 4, 5, 6]
    assert told["training_iteration"].tolist() == [1, 2, 3, 4, 5, 6]
    assert told["cpus"].tolist() == [1] + [CPUS] * 5
    assert told["begun"].tolist() == [1] + ([2] * 5 if CPUS > 1 else [1] * 5)
    assert trial.placement_group_factory.required_resources["CPU"] == CPUS


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_function_goes_on_from_the_checkpoint_that_it_reported(tmp_path: Path, executor: str) -> None:
    def train(config: dict[str, Any]) -> None:
        checkpoint = tune.get_checkpoint()
        first = 1
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                first = int(Path(folder, "n").read_text()) + 1
        for n in range(first, 7):
            with tune.checkpoint_dir(n) as folder:
                Path(folder, "n").write_text(str(n))
            tune.report(score=config["x"], n=n, cpus=tune.get_trial_resources().required_resources["CPU"])

    analysis = run(tmp_path, train, executor)
    told = next(iter(analysis.trial_dataframes.values()))
    assert told["n"].tolist() == [1, 2, 3, 4, 5, 6]
    assert told["cpus"].tolist() == [1] + [CPUS] * 5


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
@pytest.mark.filterwarnings("ignore:trial .* could have:RuntimeWarning")
def test_a_function_without_checkpoints_loses_nothing(tmp_path: Path, executor: str) -> None:
    def train(config: dict[str, Any]) -> None:
        for n in range(1, 7):
            tune.report(score=config["x"], n=n)

    analysis = run(tmp_path, train, executor, num_samples=3)
    for frame in analysis.trial_dataframes.values():
        assert frame["n"].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_the_base_scheduler_still_stops(tmp_path: Path, executor: str) -> None:
    scheduler = ResourceChangingScheduler(ASHAScheduler(max_t=6, reduction_factor=2))
    analysis = run(tmp_path, Counts, executor, num_samples=12, scheduler=scheduler)
    lengths = [trial.last_result["training_iteration"] for trial in analysis.trials]
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert min(lengths) < 6 == max(lengths)
    for frame in analysis.trial_dataframes.values():
        assert frame["n"].tolist() == list(range(1, len(frame) + 1))
