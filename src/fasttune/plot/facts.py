"""What the report page says in words, as values: what was searched and found, what it cost, what failed, how to go on."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fasttune.failure import read_reason
from fasttune.plot.data import (
    CUT_OFF,
    FAILED,
    FINISHED,
    OUTCOMES,
    STOPPED,
    UNFINISHED,
    ExperimentData,
    Goal,
    number_text,
    value_text,
)
from fasttune.result import flatten
from fasttune.scope import by_trial

TOP = 10  # trials of the table of the best
MOST_KINDS = 30  # of failures
LONGEST_TRACEBACK = 6000  # characters
READ = 2000  # failures whose texts are read


class BestTrial(NamedTuple):
    """The best trial, for people."""

    trial_id: str
    value: str
    config: list[tuple[str, str]]
    when: str  # "after 12.3 seconds, at step 61 of 81"
    better_than_first: str  # "" or how the first trial compares
    failed: str  # "" or why it failed, behind its last report
    attached: list[tuple[str, str]]  # user attributes


class Savings(NamedTuple):
    """What stopping trials early has saved."""

    run: int  # steps
    all_to_the_end: int
    longest: int  # steps of a trial that runs to the end
    said_by: str  # where that number is from


class Kind(NamedTuple):
    """Failures of one kind."""

    what: str
    where: str
    trial_id: str  # the first one
    times: int
    text: str  # of the first


class Facts(NamedTuple):
    """Texts are plain: the page escapes them."""

    name: str
    path: str
    state: str  # "finished", "unfinished", "running"
    goal: Goal | None
    no_goal: str  # why there is no goal
    best: BestTrial | None
    outcomes: list[tuple[str, int]]
    cost: list[tuple[str, str]]
    saved: Savings | None
    searched: list[tuple[str, str, str]]  # name, in words, condition
    asked: list[tuple[str, str]]
    attached: list[tuple[str, str]]  # user attributes of the run
    top_names: list[str]
    top: list[list[str]]
    failures: list[Kind]
    further: int  # failures of kinds that are not listed
    made: str


def facts_of(experiment: ExperimentData, goal: Goal | None, no_goal: str = "") -> Facts:
    """Reads everything that the page says about an experiment."""
    outcome = experiment.outcome
    counts = [(OUTCOMES[kind], int((outcome == kind).sum())) for kind in (FINISHED, STOPPED, FAILED, CUT_OFF, UNFINISHED)]
    kinds, further = _failures(experiment)
    names, rows = _top(experiment, goal)
    return Facts(
        name=experiment.name,
        path=experiment.path,
        state=state_of(experiment),
        goal=goal,
        no_goal=no_goal,
        best=None if goal is None else _best(experiment, goal),
        outcomes=[(name, n) for name, n in counts if n],
        cost=_cost(experiment),
        saved=_saved(experiment),
        searched=[(line.name, line.words, line.condition) for line in experiment.space],
        asked=_asked(experiment, goal),
        attached=attributes(experiment.analysis.user_attrs),
        top_names=names,
        top=rows,
        failures=kinds,
        further=further,
        made=time.strftime("%Y-%m-%d %H:%M:%S"),
    )


def state_of(experiment: ExperimentData) -> str:
    """running, finished or unfinished."""
    from fasttune.storage.recovery import writer_of

    if os.path.isdir(experiment.path) and writer_of(experiment.path) is not None:
        return "running"
    return "unfinished" if not experiment.is_over or (experiment.outcome == UNFINISHED).any() else "finished"


def duration(seconds: float) -> str:
    """ "0.31 seconds", "12.5 minutes", "3 h 20 min"."""
    if seconds < 120:
        return f"{seconds:.3g} seconds"
    if seconds < 7200:
        return f"{seconds / 60:.1f} minutes"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {rest:02d} min"


def date(unix: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix))


def _best(experiment: ExperimentData, goal: Goal) -> BestTrial:
    position = experiment.best(goal)
    score = experiment.score(goal)
    trial = experiment.analysis.trials[position]
    at, step = experiment.moment(position, goal)
    began = experiment.began
    when = f"{duration(max(0.0, at - began))} after the run began" if began is not None else date(at)
    when += f", at step {step:,}" + (f" of its {experiment.steps[position]:,}" if step != experiment.steps[position] else "")
    first = score[np.isfinite(score)][0]
    compared = "" if first == score[position] else f"The first trial had {number_text(first)}."
    config = [(name, value_text(value)) for name, value in sorted(trial.evaluated_params.items())]
    failed = experiment.outcome[position] == FAILED
    why = read_reason(experiment.failure_text(position)).what if failed else ""
    attached = attributes(trial.user_attrs)
    return BestTrial(experiment.trial_id(position), number_text(score[position]), config, when, compared, why, attached)


def attributes(given: Mapping[str, object]) -> list[tuple[str, str]]:
    """User attributes as names and texts."""
    return [(name, value_text(value)) for name, value in flatten(given).items()]


def _cost(experiment: ExperimentData) -> list[tuple[str, str]]:
    times, reports, steps = experiment.report_times
    rows = [("trials", f"{len(experiment):,}"), ("reports", f"{reports:,}"), ("steps", f"{steps:,}")]
    if experiment.began is not None and len(times):
        rows.insert(0, ("took, until the last report", duration(float(times.max()) - experiment.began)))
    if experiment.began:
        rows.insert(0, ("began", date(experiment.began)))
    if experiment.has_journal:
        spans = experiment.spans
        if len(spans.start):
            busy = float((spans.end - spans.start).sum())
            rows.append(("workers", f"{int(spans.lane.max()) + 1:,}"))
            rows.append(("time of all trials together", duration(busy)))
    return rows


def _saved(experiment: ExperimentData) -> Savings | None:
    """None where no trial was stopped early."""
    if not (experiment.outcome == STOPPED).any():
        return None
    steps = experiment.steps
    longest, said_by = experiment.longest, "as the run was asked"
    if longest is None:
        longest, said_by = int(steps.max()), "as the longest trial ran"
    return Savings(int(steps.sum()), longest * int((steps > 0).sum()), longest, said_by)


def _asked(experiment: ExperimentData, goal: Goal | None) -> list[tuple[str, str]]:
    meta = experiment.meta
    rows = []
    if goal is not None:
        way = "the larger the better" if goal.mode == "max" else "the smaller the better"
        rows.append(("metric", f"{goal.metric}, {way}"))
        said = {"last": "by their last value", "all": "by their best value", "avg": "by the mean of their values"}
        rows.append(("trials are compared", said.get(goal.scope, f"by the mean of their last {goal.scope[5:-4]} values")))
    settings = {k: v for k, v in experiment.settings.items() if isinstance(v, int | float | str) and k != "seed"}
    with_settings = ", ".join(f"{name}={value}" for name, value in settings.items())
    for name, value in (
        ("configs come from", meta.get("searcher")),
        ("decides who is stopped", meta.get("scheduler")),
        ("with the settings", with_settings or None),
        ("seed of random values", meta.get("seed")),
    ):
        if value is not None:
            rows.append((name, str(value)))
    if meta.get("stop"):
        rows.append(("a trial ends at", ", ".join(f"{name} = {value_text(value)}" for name, value in meta["stop"].items())))
    return rows


def _top(experiment: ExperimentData, goal: Goal | None) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of the best trials."""
    if goal is None:
        return [], []
    losses = goal.sign * experiment.score(goal)
    order = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")[: min(TOP, int(np.isfinite(losses).sum()))]
    params = [experiment.analysis.trials[k].evaluated_params for k in order.tolist()]
    names = sorted({name for row in params for name in row})
    rows = [
        [
            by_trial(experiment.trial_id(k), bool(experiment.outcome[k] == FAILED)),
            number_text(experiment.score(goal)[k]),
            f"{experiment.steps[k]:,}",
        ]
        + [value_text(row[name]) if name in row else "" for name in names]
        for k, row in zip(order.tolist(), params, strict=True)
    ]
    return ["trial", goal.words(), "steps", *names], rows


def _failures(experiment: ExperimentData) -> tuple[list[Kind], int]:
    """The kinds of failures, the most frequent first; and how many are of further kinds, or were not read."""
    failed = np.flatnonzero(experiment.outcome == FAILED)
    kinds: dict[tuple[str, str], Kind] = {}
    further = max(0, len(failed) - READ)
    for position in failed[:READ].tolist():
        text = experiment.failure_text(position)
        reason = read_reason(text)
        key = reason.what.partition(":")[0], reason.where.partition(":")[0]
        if key in kinds:
            kinds[key] = kinds[key]._replace(times=kinds[key].times + 1)
        elif len(kinds) < MOST_KINDS:
            shown = text if len(text) <= LONGEST_TRACEBACK else "...\n" + text[-LONGEST_TRACEBACK:]
            kinds[key] = Kind(reason.what, reason.where, experiment.trial_id(position), 1, shown)
        else:
            further += 1
    return sorted(kinds.values(), key=lambda kind: -kind.times), further
