"""HyperBand for BOHB: the brackets, largest first, and what BOHB's model has to know of them.

Falkner, Klein, Hutter: BOHB: Robust and Efficient Hyperparameter Optimization at Scale, ICML 2018, section 4.
"""

from __future__ import annotations

from typing import Any

from fasttune.schedulers.brackets import Stage
from fasttune.schedulers.hyperband import HyperBandScheduler
from fasttune.trial import Trial


class HyperBandForBOHB(HyperBandScheduler):
    """HyperBand whose largest bracket is filled first, one bracket after the other, with word to the searcher.

    Each result that is decided about gets ``hyperband_info``: ``{"budget": milestone}`` when the trial has reached its
    milestone, otherwise ``{}``; the searcher's ``on_trial_result`` sees it. Arguments are those of
    :class:`HyperBandScheduler`.
    """

    fair = False

    def _form(self, max_t: float, reduction_factor: float, form: str) -> list[list[Stage]]:
        brackets = super()._form(max_t, reduction_factor, form)
        return sorted(brackets, key=len, reverse=True)

    def on_trial_result(self, state: Any, trial: Trial, result: dict[str, Any]) -> str:
        result["hyperband_info"] = {}
        if trial.is_finished():
            return self.CONTINUE
        milestone = self._rule.milestone(trial.index)
        decision = super().on_trial_result(state, trial, result)
        if self._time_of(trial, result) >= milestone:
            result["hyperband_info"] = {"budget": milestone}
        return decision

    @property
    def _title(self) -> str:
        return "HyperBandForBOHB"
