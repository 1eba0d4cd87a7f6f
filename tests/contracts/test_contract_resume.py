"""A resumed run may ask for more or fewer samples than the one before; the journal holds what was run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune


@pytest.fixture(params=["inline", "thread", "process"])
def executor(request: pytest.FixtureRequest) -> str:
    """Where the trials run."""
    return str(request.param)


def train(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])


@pytest.mark.parametrize("grid", [False, True])
def test_more_and_fewer_samples_on_a_resume(tmp_path: Path, executor: str, grid: bool) -> None:
    space: dict[str, Any] = {"x": tune.uniform(0, 1)}
    if grid:
        space["g"] = tune.grid_search([1, 2, 3])
    configs: list[list[dict[str, Any]]] = []
    for num_samples, expected in ((2, 2), (4, 4), (1, 4), (5, 5)):
        analysis = tune.run(
            train,
            config=space,
            num_samples=num_samples,
            name="again",
            resume="AUTO",
            seed=5,
            storage_path=tmp_path,
            executor=executor,
            verbose=0,
        )
        read = tune.ExperimentAnalysis(analysis.experiment_path)
        configs.append([trial.config for trial in analysis.trials])
        assert [trial.config for trial in read.trials] == configs[-1]
        assert len(configs[-1]) == expected * (3 if grid else 1)
        assert {trial.status for trial in read.trials} == {"TERMINATED"}
    assert configs[-1][: len(configs[0])] == configs[0]
    assert configs[-1][: len(configs[1])] == configs[1] == configs[2]
