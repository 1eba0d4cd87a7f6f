"""Ray Tune itself opens what ``export(format="ray")`` writes, and what it writes is a warm start here (`make test-exchange`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import fasttune as tune

pytestmark = pytest.mark.exchange

ONLY_OURS = {"experiment_tag", "user_attrs/host"}


def equal(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Each column of ours is there with the same values, and no other."""
    assert set(ours) - ONLY_OURS == set(theirs)
    for name in set(theirs) - {"logdir"}:  # Ray puts the trial's id there
        columns = [one[name].astype(object).where(one[name].notna(), None).tolist() for one in (ours, theirs)]
        assert columns[0] == columns[1], name


@pytest.fixture(scope="module")
def rayed(analysis: tune.ExperimentAnalysis, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The experiment as Ray has it, from a folder that was moved after it was written."""
    from ray.tune import ExperimentAnalysis

    folder = tmp_path_factory.mktemp("ray")
    analysis.export(folder / "first", "ray")
    (folder / "first").rename(folder / "moved")
    return ExperimentAnalysis(str(folder / "moved"), default_metric="loss", default_mode="min")


def test_the_best_trial_is_the_same(analysis: tune.ExperimentAnalysis, rayed: Any) -> None:
    assert rayed.best_config == analysis.best_config
    assert rayed.best_trial.trial_id == analysis.best_trial.trial_id
    for scope in ("last", "all", "last-5-avg", "last-10-avg"):
        theirs, ours = rayed.get_best_trial("acc", "max", scope), analysis.get_best_trial("acc", "max", scope)
        assert ours is not None
        assert theirs.trial_id == ours.trial_id, scope


def test_frames_are_the_same(analysis: tune.ExperimentAnalysis, rayed: Any) -> None:
    for asked in ({}, {"metric": "loss", "mode": "min"}, {"metric": "acc", "mode": "max"}):
        equal(
            analysis.dataframe(**asked).set_index("trial_id").sort_index(),
            rayed.dataframe(**asked).set_index("trial_id").sort_index(),
        )
    assert list(rayed.trial_dataframes) == list(analysis.trial_dataframes)
    for trial_id, frame in analysis.trial_dataframes.items():
        if len(frame):
            equal(frame, rayed.trial_dataframes[trial_id])
        else:
            assert rayed.trial_dataframes[trial_id].empty


def test_trials_are_the_same(analysis: tune.ExperimentAnalysis, rayed: Any) -> None:
    assert len(rayed.trials) == len(analysis.trials)
    for theirs, ours in zip(rayed.trials, analysis.trials, strict=True):
        assert theirs.trial_id == ours.trial_id
        assert theirs.status == ours.status
        assert theirs.config == ours.config
        assert theirs.evaluated_params == ours.evaluated_params
        assert theirs.experiment_tag == ours.experiment_tag
        assert theirs.placement_group_factory.bundles == ours.placement_group_factory.bundles
        assert theirs.last_result.get("loss") == ours.last_result.get("loss")


def test_a_grid_of_ray_shows_results_and_errors(analysis: tune.ExperimentAnalysis, rayed: Any) -> None:
    from ray.tune import ResultGrid

    grid = ResultGrid(rayed)
    assert grid.get_best_result().config == analysis.best_config
    assert grid.num_errors == len(analysis.errors) > 0
    assert all("no luck" in str(error) for error in grid.errors)


def test_something_in_the_way_is_left_alone(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").touch()
    with pytest.raises(ValueError, match="is there already, and is no empty folder"):
        analysis.export(tmp_path / "there", "ray")
    assert [one.name for one in (tmp_path / "there").iterdir()] == ["mine"]


RUN = """
import sys
import ray
from ray import tune

def train(config):
    for step in range(4):
        if config["deep"]["kind"] == "bad" and step == 2:
            raise ValueError("no luck")
        tune.report({"loss": config["x"] * (5 - step), "parts": {"a": step}})

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
tune.Tuner(
    train,
    param_space={"x": tune.grid_search([1.0, 2.0]), "deep": {"kind": tune.grid_search(["good", "bad"])}, "fixed": 7,
                 "pair": tune.choice([(1, 2)])},
    run_config=tune.RunConfig(name="theirs", storage_path=sys.argv[1], verbose=0),
).fit()
"""


@pytest.mark.timeout(1200)  # Ray starts a cluster, and a process for each trial: minutes on a busy machine
def test_a_folder_of_ray_is_a_warm_start(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", RUN, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    start = tune.warm_start.from_ray(tmp_path / "theirs")
    found = {(known.config["x"], known.config["deep"]["kind"]): known for known in start}
    assert len(found) == len(start) == 4
    for (x, kind), known in found.items():
        assert known.config == {"x": x, "deep": {"kind": kind}, "fixed": 7, "pair": [1, 2]}
        assert known.outcome == ("failed" if kind == "bad" else "done")
        assert known.metrics["loss"] == (x * 2 if kind == "good" else x * 4)
        assert known.metrics["parts/a"] == (3 if kind == "good" else 1)
    trusted = tune.warm_start.from_ray(tmp_path / "theirs", trust=True)
    assert {known.config["pair"] for known in trusted} == {(1, 2)}
    searcher = tune.search.TPESearch(seed=1)
    space = {"x": tune.uniform(0, 4), "deep": {"kind": tune.choice(["good", "bad"])}, "fixed": 7, "pair": [1, 2]}
    searcher.set_search_properties("loss", "min", space)
    start.teach(searcher)
