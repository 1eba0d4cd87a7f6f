"""The pictures of a page: those of ``fasttune.plot``, the curves of one trial, and several experiments in one picture.

A figure is JSON as plotly draws it. The drawer has escaped every text in it that plotly would read as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fasttune.dashboard.question import NotAnswered
from fasttune.dashboard.shelf import Opened
from fasttune.plot.chart import PALETTE, Axis, Chart, Line, Mark, Panel, Points, score_axis
from fasttune.plot.data import Goal
from fasttune.plot.history import history_data
from fasttune.plot.page import BROAD, PAGE, STACKED, TITLES, WITHOUT_GOAL, Entry, front_entries

MOST_METRICS = 12  # of one trial that are drawn
MOST_LOOKED_AT = 200  # until there are so many
LONGEST_CURVE = 2000  # points


class NothingToDraw(Exception):
    """Why there is no picture: no trial was stopped, nobody knows which trials are good, ..."""


class Figure(NamedTuple):
    """One picture; ``json`` is its figure, as text."""

    title: str
    note: str
    height: float  # pixels
    json: str


def entries_of(opened: Opened) -> list[Entry]:
    """The pictures of an experiment, in the order of its page: of one with several metrics its front first."""
    experiment = opened.experiment
    goals = [experiment.goal(name, mode, None) for name, mode in opened.source.objectives.items()] if len(experiment) else []
    return [*front_entries(goals), *PAGE]


def pictures(opened: Opened) -> list[dict[str, Any]]:
    """What pictures there are, in the order of a page."""
    return [
        {
            "name": entry.name,
            "title": TITLES[entry.name],
            "words": entry.words,
            "apart": entry.apart and entry.name not in STACKED,
            "broad": entry.name in BROAD,
            "half": not entry.apart and entry.name not in BROAD,  # two of them stand side by side
        }
        for entry in entries_of(opened)
    ]


def picture(opened: Opened, name: str, metric: str, mode: str) -> list[Figure]:
    """The figures of one picture. NothingToDraw says why there are none; NotAnswered when there is no such picture."""
    entries = {entry.name: entry for entry in entries_of(opened)}
    if name not in entries:
        raise NotAnswered(404, f"there is no picture {name[:40]!r}; there are {', '.join(entries)}")
    found: list[Figure] = opened.once(("picture", name, metric, mode), lambda: _drawn(opened, entries[name], metric, mode))
    return found


def _drawn(opened: Opened, entry: Entry, metric: str, mode: str) -> list[Figure]:
    from fasttune.plot.draw_plotly import single

    goal: Any = None  # some pictures do not look at it
    try:
        goal = opened.experiment.goal(metric or None, mode or None, None)
    except ValueError as error:
        if entry.name not in WITHOUT_GOAL:
            raise NothingToDraw(str(error)) from error
    try:
        chart = entry.chart(opened.experiment, goal)
    except ValueError as error:
        raise NothingToDraw(str(error)) from error
    return [as_figure(one) for one in ([single(chart, panel) for panel in chart.panels] if entry.apart else [chart])]


def as_figure(chart: Chart) -> Figure:
    """A chart without title and ground of its own: the page has them."""
    from fasttune.plot.draw_plotly import figure

    made = figure(chart, bare=True)
    made.update_layout(uirevision="same")  # what was zoomed stays so when the figure is brought up to date
    return Figure(chart.title, chart.note, float(made.layout.height), str(made.to_json()))


# ---- one trial


def trial_curves(opened: Opened, trial: int) -> list[Figure]:
    """What one trial has reported, a figure for each metric, the experiment's own first; [] before its first report."""
    columns = opened.analysis._columns
    rows = columns.rows_of(trial)
    if rows.start == rows.stop:
        return []
    names = sorted(columns.names_in(np.arange(rows.start, rows.stop)), key=lambda name: name != opened.source.metric)
    found: list[Figure] = []
    for name in names[:MOST_LOOKED_AT]:
        if len(found) == MOST_METRICS:
            break
        values, present = columns.metric(name)
        used = np.flatnonzero(present[rows] & np.isfinite(values[rows]))
        if not len(used):
            continue
        if len(used) > LONGEST_CURVE:
            used = used[np.unique(np.linspace(0, len(used) - 1, LONGEST_CURVE).round().astype(np.int64))]
        steps, curve = columns.step[rows][used].astype(float), values[rows][used]
        hover = [f"step {step:.0f}\n{name} = {value:.6g}" for step, value in zip(steps, curve, strict=True)]
        marks: list[Mark] = [Line(steps, curve, hover=hover)] if len(used) > 1 else [Points(steps, curve, hover=hover)]
        axis = score_axis(curve, name, opened.source.mode if name == opened.source.metric else None)[0]
        found.append(as_figure(Chart(name, [Panel(marks, Axis("step"), axis, "", 190.0)])))
    return found


# ---- several experiments


def comparison(several: Sequence[tuple[str, Opened]], over: str) -> list[Figure]:
    """The best value so far of several experiments, a figure for each metric that they have.

    Args:
        several: names, each another one, and experiments.
        over: "time" since each run began, or "trials".

    Raises:
        NothingToDraw: none of them has a metric and values of it.
    """
    lines: dict[tuple[str, str], list[Line]] = {}
    goals: dict[tuple[str, str], Goal] = {}
    without = []
    for k, (name, opened) in enumerate(several):
        try:
            goal = opened.experiment.goal(None, None, None)
            data = history_data(opened.experiment, goal, over)
        except ValueError as error:
            without.append(f"{name}: {error}.")
            continue
        key = goal.metric, str(goal.mode)
        goals[key] = goal
        hover = [f"{name}\n{goal.words()} = {value:.6g}" for value in data.best]
        lines.setdefault(key, []).append(Line(data.best_x, data.best, name, PALETTE[k % len(PALETTE)], hover, 2.2, step=True))
    x = Axis("seconds since the run began" if over == "time" else "number of the trial, in the order of suggestion")
    found = []
    for key, of_it in lines.items():
        axis, note = score_axis(np.concatenate([line.y for line in of_it]), f"best {key[0]} so far ({key[1]})", key[1])
        title = f"{key[0]} ({key[1]})"
        found.append(as_figure(Chart(title, [Panel(of_it, x, axis)], note)))
    if not found:
        raise NothingToDraw(" ".join(without) or "there is nothing to compare")
    return found
