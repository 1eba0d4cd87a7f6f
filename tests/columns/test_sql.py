"""The tables of an experiment in a database for SQL."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from experiments import SPACES, odd_values, plain, run

import fasttune as tune
from fasttune.cli import main


def asked(path: Path, question: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()


def test_trials_reports_and_the_view(tmp_path: Path) -> None:
    analysis = run(plain, "calm", calm=True, config=SPACES["flat"], num_samples=30)
    path = tmp_path / "tables.db"
    path.write_text("what was there")
    analysis.to_sqlite(path)
    frame, reports = analysis.results_df, analysis.reports()
    assert asked(path, "SELECT trial_id, status, loss FROM trials ORDER BY rowid") == [
        (trial.trial_id, trial.status, loss) for trial, loss in zip(analysis.trials, frame["loss"].tolist(), strict=True)
    ]
    told = asked(path, "SELECT trial_id, training_iteration, loss FROM reports ORDER BY rowid")
    assert told == list(reports[["trial_id", "training_iteration", "loss"]].astype(object).itertuples(index=False, name=None))
    name = next(name for name in frame.columns if name.startswith("config/"))
    [(found,)] = asked(path, f'SELECT count(DISTINCT "{name}") FROM reports_of_trials')
    assert found == frame[name].nunique()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["tables.db"]


def test_values_of_any_kind(tmp_path: Path) -> None:
    mixed = run(odd_values, "odd", config=SPACES["objects"] | SPACES["nested"], num_samples=40)
    path = tmp_path / "tables.db"
    mixed.to_sqlite(path)
    frame = mixed.results_df
    assert asked(path, "SELECT count(*) FROM trials") == [(len(mixed.trials),)]
    for place, name in enumerate(frame.columns):
        cells = [row[0] for row in asked(path, f'SELECT "{name}" FROM trials ORDER BY rowid')]
        assert [cell is None for cell in cells] == frame.iloc[:, place].isna().tolist(), name


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    analysis = run(plain, "calm", calm=True, config=SPACES["flat"], num_samples=5)
    path = tmp_path / "tables.db"
    assert main(["export", analysis.experiment_path, "--to", "sqlite", "-o", str(path)]) == 0
    assert "5 trials written" in capsys.readouterr().err
    assert asked(path, "SELECT count(*) FROM trials") == [(5,)]
    assert main(["export", analysis.experiment_path, "--to", "sqlite"]) == 1
    assert "give -o FILE" in capsys.readouterr().err
    assert main(["export", analysis.experiment_path, "--to", "sqlite", "-o", str(path), "--reports"]) == 1
    assert "leave --reports out" in capsys.readouterr().err
    assert json.loads(json.dumps(asked(path, "SELECT count(*) FROM reports")))[0][0] == len(analysis.reports())


def test_more_columns_than_sqlite_has_are_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def wide(config: dict[str, Any]) -> None:
        tune.report({f"m{n}": n for n in range(2100)})

    analysis = tune.run(wide, name="wide", executor="inline", verbose=0)
    with pytest.raises(ValueError, match="at most 2,000 columns, and trials would have 2,1"):
        analysis.to_sqlite(tmp_path / "x.db")
    assert list(tmp_path.glob("x.db*")) == []
    assert main(["export", analysis.experiment_path, "--to", "sqlite", "-o", str(tmp_path / "x.db")]) == 1
    assert "at most 2,000 columns" in capsys.readouterr().err
