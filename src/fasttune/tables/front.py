"""The front of an experiment with several metrics: which trials no other one beats, for the screen, the dashboard and the analysis."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fasttune.constraints import BARRIER
from fasttune.pareto import MetricRange, ParetoFront, hypervolume, pareto_front
from fasttune.tables.best import SHARE
from fasttune.tables.columns import Columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttune.trial import TrialSource

MOST_WORK = 1e6  # front ** (metrics - 1), beyond which nobody waits for a hypervolume while a run goes on


def losses_by_trial(columns: Columns, metrics: Mapping[str, str], scope: str, trials: int) -> NDArray[np.float64]:
    """What the first ``trials`` trials have of these metrics, to be minimised (trials x metrics); scores where a constraint is broken,
    NaN where there is no value."""
    import numpy as np

    losses = np.full((trials, len(metrics)), np.nan)
    for k, (metric, mode) in enumerate(metrics.items()):
        known, scores = columns.scores(metric, mode, scope)
        losses[known, k] = -scores if mode == "max" else scores
    return losses


def front_of(source: TrialSource, metrics: Mapping[str, str], scope: str, columns: Columns | None = None) -> ParetoFront | None:
    """The front of an experiment's trials; None while no trial has a finite value of each metric.

    Args:
        metrics: "min" or "max" for each, in the order in which they are shown.
        scope: which value of a trial counts (``fasttune.scope``).
        columns: the reports, if somebody has them at hand.
    """
    import numpy as np

    columns = columns or Columns(source)
    losses = losses_by_trial(columns, metrics, scope, len(source))
    usable = np.flatnonzero(np.isfinite(losses).all(axis=1))
    if not len(usable):
        return None
    holds = usable if columns.violation is None else usable[(losses[usable] < BARRIER).all(axis=1)]
    if not len(holds):
        return ParetoFront([], [], None, [])
    losses = losses[holds]
    rows = pareto_front(losses)
    signs = np.array([-1.0 if mode == "max" else 1.0 for mode in metrics.values()])
    values = losses[rows] * signs
    spans = [
        MetricRange(name, mode, float(column.min()), float(column.max()))
        for (name, mode), column in zip(metrics.items(), values.T, strict=True)
    ]
    covered = hypervolume(losses, losses.max(axis=0)) if len(rows) ** (len(metrics) - 1) <= MOST_WORK else None
    return ParetoFront(holds[rows].tolist(), spans, covered, values.tolist())


class FrontWatch:
    """The front of an experiment that runs. The reports are read again for at most one part in twenty of the run's time: between two
    readings the answer is that of the last one."""

    def __init__(self, source: TrialSource, scope: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._scope = scope
        self._clock = clock
        self._next_time = 0.0
        self._found: ParetoFront | None = None

    def __call__(self, metrics: Mapping[str, str], over: bool = False) -> ParetoFront | None:
        """The front now; None of a run with one metric. ``over``: the last time, however long it takes."""
        if metrics and (over or self._clock() >= self._next_time):
            began = self._clock()
            self._found = front_of(self._source, metrics, self._scope)
            self._next_time = self._clock() + SHARE * (self._clock() - began)
        return self._found
