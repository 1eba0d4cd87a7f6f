"""The example of a population in one call runs, and its best network comes back from its checkpoint."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import forks

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("more", [[], ["--size", "5"]], ids=["one call", "in turns"])
def test_a_population_of_networks(more: list[str], tmp_path: Path) -> None:
    asked = ["--storage-path", str(tmp_path), "--population", "12", "--epochs", "6"]
    command = [sys.executable, str(EXAMPLES / "vectors_pbt.py"), *asked]
    done = forks.run([*command, *more], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    alone, copying, checkpoint = done.stdout.splitlines()
    assert alone.startswith("alone: 0 copies; ")
    copies, best = re.match(r"copying: (\d+) copies; accuracy at the end: best (\d\.\d+)", copying).groups()  # type: ignore[union-attr]
    assert int(copies) >= 1
    assert checkpoint == f"the best network, from its checkpoint: {best}"
