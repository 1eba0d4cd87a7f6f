"""The examples of promotions, PASHA, the median rule, changing resources and PB2 run, and tell what they found."""

from __future__ import annotations

import re
from pathlib import Path

from example_runs import run_example
from fasttune.devices.machine import detect


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


def test_digits_forest(tmp_path: Path) -> None:
    """No tree is grown twice: the example checks that."""
    told = run_example("digits_forest.py", tmp_path, "--trials", "8", all_cpus=True)
    found = re.search(r"trials by the CPUs they ended with: \{(.*)\}", told)
    assert found is not None, told
    counts = dict(map(int, pair.split(":")) for pair in found[1].split(","))
    assert sum(counts.values()) == 8
    assert 1 <= min(counts) <= max(counts) <= len(detect().cpus)


def test_digits_pb2(tmp_path: Path) -> None:
    told = run_example("digits_pb2.py", tmp_path, "--epochs", "16", "--seeds", "1")
    assert re.findall(r"^(PBT|PB2): median of the best losses 0\.\d+", told, re.MULTILINE) == ["PBT", "PB2"]
