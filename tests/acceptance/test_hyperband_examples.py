"""The examples of HyperBand and successive halving run, and tell what they planned and spent."""

from __future__ import annotations

from pathlib import Path

from example_runs import run_example


def test_digits_hyperband(tmp_path: Path) -> None:
    told = run_example("digits_hyperband.py", tmp_path, "--max-t", "9")
    assert "bracket 2: 9 trials to epoch 1, then 3 trials to epoch 3, then 1 trials to epoch 9" in told
    assert "trials by the epochs they got: {1: 6, 3: 5, 9: 6}" in told


def test_wine_halving_spends_what_it_planned(tmp_path: Path) -> None:
    told = run_example("wine_halving.py", tmp_path)
    assert "trees grown: 288, planned: 288" in told


def test_cancer_bohb_hears_the_budgets(tmp_path: Path) -> None:
    told = run_example("cancer_bohb.py", tmp_path, "--max-t", "9")
    assert "trials by the epochs they got: {1: 6, 3: 5, 9: 6}" in told
    assert "results by budget: {1:" in told
