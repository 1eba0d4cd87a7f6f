"""A table as JSON lines: an object for each row. What is missing, or no number that JSON has, is null."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fasttune.analysis.exchange.tables import rows_of, table_of, whole_file
from fasttune.tables.cells import finite, of_python

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
    """A frame into an open file, some rows at a time."""
    names = [str(name) for name in frame.columns]
    encode = json.JSONEncoder(default=_plain, allow_nan=False).encode
    for rows in rows_of(frame):
        lines = []
        for row in rows:
            told = dict(zip(names, row, strict=True))
            try:
                lines.append(encode(told))
            except ValueError:  # an infinity
                lines.append(encode(finite(told)))
        file.write("\n".join(lines) + "\n")


def _plain(value: Any) -> Any:
    """What stands for a value that JSON does not know: the lists of an array, or a text."""
    found = of_python(value)
    return str(value) if type(found) is type(value) else found
