"""The trials of an experiment as a table: only the columns that it is sorted or filtered by, and the rows that are shown, are made.

Sorting 100,000 trials takes some milliseconds, and a browser never has more than a page of them.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasttune import _core
from fasttune.dashboard.question import NotAnswered
from fasttune.dashboard.shelf import Opened
from fasttune.failure import read_reason
from fasttune.plot.data import value_text
from fasttune.result import DELIMITER, column_of_metric, flatten
from fasttune.tables.cells import in_order
from fasttune.tables.conditions import FilterError, fulfilled, named, read_conditions
from fasttune.tables.trial_columns import TrialColumns
from fasttune.trial import INTERRUPTED, shown_status

if TYPE_CHECKING:
    from fasttune.engine.records import ExperimentRecords

Ints = NDArray[np.int64]

TRIAL, STATUS, ITERATION, SECONDS, ERROR = "trial_id", "status", "training_iteration", "time_total_s", "error"
CONFIG = f"config{DELIMITER}"
FAILED = _core.STATUSES.index("ERROR")
MOST_ROWS = 200
REMEMBERED = 8  # answers to which trials, in which order
MOST_COLUMNS = 300  # a page with more of them is of no use to anybody


class Asked(NamedTuple):
    """Which rows are wanted, and in which order. ``sort``: a column, "" for the best trials first."""

    sort: str = ""
    descending: bool = False
    filter: str = ""
    status: str = ""
    offset: int = 0
    limit: int = 50


class TrialSheet:
    """The table of one experiment. Rows are trials, by number; cells are as the trial's last report and its config say."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._source: ExperimentRecords = opened.source
        self._columns: dict[str, NDArray[Any]] = {}
        self._found: dict[tuple[Any, ...], Ints] = {}  # what was asked for last, for its next page

    @cached_property
    def metrics(self) -> list[str]:
        """Names of the metrics, the experiment's own first."""
        names = dict.fromkeys(name for schema in self._source.table.schemas for name in schema.keys)
        names.pop(_core.SCORE, None)  # what reports are compared by
        own = self._source.metric
        return [own, *(name for name in names if name != own)] if own in names else list(names)

    @cached_property
    def _reported(self) -> dict[str, str]:
        """Column -> metric."""
        return {column_of_metric(name): name for name in self.metrics}

    @cached_property
    def parameters(self) -> list[str]:
        """Names of what was searched, with "config/" before them."""
        searched = {str(name) for one in self._source.meta["trainables"] for name in one.get("space") or ()}
        names = list(self._trials.config_names())
        chosen = [name for name in names if name.split(DELIMITER)[0] in searched]
        return [CONFIG + name for name in chosen or names]

    @property
    def names(self) -> list[str]:
        """All columns, in their order."""
        told = [TRIAL, STATUS, ITERATION, *self._reported, *self.parameters, SECONDS]
        if (self._status == FAILED).any():
            told.append(ERROR)
        return list(dict.fromkeys(told))  # a metric may have the name of a column of ours, which wins

    def page(self, asked: Asked) -> dict[str, Any]:
        """The rows that are wanted, with what is needed to show them. NotAnswered for a column that is not there, and for a filter
        that means nothing."""
        names = self.names
        try:
            sort = named(asked.sort, names) if asked.sort else ""
            places = self._places(sort, asked, names)
        except FilterError as error:
            raise NotAnswered(400, str(error)) from error
        shown = places[asked.offset : asked.offset + asked.limit].tolist()
        columns = names[:MOST_COLUMNS]
        return {
            "version": self._opened.version,
            "columns": [
                {"name": name, "title": name.removeprefix(CONFIG), "kind": self._kind(name)} for name in columns
            ],
            "rows": [{"trial": i, "cells": self._cells(i, columns)} for i in shown],
            "found": len(places),
            "trials": len(self._source),
            "sort": sort,
            "offset": asked.offset,
        }

    # ---- which rows

    def _places(self, sort: str, asked: Asked, names: list[str]) -> Ints:
        key = sort, asked.descending, asked.filter, asked.status
        if key not in self._found:
            found = self._looked_for(sort, asked, names)
            if len(self._found) == REMEMBERED:
                del self._found[next(iter(self._found))]
            self._found[key] = found
        return self._found[key]

    def _looked_for(self, sort: str, asked: Asked, names: list[str]) -> Ints:
        known = (*_core.STATUSES, INTERRUPTED)
        if asked.status and asked.status not in known:
            raise NotAnswered(400, f"status must be one of {', '.join(known)}, got {asked.status[:40]!r}")
        fit = np.ones(len(self._source), dtype=np.bool_)
        if asked.status:
            fit &= self.column(STATUS) == asked.status
        fit &= fulfilled(read_conditions(asked.filter, names), len(fit), self.column, self._texts)
        places = self._order(sort, asked.descending)
        found: Ints = places[fit[places]]
        return found

    def _order(self, sort: str, descending: bool) -> Ints:
        if sort in ("", TRIAL):
            if not sort and self._source.mode is not None and self._source.metric in self.metrics:
                return in_order([self.column(self._source.metric)], self._source.mode == "max")
            numbers = np.arange(len(self._source))
            return numbers[::-1] if descending else numbers
        return in_order([self.column(sort)], descending)

    def _texts(self) -> list[str]:
        """The columns in which a word is looked for."""
        return [name for name in self.names if name in (TRIAL, STATUS, ERROR) or name.startswith(CONFIG)]

    # ---- columns

    def column(self, name: str) -> NDArray[Any]:
        """One entry per trial: of float64 with NaN where there is none, or of objects."""
        if name not in self._columns:
            made = self._make(name)
            self._columns[name] = made if made.dtype.kind in "fO" else made.astype(np.float64)
        return self._columns[name]

    def _make(self, name: str) -> NDArray[Any]:
        if name == TRIAL:
            return self._trials.ids
        if name == STATUS:
            return np.array([shown_status(status, self._opened.running) for status in _core.STATUSES], dtype=object)[self._status]
        if name == ITERATION:
            return self._field("iteration")
        if name == SECONDS:
            return self._seconds
        if name == ERROR:
            column = np.full(len(self._source), None, dtype=object)
            for i in np.flatnonzero(self._status == FAILED).tolist():
                column[i] = reason_of(self._source, i)
            return column
        if name.startswith(CONFIG) and name in self.parameters:
            return self._config(name.removeprefix(CONFIG))
        return self._metric(self._reported.get(name, name))

    def _config(self, name: str) -> NDArray[Any]:
        """The column of one flat name of the configs: of floats where all values are numbers."""
        pieces = [(at, give().values) for at, give in self._trials.config_names()[name]]
        of_numbers = all(values.dtype.kind in "fib" for _, values in pieces)
        column = np.full(len(self._source), np.nan, dtype=np.float64 if of_numbers else object)
        for at, values in pieces:
            column[at] = values if of_numbers else values.astype(object)
        return column

    def _metric(self, name: str) -> NDArray[Any]:
        column = np.full(len(self._source), np.nan)
        for schema in self._source.table.schemas:
            if name in schema.keys:
                trials, values = self._source.table.lasts(schema.number)
                column[np.frombuffer(trials, np.int32)] = np.frombuffer(values[schema.keys.index(name)], np.float64)
        return column

    def _field(self, name: Any) -> NDArray[np.float64]:
        return np.array(self._source.table.export(name), dtype=np.float64)

    @cached_property
    def _seconds(self) -> NDArray[np.float64]:
        """time_total_s of each trial's last report; NaN before it."""
        reported = np.array(self._source.table.export("schema"), dtype=np.int64) >= 0
        total = self._field("base_total") + (self._field("time") - self._field("began"))
        return np.where(reported, total, np.nan)

    @cached_property
    def _trials(self) -> TrialColumns:
        return TrialColumns(self._source, np.arange(len(self._source)))

    @cached_property
    def _status(self) -> NDArray[np.uint8]:
        return np.array(self._source.table.export("status"), dtype=np.uint8)

    # ---- cells

    def _cells(self, i: int, names: list[str]) -> list[str]:
        source = self._source
        metrics = source.metrics(i) or {}
        config = flatten(source.config(i))
        seconds = float(self._seconds[i])
        told: dict[str, str] = {
            TRIAL: source.trial_id(i),
            STATUS: shown_status(source.status(i), self._opened.running),
            ITERATION: str(source.table.iteration(i)),
            SECONDS: "" if seconds != seconds else f"{seconds:.3g}" if seconds < 1000 else f"{seconds:.0f}",
            ERROR: reason_of(source, i) if source.status(i) == "ERROR" else "",
        }
        cells = []
        for name in names:
            key = name.removeprefix(CONFIG)
            if name in told:
                cells.append(told[name])
            elif name.startswith(CONFIG) and name in self.parameters:
                cells.append(value_text(config[key]) if key in config else "")
            else:
                metric = self._reported[name]
                cells.append(value_text(metrics[metric]) if metric in metrics else "")
        return cells

    def _kind(self, name: str) -> str:
        """ "number" for a column of numbers, "text" for others, "status"."""
        if name in (TRIAL, ERROR):
            return "text"
        if name == STATUS:
            return "status"
        if not name.startswith(CONFIG):
            return "number"
        return "number" if self._opened.once(("kind", name), lambda: self.column(name).dtype.kind != "O") else "text"


def reason_of(source: ExperimentRecords, i: int) -> str:
    """Why a trial failed, in a line; "" where it did not."""
    failure = source.failure(i)
    return "" if failure is None else read_reason(failure.text).what


def sheet_of(opened: Opened) -> TrialSheet:
    """The table of an experiment, made once."""
    sheet: TrialSheet = opened.once(("sheet",), lambda: TrialSheet(opened))
    return sheet
