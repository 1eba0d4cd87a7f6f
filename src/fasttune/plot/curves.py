"""Learning curves: what each trial reported, step by step, coloured by what became of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fasttune.plot.chart import BLUE, GREEN, GREY, RED, Axis, Band, Chart, Line, Mark, Panel, Points, joined, score_axis
from fasttune.plot.data import (
    FAILED,
    FINISHED,
    OUTCOMES,
    STOPPED,
    ExperimentData,
    Floats,
    Goal,
    Ints,
    experiment_of,
    number_text,
)
from fasttune.plot.drawn import drawn

ALL_SHOWN = 150  # curves; of more trials a sample is drawn, over bands that all of them make
SAMPLE, TOP = 60, 5
POINTS = 150  # of a curve
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
BEST = "#d9702b"
COLOUR_OF = {FINISHED: BLUE, STOPPED: GREY, FAILED: RED}
WIDE_STEPS = 30.0  # times the least step, from where on steps are drawn on a logarithmic axis


class DrawnCurve(NamedTuple):
    """One trial's values."""

    position: int
    outcome: int
    step: Floats
    value: Floats


class DrawnCurves(NamedTuple):
    """Curves to draw one by one, and bands of all trials: ``bands[k]`` is the quantile LEVELS[k] at ``band_step``."""

    curves: list[DrawnCurve]
    best: list[int]  # positions of the best trials, best first
    band_step: Floats
    bands: Floats  # quantiles x steps, over the trials that reported at the step
    reached: Ints  # how many these were
    trials: int  # that reported the metric
    values: Floats  # all of them


def curves_data(experiment: ExperimentData, goal: Goal) -> DrawnCurves:
    """The values of the picture ``curves``. Of more than 150 trials: bands, and a sample of curves with the best in it."""
    reports = experiment.reports(goal.metric)
    if not len(reports.value):
        experiment.score(goal)  # says that there is nothing
    starts = np.flatnonzero(np.diff(reports.position, prepend=-1))
    ends = np.append(starts[1:], len(reports.position))
    owner = reports.position[starts]
    losses = goal.sign * experiment.score(goal)[owner]
    by_score = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")
    shown = _chosen(by_score, experiment.outcome[owner])
    curves = []
    for k in shown.tolist():
        rows = np.arange(starts[k], ends[k])
        if len(rows) > POINTS:
            rows = rows[np.unique(np.linspace(0, len(rows) - 1, POINTS).round().astype(np.int64))]
        at = int(owner[k])
        curves.append(DrawnCurve(at, int(experiment.outcome[at]), reports.step[rows].astype(float), reports.value[rows]))
    steps, bands, reached = _bands(reports.step, reports.value) if len(owner) > ALL_SHOWN else _no_bands()
    return DrawnCurves(curves, owner[by_score[:TOP]].tolist(), steps, bands, reached, len(owner), reports.value)


def _chosen(by_score: Ints, outcome: Ints) -> Ints:
    """Which trials get a curve: all, or the best and as many of each outcome."""
    if len(by_score) <= ALL_SHOWN:
        return np.arange(len(by_score))
    random = np.random.default_rng(0)
    kinds = np.unique(outcome)
    chosen = [by_score[:TOP]]
    for kind in kinds.tolist():
        of_it = np.flatnonzero(outcome == kind)
        chosen.append(random.choice(of_it, min(len(of_it), max(1, SAMPLE // len(kinds))), replace=False))
    return np.unique(np.concatenate(chosen))


def _no_bands() -> tuple[Floats, Floats, Ints]:
    return np.empty(0), np.empty((len(LEVELS), 0)), np.empty(0, np.int64)


def _bands(step: Ints, value: Floats) -> tuple[Floats, Floats, Ints]:
    """(steps, quantiles x steps, how many): quantiles of the values at each step, or at about 150 of them."""
    order = np.lexsort((value, step))
    step, value = step[order], value[order]
    firsts = np.flatnonzero(np.diff(step, prepend=-1))
    counts = np.diff(np.append(firsts, len(step)))
    kept = np.arange(len(firsts))
    if len(kept) > POINTS:
        kept = np.unique(np.geomspace(1, len(firsts), POINTS).round().astype(np.int64)) - 1
    firsts, counts = firsts[kept], counts[kept]
    bands = np.empty((len(LEVELS), len(firsts)))
    for k, level in enumerate(LEVELS):  # the values of a step are sorted: a quantile is two of them
        at = firsts + level * (counts - 1)
        low = np.floor(at).astype(np.int64)
        high = np.minimum(low + 1, firsts + counts - 1)
        bands[k] = value[low] + (at - low) * (value[high] - value[low])
    return step[firsts].astype(float), bands, counts.astype(np.int64)


def curves_chart(experiment: ExperimentData, goal: Goal, data: DrawnCurves) -> Chart:
    marks: list[Mark] = []
    if len(data.band_step):
        marks.append(Band(data.band_step, data.bands[0], data.bands[4], "5 % to 95 % of all trials", BLUE, 0.13))
        marks.append(Band(data.band_step, data.bands[1], data.bands[3], "25 % to 75 %", BLUE, 0.24))
        hover = [
            f"step {step:,.0f}\nmedian of {n:,} trials: {number_text(value)}"
            for step, n, value in zip(data.band_step, data.reached, data.bands[2], strict=True)
        ]
        marks.append(Line(data.band_step, data.bands[2], "median", BLUE, hover, 2.2))
    best = set(data.best[:1])
    positions = [one.position for one in data.curves]
    texts = dict(zip(positions, experiment.hover(np.array(positions), goal), strict=True))
    for kind in sorted({one.outcome for one in data.curves}):
        some = [one for one in data.curves if one.outcome == kind and one.position not in best]
        if some:
            name, colour = OUTCOMES[kind], COLOUR_OF.get(kind, GREEN)
            marks.append(_together(some, name, colour, texts))
            lone = [one for one in some if len(one.step) == 1]  # a line through one point is not seen
            if lone:
                hover = [texts[one.position] for one in lone]
                x, y = (np.array([axis[0] for axis in of]) for of in ([c.step for c in lone], [c.value for c in lone]))
                marks.append(Points(x, y, name, colour, hover, size=4.0, opacity=0.6))
    for one in data.curves:
        if one.position in best:
            marks.append(Line(one.step, one.value, "best trial", BEST, _hover(one, texts), 2.6))
    axis, note = score_axis(data.values, goal.metric + (f" ({goal.mode})" if goal.mode else ""), goal.mode)
    longest = max(float(one.step[-1]) for one in data.curves)
    more = ""
    if len(data.curves) < data.trials:
        more = f"{len(data.curves):,} of {data.trials:,} curves are shown; a band is of the trials that reported at the step."
    along = Axis("step (training_iteration)", log=longest > WIDE_STEPS)
    return Chart("Learning curves", [Panel(marks, along, axis)], joined(more, note))


def _together(curves: list[DrawnCurve], name: str, colour: str, texts: dict[int, str]) -> Line:
    """Many curves as one line with gaps: a page of a hundred lines is slow."""
    gap = np.array([np.nan])
    x = np.concatenate([part for one in curves for part in (one.step, gap)])
    y = np.concatenate([part for one in curves for part in (one.value, gap)])
    hover = [text for one in curves for text in (*_hover(one, texts), "")]
    return Line(x, y, name, colour, hover, 1.0, opacity=0.55)


def _hover(one: DrawnCurve, texts: dict[int, str]) -> list[str]:
    """The whole text stands at a curve's end: at each of its points it would be most of the page."""
    name = texts[one.position].split("\n", 1)[0]
    short = [f"{name}\nstep {step:,.0f}: {number_text(value)}" for step, value in zip(one.step, one.value, strict=True)]
    return [*short[:-1], texts[one.position]]


def curves(
    analysis: Any, metric: str | None = None, mode: str | None = None, *, scope: str | None = None, backend: str = "plotly"
) -> Any:
    """The values that trials reported, step by step, coloured by what became of them: finished, stopped early, failed.

    Of more than 150 trials there are bands (quantiles of all trials that reported at a step), and a sample of curves with
    the best ones. A single report is a point.

    Args:
        analysis, metric, mode, scope, backend: as for :func:`history`; the scope says which trial is the best.

    Raises:
        ValueError: as for :func:`history`.
    """
    experiment = experiment_of(analysis)
    goal = experiment.goal(metric, mode, scope)
    return drawn(curves_chart(experiment, goal, curves_data(experiment, goal)), backend)
