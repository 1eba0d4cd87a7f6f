"""Names that a run waits for, and that reports may never bring: a misspelt metric, stop key, time or score.

None of them is an error before a report could have had it. When as many trials have ended as had begun when the first
one did, and at least three, what none of their reports had is said: once, with what follows from it. A metric that never
comes ends the run, because every trial that would still be trained is lost.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from fasttune import _core
from fasttune.error import MissingMetricError
from fasttune.once import warn_in_run
from fasttune.result import AUTO_RESULT_KEYS, number
from fasttune.result_keys import DEFAULT_METRIC
from fasttune.totals import TOTALS

if TYPE_CHECKING:
    from fasttune.config import RunSpec
    from fasttune.engine.state import ExperimentState

MOST = 20  # names in a message
LEAST = 3  # trials that have to end before a name counts as one that never comes
SUMS = {total: key for key, total in TOTALS.items()}  # in a result only if trials report what they are the sums of
ALWAYS = AUTO_RESULT_KEYS - SUMS.keys()  # in every result


class WantedName(NamedTuple):
    """A name that was asked for, how, and what comes of it when no report has it."""

    name: str
    asked: str
    effect: str


def wanted_by(spec: RunSpec) -> list[WantedName]:
    """The names that a run was asked to go by, besides its metric."""
    found = [WantedName(name, f"stop={{{name!r}: {value:g}}}", "ends no trial") for name, value in spec.stop.thresholds.items()]
    scheduler = type(spec.scheduler).__name__
    found += [WantedName(name, f"{scheduler}({how}={name!r})", "decides nothing") for name, how in spec.scheduler.reads().items()]
    several = getattr(spec.searcher, "metric", None)
    if spec.objectives and not isinstance(several, list | tuple):
        found += [WantedName(name, f"metric={list(spec.objectives)}", "has no front") for name in spec.objectives]
    elif isinstance(several, list | tuple):
        found += [WantedName(name, f"{type(spec.searcher).__name__}(metric={several})", "learns nothing") for name in several]
    if spec.metric is not None and not spec.strict_metric:  # by the environment: reports may lack it
        found.append(WantedName(spec.metric, f"metric={spec.metric!r}", "compares no trials"))
    found += [WantedName(one.metric, f"constraints={one.text!r}", "is held against no result") for one in spec.constraints.limits]
    score = spec.checkpoint.checkpoint_score_attribute
    if score is not None and spec.checkpoint.num_to_keep is not None:
        found.append(WantedName(score, f"checkpoint_score_attribute={score!r}", "ranks no checkpoint, and all of them are kept"))
    return [one for one in found if one.name not in ALWAYS]


class WantedNames:
    """Looks, as trials end, whether the names have come. Costs a comparison or two a turn.

    Only trials that have ended in this session count: what an earlier one has left may be what is being put right.
    """

    def __init__(self, state: ExperimentState) -> None:
        self._state = state
        self._wanted = wanted_by(state.spec)
        self._metric = None if state.metric in ALWAYS or not state.spec.strict_metric else state.metric
        self._due = 1  # so many trials have to have ended when it is looked at next
        self._looks = 0
        self._silence_tells = state.spec.restore is None  # else there may be nothing left to do
        self._before = 0  # trials that had ended when the session began, and when that was
        self._since = -math.inf
        self.open = True  # there may be something to say yet

    def begin_again(self, now: float) -> None:
        """An earlier session has been replayed."""
        self._before, self._since = self._state.table.finished, now

    def look(self) -> None:
        """Trials may have ended since the last time."""
        ended = self._state.table.finished - self._before
        if not self._looks and ended > 0:
            self._looks, self._due = 1, max(LEAST, ended + self._state.table.running)
        if ended >= self._due:
            self._say(over=False)
            self._looks, self._due = self._looks + 1, 2 * self._due

    def close(self) -> None:
        """The run is over, perhaps before so many trials have ended."""
        if self.open and self._state.table.finished > self._before and self._state.ending.why is None:
            self._say(over=True)
        self.open = False

    def _say(self, over: bool) -> None:
        least = 1 if over else LEAST
        ended = self._ended()
        numbers = {key for schema in self._state.table.schemas for key in schema.keys} - {_core.SCORE}
        others = self._others(ended)
        numbers |= {name for name, is_number in others.items() if is_number}
        if self._metric is not None and self._metric not in numbers:
            self._judge_metric(self._metric, {*numbers, *others}, ended, over)
        elif numbers or others:
            self.open = False
            self._look_at_threshold(ended["TERMINATED"], least)
            for one in self._wanted:
                if one.name in numbers or SUMS.get(one.name) in numbers:
                    continue
                if one.name in others:
                    warn(f"{one.asked} {one.effect}: {one.name!r} is reported, but not as a number")
                else:
                    warn(f"{one.asked} {one.effect}: {self._nobody()} reported {one.name!r}", one.name, numbers)
        elif self._looks <= 1 and self._silence_tells and len(ended["TERMINATED"]) >= least:
            self._warn_of_silence()

    def _look_at_threshold(self, ended: list[int], least: int) -> None:
        """A loss among the stop criteria may be meant as "small enough", and ends trials where it is large."""
        state, spec = self._state, self._state.spec
        limit = spec.stop.thresholds.get(state.metric or "")
        if state.mode != "min" or limit is None or len(ended) < least:
            return
        if all(state.table.iteration(i) == 1 and state.table.value(i) >= limit for i in ended):
            warn(
                f"stop={{{state.metric!r}: {limit:g}}} ends a trial whose {state.metric} is {limit:g} or more: all that have ended "
                "did so at their first report, and mode='min' says that less is better. To end a trial where it is small "
                f"enough: stop=lambda trial_id, result: result[{state.metric!r}] <= {limit:g}"
            )

    def _warn_of_silence(self) -> None:
        warn(
            f"{self._nobody()} reported anything, so nothing is known but that they ran: return the metrics from the "
            "function, or give them to tune.report(...)"
        )

    def _ended(self) -> dict[str, list[int]]:
        """Trials that have ended in this session, the first of each status."""
        table = self._state.table
        return {
            status: [i for i in table.of_status(status) if table.times(i)[1] >= self._since][: self._due]
            for status in ("TERMINATED", "ERROR")
        }

    def _others(self, ended: dict[str, list[int]]) -> dict[str, bool]:
        """Names whose values are no plain numbers, in the last reports of some trials, and whether they are numbers all the
        same (an int beyond 2**53)."""
        found: dict[str, bool] = {}
        for i in [*ended["TERMINATED"][:MOST], *ended["ERROR"][:MOST]]:
            last = self._state.table.last(i)
            if last is not None and last[2] is not None:
                for name, value in self._state.metrics_of(*last).items():
                    found[name] = found.get(name, False) or number(value) is not None
        return found

    def _judge_metric(self, metric: str, names: Collection[str], ended: dict[str, list[int]], over: bool) -> None:
        """End the run if trials have reported other names in place of its metric, or were refused for that. One that has
        reported nothing says nothing: it may be one whose config is not worth it."""
        table = self._state.table
        known = set(names)
        reported = sum(table.last(i) is not None for i in ended["TERMINATED"])
        lacking, silent = reported, (len(ended["TERMINATED"]) - reported) * self._silence_tells
        for i in ended["ERROR"]:
            failure = self._state.failure(i)
            if failure is not None and MissingMetricError.__name__ in failure.text:
                lacking += 1
                known.update(getattr(failure.exception, "reported", ()))
        if lacking < LEAST and not over:
            if silent >= LEAST and self._looks <= 1:
                self._warn_of_silence()
            return
        if lacking + silent == 0:
            return
        self.open = False
        why = f"{self._nobody()} reported the metric {metric!r}{self._as_what(metric, known)}"
        self._state.ending.lacking = why
        if not over:
            self._state.stop_all(why)

    @staticmethod
    def _as_what(metric: str, names: Collection[str]) -> str:
        if metric in names:
            return " as a number: it is there, as something else"
        meant = " (which a mode without a metric means: a returned number)" if metric == DEFAULT_METRIC else ""
        if not names:
            return f"{meant}: they reported nothing"
        return f"{meant}: what they reported is {', '.join(map(repr, sorted(names)[:MOST]))}{nearest(metric, names)}"

    def _nobody(self) -> str:
        n = self._state.table.finished - self._before
        return "the one trial that has ended has not" if n == 1 else f"none of the {n} trials that have ended has"


def nearest(name: str, known: Collection[str]) -> str:
    """A question that offers the known name which is most like this one, if one is."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f". Did you mean {close[0]!r}?" if close else ""


def warn(text: str, name: str = "", known: Collection[str] = ()) -> None:
    warn_in_run(text + nearest(name, known), RuntimeWarning, stacklevel=2)
