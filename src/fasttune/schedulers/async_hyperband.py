"""ASHA: asynchronous successive halving, stopping form.

Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar: A System for Massively Parallel Hyperparameter
Tuning, MLSys 2020, section 3. A trial is judged when it reaches a rung, against what the rung had recorded before.
"""

from __future__ import annotations

import math
from typing import Any, TypeGuard

from fasttune import _core
from fasttune.rule import CompiledRule
from fasttune.schedulers.base import TrialScheduler
from fasttune.trial import Trial


class AsyncHyperBandScheduler(TrialScheduler):
    """Stops a trial that is worse at a rung than the best 1/reduction_factor of those before it.

    Rungs lie at ``grace_period * reduction_factor ** k`` up to ``max_t``, exactly (integers stay integers). The cut-off
    is the (1 - 1/reduction_factor) percentile, linear as numpy's, of what the rung recorded before this trial; a trial
    stops if it is strictly worse, so the first at a rung always passes. NaN never stops and is never counted.

    Args:
        time_attr: result key that counts the training resource; must grow. Units of max_t and grace_period.
        metric, mode: what to compare and "min" or "max"; may be left to the run.
        max_t: trials end here (unless ``stop_last_trials`` is False).
        grace_period: no trial stops before.
        reduction_factor: larger stops more.
        brackets: further brackets start at later rungs; a trial's is drawn from (seed, trial number) with weight
            exp(number of rungs).
        stop_last_trials: whether reaching max_t ends a trial.
        seed: of the bracket draw.

    A report that jumps over rungs is judged once, at the highest rung it reached.
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: float = 4,
        brackets: int = 1,
        stop_last_trials: bool = True,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        _require(_is_number(max_t) and max_t > 0, "max_t must be a number > 0", max_t)
        _require(_is_number(grace_period) and grace_period > 0, "grace_period must be a number > 0", grace_period)
        _require(grace_period <= max_t, f"grace_period must be at most max_t ({max_t})", grace_period)
        _require(
            _is_number(reduction_factor) and reduction_factor > 1, "reduction_factor must be > 1", reduction_factor
        )
        _require(
            isinstance(brackets, int) and 1 <= brackets <= 16, "brackets must be an integer from 1 to 16", brackets
        )
        self._time_attr = time_attr
        self._max_t = max_t
        self._arguments: dict[str, Any] = {
            "max_t": float(max_t),
            "grace_period": float(grace_period),
            "reduction_factor": float(reduction_factor),
            "brackets": brackets,
            "stop_last_trials": bool(stop_last_trials),
            "seed": seed,
        }
        self._asked: _core.Asha | None = None
        self._rungs: dict[int, int] = {}
        self.live_rule: _core.Asha | None = None  # set by the loop: the rungs that the workers share

    def core_rule(self) -> CompiledRule | None:
        return CompiledRule("asha", self._time_attr, {**self._arguments, "maximise": self.mode == "max"})

    @property
    def milestones(self) -> list[list[float]]:
        """Milestones per bracket, lowest first."""
        return _core.Asha(capacity=1, maximise=True, **self._arguments).milestones_by_bracket

    def _rule(self) -> _core.Asha:
        """The rule for being asked report by report, when something else in the run has to be asked as well."""
        if self._asked is None:
            self._asked = _core.Asha(capacity=1 << 22, maximise=self.mode == "max", **self._arguments)
        return self._asked

    def on_trial_add(self, state: Any, trial: Trial) -> None:
        if self.metric is None or self.mode is None:
            raise ValueError(
                f"{type(self).__name__} was run without a metric and mode: "
                "give them to the scheduler or to the run, e.g. tune.run(..., metric='loss', mode='min')"
            )

    def on_trial_result(self, state: Any, trial: Trial, result: dict[str, Any]) -> str:
        time, value = result.get(self._time_attr), result.get(self.metric or "")
        if not _is_number(time) or not _is_number(value):
            return self.CONTINUE
        decision, rung = self._rule().judge(trial.index, self._rungs.get(trial.index, -1), time, value)
        self._rungs[trial.index] = rung
        return self.STOP if decision else self.CONTINUE

    def on_trial_complete(self, state: Any, trial: Trial, result: dict[str, Any]) -> None:
        time, value = result.get(self._time_attr), result.get(self.metric or "")
        if _is_number(time) and _is_number(value):
            self._rungs[trial.index] = self._rule().complete(trial.index, self._rungs.get(trial.index, -1), time, value)

    def debug_string(self) -> str:
        rule = self.live_rule or self._rule()
        lines = [f"Using AsyncHyperBand: num_stopped={rule.num_stopped}"]
        for rows in rule.cutoffs():
            lines.append("Bracket: " + " | ".join(f"Iter {milestone:.3f}: {cutoff}" for milestone, cutoff in rows))
        return "\n".join(lines)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _require(holds: bool, rule: str, value: Any) -> None:
    if not holds or (isinstance(value, float) and math.isnan(value)):
        raise ValueError(f"{rule}, got {value!r}")


ASHAScheduler = AsyncHyperBandScheduler
