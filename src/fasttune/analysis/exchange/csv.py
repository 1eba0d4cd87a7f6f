"""A table as CSV: a line of names, then a line for each row; an empty cell is a missing value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasttune.analysis.exchange.tables import rows_of, table_of, whole_file

if TYPE_CHECKING:
    import pandas as pd

    from fasttune.analysis.experiment_analysis import ExperimentAnalysis


def write(analysis: ExperimentAnalysis, path: str, *, table: str = "trials") -> str:
    """Write one table; a file that is there is replaced."""
    frame = table_of(analysis, table)
    with whole_file(path) as file:
        write_rows(file, frame)
    return path


def write_rows(file: Any, frame: pd.DataFrame) -> None:
    """A frame into an open file, some rows at a time: whoever reads the first ones does not wait for the last."""
    import csv

    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(list(frame.columns))
    for rows in rows_of(frame):
        lines.writerows(rows)
