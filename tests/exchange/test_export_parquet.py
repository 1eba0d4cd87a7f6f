"""``export`` to Parquet, read again by pyarrow (`make test-exchange`)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import fasttune as tune

pytestmark = pytest.mark.exchange


def test_both_tables(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    analysis.export(tmp_path / "trials.parquet")
    analysis.export(tmp_path / "reports.pq", table="reports")
    trials, reports = pd.read_parquet(tmp_path / "trials.parquet"), pd.read_parquet(tmp_path / "reports.pq")
    assert trials["trial_id"].tolist() == [trial.trial_id for trial in analysis.trials]
    assert trials["status"].tolist() == [trial.status for trial in analysis.trials]
    assert trials["config/lr"].tolist() == [trial.config["lr"] for trial in analysis.trials]
    assert reports["loss"].tolist() == analysis.reports()["loss"].tolist()
