"""What somebody writes into the box above a table: ``loss < 0.3 and optimizer = adam``, or just a word."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasttune.dashboard.question import NotAnswered

Bools = NDArray[np.bool_]

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">=": lambda a, b: a >= b,
    ">": lambda a, b: a > b,
}
_FORM = re.compile(r"(.+?)\s*(<=|>=|==|!=|=|<|>)\s*(.*)", re.DOTALL)
TRUTH = {"true": 1.0, "false": 0.0}  # in a column of numbers, which columns of booleans are
MOST = 20  # conditions at a time
SHOWN_NAMES = 30  # in an error


class Condition(NamedTuple):
    """``column operator value``; without an operator: a word that some cell of a row has in it."""

    column: str
    operator: str
    value: str


def read_conditions(text: str, names: Sequence[str]) -> list[Condition]:
    """The conditions that are joined by "and". NotAnswered names a column that is not there, and those that are."""
    found = []
    for part in re.split(r"\s+and\s+|;", text.strip()):
        if not part.strip():
            continue
        form = _FORM.fullmatch(part.strip())
        if form is None:
            found.append(Condition("", "", part.strip()))
        else:
            found.append(Condition(named(form[1], names), form[2], form[3].strip().strip("'\"")))
    if len(found) > MOST:
        raise NotAnswered(400, f"a filter has at most {MOST} conditions, got {len(found)}")
    return found


def named(name: str, names: Sequence[str]) -> str:
    """The column of a name; a parameter's may be given without "config/"."""
    for known in (name, f"config/{name}"):
        if known in names:
            return known
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    raise NotAnswered(400, f"there is no column {name[:80]!r}; there are {', '.join(names[:SHOWN_NAMES])}{more}")


def holds(column: NDArray[Any], operator: str, value: str) -> Bools:
    """For which cells "cell operator value" holds. Numbers compare as numbers; an empty cell fulfils nothing."""
    compare, wanted = OPERATORS[operator], number_in(value)
    if column.dtype.kind != "O":
        wanted = TRUTH.get(value.lower(), wanted)
        if wanted is None:
            return np.zeros(len(column), dtype=np.bool_) if operator != "!=" else ~np.isnan(column)
        with np.errstate(invalid="ignore"):
            found: Bools = np.asarray(compare(column, wanted), dtype=np.bool_) & ~np.isnan(column)
        return found
    return np.fromiter((_cell_holds(cell, compare, value, wanted) for cell in column), dtype=np.bool_, count=len(column))


def _cell_holds(cell: Any, compare: Callable[[Any, Any], Any], value: str, wanted: float | None) -> bool:
    if is_empty(cell):
        return False
    ours = number_in(cell) if wanted is not None else None
    if ours is not None:
        return bool(compare(ours, wanted))
    return bool(compare(str(cell), value))


def contains(column: NDArray[Any], word: str) -> Bools:
    """Which cells have the word in them, in upper or lower case."""
    wanted = word.casefold()
    cells = (not is_empty(cell) and wanted in str(cell).casefold() for cell in column)
    return np.fromiter(cells, dtype=np.bool_, count=len(column))


def in_order(column: NDArray[Any], descending: bool) -> NDArray[np.int64]:
    """Places of the cells from the smallest on: numbers before texts, equal ones as they stand, empty ones last either way."""
    if column.dtype.kind != "O":
        empty = np.isnan(column)
        keys = -column if descending else column
        found: NDArray[np.int64] = np.lexsort((keys, empty))
        return found
    empty = np.fromiter(map(is_empty, column), dtype=np.bool_, count=len(column))
    present = sorted(np.flatnonzero(~empty).tolist(), key=lambda place: _sort_key(column[place]), reverse=descending)
    return np.concatenate([np.array(present, dtype=np.int64), np.flatnonzero(empty)])


def _sort_key(cell: Any) -> tuple[bool, float, str]:
    number = number_in(cell)
    return (True, 0.0, str(cell)) if number is None else (False, number, "")


def number_in(value: Any) -> float | None:
    """The number that a value is, or reads as."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if number != number else number


def is_empty(cell: Any) -> bool:
    """Whether there is nothing in a cell."""
    return cell is None or (isinstance(cell, float) and cell != cell)
