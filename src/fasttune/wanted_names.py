"""Names that a run waits for, and that reports may never bring: a misspelt metric, stop key, time or score.

None of them is an error before a report could have had it. When as many trials have ended as had begun when the first
one did, and at least three, what none of their reports had is said: once, with what follows from it. A metric that never
comes ends the run, because every trial that would still be trained is lost.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from fasttune.error import MissingMetricError
from fasttune.result import AUTO_RESULT_KEYS
from fasttune.result_keys import DEFAULT_METRIC
from fasttune.totals import TOTALS

if TYPE_CHECKING:
    from fasttune.config import RunSpec
    from fasttune.experiment import ExperimentState

MOST = 20  # names in a message
LEAST = 3  # trials that have to end before a name counts as one that never comes
SUMS = {total: key for key, total in TOTALS.items()}  # in a result only if trials report what they are the sums of
ALWAYS = AUTO_RESULT_KEYS - SUMS.keys()  # in every result


class Wanted(NamedTuple):
    """A name that was asked for, how, and what comes of it when no report has it."""

    name: str
    asked: str
    effect: str


def wanted_by(spec: RunSpec) -> list[Wanted]:
    """The names that a run was asked to go by, besides its metric."""
    found = [Wanted(name, f"stop={{{name!r}: {value:g}}}", "ends no trial") for name, value in spec.stop.thresholds.items()]
    scheduler = type(spec.scheduler).__name__
    found += [Wanted(name, f"{scheduler}({how}={name!r})", "decides nothing") for name, how in spec.scheduler.reads().items()]
    several = getattr(spec.searcher, "metric", None)
    if isinstance(several, list | tuple):
        found += [Wanted(name, f"{type(spec.searcher).__name__}(metric={several})", "learns nothing") for name in several]
    if spec.metric is not None and not spec.strict_metric:  # by the environment: reports may lack it
        found.append(Wanted(spec.metric, f"metric={spec.metric!r}", "compares no trials"))
    score = spec.checkpoint.checkpoint_score_attribute
    if score is not None and spec.checkpoint.num_to_keep is not None:
        found.append(Wanted(score, f"checkpoint_score_attribute={score!r}", "ranks no checkpoint, and all of them are kept"))
    return [one for one in found if one.name not in ALWAYS]


class WantedNames:
    """Looks, as trials end, whether the names have come. Costs a comparison or two a turn."""

    def __init__(self, state: ExperimentState) -> None:
        self._state = state
        self._wanted = wanted_by(state.spec)
        self._metric = None if state.metric in ALWAYS or not state.spec.strict_metric else state.metric
        self._due = 1  # so many trials have to have ended when it is looked at next
        self._looks = 0
        self.open = True  # there may be something to say yet

    def look(self) -> None:
        """Trials may have ended since the last time."""
        table = self._state.table
        if not self._looks and table.finished:
            self._looks, self._due = 1, max(LEAST, table.finished + table.running)
        if table.finished >= self._due:
            self._say(least=LEAST)
            self._looks, self._due = self._looks + 1, 2 * self._due

    def close(self) -> None:
        """The run is over, perhaps before so many trials have ended."""
        if self.open and self._state.table.finished and self._state.stopping is None:
            self._say(least=1)
        self.open = False

    def _say(self, least: int) -> None:
        reported = {key for schema in self._state.table.schemas for key in schema.keys}
        if self._metric is not None and self._metric not in reported:
            self._judge_metric(self._metric, reported, least)
        elif reported:
            self.open = False
            for one in self._wanted:
                if one.name not in reported and SUMS.get(one.name) not in reported:
                    warn(f"{one.asked} {one.effect}: {self._nobody()} reported {one.name!r}", one.name, reported)
        elif self._looks <= 1 and not self._state.table.reports and self._state.table.counts()["TERMINATED"] >= least:
            warn(
                f"{self._nobody()} reported anything, so nothing is known but that they ran: return the metrics from the "
                "function, or give them to tune.report(...)"
            )

    def _judge_metric(self, metric: str, reported: Collection[str], least: int) -> None:
        """End the run if trials have ended well without its metric, or were refused for that."""
        table = self._state.table
        refused: set[str] = set()
        lacking = len(table.of_status("TERMINATED", self._due))
        for i in table.of_status("ERROR", self._due):
            failure = self._state.failure(i)
            if failure is not None and MissingMetricError.__name__ in failure.text:
                lacking += 1
                refused.update(getattr(failure.exception, "reported", ()))
        if lacking < least:
            return
        self.open = False
        names = {*reported, *refused}
        if metric in names:
            self._state.end_lacking(f"{self._nobody()} reported the metric {metric!r} as a number: it is there, as something else")
            return
        told = f"what they reported is {', '.join(map(repr, sorted(names)[:MOST]))}" if names else "they reported nothing"
        meant = " (which a mode without a metric means: a returned number)" if metric == DEFAULT_METRIC else ""
        self._state.end_lacking(f"{self._nobody()} reported the metric {metric!r}{meant}: {told}{nearest(metric, names)}")

    def _nobody(self) -> str:
        n = self._state.table.finished
        return "the one trial that has ended has not" if n == 1 else f"none of the {n} trials that have ended has"


def nearest(name: str, known: Collection[str]) -> str:
    """A question that offers the known name which is most like this one, if one is."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f". Did you mean {close[0]!r}?" if close else ""


def warn(text: str, name: str = "", known: Collection[str] = ()) -> None:
    warnings.warn(text + nearest(name, known), RuntimeWarning, stacklevel=2)
