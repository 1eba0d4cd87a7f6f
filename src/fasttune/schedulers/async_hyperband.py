"""ASHA: asynchronous successive halving, stopping form.

Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar: A System for Massively Parallel Hyperparameter
Tuning, MLSys 2020, section 3. A trial is judged when it reaches a rung, against what the rung had recorded before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fasttune import _core
from fasttune.argument import checked_count, checked_number
from fasttune.result import AUTO_KEYS, number
from fasttune.rule import CompiledRule
from fasttune.schedulers.base import TrialScheduler
from fasttune.schedulers.saved import SavedState, read_state, unlike, write_state
from fasttune.schedulers.view import ExperimentView
from fasttune.trial import Trial

if TYPE_CHECKING:
    from fasttune.config import Mode

_TEXTS = frozenset(("trial_id", "date", "hostname", "node_ip", "config"))  # keys that are filled in and are no numbers
_COMPILED_CLOCKS = ("training_iteration", "time_total_s")


class AsyncHyperBandScheduler(TrialScheduler):
    """Stops a trial that is worse at a rung than the best 1/reduction_factor of those that reached it.

    Rungs lie at ``grace_period * reduction_factor ** k`` up to ``max_t``, exactly (integers stay integers), 64 at most.

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
        rule: when a trial is below the cut-off of a rung.

            - ``"percentile"``, Ray Tune's: its value is strictly worse than the (1 - 1/reduction_factor) percentile,
              linear as numpy's, of what the rung had recorded before it. The first at a rung always passes. NaN never
              stops, so that a trial that has diverged is trained to the end, and is not counted. Keeps a few percent more
              than the paper, and what it keeps depends on the scale of the metric, because it interpolates between values.
            - ``"rank"``, the paper's (Algorithm 2, ``top_k`` of size floor(n / reduction_factor)): it goes on if its rank
              is at most max(1, floor(n / reduction_factor)) among the n trials of the rung, itself among them. The
              paper leaves ties open: equal values share the better rank, so equal survives. NaN is the worst value
              there is. Unchanged by any strictly increasing transform of the metric.
        patience: how many judged rungs in a row a trial must be below the cut-off before it stops; 0 and 1 stop it at
            the first. For noisy metrics; ours, not the paper's.
        smoothing: ``"last"`` judges and records a trial's value at the rung, ``"best"`` the best value that it has
            reported so far, those of earlier attempts among them and NaN never. For metrics that go up and down; ours,
            not the paper's.

    A report that jumps over rungs is judged once, at the highest rung it reached; a trial that is tried again is not
    judged again where it was. A report without the time or the metric, or whose time is NaN, is not judged. The rule is
    decided inside ``report()``, unless the time or the metric is one that fasttune fills in after it, such as
    ``time_this_iter_s``: then every report waits for the loop.
    """

    compares = True

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: Mode | None = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: float = 4,
        brackets: int = 1,
        stop_last_trials: bool = True,
        *,
        seed: int = 0,
        rule: str = "percentile",
        patience: int = 1,
        smoothing: str = "last",
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        checked_number("max_t", max_t, above=0)
        checked_number("grace_period", grace_period, above=0)
        checked_number("grace_period", grace_period, most=float(max_t), rule=f"at most max_t ({max_t})")
        checked_number("reduction_factor", reduction_factor, above=1)
        brackets = checked_count("brackets", brackets, least=1, most=16)
        seed = checked_count("seed", seed, most=2**64 - 1, rule="an integer from 0 to 2**64 - 1")
        patience = checked_count("patience", patience, most=64, rule="an integer from 0 to 64 rungs")
        _require(rule in ("percentile", "rank"), "rule must be 'percentile' or 'rank'", rule)
        _require(smoothing in ("last", "best"), "smoothing must be 'last' or 'best'", smoothing)
        _refuse_text(time_attr, "time_attr")
        _refuse_text(metric, "metric")
        self._time_attr = time_attr
        self._arguments: dict[str, Any] = {
            "max_t": float(max_t),
            "grace_period": float(grace_period),
            "reduction_factor": float(reduction_factor),
            "brackets": brackets,
            "stop_last_trials": bool(stop_last_trials),
            "seed": seed,
            "rank": rule == "rank",
            "patience": patience,
            "smooth": smoothing == "best",
        }
        self._milestones = _core.Asha(maximise=True, **self._arguments).milestones_by_bracket
        self._asked: _core.Asha | None = None
        self._asked_mode: str | None = None
        self._restored: SavedState | None = None  # what is gone on from
        self.live_rule: _core.Asha | None = None  # set by the loop: the rungs that the workers share

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        _refuse_text(metric, "metric")
        taken = super().set_search_properties(metric, mode, **spec)
        if self._restored is not None:
            found = unlike(self._restored.metric, self._restored.mode, self.metric, self.mode)
            if found:
                raise ValueError(f"{type(self).__name__} was restored from a state of another run: {'; '.join(found)}")
        return taken

    def reads(self) -> Mapping[str, str]:
        return {self._time_attr: "time_attr"}

    def core_rule(self) -> CompiledRule | None:
        clock_is_compiled = self._time_attr in _COMPILED_CLOCKS or not _filled_in(self._time_attr)
        if not clock_is_compiled or _filled_in(self.metric):
            return None  # what a report does not hold is known to the loop only
        if self._restored is not None:
            return None  # the rungs that are gone on with are here, not where reports are made
        return CompiledRule("asha", self._time_attr, {**self._arguments, "maximise": self.mode == "max"})

    @property
    def milestones(self) -> list[list[float]]:
        """Milestones per bracket, lowest first."""
        return self._milestones

    def _rule(self) -> _core.Asha:
        """The rule for being asked report by report, when something else in the run has to be asked as well."""
        mode = self.mode or (self._restored.mode if self._restored is not None else None)
        if self._asked is None or (self._asked_mode != mode and not self._asked.sequence):  # it was looked at before the run
            self._asked_mode = mode
            self._asked = _core.Asha(maximise=mode == "max", **self._arguments)
        return self._asked

    def on_trial_add(self, state: ExperimentView, trial: Trial) -> None:
        self.check_metric()

    def on_trial_result(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> str:
        time, value = self._time_and_value(result)
        if value is None:
            return self.CONTINUE
        return self.STOP if self._rule().judge(trial.index, time, value) else self.CONTINUE

    def on_trial_complete(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> None:
        time, value = self._time_and_value(result)
        if value is not None:
            self._rule().complete(trial.index, time, value)

    def _time_and_value(self, result: dict[str, Any]) -> tuple[float, float | None]:
        """NaN for a time that was not reported: it reaches no rung."""
        time = number(result.get(self._time_attr))
        return math.nan if time is None else time, number(result.get(self.metric or ""))

    def save(self, checkpoint_path: str) -> None:
        """Write what was judged so far to a file. A run that is resumed does not need it: it has the journal."""
        write_state(checkpoint_path, self, (self.live_rule or self._rule()).state())

    def restore(self, checkpoint_path: str) -> None:
        """Judge on, for the same trials, where the scheduler was that saved the file; a run under this scheduler is asked
        about every report then. ValueError if the saved one had other settings, another metric or mode."""
        saved = read_state(checkpoint_path, self)
        before, self._restored = self._restored, saved
        try:
            self._rule().restore(saved.state)
        except ValueError:
            self._restored = before
            raise

    def debug_string(self) -> str:
        rule = self.live_rule or self._rule()
        lines = [f"Using AsyncHyperBand: num_stopped={rule.num_stopped}"]
        for rows in rule.cutoffs():
            lines.append("Bracket: " + " | ".join(f"Iter {milestone:.3f}: {cutoff}" for milestone, cutoff in rows))
        return "\n".join(lines)


def _filled_in(key: str | None) -> bool:
    """Whether a result has the key without the trial reporting it."""
    return key is not None and (key in AUTO_KEYS or key.startswith("config/"))


def _refuse_text(key: str | None, argument: str) -> None:
    if key in _TEXTS:
        raise ValueError(
            f"{argument} must name a number that trials report, got {key!r}, which fasttune fills in and is no number"
        )


def _require(holds: bool, rule: str, value: Any) -> None:
    if not holds or (isinstance(value, float) and math.isnan(value)):
        raise ValueError(f"{rule}, got {value!r}")


ASHAScheduler = AsyncHyperBandScheduler
"""The usual name of :class:`AsyncHyperBandScheduler`."""
