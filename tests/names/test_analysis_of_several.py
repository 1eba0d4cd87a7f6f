"""``Analysis(root)``: the trials of all experiments below a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune


def climbs_and_falls(config: dict[str, Any]) -> None:
    for value in (0, config["x"], 1):
        tune.report({"score": value}, checkpoint=tune.Checkpoint.from_dict({"value": value}))


def run(folder: Path, trainable: Any, values: list[Any], **options: Any) -> tune.ExperimentAnalysis:
    return tune.run(
        trainable,
        config={"x": tune.grid_search(values)},
        checkpoint_config=tune.CheckpointConfig(num_to_keep=3),
        storage_path=str(folder),
        executor="inline",
        verbose=0,
        **options,
    )


def test_the_trials_of_several_experiments_as_one_set(tmp_path: Path) -> None:
    first = run(tmp_path, climbs_and_falls, [3, 9], name="first")
    second = run(tmp_path / "deeper", climbs_and_falls, [7, 12], name="second")
    run(tmp_path, lambda config: tune.report({"loss": config["x"]}), [5], name="third")
    found = tune.Analysis(tmp_path, default_metric="score", default_mode="max")
    assert len(found.trials) == 5
    assert [Path(one.experiment_path).name for one in found.experiments] == ["second", "first", "third"]
    assert found.get_best_config() == {"x": 12}
    assert found.get_best_config("score", "min") == {"x": 7}  # each has been at 0: the first of equals
    assert found.get_best_config("loss", "min") == {"x": 5}
    assert found.get_best_logdir("score", "max") == second.trials[1].logdir
    frame = found.dataframe()
    assert sorted(frame["score"]) == [3, 7, 9, 12]
    assert set(frame["experiment"]) == {first.experiment_path, second.experiment_path}
    assert len(found.dataframe("loss")) == 1
    assert len(found.trial_dataframes) == len(found.get_all_configs()) == 5
    trial = second.trials[0].trial_id
    assert found.get_best_checkpoint(trial, "score", "max").to_dict()["value"] == 7  # type: ignore[union-attr]
    assert found.get_last_checkpoint(trial).to_dict()["value"] == 1  # type: ignore[union-attr]
    assert [value for _, value in found.get_trial_checkpoints_paths(trial, "score")] == [0, 7, 1]
    assert repr(found) == "<Analysis of 3 experiments, 5 trials>"


def test_of_one_experiment(tmp_path: Path) -> None:
    done = run(tmp_path, climbs_and_falls, [3, 9])
    assert tune.Analysis(done.experiment_path).get_best_config("score", "max") == {"x": 9}


def test_nothing_there_and_no_metric(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no experiment in .* or below"):
        tune.Analysis(tmp_path)
    run(tmp_path, climbs_and_falls, [3])
    found = tune.Analysis(tmp_path)
    with pytest.raises(ValueError, match="give a metric and a mode"):
        found.get_best_trial()
    with pytest.raises(ValueError, match="metric 'los' was never reported"):
        found.get_best_trial("los", "min")
    with pytest.raises(ValueError, match="no trial 'nope'"):
        found.get_last_checkpoint("nope")
    with pytest.raises(ValueError, match="mode"):
        tune.Analysis(tmp_path, default_mode="best")
