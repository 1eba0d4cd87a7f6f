"""Runs an example of the repository as somebody does who has just installed it."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import forks

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run_example(name: str, folder: Path, *arguments: str, all_cpus: bool = False) -> str:
    """What it prints, with its experiments in ``folder``. Most are given one CPU, and so one worker: what takes longest is that
    each of them loads scikit-learn."""
    here = os.sched_getaffinity(0)
    cpus = here if all_cpus else {random.choice(sorted(here))}
    done = forks.run(
        [sys.executable, str(EXAMPLES / name), "--storage-path", str(folder), *arguments],
        placed=lambda pid: os.sched_setaffinity(pid, cpus),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    printed: str = done.stdout
    return printed
