"""Experiments to draw: made once, in virtual time where nothing but values counts, and inline where folders do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from searched import HOSTILE, SPACE, curve, hostile_trainable, population_curve

import fasttune as tune
from fasttune.plot.data import ExperimentData
from fasttune.schedulers import ASHAScheduler, PopulationBasedTraining


@pytest.fixture(scope="session")
def asha() -> ExperimentData:
    """120 trials under ASHA with three workers, in virtual time."""
    scheduler = ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3)
    given: dict[str, Any] = {"num_samples": 120, "metric": "loss", "mode": "min", "workers": 3, "steps": 27, "seed": 3}
    return ExperimentData(tune.simulate(curve, SPACE, scheduler=scheduler, **given))


@pytest.fixture(scope="session")
def wide() -> ExperimentData:
    """400 trials of six steps that nobody stops: enough for bands and samples."""
    return ExperimentData(tune.simulate(curve, SPACE, num_samples=400, metric="loss", mode="min", workers=4, steps=6, seed=1))


@pytest.fixture(scope="session")
def population() -> ExperimentData:
    """Eight trials of a population."""
    mutations = {"lr": tune.loguniform(1e-4, 1.0)}
    scheduler = PopulationBasedTraining("training_iteration", perturbation_interval=5, hyperparam_mutations=mutations, clip=True)
    given: dict[str, Any] = {"num_samples": 8, "metric": "score", "mode": "max", "workers": 8, "steps": 40, "seed": 2}
    return ExperimentData(tune.simulate(population_curve, {"lr": tune.loguniform(1e-4, 1.0)}, scheduler=scheduler, **given))


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment on disk in which names, values, and errors are markup."""
    root = tmp_path_factory.mktemp("plot")
    space = {"x": tune.uniform(0, 1), "kind": tune.choice([HOSTILE, "b"]), HOSTILE: tune.choice(["<b>1</b>", "<i>2</i>"])}
    given: dict[str, Any] = {"metric": HOSTILE, "mode": "min", "executor": "inline", "verbose": 0, "seed": 5}
    tune.run(
        hostile_trainable, name="a<b>&c", config=space, num_samples=30, storage_path=root, raise_on_failed_trial=False, **given
    )
    return root / "a<b>&c"
