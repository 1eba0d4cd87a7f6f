"""What the tests of checkpoints share: runs on either executor, and trainables that save in every form there is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune

sys.path.append(str(Path(__file__).parents[1] / "reliability"))  # the laboratory of processes that can be killed

Run = Callable[..., tune.ExperimentAnalysis]


@pytest.fixture(params=["inline", "thread", "process"])
def executor(request: pytest.FixtureRequest) -> str:
    """Where the trials run."""
    return str(request.param)


@pytest.fixture
def run(executor: str, tmp_path: Path) -> Run:
    """``tune.run`` on the executor of the test, quiet, into the test's folder."""
    given: dict[str, Any] = {"executor": executor, "storage_path": tmp_path, "name": "exp", "verbose": 0, "seed": 1}
    return partial(tune.run, **given)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Any]:
    """A laboratory of its own for each test."""
    from laboratory import Lab

    found = Lab(tmp_path)
    yield found
    found.close()
