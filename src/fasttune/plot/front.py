"""The Pareto front: trials that no other trial beats in all metrics at once."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from fasttune.analysis.pareto import pareto_front
from fasttune.plot.chart import GREY, Chart, Line, Mark, Panel, Points, joined, score_axis
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


def pareto(analysis: Any, metrics: Mapping[str, str], *, scope: str | None = None, backend: str = "plotly") -> Any:
    """Each trial's values of two metrics (or more, pair by pair), and the trials that no other one beats.

    Args:
        analysis, scope, backend: as for :func:`history`.
        metrics: "min" or "max" for each metric, e.g. ``{"loss": "min", "seconds": "min"}``.

    Raises:
        ValueError: as for :func:`history`, or fewer than two metrics.
    """
    if not isinstance(metrics, Mapping) or len(metrics) < 2:
        raise ValueError(f'pareto needs two metrics or more, e.g. {{"loss": "min", "seconds": "min"}}, got {metrics!r}')
    experiment = experiment_of(analysis)
    goals = [experiment.goal(metric, mode, scope) for metric, mode in metrics.items()]
    return drawn(front_chart(experiment, goals, front_data(experiment, goals)), backend)
