"""Pictures of scores over parameters: one at a time, and two at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from fasttune.plot.chart import Axis, Chart, Colours, Heat, Mark, Panel, Points, colours_of, joined, score_axis
from fasttune.plot.data import ExperimentData, Floats, Goal, Ints, experiment_of, number_text, sampled
from fasttune.plot.drawn import drawn
from fasttune.plot.parameters import Parameter

SHOWN = 3000  # points of a picture, shared by its panels
COLUMNS = 3
MOST_PANELS = 12  # unless somebody asks for more by name
PAIRED = 4  # parameters of which pairs are drawn, unless asked by name
CELLS = 40  # of a numeric axis of a contour
FINE = 120  # cells that trials are counted in before they are smoothed
WIDTH = 0.06  # of the kernel, of an axis' length
SPARSE = 0.2  # trials near a cell, weighted, below which it is left open
BEST = "#1f2328"  # with a white border


def axis_of(parameter: Parameter) -> Axis:
    """The axis of a parameter: logarithmic if it is searched so, its categories by name."""
    if parameter.labels is not None:
        return Axis(parameter.name, labels=parameter.labels)
    low, high = parameter.low, parameter.high
    pad = 0.03
    if parameter.log:
        first, last = math.log10(low), math.log10(high)
        beside = pad * (last - first)
        return Axis(parameter.name, log=True, range=(10 ** max(first - beside, -307.0), 10 ** min(last + beside, 308.0)))
    return Axis(parameter.name, range=(low - pad * (high - low), high + pad * (high - low)))


def spread(parameter: Parameter, values: Floats) -> Floats:
    """Where points of a parameter are drawn: those of a category side by side, not on top of each other."""
    if parameter.labels is None:
        return values
    return values + np.random.default_rng(0).uniform(-0.22, 0.22, len(values))


# ---- one at a time


class Slice(NamedTuple):
    """The trials that have a parameter and a score."""

    parameter: Parameter
    position: Ints
    value: Floats
    score: Floats


def slices_data(experiment: ExperimentData, goal: Goal, params: Sequence[str] | None = None) -> list[Slice]:
    """The values of the picture ``slices``, one for each parameter."""
    score = experiment.score(goal)
    found = []
    for parameter in experiment.chosen(params, most=MOST_PANELS):
        at = np.flatnonzero(np.isfinite(score) & np.isfinite(parameter.values))
        found.append(Slice(parameter, at, parameter.values[at], score[at]))
    return found


def slices_chart(experiment: ExperimentData, goal: Goal, data: list[Slice]) -> Chart:
    score = experiment.score(goal)
    axis, note = score_axis(score, goal.words(), goal.mode)
    best = experiment.best(goal) if goal.mode else -1
    some = sampled(len(experiment), max(300, SHOWN // len(data)), [best] if best >= 0 else [])
    text_of = dict(zip(some.tolist(), experiment.hover(some, goal), strict=True))
    panels = []
    for k, one in enumerate(data):
        kept = np.flatnonzero(np.isin(one.position, some))
        position, x = one.position[kept], spread(one.parameter, one.value[kept])
        colours = Colours(position + 1.0, "number of the trial", 1.0, float(max(2, len(experiment))))
        hover = [text_of[p] for p in position.tolist()]
        marks: list[Mark] = [Points(x, one.score[kept], "", colours, hover, size=5.0, opacity=0.65)]
        at_best = np.flatnonzero(position == best)
        if len(at_best):
            marks.append(_star(x[at_best], one.score[kept][at_best], [hover[int(at_best[0])]]))
        y = axis if k % COLUMNS == 0 else axis._replace(title="")
        panels.append(Panel(marks, axis_of(one.parameter), y, one.parameter.name, 280.0))
    more = f"{len(some):,} of {len(experiment):,} trials are shown." if len(some) < len(experiment) else ""
    return Chart("Score over each parameter", panels, joined(more, note), min(COLUMNS, len(panels)))


def _star(x: Floats, y: Floats, hover: list[str]) -> Points:
    return Points(x, y, "best trial", "#d9702b", hover, "star", 13.0)


def slices(
    analysis: Any,
    metric: str | None = None,
    mode: str | None = None,
    *,
    params: Sequence[str] | None = None,
    scope: str | None = None,
    backend: str = "plotly",
) -> Any:
    """Scores over each parameter; colours go from the first trials to the last.

    Args:
        analysis, metric, mode, scope, backend: as for :func:`history`.
        params: names of parameters, nested ones as "a/b"; by default the first twelve of the space.

    Raises:
        ValueError: as for :func:`history`, or a parameter that no two trials differ in (it says which there are).
    """
    experiment = experiment_of(analysis)
    goal = experiment.goal(metric, mode, scope, needs_mode=False)
    return drawn(slices_chart(experiment, goal, slices_data(experiment, goal, params)), backend)


# ---- two at a time


class Pair(NamedTuple):
    """The trials that have both parameters and a score."""

    x: Parameter
    y: Parameter
    position: Ints
    rank: Floats  # 0 the best, 1 the worst of all trials; equal scores share one


def rank_data(experiment: ExperimentData, goal: Goal, params: Sequence[str] | None = None) -> list[Pair]:
    """The values of the picture ``rank``, one for each pair of parameters."""
    losses = goal.sign * experiment.score(goal)
    has = np.isfinite(losses)
    ranks = np.full(len(losses), np.nan)
    ordered = np.sort(losses[has])
    first = np.searchsorted(ordered, losses[has], side="left")
    last = np.searchsorted(ordered, losses[has], side="right") - 1
    ranks[has] = (first + last) / 2 / max(1, len(ordered) - 1)
    found = []
    for x, y in combinations(experiment.chosen(params, least=2, most=PAIRED), 2):
        at = np.flatnonzero(has & np.isfinite(x.values) & np.isfinite(y.values))
        found.append(Pair(x, y, at, ranks[at]))
    return found


def rank_chart(experiment: ExperimentData, goal: Goal, data: list[Pair]) -> Chart:
    best = experiment.best(goal)
    some = sampled(len(experiment), max(300, SHOWN // len(data)), [best])
    text_of = dict(zip(some.tolist(), experiment.hover(some, goal), strict=True))
    panels = []
    for one in data:
        kept = np.flatnonzero(np.isin(one.position, some))
        position = one.position[kept]
        x, y = spread(one.x, one.x.values[position]), spread(one.y, one.y.values[position])
        hover = [text_of[p] for p in position.tolist()]
        colours = Colours(one.rank[kept], "rank (0: the best trial, 1: the worst)", 0.0, 1.0, reversed=True)
        marks: list[Mark] = [Points(x, y, "", colours, hover, size=6.0, opacity=0.75)]
        at_best = np.flatnonzero(position == best)
        if len(at_best):
            marks.append(Points(x[at_best], y[at_best], "best trial", BEST, [hover[int(at_best[0])]], "star", 12.0))
        panels.append(Panel(marks, axis_of(one.x), axis_of(one.y), f"{one.y.name} over {one.x.name}", 300.0))
    more = f"{len(some):,} of {len(experiment):,} trials are shown." if len(some) < len(experiment) else ""
    return Chart(f"Rank of each trial's {goal.words()}", panels, more, min(COLUMNS, len(panels)))


def rank(
    analysis: Any,
    metric: str | None = None,
    mode: str | None = None,
    *,
    params: Sequence[str] | None = None,
    scope: str | None = None,
    backend: str = "plotly",
) -> Any:
    """Where good and bad trials lie, for each pair of parameters: colours are ranks, so no outlier uses up the scale.

    Args:
        analysis, metric, mode, scope, backend: as for :func:`history`.
        params: names of two or more parameters; by default the first four of the space.

    Raises:
        ValueError: as for :func:`slices`, or fewer than two parameters.
    """
    experiment = experiment_of(analysis)
    goal = experiment.goal(metric, mode, scope)
    return drawn(rank_chart(experiment, goal, rank_data(experiment, goal, params)), backend)


class Surface(NamedTuple):
    """A score over two parameters, as its mean near each cell: ``z[row, column]`` at (x_at[column], y_at[row])."""

    x: Parameter
    y: Parameter
    x_at: Floats
    y_at: Floats
    z: Floats  # NaN where no trial is near
    position: Ints  # of the trials that it is made of


def contour_data(experiment: ExperimentData, goal: Goal, params: Sequence[str] | None = None) -> list[Surface]:
    """The values of the picture ``contour``: scores smoothed over a grid, each trial by its distance; categories apart.

    Losses far worse than the rest count as the worst 5 %: one of them would be all that is seen.
    """
    score = experiment.score(goal)
    known = score[np.isfinite(score)]
    tamed = np.clip(score, *((np.quantile(known, 0.05), None) if goal.mode == "max" else (None, np.quantile(known, 0.95))))
    found = []
    for x, y in combinations(experiment.chosen(params, least=2, most=PAIRED - 1), 2):
        at = np.flatnonzero(np.isfinite(score) & np.isfinite(x.values) & np.isfinite(y.values))
        columns, x_at, x_near = _cells(x, x.units()[at])
        rows, y_at, y_near = _cells(y, y.units()[at])
        shape = (y_near.shape[1], x_near.shape[1])
        weight, total = np.zeros(shape), np.zeros(shape)
        np.add.at(weight, (rows, columns), 1.0)
        np.add.at(total, (rows, columns), tamed[at])
        near = y_near @ weight @ x_near.T
        with np.errstate(invalid="ignore", divide="ignore"):
            z = np.where(near >= SPARSE, (y_near @ total @ x_near.T) / near, np.nan)
        found.append(Surface(x, y, x_at, y_at, z, at))
    return found


def _cells(parameter: Parameter, units: Floats) -> tuple[Ints, Floats, Floats]:
    """(the fine cell of each trial, the values at the drawn cells, how near each fine cell is to each drawn one)."""
    if parameter.labels is not None:
        n = len(parameter.labels)
        return np.minimum((units * n).astype(np.int64), n - 1), np.arange(float(n)), np.eye(n)
    fine, drawn_at = (np.arange(FINE) + 0.5) / FINE, np.linspace(0.0, 1.0, CELLS)
    near = np.exp(-0.5 * ((drawn_at[:, None] - fine[None, :]) / WIDTH) ** 2)
    return np.minimum((units * FINE).astype(np.int64), FINE - 1), parameter.at(drawn_at), near


def contour_chart(experiment: ExperimentData, goal: Goal, data: list[Surface]) -> Chart:
    best = experiment.best(goal)
    some = sampled(len(experiment), SHOWN // 10, [best])
    text_of = dict(zip(some.tolist(), experiment.hover(some, goal), strict=True))
    drawn_values = np.concatenate([one.z[np.isfinite(one.z)] for one in data])
    scale = colours_of(drawn_values, f"mean {goal.metric} nearby", goal.mode)
    low, high = float(drawn_values.min(initial=np.inf)), float(drawn_values.max(initial=-np.inf))
    if not low < high:
        low, high = scale.low, scale.high
    panels = []
    for one in data:
        hover = [[f"{one.x.name} = {_said(one.x, x)}\n{one.y.name} = {_said(one.y, y)}\nmean {goal.metric} nearby: {number_text(z)}"
                  for x, z in zip(one.x_at, row, strict=True)] for y, row in zip(one.y_at, one.z, strict=True)]  # fmt: skip
        marks: list[Mark] = [Heat(one.x_at, one.y_at, one.z, scale.title, low, high, scale.reversed, hover)]
        position = one.position[np.isin(one.position, some)]
        x, y = spread(one.x, one.x.values[position]), spread(one.y, one.y.values[position])
        texts = [text_of[p] for p in position.tolist()]
        marks.append(Points(x, y, "", "#1c1f24", texts, size=3.5, opacity=0.5))
        at_best = np.flatnonzero(position == best)
        if len(at_best):
            marks.append(Points(x[at_best], y[at_best], "best trial", BEST, [texts[int(at_best[0])]], "star", 13.0))
        panels.append(Panel(marks, axis_of(one.x), axis_of(one.y), f"{one.y.name} over {one.x.name}", 320.0))
    note = "Each cell is the mean of the trials around it, weighted by distance; it is left open where no trial is near."
    return Chart(f"{goal.words()} over pairs of parameters", panels, note, min(COLUMNS, len(panels)))


def _said(parameter: Parameter, value: float) -> str:
    return number_text(value) if parameter.labels is None else parameter.labels[round(value)]


def contour(
    analysis: Any,
    metric: str | None = None,
    mode: str | None = None,
    *,
    params: Sequence[str] | None = None,
    scope: str | None = None,
    backend: str = "plotly",
) -> Any:
    """The mean score over each pair of parameters, smoothed, with the trials on it.

    Args:
        analysis, metric, mode, scope, backend: as for :func:`history`.
        params: names of two or more parameters; by default the first three of the space.

    Raises:
        ValueError: as for :func:`slices`, or fewer than two parameters.
    """
    experiment = experiment_of(analysis)
    goal = experiment.goal(metric, mode, scope)
    return drawn(contour_chart(experiment, goal, contour_data(experiment, goal, params)), backend)
