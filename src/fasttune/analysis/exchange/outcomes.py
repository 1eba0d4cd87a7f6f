"""What became of each trial, for forms that keep trials one by one: parameters, values, reports, times, how it ended."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.plot.data import CUT_OFF, FAILED, FINISHED, STOPPED, ExperimentData
from fasttune.result import check_mode, flatten
from fasttune.tables.cells import of_python

if TYPE_CHECKING:
    from fasttune.analysis.experiment_analysis import ExperimentAnalysis

COMPLETE, PRUNED, FAIL, RUNNING, WAITING = "COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"
PLAIN = (type(None), bool, int, float, str)


class Outcome(NamedTuple):
    """One trial."""

    trial_id: str
    state: str  # COMPLETE, PRUNED (ended before its end, without an error), FAIL, RUNNING or WAITING
    params: dict[str, Any]  # flat name -> what was sampled
    values: tuple[float, ...]  # one for each metric, NaN where it has none
    began: float | None  # unix seconds; None: it has not
    ended: float | None  # None: it is not over
    steps: list[int]  # of its reports
    times: list[float]  # of its reports, unix seconds
    reports: dict[str, list[float]]  # metric -> its value in each of them, NaN where it was not reported
    attributes: dict[str, Any]  # flat name -> plain value: what the user has attached, and why it failed


class Outcomes:
    """The trials of an analysis, one after the other.

    Args:
        metrics: "min" or "max" for each; None: the experiment's own, and none if it has none.
        scope: which value of a trial counts, see ``ExperimentAnalysis``.
    """

    def __init__(self, analysis: ExperimentAnalysis, metrics: Mapping[str, str] | None, scope: str | None) -> None:
        self.analysis = analysis
        self.goals = goals_of(analysis, metrics)
        self._scope = analysis._scope(scope)
        self._experiment = ExperimentData(analysis)
        self._source: Any = analysis._source
        if not hasattr(self._source, "table"):
            warnings.warn(
                "this analysis was pickled and holds no journal, which knows what was stopped early: trials that ended without "
                "an error count as complete. Open the experiment's folder instead: ExperimentAnalysis(path)",
                stacklevel=5,
            )

    @property
    def scope(self) -> str:
        return self._scope

    @cached_property
    def params(self) -> list[dict[str, Any]]:
        """Of each trial: what was sampled, by flat names; numpy's values as Python's own."""
        every = (self._source.evaluated_params(i) for i in self._experiment.trials.tolist())
        return [{name: of_python(value) for name, value in params.items()} for params in every]

    @property
    def space(self) -> list[Any]:
        """A ``SpaceLine`` for each domain; [] where the journal does not say it."""
        return self._experiment.space

    @cached_property
    def metrics(self) -> list[str]:
        """Everything that was reported as a number, the goals first."""
        columns = self.analysis._columns
        numbers = [name for name, kinds in columns.names.items() if set(kinds) & set("fib")]
        return list(dict.fromkeys([*(name for name in self.goals if name in numbers), *numbers]))

    def __len__(self) -> int:
        return len(self._experiment)

    def __iter__(self) -> Iterator[Outcome]:
        columns = self.analysis._columns
        places = zip(columns.starts.tolist(), columns.counts.tolist(), strict=True)
        at = dict(zip(columns.trial[columns.starts].tolist(), places, strict=True))  # trial -> where its reports are
        metrics = [(name, columns.metric(name)[0]) for name in self.metrics]
        values, began, ended = self._values(), *self._times()
        attributed = set(self._source.attributed()) if hasattr(self._source, "attributed") else set()
        for place, i in enumerate(self._experiment.trials.tolist()):
            first, n = at.get(i, (0, 0))
            state = self._state(place, values[place], began[place])
            yield Outcome(
                self._source.trial_id(i),
                state,
                self.params[place],
                values[place],
                None if state == WAITING else began[place],
                ended[place] if state in (COMPLETE, PRUNED, FAIL) else None,
                columns.step[first : first + n].tolist(),
                columns.time[first : first + n].tolist(),
                {name: column[first : first + n].tolist() for name, column in metrics} if n else {},
                self._attributes(i, state, i in attributed),
            )

    def _values(self) -> list[tuple[float, ...]]:
        columns, experiment = self.analysis._columns, self._experiment
        found = []
        for metric, mode in self.goals.items():
            trials, scores = columns.scores(metric, mode, self._scope, feasible_first=False)
            found.append(experiment._per_trial(trials, scores, math.nan).tolist())
        return list(zip(*found, strict=True)) if found else [()] * len(experiment)

    def _times(self) -> tuple[list[float | None], list[float | None]]:
        """(began, ended) in unix seconds; of an analysis without a journal, what its reports tell."""
        table = getattr(self._source, "table", None)
        if table is None:
            results = [self._source.last_result(i) for i in self._experiment.trials.tolist()]
            ends = [one.get("timestamp") for one in results]
            begins = [None if end is None else end - one.get("time_total_s", 0.0) for end, one in zip(ends, results, strict=True)]
            return begins, ends
        return tuple(  # type: ignore[return-value]
            [time if math.isfinite(time) and (time > 0 or not self._source.path) else None for time in self._of_table(table, name)]
            for name in ("started", "ended")
        )

    def _of_table(self, table: Any, name: str) -> list[float]:
        exported = table.export(name)
        return [float(exported[i]) for i in self._experiment.trials.tolist()]

    def _state(self, place: int, values: tuple[float, ...], began: float | None) -> str:
        outcome = int(self._experiment.outcome[place])
        if outcome == FAILED:
            return FAIL
        if outcome in (STOPPED, CUT_OFF):
            return PRUNED
        if outcome == FINISHED:
            return FAIL if any(map(math.isnan, values)) else COMPLETE
        if began is None or self._experiment.status[place] == "PENDING":
            return WAITING
        return FAIL if self._interrupted else RUNNING

    @cached_property
    def _interrupted(self) -> bool:
        return self.analysis.interrupted

    def _attributes(self, i: int, state: str, attributed: bool) -> dict[str, Any]:
        told = {name: plain(value) for name, value in flatten(self._source.attributes_of(i)).items()} if attributed else {}
        failure = self._source.failure(i) if state == FAIL else None
        if failure is not None:
            from fasttune.failure import read_reason

            told.setdefault("error", read_reason(failure.text).what)
        return told


def goals_of(analysis: ExperimentAnalysis, metrics: Mapping[str, str] | None) -> dict[str, str]:
    """Metric -> "min" or "max"."""
    if metrics is None and analysis.objectives:
        return dict(analysis.objectives)
    if metrics is None:
        metric, mode = analysis.default_metric, analysis.default_mode
        return {} if metric is None or mode is None else {metric: mode}
    if not isinstance(metrics, Mapping):
        raise TypeError(f'metrics must be a dict like {{"loss": "min"}}, got {metrics!r:.80}')
    for metric, mode in metrics.items():
        check_mode(mode)
        if metric not in analysis._columns.names and len(analysis._columns):
            raise ValueError(f"metric {metric!r} was never reported{analysis._reported_names()}")
    return dict(metrics)


def plain(value: Any) -> Any:
    """A value that every program has: itself, or its text."""
    if isinstance(value, PLAIN):
        return value
    own = of_python(value)
    return own if isinstance(own, PLAIN) else str(value)
