"""Columns of cells as somebody compares and sorts them: arrays of float64 with NaN where there is nothing, or of objects, None
or NaN where there is nothing. And cells as other programs take them: Python's own values.

Compared, a cell is a number if it is one or reads as one; True is 1. Every other cell is the text that ``str`` gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">=": lambda a, b: a >= b,
    ">": lambda a, b: a > b,
}
TRUTH = {"true": 1.0, "false": 0.0}  # what somebody writes who compares with booleans
MOST_LETTERS = 1 << 24  # of texts that are laid side by side, as 4 bytes each
REMEMBERED = 10_000  # different texts of a column: most columns of texts hold a few, many times


def values_of(column: pd.Series[Any]) -> list[Any]:
    """The cells as Python's own values, None for an empty one."""
    values, missing = column.tolist(), column.isna().tolist()
    return [None if empty else value for value, empty in zip(values, missing, strict=True)] if any(missing) else values


def of_python(value: Any) -> Any:
    """A number, truth value or array of numpy as Python's own (lists); anything else as it is."""
    return value.tolist() if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist") else value


def finite(value: Any) -> Any:
    """A value of Python's own types, also within lists and dicts, with what JSON has no number for as None."""
    value = of_python(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def compared(column: NDArray[Any], operator: str, text: str) -> Bools:
    """For which cells "cell operator text" holds. Two numbers compare as numbers, anything else as texts; but a number and a text
    that reads as none differ, and neither is the smaller one. An empty cell fulfils nothing."""
    import numpy as np

    compare, wanted = OPERATORS[operator], number_in(text)
    if column.dtype.kind == "O":
        return _each(column, lambda cell: _fulfils(cell, compare, operator, text, wanted))
    values: Floats = column.astype(np.float64, copy=False)
    wanted = TRUTH.get(text.lower(), wanted)
    if wanted is None:
        return ~np.isnan(values) if operator == "!=" else np.zeros(len(values), dtype=np.bool_)
    with np.errstate(invalid="ignore"):
        found: Bools = np.asarray(compare(values, wanted), dtype=np.bool_) & ~np.isnan(values)
    return found


def _fulfils(cell: Any, compare: Callable[[Any, Any], Any], operator: str, text: str, wanted: float | None) -> bool:
    if is_empty(cell):
        return False
    number = number_in(cell)
    if number is not None and not isinstance(cell, str):
        wanted = TRUTH.get(text.lower(), wanted)
        if wanted is None:
            return operator == "!="
    if number is not None and wanted is not None:
        return bool(compare(number, wanted))
    return bool(compare(str(cell), text))


def contains(column: NDArray[Any], word: str) -> Bools:
    """Which cells have the word in their text, in upper or lower case."""
    wanted = word.casefold()
    return _each(column, lambda cell: not is_empty(cell) and wanted in str(cell).casefold())


def empty(column: NDArray[Any]) -> Bools:
    """Which cells have nothing in them."""
    import numpy as np

    if column.dtype.kind != "O":
        return np.isnan(column.astype(np.float64, copy=False))
    return np.fromiter(map(is_empty, column), dtype=np.bool_, count=len(column))


def in_order(columns: Sequence[NDArray[Any]], descending: bool) -> Ints:
    """Places of the rows from the smallest on, by the first column, equal ones by the next, then as they stand. Numbers come
    before texts (behind them when descending), empty cells last either way."""
    import numpy as np

    keys: list[Any] = []
    sign = -1 if descending else 1
    for column in reversed(columns):  # lexsort takes the most important key last
        nothing, numbers = empty(column), numbers_of(column)
        is_text = ~nothing & np.isnan(numbers)
        if is_text.any():
            ranks = np.zeros(len(column), dtype=np.int64)
            ranks[is_text] = _ranks([str(cell) for cell in column[is_text]])
            keys.append(sign * ranks)
        if not is_text.all():
            keys += [np.where(is_text, 0.0, sign * numbers), sign * is_text.astype(np.int8), nothing]
    found: Ints = np.lexsort(keys)
    return found


def _ranks(texts: list[str]) -> Any:
    """The place of each text among the different ones. As characters side by side they are sorted without asking Python twenty
    times for each: 10^6 ids in 1.5 s in place of 5 s."""
    import numpy as np

    if len(texts) * max(map(len, texts)) <= MOST_LETTERS and not any("\0" in text for text in texts):
        return np.unique(np.array(texts), return_inverse=True)[1]
    rank = {text: place for place, text in enumerate(sorted(set(texts)))}
    return [rank[text] for text in texts]


def numbers_of(column: NDArray[Any]) -> Floats:
    """The cells that are numbers; NaN for all others."""
    import numpy as np

    if column.dtype.kind != "O":
        return column.astype(np.float64, copy=False)
    numbers = _remembering(lambda cell: np.nan if (number := number_in(cell)) is None else number)
    return np.fromiter(map(numbers, column), dtype=np.float64, count=len(column))


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


def _each(column: NDArray[Any], holds: Callable[[Any], bool]) -> Bools:
    import numpy as np

    return np.fromiter(map(_remembering(holds), column), dtype=np.bool_, count=len(column))


def _remembering(ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same function, which asks once for each of the first texts: a column of 10^6 texts, three of them different, takes
    0.1 s in place of 0.8 s."""
    known: dict[str, Any] = {}

    def answer(cell: Any) -> Any:
        if type(cell) is not str:  # 1, 1.0 and True are one key, and three texts
            return ask(cell)
        found = known.get(cell)
        if found is None:
            found = ask(cell)
            if len(known) < REMEMBERED:
                known[cell] = found
        return found

    return answer
