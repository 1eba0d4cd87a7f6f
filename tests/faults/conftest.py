"""The laboratory of processes that can be killed, for the faults of the scorecard."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "reliability"))

from laboratory import Lab

Note = Callable[[str, object], None]


@pytest.fixture
def lab(on_disk: Path) -> Iterator[Lab]:
    found = Lab(on_disk)
    yield found
    found.close()


@pytest.fixture(params=["inline", "thread", "process"])
def executor(request: pytest.FixtureRequest) -> str:
    return str(request.param)
