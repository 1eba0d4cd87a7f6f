"""How many cases a test takes: all of them in `make test-all`, enough of them in `make test`."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest

ALL = os.environ.get("FASTTUNE_ALL_ROUNDS") == "1"  # set by `make test-all`


def rounds(most: int) -> int:
    """``most`` in `make test-all`, a third of them in `make test`, and there 300 at the most."""
    return most if ALL else min(-(-most // 3), 300)


def thinned(cases: Iterable[Any], quick: Callable[..., bool]) -> list[Any]:
    """Parameters: every case, those for which ``quick`` is false for `make test-all` only."""
    params = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        params.append(pytest.param(*values, marks=() if quick(*values) else pytest.mark.slow))
    return params
