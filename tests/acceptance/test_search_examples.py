"""The example with two objectives runs and shows a front."""

from __future__ import annotations

from pathlib import Path

from example_runs import run_example


def test_A_two_objectives_and_their_front(tmp_path: Path) -> None:
    told = run_example("digits_pareto.py", tmp_path, "--num-samples", "60")
    lines = told[told.index("leaves  error") :].splitlines()[1:]
    front = [(int(line.split()[0]), float(line.split()[1])) for line in lines]
    assert len(set(front)) >= 3
    assert [leaves for leaves, _ in front] == sorted(leaves for leaves, _ in front)
    assert [error for _, error in front] == sorted((error for _, error in front), reverse=True)
