"""An earlier experiment of fasttune as a warm start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fasttune.warm_start.known import KnownTrial, WarmStart

if TYPE_CHECKING:
    from fasttune.analysis import ExperimentAnalysis, ResultGrid


def from_experiment(
    experiment: ExperimentAnalysis | ResultGrid | str | os.PathLike[str],
    *,
    scope: str | None = None,
    rename: Mapping[str, str | None] | None = None,
) -> WarmStart:
    """The finished trials of an experiment: with all numbers that they reported last, and the metric by its scope.

    Args:
        experiment: what ``tune.run`` or ``Tuner.fit`` returned, or the folder.
        scope: which value of the experiment's metric counts, as for ``get_best_trial``.
        rename: other names for parameters, see ``WarmStart.renamed``.

    Raises:
        TypeError: ``experiment`` is none of these.
        ValueError: there is no experiment in the folder.
    """
    from fasttune.analysis.exchange.outcomes import COMPLETE, FAIL, PRUNED, Outcomes

    analysis = _analysis_of(experiment)
    outcomes = Outcomes(analysis, None, scope)
    kinds: dict[str, Any] = {COMPLETE: "done", PRUNED: "pruned", FAIL: "failed"}
    trials = []
    for told in outcomes:
        if told.state in kinds:
            last = {name: values[-1] for name, values in told.reports.items() if values[-1] == values[-1]}
            own = dict(zip(outcomes.goals, told.values, strict=True)) if told.state != FAIL else {}
            trials.append(KnownTrial(told.params, {**last, **own}, kinds[told.state]))
    start = WarmStart(trials, f"the experiment {analysis._source.name!r}", outcomes.goals)
    return start.renamed(rename) if rename else start


def _analysis_of(experiment: Any) -> ExperimentAnalysis:
    from fasttune.analysis.experiment_analysis import ExperimentAnalysis
    from fasttune.analysis.result_grid import ResultGrid

    if isinstance(experiment, ResultGrid):
        return experiment._analysis
    if isinstance(experiment, ExperimentAnalysis):
        return experiment
    if isinstance(experiment, (str, os.PathLike)):
        return ExperimentAnalysis(experiment)
    raise TypeError(f"experiment must be an ExperimentAnalysis, a ResultGrid or a folder, got {experiment!r:.80}")


def as_warm_start(given: Any) -> WarmStart:
    """What ``tune.run(warm_start=)`` takes: a WarmStart, an analysis, a ResultGrid, or an experiment's folder."""
    if isinstance(given, WarmStart):
        return given
    try:
        return from_experiment(given)
    except TypeError:
        raise TypeError(
            f"warm_start must be a WarmStart, e.g. tune.warm_start.from_optuna(study), or an experiment (its analysis or its "
            f"folder), got {type(given).__name__}: {given!r:.80}"
        ) from None
