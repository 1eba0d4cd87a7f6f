"""The two tables that text files, Parquet and SQL share, and files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from fasttune.tables.cells import values_of

if TYPE_CHECKING:
    import pandas as pd

    from fasttune.analysis.experiment_analysis import ExperimentAnalysis

TABLES = ("trials", "reports")
AT_ONCE = 10_000  # rows that are turned into text together


def table_of(analysis: ExperimentAnalysis, table: str) -> pd.DataFrame:
    """ "trials": ``results_df`` with each trial's status, a line for every trial; "reports": ``reports()``. ValueError for
    another name."""
    if table not in TABLES:
        raise ValueError(f"table must be one of {', '.join(map(repr, TABLES))}, got {table!r}")
    return analysis.reports() if table == "reports" else trials_table(analysis)


def trials_table(analysis: ExperimentAnalysis) -> pd.DataFrame:
    """A line for every trial, in their order: trial_id, status, and what ``results_df`` has."""
    frame = analysis.results_df.reset_index()
    if "trial_id" not in frame:
        frame.insert(0, "trial_id", [])
    source = analysis._source
    status_of = getattr(source, "shown_status", source.status)  # a pickled analysis does not know whether anybody runs
    frame.insert(1, "status", [status_of(i) for i in analysis._indices])
    return frame


def rows_of(frame: pd.DataFrame) -> Iterator[list[tuple[Any, ...]]]:
    """The rows as Python's own values, some at a time; None for an empty cell."""
    for first in range(0, len(frame), AT_ONCE):
        part = frame.iloc[first : first + AT_ONCE]
        yield list(zip(*(values_of(part.iloc[:, place]) for place in range(part.shape[1])), strict=True))


@contextmanager
def whole_file(path: str) -> Iterator[IO[str]]:
    """A text file that takes the place of ``path`` when all of it is written: nobody finds half a one."""
    writing = f"{path}.writing"
    try:
        with open(writing, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            yield file
        os.replace(writing, path)
    finally:
        if os.path.exists(writing):
            os.remove(writing)
