"""Successive halving of a finite set of candidates, to the exact budget.

Jamieson, Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization, AISTATS 2016, Figure 1
(with eta in place of its 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasttune.argument import checked_count, checked_number
from fasttune.schedulers.brackets import Stage, budget_of, halving_stages
from fasttune.schedulers.synchronous import SynchronousScheduler

if TYPE_CHECKING:
    from fasttune.config import Mode


class SuccessiveHalvingScheduler(SynchronousScheduler):
    """Runs n candidates to min_t, the best ceil(n / eta) of them to eta * min_t, and so on; the last ones to max_t.

    ``n`` is the number of trials of the run, e.g. the size of its grid; further trials make further brackets. Trials are
    paused at each milestone until all live ones are there. Ties, losses and values that are no numbers are treated as
    in :class:`~fasttune.schedulers.HyperBandScheduler`.

    Args:
        n: candidates.
        metric, mode: what to compare and "min" or "max"; may be left to the run.
        min_t, max_t: where the first candidates are compared, and where the last stage ends. Units of time_attr.
        reduction_factor: the best 1/reduction_factor go on.
        time_attr: result key that counts the training resource; must grow.
    """

    def __init__(
        self,
        n: int,
        metric: str | None = None,
        mode: Mode | None = None,
        *,
        min_t: float = 1,
        max_t: float = 81,
        reduction_factor: float = 3,
        time_attr: str = "training_iteration",
    ) -> None:
        n = checked_count("n", n, least=1)
        checked_number("max_t", max_t, above=0, finite=True)
        checked_number("min_t", min_t, above=0, most=float(max_t), rule=f"a number > 0 and <= max_t ({max_t})")
        checked_number("reduction_factor", reduction_factor, above=1, finite=True)
        self._stages = halving_stages(n, reduction_factor, min_t, max_t)
        super().__init__([self._stages], time_attr, metric, mode, True)

    @property
    def schedule(self) -> list[Stage]:
        """(candidates, milestone) of each stage."""
        return list(self._stages)

    @property
    def budget(self) -> float:
        """Time that all candidates run together, in units of time_attr, if all of them report at every milestone."""
        return budget_of(self._stages)
