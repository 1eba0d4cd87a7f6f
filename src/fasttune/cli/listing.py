"""Rows for people and for pipes: chosen, sorted, and printed as a table, JSON, CSV or a file.

What is asked of a million rows is asked of the columns that it is about. Numbers compare as numbers, also those that are
text; an empty cell is None or NaN.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fasttune.cli import CommandError
from fasttune.cli.arguments import names as split
from fasttune.cli.words import one_line

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

ROWS_ON_A_TERMINAL = 50
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">=": lambda a, b: a >= b,
    ">": lambda a, b: a > b,
}
MIRRORED = {"<": ">", "<=": ">=", "=": "=", "==": "==", "!=": "!=", ">=": "<=", ">": "<"}
CELL = 40  # characters of a cell
GAP = "  "
WHOLE = 1 << 53  # from here on not every integer is a float


class Wanted(NamedTuple):
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
    def of(cls, asked: Any) -> Wanted:
        """From the options of the command line. CommandError for two forms at once."""
        columns = split(asked.columns) if asked.columns else None
        sort = split(asked.sort) if asked.sort else []
        if bool(asked.output) + asked.json + asked.csv > 1:
            raise CommandError("--output, --json and --csv are three forms of the same rows: give one of them")
        return cls(columns, sort, asked.desc, asked.filter, asked.limit, asked.output, asked.json, asked.csv)


class Table(Protocol):
    """Rows that need not be there before somebody looks at them."""

    @property
    def names(self) -> Sequence[str]:
        """The columns."""
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

    def __len__(self) -> int:
        return len(self.frame)

    def columns(self, names: Sequence[str]) -> pd.DataFrame:
        return self.frame[list(names)]

    def take(self, places: Sequence[int]) -> pd.DataFrame:
        return self.frame.iloc[list(places)]


def give(table: Table, shown: Sequence[str], wanted: Wanted, noun: str) -> int:
    """Give the rows as they are wanted; ``shown`` are the columns of a table when nobody chose any."""
    known = table.names
    names = list(dict.fromkeys([*(name for name in shown if name in known), *known]))
    if wanted.columns == ["?"]:
        print("\n".join(map(one_line, names)))
        return 0
    chosen = [named(name, names) for name in wanted.columns] if wanted.columns else None
    places = places_of(table, wanted, names)
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


def places_of(table: Table, wanted: Wanted, names: Sequence[str]) -> Sequence[int]:
    """Which rows are wanted, in their order; only the columns that say so are looked at."""
    conditions = [Condition.of(text, names) for text in wanted.conditions]
    sort = [named(name, names) for name in wanted.sort]
    keys = table.columns(list(dict.fromkeys([*(one.column for one in conditions), *sort])))
    for one in conditions:
        keys = keys[one.holds(keys[one.column])]
    if sort:
        keys = keys.iloc[order(keys, sort, wanted.desc)]
    elif wanted.desc:
        keys = keys.iloc[::-1]
    places: list[int] = keys.index.tolist()
    return places


def write_rows(frame: pd.DataFrame, columns: Sequence[str], wanted: Wanted) -> None:
    """Rows for programs: to a file, or printed as JSON or CSV."""
    if wanted.output:
        write(wanted.output, frame, columns)
    elif wanted.as_json:
        print_json(list(rows_of(frame, columns, wanted.columns is None)))
    else:
        write_csv(sys.stdout, frame, columns)


# ---- which rows


def named(name: str, names: Sequence[str]) -> str:
    """The column of a name; a parameter's may be given without "config/". CommandError when there is none."""
    for known in (name, f"config/{name}"):
        if known in names:
            return known
    raise CommandError(f"there is no column {name!r}; the columns are {', '.join(names)}")


SIDE = r"(<=|>=|==|!=|=|<|>)"


class Condition(NamedTuple):
    """A filter: all of its comparisons have to hold for a cell, or with ``any_of`` one of them."""

    column: str
    comparisons: list[tuple[str, str]]  # operator, value
    any_of: bool = False

    @classmethod
    def of(cls, text: str, names: Sequence[str]) -> Condition:
        """From 'column op value', 'low op column op high' or 'column in a,b'. CommandError for what is no filter."""
        several = re.fullmatch(r"\s*(\S+)\s+in\s+(.+)", text)
        if several is not None:
            return cls(named(several[1], names), [("==", one.strip()) for one in several[2].split(",")], True)
        between = re.fullmatch(rf"\s*([^<>=!]+?)\s*{SIDE}\s*([^<>=!]+?)\s*{SIDE}\s*([^<>=!]+?)\s*", text)
        if between is not None and number_in(between[1]) is not None:
            return cls(named(between[3], names), [(MIRRORED[between[2]], between[1]), (between[4], between[5])])
        plain = re.fullmatch(rf"\s*(.+?)\s*{SIDE}\s*(.*?)\s*", text)
        if plain is None:
            raise CommandError(
                f"a filter is 'COLUMN OPERATOR VALUE', operators are {' '.join(OPERATORS)}; or '0.01 < lr <= 0.1', or "
                f"'opt in sgd,adam'; got {text!r}"
            )
        if not plain[3] and plain[2] not in ("=", "==", "!="):
            raise CommandError(f"the filter {text!r} has no value to compare with ('COLUMN =' asks for empty cells)")
        return cls(named(plain[1], names), [(plain[2], plain[3])])

    def holds(self, column: pd.Series[Any]) -> pd.Series[bool]:
        """For which cells. An empty one fulfils "column =" alone."""
        found = [holds(column, operator, text) for operator, text in self.comparisons]
        return reduce(or_ if self.any_of else and_, found)


def holds(column: pd.Series[Any], operator: str, text: str) -> pd.Series[bool]:
    """Whether each cell compares so with a value. Numbers compare as numbers, everything else as text."""
    empty = column.isna()
    if not text and operator in ("=", "==", "!="):
        return ~empty if operator == "!=" else empty
    compare, value, numbers = OPERATORS[operator], number_in(text), numbers_of(column)
    by_number = numbers.notna() & (value is not None)
    found = compare(numbers, value) & by_number if value is not None else by_number
    by_text = ~empty & ~by_number
    if by_text.any():
        found = found.copy()
        found[by_text] = compare(column[by_text].astype(str), text)
    return found


def numbers_of(column: pd.Series[Any]) -> pd.Series[Any]:
    """The cells that are or read as numbers; NaN for the others."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(column.dtype) or not pd.api.types.is_numeric_dtype(column.dtype):
        return pd.to_numeric(column, errors="coerce").astype(float)
    return column.astype(float) if pd.api.types.is_extension_array_dtype(column.dtype) else column


def number_in(text: str) -> float | None:
    """The number that a text is, if it is one."""
    try:
        return float(text)
    except ValueError:
        return None


def order(frame: pd.DataFrame, columns: Sequence[str], descending: bool) -> Any:
    """Positions of the rows, sorted by the first column, equal ones by the next, then as they were. Numbers come before
    text (behind it when descending), empty cells last either way."""
    import numpy as np

    keys: list[Any] = []
    for name in reversed(columns):  # lexsort takes the most important key last
        column = frame[name]
        numbers = numbers_of(column)
        empty = column.isna().to_numpy()
        texts = ~empty & numbers.isna().to_numpy()
        sign = -1 if descending else 1
        if texts.any():
            words = column.where(texts, "").astype(str)
            _, ranks = np.unique(words.to_numpy(dtype=str), return_inverse=True)
            keys.append(sign * ranks)
        keys += [sign * numbers.fillna(0).to_numpy(dtype=float), sign * texts.astype(int), empty]
    return np.lexsort(keys)


# ---- how they look


def print_table(frame: pd.DataFrame, columns: Sequence[str], width: int | None) -> None:
    """Columns side by side, a title over each; ``width``: the terminal's, columns that do not fit are left out."""
    texts = [[cell(value) for value in values_of(frame[name])] for name in columns]
    numeric = [len(frame) > 0 and all(_is_number(value) for value in values_of(frame[name])) for name in columns]
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


def values_of(column: pd.Series[Any]) -> list[Any]:
    """The cells as Python's own values, None for an empty one."""
    return [None if empty else value for value, empty in zip(column.tolist(), column.isna().tolist(), strict=True)]


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


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


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
    print(json.dumps(plain(value), indent=1, default=str))


def plain(value: Any) -> Any:
    """A value with what JSON has no number for as None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def write_csv(file: Any, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """As CSV, an empty cell for what is not there."""
    import csv

    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows(zip(*(values_of(frame[name]) for name in columns), strict=True))


def write(path: str, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """The rows as a file whose ending says of which kind."""
    ending = os.path.splitext(path)[1].lower()
    if ending == ".csv":
        with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            write_csv(file, frame, columns)
    elif ending == ".json":
        with open(path, "w", encoding="utf-8") as file:
            json.dump(plain(list(rows_of(frame, columns))), file, indent=1, default=str)
            file.write("\n")
    elif ending in (".pkl", ".pickle"):
        frame[list(columns)].reset_index(drop=True).to_pickle(path)
    else:
        raise CommandError(f"--output takes a file that ends with .csv, .json or .pkl, got {path!r}")
    print(f"{len(frame):,} rows written to {path}", file=sys.stderr)
