"""Keras, Lightning and Transformers in whole runs: reports are what the library says, and a trial goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import networks
import pytest

import fasttune as tune
from fasttune.schedulers import ASHAScheduler, PopulationBasedTraining

pytestmark = pytest.mark.torch


@pytest.fixture(params=["keras", "lightning", "transformers"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(library: str, folder: Path, config: dict[str, Any], **more: Any) -> tune.ExperimentAnalysis:
    given: dict[str, Any] = {
        "config": {"folder": str(folder), "on": "train_epoch_end", **config},
        "metric": "loss",
        "mode": "min",
        "name": library,
        "verbose": 0,
        "executor": "inline",
    }
    return tune.run(networks.TRAIN[library], **{**given, **more})


def losses(analysis: tune.ExperimentAnalysis, trial: Any) -> list[float]:
    return list(analysis.trial_dataframes[trial.trial_id]["loss"])


def begun(folder: Path, trial: Any) -> list[int]:
    """Epochs that the model had at each attempt."""
    return [int(line.split()[0]) for line in (folder / trial.trial_id).read_text().splitlines()]


def test_each_epoch_is_reported_as_the_library_says_it(library: str, tmp_path: Path) -> None:
    analysis = run(library, tmp_path, {"lr": 0.02})
    (trial,) = analysis.trials
    assert losses(analysis, trial) == pytest.approx(networks.DIRECT[library](0.02), rel=1e-4)
    assert len(losses(analysis, trial)) == networks.EPOCHS
    assert len(analysis.get_trial_checkpoints_paths(trial, "loss")) == networks.EPOCHS


def test_asha_ends_a_training_and_the_library_cleans_up(library: str, tmp_path: Path) -> None:
    analysis = run(
        library,
        tmp_path,
        {"lr": tune.grid_search([0.02, 0.0001])},
        scheduler=ASHAScheduler(max_t=networks.EPOCHS, grace_period=2, reduction_factor=2),
    )
    stopped = analysis.trials[1]
    assert [len(losses(analysis, trial)) for trial in analysis.trials] == [networks.EPOCHS, 2]
    assert stopped.status == "TERMINATED"
    assert stopped.trial_id in (tmp_path / f"stopped.{library}").read_text()


def test_a_population_goes_on_from_the_models_of_others(library: str, tmp_path: Path) -> None:
    analysis = run(
        library,
        tmp_path,
        {"lr": tune.grid_search([0.02, 0.0001])},
        scheduler=PopulationBasedTraining(
            time_attr="training_iteration",
            perturbation_interval=2,
            quantile_fraction=0.5,
            hyperparam_mutations={"lr": [0.01, 0.015]},
            synch=True,
            seed=0,
        ),
        stop={"training_iteration": networks.EPOCHS},
    )
    worse = analysis.trials[1]
    assert begun(tmp_path, worse)[:2] == [0, 2]
    found = losses(analysis, worse)
    better = losses(analysis, analysis.trials[0])
    assert found[1] > better[1]
    assert found[2] < found[1] - 0.8 * (found[1] - better[1])  # it has the other one's weights
    assert set(analysis.lineage()["trial_id"]) >= {worse.trial_id}


def test_a_killed_worker_is_tried_again_from_its_checkpoint(library: str, tmp_path: Path) -> None:
    analysis = run(library, tmp_path, {"lr": 0.02, "kills": 3}, executor="process", max_failures=1)
    (trial,) = analysis.trials
    assert begun(tmp_path, trial) == [0, 3]
    assert losses(analysis, trial) == pytest.approx(networks.DIRECT[library](0.02), rel=1e-4)


KILLED = """
import sys
import networks
import fasttune as tune
library, folder = sys.argv[1:]
config = {"folder": folder, "on": "train_epoch_end", "lr": 0.02, "kills": 3}
tune.run(networks.TRAIN[library], config=config, metric="loss", mode="min", name=library, verbose=0, executor="inline")
"""


def test_a_killed_run_goes_on_at_the_right_epoch(library: str, tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, library, str(tmp_path)], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert killed.returncode == -signal.SIGKILL
    analysis = run(library, tmp_path, {"lr": 0.02, "kills": 3}, resume=True)
    (trial,) = analysis.trials
    assert begun(tmp_path, trial) == [0, 3]
    assert losses(analysis, trial) == pytest.approx(networks.DIRECT[library](0.02), rel=1e-4)
