"""Which parameters matter: a bar for each, by PED-ANOVA or by fANOVA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from fasttune.plot.chart import BLUE, GREY, Axis, Bars, Chart, Labels, Mark, Panel, Points
from fasttune.plot.data import ExperimentData, Floats, Goal, experiment_of
from fasttune.plot.drawn import drawn
from fasttune.plot.fanova import variance_shares
from fasttune.plot.ped_anova import divergence

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("ped-anova", "fanova")
FEW = 30  # trials, below which chance decides much


class Importances(NamedTuple):
    """The most important parameter first. Importances are at least 0 and sum to 1, unless all are 0."""

    names: list[str]
    importance: Floats
    chance: Floats | None  # what a parameter without any effect would get, where the method tells it
    trials: int  # that have a score


def importances_data(
    experiment: ExperimentData, goal: Goal, params: Sequence[str] | None = None, method: str = "ped-anova", top: float = 0.1
) -> Importances:
    """The values of the picture ``importances``."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if not 0 < top < 1:
        raise ValueError(f"top is the share of trials that count as the best, between 0 and 1, got {top!r}")
    losses = goal.sign * experiment.score(goal)
    chosen = experiment.chosen(params)
    has = np.isfinite(losses)
    n = int(has.sum())
    if n < 4 or losses[has].min() == losses[has].max():
        raise ValueError(
            f"importances need at least 4 trials with different values of {goal.metric!r}, and there are {n} trials with "
            f"{len(np.unique(losses[has]))} different values"
        )
    if method == "fanova":
        units = np.column_stack([one.units()[has] for one in chosen])
        raw = variance_shares(np.where(np.isfinite(units), units, 0.5), losses[has])  # one that a trial lacks is in the middle
        chance = None
    else:
        found = [divergence(one, losses, top) for one in chosen]
        raw, chance = np.array([one.value for one in found]), np.array([one.chance for one in found])
    total = float(raw.sum())
    scale = 1.0 / total if total > 0 else 0.0
    order = np.argsort(-raw, kind="stable")
    return Importances(
        [chosen[k].name for k in order], raw[order] * scale, None if chance is None else chance[order] * scale, n
    )


def importances_chart(goal: Goal, data: Importances, method: str, top: float) -> Chart:
    places = np.arange(len(data.names), dtype=float)[::-1]  # the first one on top
    texts = [f"{value:.1%}" for value in data.importance]
    hover = [f"{name}: {text}" for name, text in zip(data.names, texts, strict=True)]
    marks: list[Mark] = [Bars(places, data.importance, "", BLUE, None, True, hover)]
    ends = data.importance
    if data.chance is not None:
        hover = [f"without any effect it would get {value:.1%}" for value in data.chance]
        marks.append(Points(data.chance, places, "what chance alone gives", GREY, hover, "diamond", 8.0))
        ends = np.maximum(ends, data.chance)
    largest = max(float(ends.max()), 0.01)
    marks.append(Labels(ends + 0.015 * largest, places, texts))
    said = (
        f"How much values among the best {top:.0%} of trials differ from those among all (PED-ANOVA)."
        if method == "ped-anova"
        else "The share of the variance that a parameter explains alone, in a random forest (fANOVA)."
    )
    few = f" Only {data.trials:,} trials: take it as a hint." if data.trials < FEW else ""
    x = Axis("importance (all together are 1)", range=(0.0, 1.18 * largest))
    y = Axis("", labels=data.names[::-1])
    return Chart(f"Which parameters matter for {goal.words()}", [Panel(marks, x, y, height=70.0 + 34.0 * len(places))], said + few)


def importances(
    analysis: Any,
    metric: str | None = None,
    mode: str | None = None,
    *,
    params: Sequence[str] | None = None,
    method: Literal["ped-anova", "fanova"] = "ped-anova",
    top: float = 0.1,
    scope: str | None = None,
    backend: str = "plotly",
) -> Any:
    """How important each parameter is for a metric. Any metric may be asked for, e.g. ``time_total_s`` with mode="min".

    Args:
        analysis, metric, mode, scope, backend: as for :func:`history`.
        params: names of parameters; by default all.
        method: "ped-anova": which parameters decide whether a trial is among the best. "fanova": which explain the
            metric's variance over the whole space (needs scikit-learn: ``fasttune[importance]``).
        top: the share of trials that are the best, for "ped-anova".

    Raises:
        ValueError: as for :func:`slices`, an unknown method, or fewer than 4 trials with different values.
    """
    experiment = experiment_of(analysis)
    goal = experiment.goal(metric, mode, scope)
    data = importances_data(experiment, goal, params, method, top)
    return drawn(importances_chart(goal, data, method, top), backend)


def importance_table(
    analysis: Any,
    metric: str | None = None,
    mode: str | None = None,
    *,
    params: Sequence[str] | None = None,
    method: Literal["ped-anova", "fanova"] = "ped-anova",
    top: float = 0.1,
    scope: str | None = None,
) -> pd.DataFrame:
    """What the picture shows, as a data frame: columns parameter, importance (all together are 1) and chance, which is what a
    parameter without any effect would get (NaN by fANOVA); the most important parameter first.

    Args:
        analysis, metric, mode, params, method, top, scope: as for :func:`importances`.

    Raises:
        ValueError: as for :func:`importances`.
    """
    import pandas as pd

    experiment = experiment_of(analysis)
    data = importances_data(experiment, experiment.goal(metric, mode, scope), params, method, top)
    chance = np.full(len(data.names), np.nan) if data.chance is None else data.chance
    return pd.DataFrame({"parameter": data.names, "importance": data.importance, "chance": chance})
