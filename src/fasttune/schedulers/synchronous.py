"""What HyperBand and successive halving share: the brackets of ``_rules.HyperBand`` behind the scheduler contract."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat

from fasttune import _core, _rules
from fasttune.error import MissingMetricError
from fasttune.schedulers.base import End, Order, TrialScheduler
from fasttune.schedulers.brackets import Stage
from fasttune.schedulers.view import ExperimentView
from fasttune.trial import Trial

if TYPE_CHECKING:
    from fasttune.config import Mode

DECISIONS = {_core.CONTINUE: "CONTINUE", _core.STOP: "STOP", _core.PAUSE: "PAUSE"}
CAN_RUN = ("PENDING", "PAUSED")
STATUS = {"WAITING": "PENDING", "READY": "PAUSED", "HELD": "PAUSED", "RUNNING": "RUNNING"}


class SynchronousScheduler(TrialScheduler):
    """Trials run to their bracket's milestone and are paused there until all its others have come; then the best go on.

    A trial is asked about from its milestone on where ``time_attr`` is "training_iteration"; otherwise on every report.
    Subclasses give the plan: brackets of (size, milestone).
    """

    supports_buffered_results = False
    fair = True  # serve the least complete bracket of the oldest round first, otherwise the oldest bracket

    compares = True
    pauses = True
    holds_back = True

    def __init__(
        self,
        plan: list[list[Stage]],
        time_attr: str,
        metric: str | None,
        mode: Mode | None,
        stop_last_trials: bool,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._plan = plan
        self._time_attr = time_attr
        self._stop_last_trials = bool(stop_last_trials)
        self._brackets: _rules.HyperBand | None = None
        self._over: list[Trial] = []  # losers whose End is to be ordered
        self._chosen: list[int] = []  # trials that were chosen and have not reported since

    @property
    def _rule(self) -> _rules.HyperBand:
        if self._brackets is None:
            self._brackets = _rules.HyperBand(self._plan, self.mode == "max", self._stop_last_trials, self.fair)
        return self._brackets

    # -- what happens -------------------------------------------------------------------------------------------------

    def reads(self) -> Mapping[str, str]:
        return {self._time_attr: "time_attr"}

    def on_trial_add(self, state: ExperimentView, trial: Trial) -> None:
        self.check_metric()
        self._rule.add(trial.index)
        total = state.total
        if total is not None and trial.index + 1 >= total:
            self._rule.close()  # a bracket that is not full never will be
            self._note(state)

    def on_trial_result(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> str:
        if trial.is_finished():
            return self.CONTINUE  # it ended by itself, and leaves its bracket with on_trial_complete
        time = self._time_of(trial, result)
        value = _number(result, self.metric or "", "metric", trial)
        if trial.index in self._chosen:
            self._chosen.remove(trial.index)
        decision = self._rule.report(trial.index, time, value)
        self._note(state)
        return DECISIONS[decision]

    def _time_of(self, trial: Trial, result: dict[str, Any]) -> float:
        return _number(result, self._time_attr, "time_attr", trial)

    def ask_from(self, trial: Trial) -> int:
        if self._time_attr != "training_iteration":
            return 0
        milestone = self._rule.milestone(trial.index)
        return _core.NEVER_ASK if math.isinf(milestone) else math.ceil(milestone)

    def on_trial_complete(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> None:
        self._leave(state, trial, lost=False)

    def on_trial_remove(self, state: ExperimentView, trial: Trial) -> None:
        self._leave(state, trial, lost=True)

    def on_trial_error(self, state: ExperimentView, trial: Trial) -> None:
        self._leave(state, trial, lost=True)

    def _leave(self, state: ExperimentView, trial: Trial, lost: bool) -> None:
        self._rule.remove(trial.index, lost)
        self._note(state)

    def _note(self, state: ExperimentView) -> None:
        """Take over who is over since the last time."""
        for number in self._rule.take_ended():
            self._over.append(state.trials[number])

    def orders(self) -> Sequence[Order]:
        if not self._over:
            return ()
        over, self._over = self._over, []
        return [End(trial) for trial in over if not trial.is_finished()]

    # -- who runs -----------------------------------------------------------------------------------------------------

    def choose_trial_to_run(self, state: ExperimentView) -> Trial | None:
        """Who is to run next. When nobody is and nobody runs, no trial can have been added either: then the newest
        bracket waits in vain for more, and goes on with those it has."""
        found = self._next(state)
        if found is None and self._brackets is not None and not state.trials_of("RUNNING", 1):
            self._look_again(state)
            found = self._next(state)
            if found is None and self._rule.halve_now():
                self._note(state)
                found = self._next(state)
        return found

    def _next(self, state: ExperimentView) -> Trial | None:
        if self._brackets is None:
            return None
        rule = self._rule
        # Whoever was chosen and could not be run after all has to be chosen again.
        for number in self._chosen:
            if state.trials[number].status in CAN_RUN:
                rule.again(number)
        self._chosen = [number for number in self._chosen if rule.state(number) == "RUNNING"]
        while (number := rule.choose()) >= 0:
            trial: Trial = state.trials[number]
            if trial.status in CAN_RUN:
                return trial
            rule.started(number)
            self._chosen.append(number)
        return None

    def _look_again(self, state: ExperimentView) -> None:
        """Nobody runs: whoever is taken for running waits, or is over. So it is after an interrupted run."""
        for number in self._rule.running():
            trial: Trial = state.trials[number]
            if trial.is_finished():
                self._rule.remove(number, True)
            else:
                self._rule.again(number)
        self._note(state)

    # -- what it says -------------------------------------------------------------------------------------------------

    @property
    def _title(self) -> str:
        return type(self).__name__

    def debug_string(self) -> str:
        """The brackets that have live trials, of the newest two rounds."""
        if self._brackets is None:
            return f"Using {self._title}: num_stopped=0 total_brackets=0"
        rule = self._brackets
        lines = [f"Using {self._title}: num_stopped={rule.num_stopped} total_brackets={len(rule)}"]
        told = -1
        for number in range(max(0, len(rule) - 2 * len(self._plan)), len(rule)):
            band, _, size, milestone, complete, members = rule.bracket(number)
            if not members:
                continue
            if band != told:
                lines.append(f"Round #{band}:")
                told = band
            counts: dict[str, int] = {}
            for trial in members:
                status = STATUS[rule.state(trial)]
                counts[status] = counts.get(status, 0) + 1
            shown = ", ".join(f"{status}: {counts[status]}" for status in sorted(counts))
            lines.append(
                f"  Bracket(Max Size (n)={size}, Milestone (r)={milestone:g}, completed={complete:.1%}): {{{shown}}}"
            )
        return "\n".join(lines)


def _number(result: dict[str, Any], key: str, role: str, trial: Trial) -> float:
    """The value as a number; None is NaN. MissingMetricError when it was not reported, TypeError when it is no number."""
    if key not in result:
        raise MissingMetricError(
            f"trial {trial.trial_id} did not report {key!r}, the scheduler's {role}; it reported "
            f"{', '.join(sorted(result)) or 'nothing'}. Is the name spelt as in report()?"
        )
    value: SupportsFloat | None = result[key]
    if value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"trial {trial.trial_id} reported {value!r:.80} as {key!r}, the scheduler's {role}: it must be a number"
        ) from None
