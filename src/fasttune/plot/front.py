"""The Pareto front: trials that no other trial beats in all metrics at once, and how much they cover."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from fasttune.analysis.fronts import reference_of
from fasttune.pareto import hypervolumes, pareto_front
from fasttune.plot.chart import GREY, Axis, Chart, Line, Mark, Panel, Points, joined, score_axis
from fasttune.plot.data import ExperimentData, Floats, Goal, Ints, experiment_of, number_text, sampled
from fasttune.plot.drawn import drawn

SHOWN = 2000
BEST = "#d9702b"


class Front(NamedTuple):
    """The trials that have every metric, and those of them that are on the front."""

    position: Ints
    scores: Floats  # trials x metrics
    front: Ints  # rows of ``scores``, by the first metric, best first


def front_data(experiment: ExperimentData, goals: list[Goal]) -> Front:
    """The values of the picture ``pareto``."""
    scores = np.column_stack([experiment.score(goal) for goal in goals])
    position = np.flatnonzero(np.isfinite(scores).all(axis=1))
    if not len(position):
        raise ValueError(
            f"there is nothing to draw: no trial has finite values of all of {', '.join(repr(goal.metric) for goal in goals)}"
        )
    signs = np.array([goal.sign for goal in goals])
    return Front(position, scores[position], pareto_front(scores[position] * signs))


def front_chart(experiment: ExperimentData, goals: list[Goal], data: Front) -> Chart:
    on_front = np.isin(np.arange(len(data.position)), data.front)
    some = sampled(len(data.position), SHOWN, data.front.tolist())
    texts = dict(zip(some.tolist(), experiment.hover(data.position[some]), strict=True))
    for row, text in texts.items():
        first, rest = text.split("\n", 1)
        told = "\n".join(f"{goal.metric} = {number_text(value)}" for goal, value in zip(goals, data.scores[row], strict=True))
        texts[row] = f"{first}\n{told}\n{rest}"
    panels, notes = [], []
    for i, j in combinations(range(len(goals)), 2):
        rest, best = some[~on_front[some]], some[on_front[some]]
        best = best[np.argsort(data.scores[best, i], kind="stable")]
        marks: list[Mark] = [
            _points(data, rest, i, j, texts)._replace(name="other trials", colour=GREY, size=5.0, opacity=0.6),
            _points(data, best, i, j, texts)._replace(name="Pareto front", colour=BEST, size=8.0),
        ]
        if len(goals) == 2:
            x, y = _stairs(data.scores[best, i], data.scores[best, j], goals[i], goals[j])
            marks.append(Line(x, y, "", BEST, None, 1.5))
        x_axis, x_note = score_axis(data.scores[:, i], goals[i].words(), goals[i].mode)
        y_axis, y_note = score_axis(data.scores[:, j], goals[j].words(), goals[j].mode)
        notes += [x_note, y_note]
        panels.append(Panel(marks, x_axis, y_axis, f"{goals[j].metric} over {goals[i].metric}" if len(goals) > 2 else ""))
    n = len(data.front)
    said = f"{n:,} of {len(data.position):,} trials {'is' if n == 1 else 'are'} on the front: "
    said += "no other is as good in all metrics and better in one."
    more = f"{len(some):,} trials are shown." if len(some) < len(data.position) else ""
    return Chart("Pareto front", panels, joined(said, more, *dict.fromkeys(notes)), min(2, len(panels)))


def _points(data: Front, rows: Ints, i: int, j: int, texts: dict[int, str]) -> Points:
    return Points(data.scores[rows, i], data.scores[rows, j], hover=[texts[k] for k in rows.tolist()])


def _stairs(x: Floats, y: Floats, first: Goal, second: Goal) -> tuple[Floats, Floats]:
    """The border of what the front beats: corners on the side that is worse."""
    if len(x) < 2:
        return x, y
    corners_x, corners_y = [x[0]], [y[0]]
    for k in range(1, len(x)):
        worse_x = max(x[k - 1], x[k]) if first.mode == "min" else min(x[k - 1], x[k])
        corner_y = y[k - 1] if worse_x == x[k] else y[k]
        corners_x += [worse_x, x[k]]
        corners_y += [corner_y, y[k]]
    return np.array(corners_x), np.array(corners_y)


def pareto(analysis: Any, metrics: Mapping[str, str] | None = None, *, scope: str | None = None, backend: str = "plotly") -> Any:
    """Each trial's values of two metrics (or more, pair by pair), and the trials that no other one beats.

    Args:
        analysis, scope, backend: as for :func:`history`.
        metrics: "min" or "max" for each metric, e.g. ``{"loss": "min", "seconds": "min"}``; None: those of a run with several.

    Raises:
        ValueError: as for :func:`history`, or fewer than two metrics.
    """
    experiment = experiment_of(analysis)
    goals = goals_of(experiment, metrics, scope, "pareto")
    return drawn(front_chart(experiment, goals, front_data(experiment, goals)), backend)


def goals_of(experiment: ExperimentData, metrics: Mapping[str, str] | None, scope: str | None, picture: str) -> list[Goal]:
    """The goals of a picture of several metrics, or those of the run. ValueError for fewer than two."""
    wanted = experiment.analysis.objectives if metrics is None else metrics
    if not isinstance(wanted, Mapping) or len(wanted) < 2:
        raise ValueError(f'{picture} needs two metrics or more, e.g. {{"loss": "min", "seconds": "min"}}, got {metrics!r}')
    return [experiment.goal(metric, mode, scope) for metric, mode in wanted.items()]


# ---- what the front covers


class Covered(NamedTuple):
    """The hypervolume after each trial that has every metric, in the order of their last reports."""

    position: Ints
    volume: Floats
    reference: Floats  # a value of each metric


def hypervolume_data(experiment: ExperimentData, goals: list[Goal], reference: Mapping[str, float] | None = None) -> Covered:
    """The values of the picture ``hypervolume``."""
    data = front_data(experiment, goals)
    signs = np.array([goal.sign for goal in goals])
    order = np.argsort(experiment.last_time[data.position], kind="stable")
    losses = data.scores[order] * signs
    modes = {goal.metric: str(goal.mode) for goal in goals}
    worst = losses.max(axis=0) if reference is None else reference_of(modes, reference)
    return Covered(data.position[order], np.fromiter(hypervolumes(losses, worst), np.float64, len(losses)), worst * signs)


def hypervolume_chart(experiment: ExperimentData, goals: list[Goal], data: Covered) -> Chart:
    grows = np.flatnonzero(np.diff(data.volume, prepend=0.0) > 0)
    x = np.arange(1, len(data.volume) + 1, dtype=float)
    some = grows[np.unique(np.linspace(0, len(grows) - 1, min(len(grows), SHOWN)).round().astype(np.int64))] if len(grows) else grows
    marks: list[Mark] = [
        Line(np.append(x[grows], x[-1:]), np.append(data.volume[grows], data.volume[-1:]), "", BEST, None, 2.0, step=True),
        Points(x[some], data.volume[some], "a trial that adds to it", BEST, experiment.hover(data.position[some]), size=6.0),
    ]
    where = ", ".join(f"{goal.metric} = {number_text(value)}" for goal, value in zip(goals, data.reference, strict=True))
    said = f"What at least one trial so far is no worse than, up to {where}. The larger, the better."
    return Chart("Hypervolume of the front", [Panel(marks, Axis("trials, by their last reports"), Axis("hypervolume"))], said)


def hypervolume(
    analysis: Any,
    metrics: Mapping[str, str] | None = None,
    *,
    reference: Mapping[str, float] | None = None,
    scope: str | None = None,
    backend: str = "plotly",
) -> Any:
    """How much the Pareto front covers, trial by trial: a search for several metrics is over where it has become flat.

    Args:
        analysis, scope, backend: as for :func:`history`.
        metrics: as for :func:`pareto`.
        reference: as for ``ExperimentAnalysis.hypervolume``: a value of each metric, up to which is measured.

    Raises:
        ValueError: as for :func:`pareto`, or a reference that lacks a metric.
    """
    experiment = experiment_of(analysis)
    goals = goals_of(experiment, metrics, scope, "hypervolume")
    return drawn(hypervolume_chart(experiment, goals, hypervolume_data(experiment, goals, reference)), backend)
