"""Which checkpoints stay in whole runs: per trial and for all trials together, and never one that somebody goes on from."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from savers import Counts, CountsInFiles, as_dict, as_directory, folders, saved_steps, stored

import fasttune as tune

Run = Callable[..., tune.ExperimentAnalysis]
NAN = math.nan

BOTH = [as_dict, as_directory, Counts, CountsInFiles]


def keeping(trainable: Any, **options: Any) -> dict[str, Any]:
    frequency = 1 if isinstance(trainable, type) else 0
    return {"checkpoint_config": tune.CheckpointConfig(checkpoint_frequency=frequency, **options)}


def on_disk(analysis: tune.ExperimentAnalysis) -> int:
    """How many checkpoints there are, in folders and in the table."""
    return len(stored(analysis.experiment_path)) + sum(map(len, folders(analysis.experiment_path).values()))


# ---- per trial


@pytest.mark.parametrize("executor", ["inline"])
@pytest.mark.parametrize("trainable", [as_dict, Counts, CountsInFiles])
@pytest.mark.parametrize(
    ("scores", "options", "kept"),
    [
        ([1.0, 5.0, 2.0, 4.0, 3.0], {"num_to_keep": 2, "checkpoint_score_attribute": "deep/score"}, [2, 4, 5]),
        (
            [1.0, 5.0, 2.0, 4.0, 3.0],
            {"num_to_keep": 2, "checkpoint_score_attribute": "score", "checkpoint_score_order": "min"},
            [1, 3, 5],
        ),
        ([1.0, 2.0, 3.0, 4.0], {"num_to_keep": 2}, [3, 4]),
        ([1.0, NAN, None, 0.0], {"num_to_keep": 2, "checkpoint_score_attribute": "score"}, [1, 4]),
        ([NAN, 1.0, NAN, NAN], {"num_to_keep": 1, "checkpoint_score_attribute": "score"}, [2, 4]),
        ([1.0, 2.0, 3.0], {"num_to_keep": 1, "checkpoint_score_attribute": "misspelt"}, [1, 2, 3]),
        ([3.0, 2.0, 1.0], {"num_to_keep": 1, "checkpoint_score_attribute": "training_iteration"}, [3]),
        (
            [3.0, 2.0, 1.0],
            {
                "num_to_keep": 1,
                "checkpoint_score_attribute": "training_iteration",
                "checkpoint_score_order": "min",
            },
            [1, 3],
        ),
    ],
)
def test_K4_the_best_of_each_trial_stay(run: Run, trainable: Any, scores: Any, options: Any, kept: list[int]) -> None:
    config = {"steps": len(scores), "scores": scores}
    analysis = run(trainable, config=config, num_samples=2, **keeping(trainable, **options))
    assert saved_steps(analysis) == [kept] * 2
    assert on_disk(analysis) == 2 * len(kept)


@pytest.mark.parametrize("executor", ["inline"])
@pytest.mark.parametrize("trainable", [as_dict, Counts])
def test_K4_the_old_words_with_min_in_front(run: Run, trainable: Any) -> None:
    options = {"checkpoint_freq": 1} if trainable is Counts else {}
    config = {"steps": 4, "scores": [2.0, 1.0, 4.0, 3.0]}
    analysis = run(trainable, config=config, keep_checkpoints_num=1, checkpoint_score_attr="min-deep/score", **options)
    assert saved_steps(analysis) == [[2, 4]]


def test_K4_a_checkpoint_at_the_end_is_scored_by_the_last_report(run: Run) -> None:
    config = {"steps": 4, "scores": [1.0, 2.0, 1.5, 9.0]}
    options = tune.CheckpointConfig(
        num_to_keep=1, checkpoint_frequency=3, checkpoint_at_end=True, checkpoint_score_attribute="score"
    )
    analysis = run(Counts, config=config, checkpoint_config=options)
    assert saved_steps(analysis) == [[4]]
    (trial,) = analysis.trials
    best = analysis.get_best_checkpoint(trial, "score", "max")
    assert best is not None
    assert best.to_dict()["steps"] == [1, 2, 3, 4]


@pytest.mark.parametrize("trainable", [as_dict, CountsInFiles])
def test_K4_a_trial_that_fails_between_goes_on_under_the_same_rule(run: Run, tmp_path: Path, trainable: Any) -> None:
    """It goes on from its latest, which is not its best; its best stays."""
    config = {
        "steps": 6,
        "scores": [3.0, 9.0, 2.0, 1.0, 0.0, 0.5],
        "fails": [4, 6],
        "marker": str(tmp_path / "failed"),
    }
    options = keeping(trainable, num_to_keep=1, checkpoint_score_attribute="score")
    analysis = run(trainable, config=config, max_failures=2, **options)
    assert saved_steps(analysis) == [[2, 6]]
    assert on_disk(analysis) == 2


@pytest.mark.parametrize("trainable", [as_dict, CountsInFiles])
def test_K4_another_rule_when_it_is_resumed(run: Run, tmp_path: Path, trainable: Any) -> None:
    """More are kept first; the resumed run keeps fewer, as it says."""
    config = {"steps": 6, "scores": [3.0, 9.0, 2.0, 1.0, 0.0, 0.5], "fails": [5], "marker": str(tmp_path / "failed")}
    first = run(trainable, config=config, raise_on_failed_trial=False, **keeping(trainable, num_to_keep=9))
    assert saved_steps(first) == [[1, 2, 3, 4]]
    options = keeping(trainable, num_to_keep=1, checkpoint_score_attribute="score")
    second = run(trainable, config=config, resume="AUTO+ERRORED", **options)
    assert second.trials[0].last_result["iterations_since_restore"] == 2
    assert saved_steps(second) == [[2, 6]]
    assert on_disk(second) == 2


@pytest.mark.parametrize("trainable", [as_dict, CountsInFiles])
def test_K4_restart_drops_the_old_checkpoints_from_the_disk(run: Run, tmp_path: Path, trainable: Any) -> None:
    config = {"steps": 5, "fails": [5], "marker": str(tmp_path / "failed")}
    options = keeping(trainable, num_to_keep=9)
    run(trainable, config=config, raise_on_failed_trial=False, **options)
    (tmp_path / "failed_5").unlink()
    again = run(trainable, config=config, resume="AUTO+RESTART_ERRORED", raise_on_failed_trial=False, **options)
    assert again.trials[0].last_result["iterations_since_restore"] == 4, "from its start"
    assert saved_steps(again) == [[1, 2, 3, 4]]
    assert on_disk(again) == 4
    third = run(trainable, config=config, resume="AUTO+ERRORED", **options)
    assert third.trials[0].last_result["iterations_since_restore"] == 1
    assert saved_steps(third) == [[1, 2, 3, 4, 5]]


def rarer_later(config: dict[str, Any]) -> None:
    """Saves every second step, and every fourth once it has failed."""
    as_directory({**config, "every": 4 if os.path.exists(f"{config['marker']}_5") else 2})


def test_K4_restart_without_a_rule_drops_directories_too(run: Run, tmp_path: Path) -> None:
    config = {"steps": 5, "fails": [5], "marker": str(tmp_path / "failed")}
    run(rarer_later, config=config, raise_on_failed_trial=False)
    again = run(rarer_later, config=config, resume="AUTO+RESTART_ERRORED")
    assert again.trials[0].status == "TERMINATED"
    assert saved_steps(again) == [[4]]
    assert on_disk(again) == 1


# ---- for all trials together


@pytest.mark.parametrize("trainable", BOTH)
def test_K4_the_best_of_all_trials_stay(run: Run, trainable: Any) -> None:
    scores = tune.grid_search([[1.0, 2.0, 3.0], [9.0, 0.0, 1.0], [4.0, 8.0, 7.0], [0.0, 0.0, 0.0]])
    options = keeping(
        trainable, num_to_keep=3, scope="experiment", checkpoint_score_attribute="score", checkpoint_score_order="max"
    )
    analysis = run(trainable, config={"steps": 3, "scores": scores}, **options)
    assert saved_steps(analysis) == [[], [1], [2, 3], []]
    assert on_disk(analysis) == 3


@pytest.mark.parametrize("trainable", [as_dict, CountsInFiles])
def test_K4_the_newest_of_all_trials_stay_without_a_score(run: Run, trainable: Any) -> None:
    options = keeping(trainable, num_to_keep=2, scope="experiment")
    analysis = run(trainable, config={"steps": 3}, num_samples=4, max_concurrent_trials=1, **options)
    assert saved_steps(analysis) == [[], [], [], [2, 3]]


@pytest.mark.parametrize("trainable", [as_dict, CountsInFiles])
def test_K4_a_trial_that_failed_keeps_what_it_would_go_on_from(run: Run, tmp_path: Path, trainable: Any) -> None:
    """Others are better, but resume='AUTO+ERRORED' promises that it goes on from its checkpoint."""
    config = {
        "scores": tune.grid_search([[1.0, 1.0, 1.0, 1.0], [5.0, 6.0, 7.0, 8.0]]),
        "steps": 4,
        "fails": tune.sample_from(lambda spec: [4] if spec.config.scores[0] == 1.0 else []),
        "marker": str(tmp_path / "failed"),
    }
    options = keeping(trainable, num_to_keep=1, scope="experiment", checkpoint_score_attribute="score")
    first = run(trainable, config=config, raise_on_failed_trial=False, **options)
    assert saved_steps(first) == [[3], [4]]
    plain = run(trainable, config=config, resume="AUTO", raise_on_failed_trial=False, **options)
    assert saved_steps(plain) == [[3], [4]]
    second = run(trainable, config=config, resume="AUTO+ERRORED", **options)
    assert second.trials[0].last_result["iterations_since_restore"] == 1
    assert saved_steps(second) == [[], [4]]
    assert on_disk(second) == 1


@pytest.mark.parametrize("reports", [0, 1, 3])
@pytest.mark.parametrize("durability", ["process", "full"])
def test_K2_a_checkpoint_written_behind_the_last_report_is_the_trials(
    tmp_path: Path, executor: str, reports: int, durability: str
) -> None:
    """Also of a function that has never reported; live, reopened, and for a trial that goes on from it."""

    def train(config: dict[str, Any], checkpoint_dir: str | None = None) -> None:
        for step in range(reports):
            tune.report(loss=float(step))
        with tune.checkpoint_dir(step=10) as folder:
            Path(folder, "model").write_text(f"trained {checkpoint_dir is not None}")

    again: Any = tune.run(
        train, name="e", storage_path=str(tmp_path), num_samples=2, verbose=0, executor=executor, durability=durability
    )
    for analysis in (again, tune.ExperimentAnalysis(str(tmp_path / "e"))):
        for trial in analysis.trials:
            assert trial.status == "TERMINATED"
            assert trial.checkpoint is not None
            assert Path(str(trial.checkpoint.path), "model").read_text() == "trained False"
            ((path, value),) = analysis.get_trial_checkpoints_paths(trial, "training_iteration")
            assert (Path(path).name, value) == ("checkpoint_000010", reports if reports else None)


def test_K2_what_is_written_behind_the_last_report_counts_as_one_to_keep(tmp_path: Path, executor: str) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(3):
            with tune.checkpoint_dir(step=step) as folder:
                Path(folder, "model").write_text(str(step))
            if step < 2:
                tune.report(loss=float(step))

    config = tune.CheckpointConfig(num_to_keep=1)
    analysis = tune.run(
        train, name="e", storage_path=str(tmp_path), verbose=0, executor=executor, checkpoint_config=config
    )
    (trial,) = analysis.trials
    assert [path.name for path in Path(trial.local_path).glob("checkpoint_*")] == ["checkpoint_000002"]
    assert Path(str(trial.checkpoint.path)).name == "checkpoint_000002"
