"""The examples of population based training; goal Q6: the toy problem of its paper, three cases over 20 seeds."""

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
    assert min(ends["copy theta"]) > 0.95  # far beyond what none reaches alone


def test_Q6_the_figure_is_drawn(tmp_path):
    runs = {case: pbt_toy.play(case, 0, str(tmp_path)) for case in list(pbt_toy.CASES)[:2]}
    pbt_toy.draw(runs, {case: [pbt_toy.best_q(run)] for case, run in runs.items()}, tmp_path / "toy.png")
    assert (tmp_path / "toy.png").stat().st_size > 10_000


def test_C9_a_classifier_of_digits_learns_its_schedule(tmp_path, capsys):
    import digits_pbt

    picture = tmp_path / "digits.png"
    arguments = ["--epochs=16", "--num-samples=6", "--executor=inline", f"--storage-path={tmp_path}"]
    runs = digits_pbt.main([*arguments, f"--picture={picture}"])
    assert picture.stat().st_size > 10_000
    assert "population     best loss" in capsys.readouterr().out
    population = runs["population"]
    assert any("perturbed" in trial.experiment_tag for trial in population.trials)
    for trial in population.trials:
        rates = digits_pbt.schedule(population, trial, 16)
        assert (len(rates), rates[-1]) == (16, trial.last_result["eta0"])
    (frame,) = runs["replay"].trial_dataframes.values()
    assert list(frame["eta0"]) == digits_pbt.schedule(population, digits_pbt.best_copier(population), 16)
