"""The example about what other schedulers would have done runs, and says what is true."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "which_scheduler.py"


def test_the_example_asks_recorded_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FASTTUNE_RESULTS_DIR", str(tmp_path))
    answers = runpy.run_path(str(EXAMPLE))["main"](trials=16, executor="inline")
    assert [answer.truncated for answer in answers.values()] == [[]] * 4
    assert all(answer.would.epochs < answer.was.epochs <= 16 * 27 for answer in answers.values())
    assert all(answer.would.best <= answer.was.best for answer in answers.values())
    assert "reduction_factor" in capsys.readouterr().out
