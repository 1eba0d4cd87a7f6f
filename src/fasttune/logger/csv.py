"""progress.csv in the folder of each trial: one line per report, one column per metric."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from typing import IO, Any

from fasttune.folder import PROGRESS_CSV
from fasttune.logger.base import LoggerCallback
from fasttune.metric_values import whole_text
from fasttune.plain_files import plain_opener


class _Table:
    """One open progress.csv. ``columns`` is the header as it stands in the file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.columns = _read_header(path)
        self.file: IO[str] = open(path, "a", newline="", encoding="utf-8", opener=plain_opener)  # noqa: SIM115 - stays open

    def add(self, row: dict[str, Any]) -> None:
        new = [column for column in row if column not in self.columns]
        if new:
            self._widen(new)
        cells = [row.get(column, "") for column in self.columns]
        csv.writer(self.file).writerow([whole_text(cell) if isinstance(cell, str) else cell for cell in cells])
        self.file.flush()

    def _widen(self, new: list[str]) -> None:
        """Write the file anew with more columns; a reader sees the old file or the new one."""
        self.file.close()
        with open(self.path, newline="", encoding="utf-8", opener=plain_opener) as old:
            rows = list(csv.reader(old))[1:]
        self.columns = [*self.columns, *new]
        with open(self.path + ".new", "w", newline="", encoding="utf-8", opener=plain_opener) as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(row + [""] * (len(self.columns) - len(row)) for row in rows)
        os.replace(self.path + ".new", self.path)
        self.file = open(self.path, "a", newline="", encoding="utf-8", opener=plain_opener)  # noqa: SIM115 - as above


class CSVLoggerCallback(LoggerCallback):
    """Writes progress.csv: nested metrics as "a/b", without the config.

    Metrics that appear later get their column then, also when a run that was resumed goes on with the file.
    """

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}

    def log_trial_start(self, trial: Any) -> None:
        if trial.trial_id not in self._tables:
            self._tables[trial.trial_id] = _Table(os.path.join(trial.local_path, PROGRESS_CSV))

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        self.log_trial_start(trial)
        shown = {key: value for key, value in result.items() if key != "config"}
        self._tables[trial.trial_id].add(dict(_flat(shown, "")))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        table = self._tables.pop(trial.trial_id, None)
        if table is not None:
            table.file.close()

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        for table in self._tables.values():  # of trials that an interrupt left unfinished
            table.file.close()
        self._tables.clear()


def _flat(result: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in result.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield whole_text(f"{prefix}{key}"), value


def _read_header(path: str) -> list[str]:
    try:
        with open(path, newline="", encoding="utf-8", opener=plain_opener) as file:
            return next(csv.reader(file), [])
    except FileNotFoundError:
        return []
