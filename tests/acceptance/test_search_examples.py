"""The example with two objectives runs and shows a front."""

from __future__ import annotations

import sys
from pathlib import Path

import forks

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_A_two_objectives_and_their_front(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "digits_pareto.py"), "--storage-path", str(tmp_path), "--num-samples", "60"]
    done = forks.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout[done.stdout.index("leaves  error") :].splitlines()[1:]
    front = [(int(line.split()[0]), float(line.split()[1])) for line in lines]
    assert len(set(front)) >= 3
    assert [leaves for leaves, _ in front] == sorted(leaves for leaves, _ in front)
    assert [error for _, error in front] == sorted((error for _, error in front), reverse=True)
