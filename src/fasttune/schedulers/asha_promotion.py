"""ASHA with promotions: asynchronous successive halving that pauses trials at rungs.

Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar: A System for Massively Parallel Hyperparameter
Tuning, MLSys 2020, section 3.2 and Algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fasttune import _core, _rules
from fasttune.argument import checked_number
from fasttune.result import is_real
from fasttune.schedulers.base import TrialScheduler
from fasttune.schedulers.view import ExperimentView
from fasttune.trial import Trial

if TYPE_CHECKING:
    from fasttune.config import Mode


class ASHAPromotionScheduler(TrialScheduler):
    """Pauses every trial at each rung and goes on with the best; a free worker never waits.

    Rungs lie at ``grace_period * reduction_factor ** k`` below ``max_t``, exactly, and at ``max_t``, where trials end.
    Of the n trials that a rung has recorded, the best floor(n / reduction_factor) may be promoted to the next, each
    once. A free worker promotes from the highest rung where somebody may be promoted, the best first; if there is none,
    it begins another trial. When all trials have begun and nobody may be promoted, the run is over and what is still
    paused ends.

    Compared with :class:`AsyncHyperBandScheduler`, which stops trials, no early one goes on just because it was early,
    at the price of trials that stay paused.

    Args:
        time_attr: result key that counts the training resource; must grow. Units of max_t and grace_period. With the
            default the scheduler is asked at rungs only, with another key on every report.
        metric, mode: what to compare and "min" or "max"; may be left to the run.
        max_t: trials end here.
        grace_period: the lowest rung.
        reduction_factor: one in this many is promoted (eta in the paper).

    Of equal values the earlier is the better. NaN counts as the worst and is never promoted. A report that jumps over
    rungs is recorded once, at the highest rung it reached. A trial that failed and is tried again runs to the rung that
    it was promoted to.
    """

    compares = True
    pauses = True
    holds_back = True  # what is paused waits until others have come as far

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: Mode | None = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: float = 4,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        checked_number("max_t", max_t, above=0, finite=True)
        checked_number("grace_period", grace_period, above=0)
        checked_number("grace_period", grace_period, most=float(max_t), rule=f"at most max_t ({max_t})")
        checked_number("reduction_factor", reduction_factor, above=1)
        self._time_attr = time_attr
        self._arguments = (float(max_t), float(grace_period), float(reduction_factor))
        self._made: _rules.Promotion | None = None
        self._promised: dict[int, int] = {}  # promoted from which rung, and not known to have come to the next one
        self._make(True)  # refuses what makes too many rungs

    def _make(self, maximise: bool) -> _rules.Promotion:
        return _rules.Promotion(*self._arguments, maximise)

    def _rule(self) -> _rules.Promotion:
        if self._made is None:
            self._made = self._make(self.mode == "max")
        return self._made

    @property
    def milestones(self) -> list[float]:
        """Times of the rungs, lowest first."""
        return self._make(True).rung_milestones

    def reads(self) -> Mapping[str, str]:
        return {self._time_attr: "time_attr"}

    def on_trial_add(self, state: ExperimentView, trial: Trial) -> None:
        self.check_metric()

    def ask_from(self, trial: Trial) -> int:
        if self._time_attr != "training_iteration":
            return 0
        return math.ceil(self._rule().milestone(trial.index))

    def on_trial_result(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> str:
        time, value = result.get(self._time_attr), result.get(self.metric or "")
        if not is_real(time) or not is_real(value):
            return self.CONTINUE
        rule = self._rule()
        before = rule.rung(trial.index)
        decision = rule.judge(trial.index, time, value)
        if rule.rung(trial.index) != before:
            self._promised.pop(trial.index, None)
        return _WORDS[decision]

    def on_trial_complete(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> None:
        self._over(trial)

    def on_trial_remove(self, state: ExperimentView, trial: Trial) -> None:
        self._over(trial)

    def on_trial_error(self, state: ExperimentView, trial: Trial) -> None:
        self._over(trial)

    def _over(self, trial: Trial) -> None:
        self._promised.pop(trial.index, None)
        self._rule().withdraw(trial.index)

    def choose_trial_to_run(self, state: ExperimentView) -> Trial | None:
        """The next promotion; else the next trial that has not begun."""
        promoted = self._promotion(state)
        if promoted is not None:
            return promoted
        for trial in state.trials_of("PENDING", 1):
            fresh: Trial = trial
            if self._rule().rung(fresh.index) >= 0:  # it was promoted, and then failed or was interrupted
                self._rule().promote(fresh.index)
            return fresh
        return None

    def _promotion(self, state: ExperimentView) -> Trial | None:
        """The best of the highest rung; one that was chosen before and could not be run then, before equals."""
        owed = [(rung, -index) for index, rung in self._promised.items() if _waits(state.trials[index])]
        highest, index = max(owed, default=(-1, 0))
        found = self._rule().candidate()
        while found is not None and found[1] > highest and self._may_promote(state, found[1]):
            trial: Trial = state.trials[found[0]]
            if _waits(trial):
                self._rule().promote(trial.index)
                self._promised[trial.index] = found[1]
                return trial
            found = self._rule().candidate(found[1])  # it cannot be run now
        return state.trials[-index] if owed else None

    def _may_promote(self, state: ExperimentView, rung: int) -> bool:
        """Whether trials are promoted from a rung and from those below it."""
        return True

    def debug_string(self) -> str:
        rule = self._rule()
        rungs = zip(rule.rung_milestones, rule.rung_sizes(), strict=True)
        told = " | ".join(f"Iter {milestone:g}: {size}" for milestone, size in reversed(list(rungs)))
        return f"Using {type(self).__name__}: trials at rungs: {told}"


_WORDS = {
    _core.CONTINUE: TrialScheduler.CONTINUE,
    _core.STOP: TrialScheduler.STOP,
    _core.PAUSE: TrialScheduler.PAUSE,
}


def _waits(trial: Trial) -> bool:
    return trial.status in ("PAUSED", "PENDING")
