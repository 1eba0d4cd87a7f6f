"""Checkpoints in whole runs: each form there is, when they are made, what a trial goes on from, and who finds them later."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from savers import (
    CLASSES,
    FUNCTIONS,
    IN_MEMORY,
    Counts,
    CountsInFiles,
    as_bytes,
    as_dict,
    as_directory,
    folders,
    saved_steps,
    steps_in,
    stored,
)

import fasttune as tune

Run = Callable[..., tune.ExperimentAnalysis]


def freq(trainable: Any, every: int = 1) -> dict[str, Any]:
    """How a class is told to save every so many steps; functions are told by their config."""
    return {"checkpoint_freq": every} if isinstance(trainable, type) else {}


# ---- when they are made


def test_K1_reported_directories_are_copied_and_numbered_from_0(run: Run) -> None:
    analysis = run(as_directory, config={"steps": 3}, num_samples=2)
    for trial in analysis.trials:
        names = folders(trial.logdir)[Path(trial.logdir).name]
        assert names == ["checkpoint_000000", "checkpoint_000001", "checkpoint_000002"]
        assert trial.checkpoint.path == str(Path(trial.logdir, "checkpoint_000002"))
    assert saved_steps(analysis) == [[1, 2, 3]] * 2


def test_K2_a_run_in_the_old_words_goes_on_at_the_saved_step(run: Run, tmp_path: Path) -> None:
    marker = tmp_path / "failed"

    def train(config: dict[str, Any], checkpoint_dir: str | None = None) -> None:
        start = int(Path(checkpoint_dir, "step").read_text()) if checkpoint_dir else 0
        for step in range(start + 1, 7):
            if step == 5 and not marker.exists():
                marker.touch()
                raise RuntimeError("once")
            if step % 2 == 0:
                with tune.checkpoint_dir(step=step) as folder:
                    Path(folder, "step").write_text(str(step))
            tune.report(step=step, started=start)

    analysis = run(train, max_failures=1)
    assert analysis.trials[0].last_result["started"] == 4
    frame = analysis.trial_dataframes[analysis.trials[0].trial_id]
    assert list(frame["step"]) == [1, 2, 3, 4, 5, 6]
    assert folders(tmp_path) == {Path(analysis.trials[0].logdir).name: [f"checkpoint_{k:06d}" for k in (2, 4, 6)]}


@pytest.mark.parametrize("executor", ["inline"])
@pytest.mark.parametrize("trainable", CLASSES)
@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, []),
        ({"checkpoint_freq": 2}, [2, 4]),
        ({"checkpoint_at_end": True}, [5]),
        ({"checkpoint_freq": 2, "checkpoint_at_end": True}, [2, 4, 5]),
        ({"checkpoint_freq": 5, "checkpoint_at_end": True}, [5]),
    ],
)
def test_K3_a_class_saves_by_count_and_at_its_end(run: Run, trainable: Any, options: Any, steps: list[int]) -> None:
    config = {"keep_checkpoints_num": 9} if trainable is Counts else {}
    analysis = run(trainable, config={"steps": 5}, num_samples=2, **options, **config)
    assert saved_steps(analysis) == [steps] * 2


def test_K3_at_the_end_also_when_the_end_comes_from_outside(run: Run) -> None:
    """By a stop criterion, by a scheduler, by the budget of the whole run's stopper."""
    analysis = run(Counts, config={"steps": 9}, stop={"n": 4}, checkpoint_at_end=True)
    assert saved_steps(analysis) == [[4]]
    scheduler = tune.schedulers.ASHAScheduler(max_t=4, grace_period=2, reduction_factor=2)
    analysis = run(
        Counts,
        config={"steps": 9},
        num_samples=4,
        metric="sum",
        mode="max",
        scheduler=scheduler,
        checkpoint_at_end=True,
        name="asha",
    )
    assert saved_steps(analysis) == [[trial.last_result["n"]] for trial in analysis.trials]


def test_K3_should_checkpoint_in_a_result(run: Run) -> None:
    class Asks(Counts):
        def step(self) -> dict[str, Any]:
            found = super().step()
            return {**found, "should_checkpoint": found["n"] in (2, 5)}

    assert saved_steps(run(Asks, config={"steps": 6}, keep_checkpoints_num=9)) == [[2, 5]]


def test_K3_an_ended_trial_without_a_report_saves_nothing(run: Run) -> None:
    class Fails(Counts):
        def step(self) -> dict[str, Any]:
            raise RuntimeError("at once")

    analysis = run(Fails, config={"steps": 3}, checkpoint_at_end=True, raise_on_failed_trial=False)
    assert saved_steps(analysis) == [[]]
    assert analysis.trials[0].checkpoint is None


# ---- in memory


@pytest.mark.parametrize("trainable", IN_MEMORY)
def test_in_memory_they_touch_no_file(run: Run, tmp_path: Path, trainable: Any) -> None:
    analysis = run(trainable, config={"steps": 20}, num_samples=3, **freq(trainable))
    assert saved_steps(analysis) == [[20]] * 3
    assert stored(tmp_path / "exp") == [(0, 20), (1, 20), (2, 20)], "only what is kept reaches the disk"
    names = {path.name for path in (tmp_path / "exp").iterdir()}
    assert names <= {"experiment.db", "experiment.db-wal", "experiment.db-shm", ".lock"}, "no folder, no file"


@pytest.mark.parametrize("executor", ["inline"])
def test_in_memory_the_best_by_the_runs_metric_stays_besides_the_newest(run: Run, tmp_path: Path) -> None:
    scores = [0.3, 0.9, float("nan"), 0.4, 0.5]
    analysis = run(as_dict, config={"steps": 5, "scores": scores}, metric="score", mode="max")
    assert saved_steps(analysis) == [[2, 5]]
    assert steps_in(analysis.get_best_checkpoint(analysis.trials[0])) == [1, 2]
    assert steps_in(analysis.best_checkpoint) == [1, 2]
    assert steps_in(analysis.trials[0].checkpoint) == [1, 2, 3, 4, 5]
    analysis = run(as_dict, config={"steps": 5, "scores": scores}, metric="deep/score", mode="min", name="min")
    assert saved_steps(analysis) == [[1, 5]]
    assert stored(tmp_path / "min") == [(0, 1), (0, 5)]


def test_in_memory_what_was_given_may_change_after_the_report(run: Run) -> None:
    def train(config: dict[str, Any]) -> None:
        saved: dict[str, Any] = {"steps": [1]}
        tune.report(n=1, checkpoint=tune.Checkpoint.from_dict(saved))
        saved["steps"].append(7)
        current = tune.get_checkpoint()
        assert current is not None
        tune.report(n=2, seen=current.to_dict()["steps"])

    assert run(train).trials[0].last_result["seen"] == [1]


def test_in_memory_a_large_one_becomes_a_directory_with_the_same_contents(run: Run) -> None:
    def train(config: dict[str, Any]) -> None:
        for n in (10, 65_000, 70_000, 3_000_000):
            tune.report(n=n, checkpoint=tune.Checkpoint.from_bytes(b"x" * n))

    analysis = run(train, keep_checkpoints_num=9)
    source: Any = analysis.trials[0]._source
    kept = [tune.Checkpoint(one) if isinstance(one, str) else one for one, _ in source.checkpoints(0)]
    assert [len(one.to_bytes()) for one in kept] == [10, 65_000, 70_000, 3_000_000]
    assert [one.in_memory for one in kept] == [True, True, False, False]


def test_K6_notes_travel_with_a_checkpoint_in_every_form(run: Run, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        saved = tune.Checkpoint.from_dict({"a": 1})
        if config["form"] == "directory":
            (tmp_path / "mine").mkdir(exist_ok=True)
            saved = tune.Checkpoint.from_directory(tmp_path / "mine")
        elif config["form"] == "large":
            saved = tune.Checkpoint.from_bytes(bytes(100_000))
        saved.set_metadata({"epoch": 3})
        saved.update_metadata({"why": "best"})
        tune.report(loss=1.0, checkpoint=saved)

    analysis = run(train, config={"form": tune.grid_search(["dict", "large", "directory"])})
    assert [trial.checkpoint.get_metadata() for trial in analysis.trials] == [{"epoch": 3, "why": "best"}] * 3


# ---- going on


@pytest.mark.parametrize("trainable", [*FUNCTIONS, *CLASSES])
def test_K4_a_failed_trial_goes_on_from_its_latest_checkpoint(run: Run, tmp_path: Path, trainable: Any) -> None:
    config = {"steps": 8, "every": 2, "fails": [4, 8], "marker": str(tmp_path / "failed")}
    analysis = run(trainable, config=config, max_failures=2, keep_checkpoints_num=1, **freq(trainable, 2))
    (trial,) = analysis.trials
    assert (trial.status, trial.num_failures) == ("TERMINATED", 2)
    frame = analysis.trial_dataframes[trial.trial_id]
    assert list(frame["n"]) == list(frame["training_iteration"]) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert trial.last_result["iterations_since_restore"] == 2, "from step 6 on"
    assert saved_steps(analysis) == [[8]]


@pytest.mark.parametrize("trainable", [as_dict, as_directory, Counts])
def test_K5_restore_starts_every_trial_from_a_checkpoint(run: Run, trainable: Any) -> None:
    first = run(trainable, config={"steps": 3}, name="first", **freq(trainable))
    path = first.trials[0].checkpoint.path
    second = run(trainable, config={"steps": 5}, restore=path, num_samples=2, name="second", **freq(trainable))
    for trial in second.trials:
        assert trial.last_result["n"] == 5
        assert trial.last_result["iterations_since_restore"] == 2
    assert steps_in(tune.Checkpoint(path)) == [1, 2, 3], "what was restored is not touched"


@pytest.mark.parametrize("executor", ["inline"])
@pytest.mark.parametrize("trainable", [as_dict, as_directory, Counts])
def test_K5_a_failed_trial_that_was_restored_and_has_saved_nothing_is_restored_again(
    run: Run, tmp_path: Path, trainable: Any
) -> None:
    first = run(trainable, config={"steps": 3}, name="first", **freq(trainable))
    config = {"steps": 6, "every": 9, "fails": [5], "marker": str(tmp_path / "failed")}
    path = first.trials[0].checkpoint.path
    second = run(trainable, config=config, restore=path, max_failures=1, name="second")
    (trial,) = second.trials
    assert (trial.status, trial.num_failures, trial.last_result["n"]) == ("TERMINATED", 1, 6)
    assert trial.last_result["iterations_since_restore"] == 3


# ---- who finds them later


@pytest.mark.parametrize("executor", ["inline"])
@pytest.mark.parametrize("trainable", [as_dict, as_directory, Counts, CountsInFiles])
def test_K6_every_door_to_a_checkpoint_leads_to_the_same(run: Run, trainable: Any) -> None:
    class Watching(tune.Callback):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def on_checkpoint(self, checkpoint: tune.Checkpoint, **more: Any) -> None:
            self.seen.append(len(steps_in(checkpoint)))

    watching = Watching()
    settings = {"metric": "score", "mode": "max", "keep_checkpoints_num": 9, **freq(trainable)}
    scores = [1.0, 3.0, 2.0]
    analysis = run(trainable, config={"steps": 3, "scores": scores}, callbacks=[watching], **settings)
    assert watching.seen == [1, 2, 3]
    (trial,) = analysis.trials
    assert steps_in(trial.checkpoint) == steps_in(analysis.get_last_checkpoint()) == [1, 2, 3]
    assert steps_in(analysis.get_best_checkpoint(trial, "score", "max")) == [1, 2]
    assert steps_in(analysis.get_best_checkpoint(trial.trial_id, "score", "min")) == [1]
    assert steps_in(analysis.best_checkpoint) == [1, 2]
    paths = [
        (len(steps_in(tune.Checkpoint(path))), score) for path, score in analysis.get_trial_checkpoints_paths(trial)
    ]
    assert paths == [(1, 1.0), (2, 3.0), (3, 2.0)]


@pytest.mark.parametrize("executor", ["inline"])
@pytest.mark.parametrize("trainable", [as_dict, as_directory, CountsInFiles])
def test_K6_results_of_a_tuner(executor: str, tmp_path: Path, trainable: Any) -> None:
    is_class = isinstance(trainable, type)
    tuner = tune.Tuner(
        trainable,
        param_space={"steps": 3, "scores": [1.0, 3.0, 2.0]},
        tune_config=tune.TuneConfig(metric="score", mode="max"),
        run_config=tune.RunConfig(
            name="grid",
            storage_path=tmp_path,
            executor=executor,
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=9, checkpoint_frequency=1 if is_class else 0),
        ),
    )
    for found in (tuner.fit(), tune.Tuner.restore(str(tmp_path / "grid"), trainable).get_results()):
        (one,) = found
        assert steps_in(one.checkpoint) == [1, 2, 3]
        assert steps_in(one.get_best_checkpoint("score", "max")) == [1, 2]
        assert [(len(steps_in(saved)), metrics["score"]) for saved, metrics in one.best_checkpoints] == [
            (1, 1.0),
            (2, 3.0),
            (3, 2.0),
        ]


@pytest.mark.parametrize("executor", ["inline"])
@pytest.mark.parametrize("trainable", [as_dict, as_bytes, as_directory, Counts, CountsInFiles])
def test_K6_an_experiment_that_was_moved_still_finds_its_checkpoints(run: Run, tmp_path: Path, trainable: Any) -> None:
    analysis = run(trainable, config={"steps": 3, "scores": [1.0, 3.0, 2.0]}, keep_checkpoints_num=9, **freq(trainable))
    before = analysis.experiment_path
    shutil.move(before, tmp_path / "elsewhere")
    moved = tune.ExperimentAnalysis(tmp_path / "elsewhere", default_metric="score", default_mode="max")
    assert saved_steps(moved) == [[1, 2, 3]]
    assert steps_in(moved.best_checkpoint) == [1, 2]
    path = moved.best_checkpoint.path
    assert path.startswith(str(tmp_path / "elsewhere"))
    assert steps_in(tune.Checkpoint(path)) == [1, 2]
    assert not Path(before).exists()
    again = run(trainable, config={"steps": 5}, restore=path, name="again", **freq(trainable))
    assert again.trials[0].last_result["n"] == 5


@pytest.mark.parametrize("trainable", [as_dict, CountsInFiles])
def test_K6_an_experiment_that_was_moved_goes_on(run: Run, tmp_path: Path, trainable: Any) -> None:
    marker = str(tmp_path / "failed")
    settings = {
        "config": {"steps": 6, "fails": [4], "marker": marker},
        "raise_on_failed_trial": False,
        **freq(trainable),
    }
    run(trainable, **settings)
    shutil.move(tmp_path / "exp", tmp_path / "moved")
    analysis = run(trainable, **{**settings, "name": "moved"}, resume="AUTO+ERRORED")
    assert analysis.trials[0].last_result["n"] == 6
    assert analysis.trials[0].last_result["iterations_since_restore"] == 3
    assert not (tmp_path / "exp").exists()
