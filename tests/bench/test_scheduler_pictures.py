"""examples/scheduler_pictures.py draws, and the figures that docs/schedulers.md quotes are those that it prints."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import fasttune
import forks

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1200)  # 20 s of CPU, which a machine that is busy gives in minutes
def test_the_picture_of_the_schedulers(tmp_path: Path) -> None:
    done = forks.run(
        [sys.executable, ROOT / "examples" / "scheduler_pictures.py", "--output", "all.svg"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(fasttune.__file__).resolve().parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    fifo, asha = (line for line in done.stdout.splitlines() if line.split()[0] in ("FIFO", "ASHA"))
    assert fifo.split()[:2] == ["FIFO", "8,100"]
    docs = (ROOT / "docs" / "schedulers.md").read_text(encoding="utf-8")
    for line in done.stdout.splitlines()[:-1]:
        label = line[:27].strip()
        if label != "PB2":  # whose Gaussian process depends on the last digits of the machine's linear algebra
            assert f"\n{line}\n" in docs
    assert f"({asha.split()[1]})" in docs
    assert fifo.split("found")[1] == asha.split("found")[1]
    assert (tmp_path / "all.svg").read_text(encoding="utf-8").startswith("<?xml")
