"""Rows for people and for pipes: chosen, sorted, and printed as a table, JSON, CSV or a file.

What is asked of a million rows is asked of the columns that it is about, in the language of ``fasttune.tables.conditions``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fasttune.cli import CommandError
from fasttune.cli.arguments import names as split
from fasttune.cli.words import one_line
from fasttune.result import is_real
from fasttune.tables.cells import finite, in_order, values_of
from fasttune.tables.conditions import FilterError, fulfilled, named, read_conditions

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Row = dict[str, Any]

ROWS_ON_A_TERMINAL = 50
CELL = 40  # characters of a cell
GAP = "  "


class RowFilter(NamedTuple):
    """What of the rows is wanted; see ``fasttune ls --help``."""

    columns: list[str] | None
    sort: list[str]
    desc: bool
    conditions: list[str]
    limit: int | None
    output: str | None
    as_json: bool
    as_csv: bool

    @classmethod
    def of(cls, asked: Any) -> RowFilter:
        """From the options of the command line. CommandError for two forms at once."""
        columns = split(asked.columns) if asked.columns else None
        sort = split(asked.sort) if asked.sort else []
        if bool(asked.output) + asked.json + asked.csv > 1:
            raise CommandError("--output, --json and --csv are three forms of the same rows: give one of them")
        return cls(columns, sort, asked.desc, asked.filter, asked.limit, asked.output, asked.json, asked.csv)


class LazyRows(Protocol):
    """Rows that need not be there before somebody looks at them."""

    @property
    def names(self) -> Sequence[str]:
        """The columns."""
        ...

    @property
    def texts(self) -> Sequence[str]:
        """The columns in which a word is looked for."""
        ...

    def __len__(self) -> int: ...

    def columns(self, names: Sequence[str]) -> pd.DataFrame:
        """These columns of all rows, which are numbered from 0 on."""
        ...

    def take(self, places: Sequence[int]) -> pd.DataFrame:
        """All columns of these rows, in this order."""
        ...


class Framed:
    """Rows that are there."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame.reset_index(drop=True)

    @property
    def names(self) -> Sequence[str]:
        return list(self.frame.columns)

    @property
    def texts(self) -> Sequence[str]:
        return [name for name in self.frame.columns if self.frame[name].dtype == object]

    def __len__(self) -> int:
        return len(self.frame)

    def columns(self, names: Sequence[str]) -> pd.DataFrame:
        return self.frame[list(names)]

    def take(self, places: Sequence[int]) -> pd.DataFrame:
        return self.frame.iloc[list(places)]


def give(table: LazyRows, shown: Sequence[str], wanted: RowFilter, noun: str) -> int:
    """Give the rows as they are wanted; ``shown`` are the columns of a table when nobody chose any. CommandError for a column
    that is not there and for a filter that means nothing."""
    known = table.names
    names = list(dict.fromkeys([*(name for name in shown if name in known), *known]))
    if wanted.columns == ["?"]:
        print("\n".join(map(one_line, names)))
        return 0
    try:
        chosen = [named(name, names) for name in wanted.columns] if wanted.columns else None
        places = places_of(table, wanted, names)
    except FilterError as error:
        raise CommandError(str(error)) from error
    for_programs = bool(wanted.output or wanted.as_json or wanted.as_csv)
    on_terminal = sys.stdout.isatty() and not for_programs
    limit = wanted.limit or (ROWS_ON_A_TERMINAL if on_terminal else len(places))
    kept = table.take(places[:limit])
    if for_programs:
        write_rows(kept, chosen or names, wanted)
        return 0
    width = shutil.get_terminal_size().columns if on_terminal else None
    filled = [name for name in shown if name in kept and (kept.empty or not kept[name].isna().all())]
    print_table(kept, chosen or filled, width)
    if len(kept) < len(places) and wanted.limit is None:
        print(f"{len(places) - len(kept):,} more {noun}; --limit {len(places)} shows all", file=sys.stderr)
    return 0


def places_of(table: LazyRows, wanted: RowFilter, names: Sequence[str]) -> Sequence[int]:
    """Which rows are wanted, in their order; only the columns that say so are looked at. FilterError."""
    conditions = [one for text in wanted.conditions for one in read_conditions(text, names)]
    sort = [named(name, names) for name in wanted.sort]
    asked = [one.column for one in conditions if one.column] + sort
    frame = table.columns(list(dict.fromkeys(asked)))
    fit = fulfilled(conditions, len(table), lambda name: cells_of(table, frame, name), lambda: table.texts)
    if sort:
        places = in_order([cells_of(table, frame, name)[fit] for name in sort], wanted.desc)
        kept: NDArray[Any] = fit.nonzero()[0][places]
    else:
        kept = fit.nonzero()[0][:: -1 if wanted.desc else 1]
    found: list[int] = kept.tolist()
    return found


def cells_of(table: LazyRows, frame: pd.DataFrame, name: str) -> NDArray[Any]:
    """A column as ``fasttune.tables.cells`` takes it; one that is not in the frame is made."""
    column = frame[name] if name in frame else table.columns([name])[name]
    if column.dtype.kind in "fiub":
        return column.to_numpy(dtype=float, na_value=float("nan"))
    return column.astype(object).where(~column.isna(), None).to_numpy(dtype=object)


def write_rows(frame: pd.DataFrame, columns: Sequence[str], wanted: RowFilter) -> None:
    """Rows for programs: to a file, or printed as JSON or CSV."""
    if wanted.output:
        write(wanted.output, frame, columns)
    elif wanted.as_json:
        print_json(list(rows_of(frame, columns, wanted.columns is None)))
    else:
        write_csv(sys.stdout, frame, columns)


# ---- how they look


def print_table(frame: pd.DataFrame, columns: Sequence[str], width: int | None) -> None:
    """Columns side by side, a title over each; ``width``: the terminal's, columns that do not fit are left out."""
    texts = [[cell(value) for value in values_of(frame[name])] for name in columns]
    numeric = [len(frame) > 0 and all(value is None or is_real(value) for value in values_of(frame[name])) for name in columns]
    titles = [title(name, columns) for name in columns]
    widths = [max(map(len, [name, *column])) for name, column in zip(titles, texts, strict=True)]
    fitting = len(columns) if width is None else _fitting(widths, width)
    bold, plain = ("\033[1m", "\033[0m") if width is not None and "NO_COLOR" not in os.environ else ("", "")

    def line(cells: Iterable[str]) -> str:
        sides = [
            text.rjust(size) if right else text.ljust(size)
            for text, size, right in zip(list(cells)[:fitting], widths, numeric, strict=False)
        ]
        return GAP.join(sides).rstrip()

    print(f"{bold}{line(titles)}{plain}")
    for number in range(len(frame)):
        print(line(column[number] for column in texts))
    if fitting < len(columns):
        left_out = one_line(", ".join(columns[fitting:]))
        print(f"left out, for want of space: {left_out} (--columns chooses)", file=sys.stderr)


def rows_of(frame: pd.DataFrame, columns: Sequence[str], without_empty: bool = False) -> Iterator[Row]:
    """The rows as dicts; ``without_empty``: of what they have, only."""
    cells = [values_of(frame[name]) for name in columns]
    for row in zip(*cells, strict=True):
        yield {name: value for name, value in zip(columns, row, strict=True) if value is not None or not without_empty}


def title(name: str, columns: Sequence[str]) -> str:
    """A parameter goes by its own name, unless a metric has that name too."""
    short = name.removeprefix("config/")
    return one_line(name if short in columns else short)


def _fitting(widths: Sequence[int], width: int) -> int:
    total = 0
    for number, size in enumerate(widths):
        total += size + (len(GAP) if number else 0)
        if total > width:
            return max(1, number)
    return len(widths)


def cell(value: Any) -> str:
    """A value as a table shows it: one line, six digits, at most CELL characters."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = one_line(str(value))
    return text if len(text) <= CELL else f"{text[: CELL - 3]}..."


def print_json(value: Any) -> None:
    """As JSON that every program reads: numbers that are none are null, other objects their text."""
    print(json.dumps(finite(value), indent=1, default=str))


def write_csv(file: Any, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """As CSV, an empty cell for what is not there."""
    from fasttune.analysis.exchange.csv import write_rows

    write_rows(file, frame[list(columns)])


def write(path: str, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """The rows as a file whose ending says of which kind."""
    ending = os.path.splitext(path)[1].lower()
    if ending == ".csv":
        with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            write_csv(file, frame, columns)
    elif ending == ".json":
        with open(path, "w", encoding="utf-8") as file:
            json.dump(finite(list(rows_of(frame, columns))), file, indent=1, default=str)
            file.write("\n")
    elif ending in (".pkl", ".pickle"):
        frame[list(columns)].reset_index(drop=True).to_pickle(path)
    else:
        raise CommandError(f"--output takes a file that ends with .csv, .json or .pkl, got {path!r}")
    print(f"{len(frame):,} rows written to {path}", file=sys.stderr)
