"""A run with constraints whose driver is killed at once: what was judged is judged by the same order when it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fasttune.analysis import ExperimentAnalysis
from fasttune.constraints import constraint_violation
from fasttune.error import JournalError
from fasttune.schedulers import ASHAScheduler

HERE = Path(__file__).parent


def reports_of(folder: str) -> int:
    try:
        return len(ExperimentAnalysis(folder)._columns)
    except (JournalError, OSError, ValueError):  # not begun
        return 0


@pytest.mark.parametrize("reports", [40, 160])
def test_a_killed_run_goes_on_by_the_same_order(tmp_path: Path, reports: int) -> None:
    folder = str(tmp_path / "killed")
    process = subprocess.Popen([sys.executable, str(HERE / "killed_constraints.py"), str(tmp_path)], start_new_session=True)
    try:
        while reports_of(folder) < reports:
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = ExperimentAnalysis(folder)
    told = {(row.trial_id, row.training_iteration): row.loss for row in before.reports().itertuples()}
    sys.path.insert(0, str(HERE))
    try:
        from killed_constraints import run

        after = run(str(tmp_path), len(before.trials) + 30, "AUTO")
    finally:
        sys.path.remove(str(HERE))
    again = {(row.trial_id, row.training_iteration): row.loss for row in after.reports().itertuples()}
    assert told.items() <= again.items()
    assert after.verify(ASHAScheduler(metric="loss", mode="min", max_t=9, grace_period=1, reduction_factor=3)) == []
    assert constraint_violation(after.best_result) == 0
    broken = [trial for trial in after.trials if trial.config["x"] < 0.5 and trial.last_result["training_iteration"] == 9]
    held = [trial for trial in after.trials if trial.config["x"] >= 0.5 and trial.last_result["training_iteration"] == 9]
    assert len(held) > len(broken)
