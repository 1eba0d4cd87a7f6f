"""What another scheduler would have cost, and found, on the curves of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.analysis.curves import of_experiment
from fasttune.analysis.simulation import Simulation, simulate
from fasttune.config import as_mode
from fasttune.scope import measured
from fasttune.tables.best import best_of

if TYPE_CHECKING:
    from fasttune.analysis.curves import Cost
    from fasttune.scope import Scope
    from fasttune.tables.columns import Columns
    from fasttune.trial import TrialSource


class Account(NamedTuple):
    """What an experiment cost and found."""

    scheduler: str
    workers: int
    trials: int  # that were started
    epochs: int  # reports of all trials
    seconds: float  # from the first start to the last report
    busy_seconds: float  # that trials trained, all together
    best: float | None  # the value of the metric that makes best_trial the best, by the scope of the experiment
    best_trial: str | None


class WhatIf:
    """The answer of ``what_if``: ``was`` and ``would`` are Accounts; ``analysis`` is the experiment as it would have been.

    ``truncated`` are the ids of trials that would have run longer than they were recorded. They end where their curve
    ends, so that ``would`` is a lower bound of the cost, and what they might have reached is not known.
    """

    def __init__(self, was: Account, would: Account, analysis: Simulation) -> None:
        self.was = was
        self.would = would
        self.analysis = analysis
        self.truncated = analysis.truncated
        metric, scope = analysis.default_metric, analysis.default_scope
        self._said = {"best": "best" if metric is None else f"best {measured(metric, scope)}"}

    def __str__(self) -> str:
        rows = [("", "as it was", "what if")]
        for name, was, would in zip(Account._fields, self.was, self.would, strict=True):
            rows.append((self._said.get(name, name.replace("_", " ")), _shown(was), _shown(would)))
        rows.append(("truncated", "0", str(len(self.truncated))))
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        return "\n".join(
            f"{name:<{widths[0]}}  {was:>{widths[1]}}  {would:>{widths[2]}}" for name, was, would in rows
        )

    __repr__ = __str__


class Ranking(NamedTuple):
    """Which trial of an experiment is the best."""

    metric: str | None
    mode: str | None
    scope: Scope


def what_if(
    source: TrialSource,
    columns: Columns,
    trials: Sequence[int],
    goal: Ranking,
    scheduler: Any,
    workers: int | None,
    stop: Any,
    cost: Cost | None,
) -> WhatIf:
    """These trials of an experiment again, in virtual time, under another scheduler."""
    told = getattr(source, "meta", {})
    was = account(source, columns, goal, str(told.get("scheduler", "?")), most_at_once(columns))
    own = getattr(scheduler, "metric", None) is not None
    made = simulate(
        of_experiment(source, columns, trials, cost),
        metric=None if own else goal.metric,
        mode=None if own else as_mode(goal.mode),
        scheduler=scheduler,
        workers=was.workers if workers is None else workers,
        stop=told.get("stop") or None if stop is None else stop,
        max_failures=told.get("max_failures", 0),
    )
    made.default_scope = goal.scope
    found = Ranking(made.default_metric, made.default_mode, goal.scope)
    would = account(made._source, made._columns, found, type(made.scheduler).__name__, made.workers)
    return WhatIf(was, would._replace(seconds=made.seconds, busy_seconds=made.busy_seconds), made)


def account(source: TrialSource, columns: Columns, goal: Ranking, scheduler: str, workers: int) -> Account:
    """What trials cost and found."""
    seconds, _ = columns.metric("time_this_iter_s")
    first = columns.time - seconds
    best = best_report(source, columns, goal)
    return Account(
        scheduler,
        workers,
        len(columns.starts),
        len(columns),
        float(columns.time.max() - first.min()) if len(columns) else 0.0,
        float(seconds.sum()),
        None if best is None else best[0],
        None if best is None else best[1],
    )


def best_report(source: TrialSource, columns: Columns, goal: Ranking) -> tuple[float, str] | None:
    """The best value of the metric, as ``analysis.best_trial`` understands it, and its trial; None when there is none."""
    if goal.metric is None or goal.mode is None:
        return None
    best = best_of(source, goal.metric, goal.mode, goal.scope, columns=columns)
    return None if best is None else (best.value, source.trial_id(best.trial))


def most_at_once(columns: Columns) -> int:
    """How many trials ran at the same time, at most: from their first to their last reports."""
    import numpy as np

    if not len(columns):
        return 1
    seconds, _ = columns.metric("time_this_iter_s")
    starts = (columns.time - seconds)[columns.starts]
    ends = columns.time[columns.starts + columns.counts - 1]
    # one that begins in the very moment in which another ends has taken its place
    moments = sorted([(t, 1) for t in starts.tolist()] + [(t, -1) for t in ends.tolist()])
    return max(1, int(np.cumsum([change for _, change in moments]).max()))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else str(value)
