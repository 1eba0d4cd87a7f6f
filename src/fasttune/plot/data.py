"""What pictures are made of: one experiment as arrays, read from an analysis. The only module here that knows where data lie.

Everything is asked for by name and read when it is first needed. Arrays "per trial" have one entry for each trial of the
analysis, in its order; a "position" is a place in them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasttune.analysis.experiment_analysis import ExperimentAnalysis
from fasttune.constraints import BARRIER
from fasttune.plot.journal import ends, first_judgements, first_pauses, side_by_side, stretches
from fasttune.plot.parameters import Parameter, SpaceLine, parameter_of, space_lines
from fasttune.tables.columns import DERIVED

if TYPE_CHECKING:
    from fasttune.analysis.result_grid import ResultGrid
    from fasttune.engine.facts import Changed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# What became of a trial. FINISHED: it ended by itself, or had all that the run gives to a trial. CUT_OFF: it ran when the run
# was ended, out of time or by hand.
FINISHED, STOPPED, FAILED, CUT_OFF, UNFINISHED = range(5)
OUTCOMES = ("finished", "stopped early", "failed", "ended from outside", "not over")
SHOWN_NAMES = 20  # in errors
LONGEST_TEXT = 60  # characters of a value in hover texts


class Goal(NamedTuple):
    """What is looked at, and which way is better."""

    metric: str
    mode: str | None  # "min", "max"; None where the picture does not need it and nobody said it
    scope: str

    @property
    def sign(self) -> float:
        """A score times this is a loss."""
        return -1.0 if self.mode == "max" else 1.0

    def words(self) -> str:
        """As axes call a trial's score: "last accuracy (max)"."""
        from fasttune.scope import measured

        said = f"best {self.metric}" if self.scope == "all" else measured(self.metric, self.scope)
        return said + (f" ({self.mode})" if self.mode else "")


class Reports(NamedTuple):
    """The reports that have a metric, by trial and then by step: arrays of equal length."""

    position: Ints  # of the trial
    step: Ints  # training_iteration
    time: Floats  # unix seconds
    value: Floats


class Spans(NamedTuple):
    """Stretches of time in which a worker ran a trial: arrays of equal length, in the order of their beginnings."""

    position: Ints
    lane: Ints  # number of the worker, from 0
    start: Floats  # unix seconds
    end: Floats


class ExperimentData:
    """One experiment (or the trials of it that an analysis was made of), as pictures see it.

    Raises:
        TypeError: ``what`` is no analysis, ResultGrid or path.
        ValueError: no metric is known, it was never reported, or there is nothing to draw; each says what there is.
    """

    def __init__(self, what: ExperimentAnalysis | ResultGrid | str | os.PathLike[str]) -> None:
        self.analysis = analysis_of(what)
        self._source: Any = self.analysis._source
        self.trials: Ints = np.array(self.analysis._indices, dtype=np.int64)
        self._scores: dict[tuple[str, str | None, str], Floats] = {}

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def name(self) -> str:
        return str(self._source.name)

    @property
    def is_over(self) -> bool:
        """Nothing is left to be done, as far as the journal says."""
        return bool(getattr(self._source, "is_over", True))

    @property
    def path(self) -> str:
        return str(self._source.path)

    @property
    def place(self) -> str:
        """Where it lies, for errors; a simulation lies nowhere."""
        return self.path or f"the experiment {self.name!r}"

    @property
    def meta(self) -> dict[str, Any]:
        """What the journal says of the experiment; {} for an analysis that was pickled."""
        found: dict[str, Any] = getattr(self._source, "meta", {})
        return found

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the scheduler, as the journal has them."""
        asked = self.meta.get("asked") or {}
        found: dict[str, Any] = (asked.get("scheduler") or {}).get("settings") or {}
        return found

    # ---- trials

    def trial_id(self, position: int) -> str:
        return str(self._source.trial_id(int(self.trials[position])))

    @cached_property
    def status(self) -> list[str]:
        """Per trial: PENDING, RUNNING, PAUSED, TERMINATED or ERROR."""
        return [self._source.status(i) for i in self.trials.tolist()]

    @cached_property
    def longest(self) -> int | None:
        """The steps that the run gives to a trial at most; None where nothing says it."""
        limits = [(self.meta.get("stop") or {}).get("training_iteration")]
        if self.settings.get("time_attr", "training_iteration") == "training_iteration":
            limits.append(self.settings.get("max_t"))
        known = [int(limit) for limit in limits if isinstance(limit, int | float) and limit == limit and limit < 2**53]
        return min(known) if known else None

    @cached_property
    def steps(self) -> Ints:
        """Per trial: its training_iteration; 0 before the first report."""
        columns = self.analysis._columns
        return self._per_trial(columns.trial[columns.starts], columns.step[columns.last_rows()], 0).astype(np.int64)

    @cached_property
    def outcome(self) -> Ints:
        """Per trial: FINISHED, STOPPED, FAILED, CUT_OFF or UNFINISHED."""
        kinds = {"TERMINATED": FINISHED, "ERROR": FAILED}
        outcome = np.array([kinds.get(status, UNFINISHED) for status in self.status], dtype=np.int64)
        table = getattr(self._source, "table", None)
        if table is None:
            return outcome
        stopped = np.array([table.was_stopped(i) for i in self.trials.tolist()], dtype=bool)
        stopped &= ~np.isin(self.trials, self.analysis._columns.said_done())
        if self.longest is not None:
            stopped &= self.steps < self.longest
        outcome[stopped & (outcome == FINISHED)] = STOPPED
        began = np.array(table.export("started"), dtype=np.float64)[self.trials]
        ended = np.array(table.export("ended"), dtype=np.float64)[self.trials]
        moments, alone = self._ends
        outcome[(outcome == STOPPED) & np.isin(self.trials, sorted(alone))] = CUT_OFF
        for moment in moments:
            # a worker may begin what it was handed in that very moment; what a later session begins comes when all has ended
            over = float(ended[began <= moment].max(initial=moment))
            outcome[(outcome == STOPPED) & (began <= over) & (ended >= moment)] = CUT_OFF
        return outcome

    @cached_property
    def _ends(self) -> tuple[list[float], set[int]]:
        """What was ended from outside, see ``journal.ends``: no scheduler has stopped it."""
        return ends(self._journal("the outcomes of trials")) if self.has_journal else ([], set())

    def failure_text(self, position: int) -> str:
        """The text of a trial's last failure; "" without one."""
        found = self._source.failure(int(self.trials[position]))
        return "" if found is None else str(found.text)

    @property
    def began(self) -> float | None:
        """Unix time at which the run began, if that is known."""
        created = self.meta.get("created")
        if not self.path:  # a simulation: its clock begins with it
            return 0.0
        return float(created) if isinstance(created, int | float) else None

    @property
    def has_journal(self) -> bool:
        return hasattr(self._source, "_entries")

    def moment(self, position: int, goal: Goal) -> tuple[float, int]:
        """(unix time, step) of the report that gave a trial its score: its best one, or the last where the score is a mean."""
        columns = self.analysis._columns
        rows = columns.rows_of(int(self.trials[position]))
        values, present = columns.metric(goal.metric)
        at = np.flatnonzero(present[rows])
        if goal.scope == "all":
            at = at[values[rows][at] == self.score(goal)[position]][:1]
        return float(columns.time[rows][at[-1]]), int(columns.step[rows][at[-1]])

    # ---- metrics

    @cached_property
    def metrics(self) -> list[str]:
        """Names of the metrics that were reported, in the order of first sight."""
        return list(self.analysis._columns.names)

    def goal(self, metric: str | None, mode: str | None, scope: str | None, needs_mode: bool = True) -> Goal:
        """The metric and the mode that are meant, checked."""
        self.check_some()
        name = self.analysis._metric(metric)
        if name not in self.metrics and name not in DERIVED:
            raise ValueError(f"metric {name!r} was never reported; {_named('reported were', self.metrics)}")
        if needs_mode or mode is not None:
            mode = self.analysis._mode(mode, name)
        elif name == self.analysis.default_metric:
            mode = self.analysis.default_mode
        # a trial's best value cannot be told without a mode
        chosen = self.analysis._scope(scope) if mode or scope else "last"
        if chosen == "all" and mode is None:
            mode = self.analysis._mode(None, name)
        return Goal(name, mode, chosen)

    def check_some(self) -> None:
        """ValueError if no trial has reported yet."""
        if not len(self):
            raise ValueError(f"there is nothing to draw: {self.place} has no trials")
        if not len(self.analysis._columns):
            raise ValueError(
                f"there is nothing to draw: none of the {len(self):,} trials of {self.place} has reported. The usual causes "
                "are a run that has just begun, and trials that failed before their first report"
            )

    def score(self, goal: Goal) -> Floats:
        """Per trial: its value of the goal by its scope; NaN where it has none. ValueError if no trial has one."""
        key = (goal.metric, goal.mode, goal.scope)
        if key not in self._scores:
            trials, values = self.analysis._columns.scores(goal.metric, goal.mode or "min", goal.scope)
            score = self._per_trial(trials, values, np.nan)
            score[~np.isfinite(score) | (np.abs(score) >= BARRIER)] = np.nan  # one that breaks a constraint has no score
            if not np.isfinite(score).any():
                holds = "" if self.analysis._columns.violation is None else ", and holds its constraints"
                raise ValueError(
                    f"there is nothing to draw: no trial has a finite value of {goal.metric!r}{holds}; "
                    f"{_named('reported were', self.metrics)}"
                )
            self._scores[key] = score
        return self._scores[key]

    def reports(self, metric: str) -> Reports:
        """The reports that have a finite number of a metric."""
        columns = self.analysis._columns
        values, present = columns.metric(metric)
        place = self._per_index(np.arange(len(self)), -1)
        position = place[columns.trial]
        used = present & np.isfinite(values) & (position >= 0)
        return Reports(position[used], columns.step[used].astype(np.int64), columns.time[used], values[used])

    @cached_property
    def report_times(self) -> tuple[Floats, int, int]:
        """(times of all reports, how many there are, how many steps all trials have run)."""
        columns = self.analysis._columns
        return columns.time, len(columns), int(self.steps.sum())

    @cached_property
    def last_time(self) -> Floats:
        """Per trial: unix time of its last report; NaN without one."""
        columns = self.analysis._columns
        return self._per_trial(columns.trial[columns.starts], columns.time[columns.last_rows()], np.nan)

    def _per_index(self, values: NDArray[Any], missing: int) -> Ints:
        """An array by index of trial from one by position."""
        place = np.full(max(len(self._source), int(self.trials.max(initial=-1)) + 1), missing, dtype=np.int64)
        place[self.trials] = values
        return place

    def _per_trial(self, trials: NDArray[Any], values: NDArray[Any], missing: float) -> Floats:
        """An array by position, of values that belong to some indices of trials."""
        size = max(int(self.trials.max(initial=-1)), int(trials.max(initial=-1))) + 1
        column = np.full(size, missing, dtype=np.float64)
        column[trials] = values
        return column[self.trials]

    # ---- parameters

    @cached_property
    def space(self) -> list[SpaceLine]:
        """What was searched: a line for each domain, [] where the journal does not say it."""
        return space_lines(self.meta)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Flat name -> what was sampled, those of which trials differ only, in the order of the space."""
        params = [self._source.evaluated_params(i) for i in self.trials.tolist()]
        names = dict.fromkeys(name for row in params for name in row)
        known = {line.name: line for line in self.space}
        order = {name: place for place, name in enumerate(known)}
        made = {}
        for name in sorted(names, key=lambda name: order.get(name, len(order))):
            found = parameter_of(name, [row.get(name) for row in params], known.get(name))
            if found is not None:
                made[name] = found
        return made

    def parameter(self, name: str) -> Parameter:
        """One of ``parameters``; ValueError says which there are."""
        if name not in self.parameters:
            raise ValueError(
                f"no parameter {name!r} differs between trials; {_named('there are', list(self.parameters))}. "
                'Names of nested ones are joined by "/"'
            )
        return self.parameters[name]

    def chosen(self, names: Sequence[str] | None, least: int = 1, most: int | None = None) -> list[Parameter]:
        """These parameters, or all (at most ``most``); ValueError if they are fewer than ``least``."""
        if isinstance(names, str):
            raise TypeError(f"params is a list of names, got the text {names!r}: params=[{names!r}]")
        found = list(self.parameters.values()) if names is None else [self.parameter(name) for name in names]
        if len(found) < least:
            raise ValueError(
                f"this picture needs at least {least} parameter{'s'[: least != 1]} of which trials differ, and there "
                f"{'is' if len(found) == 1 else 'are'} {len(found)}{': ' + found[0].name if len(found) == 1 else ''}"
            )
        return found if most is None or names is not None else found[:most]

    # ---- what happened

    @cached_property
    def spans(self) -> Spans:
        """When which worker ran which trial, as the journal tells it. ValueError for an analysis without a journal."""
        rows = stretches(self._journal("the timeline"), float(self.report_times[0].max(initial=0.0)))
        place = self._per_index(np.arange(len(self)), -1)
        chosen = [(int(place[trial]), lane, start, end) for trial, lane, start, end in rows if trial < len(place)]
        rows = side_by_side([row for row in chosen if row[0] >= 0])
        return Spans(
            np.array([row[0] for row in rows], np.int64),
            np.array([row[1] for row in rows], np.int64),
            np.array([row[2] for row in rows], np.float64),
            np.array([row[3] for row in rows], np.float64),
        )

    @cached_property
    def gpus(self) -> Floats:
        """Per trial: how many GPUs it asked for."""
        requests = self.meta.get("trainables") or []
        machine = self.meta.get("machine") or {}
        if not machine.get("gpu") and not any("GPU" in str(one.get("resources")) for one in requests):
            return np.zeros(len(self))
        return np.array([self._gpus_of(i) for i in self.trials.tolist()], dtype=float)

    def _gpus_of(self, i: int) -> float:
        bundles = self._source.resources(i).bundles
        return float(sum(bundle.get("GPU", 0.0) for bundle in bundles))

    @cached_property
    def first_pause(self) -> Ints:
        """Per trial: the step at which it was first left waiting by the scheduler; 0: never."""
        return self._firsts(first_pauses(self._journal("rungs")), 0)

    @cached_property
    def first_judged(self) -> Ints:
        """Per trial: the number of the rung at which a compiled rule first judged it; -1: never."""
        return self._firsts(first_judgements(self._journal("rungs")), -1)

    def _firsts(self, of_trial: dict[int, int], missing: int) -> Ints:
        return np.array([of_trial.get(trial, missing) for trial in self.trials.tolist()], dtype=np.int64)

    def _journal(self, who: str) -> Any:
        if not self.has_journal:
            raise ValueError(
                f"{who} cannot be drawn: this analysis was pickled and holds no journal; open the experiment's folder: "
                "ExperimentAnalysis(path)"
            )
        return self._source._entries()

    @cached_property
    def lineage(self) -> list[Changed]:
        """The changes that a scheduler ordered (``trial`` and ``donor`` are positions)."""
        place = self._per_index(np.arange(len(self)), -1).tolist()
        told: list[Any] = getattr(self._source, "lineage", list)()
        found = [one._replace(trial=place[one.trial], donor=None if one.donor is None else place[one.donor]) for one in told]
        return [one for one in found if one.trial >= 0 and (one.donor is None or one.donor >= 0)]

    # ---- texts

    def hover(self, positions: NDArray[Any], goal: Goal | None = None) -> list[str]:
        """A text for each of these trials: its id, its score, what became of it, its config; lines apart by newlines."""
        score = None if goal is None else self.score(goal)
        texts = []
        for position in positions.tolist():
            lines = [f"trial {self.trial_id(position)}"]
            if goal is not None and score is not None and np.isfinite(score[position]):
                lines.append(f"{goal.metric} = {number_text(score[position])}")
            lines.append(f"{OUTCOMES[self.outcome[position]]} after {self.steps[position]:,} steps")
            texts.append("\n".join([*lines, *self.config_lines(position)]))
        return texts

    def config_lines(self, position: int) -> list[str]:
        """ "name = value" of everything that was sampled for a trial."""
        params = self._source.evaluated_params(int(self.trials[position]))
        return [f"{name} = {value_text(value)}" for name, value in params.items()]

    def best(self, goal: Goal) -> int:
        """Position of the trial with the best score."""
        return int(np.nanargmin(goal.sign * self.score(goal)))


def analysis_of(what: Any) -> ExperimentAnalysis:
    """The analysis that is meant by an analysis, a ResultGrid or an experiment's folder. TypeError for anything else."""
    from fasttune.analysis.result_grid import ResultGrid

    if isinstance(what, ExperimentData):
        return what.analysis
    if isinstance(what, ExperimentAnalysis):
        return what
    if isinstance(what, ResultGrid):
        return what._analysis
    if isinstance(what, str | os.PathLike):
        return ExperimentAnalysis(what)
    raise TypeError(
        f"pictures are made of an ExperimentAnalysis, a ResultGrid or an experiment's folder, got {type(what).__name__}"
    )


def experiment_of(what: Any) -> ExperimentData:
    """The experiment that is meant. One that pictures have read already is kept, so that a report reads it once."""
    return what if isinstance(what, ExperimentData) else ExperimentData(what)


def sampled(n: int, most: int, always: Sequence[int] = (), seed: int = 0) -> Ints:
    """At most ``most`` of n positions, ascending, drawn evenly; those in ``always`` are among them."""
    if n <= most:
        return np.arange(n)
    kept = np.array(list(dict.fromkeys(always))[:most], dtype=np.int64)
    rest = np.setdiff1d(np.arange(n), kept)
    drawn = np.random.default_rng(seed).choice(rest, most - len(kept), replace=False)
    return np.sort(np.concatenate([kept, drawn]))


def number_text(value: float) -> str:
    return f"{value:.6g}"


def value_text(value: Any) -> str:
    """A value of a config, short."""
    if isinstance(value, float):
        return number_text(value)
    text = str(value)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."


def _named(words: str, names: list[str]) -> str:
    if not names:
        return "there are none" if words.startswith("there") else "nothing was reported"
    more = f" and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else ""
    return f"{words} {', '.join(map(repr, names[:SHOWN_NAMES]))}{more}"
