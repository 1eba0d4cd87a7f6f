"""PASHA: promotion-type ASHA that opens longer rungs only while the ranking is not stable.

Bohdal, Balles, Wistuba, Ermis, Archambeau, Zappella: PASHA: Efficient HPO and NAS with Progressive Resource Allocation,
ICLR 2023, section 4 and Algorithm 1.
"""

from __future__ import annotations

from typing import Any

from fasttune import _rules
from fasttune.schedulers.asha_promotion import ASHAPromotionScheduler
from fasttune.trial import Trial


class PASHAScheduler(ASHAPromotionScheduler):
    """Finds out which trials are best with as little training as it can; ``max_t`` is reached only if need be.

    Promotions are those of :class:`ASHAPromotionScheduler`, but only the two lowest rungs are open at first. Whenever a
    trial comes to the highest open rung, the trials in it are ranked by their values there and by those of the rung
    below. If some trial has a place that was held below by one that was better or worse than it by more than epsilon,
    the ranking is not stable and one rung more is opened. Epsilon is measured: the 90th percentile of the distances, at
    the last step they have in common, of those pairs of trials in that rung whose curves cross at least twice; 0 before
    there are any. When the run is over, train the best config to the end: that was not the scheduler's task.

    Ours: of a rung with more than 128 trials the newest 128 are compared, so that the cost of a decision has a limit.

    Args: as those of :class:`ASHAPromotionScheduler`. The curves are looked at, so the scheduler is asked on every
    report.
    """

    def _make(self, maximise: bool) -> _rules.Pasha:
        return _rules.Pasha(*self._arguments, maximise)

    def ask_from(self, trial: Trial) -> int:
        return 0

    @property
    def resource_limit(self) -> float:
        """The time of the highest rung that is open now."""
        rule = self._rule()
        return rule.rung_milestones[rule.limit]

    @property
    def epsilon(self) -> float:
        """The noise of the metric as measured so far, in its unit."""
        rule: Any = self._rule()
        found: float = rule.epsilon
        return found

    def debug_string(self) -> str:
        return f"{super().debug_string()} | open up to {self.resource_limit:g}, epsilon {self.epsilon:.3g}"
