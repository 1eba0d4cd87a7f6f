"""What stands on the screen besides the best trial and the failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.reporter import CLIReporter, JupyterNotebookReporter, StatusSnapshot


def train(config: dict[str, Any]) -> None:
    tune.report(score=config["x"])


def test_statuses_that_no_trial_has_are_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every line said '0 ERROR, 0 PAUSED', and one looked for the failures."""
    tune.run(
        train, config={"x": tune.grid_search([1, 2])}, executor="inline", storage_path=tmp_path,
        progress_reporter=CLIReporter(max_report_frequency=0),
    )  # fmt: skip
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Number of trials")]
    assert lines[-1] == "Number of trials: 2/2 (2 TERMINATED)"
    assert not any("(0 " in line or " 0 " in line for line in lines)
    zeros = StatusSnapshot(counts={"RUNNING": 0, "ERROR": 0, "TERMINATED": 1, "PENDING": 0, "PAUSED": 0}, total=1)
    assert CLIReporter().progress_text(zeros, False).splitlines()[0] == "Number of trials: 1/1 (1 TERMINATED)"
    assert "1/1 (1 TERMINATED)" in JupyterNotebookReporter().html(zeros, False)
    assert CLIReporter().progress_text(StatusSnapshot(counts={"RUNNING": 0}, total=5), False) == "Number of trials: 0/5"
