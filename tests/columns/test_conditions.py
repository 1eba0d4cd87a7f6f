"""The language of filters, and how cells compare and sort, against the obvious."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fasttune.cli.listing import Framed, cells_of
from fasttune.tables.cells import OPERATORS, contains, in_order
from fasttune.tables.conditions import Condition, FilterError, fulfilled, quoted, read_conditions

NAMES = ["loss", "config/lr", "a and b", "x<y", "note", "config/opt"]
VALUES = [3, 1.5, None, "x", "10", True, float("nan"), "", [1], -2, float("inf"), "abc", "True"]


def objects(values: list[Any]) -> Any:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def rows(text: str, column: Any) -> list[bool]:
    """For which rows of a column "a" a filter holds."""
    return fulfilled(read_conditions(text, ["a"]), len(column), lambda name: column, lambda: ["a"]).tolist()


def number(value: Any) -> float | None:
    try:
        return None if math.isnan(float(value)) else float(value)
    except (TypeError, ValueError):
        return None


def compares(cell: Any, operator: str, text: str) -> bool:
    """What a comparison means, for one cell."""
    if cell is None or cell != cell:
        return False
    left, right = number(cell), number(text)
    if left is not None and not isinstance(cell, str):
        right = {"True": 1.0}.get(text, right)
        if right is None:
            return operator == "!="
    if left is not None and right is not None:
        return bool(OPERATORS[operator](left, right))
    return bool(OPERATORS[operator](str(cell), text))


@pytest.mark.parametrize("operator", ["=", "==", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize("text", ["1.5", "x", "10", "True", "-2", "inf", "nan"])
def test_a_comparison_means_the_same_for_every_cell(operator: str, text: str) -> None:
    expected = [compares(cell, operator, text) for cell in VALUES]
    assert rows(f"a {operator} {text}", objects(VALUES)) == expected
    numbers = np.array([1.5, np.nan, 10.0, -2.0, np.inf, 1.0])
    expected = [compares(cell, operator, text) for cell in numbers.tolist()]
    assert rows(f"a{operator}{text}", numbers) == expected
    assert rows(f"a{operator}{text}", objects(numbers.tolist())) == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1 < a <= 10", [0, 1, 4]), ("10 >= a > 1", [0, 1, 4]), ("-3<a<0", [9]), ("a in x,3", [0, 3]), ("a in abc", [11]),
        ("a =", [2, 6]), ("a !=", [0, 1, 3, 4, 5, 7, 8, 9, 10, 11, 12]), ("a==3.0", [0]), ("a = ''", [7]), ("a ~ B", [11]),
        ("a ~ 1", [1, 4, 8]), ("2 > a", [1, 5, 7, 9]), ("a = true", [5]), ("a = 'x' AND a != y", [3]), ("a > 2; a < 5", [0]),
        ("'abc'", [11]), ("B", [11]), ("", list(range(13))),
    ],
)  # fmt: skip
def test_ranges_lists_words_and_empty_cells(text: str, found: list[int]) -> None:
    assert np.flatnonzero(rows(text, objects(VALUES))).tolist() == found


def test_what_is_read() -> None:
    assert read_conditions("loss<0.3 and  lr >= 1e-3;word", NAMES) == [
        Condition("loss", (("<", "0.3"),)),
        Condition("config/lr", ((">=", "1e-3"),)),
        Condition("", (("~", "word"),)),
    ]
    assert read_conditions("'a and b' > 1 and \"x<y\" = 'p; q' and note = it's", NAMES) == [
        Condition("a and b", ((">", "1"),)),
        Condition("x<y", (("=", "p; q"),)),
        Condition("note", (("=", "it's"),)),
    ]
    assert read_conditions("opt in 'a,b', c", NAMES) == [Condition("config/opt", (("==", "a,b"), ("==", "c")), True)]
    assert read_conditions("note = x=3 and note=a<b", NAMES) == [
        Condition("note", (("=", "x=3"),)),
        Condition("note", (("=", "a<b"),)),
    ]
    assert read_conditions("too many open files", NAMES) == [Condition("", (("~", "too many open files"),))]
    assert read_conditions("'note in it'", NAMES) == [Condition("", (("~", "note in it"),))]
    for name in NAMES:
        assert read_conditions(f"{quoted(name)} = {quoted(name)}", NAMES) == [Condition(name, (("=", name),))]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("los < 3", "no column 'los'; did you mean 'loss'? There are loss, config/lr"),
        ("zzz in a,b", "no column 'zzz'. There are loss"),
        ("loss <", "'loss <' has no value to compare with"),
        ("loss => 3", "'loss => 3' has two operators"),
        ("loss <> 3", "has two operators"),
        ("loss < 3 or loss > 6", "has 'or', which joins nothing here"),
        ("loss < 3 && loss > 6", "has '&&', which joins nothing here"),
        ("adam or sgd", "'COLUMN in A,B' asks for one of several values"),
        ("loss < 3 loss > 6", "has two operators, or a value that has to stand in quotes"),
        ("< 3", "a filter is 'COLUMN OPERATOR VALUE'"),
        ("loss 0.3", "a filter is 'COLUMN OPERATOR VALUE'"),
        ("lr is 3", "got 'lr is 3'"),
        (";".join(["word"] * 21), "at most 20 conditions, got 21"),
    ],
)
def test_what_is_no_filter(text: str, said: str) -> None:
    with pytest.raises(FilterError) as caught:
        read_conditions(text, NAMES)
    assert said in str(caught.value)


def test_both_kinds_of_quotes_have_no_form() -> None:
    with pytest.raises(FilterError, match="both kinds of quotes"):
        quoted("\"'")


def test_only_what_a_filter_is_about_is_made() -> None:
    made = []

    def column(name: str) -> Any:
        made.append(name)
        return {"loss": np.array([1.0, 2.0]), "note": objects(["warm", None])}[name]

    found = fulfilled(read_conditions("loss < 2 and WARM", NAMES), 2, column, lambda: ["note", "loss"])
    assert found.tolist() == [True, False]
    assert made == ["loss", "note", "loss"]


# ---- cells


@pytest.mark.parametrize("descending", [False, True])
def test_an_order_is_that_of_the_obvious_sort(descending: bool) -> None:
    first, second = objects(VALUES * 2), np.array([i % 3 for i in range(2 * len(VALUES))], dtype=float)

    def key(i: int) -> tuple[Any, ...]:
        cell, sign = first[i], -1 if descending else 1
        if cell is None or cell != cell:
            return (2, 0, 0)
        if number(cell) is not None:
            return (int(descending), sign * float(cell), 0)
        words = sorted({str(one) for one in VALUES})
        return (int(not descending), sign * words.index(str(cell)), 0)

    expected = sorted(range(len(first)), key=lambda i: (*key(i), (-1 if descending else 1) * second[i]))
    assert in_order([first, second], descending).tolist() == expected


def test_infinities_are_numbers_and_nan_is_nothing() -> None:
    column = np.array([1.0, math.inf, math.nan, -math.inf])
    assert in_order([column], False).tolist() == [3, 0, 1, 2]
    assert in_order([column], True).tolist() == [1, 0, 3, 2]
    assert rows("a != 1", column) == [False, True, False, True]
    assert rows("a < inf", column) == [True, False, False, True]


def test_one_text_many_times_and_many_texts_once() -> None:
    column = objects([f"t{i}" for i in range(10_500)] + ["t3", True, 1, 1.0])
    assert contains(column, "T3").sum() == sum("t3" in str(cell) for cell in column)
    assert contains(column, "true").tolist()[-4:] == [False, True, False, False]
    assert rows("a = t3", column)[-4] is True
    assert rows("a = 1", column)[-3:] == [True, True, True]


@pytest.mark.parametrize("dtype", ["Int64", "float64", "boolean", "string", object])
def test_columns_of_frames_are_cells(dtype: Any) -> None:
    values = {"boolean": [True, None], "string": ["a", None], object: ["a", None]}.get(dtype, [2, None])
    frame = pd.DataFrame({"a": pd.Series(values, dtype=dtype)})
    cells = cells_of(Framed(frame), frame, "a")
    assert cells.dtype.kind in "fO"
    assert rows("a !=", cells) == [True, False]
    assert rows("a = a" if isinstance(values[0], str) else f"a = {values[0]}", cells) == [True, False]
