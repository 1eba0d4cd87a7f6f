"""XGBoost, LightGBM and CatBoost in whole runs: what is reported is what the library says, and a trial goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import boosters
import pytest

import fasttune as tune
from fasttune.schedulers import ASHAScheduler, HyperBandScheduler, PopulationBasedTraining

LIBRARIES = ["xgboost", "lightgbm", pytest.param("catboost", marks=pytest.mark.boosting)]
EXACT = {"rel": 1e-6}  # single precision within the libraries


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["xgboost", pytest.param("lightgbm", marks=pytest.mark.slow), LIBRARIES[-1]])
def restarted(request: pytest.FixtureRequest) -> str:
    """A library in tests that start processes, each of which loads it."""
    return str(request.param)


def run(library: str, folder: Path, config: dict[str, Any], **more: Any) -> tune.ExperimentAnalysis:
    given: dict[str, Any] = {
        "config": {"folder": str(folder), **config},
        "metric": "loss",
        "mode": "min",
        "name": library,
        "verbose": 0,
        "executor": "inline",
    }
    return tune.run(boosters.TRAIN[library], **{**given, **more})


def losses(analysis: tune.ExperimentAnalysis, trial: Any) -> list[float]:
    return list(analysis.trial_dataframes[trial.trial_id]["loss"])


def steps(analysis: tune.ExperimentAnalysis, trial: Any) -> list[int]:
    return list(analysis.trial_dataframes[trial.trial_id]["training_iteration"])


def begun(folder: Path, trial: Any) -> list[tuple[int, float]]:
    """(rounds of the model, eta) of each attempt."""
    lines = (folder / trial.trial_id).read_text().splitlines()
    return [(int(done), float(eta)) for done, eta in (line.split() for line in lines)]


def test_each_round_is_reported_as_the_library_says_it(library: str, tmp_path: Path) -> None:
    analysis = run(library, tmp_path, {"eta": tune.grid_search([0.1, 0.5])})
    for trial in analysis.trials:
        assert losses(analysis, trial) == pytest.approx(boosters.DIRECT[library](trial.config["eta"]), **EXACT)
        assert steps(analysis, trial) == list(range(1, boosters.ROUNDS + 1))


def test_asha_ends_a_training_within_the_library(library: str, tmp_path: Path) -> None:
    analysis = run(
        library,
        tmp_path,
        {"eta": tune.grid_search([0.5, 0.3, 0.01, 0.001])},
        scheduler=ASHAScheduler(max_t=boosters.ROUNDS, grace_period=2, reduction_factor=2),
    )
    lengths = [len(steps(analysis, trial)) for trial in analysis.trials]
    assert lengths[0] == boosters.ROUNDS
    assert lengths[-1] == 2
    assert all(trial.status == "TERMINATED" for trial in analysis.trials)


def test_a_population_goes_on_from_the_models_of_others(library: str, tmp_path: Path) -> None:
    analysis = run(
        library,
        tmp_path,
        {"eta": tune.grid_search([0.5, 0.001])},
        scheduler=PopulationBasedTraining(
            time_attr="training_iteration",
            perturbation_interval=4,
            quantile_fraction=0.5,
            hyperparam_mutations={"eta": [0.25, 0.125]},
            synch=True,
            seed=0,
        ),
    )
    copied = [trial for trial in analysis.trials if len(begun(tmp_path, trial)) > 1]
    assert copied
    for trial in copied:
        assert all(done == 4 * number for number, (done, _) in enumerate(begun(tmp_path, trial)[:2]))
        assert begun(tmp_path, trial)[1][1] != begun(tmp_path, trial)[0][1]
    assert len(set(analysis.lineage()["trial_id"])) >= 1


def test_hyperband_pauses_within_the_library(library: str, tmp_path: Path) -> None:
    analysis = run(
        library,
        tmp_path,
        {"eta": tune.grid_search([0.5, 0.3, 0.1, 0.05, 0.01, 0.005, 0.001, 0.002, 0.003]), "frequency": 0},
        scheduler=HyperBandScheduler(max_t=9, reduction_factor=3),
    )
    lengths = sorted(len(steps(analysis, trial)) for trial in analysis.trials)
    assert lengths[0] < 9 <= lengths[-1]
    for trial in analysis.trials:  # whoever was paused has gone on in the same training
        assert len(begun(tmp_path, trial)) == 1
        expected = boosters.DIRECT[library](trial.config["eta"])[: len(steps(analysis, trial))]
        assert losses(analysis, trial) == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize(("fails", "executor"), [("raise", "inline"), ("kill", "process")])
def test_what_failed_is_tried_again_from_its_checkpoint(restarted: str, fails: str, executor: str, tmp_path: Path) -> None:
    """A process that is killed takes nothing along but the rounds behind its last checkpoint."""
    analysis = run(
        restarted,
        tmp_path,
        {"eta": 0.3, "fails": (fails, 8 if restarted == "catboost" else 7), "frequency": 4},
        executor=executor,
        max_failures=1,
    )
    (trial,) = analysis.trials
    assert [done for done, _ in begun(tmp_path, trial)] == [0, 8 if restarted == "catboost" else 4]
    assert losses(analysis, trial)[-1] == pytest.approx(boosters.DIRECT[restarted](0.3)[-1], **EXACT)


KILLED = """
import sys
import boosters
import fasttune as tune
library, folder = sys.argv[1:]
config = {"folder": folder, "eta": 0.3, "fails": ("kill", 8), "frequency": 4}
tune.run(boosters.TRAIN[library], config=config, metric="loss", mode="min", name=library, verbose=0, executor="inline")
"""


def test_a_killed_run_goes_on_at_the_right_round(restarted: str, tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, restarted, str(tmp_path)], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert killed.returncode == -signal.SIGKILL
    analysis = run(restarted, tmp_path, {"eta": 0.3, "fails": ("kill", 8), "frequency": 4}, resume=True)
    (trial,) = analysis.trials
    assert [done for done, _ in begun(tmp_path, trial)] == [0, 8]
    assert steps(analysis, trial) == list(range(1, boosters.ROUNDS + 1))
    assert losses(analysis, trial) == pytest.approx(boosters.DIRECT[restarted](0.3), **EXACT)
