"""Rows for people and for pipes: chosen, sorted, and printed as a table, JSON or a file."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

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


def give(rows: list[Row], shown: Sequence[str], wanted: Wanted, noun: str) -> int:
    """Give the rows as they are wanted; ``shown`` are the columns of a table when nobody chose any."""
    names = list(dict.fromkeys([*shown, *(name for row in rows for name in row)]))
    if wanted.columns == ["?"]:
        print("\n".join(names))
        return 0
    for text in wanted.conditions:
        holds = condition(text, names)
        rows = [row for row in rows if holds(row)]
    if wanted.sort:
        rows = ordered(rows, [named(name, names) for name in wanted.sort], wanted.desc)
    elif wanted.desc:
        rows = rows[::-1]
    chosen = [named(name, names) for name in wanted.columns] if wanted.columns else None
    on_terminal = sys.stdout.isatty() and not (wanted.output or wanted.as_json)
    limit = wanted.limit or (ROWS_ON_A_TERMINAL if on_terminal else len(rows))
    kept = rows[:limit]
    if wanted.output:
        write(wanted.output, kept, chosen or names)
        return 0
    if wanted.as_json:
        print_json([{name: row.get(name) for name in chosen or names if name in row} for row in kept])
        return 0
    width = shutil.get_terminal_size().columns if on_terminal else None
    print_table(kept, chosen or [name for name in shown if any(name in row for row in rows)], width)
    if len(kept) < len(rows) and wanted.limit is None:
        print(f"{len(rows) - len(kept):,} more {noun}; --limit {len(rows)} shows all", file=sys.stderr)
    return 0


# ---- which rows


def named(name: str, names: Sequence[str]) -> str:
    """The column of a name; a parameter's may be given without "config/". CommandError when there is none."""
    for known in (name, f"config/{name}"):
        if known in names:
            return known
    raise CommandError(f"there is no column {name!r}; the columns are {', '.join(names)}")


def condition(text: str, names: Sequence[str]) -> Callable[[Row], bool]:
    """Whether "column operator value" holds for a row. Numbers compare as numbers; an empty cell fulfils none."""
    found = re.fullmatch(r"\s*(.+?)\s*(<=|>=|==|!=|<|>)\s*(.*?)\s*", text)
    if found is None:
        raise CommandError(f"a filter is 'COLUMN OPERATOR VALUE', operators are {' '.join(OPERATORS)}, got {text!r}")
    column, compare, value = named(found[1], names), OPERATORS[found[2]], comparable(found[3])

    def holds(row: Row) -> bool:
        if row.get(column) is None:
            return False
        cell = comparable(row[column])
        if isinstance(cell, float) and isinstance(value, float):
            return compare(cell, value)
        return compare(str(row[column]), found[3])

    return holds


def comparable(value: Any) -> float | str:
    """The number that a value is or reads as, else its text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def ordered(rows: list[Row], columns: Sequence[str], descending: bool) -> list[Row]:
    """Sorted by the first column, equal ones by the next. Empty and NaN cells come last either way."""
    for column in reversed(columns):
        present = [row for row in rows if not _is_empty(row.get(column))]
        absent = [row for row in rows if _is_empty(row.get(column))]
        rows = sorted(present, key=lambda row: _sort_key(row[column]), reverse=descending) + absent
    return rows


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
