"""Runs of scripted schedulers on either executor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune

Run = Callable[..., tune.ExperimentAnalysis]


@pytest.fixture(params=["inline", "thread", "process"])
def executor(request: pytest.FixtureRequest) -> str:
    """Where the trials run."""
    return str(request.param)


@pytest.fixture
def run(tmp_path: Path, executor: str) -> Run:
    """``tune.run`` with what these tests have in common: the rates 1, 2, 3, .. one per trial, two at a time."""

    def run(trainable: Any, scheduler: Any, trials: int = 2, last: int = 6, **more: Any) -> tune.ExperimentAnalysis:
        asked: dict[str, Any] = {
            "config": {"rate": tune.grid_search(list(range(1, trials + 1))), "last": last, **more.pop("config", {})},
            "metric": "score",
            "mode": "max",
            "name": "orders",
            "storage_path": tmp_path,
            "executor": executor,
            "max_concurrent_trials": 2,
            "verbose": 0,
            **more,
        }
        return tune.run(trainable, scheduler=scheduler, **asked)

    return run
