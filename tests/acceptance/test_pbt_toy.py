"""Goal Q6: the toy problem of the PBT paper, its three cases over 20 seeds."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
import pbt_toy


def test_Q6_the_toy_problem_of_the_paper(tmp_path):
    ends = {
        case: [pbt_toy.best_q(pbt_toy.play(case, seed, str(tmp_path))) for seed in range(20)]
        for case in ("copy theta", "copy both")
    }
    ends["alone"] = [pbt_toy.best_q(pbt_toy.play("alone", 0, str(tmp_path)))]  # nothing is drawn there
    assert max(ends["alone"]) == pytest.approx(0.39, abs=0.005)
    assert max(ends["copy both"]) == pytest.approx(0.39, abs=0.005)
    assert statistics.median(ends["copy theta"]) == pytest.approx(1.15, abs=0.02)
    assert min(ends["copy theta"]) > 1.0


def test_Q6_the_figure_is_drawn(tmp_path):
    runs = {case: pbt_toy.play(case, 0, str(tmp_path)) for case in list(pbt_toy.CASES)[:2]}
    pbt_toy.draw(runs, {case: [pbt_toy.best_q(run)] for case, run in runs.items()}, tmp_path / "toy.png")
    assert (tmp_path / "toy.png").stat().st_size > 10_000
