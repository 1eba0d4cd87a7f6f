"""What no other trial beats in several metrics at once, of an analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasttune.constraints import BARRIER
from fasttune.pareto import hypervolumes, pareto_front
from fasttune.result import check_mode
from fasttune.tables.front import losses_by_trial

if TYPE_CHECKING:
    from fasttune.analysis.experiment_analysis import ExperimentAnalysis


class Losses(NamedTuple):
    """The chosen trials that have a finite value of each metric."""

    metrics: dict[str, str]  # "min" or "max" for each
    trials: NDArray[np.int64]
    values: NDArray[np.float64]  # trials x metrics, to be minimised; scores where a constraint is broken


def losses_of(analysis: ExperimentAnalysis, metrics: Mapping[str, str] | None, scope: str | None) -> Losses:
    """The values of these metrics, or of the run's own. ValueError for no metrics, a mode or a scope that is none."""
    wanted = dict(analysis.objectives if metrics is None else metrics)
    if not wanted and metrics is None:
        wanted = {analysis._metric(None): analysis._mode(None)}
    if not wanted:
        raise ValueError('pareto_front needs metrics, e.g. {"loss": "min", "seconds": "min"}')
    for mode in wanted.values():
        check_mode(mode)
    scope = analysis._scope(scope)
    chosen = np.array(analysis._indices, dtype=np.int64)
    columns = analysis._columns
    most = int(max(chosen.max(initial=-1), columns.trial.max(initial=-1))) + 1
    losses = losses_by_trial(columns, wanted, scope, most)[chosen]
    usable = np.isfinite(losses).all(axis=1)
    return Losses(wanted, chosen[usable], losses[usable])


def front_of(
    analysis: ExperimentAnalysis, metrics: Mapping[str, str] | None, scope: str | None, quietly: bool = False
) -> list[int]:
    """Numbers of the trials on the front, by the first metric, best first. Where there is none a warning in the log says so."""
    losses = losses_of(analysis, metrics, scope)
    if not len(losses.trials) and len(analysis._indices) and not quietly:
        import logging

        logging.getLogger("fasttune.analysis.experiment_analysis").warning(
            "The Pareto front is empty: no trial has finite values of %s", ", ".join(losses.metrics)
        )
    found: list[int] = losses.trials[pareto_front(losses.values)].tolist()
    return found


def hypervolumes_of(
    analysis: ExperimentAnalysis, metrics: Mapping[str, str] | None, reference: Mapping[str, float] | None, scope: str | None
) -> tuple[list[int], NDArray[np.float64]]:
    """(trials in the order of their last reports, the hypervolume of all up to each)."""
    losses = losses_of(analysis, metrics, scope)
    if len(losses.metrics) < 2:
        raise ValueError(
            f'hypervolume needs two metrics or more, e.g. {{"loss": "min", "seconds": "min"}}, got {losses.metrics or metrics!r}'
        )
    columns = analysis._columns
    holds = (losses.values < (np.inf if columns.violation is None else BARRIER)).all(axis=1)
    trials, values = losses.trials[holds], losses.values[holds]
    last = dict(zip(columns.trial[columns.starts].tolist(), columns.time[columns.last_rows()].tolist(), strict=True))
    order = np.argsort([last[i] for i in trials.tolist()], kind="stable") if len(trials) else np.empty(0, np.int64)
    values = values[order]
    worst = values.max(axis=0) if reference is None and len(values) else reference_of(losses.metrics, reference)
    return trials[order].tolist(), np.fromiter(hypervolumes(values, worst), np.float64, len(values))


def reference_of(metrics: Mapping[str, str], reference: Mapping[str, float] | None) -> NDArray[np.float64]:
    """The reference point as losses; ValueError if it lacks a metric."""
    told = reference if reference is not None else dict.fromkeys(metrics, 0.0)
    for name in metrics:
        if name not in told:
            raise ValueError(f"reference needs a value of each metric, and has none of {name!r}: {dict(told)!r:.200}")
    return np.array([-told[name] if mode == "max" else told[name] for name, mode in metrics.items()], dtype=np.float64)
