"""What is worth a line at the end of a run, because nothing else would say it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasttune.engine.state import ExperimentState
    from fasttune.pareto import ParetoFront

FEWEST = 2  # trials that ended, before their sameness says anything


def remarks(state: ExperimentState, has_best: bool, front: ParetoFront | None) -> Iterator[str]:
    """A sentence for each, without the full stop. ``has_best``: some trial has a value that can be compared; ``front``: of a run with
    several metrics."""
    table, metric = state.table, state.metric
    if not has_best and metric is not None and table.reports and any(metric in schema.keys for schema in table.schemas):
        yield f"no trial is the best: no value of {metric} is a finite number (NaN or infinite, as when training diverges)"
    if front is not None and (found := len(front.trials)):
        told = ", ".join(f"{name} ({mode})" for name, mode in state.objectives.items())
        yield f"{found:,} trial{'s are' if found > 1 else ' is'} beaten by no other in {told}: analysis.best_trials"
    for cause, number in state.stop_causes().items():
        yield f"{number:,} trial{'s were' if number > 1 else ' was'} ended early: {cause}"
    judges = state.rule is None or state.rule.kind != "none"
    n: int = table.counts()["TERMINATED"]
    if judges and n >= FEWEST and table.reports == n == table.finished and not state.ending.why:
        yield (
            f"{type(state.spec.scheduler).__name__} stopped no trial early, as each reported once: what reports as it goes on "
            "(tune.report after every epoch) can be stopped"
        )
