"""The tables of benchmarks/ are printed: small ones here, and what stands in them adds up."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import fasttune
import forks

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = str(Path(fasttune.__file__).resolve().parent.parent)


def printed(module: str, *argv: str) -> list[str]:
    done = forks.run(
        [sys.executable, "-m", f"benchmarks.{module}", *argv],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": PACKAGE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_P9_growth_is_told_for_every_kind() -> None:
    head, titles, *lines = printed("bench_growth", "--trials", "4000", "--only", "random,grid,ASHA")
    assert head.startswith("4,000 trials")
    assert [line.split()[0] for line in lines] == ["random", "grid", "ASHA"]
    for line in lines:
        early, late, ratio = map(float, line.split()[1:4])
        assert abs(ratio - late / early) < 0.1 * ratio
    bytes_early, bytes_late = map(float, lines[0].split()[4:6])
    assert 0 < bytes_late <= 1.2 * bytes_early  # the smaller run has the empty database in it
    assert "memory/trial" in titles


def test_decisions_are_timed_for_every_rule_that_decides_batches() -> None:
    _, titles, *lines = printed("decisions", "--most", "1000", "--repeats", "2")
    assert titles.split() == ["rule", "100", "1,000", "growth"]
    for line in lines:
        *_, small, large, growth = line.split()
        assert float(small) > 0
        assert float(large) > 0
        assert float(growth) > 0
