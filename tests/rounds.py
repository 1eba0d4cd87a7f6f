"""How many cases a test takes: all of them in `make test-all`, enough of them in `make test`."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest

ALL = os.environ.get("FASTTUNE_ALL_ROUNDS") == "1"  # set by `make test-all`
MOST = 300  # examples of one test in `make test`
seed = 0  # of this run: 0 in `make test`, another one in each `make test-all`; conftest.py says it


def rounds(most: int) -> int:
    """``most`` in `make test-all`. In `make test`, where they are the same ones every time, a third of a few (25 at the most), a
    tenth of many (250 at the most)."""
    return most if ALL else min(-(-most // 3), max(25, min(most // 10, 250)))


def seeds(most: int) -> range:
    """Seeds of ``rounds(most)`` cases: the same ones every time in `make test`, others in each `make test-all`."""
    return range(seed, seed + rounds(most))


def thinned(cases: Iterable[Any], quick: Callable[..., bool]) -> list[Any]:
    """Parameters: every case, those for which ``quick`` is false for `make test-all` only."""
    params = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        params.append(pytest.param(*values, marks=() if quick(*values) else pytest.mark.slow))
    return params
