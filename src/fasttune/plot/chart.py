"""A picture as values: panels with marks in them. Each picture is made into a Chart, which two drawers know how to draw.

Arrays of one mark have equal lengths. Colours are "#rrggbb". Texts are plain: a drawer escapes what it has to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Readable on white and on black, and told apart by the colour-blind: blue, orange, red, grey, green, violet.
BLUE, ORANGE, RED, GREY, GREEN, VIOLET = "#3f7fce", "#e0862f", "#d6403c", "#8b919b", "#2f9a6a", "#9a63c9"
PALETTE = (BLUE, ORANGE, GREEN, VIOLET, RED, "#2aa3b8", "#b5892a", "#c2569b")
SCALE = ("#4a7fb5", "#7fa6b0", "#d9a441", "#d23f2b")  # from worst to best
FAR = 8.0  # distances between the quartiles, from where on a value is far away
FEW, SQUEEZED, CRUSHED = 0.05, 4.0, 30.0  # what is far away is left out if it is few, or leaves next to nothing of the rest
TITLE, TICK = 64, 30  # characters of an axis' title, and of a label beside it
DECADES = 2.5  # that positive scores span before their axis is logarithmic


class Axis(NamedTuple):
    """One axis of a panel."""

    title: str = ""
    log: bool = False
    labels: Sequence[str] | None = None  # of a categorical one: value k is labels[k]
    range: tuple[float, float] | None = None  # in values, also of a logarithmic one
    ticks: tuple[Sequence[float], Sequence[str]] | None = None
    grid: bool = True


class Colours(NamedTuple):
    """Numbers as colours, from ``low`` to ``high``; ``reversed``: a small number is the best."""

    values: Array
    title: str
    low: float
    high: float
    reversed: bool = False
    bar: bool = True


class Points(NamedTuple):
    """One mark for each (x, y)."""

    x: Array
    y: Array
    name: str = ""  # in the legend; "": not in it
    colour: str | Colours = BLUE
    hover: Sequence[str] | None = None
    symbol: str = "circle"  # "circle", "x", "star", "diamond"
    size: float = 6.0
    opacity: float = 1.0


class Line(NamedTuple):
    """A line through (x, y), broken where y is NaN."""

    x: Array
    y: Array
    name: str = ""
    colour: str = BLUE
    hover: Sequence[str] | None = None
    width: float = 1.5
    dash: bool = False
    step: bool = False  # the value holds until the next x
    opacity: float = 1.0


class Band(NamedTuple):
    """What lies between ``low`` and ``high``."""

    x: Array
    low: Array
    high: Array
    name: str = ""
    colour: str = BLUE
    opacity: float = 0.2


class Bars(NamedTuple):
    """Bars of some lengths at some places; ``base``: where each begins, 0 by default."""

    places: Array
    lengths: Array
    name: str = ""
    colour: str = BLUE
    base: Array | None = None
    horizontal: bool = True
    hover: Sequence[str] | None = None
    texts: Sequence[str] | None = None  # at their ends
    thickness: float = 0.7


class Heat(NamedTuple):
    """A grid of numbers as colours: ``z[row, column]`` at (x[column], y[row]); NaN is left open."""

    x: Array
    y: Array
    z: Array
    title: str
    low: float
    high: float
    reversed: bool = False
    hover: Sequence[Sequence[str]] | None = None


class Labels(NamedTuple):
    """Small texts to the right of points."""

    x: Array
    y: Array
    texts: Sequence[str]


Mark = Points | Line | Band | Bars | Heat | Labels


class Panel(NamedTuple):
    """Marks on two axes, those that come later above."""

    marks: Sequence[Mark]
    x: Axis
    y: Axis
    title: str = ""
    height: float = 360.0  # pixels


class Chart(NamedTuple):
    """A picture. ``note``: what a reader should know who sees nothing but the picture."""

    title: str
    panels: Sequence[Panel]
    note: str = ""
    columns: int = 1


def score_axis(values: Array, title: str, mode: str | None = None) -> tuple[Axis, str]:
    """An axis for scores, and a note: logarithmic where they span decades, else without what lies far away on the bad side."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Axis(title), ""
    low, high = float(known.min()), float(known.max())
    if mode != "max" and low > 0 and math.log10(high) - math.log10(low) > DECADES:
        return Axis(title, log=True), ""
    first, third = (float(q) for q in np.quantile(known, (0.25, 0.75)))
    reach = FAR * (third - first)
    if mode is None or reach <= 0:
        return Axis(title), ""
    if mode == "max":
        bottom, top = max(low, first - reach), high
    else:
        bottom, top = low, min(high, third + reach)
    beyond = int(((known < bottom) | (known > top)).sum())
    squeezed = (high - low) / (top - bottom)
    if not beyond or squeezed < (SQUEEZED if beyond <= FEW * len(known) else CRUSHED):
        return Axis(title), ""
    pad = 0.04 * (top - bottom)
    lie = "value lies" if beyond == 1 else "values lie"
    return Axis(title, range=(bottom - pad, top + pad)), f"{beyond:,} far worse {lie} beyond the axis."


def colours_of(values: Array, title: str, mode: str | None, bar: bool = True) -> Colours:
    """Scores as colours; the worst 5 % share one, so that they do not use up the scale."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if len(known) > 20:
        if mode == "max":
            low = float(np.quantile(known, 0.05))
        elif mode == "min":
            high = float(np.quantile(known, 0.95))
    return Colours(values, title, low, high if high > low else low + 1.0, mode == "min", bar)


def log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Ticks of a logarithmic axis: powers of ten, with 2 and 5 of each, or all digits, where there are few of them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    span = math.log10(high) - math.log10(low)  # their ratio may be no float
    every = max(1, round(span / 6))
    digits = (1,) if span > 2.2 else (1, 3) if span > 1.4 else (1, 2, 5) if span > 0.8 else (1, 2, 3, 4, 5, 6, 8)
    values = [float(f"{d}e{power}") for power in range(first, last + 1) if power % every == 0 for d in digits]
    kept = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    if len(kept) < 2:
        kept = [low, high]
    return kept, [f"{value:.4g}" for value in kept]


def reach(panel: Panel, which: int) -> tuple[float, float] | None:
    """The least and the largest positive number on an axis of a panel (0: x, 1: y); None if there is none."""
    ends = []
    for mark in panel.marks:
        if isinstance(mark, Band):
            columns = [mark.x] if which == 0 else [mark.low, mark.high]
        elif isinstance(mark, Bars):
            lengths = mark.lengths if mark.base is None else mark.base + mark.lengths
            columns = [lengths if mark.horizontal == (which == 0) else mark.places]
        else:
            columns = [mark.x if which == 0 else mark.y]
        for column in columns:
            known = column[np.isfinite(column) & (column > 0)]
            if len(known):
                ends += [float(known.min()), float(known.max())]
    return (min(ends), max(ends)) if ends else None


def with_log_ticks(axis: Axis, panel: Panel, which: int) -> Axis:
    """The axis with ticks, if it is logarithmic and has none."""
    ends = axis.range or reach(panel, which)
    if not axis.log or axis.ticks is not None or ends is None:
        return axis
    return axis._replace(ticks=log_ticks(*ends))


def cut(text: str, most: int) -> str:
    """A name that fits a place of so many characters: its beginning and its end."""
    kept = " ".join(text.split())
    return kept if len(kept) <= most else f"{kept[: most // 2 - 2]}...{kept[-(most - most // 2 - 1) :]}"


def joined(*notes: str) -> str:
    return " ".join(note for note in notes if note)
