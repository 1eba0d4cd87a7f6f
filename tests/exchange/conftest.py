"""One experiment that has everything an export can meet: options of all kinds, trials stopped, failed and finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune

SPACE = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "momentum": tune.quniform(0, 1, 0.1),
    "width": tune.qrandint(2, 10, 2),
    "act": tune.choice(["relu", None, 3]),
    "solver": tune.choice([{"name": "sgd", "nesterov": tune.choice([True, False])}, {"name": "adam"}, {"name": "bad"}]),
    "layers": tune.choice([[1], [2, 3]]),
    "twice": tune.sample_from(lambda config: config["lr"] * 2),
    "epochs": 9,
}


def train(config: dict[str, Any]) -> None:
    tune.set_user_attr("host", "h1")
    if config["solver"]["name"] == "bad":
        raise ValueError("no luck")
    for epoch in range(config["epochs"]):
        tune.report({"loss": config["lr"] * (10 - epoch), "acc": epoch / 10, "time": {"gpu": epoch}})


@pytest.fixture
def mixed_space() -> dict[str, Any]:
    """The space of the experiment."""
    return dict(SPACE)


@pytest.fixture(scope="session")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> tune.ExperimentAnalysis:
    """40 trials under ASHA, opened from their folder."""
    folder: Path = tmp_path_factory.mktemp("exchange")
    tune.run(
        train,
        name="mixed",
        config=SPACE,
        num_samples=40,
        metric="loss",
        mode="min",
        scheduler=tune.schedulers.ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
        storage_path=str(folder),
        executor="inline",
        user_attrs={"dataset": "v3"},
        raise_on_failed_trial=False,
        verbose=0,
        seed=1,
    )
    return tune.ExperimentAnalysis(folder / "mixed")
