"""Which trial is best: the one function that decides it, for the screen, the analysis, the grid and the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.constraints import is_broken
from fasttune.tables.columns import DERIVED, Columns

if TYPE_CHECKING:
    from fasttune.trial import TrialSource

SHARE = 20  # looking for the best takes at most one part in so many of a run


class Best(NamedTuple):
    """The best trial by a metric, a mode and a scope."""

    trial: int
    value: float
    step: int | None  # iteration of the one report with this value, where the scope is "all"
    violation: float = 0.0  # of its constraints: no trial holds all of them


def best_of(
    source: TrialSource,
    metric: str,
    mode: str,
    scope: str,
    *,
    finite: bool = True,
    chosen: Sequence[int] | None = None,
    columns: Columns | None = None,
) -> Best | None:
    """The trial with the best score, the first of equals; None if none has a score. Where trials have constraints, the best of those
    that hold them; of none, the one that breaks them least.

    Args:
        scope: what a trial's score is: its last value of the metric, the best one of all, or a mean (``fasttune.scope``).
        finite: trials whose score is NaN or infinite do not count. Otherwise infinities do, and NaN is worse than any.
        chosen: these trials only, of equals the first in their order.
        columns: the reports, if somebody has them at hand.
    """
    if scope == "last" and finite and chosen is None:
        table: Any = getattr(source, "table", None)  # it keeps the last value of the experiment's own metric
        if table is not None and source.metric == metric:
            found: int = table.best(mode == "max")
            if found >= 0 and not is_broken(table.value(found)):
                return Best(found, table.value(found), None)
            if (found < 0 and metric not in DERIVED) or not table.reports:
                return None
    return _best_score(columns or Columns(source), metric, mode, scope, finite, chosen)


def _best_score(
    columns: Columns, metric: str, mode: str, scope: str, finite: bool, chosen: Sequence[int] | None
) -> Best | None:
    import numpy as np

    trials, score = columns.scores(metric, mode, scope)
    if chosen is not None:
        place = {trial: position for position, trial in enumerate(trials.tolist())}
        at = np.array([place[i] for i in chosen if i in place], dtype=np.int64)
        trials, score = trials[at], score[at]
    if finite:
        usable = np.isfinite(score)
        trials, score = trials[usable], score[usable]
    if not len(score):
        return None
    known = np.flatnonzero(~np.isnan(score))  # nanargmax would take a NaN for an infinity of the worst sign
    pick = np.argmax if mode == "max" else np.argmin
    at_best = int(known[pick(score[known])]) if len(known) else 0
    trial, value = int(trials[at_best]), float(score[at_best])
    row = _first_row(columns, metric, mode, trial, value) if scope == "all" else None
    step = None if row is None else int(columns.step[row])
    if not is_broken(value):
        return Best(trial, value, step)
    if row is not None:
        value = float(columns.metric(metric)[0][row])
    else:
        told = columns.scores(metric, mode, scope, feasible_first=False)
        value = float(told.score[np.searchsorted(told.trial, trial)])
    return Best(trial, value, step, _violation(columns, metric, trial, row))


def _first_row(columns: Columns, metric: str, mode: str, trial: int, value: float) -> int | None:
    """Where a trial first reported what is compared as this value."""
    import numpy as np

    rows = columns.rows_of(trial)
    values, present = columns.compared(metric, mode)
    at = np.flatnonzero(present[rows] & (values[rows] == value))
    return rows.start + int(at[0]) if len(at) else None


def _violation(columns: Columns, metric: str, trial: int, row: int | None) -> float:
    """By how much a trial breaks its constraints: in that report, or the last that has the metric."""
    import numpy as np

    if columns.violation is None:  # the value is so large by itself
        return 0.0
    if row is None:
        rows = columns.rows_of(trial)
        row = rows.start + int(np.flatnonzero(columns.metric(metric)[1][rows])[-1])
    return float(columns.violation[row])


class Leader:
    """The best trial of an experiment that runs.

    With the scope "last" the table of trials knows it. For any other one the reports are read again, for at most one part
    in twenty of the run's time: between two readings the answer is that of the last one.
    """

    def __init__(self, source: TrialSource, scope: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._scope = scope
        self._clock = clock
        self._next_time = 0.0
        self._found: dict[tuple[str, str], Best | None] = {}

    def __call__(self, metric: str | None, mode: str | None, over: bool = False) -> Best | None:
        """The best one now; ``over``: the last time, however long it takes."""
        if metric is None or mode is None:
            return None
        cheap = self._scope == "last" and metric == self._source.metric
        if not (cheap or over) and (metric, mode) in self._found and self._clock() < self._next_time:
            return self._found[metric, mode]
        began = self._clock()
        best = best_of(self._source, metric, mode, self._scope)
        if not cheap:
            self._found[metric, mode] = best
            self._next_time = self._clock() + SHARE * (self._clock() - began)
        return best
