"""progress.csv, result.json and params.json."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fasttune.logger import CSVLoggerCallback, JsonLoggerCallback, LoggerCallback


@pytest.fixture
def trial(tmp_path: Path) -> Any:
    return SimpleNamespace(
        trial_id="ab12c_00000", local_path=str(tmp_path), config={"b": 1, "a": {"x": print}}
    )


def run(logger: LoggerCallback, trial: Any, results: list[dict[str, Any]]) -> None:
    logger.on_trial_start(iteration=0, trials=[trial], trial=trial)
    for result in results:
        logger.on_trial_result(iteration=0, trials=[trial], trial=trial, result=result)
    logger.on_trial_complete(iteration=0, trials=[trial], trial=trial)


def table(trial: Any) -> list[dict[str, str]]:
    with open(Path(trial.local_path, "progress.csv"), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lines(trial: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(trial.local_path, "result.json").read_text().splitlines()]


def test_L1_csv_has_nested_names_and_no_config(trial: Any) -> None:
    run(CSVLoggerCallback(), trial, [{"a": {"b": {"c": 1}, "d": 0.5}, "config": {"lr": 1}, "name": "x,\ny"}])
    assert table(trial) == [{"a/b/c": "1", "a/d": "0.5", "name": "x,\ny"}]


def test_L1_csv_keeps_columns_that_appear_later(trial: Any) -> None:
    run(CSVLoggerCallback(), trial, [{"a": 1}, {"a": 2, "b": "two\nlines"}, {"c": 3}, {"a": 4}])
    assert table(trial) == [
        {"a": "1", "b": "", "c": ""},
        {"a": "2", "b": "two\nlines", "c": ""},
        {"a": "", "b": "", "c": "3"},
        {"a": "4", "b": "", "c": ""},
    ]
    assert [path.name for path in Path(trial.local_path).iterdir()] == ["progress.csv"]


def test_L1_csv_goes_on_with_the_header_it_finds(trial: Any) -> None:
    run(CSVLoggerCallback(), trial, [{"a": 1, "b": 2}])
    run(CSVLoggerCallback(), trial, [{"b": 3, "a": 4}, {"z": 5}])
    assert table(trial) == [
        {"a": "1", "b": "2", "z": ""},
        {"a": "4", "b": "3", "z": ""},
        {"a": "", "b": "", "z": "5"},
    ]


def test_L1_each_line_can_be_read_as_soon_as_it_is_logged(trial: Any) -> None:
    tables, objects = CSVLoggerCallback(), JsonLoggerCallback()
    for logger in (tables, objects):
        logger.log_trial_result(0, trial, {"a": 1})  # without a start, as after a resume
    assert table(trial) == [{"a": "1"}]
    assert lines(trial) == [{"a": 1}]
    for logger in (tables, objects):
        logger.on_experiment_end(trials=[trial])
        logger.log_trial_end(trial)


def test_L1_json_lines_equal_the_results(trial: Any) -> None:
    results = [{"a": {"b": 1}, "t": [1, 2], "n": None, "config": {"lr": 0.1}}, {"loss": 0.5}]
    run(JsonLoggerCallback(), trial, results)
    assert lines(trial) == results


def test_L1_json_values_of_libraries(trial: Any) -> None:
    run(
        JsonLoggerCallback(),
        trial,
        [
            {
                "array": np.eye(2),
                "scalar": np.float32(0.5),
                "nan": np.float32("nan"),
                "pynan": math.nan,
                "o": print,
            }
        ],
    )
    assert '"nan": NaN, "pynan": NaN' in Path(trial.local_path, "result.json").read_text()
    row = lines(trial)[0]
    assert (row["array"], row["scalar"]) == ([[1.0, 0.0], [0.0, 1.0]], 0.5)
    assert math.isnan(row["nan"])
    assert row["o"] == "<built-in function print>"


def test_L1_params_are_sorted_and_objects_are_text(trial: Any) -> None:
    run(JsonLoggerCallback(), trial, [])
    text = Path(trial.local_path, "params.json").read_text()
    assert text == '{\n  "a": {\n    "x": "<built-in function print>"\n  },\n  "b": 1\n}'


def test_L1_a_second_run_appends(trial: Any) -> None:
    for value in (1, 2):
        run(JsonLoggerCallback(), trial, [{"a": value}])
    assert lines(trial) == [{"a": 1}, {"a": 2}]


def test_an_error_ends_a_trial_too(trial: Any) -> None:
    for logger in (CSVLoggerCallback(), JsonLoggerCallback()):
        logger.log_trial_result(0, trial, {"a": 1})
        logger.on_trial_error(iteration=1, trials=[trial], trial=trial)
        logger.log_trial_result(1, trial, {"a": 2})  # it is tried again
        logger.on_trial_complete(iteration=2, trials=[trial], trial=trial)
    assert lines(trial) == [{"a": 1}, {"a": 2}]
    assert table(trial) == [{"a": "1"}, {"a": "2"}]
