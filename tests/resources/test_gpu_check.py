"""Rows of benchmarks/gpu_check.py on a pretended driver: what they promise of a real GPU, as far as that goes without one. Rows that
depend on how fast workers start are left to the real one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import fasttune
import forks

ROOT = Path(__file__).resolve().parents[2]
ROWS = ("detection", "without", "killed_trial", "killed_driver", "stranger", "given_again")


def test_rows_are_well_on_a_pretended_driver(fake_cuda: Path, tmp_path: Path, results_dir: Path) -> None:
    source = str(Path(fasttune.__file__).resolve().parents[1])
    environ = {
        **os.environ, "LD_LIBRARY_PATH": str(fake_cuda), "FAKE_MEMORY": str(tmp_path), "FAKE_GPUS": "1", "FAKE_GIB": "80",
        "PYTHONPATH": source,
    }  # fmt: skip
    environ.pop("CUDA_VISIBLE_DEVICES", None)
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--only", ",".join(ROWS)]
    done = forks.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"{len(ROWS)} of {len(ROWS)} as they should be" in done.stdout, done.stdout + done.stderr
