"""The example of a population in one call runs, and its best network comes back from its checkpoint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from example_runs import run_example


@pytest.mark.parametrize("more", [[], ["--size", "5"]], ids=["one call", "in turns"])
def test_a_population_of_networks(more: list[str], tmp_path: Path) -> None:
    told = run_example("vectors_pbt.py", tmp_path, "--population", "12", "--epochs", "6", *more)
    alone, copying, checkpoint = told.splitlines()
    assert alone.startswith("alone: 0 copies; ")
    copies, best = re.match(r"copying: (\d+) copies; accuracy at the end: best (\d\.\d+)", copying).groups()  # type: ignore[union-attr]
    assert int(copies) >= 1
    assert checkpoint == f"the best network, from its checkpoint: {best}"
