"""What every acceptance test uses: the doors of the package, once with each executor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune


@pytest.fixture(params=["inline", "thread", "process"])
def executor(request: pytest.FixtureRequest) -> str:
    """Where the trials of the test run."""
    name: str = request.param
    return name


@pytest.fixture
def run(executor: str, tmp_path: Path) -> Callable[..., tune.ExperimentAnalysis]:
    """``tune.run`` on the executor of the test, quiet, into the test's folder."""
    return partial(tune.run, executor=executor, storage_path=tmp_path, verbose=0, seed=1)


@pytest.fixture
def run_config(executor: str, tmp_path: Path) -> Callable[..., tune.RunConfig]:
    """``RunConfig`` for a Tuner, likewise."""

    def make(**more: Any) -> tune.RunConfig:
        return tune.RunConfig(executor=executor, storage_path=tmp_path, verbose=0, seed=1, **more)

    return make
