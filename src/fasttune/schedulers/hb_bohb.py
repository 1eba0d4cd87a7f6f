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
    milestone, otherwise ``{}``. The searcher's ``on_pause`` and ``on_unpause`` tell it which trials wait. Arguments are
    those of :class:`HyperBandScheduler`.
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
        searcher = getattr(state, "searcher", None)
        if decision == self.PAUSE and searcher is not None:
            searcher.on_pause(trial.trial_id)
        return decision

    def choose_trial_to_run(self, state: Any) -> Trial | None:
        trial = super().choose_trial_to_run(state)
        searcher = getattr(state, "searcher", None)
        if trial is not None and trial.status == "PAUSED" and searcher is not None:
            searcher.on_unpause(trial.trial_id)
        return trial

    @property
    def _title(self) -> str:
        return "HyperBandForBOHB"
