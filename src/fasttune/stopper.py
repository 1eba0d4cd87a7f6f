"""When a trial, or the whole experiment, has gone on for long enough.

    thresholds      stop={"training_iteration": 10, "a/b": 0.5}: decided inside ``report``, nobody is asked
    Stopper         asked with every report of a trial, and once per turn for the whole experiment
    resolve_stop    what users may write as ``stop=`` -> StopRules

A stopper gets results as users see them, with nested dicts; thresholds name nested metrics "a/b".
"""

from __future__ import annotations

import math
import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

from fasttune.argument import check_called, check_called_methods, checked_count, checked_number, shown
from fasttune.constraints import constraint_violation
from fasttune.error import MissingMetricError
from fasttune.hook_times import hook_name


class Stopper:
    """Derive from it and override both methods. State is the stopper's own; it may be pickled between
    reports.

    ``asks_every_report`` may be set False by a stopper that only ever ends the whole experiment: then reports
    do not wait for it.
    """

    asks_every_report: bool = True
    _made_with: tuple[tuple[Any, ...], dict[str, Any]] = (), {}

    def __new__(cls, *args: Any, **keywords: Any) -> Self:
        made = super().__new__(cls)
        made._made_with = args, keywords  # what the journal says of it
        return made

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this trial ends with this result. Called once per report, in order."""
        raise NotImplementedError(f"{type(self).__name__} must override __call__(trial_id, result)")

    def stop_all(self) -> bool:
        """Whether the whole experiment ends now. Called once per turn."""
        raise NotImplementedError(f"{type(self).__name__} must override stop_all()")

    def ends_for_good(self) -> bool:
        """Whether the experiment is done when ``stop_all`` has said that it ends: trials that wait are over then, too. If
        not, a later session may go on with them."""
        return True

    def reason(self) -> str:
        """Why the experiment ends, in words, once ``stop_all`` has said that it does: what people are shown."""
        return f"{type(self).__name__}.stop_all() ended it"


class NoopStopper(Stopper):
    """Never stops anything."""

    asks_every_report = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return False


class FunctionStopper(Stopper):
    """Stops a trial when ``function(trial_id, result)`` says so."""

    def __init__(self, function: Callable[[str, dict[str, Any]], bool]) -> None:
        _check_stop_function(function)
        self._function = function
        self.hook_name = f"the stop function {getattr(function, '__qualname__', type(function).__name__)}()"

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return bool(self._function(trial_id, result))

    def stop_all(self) -> bool:
        return False

    @classmethod
    def is_valid_function(cls, function: object) -> bool:
        """Whether it can be called and is not a Stopper itself."""
        return callable(function) and not isinstance(function, Stopper) and not hasattr(function, "stop_all")


class CombinedStopper(Stopper):
    """Stops when any of its stoppers does. Every one is asked every time, so that each sees all results."""

    def __init__(self, *stoppers: Stopper) -> None:
        for stopper in stoppers:
            if not isinstance(stopper, Stopper):
                raise ValueError(f"CombinedStopper takes Stopper objects, got {stopper!r}")
        self._stoppers = stoppers
        self._ending: list[Stopper] = []  # those that have ended the experiment
        self.hook_name = f"one of the stoppers {', '.join(hook_name(stopper) for stopper in stoppers)}"
        self.asks_every_report = any(stopper.asks_every_report for stopper in stoppers)

    @property
    def stoppers(self) -> tuple[Stopper, ...]:
        """The stoppers, in the order in which they are asked."""
        return self._stoppers

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        answers = [stopper(trial_id, result) for stopper in self._stoppers]
        return any(answers)

    def stop_all(self) -> bool:
        self._ending = [stopper for stopper in self._stoppers if stopper.stop_all()]
        return bool(self._ending)

    def ends_for_good(self) -> bool:
        return any(stopper.ends_for_good() for stopper in self._ending)

    def reason(self) -> str:
        return ", and ".join(stopper.reason() for stopper in self._ending) or super().reason()


class MaximumIterationStopper(Stopper):
    """Stops each trial with its ``max_iter``-th report. It counts reports, whatever iteration they name."""

    def __init__(self, max_iter: int) -> None:
        self._max_iter = checked_count("MaximumIterationStopper max_iter", max_iter, least=1)
        self._reports: dict[str, int] = {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        count = self._reports.get(trial_id, 0) + 1
        self._reports[trial_id] = count
        return count >= self._max_iter

    def stop_all(self) -> bool:
        return False


class TimeoutStopper(Stopper):
    """Ends the experiment after ``timeout`` seconds (or a timedelta), counted from the first turn.

    Only time in which the experiment runs counts: a pickled stopper carries on with what was left. Trials that had not
    begun stay PENDING: a session with more time goes on with them.
    ``clock`` gives seconds that never go back.
    """

    asks_every_report = False
    is_budget = False  # somebody asked for it by ``time_budget_s``

    def __init__(self, timeout: float | timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        self._left = _seconds("timeout", timeout)
        self._reason = f"the {self._left:g} s of TimeoutStopper are used up"
        self._clock = clock
        self._since: float | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self._since is None:
            self._since = self._clock()
        return self.remaining() <= 0

    def ends_for_good(self) -> bool:
        return False

    def reason(self) -> str:
        return self._reason

    @classmethod
    def of_budget(cls, seconds: float) -> TimeoutStopper:
        """One that somebody asked for by ``time_budget_s``."""
        stopper = cls(seconds)
        stopper._reason, stopper.is_budget = budget_used_up(seconds), True
        return stopper

    def remaining(self) -> float:
        """Seconds left, at least 0."""
        used = 0.0 if self._since is None else self._clock() - self._since
        return max(0.0, self._left - used)

    def spend(self, seconds: float) -> None:
        """Take off time that was used before, in a run that this one goes on from."""
        self._left -= seconds

    def __getstate__(self) -> dict[str, Any]:
        return {"left": self.remaining(), "clock": self._clock, "reason": self._reason}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._left = state["left"]
        self._clock = state["clock"]
        self._reason = state.get("reason", "the time of TimeoutStopper is used up")
        self._since = None


def budget_used_up(seconds: float, unit: str = "s") -> str:
    """Why a run ends whose ``time_budget_s`` is over, whoever sees it first."""
    return f"the time budget of {seconds:g} {unit} (time_budget_s) is used up"


class ExperimentPlateauStopper(Stopper):
    """Ends the experiment when its ``top`` best values over all trials differ by at most ``std``.

    ``patience`` is how many results in a row must see the plateau. NaN is no value.
    """

    def __init__(
        self, metric: str, std: float = 0.001, top: int = 10, mode: str = "min", patience: int = 0
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f'ExperimentPlateauStopper mode must be "min" or "max", got {mode!r}')
        self._metric = metric
        self._sign = 1.0 if mode == "min" else -1.0
        self._std = checked_number("ExperimentPlateauStopper std", std, above=0)
        self._top = checked_count("ExperimentPlateauStopper top", top, least=2)
        self._patience = checked_count("ExperimentPlateauStopper patience", patience, least=0)
        self._best: list[float] = []  # the top values times sign, ascending: best first
        self._results = 0  # in a row that saw the plateau

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        value = _metric_of(result, self._metric, trial_id)
        if not math.isnan(value):
            insort(self._best, self._sign * value)
            del self._best[self._top :]
        self._results = self._results + 1 if self.has_plateaued() else 0
        return self.stop_all()

    def has_plateaued(self) -> bool:
        """Whether there are enough values and they lie close together."""
        return len(self._best) == self._top and _deviation(self._best) <= self._std

    def stop_all(self) -> bool:
        return self._results >= max(1, self._patience)


class TrialPlateauStopper(Stopper):
    """Stops a trial when its last ``num_results`` values differ by less than ``std``.

    Not before ``grace_period`` results and, with a threshold, not while the trial is worse than
    ``metric_threshold`` (0.0 is a threshold like any other); then ``mode`` says what worse means.
    """

    def __init__(
        self,
        metric: str,
        std: float = 0.01,
        num_results: int = 4,
        grace_period: int = 4,
        metric_threshold: float | None = None,
        mode: str | None = None,
    ) -> None:
        if metric_threshold is not None and mode not in ("min", "max"):
            raise ValueError(
                f"TrialPlateauStopper with metric_threshold={shown(metric_threshold)} needs "
                f'mode "min" or "max", got {mode!r}'
            )
        self._metric = metric
        self._mode = mode
        self._std = checked_number("TrialPlateauStopper std", std, above=0)
        self._num_results = checked_count("TrialPlateauStopper num_results", num_results, least=1)
        self._grace_period = checked_count("TrialPlateauStopper grace_period", grace_period, least=0)
        self._threshold = (
            None
            if metric_threshold is None
            else checked_number("TrialPlateauStopper metric_threshold", metric_threshold)
        )
        self._reports: dict[str, int] = {}
        self._last: dict[str, deque[float]] = {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        value = _metric_of(result, self._metric, trial_id)
        self._reports[trial_id] = self._reports.get(trial_id, 0) + 1
        last = self._last.setdefault(trial_id, deque(maxlen=self._num_results))
        last.append(value)
        if self._reports[trial_id] < self._grace_period or len(last) < self._num_results:
            return False
        return self._good_enough(value) and _deviation(last) < self._std

    def _good_enough(self, value: float) -> bool:
        if self._threshold is None:
            return True
        return value <= self._threshold if self._mode == "min" else value >= self._threshold

    def stop_all(self) -> bool:
        return False


class RegretStopper(Stopper):
    """Ends the experiment when more trials are hardly worth it: ``stop="regret"``.

    What as many trials again would gain is estimated by how much the best of all trials is better than the best of a random half of
    them, on average over all halves. As a doubling gains less than the one before, it is hardly more than that. The experiment ends
    when it is at most ``tolerance`` of the distance from the best trial to the median one, and says what it expects to lose.

    Trials are compared at equal steps (``training_iteration``): at the last one that at least ``least`` trials came to, so what a
    scheduler has ended early is not far from the best because it was ended. Early steps may mislead: where a scheduler ends trials
    early, that is a step from half of its ``max_t`` (or of the run's ``stop``) on; where nobody says how long trials are, one that
    twice as many came to, from half of the last step on. NaN, infinite values and results that break their
    constraints do not count. Values without a distance (a finite space that is used up, a constant) end it, too.

    Args:
        metric, mode: None: those of the run.
        tolerance: what may be lost, as a part of the distance from the best trial to the median one.
        least: trials that have to come to a step before it ends anything by their values there.
    """

    def __init__(
        self, metric: str | None = None, mode: str | None = None, *, tolerance: float = 0.01, least: int = 30
    ) -> None:
        if mode is not None and mode not in ("min", "max"):
            raise ValueError(f'RegretStopper mode must be "min" or "max", got {mode!r}')
        self._asked = metric, mode
        self._metric, self._mode = self._asked
        self._early = False
        self._end: float | None = None
        self._tolerance = checked_number("RegretStopper tolerance", tolerance, above=0)
        self._least = checked_count("RegretStopper least", least, least=4)
        self._begin()

    def _begin(self) -> None:
        self._steps: dict[int, dict[str, float]] = {}  # the losses of those that came to a step, for a few steps
        self._last: dict[str, tuple[int, float]] = {}  # step and loss that each trial reported last
        self._due = self._least  # values at which it is looked at next: that costs as much as there are
        self._found: tuple[int, int, float, float, float] | None = None  # a step, trials, best loss, what is left to gain, distance

    def set_goal(self, metric: str | None, mode: str | None, early: bool = False, end: float | None = None) -> None:
        """A run begins: its metric and mode, where it has none of its own. What another run found is nothing to this one.
        ValueError if there are none.

        Args:
            early: trials are ended before they have been trained to their end.
            end: the step of which that is, if it is known.
        """
        self._begin()
        self._early, self._end = early, end
        self._metric, self._mode = self._asked[0] or metric, self._asked[1] or mode
        if self._metric is None or self._mode is None:
            raise ValueError(
                'stop="regret" ends a run when more trials would hardly improve its metric, and the run has not one metric and mode: '
                "give them, or RegretStopper(metric=..., mode=...)"
            )

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        value = _metric_of(result, str(self._metric), trial_id)
        counts = math.isfinite(value) and not constraint_violation(result) > 0
        loss = math.nan if not counts else -value if self._mode == "max" else value
        before, had = self._last.get(trial_id, (0, math.nan))
        step = int(result.get("training_iteration", before + 1))
        for mark in _marks_behind(before, step):
            self._enter(mark, trial_id, loss if mark == step else had)
        self._last[trial_id] = step, loss
        return False

    def _enter(self, step: int, trial_id: str, loss: float) -> None:
        there = self._steps.setdefault(step, {})
        there.pop(trial_id, None)  # one that has begun again
        if loss == loss:
            there[trial_id] = loss

    def compared(self) -> tuple[int, list[float]]:
        """(A step, the losses there, sorted): the last step that enough trials came to. While there is none, the first one; or,
        where early steps are not looked at, 0 and no losses."""
        last = max((step for step, _ in self._last.values()), default=0)
        ends = [loss for step, loss in self._last.values() if step == last and loss == loss]
        least, behind = self._least, 0.0  # steps before that one are not looked at
        if self._early:
            least, behind = (2 * least, last / 2) if self._end is None else (least, self._end / 2)
        if len(ends) >= least and last >= behind:
            return last, sorted(ends)
        found = [step for step, there in self._steps.items() if len(there) >= least and step >= behind]
        first = 0 if self._early else min((step for step, there in self._steps.items() if there), default=0)
        step = max(found, default=first)
        return step, sorted(self._steps.get(step, {}).values())

    def left_to_gain(self) -> tuple[float, float]:
        """(What as many trials again would gain, the distance from the best trial to the median one), in units of the metric; NaN
        while there is nothing to compare."""
        ordered = self.compared()[1]
        return self._gain(ordered) if ordered else (math.nan, math.nan)

    @staticmethod
    def _gain(ordered: list[float]) -> tuple[float, float]:
        best, n = ordered[0], len(ordered)
        half = n // 2
        gain, chance = 0.0, half / n  # that the best of a random half is the one of a rank
        for rank in range(1, n - half + 1):
            chance *= (n - half - rank + 1) / (n - rank)
            gain += chance * (ordered[rank] - best)
        return gain, ordered[half] - best

    def stop_all(self) -> bool:
        known = sum(map(len, self._steps.values()))
        if self._found is None and known >= self._due:
            self._due = known + max(1, known // 20)
            step, ordered = self.compared()
            if len(ordered) >= self._least:
                gain, distance = self._gain(ordered)
                if gain <= self._tolerance * distance:
                    self._found = step, len(ordered), ordered[0], gain, distance
        return self._found is not None

    def reason(self) -> str:
        if self._found is None:
            return super().reason()
        step, n, loss, gain, distance = self._found
        best = -loss if self._mode == "max" else loss
        early = f" after {step:,} steps" if any(came > step for came, _ in self._last.values()) else ""
        return (
            f"more trials are hardly worth it: as many again would improve {self._metric}={best:.6g}{early} by about {gain:.2g} "
            f"({gain / distance if distance else 0.0:.1%} of the way from the median of {n:,} trials to it; stop=\"regret\")"
        )


def _marks_behind(before: int, step: int) -> Iterator[int]:
    """The steps at which trials are compared, from behind ``before`` to ``step``; of one that is back at an earlier step that alone.
    They are the powers of two, and what lies half-way between them: 1, 2, 3, 4, 6, 8, 12, ..."""
    power = 1 << max(0, min(before, step).bit_length() - 1)
    while power <= step:
        for mark in (power, power + power // 2) if power > 1 else (1,):
            if before < mark <= step or mark == step:
                yield mark
        power *= 2


BY_NAME = {"regret": RegretStopper}


@dataclass(frozen=True)
class StopRules:
    """What ends trials: flattened metric name -> value that it must reach, and a stopper if there is one."""

    thresholds: dict[str, float] = field(default_factory=dict)
    stopper: Stopper | None = None

    @property
    def asks(self) -> bool:
        """The stopper is asked about every report."""
        return self.stopper is not None and self.stopper.asks_every_report


def resolve_stop(stop: Any = None, time_budget_s: float | timedelta | None = None) -> StopRules:
    """The rules that a user's ``stop=`` and ``time_budget_s=`` mean. Mistakes are ValueErrors, before any
    trial starts.

    ``stop``: a dict of thresholds, a function(trial_id, result) -> bool, a Stopper or its name, a list of those, or None. A list ends
    a trial as soon as one of its parts does.
    """
    thresholds: dict[str, float] = {}
    stoppers: list[Stopper] = []
    if isinstance(stop, StopRules):
        thresholds = stop.thresholds
        stoppers = [stop.stopper] if stop.stopper is not None else []
    elif stop is not None:
        for part in stop if isinstance(stop, (list, tuple)) else [stop]:
            if isinstance(part, str):
                if part not in BY_NAME:
                    raise ValueError(f"stop: there is no stopper called {part!r}; the names are {', '.join(BY_NAME)}")
                part = BY_NAME[part]()
            if not isinstance(part, Mapping):
                stoppers.append(_stopper(part))
                continue
            for key, value in _flat(part):
                if key in thresholds:
                    raise ValueError(f"stop: {key!r} is given twice: {thresholds[key]!r} and {value!r}")
                thresholds[key] = _threshold(key, value)
    if time_budget_s is not None:
        stoppers.append(TimeoutStopper.of_budget(_seconds("time_budget_s", time_budget_s)))
    if not stoppers:
        return StopRules(thresholds, None)
    return StopRules(thresholds, stoppers[0] if len(stoppers) == 1 else CombinedStopper(*stoppers))


def tell_stop_goal(
    rules: StopRules, metric: str | None, mode: str | None, early: bool = False, end: float | None = None
) -> None:
    """Tells the stoppers that go by the run's metric which that is, whether trials are ended ``early``, and at which step all
    ``end``, if that is known. ValueError if there is no metric."""
    end = rules.thresholds.get("training_iteration", end)
    for one in parts_of(rules.stopper):
        if isinstance(one, RegretStopper):
            one.set_goal(metric, mode, early, end)


def parts_of(stopper: Stopper | None) -> Iterator[Stopper]:
    """The stoppers that one is combined of; none of None."""
    if isinstance(stopper, CombinedStopper):
        for one in stopper.stoppers:
            yield from parts_of(one)
    elif stopper is not None:
        yield stopper


def _stopper(stop: Any) -> Stopper:
    if isinstance(stop, Stopper):
        check_called_methods(stop, Stopper)
        return stop
    if isinstance(stop, type) and issubclass(stop, Stopper):
        raise ValueError(f"stop must be a stopper object, got the class itself: write {stop.__name__}(...)")
    if hasattr(stop, "stop_all"):
        name = stop.__name__ if isinstance(stop, type) else type(stop).__name__
        raise ValueError(
            f"stop: {name} has a stop_all() but does not derive from tune.Stopper; derive from it"
        )
    if not callable(stop):
        raise ValueError(
            "stop must be a dict of thresholds, a function(trial_id, result), a Stopper or a list of them, "
            f"got {stop!r}"
        )
    return FunctionStopper(stop)


def _check_stop_function(function: Any) -> None:
    import inspect

    if not callable(function):
        raise ValueError(f"a stop function must be callable, got {function!r}")
    check_called(f"the stop function {getattr(function, '__name__', type(function).__name__)}", function)
    try:
        signature = inspect.signature(function)
    except ValueError:  # some compiled callables do not tell
        return
    try:
        signature.bind("trial_id", {})
    except TypeError:
        name = getattr(function, "__name__", type(function).__name__)
        raise ValueError(
            f"a stop function is called with (trial_id, result), but {name}{signature} cannot take these two"
        ) from None


def _flat(criteria: Mapping[Any, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Names "a/b" and values of nested criteria, which may be written as a result is: {"a": {"b": 6}}."""
    for key, value in criteria.items():
        name = within + _metric_name(key)
        if isinstance(value, Mapping) and value:
            yield from _flat(value, name + "/")
        else:
            yield name, value


def _metric_name(key: Any) -> str:
    if not isinstance(key, str) or not key:
        raise ValueError(f"stop: a metric name must be text, got {key!r}")
    return key


def _threshold(key: str, value: Any) -> float:
    if isinstance(value, Mapping):
        raise ValueError(f"stop[{key!r}] is an empty dict: it names no metric, and no value that one is to reach")
    if isinstance(value, bool):  # stop={"converged": True}: a metric that is a bool reaches it
        return float(value)
    return checked_number(f"stop[{key!r}]", value, rule="a number that the metric is to reach")


def _metric_of(result: dict[str, Any], metric: str, trial_id: str) -> float:
    """The metric of a nested result, "a/b" included."""
    found: Any = result
    if metric in result:
        return float(result[metric])
    for part in metric.split("/"):
        if not isinstance(found, Mapping) or part not in found:
            raise MissingMetricError(
                f"the stopper's metric {metric!r} is not in the result of trial {trial_id}, which has: "
                f"{', '.join(map(str, result))}"
            )
        found = found[part]
    return float(found)


def _deviation(values: list[float] | deque[float]) -> float:
    """Population standard deviation. NaN if the values hold NaN or an infinity."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) * (value - mean) for value in values) / len(values))


def _seconds(name: str, value: Any) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    return checked_number(name, seconds, above=0, rule="a number of seconds > 0 or a timedelta")
