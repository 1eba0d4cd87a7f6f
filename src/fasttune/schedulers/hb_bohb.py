"""HyperBand for BOHB: the brackets, largest first, and what BOHB's model has to know of them.

Falkner, Klein, Hutter: BOHB: Robust and Efficient Hyperparameter Optimization at Scale, ICML 2018, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fasttune.schedulers.brackets import Stage
from fasttune.schedulers.hyperband import HyperBandScheduler
from fasttune.schedulers.view import ExperimentView
from fasttune.trial import Trial


class HyperBandForBOHB(HyperBandScheduler):
    """HyperBand whose largest bracket is filled first, one bracket after the other, with word to the searcher.

    The searcher's ``on_trial_result`` finds ``hyperband_info`` in each result that is decided about: ``{"budget": milestone}`` when
    the trial has reached its milestone, otherwise ``{}``. Arguments are those of :class:`HyperBandScheduler`.
    """

    fair = False

    def _form(self, max_t: float, reduction_factor: float, form: str) -> list[list[Stage]]:
        brackets = super()._form(max_t, reduction_factor, form)
        return sorted(brackets, key=len, reverse=True)

    def on_trial_result(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> str:
        self._budget: dict[str, float] = {}
        if trial.is_finished():
            return self.CONTINUE
        milestone = self._rule.milestone(trial.index)
        decision = super().on_trial_result(state, trial, result)
        if self._time_of(trial, result) >= milestone:
            self._budget = {"budget": milestone}
        return decision

    def tells_searcher(self, trial: Trial) -> Mapping[str, Any]:
        return {"hyperband_info": self._budget}

    @property
    def _title(self) -> str:
        return "HyperBandForBOHB"
