"""Parallel coordinates: a line for each trial through all its parameters, coloured by its score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fasttune.plot.chart import SCALE, Axis, Chart, Colours, Labels, Line, Mark, Panel, Points, colours_of
from fasttune.plot.data import ExperimentData, Floats, Goal, Ints, experiment_of, number_text
from fasttune.plot.drawn import drawn
from fasttune.plot.parameters import Parameter

SHOWN = 300  # lines
SHADES = 10
MOST = 10  # parameters, unless somebody asks for more by name
MOST_TEXTS = 15  # beside an axis
NO_VALUE = -0.12  # where a line passes the axis of a parameter that its trial does not have


class Parallel(NamedTuple):
    """Where each line passes each axis, from 0 to 1: ``places[line, axis]``; the last axis is the score's."""

    parameters: list[Parameter]
    position: Ints  # of each line's trial, the worst first: the best are drawn on top
    places: Floats
    score: Floats
    low: float  # of the score's axis
    high: float


def parallel_data(experiment: ExperimentData, goal: Goal, params: Sequence[str] | None = None) -> Parallel:
    """The values of the picture ``parallel``: the best third of what is drawn are the best trials, the rest is drawn evenly."""
    score = experiment.score(goal)
    parameters = experiment.chosen(params, most=MOST)
    has = np.flatnonzero(np.isfinite(score))
    order = has[np.argsort(-goal.sign * score[has], kind="stable")]  # the worst first
    if len(order) > SHOWN:
        best, rest = order[-(SHOWN // 3) :], order[: -(SHOWN // 3)]
        drawn_rest = np.sort(np.random.default_rng(0).choice(len(rest), SHOWN - len(best), replace=False))
        order = np.concatenate([rest[drawn_rest], best])
    scale = colours_of(score[order], goal.words(), goal.mode)
    low, high = scale.low, scale.high
    columns = [parameter.units()[order] for parameter in parameters]
    columns.append(np.clip((score[order] - low) / (high - low), 0.0, 1.0))
    places = np.column_stack(columns)
    places[~np.isfinite(places)] = NO_VALUE
    return Parallel(parameters, order, places, score[order], low, high)


def parallel_chart(experiment: ExperimentData, goal: Goal, data: Parallel) -> Chart:
    n = data.places.shape[1]
    shade = _shade(data, goal)
    texts = experiment.hover(data.position, goal)
    marks: list[Mark] = []
    across, gap = np.append(np.arange(n, dtype=float), np.nan), np.array([np.nan])
    for k in range(SHADES):
        lines = np.flatnonzero(shade == k)
        if len(lines):
            x = np.tile(across, len(lines))
            y = np.concatenate([np.concatenate([data.places[line], gap]) for line in lines])
            hover = [part for line in lines for part in (*[_short(texts[line])] * (n - 1), texts[line], "")]
            marks.append(Line(x, y, "", _colour(k / (SHADES - 1)), hover, 1.1, opacity=0.35 + 0.5 * k / (SHADES - 1)))
    marks.append(Line(across[:-1], data.places[-1], "best trial", "#d9702b", [texts[-1]] * n, 3.0))
    for at, parameter in enumerate([*data.parameters, None]):
        marks.append(Line(np.array([at, at], dtype=float), np.array([0.0, 1.0]), "", "#8b919b", None, 1.2))
        marks += _ticks(at, parameter, data)
    scale = Colours(data.score[-1:], goal.words(), data.low, data.high, goal.mode == "min")
    marks.append(Points(np.array([n - 1.0]), data.places[-1, -1:], "", scale, [texts[-1]], size=8.0))
    names = [*(parameter.name for parameter in data.parameters), goal.words()]
    up = Axis("", range=(-0.18, 1.06), ticks=((), ()), grid=False)
    along = Axis("", ticks=(list(range(n)), names), range=(-0.35, n - 0.45), grid=False)
    note = f"{len(data.position):,} trials are shown, the best of all among them." if len(data.position) < len(experiment) else ""
    if (data.places == NO_VALUE).any():
        note += " A line passes below the axis of a parameter that its trial does not have."
    return Chart("Parameters of each trial", [Panel(marks, along, up, height=400.0)], note.strip())


class _Tick(NamedTuple):
    at: float
    text: str


def _ticks(at: int, parameter: Parameter | None, data: Parallel) -> list[Mark]:
    """Small marks on an axis, with their values as hover texts and, in the middle of the picture, beside them."""
    if parameter is None:
        found = [_Tick(k / 4, number_text(data.low + k / 4 * (data.high - data.low))) for k in range(5)]
    elif parameter.labels is not None:
        every = -(-len(parameter.labels) // MOST_TEXTS)
        found = [_Tick((k + 0.5) / len(parameter.labels), text) for k, text in enumerate(parameter.labels) if k % every == 0]
    else:
        units = np.linspace(0.0, 1.0, 5)
        found = [_Tick(float(u), f"{v:.3g}") for u, v in zip(units, parameter.at(units), strict=True)]
    return [Labels(np.full(len(found), at, dtype=float), np.array([tick.at for tick in found]), [tick.text for tick in found])]


def _shade(data: Parallel, goal: Goal) -> Ints:
    goodness = data.places[:, -1] if goal.mode == "max" else 1.0 - data.places[:, -1]
    return np.minimum((goodness * SHADES).astype(np.int64), SHADES - 1)


def _colour(at: float) -> str:
    """A colour of the scale, 0 the worst."""
    stops = [[int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in SCALE]
    place = at * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    mixed = [a + (place - low) * (b - a) for a, b in zip(stops[low], stops[low + 1], strict=True)]
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


def _short(text: str) -> str:
    return "\n".join(text.split("\n")[:2])


def parallel(
    analysis: Any,
    metric: str | None = None,
    mode: str | None = None,
    *,
    params: Sequence[str] | None = None,
    scope: str | None = None,
    backend: str = "plotly",
) -> Any:
    """Parallel coordinates: the best hundred trials and an even sample of the rest, coloured by their scores.

    Args:
        analysis, metric, mode, scope, backend: as for :func:`history`.
        params: names of parameters in the order of their axes; by default the first ten of the space.

    Raises:
        ValueError: as for :func:`slices`.
    """
    experiment = experiment_of(analysis)
    goal = experiment.goal(metric, mode, scope)
    return drawn(parallel_chart(experiment, goal, parallel_data(experiment, goal, params)), backend)
