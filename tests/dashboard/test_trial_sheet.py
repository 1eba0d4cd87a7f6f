"""The table of trials, compared with what each trial says of itself."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.dashboard.shelf import Opened
from fasttune.dashboard.trial_sheet import Asked, TrialSheet
from fasttune.failure import read_reason
from fasttune.result import flatten

NAMES = ["search", "population", "a<b>&c", "without_metric"]


@pytest.fixture(scope="module")
def sheets(folder: Path) -> dict[str, TrialSheet]:
    return {name: TrialSheet(Opened(str(folder / name), "version")) for name in NAMES}


def slow_rows(sheet: TrialSheet) -> list[dict[str, Any]]:
    """Every trial as a dict, made of what the trial itself tells."""
    source = sheet._source
    rows = []
    for i in range(len(source)):
        row: dict[str, Any] = {
            "trial_id": source.trial_id(i),
            "status": source.status(i),
            "training_iteration": source.table.iteration(i),
            "time_total_s": source.last_result(i).get("time_total_s") if source.metrics(i) else None,
            **(source.metrics(i) or {}),
            **{f"config/{name}": value for name, value in flatten(source.config(i)).items()},
        }
        failure = source.failure(i)
        if row["status"] == "ERROR" and failure is not None:
            row["error"] = read_reason(failure.text).what
        rows.append(row)
    return rows


def empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def slow_key(value: Any) -> tuple[bool, float, str]:
    try:
        return False, float(value), ""
    except ValueError:
        return True, 0.0, str(value)


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_those_of_the_trials(sheets: dict[str, TrialSheet], name: str) -> None:
    sheet = sheets[name]
    rows = slow_rows(sheet)
    told = {key for row in rows for key in row}
    assert told - set(sheet.names) <= {"config/fixed"}  # what is the same for all is not in the table
    for column in sheet.names:
        for got, row in zip(sheet.column(column).tolist(), rows, strict=True):
            want = row.get(column)
            if empty(want):
                assert empty(got), column
            elif isinstance(want, str):
                assert got == want, column
            else:
                assert float(got) == pytest.approx(float(want), abs=1e-6), column


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("descending", [False, True])
def test_sorting_is_that_of_a_slow_sort(sheets: dict[str, TrialSheet], name: str, descending: bool) -> None:
    sheet = sheets[name]
    rows = slow_rows(sheet)
    for column in sheet.names:
        if column == "time_total_s":
            continue
        places = [row["trial"] for row in sheet.page(Asked(column, descending, limit=200))["rows"]]
        present = [i for i, row in enumerate(rows) if not empty(row.get(column))]
        absent = [i for i, row in enumerate(rows) if empty(row.get(column))]
        assert sorted(places) == list(range(len(rows)))
        assert places[len(present) :] == absent, column
        keys = [slow_key(rows[i][column]) for i in places[: len(present)]]
        assert keys == sorted(keys, reverse=descending), column
        for first, second in pairwise(places[: len(present)]):  # equal ones stay as they were
            if column != "trial_id" and slow_key(rows[first][column]) == slow_key(rows[second][column]):
                assert first < second, column


def test_without_a_column_the_best_come_first(sheets: dict[str, TrialSheet]) -> None:
    sheet = sheets["search"]
    losses = [row.get("loss", math.nan) for row in slow_rows(sheet)]
    shown = [losses[row["trial"]] for row in sheet.page(Asked(limit=200))["rows"]]
    known = [loss for loss in shown if not math.isnan(loss)]
    assert known == sorted(known)
    assert all(math.isnan(loss) for loss in shown[len(known) :])
    assert [row["trial"] for row in sheets["without_metric"].page(Asked())["rows"]] == [0, 1, 2, 3, 4]


FILTERS = {
    "loss < 0.5": lambda row: row.get("loss", math.nan) < 0.5,
    "lr >= 0.25 and lr<=0.75": lambda row: 0.25 <= row["config/lr"] <= 0.75,
    "config/lr > 0.5; status = ERROR": lambda row: row["config/lr"] > 0.5 and row["status"] == "ERROR",
    "optimizer/name == adam": lambda row: row["config/optimizer/name"] == "adam",
    "optimizer/name != 'adam'": lambda row: row["config/optimizer/name"] != "adam",
    "optimizer/momentum > 0": lambda row: "config/optimizer/momentum" in row,
    "layers = 2.0": lambda row: row["config/layers"] == 2,
    "layers != 2": lambda row: row["config/layers"] != 2,
    "training_iteration > 1": lambda row: row["training_iteration"] > 1,
    "good = 1": lambda row: row.get("good") is True,
    "good = True": lambda row: row.get("good") is True,
    "good != true": lambda row: row.get("good") is False,
    "error != nothing": lambda row: "error" in row,
    "sgd": lambda row: row["config/optimizer/name"] == "sgd",
    "TOO MANY": lambda row: "error" in row,
    "_00007": lambda row: row["trial_id"].endswith("_00007"),
    "loss = word": lambda row: False,
    "0.25 <= lr <= 0.75": lambda row: 0.25 <= row["config/lr"] <= 0.75,
    "optimizer/name in adam, sgd": lambda row: row["config/optimizer/name"] in ("adam", "sgd"),
    "error =": lambda row: "error" not in row,
    "error ~ many": lambda row: "many" in row.get("error", ""),
    "   ": lambda row: True,
}


@pytest.mark.parametrize("text", list(FILTERS))
def test_filters_find_what_a_slow_look_finds(sheets: dict[str, TrialSheet], text: str) -> None:
    sheet = sheets["search"]
    page = sheet.page(Asked("trial_id", filter=text, limit=200))
    wanted = [i for i, row in enumerate(slow_rows(sheet)) if FILTERS[text](row)]
    assert [row["trial"] for row in page["rows"]] == wanted
    assert page["found"] == len(wanted)
    assert page["trials"] == 80
    assert wanted or text == "loss = word"


def test_pages_laid_end_to_end_are_the_table(sheets: dict[str, TrialSheet]) -> None:
    sheet = sheets["search"]
    whole = [row["trial"] for row in sheet.page(Asked("lr", True, limit=200))["rows"]]
    parts = [sheet.page(Asked("lr", True, offset=offset, limit=30)) for offset in range(0, 90, 30)]
    assert [row["trial"] for part in parts for row in part["rows"]] == whole
    assert [len(part["rows"]) for part in parts] == [30, 30, 20]
    assert sheet.page(Asked(offset=1000))["rows"] == []


def test_a_status_alone(sheets: dict[str, TrialSheet]) -> None:
    sheet = sheets["search"]
    failed = [i for i, row in enumerate(slow_rows(sheet)) if row["status"] == "ERROR"]
    assert sheet.page(Asked(status="ERROR"))["found"] == len(failed) > 0


def test_trials_that_nobody_runs_any_more_do_not_run(tmp_path: Path) -> None:
    from fasttune.dashboard.progress import progress_of

    space = {"x": tune.uniform(0, 1)}
    with tune.open_experiment(space, metric="loss", mode="min", name="left", storage_path=tmp_path) as experiment:
        experiment.tell(experiment.ask(), 1.0)
        experiment.report(experiment.ask(), 2.0)
        running = Opened(str(tmp_path / "left"), "1")
        assert progress_of(running)["counts"] == {"TERMINATED": 1, "RUNNING": 1}
        assert TrialSheet(running).page(Asked(status="RUNNING"))["found"] == 1
    left = Opened(str(tmp_path / "left"), "2")
    assert progress_of(left)["counts"] == {"TERMINATED": 1, "INTERRUPTED": 1}
    sheet = TrialSheet(left)
    assert sheet.page(Asked(status="RUNNING"))["found"] == 0
    assert sheet.page(Asked(filter="status = INTERRUPTED"))["rows"] == sheet.page(Asked(status="INTERRUPTED"))["rows"]
    (row,) = sheet.page(Asked(status="INTERRUPTED"))["rows"]
    assert row["cells"][1] == "INTERRUPTED"


def test_cells_are_texts_of_what_the_trial_says(sheets: dict[str, TrialSheet]) -> None:
    sheet = sheets["search"]
    page = sheet.page(Asked("trial_id"))
    names = [column["name"] for column in page["columns"]]
    row = dict(zip(names, page["rows"][0]["cells"], strict=True))
    told = slow_rows(sheet)[0]
    assert row["trial_id"] == told["trial_id"]
    assert row["loss"] == f"{told['loss']:.6g}"
    assert row["config/layers"] == str(told["config/layers"])
    assert row["good"] in ("True", "False")
    kinds = {column["name"]: column["kind"] for column in page["columns"]}
    assert kinds["config/optimizer/name"] == "text"
    assert kinds["config/lr"] == kinds["loss"] == "number"
