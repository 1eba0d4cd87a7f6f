"""HyperBand: successive halving in brackets that trade the number of trials for the time that each of them gets.

Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar: Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization,
Journal of Machine Learning Research 18(185), 2018, section 3 and Algorithm 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasttune.argument import checked_number
from fasttune.schedulers.brackets import FORMS, Stage
from fasttune.schedulers.synchronous import SynchronousScheduler

if TYPE_CHECKING:
    from fasttune.config import Mode


class HyperBandScheduler(SynchronousScheduler):
    """Fills brackets with trials; each pauses its trials at a milestone and lets the best 1/reduction_factor go on.

    A bracket is halved when it has been filled and all its live trials are at the milestone; the losers end, the others
    run to the next one. One that failed or was removed leaves its place to another trial, one that ended by itself does
    not; the size of the next stage stays, so after losses fewer are cut. When no more trials come, a bracket that is not
    full goes on with those it has. Metrics that are None or NaN are worst, below minus infinity; of equals those that
    were added later go on. A trial that reported past a new milestone waits there without running.

    Args:
        time_attr: result key that counts the training resource; must grow. Unit of max_t.
        metric, mode: what to compare and "min" or "max"; may be left to the run.
        max_t: the longest that a trial runs.
        reduction_factor: the eta of the paper, > 1.
        stop_last_trials: whether reaching the last milestone ends a trial; otherwise it goes on for ever.
        form: how the brackets are formed, see ``brackets``: "ray" (as Ray Tune, smallest first; the default),
            "algorithm1" and "table1" (as the paper's, largest first, which differ from each other: 81, 34, 15, 8, 5 and
            81, 27, 9, 6, 5 trials for max_t=81, reduction_factor=3).

    A result without time_attr or metric is a MissingMetricError.

    With ``form="ray"`` sizes, milestones and decisions are Ray Tune's, but for this: a bracket is not halved before it is
    full as long as more trials may come; one that has finished takes no new trials; a trial that ended by itself keeps
    its place; a report that jumps over several milestones is halved as often, where Ray Tune leaves such trials paused
    for ever; how complete a bracket is, which decides whom it serves first, is known at decisions only; logarithms and
    sizes are exact; functions go on where they were paused instead of from their beginning.
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: Mode | None = None,
        max_t: float = 81,
        reduction_factor: float = 3,
        stop_last_trials: bool = True,
        *,
        form: str = "ray",
    ) -> None:
        plan = self._form(max_t, reduction_factor, form)
        super().__init__(plan, time_attr, metric, mode, stop_last_trials)

    def _form(self, max_t: float, reduction_factor: float, form: str) -> list[list[Stage]]:
        checked_number("max_t", max_t, least=1, finite=True)
        checked_number("reduction_factor", reduction_factor, above=1, finite=True)
        require(form in FORMS, f"form must be one of {', '.join(FORMS)}", form)
        return FORMS[form](max_t, reduction_factor)

    @property
    def brackets(self) -> list[list[Stage]]:
        """One round: for each bracket, in the order in which they are filled, its stages as (trials, milestone)."""
        return [list(stages) for stages in self._plan]

    @property
    def _title(self) -> str:
        return "HyperBand"


def require(holds: bool, rule: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"{rule}, got {value!r}")
