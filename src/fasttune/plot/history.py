"""Pictures of scores: the history of a search, and how the scores are distributed."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from fasttune.plot.chart import (
    BLUE,
    GREEN,
    GREY,
    PALETTE,
    RED,
    Axis,
    Chart,
    Line,
    Mark,
    Panel,
    Points,
    joined,
    score_axis,
)
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
    sampled,
)
from fasttune.plot.drawn import drawn

SHOWN = 2000  # points; beyond that a page gets heavy and its points cover each other
STAIRS = 1000  # points of a distribution
COLOUR_OF = {FINISHED: BLUE, STOPPED: GREY, FAILED: RED}
SYMBOL_OF = {FINISHED: "circle", STOPPED: "circle", FAILED: "x"}


class History(NamedTuple):
    """Scores in the order of the trials, or of time. Arrays of one entry for each trial that has a score, by ``x``."""

    position: Ints
    x: Floats  # number of the trial, from 1, or seconds since the run began
    score: Floats
    outcome: Ints
    best_x: Floats  # where the best score so far got better; the last x ends it
    best: Floats
    failed: Ints  # positions of trials that failed and have no score
    failed_x: Floats


def history_data(experiment: ExperimentData, goal: Goal, over: str = "trials") -> History:
    """The values of the picture ``history``."""
    if over not in ("trials", "time"):
        raise ValueError(f'over must be "trials" or "time", got {over!r}')
    score = experiment.score(goal)
    if over == "time":
        times = experiment.report_times[0]
        x = experiment.last_time - (float(times.min()) if experiment.began is None else experiment.began)
    else:
        x = np.arange(1.0, len(experiment) + 1)
    has = np.flatnonzero(np.isfinite(score) & np.isfinite(x))
    order = has[np.argsort(x[has], kind="stable")]
    losses = goal.sign * score[order]
    lowest = np.minimum.accumulate(losses)
    better = np.flatnonzero(np.diff(lowest, prepend=np.inf) < 0)
    failed = np.flatnonzero((experiment.outcome == FAILED) & ~np.isfinite(score) & np.isfinite(x))
    return History(
        order,
        x[order],
        score[order],
        experiment.outcome[order],
        np.append(x[order][better], x[order][-1]),
        goal.sign * np.append(lowest[better], lowest[-1]),
        failed,
        x[failed],
    )


def history_chart(experiment: ExperimentData, goal: Goal, data: History, over: str = "trials") -> Chart:
    shown = sampled(len(data.x), SHOWN, always=np.flatnonzero(np.isin(data.x, data.best_x)).tolist())
    hover = np.array(experiment.hover(data.position[shown], goal), dtype=object)
    marks: list[Mark] = []
    outcome = data.outcome[shown]
    for kind in np.unique(outcome).tolist():
        of_it = outcome == kind
        marks.append(
            Points(
                data.x[shown][of_it],
                data.score[shown][of_it],
                OUTCOMES[kind],
                COLOUR_OF.get(kind, GREEN),
                hover[of_it].tolist(),
                SYMBOL_OF.get(kind, "circle"),
                6.0,
                0.65,
            )
        )
    axis, note = score_axis(data.score, goal.words(), goal.mode)
    if len(data.failed):
        some = sampled(len(data.failed), SHOWN // 4)
        worst = float((goal.sign * data.score).max()) * goal.sign
        if axis.range is not None:
            worst = axis.range[0] if goal.mode == "max" else axis.range[1]
        hover_failed = experiment.hover(data.failed[some])
        name = "failed, without a value (at the edge)"
        marks.append(Points(data.failed_x[some], np.full(len(some), worst), name, RED, hover_failed, "x", 6.0))
    marks.append(Line(data.best_x, data.best, "best so far", "#d9702b", width=2.2, step=True))
    x = Axis("number of the trial, in the order of suggestion" if over == "trials" else "seconds since the run began")
    more = f"{len(shown):,} of {len(data.x):,} trials are shown." if len(shown) < len(data.x) else ""
    return Chart("History of the search", [Panel(marks, x, axis)], joined(more, note))


def history(
    analysis: Any,
    metric: str | None = None,
    mode: str | None = None,
    *,
    scope: str | None = None,
    over: Literal["trials", "time"] = "trials",
    backend: str = "plotly",
) -> Any:
    """Every trial's score and the best so far, by the number of the trial or by the time of its last report.

    Args:
        analysis: an ExperimentAnalysis, a ResultGrid or an experiment's folder.
        metric, mode, scope: as for ``ExperimentAnalysis.get_best_trial``; the run's own by default.
        over: what the horizontal axis is: "trials" or "time".
        backend: "plotly", or "matplotlib" for a picture that does not move.

    Raises:
        ValueError: an unknown metric (it says which there are), no mode, or nothing to draw (it says why).
        ImportError: the library is not installed; it says what to install.
    """
    experiment = experiment_of(analysis)
    goal = experiment.goal(metric, mode, scope)
    return drawn(history_chart(experiment, goal, history_data(experiment, goal, over), over), backend)


# ---- distribution


class Distribution(NamedTuple):
    """How many trials are at least as low as a score."""

    name: str  # of the experiment
    score: Floats  # ascending
    fraction: Floats  # of the trials that have a score
    trials: int


def edf_data(experiment: ExperimentData, goal: Goal) -> Distribution:
    """The values of the picture ``edf``: all scores, or about a thousand of them at even distances."""
    score = experiment.score(goal)
    score = np.sort(score[np.isfinite(score)])
    n = len(score)
    at = np.arange(n) if n <= STAIRS else np.unique(np.linspace(0, n - 1, STAIRS).round().astype(np.int64))
    return Distribution(experiment.name, score[at], (at + 1) / n, n)


def edf_chart(goal: Goal, found: list[Distribution]) -> Chart:
    marks: list[Mark] = []
    several = len(found) > 1
    for k, one in enumerate(found):
        name = f"{one.name} ({one.trials:,} trials)" if several else ""
        score, fraction = np.append(one.score[:1], one.score), np.append(0.0, one.fraction)
        marks.append(Line(score, fraction, name, PALETTE[k % len(PALETTE)], width=2.0, step=True))
    axis, note = score_axis(np.concatenate([one.score for one in found]), goal.words(), goal.mode)
    y = Axis("share of trials with at most this value", range=(-0.02, 1.02))
    return Chart("Distribution of the scores", [Panel(marks, axis, y)], note)


def edf(
    analysis: Any,
    *others: Any,
    metric: str | None = None,
    mode: str | None = None,
    scope: str | None = None,
    backend: str = "plotly",
) -> Any:
    """The share of trials whose score is at most a value: of one experiment, or of several to compare.

    Args:
        analysis, others: analyses, ResultGrids or folders; metric and mode are those of the first.
        metric, mode, scope, backend: as for :func:`history`; a mode is not needed.

    Raises:
        ValueError: as for :func:`history`.
    """
    experiments = [experiment_of(one) for one in (analysis, *others)]
    goal = experiments[0].goal(metric, mode, scope, needs_mode=False)
    for one in experiments[1:]:
        one.goal(goal.metric, goal.mode or "min", goal.scope)
    return drawn(edf_chart(goal, [edf_data(one, goal) for one in experiments]), backend)
