"""Rows for people and for pipes: chosen, sorted, and printed as a table, JSON or a file."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from fasttune.cli import CommandError

Row = dict[str, Any]

ROWS_ON_A_TERMINAL = 50
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">=": lambda a, b: a >= b,
    ">": lambda a, b: a > b,
}
CELL = 40  # characters of a cell
GAP = "  "


class Rows(Protocol):
    """Rows that need not be there before somebody looks at one."""

    @property
    def names(self) -> list[str]:
        """What any row has, in the order of first sight."""
        ...

    def __len__(self) -> int: ...
    def row(self, place: int) -> Row: ...

    def column(self, name: str) -> Sequence[Any]:
        """What each row has of this name, None where it has nothing."""
        ...

    def numbers(self, name: str) -> tuple[Any, Any] | None:
        """(values, present): the column as arrays of float64 and bool, where all that there is are numbers and it takes no
        look at the rows; else None."""
        ...


class Listed:
    """Rows that are there."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self.names = list(dict.fromkeys(name for row in rows for name in row))

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, place: int) -> Row:
        return self._rows[place]

    def column(self, name: str) -> Sequence[Any]:
        return [row.get(name) for row in self._rows]

    def numbers(self, name: str) -> None:
        return None


class Wanted(NamedTuple):
    """What of the rows is wanted; see ``fasttune ls --help``."""

    columns: list[str] | None
    sort: list[str]
    desc: bool
    conditions: list[str]
    limit: int | None
    output: str | None
    as_json: bool

    @classmethod
    def of(cls, asked: Any) -> Wanted:
        """From the options of the command line."""
        columns = split(asked.columns) if asked.columns else None
        sort = split(asked.sort) if asked.sort else []
        return cls(columns, sort, asked.desc, asked.filter, asked.limit, asked.output, asked.json)


def split(text: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def give(rows: Rows, shown: Sequence[str], wanted: Wanted, noun: str) -> int:
    """Give the rows as they are wanted; ``shown`` are the columns of a table when nobody chose any."""
    names = list(dict.fromkeys([*shown, *rows.names]))
    if wanted.columns == ["?"]:
        print("\n".join(names))
        return 0
    places: Sequence[int] = range(len(rows))
    for text in wanted.conditions:
        places = fulfilling(rows, places, text, names)
    if wanted.sort:
        places = in_order(rows, places, [named(name, names) for name in wanted.sort], wanted.desc)
    elif wanted.desc:
        places = places[::-1]
    chosen = [named(name, names) for name in wanted.columns] if wanted.columns else None
    on_terminal = sys.stdout.isatty() and not (wanted.output or wanted.as_json)
    limit = wanted.limit or (ROWS_ON_A_TERMINAL if on_terminal else len(places))
    kept = [rows.row(place) for place in places[:limit]]
    if wanted.output:
        write(wanted.output, kept, chosen or names)
        return 0
    if wanted.as_json:
        print_json([{name: row.get(name) for name in chosen or names if name in row} for row in kept])
        return 0
    width = shutil.get_terminal_size().columns if on_terminal else None
    print_table(kept, chosen or [name for name in shown if _is_seen(name, kept, rows, places)], width)
    if len(kept) < len(places) and wanted.limit is None:
        print(f"{len(places) - len(kept):,} more {noun}; --limit {len(places)} shows all", file=sys.stderr)
    return 0


def _is_seen(name: str, kept: Sequence[Row], rows: Rows, places: Sequence[int]) -> bool:
    """Whether any of these rows, of which some are at hand, has the column."""
    if name not in rows.names:
        return False
    if any(name in row for row in kept) or (len(kept) < len(places) and len(places) == len(rows)):
        return True
    column = rows.column(name) if len(kept) < len(places) else ()
    return any(column[place] is not None for place in places[len(kept) :])


# ---- which rows


def named(name: str, names: Sequence[str]) -> str:
    """The column of a name; a parameter's may be given without "config/". CommandError when there is none."""
    for known in (name, f"config/{name}"):
        if known in names:
            return known
    raise CommandError(f"there is no column {name!r}; the columns are {', '.join(names)}")


def fulfilling(rows: Rows, places: Sequence[int], text: str, names: Sequence[str]) -> Sequence[int]:
    """Those of the places whose row fulfils "column operator value"; in an empty cell nothing does."""
    column, compare, wanted = condition(text, names)
    value = comparable(wanted)
    found = rows.numbers(column) if isinstance(value, float) else None
    if found is not None:
        values, present = found
        holds = compare(values, value) & present
        return [place for place, held in zip(places, holds[list(places)].tolist(), strict=True) if held]
    cells = rows.column(column)
    return [place for place in places if cells[place] is not None and fulfils(cells[place], compare, wanted)]


def condition(text: str, names: Sequence[str]) -> tuple[str, Callable[[Any, Any], Any], str]:
    """Column, operator and value of "column operator value"."""
    found = re.fullmatch(r"\s*(.+?)\s*(<=|>=|==|!=|<|>)\s*(.*?)\s*", text)
    if found is None:
        raise CommandError(f"a filter is 'COLUMN OPERATOR VALUE', operators are {' '.join(OPERATORS)}, got {text!r}")
    return named(found[1], names), OPERATORS[found[2]], found[3]


def fulfils(value: Any, compare: Callable[[Any, Any], Any], wanted: str) -> bool:
    """Whether a value compares so with what the user wrote; numbers compare as numbers."""
    ours, theirs = comparable(value), comparable(wanted)
    if isinstance(ours, float) and isinstance(theirs, float):
        return bool(compare(ours, theirs))
    return bool(compare(str(value), wanted))


def comparable(value: Any) -> float | str:
    """The number that a value is or reads as, else its text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def in_order(rows: Rows, places: Sequence[int], columns: Sequence[str], descending: bool) -> Sequence[int]:
    """Sorted by the first column, equal ones by the next. Empty and NaN cells come last either way."""
    for column in reversed(columns):
        found = rows.numbers(column)
        if found is not None:
            places = _by_numbers(found[0], places, descending)
            continue
        cells = rows.column(column)
        present = [place for place in places if not _is_empty(cells[place])]
        absent = [place for place in places if _is_empty(cells[place])]
        places = sorted(present, key=lambda place: _sort_key(cells[place]), reverse=descending) + absent
    return places


def _by_numbers(values: Any, places: Sequence[int], descending: bool) -> Sequence[int]:
    """Equal ones stay in their order, as ``sorted`` leaves them; NaN, which empty cells are too, sorts last."""
    import numpy as np

    here = np.asarray(places, dtype=np.int64)
    of_here = values[here]
    ordered: list[int] = here[np.argsort(-of_here if descending else of_here, kind="stable")].tolist()
    return ordered


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _sort_key(value: Any) -> tuple[bool, float | str]:
    key = comparable(value)
    return isinstance(key, str), key


# ---- how they look


def print_table(rows: Sequence[Row], columns: Sequence[str], width: int | None) -> None:
    """Columns side by side, a title over each; ``width``: the terminal's, columns that do not fit are left out."""
    texts = [[cell(row.get(name)) for row in rows] for name in columns]
    numeric = [bool(rows) and all(_is_number(row.get(name)) for row in rows) for name in columns]
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
    for number in range(len(rows)):
        print(line(column[number] for column in texts))
    if fitting < len(columns):
        left_out = ", ".join(columns[fitting:])
        print(f"left out, for want of space: {left_out} (--columns chooses)", file=sys.stderr)


def title(name: str, columns: Sequence[str]) -> str:
    """A parameter goes by its own name, unless a metric has that name too."""
    short = name.removeprefix("config/")
    return name if short in columns else short


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
    text = " ".join(str(value).split())
    return text if len(text) <= CELL else f"{text[: CELL - 3]}..."


def print_json(value: Any) -> None:
    """As JSON that every program reads: numbers that are none are null, other objects their text."""
    print(json.dumps(_plain(value), indent=1, default=str))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def write(path: str, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """The rows as a file whose ending says of which kind."""
    ending = os.path.splitext(path)[1].lower()
    if ending == ".csv":
        import csv

        with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            lines = csv.writer(file)
            lines.writerow(columns)
            lines.writerows([row.get(name) for name in columns] for row in rows)
    elif ending == ".json":
        with open(path, "w", encoding="utf-8") as file:
            json.dump(_plain([{name: row.get(name) for name in columns} for row in rows]), file, indent=1, default=str)
            file.write("\n")
    elif ending in (".pkl", ".pickle"):
        import pandas as pd

        pd.DataFrame(list(rows), columns=list(columns)).to_pickle(path)
    else:
        raise CommandError(f"--output takes a file that ends with .csv, .json or .pkl, got {path!r}")
    print(f"{len(rows):,} rows written to {path}", file=sys.stderr)
