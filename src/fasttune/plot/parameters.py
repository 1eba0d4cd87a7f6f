"""Parameters as axes: values as numbers or categories, bounds and logarithms from the search space; the space in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasttune.space.as_json import from_json_value

MOST_CATEGORIES = 30  # on an axis; others are "other"
FEW_OPTIONS = 12  # of a choice among numbers that are categories; more are a scale
LONGEST_LABEL = 28
OTHER = "other"


class SpaceLine(NamedTuple):
    """One domain of a search space."""

    name: str  # "optimizer/momentum"
    kind: str  # "float", "integer", "choice" or "computed"
    low: float | None = None
    high: float | None = None  # the largest value, also of integers
    log: bool = False
    options: tuple[Any, ...] = ()  # of a choice, those that are plain values
    words: str = ""
    condition: str = ""  # "if optimizer/solver is sgd"
    step: float | None = None  # between one value and the next; None: any, of integers 1


class Parameter(NamedTuple):
    """What was sampled under one name.

    ``values`` per trial: the number itself, of a categorical one the place of its label; NaN where a trial has none.
    """

    name: str
    values: NDArray[np.float64]
    labels: tuple[str, ...] | None  # of a categorical one
    log: bool
    low: float  # of the axis, in values
    high: float

    def units(self) -> NDArray[np.float64]:
        """The values on a scale from 0 to 1: places in the middle of their cells for categories, logarithms where the axis is
        logarithmic."""
        if self.labels is not None:
            return (self.values + 0.5) / len(self.labels)
        low, high, values = self.low, self.high, self.values
        if self.log:
            low, high, values = math.log(low), math.log(high), np.log(values)
        return np.clip((values - low) / (high - low), 0.0, 1.0) if high > low else np.full(len(values), 0.5)

    def at(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """The reverse of ``units``."""
        if self.labels is not None:
            return np.asarray(units * len(self.labels) - 0.5)
        if self.log:
            return np.asarray(np.exp(math.log(self.low) + units * (math.log(self.high) - math.log(self.low))))
        return np.asarray(self.low + units * (self.high - self.low))


def parameter_of(name: str, values: Sequence[Any], line: SpaceLine | None) -> Parameter | None:
    """A parameter from its value in each trial (None: it has none); None if no two trials differ."""
    few = line is not None and line.kind == "choice" and len(line.options) <= FEW_OPTIONS
    if not few and all(_is_number(value) for value in values if value is not None):
        return _number(name, values, line)
    return _categorical(name, values, line)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float | np.integer | np.floating)


def _number(name: str, values: Sequence[Any], line: SpaceLine | None) -> Parameter | None:
    column = np.array([_finite(value) for value in values])
    known = column[np.isfinite(column)]
    if not len(known) or known.min() == known.max():
        return None
    low, high = float(known.min()), float(known.max())
    if line is not None and line.low is not None and line.high is not None:
        low, high = min(low, line.low), max(high, line.high)
    log = line is not None and line.log and low > 0
    return Parameter(name, column, None, log, low, high)


def _finite(value: Any) -> float:
    try:
        number = float("nan" if value is None else value)
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _categorical(name: str, values: Sequence[Any], line: SpaceLine | None) -> Parameter | None:
    texts = [None if value is None else label(value) for value in values]
    counts: dict[str, int] = {label(option): 0 for option in line.options} if line is not None else {}
    for text in texts:
        if text is not None:
            counts[text] = counts.get(text, 0) + 1
    present = [text for text, n in counts.items() if n]
    if len(present) < 2:
        return None
    if len(present) > MOST_CATEGORIES:
        kept = set(sorted(present, key=lambda text: -counts[text])[: MOST_CATEGORIES - 1])
        present = [*(text for text in present if text in kept), OTHER]
    place = {text: float(k) for k, text in enumerate(present)}
    column = np.array([math.nan if text is None else place.get(text, len(present) - 1.0) for text in texts])
    return Parameter(name, column, tuple(present), False, -0.5, len(present) - 0.5)


def label(value: Any) -> str:
    """A value as an axis shows it."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split()) or repr(value)
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 3] + "..."


# ---- the space, as the journal has it


def space_lines(meta: dict[str, Any]) -> list[SpaceLine]:
    """The domains of all search spaces of a run, each name once, in the order of the spaces."""
    asked = [one.get("space") for one in (meta.get("asked") or {}).get("trainables") or []]
    spaces = asked or [one.get("space") for one in meta.get("variants") or []]
    found: dict[str, SpaceLine] = {}
    for space in spaces:
        for line in _lines(space, (), ""):
            found.setdefault(line.name, line)
    return list(found.values())


def _lines(node: Any, path: tuple[str, ...], condition: str) -> Iterator[SpaceLine]:
    """The domains of a part of a space, in the form in which journals have it: an object with "~" names a kind."""
    if isinstance(node, list):
        for place, part in enumerate(node):
            yield from _lines(part, (*path, str(place)), condition)
    if not isinstance(node, dict):
        return
    kind = node.get("~")
    if kind is None and len(node) == 1 and "grid_search" in node:
        yield from _choice(_items(node["grid_search"]), path, condition, "each of")
    elif kind is None:
        for name, part in node.items():
            yield from _lines(part, (*path, str(name)), condition)
    elif kind == "dict":
        for name, part in node.get("items") or []:
            yield from _lines(part, (*path, str(name)), condition)
    elif kind == "tuple":
        yield from _lines(node.get("items"), path, condition)
    elif kind in ("Float", "Integer"):
        yield _number_line(node, "/".join(path), condition)
    elif kind in ("choice", "Categorical"):
        yield from _choice(_items(node.get("options")), path, condition, "one of")
    elif kind in ("grid", "grid_search"):
        yield from _choice(_items(node.get("options", node.get("values"))), path, condition, "each of")
    elif kind in ("Function", "sample_from"):
        yield SpaceLine("/".join(path), "computed", words="computed", condition=condition)


def _items(node: Any) -> list[Any]:
    if isinstance(node, dict) and node.get("~") == "range":
        return list(range(node["start"], node["stop"], node["step"]))[:1000]
    if isinstance(node, dict):
        node = node.get("items")
    return list(node) if isinstance(node, list) else []


def _choice(options: list[Any], path: tuple[str, ...], condition: str, words: str) -> Iterator[SpaceLine]:
    """A choice, and the domains in those of its options that are dicts."""
    name = "/".join(path)
    branches = [option for option in options if isinstance(option, dict) and "~" not in option]
    plain = [_plain(option) for option in options if not any(option is one for one in branches)]
    shown = [label(option) for option in plain] + [_told_of(option) for option in branches]
    text = ", ".join(shown[:FEW_OPTIONS]) + (f" and {len(shown) - FEW_OPTIONS} more" if len(shown) > FEW_OPTIONS else "")
    yield SpaceLine(name, "choice", options=tuple(plain), words=f"{words} {text}", condition=condition)
    for option in branches:
        yield from _lines(option, path, f"if {_told_of(option)}")


def _told_of(option: dict[str, Any]) -> str:
    """An option with domains in it, by its constants: "solver=sgd"."""
    constants = [f"{name}={label(part)}" for name, part in option.items() if not isinstance(part, dict | list)]
    return ", ".join(constants) or " + ".join(map(str, option)) or "nothing"


def _plain(form: Any) -> Any:
    """The value of a form, or the form itself where it is none that can be read."""
    try:
        return from_json_value(form)
    except Exception:  # a journal from elsewhere may hold anything
        return form


def _number_line(node: dict[str, Any], name: str, condition: str) -> SpaceLine:
    kind = "float" if node["~"] == "Float" else "integer"
    sampler, q = node.get("sampler"), node.get("q")
    if sampler == "Normal":
        words = f"a number, normal with mean {_short(node.get('mean'))} and deviation {_short(node.get('sd'))}"
        return SpaceLine(name, kind, words=words, condition=condition)
    low, high = (_plain(bound) for bound in (node.get("bounds") or (None, None)))
    if not all(isinstance(bound, int | float) and math.isfinite(bound) for bound in (low, high)):
        return SpaceLine(name, kind, words="a number", condition=condition)
    last = high - 1 if kind == "integer" and (q is None or q == 1) else high
    log = sampler == "LogUniform"
    words = f"{'a whole number' if kind == 'integer' else 'a number'} from {_short(low)} to {_short(last)}"
    words += f" in steps of {_short(q)}" if q and q != 1 else ""
    words += ", on a logarithmic scale" if log else ""
    step = float(q) if q and q != 1 else None
    return SpaceLine(name, kind, float(low), float(last), log, words=words, condition=condition, step=step)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
