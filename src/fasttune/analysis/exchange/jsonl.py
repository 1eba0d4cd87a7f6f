"""A table as JSON lines: an object for each row. What is missing, or no number that JSON has, is null."""

from __future__ import annotations

import json
import math
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


def finite(value: Any) -> Any:
    """A value with what JSON has no number for as None."""
    if hasattr(value, "tolist"):
        value = _plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _plain(value: Any) -> Any:
    """What stands for a value that JSON does not know: the lists of an array, or a text."""
    if hasattr(value, "tolist"):  # numpy and its like
        plain = value.tolist()
        return str(plain) if type(plain) is type(value) else plain
    return str(value)
