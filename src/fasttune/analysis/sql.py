"""Trials and reports in an SQLite database of their own, for whoever asks in SQL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fasttune.engine.sql_table import sql_value
from fasttune.storage.sqlite import unique_names

if TYPE_CHECKING:
    import sqlite3

    import pandas as pd

AT_ONCE = 50_000  # rows that are made into Python's values together
VIEW = "reports_of_trials"
MOST_COLUMNS = 2000  # as SQLite is built everywhere


def to_sqlite(trials: pd.DataFrame, reports: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write the tables ``trials`` and ``reports`` and the view ``reports_of_trials``, which puts the trial's config beside each
    of its reports. A file that is there is replaced; nobody finds half a one.

    Missing values are NULL, true is 1, and what is neither a number nor a text is its JSON, or its text. Of columns whose names
    differ by capitals alone, which SQL does not tell apart, the later ones get a number.

    ValueError for more columns than SQLite has.
    """
    import sqlite3

    whole = f"{os.fspath(path)}.writing"
    for left in (whole, f"{whole}-journal"):
        if os.path.lexists(left):
            os.remove(left)
    try:
        connection = sqlite3.connect(whole)
        try:
            connection.execute("PRAGMA synchronous = OFF")  # it gets its name when it is whole
            names = _write(connection, "trials", trials, "trial_id")
            _write(connection, "reports", reports, None)
            connection.execute("CREATE INDEX reports_by_trial ON reports (trial_id)")
            of_config = [f", trials.{quoted(name)}" for name in names if name.startswith("config/")]
            connection.execute(
                f"CREATE VIEW {VIEW} AS SELECT reports.*{''.join(of_config)} FROM reports JOIN trials USING (trial_id)"
            )
            connection.commit()
        finally:
            connection.close()
        os.replace(whole, path)
    finally:
        if os.path.exists(whole):
            os.remove(whole)


def _write(connection: sqlite3.Connection, table: str, frame: pd.DataFrame, key: str | None) -> list[str]:
    """The names of the columns, as they are there."""
    if frame.shape[1] > MOST_COLUMNS:
        raise ValueError(
            f"a table of SQLite has at most {MOST_COLUMNS:,} columns, and {table} would have {frame.shape[1]:,}: write Parquet "
            "(to_parquet), or report what is a list or a dict under one name"
        )
    names = unique_names([name.encode("utf-8", "backslashreplace").decode() for name in map(str, frame.columns)])
    told = ", ".join(quoted(name) + (" PRIMARY KEY" if name == key else "") for name in names)
    connection.execute(f"CREATE TABLE {table} ({told})")
    connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})", _rows(frame))
    return names


def _rows(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    for first in range(0, len(frame), AT_ONCE):
        part = frame.iloc[first : first + AT_ONCE]
        yield from zip(*(_cells(part.iloc[:, place]) for place in range(part.shape[1])), strict=True)


def _cells(column: pd.Series[Any]) -> list[Any]:
    """The values as SQLite takes them."""
    missing = column.isna()
    values = column.tolist()
    if column.dtype.kind not in "fiub" or column.dtype == object:
        values = [sql_value(value) for value in values]
    return [None if empty else value for value, empty in zip(values, missing.tolist(), strict=True)] if missing.any() else values


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'
