"""The examples of promotions, PASHA and the median rule run, and tell what they spent."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_example(name: str, folder: Path, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), "--storage-path", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cancer_promotion(tmp_path: Path) -> None:
    told = run_example("cancer_promotion.py", tmp_path, "--trials", "18")
    spent = [int(n.replace(",", "")) for n in re.findall(r"Scheduler +([\d,]+) epochs", told)]
    assert len(spent) == 2
    assert all(18 <= epochs < 18 * 81 / 3 for epochs in spent)
    assert "PASHA opened rungs up to" in told


def test_diabetes_median(tmp_path: Path) -> None:
    told = run_example("diabetes_median.py", tmp_path, "--trials", "12")
    found = re.search(r"num_stopped=(\d+)\. Epochs trained: (\d+) of 480", told)
    assert found is not None, told
    assert int(found[1]) >= 1
    assert int(found[2]) < 480
