"""The language in which rows are asked for, of the command line and of the dashboard.

    loss < 0.3                  COLUMN OPERATOR VALUE; operators are = == != < <= > >= and ~ (has the text in it)
    1e-4 <= lr <= 1e-2          a range
    optimizer in sgd,adam       one of several values
    loss =    and    loss !=    an empty cell, and one that is not empty
    adam                        a word that some text of the row has in it
    "lost and found"            in quotes: a word, a column or a value in which "and", ";", a comma or an operator is no sign

Conditions that are joined by "and" or ";" all have to hold. A parameter may be called without its "config/". How cells compare
says ``cells``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.tables.cells import OPERATORS, compared, contains, empty, number_in

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]

MIRRORED = {"<": ">", "<=": ">=", "=": "=", "==": "==", "!=": "!=", ">=": "<=", ">": "<"}
SIGNS = (*OPERATORS, "~")
MOST = 20  # conditions at a time
SHOWN_NAMES = 30  # in an error
COMPARED_NAMES = 500  # to find what was meant: comparing 10^5 of them takes seconds
FORMS = (
    f"a filter is 'COLUMN OPERATOR VALUE', operators are {' '.join(SIGNS)}; or '0.01 < lr <= 0.1', 'opt in sgd,adam', or a word "
    "that a row has in it. 'and' joins several; what is in quotes has no signs in it"
)
SIGN = r"(<=|>=|==|!=|=|<|>|~)"
_BEFORE, _BEHIND = r"(?<![^\s<>=!~,;])", r"(?![^\s<>=!~,;])"  # where quotes open and close: not within a word
_QUOTED = re.compile(rf"""{_BEFORE}("[^"]*"|'[^']*'){_BEHIND}""")
_JOIN = re.compile(r"\s+and\s+|;", re.IGNORECASE)
_SEVERAL = re.compile(r"\s*(\S+)\s+in\s+(.+)", re.DOTALL)
_RANGE = re.compile(rf"\s*([^<>=!~]+?)\s*{SIGN}\s*([^<>=!~]+?)\s*{SIGN}\s*([^<>=!~]+?)\s*", re.DOTALL)
_PLAIN = re.compile(rf"\s*([^<>=~]+?)\s*{SIGN}\s*(.*?)\s*", re.DOTALL)


class FilterError(ValueError):
    """A filter that means nothing, or names a column that is not there; the text says what there is."""


class Condition(NamedTuple):
    """All of its comparisons have to hold for a cell, or with ``any_of`` one of them. A column "" stands for every text of a
    row; a comparison with None asks whether there is nothing in the cell."""

    column: str
    comparisons: tuple[tuple[str, str | None], ...]  # operator, value
    any_of: bool = False

    def holds(self, column: NDArray[Any]) -> Bools:
        """For which cells of a column."""
        found = [_holds(column, operator, value) for operator, value in self.comparisons]
        fit = found[0]
        for more in found[1:]:
            fit = fit | more if self.any_of else fit & more
        return fit


def _holds(column: NDArray[Any], operator: str, value: str | None) -> Bools:
    if value is None:
        return ~empty(column) if operator == "!=" else empty(column)
    return contains(column, value) if operator == "~" else compared(column, operator, value)


def fulfilled(
    conditions: Iterable[Condition], rows: int, column: Callable[[str], NDArray[Any]], texts: Callable[[], Iterable[str]]
) -> Bools:
    """Which of the rows fulfil all conditions. ``column`` gives one of the columns, ``texts`` names those in which a word is
    looked for; only what the conditions are about is asked for."""
    import numpy as np

    fit = np.ones(rows, dtype=np.bool_)
    for one in conditions:
        if one.column:
            fit &= one.holds(column(one.column))
            continue
        somewhere = np.zeros(rows, dtype=np.bool_)
        for cells in map(column, texts()):
            if cells.dtype.kind == "O":  # numbers are no texts
                somewhere |= one.holds(cells)
        fit &= somewhere
    return fit


# ---- reading


def read_conditions(text: str, names: Sequence[str]) -> list[Condition]:
    """The conditions of a filter over columns of these names; [] of an empty one. FilterError."""
    masked = _masked(text)
    ends = [*((found.start(), found.end()) for found in _JOIN.finditer(masked)), (len(text), len(text))]
    conditions, begin = [], 0
    for end, following in ends:
        part = text[begin:end].strip()
        begin = following
        if part:
            conditions.append(_condition(part, names))
    if len(conditions) > MOST:
        raise FilterError(f"a filter has at most {MOST} conditions, got {len(conditions)}")
    return conditions


def named(name: str, names: Sequence[str]) -> str:
    """The column of a name; a parameter's may be given without "config/". FilterError names those that are there."""
    for known in (name, f"config/{name}"):
        if known in names:
            return known
    near = get_close_matches(name, [one.removeprefix("config/") for one in names[:COMPARED_NAMES]], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    raise FilterError(f"there is no column {name[:80]!r}{hint} There are {', '.join(names[:SHOWN_NAMES])}{more}")


def quoted(text: str) -> str:
    """A name or a value so that nothing in it is a sign. FilterError where it holds both kinds of quotes."""
    for mark in "\"'":
        if mark not in text:
            return f"{mark}{text}{mark}"
    raise FilterError(f"a filter has no form for what holds both kinds of quotes, got {text[:80]!r}")


def _condition(part: str, names: Sequence[str]) -> Condition:
    masked = _masked(part)
    several = _SEVERAL.fullmatch(masked)
    if several is not None and not re.search(SIGN, several[1]):
        column = named(_side(part, several, 1), names)
        return Condition(column, tuple(("==", value) for value in _listed(part[several.start(2) :])), True)
    between = _RANGE.fullmatch(masked)
    if between is not None and "~" not in (between[2], between[4]) and number_in(between[1]) is not None:
        column = named(_side(part, between, 3), names)
        return Condition(column, ((MIRRORED[between[2]], _side(part, between, 1)), (between[4], _side(part, between, 5))))
    plain = _PLAIN.fullmatch(masked)
    return _word(part, masked, names) if plain is None else _comparison(part, plain, names)


def _comparison(part: str, plain: re.Match[str], names: Sequence[str]) -> Condition:
    left, operator, right = _side(part, plain, 1), plain[2], _side(part, plain, 3)
    if not plain[3] and operator not in ("=", "==", "!="):
        raise FilterError(f"the filter {part!r} has no value to compare with ('COLUMN =' asks for empty cells)")
    _check_joined(part, plain[3])
    if re.search(rf"^!|(^|\s){SIGN}(\s|$)|^{SIGN}", plain[3]):
        raise FilterError(f"the filter {part!r} has two operators, or a value that has to stand in quotes; {FORMS}")
    if operator in MIRRORED and left not in names and number_in(left) is not None and right in (*names, *map(_short, names)):
        return Condition(named(right, names), ((MIRRORED[operator], left),))
    return Condition(named(left, names), ((operator, right if plain[3] else None),))


def _word(part: str, masked: str, names: Sequence[str]) -> Condition:
    _check_joined(part, masked)
    first, *rest = masked.split(maxsplit=1)
    if re.search(SIGN, masked) or (rest and first in (*names, *map(_short, names))):
        raise FilterError(f"{FORMS}; got {part!r}")
    return Condition("", (("~", _unquoted(part)),))


def _check_joined(part: str, masked: str) -> None:
    """FilterError for words of other languages that would be taken for a part of a value."""
    if joined := re.search(r"\s(or|\|\||&&)\s", masked, re.IGNORECASE):
        raise FilterError(
            f"the filter {part!r} has {joined[1]!r}, which joins nothing here: 'and' joins conditions that all hold, 'COLUMN in A,B'"
            " asks for one of several values; a text with that word in it stands in quotes"
        )


def _short(name: str) -> str:
    return name.removeprefix("config/")


def _masked(text: str) -> str:
    """The text with something harmless in the place of what stands in quotes, at the same places."""
    return _QUOTED.sub(lambda found: "\0" * len(found[0]), text)


def _side(part: str, found: re.Match[str], group: int) -> str:
    return _unquoted(part[found.start(group) : found.end(group)])


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _listed(text: str) -> list[str]:
    """Values with commas between them."""
    ends = [found.start() for found in re.finditer(",", _masked(text))]
    return [_unquoted(text[begin:end]) for begin, end in zip([0, *(end + 1 for end in ends)], [*ends, len(text)], strict=True)]
