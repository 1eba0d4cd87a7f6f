"""Frames and rows made of a dict per trial: slow and obvious. What the columns have to equal, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from fasttune.failure import read_reason
from fasttune.metric_values import whole_text
from fasttune.result import AUTO_KEYS, Timing, date_text, flatten, number, reports_by_trial
from fasttune.trial import trial_folder


class SlowColumns:
    """The reports that count of a source, by trial, then step, with the names in the order of its blocks."""

    def __init__(self, source: Any) -> None:
        self.source = source
        blocks = source.report_blocks()
        by_trial = reports_by_trial(blocks)
        self.reports = [(i, report) for i in sorted(by_trial) for report in by_trial[i]]
        self.trial = np.array([i for i, _ in self.reports], dtype=np.int64)
        self.step = np.array([report.step for _, report in self.reports], dtype=np.int64)
        self.time = np.array([report.time for _, report in self.reports], dtype=np.float64)
        self.starts = np.flatnonzero(np.diff(self.trial, prepend=-1))
        self.ends = np.append(self.starts[1:], len(self.trial)) - 1 if len(self.starts) else self.starts
        self.kinds: dict[str, set[str]] = {}
        for block in blocks:
            for key, kind in zip(block.keys, block.kinds, strict=True):
                self.kinds.setdefault(key, set()).add(kind)
            for extra in block.extras.values():
                for key in extra:
                    self.kinds.setdefault(key, set()).add("x")
        self.names_of_report = {  # trial, step and time of a report -> the names that its block has
            (i, step, time): block_names
            for block in blocks
            for block_names in [{*block.keys, *(name for extra in block.extras.values() for name in extra)}]
            for i, step, time in zip(_ints(block.trial), _ints(block.step), _floats(block.time), strict=True)
        }

    def best_rows(self, metric: str, mode: str) -> np.ndarray[Any, Any]:
        found: dict[int, tuple[float, int]] = {}
        for row, (i, report) in enumerate(self.reports):
            value = number(report.metrics.get(metric))
            if value is None or math.isnan(value):
                continue
            score = -value if mode == "max" else value
            if i not in found or score < found[i][0]:
                found[i] = score, row
        return np.array([row for _, row in found.values()], dtype=np.int64)

    def names_in(self, rows: np.ndarray[Any, Any]) -> list[str]:
        seen = set()
        for row in rows.tolist():
            i, report = self.reports[row]
            seen |= self.names_of_report[i, report.step, report.time]
        return [name for name in self.kinds if name in seen]

    def metric(self, name: str, rows: np.ndarray[Any, Any]) -> Any:
        kinds = self.kinds[name]
        told = [self.reports[row][1].metrics.get(name, _NOTHING) for row in rows.tolist()]
        plain = [value for value in told if _is_plain(value)]
        others = [value for value in told if value is not _NOTHING and not _is_plain(value)]
        numbers = [value for value in told if number(value) is not None]
        if "x" in kinds and others:
            column = np.full(len(told), np.nan, dtype=object)
            base = _numbers(told, kinds - {"x"}) if numbers else None
            if base is not None:
                column[:] = base
            for line, value in enumerate(told):
                if value is not _NOTHING and not _is_plain(value):
                    column[line] = whole_text(value) if type(value) is str else value
            return column
        return _numbers(told, kinds - {"x"}) if plain else None


_NOTHING = object()


def _is_plain(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= 2**53)


def _numbers(told: list[Any], kinds: set[str]) -> Any:
    values = [math.nan if number(value) is None else number(value) for value in told]
    present = [number(value) is not None for value in told]
    if kinds == {"i"} and all(present) and all(map(math.isfinite, values)):
        return np.array([int(value) for value in values], dtype=np.int64)
    if kinds == {"b"}:
        if all(present):
            return np.array([bool(value) for value in values])
        column = np.full(len(told), np.nan, dtype=object)
        for line, (value, there) in enumerate(zip(values, present, strict=True)):
            column[line] = bool(value) if there else value
        return column
    return np.array(values)


def _ints(buffer: Any) -> list[int]:
    return memoryview(buffer).cast("B").cast("i").tolist()


def _floats(buffer: Any) -> list[float]:
    return memoryview(buffer).cast("B").cast("d").tolist()


# ---- frames


def dataframe(source: Any, metric: str | None = None, mode: str | None = None) -> pd.DataFrame:
    columns = SlowColumns(source)
    rows = columns.ends if mode is None or metric is None else columns.best_rows(metric, mode)
    return _frame(columns, rows, folders=True)


def results_df(source: Any) -> pd.DataFrame:
    columns = SlowColumns(source)
    frame = _frame(columns, columns.ends)
    reported = columns.trial[columns.ends].tolist()
    silent = [i for i in range(len(source)) if i not in set(reported)]
    if silent:
        configs = _config_columns([source.config(i) for i in silent], np.arange(len(silent)))
        empty = pd.DataFrame({"trial_id": column_of([source.trial_id(i) for i in silent]), **configs})
        frame = _below(frame, empty) if reported else empty
    line = {i: at for at, i in enumerate([*reported, *silent])}
    return frame.iloc[[line[i] for i in range(len(source))]].set_index("trial_id")


def _below(frame: pd.DataFrame, empty: pd.DataFrame) -> pd.DataFrame:
    together = pd.concat([frame, empty], ignore_index=True)
    for name in [name for name in together if together[name].dtype == object]:  # pandas before 3 mixes up None and NaN there
        cells = [value for part in (frame, empty) for value in (part[name].tolist() if name in part else [np.nan] * len(part))]
        together[name] = pd.Series(cells, dtype=object)
    return together


def reports(source: Any) -> pd.DataFrame:
    columns = SlowColumns(source)
    table: dict[str, Any] = {
        "trial_id": pd.Categorical(
            [source.trial_id(i) for i in columns.trial.tolist()],
            [source.trial_id(i) for i in dict.fromkeys(columns.trial.tolist())],
        ),
        "training_iteration": columns.step,
        "time": columns.time,
    }
    rows = np.arange(len(columns.trial))
    metrics = {whole_text(renamed(name)): columns.metric(name, rows) for name in columns.kinds}
    return pd.DataFrame(table | {name: column for name, column in metrics.items() if column is not None})


def _frame(columns: SlowColumns, rows: np.ndarray[Any, Any], folders: bool = False) -> pd.DataFrame:
    source = columns.source
    trials, which = np.unique(columns.trial[rows], return_inverse=True)
    table: dict[str, Any] = {}
    for name in columns.names_in(rows):
        column = columns.metric(name, rows)
        if column is not None:
            table[whole_text(renamed(name))] = column
    for name, values in auto_columns(columns, rows).items():
        table.setdefault(name, values)
    table.update(_config_columns([source.config(i) for i in trials.tolist()], which))
    if folders:
        table["logdir"] = column_of([trial_folder(source, i) for i in trials.tolist()])[which]
    return pd.DataFrame(table)


def renamed(name: str) -> str:
    return f"reported/{name}" if name.startswith(("config/", "user_attrs/")) else name


def _config_columns(configs: Sequence[Mapping[str, Any]], which: Any) -> dict[str, Any]:
    flat = [flatten(config) for config in configs]
    names = dict.fromkeys(name for config in flat for name in config)
    return {
        whole_text(f"config/{name}"): column_of([config.get(name, np.nan) for config in flat])[which] for name in names
    }


def auto_columns(columns: SlowColumns, rows: Any) -> dict[str, Any]:
    trials, which = np.unique(columns.trial[rows], return_inverse=True)
    lasts = [columns.source.last_result(i) for i in trials.tolist()]
    if not lasts:
        return {}
    step, time = columns.step[rows], columns.time[rows]
    segment = np.searchsorted(columns.trial[columns.starts], columns.trial[rows])
    start, final = columns.starts[segment], columns.ends[segment]
    timings = [Timing.read(last, 0.0) for last in lasts]
    started = np.array([timing.started for timing in timings])[which] + columns.time[final]
    restored_time = np.array([timing.restored_time for timing in timings])[which]
    restored_step = np.array([timing.restored_step for timing in timings], dtype=np.int64)[which]
    earlier = time < started  # reports from before the last restore
    began = np.where(earlier, np.minimum(started, columns.time[start]), started)
    previous = np.where(rows == start, began, np.maximum(columns.time[rows - 1], began))
    elapsed = time - began

    def constant(key: str) -> Any:
        return column_of([last.get(key) for last in lasts])[which]

    second, places = np.unique(time.astype(np.int64), return_inverse=True)
    made: dict[str, Any] = {
        "done": np.array([bool(last.get("done")) for last in lasts], dtype=np.bool_)[which] & (rows == final),
        "training_iteration": step.astype(np.int64),
        "trial_id": constant("trial_id"),
        "date": column_of([date_text(s) for s in second.tolist()])[places],
        "timestamp": time.astype(np.int64),
        "time_this_iter_s": time - previous,
        "time_total_s": elapsed + np.where(earlier, 0.0, restored_time),
        "pid": constant("pid"),
        "hostname": constant("hostname"),
        "node_ip": constant("node_ip"),
        "time_since_restore": elapsed,
        "iterations_since_restore": step - np.where(earlier, 0, restored_step),
    }
    table = {key: made[key] for key in AUTO_KEYS if key in made}
    if any("experiment_tag" in last for last in lasts):
        table["experiment_tag"] = constant("experiment_tag")
    return table


def column_of(values: Sequence[Any]) -> Any:
    """An array of the values' own type where they share one, of objects otherwise (lists stay lists)."""
    kinds = set(map(type, values))
    for kind, dtype in ((float, np.float64), (bool, np.bool_), (int, np.int64)):
        if kinds == {kind}:
            with suppress(OverflowError):  # an int beyond 2^63
                return np.array(values, dtype=dtype)
    column = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        column[position] = whole_text(value) if type(value) is str else value
    return column


# ---- rows


def trial_rows(source: Any) -> list[dict[str, Any]]:
    """What ``fasttune ls`` shows of each trial."""
    rows = []
    for i in range(len(source)):
        row: dict[str, Any] = {"trial_id": source.trial_id(i), "status": source.shown_status(i), "training_iteration": 0}
        row |= flatten(source.last_result(i))
        row.pop("done", None)
        elsewhere = {name: value for name, value in (source.metrics(i) or {}).items() if renamed(name) != name}
        row = {name: value for name, value in row.items() if name not in elsewhere}
        row |= {renamed(name): value for name, value in elsewhere.items()}
        if elsewhere or not any(name.startswith("config/") for name in row):
            row |= flatten({"config": source.config(i)})
        if row["status"] == "ERROR":
            row["error"] = read_reason(source.failure(i).text).what
        rows.append(row)
    return rows
