"""The median stopping rule.

Golovin, Solnik, Moitra, Kochanski, Karro, Sculley: Google Vizier: A Service for Black-Box Optimization, KDD 2017,
section 3.2.1. A trial stops when the best it has reached is worse than what half of the others had on average by then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fasttune import _core, _rules
from fasttune.argument import checked_count, checked_number
from fasttune.result import is_real
from fasttune.schedulers.base import TrialScheduler
from fasttune.schedulers.view import ExperimentView
from fasttune.trial import Trial

if TYPE_CHECKING:
    from fasttune.config import Mode


class MedianStoppingRule(TrialScheduler):
    """Stops a trial whose best value is strictly worse than the median of the others' running means.

    The others at time t are the trials whose last report was at t or later; those that have ended stay among them. Each
    counts with the mean of what it reported from ``grace_period`` to t, unless that is no finite number. A report
    counts once, and not at all if the trial failed later and reported that step again. The means are rounded once, so
    that trials with equal curves are not worse than each other. NaN is compared with nothing: a trial that reports nothing
    else is trained to the end, unless a stop criterion ends it.

    Args:
        time_attr: result key that counts the training resource; must grow. Units of grace_period and min_time_slice.
        metric, mode: what to compare and "min" or "max"; may be left to the run.
        grace_period: no trial stops before, and what was reported before does not count in the means.
        min_samples_required: with fewer others than that, nothing is decided, and the trial makes room for one that
            waits, if there is one.
        min_time_slice: it makes room only if more than this has passed since it did so before.
        hard_stop: False pauses a trial that would be stopped, once; it goes on when no trial waits to begin.
        patience: how many judgements in a row must find the trial worse; 0 and 1 stop it at the first. Ours.
        smoothing: ``"best"`` compares the best value that the trial has reported so far, as the paper does, ``"last"``
            its newest value. Ours.

    The scheduler is asked on every report: each one counts. A decision costs O(log n) in the number of trials when they
    report at the same times, and O(log^2 n) in the number of reports when they do not.
    """

    compares = True
    pauses = True

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: Mode | None = None,
        grace_period: float = 60.0,
        min_samples_required: int = 3,
        min_time_slice: float = 0,
        hard_stop: bool = True,
        *,
        patience: int = 1,
        smoothing: str = "best",
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        _require(smoothing in ("last", "best"), "smoothing must be 'last' or 'best'", smoothing)
        self._time_attr = time_attr
        self._grace_period = checked_number("grace_period", grace_period)
        self._min_samples = checked_count("min_samples_required", min_samples_required)
        self._min_time_slice = checked_number("min_time_slice", min_time_slice)
        self._hard_stop = bool(hard_stop)
        self._patience = checked_count("patience", patience)
        self._smoothing = smoothing
        self._asked: _rules.MedianRule | None = None
        self._stopped: set[int] = set()  # stopped, or paused instead
        self._paused_at: dict[int, float] = {}
        self._seen: dict[int, tuple[int, float]] = {}  # (training_iteration, time) of the newest report

    def _rule(self) -> _rules.MedianRule:
        if self._asked is None:
            maximise, last = self.mode == "max", self._smoothing == "last"
            self._asked = _rules.MedianRule(self._grace_period, self._min_samples, maximise, self._patience, last)
        return self._asked

    def reads(self) -> Mapping[str, str]:
        return {self._time_attr: "time_attr"}

    def on_trial_add(self, state: ExperimentView, trial: Trial) -> None:
        self.check_metric()
        self._seen.pop(trial.index, None)

    def on_trial_result(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> str:
        report = self._news(trial, result, again=bool(result.get("done")))
        if report is None:
            return self.CONTINUE
        decision = self._rule().judge(trial.index, *report)
        if decision == _core.CONTINUE:
            return self.CONTINUE
        if decision == _core.STOP:
            self._stopped.add(trial.index)
            return self.STOP if self._hard_stop else self.PAUSE
        return self._without_others(state, trial, report[0])

    def on_trial_complete(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> None:
        report = self._news(trial, result, again=True)
        if report is not None:
            self._rule().record(trial.index, *report)
        self._forget(trial)

    def on_trial_remove(self, state: ExperimentView, trial: Trial) -> None:
        self._forget(trial)

    def on_trial_error(self, state: ExperimentView, trial: Trial) -> None:
        self._forget(trial)

    def _news(self, trial: Trial, result: dict[str, Any], again: bool) -> tuple[float, float, int] | None:
        """(time, value, step), unless the report lacks one, or is of a trial that was let off. ``again``: it may be the
        last report of a trial that ended, shown once more."""
        time, value = result.get(self._time_attr), result.get(self.metric or "")
        if trial.index in self._stopped or not is_real(time) or not is_real(value):
            return None
        step = result.get("training_iteration", 0)
        if again and step > 0 and self._seen.get(trial.index) == (step, time):
            return None
        self._seen[trial.index] = (step, time)
        return time, value, step

    def _without_others(self, state: ExperimentView, trial: Trial, time: float) -> str:
        """There are too few to compare with: let another one get there, if one waits."""
        if not time - self._paused_at.get(trial.index, -math.inf) > self._min_time_slice:
            return self.CONTINUE
        if not state.trials_of("PENDING", 1) and not state.trials_of("PAUSED", 1):
            return self.CONTINUE
        self._paused_at[trial.index] = time
        return self.PAUSE

    def _forget(self, trial: Trial) -> None:
        self._seen.pop(trial.index, None)
        self._paused_at.pop(trial.index, None)

    def debug_string(self) -> str:
        return f"Using MedianStoppingRule: num_stopped={len(self._stopped)}."


def _require(holds: bool, rule: str, value: Any) -> None:
    if not holds or (isinstance(value, float) and math.isnan(value)):
        raise ValueError(f"{rule}, got {value!r}")
