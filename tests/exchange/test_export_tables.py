"""``export`` to tables: CSV, JSON lines, SQLite; which forms there are, and what is refused."""

from __future__ import annotations

import csv
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import fasttune as tune
from fasttune.analysis.exchange import FORMATS, format_of


def test_csv_has_a_row_for_each_trial_with_every_digit(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    path = analysis.export(tmp_path / "trials.csv")
    assert path == str(tmp_path / "trials.csv")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial_id"] for row in rows] == [trial.trial_id for trial in analysis.trials]
    assert [row["status"] for row in rows] == [trial.status for trial in analysis.trials]
    assert [float(row["config/lr"]) for row in rows] == [trial.config["lr"] for trial in analysis.trials]
    frame = analysis.results_df
    assert [row["loss"] for row in rows] == ["" if np.isnan(loss) else repr(loss) for loss in frame["loss"].tolist()]
    assert not list(tmp_path.glob("*.writing"))


def test_json_lines_of_the_reports(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    analysis.export(tmp_path / "reports.jsonl", table="reports")
    lines = (tmp_path / "reports.jsonl").read_text().splitlines()
    reports = analysis.reports()
    assert len(lines) == len(reports)
    assert [json.loads(line)["loss"] for line in lines] == reports["loss"].tolist()
    assert json.loads(lines[0]).keys() == set(reports.columns)


def test_json_lines_hold_no_token_that_json_does_not_have(tmp_path: Path) -> None:
    def train(config: dict[str, float]) -> None:
        tune.report({"loss": float("inf"), "low": float("-inf"), "parts": [float("nan"), 1.0], "when": {"set", "of"}})
        tune.report({"loss": 1.0})

    with pytest.warns(UserWarning, match="'when' has the type set"):
        made = tune.run(train, config={"x": 1}, executor="inline", verbose=0, storage_path=str(tmp_path))
    made.export(tmp_path / "reports.jsonl", table="reports")

    def refuse(token: str) -> None:
        raise AssertionError(token)

    rows = [json.loads(line, parse_constant=refuse) for line in (tmp_path / "reports.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == [None, 1.0]
    assert rows[0]["parts"] == [None, 1.0]
    assert rows[1]["parts"] is None


def test_sqlite_is_that_of_to_sqlite(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    analysis.export(tmp_path / "tables.sqlite")
    connection = sqlite3.connect(tmp_path / "tables.sqlite")
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("trials", "reports")]
    connection.close()
    assert counts == [len(analysis.trials), len(analysis.reports())]


def test_a_grid_exports_what_its_analysis_does(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    tune.ResultGrid(analysis).export(tmp_path / "grid.csv")
    analysis.export(tmp_path / "analysis.csv")
    assert (tmp_path / "grid.csv").read_bytes() == (tmp_path / "analysis.csv").read_bytes()


def test_an_experiment_without_reports_is_a_table_too(tmp_path: Path) -> None:
    def fail(config: dict[str, float]) -> None:
        raise ValueError("at once")

    made = tune.run(
        fail, config={"x": tune.uniform(0, 1)}, num_samples=2, executor="inline", verbose=0, storage_path=str(tmp_path),
        raise_on_failed_trial=False,
    )  # fmt: skip
    made.export(tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["ERROR", "ERROR"]
    assert [float(row["config/x"]) for row in rows] == [trial.config["x"] for trial in made.trials]


def test_what_the_path_says_is_the_form() -> None:
    found = {ending: format_of(f"a{ending}", None) for one in FORMATS.values() for ending in one.endings}
    assert found == {
        ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet",
        ".sqlite": "sqlite", ".sqlite3": "sqlite", ".db": "sqlite",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"path": "out"}, ValueError, "give format=, one of csv, jsonl, parquet, sqlite, ray, optuna, mlflow"),
        ({"path": "out", "format": "excel"}, ValueError, "got 'excel'"),
        ({"path": "out", "format": 3}, TypeError, "format must be a name"),
        ({"path": "a.csv", "columns": ["x"]}, TypeError, "format 'csv' has no option 'columns'; it has table"),
        ({"path": "a.csv", "table": "errors"}, ValueError, "table must be one of 'trials', 'reports', got 'errors'"),
        ({"path": "a.sqlite", "table": "trials"}, TypeError, "format 'sqlite' has no option 'table'; it has none"),
    ],
)
def test_what_cannot_be_is_said(
    analysis: tune.ExperimentAnalysis, tmp_path: Path, asked: dict[str, object], kind: type[Exception], words: str
) -> None:
    asked = {**asked, "path": tmp_path / str(asked["path"])}
    with pytest.raises(kind, match=words.replace("(", r"\(")):
        analysis.export(**asked)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_json_has_no_number_for_what_is_not_finite_in_an_array() -> None:
    import json

    import numpy as np

    from fasttune.tables.cells import finite

    found = finite({"w": np.array([1.0, np.nan]), "f": np.float32("inf")})
    assert json.dumps(found, allow_nan=False) == '{"w": [1.0, null], "f": null}'
