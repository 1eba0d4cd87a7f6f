"""What a notebook shows of an experiment: how many trials there are, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from fasttune._core import STATUSES
from fasttune.html_table import listed, short, table_html
from fasttune.result import AUTO_RESULT_KEYS, flatten
from fasttune.scope import DEFAULT_SCOPE, by_trial
from fasttune.trial import ERROR

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttune.analysis.experiment_analysis import ExperimentAnalysis

MOST_ROWS = 20
HEAD = ("trial", "status", "iteration", "last metrics", "parameters")


def overview_html(analysis: ExperimentAnalysis, title: str) -> str:
    """The counts, and a table of at most MOST_ROWS trials: the best first where a metric and a mode are known. Only these
    trials are looked at; with another scope than "last" all reports are."""
    shown = best_first(analysis, MOST_ROWS)
    rest = len(analysis.trials) - len(shown)
    more = f"<p>and {rest:,} more</p>" if rest else ""
    return f"<p><b>{escape(title)}</b>: {escape(_counts(analysis))}</p>{table_html(HEAD, map(_line(analysis, shown), shown))}{more}"


def best_first(analysis: ExperimentAnalysis, most: int) -> list[int]:
    """The trials with the best finite scores, best first, equal ones in their order; then the first of all others."""
    import numpy as np

    chosen = np.asarray(analysis._indices, dtype=np.int64)
    scores = _scores(analysis, chosen)
    if scores is None:
        return [int(i) for i in chosen[:most].tolist()]
    usable = np.flatnonzero(np.isfinite(scores))
    if len(usable) > most:  # sorting all of 10^6 takes fifty times as long
        worst = np.partition(scores[usable], most - 1)[most - 1]
        usable = usable[scores[usable] <= worst]
    best = usable[np.argsort(scores[usable], kind="stable")][:most]
    others = np.flatnonzero(~np.isfinite(scores))[: most - len(best)]
    return [int(i) for i in chosen[np.concatenate([best, others])].tolist()]


def _scores(analysis: ExperimentAnalysis, chosen: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """A loss for each of these trials, NaN without a score; None when nothing says what is good."""
    import numpy as np

    metric, mode, scope = analysis.default_metric, analysis.default_mode, analysis.default_scope
    if not metric or not mode:
        return None
    table: Any = getattr(analysis._source, "table", None)  # it keeps the last value of the experiment's own metric
    if table is not None and scope == DEFAULT_SCOPE and metric == analysis._source.metric:
        scores = np.array(table.export("value"), dtype=np.float64)[chosen]
    else:
        trials, told = analysis._columns.scores(metric, mode, scope)
        by_trial = np.full(max(int(chosen.max(initial=-1)), int(trials.max(initial=-1))) + 1, np.nan)
        by_trial[trials] = told
        scores = by_trial[chosen]
    return -scores if mode == "max" else scores


def _counts(analysis: ExperimentAnalysis) -> str:
    statuses = _shown_counts(analysis)
    told = ", ".join(f"{n:,} {status}" for status, n in statuses.items() if n)
    return f"{len(analysis.trials):,} trials" + (f" ({told})" if told else "")


def _shown_counts(analysis: ExperimentAnalysis) -> dict[str, int]:
    source: Any = analysis._source
    names = dict(zip(STATUSES, source.shown_statuses(), strict=True)) if hasattr(source, "shown_statuses") else {}
    return {names.get(status, status): n for status, n in analysis.status_counts().items()}


def _line(analysis: ExperimentAnalysis, shown: Sequence[int]) -> Any:
    """What makes the cells of a trial; where the first one is the best it is marked if it has failed."""
    source = analysis._source
    status: Any = getattr(source, "shown_status", source.status)
    best = shown[:1] if analysis.default_metric and analysis.default_mode else []

    def cells(i: int) -> tuple[str, ...]:
        told = flatten(source.last_result(i))
        metrics = {
            name: value
            for name, value in told.items()
            if name not in AUTO_RESULT_KEYS and not name.startswith("config/")
        }
        iteration = short(told.get("training_iteration", 0))
        trial = by_trial(source.trial_id(i), i in best and source.status(i) == ERROR)
        return trial, status(i), iteration, listed(metrics), listed(source.evaluated_params(i))

    return cells
