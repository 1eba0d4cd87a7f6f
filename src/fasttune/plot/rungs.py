"""Rungs and brackets: how many trials reached each step at which the scheduler decides, and how many it stopped there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fasttune.plot.chart import BLUE, GREEN, GREY, RED, Axis, Bars, Chart, Mark, Panel
from fasttune.plot.data import FAILED, STOPPED, UNFINISHED, Bools, ExperimentData, Ints, experiment_of
from fasttune.plot.drawn import drawn

MOST_RUNGS = 24  # of a picture; more (a rule that may stop at any step) are put together
NONE = -1


class Rungs(NamedTuple):
    """One bracket. Arrays of one entry for each rung: of the trials that ``reached`` it, ``cut`` were stopped there."""

    bracket: int  # from 0, the one that decides first; -1: trials that no rung has seen
    first: Ints  # steps that are put together, mostly one
    last: Ints
    reached: Ints  # trials that reported at ``first`` or later
    cut: Ints  # stopped by the scheduler
    failed: Ints
    ended: Ints  # by themselves, or because the run was ended
    trials: int  # of the bracket


def rungs_data(experiment: ExperimentData) -> list[Rungs]:
    """The values of the picture ``rungs``, one for each bracket. ValueError where no trial was stopped early."""
    experiment.check_some()
    stopped = experiment.outcome == STOPPED
    if not stopped.any():
        raise ValueError(
            f"there are no rungs to draw: none of the {len(experiment):,} trials was stopped early "
            f"(scheduler {experiment.meta.get('scheduler', 'unknown')})"
        )
    bracket = _brackets(experiment)
    return [_of(experiment, bracket == one, one) for one in np.unique(bracket).tolist() if (stopped & (bracket == one)).any()]


def _of(experiment: ExperimentData, of_it: Bools, bracket: int) -> Rungs:
    outcome, steps = experiment.outcome[of_it], experiment.steps[of_it]
    levels = np.unique(steps[outcome == STOPPED])
    top = int(steps.max())
    if top > levels[-1]:
        levels = np.append(levels, top)  # the end, for those that were never stopped
    edges = np.arange(len(levels))
    if len(levels) > MOST_RUNGS:
        edges = np.unique(np.geomspace(1, len(levels), MOST_RUNGS).round().astype(np.int64)) - 1
    first, last = levels[edges], levels[np.append(edges[1:] - 1, len(levels) - 1)]
    # a trial that ended between two rungs ended at the lower one
    rung = np.clip(np.searchsorted(first, steps, side="right") - 1, 0, None)

    def count(kind: Bools) -> Ints:
        return np.bincount(rung[kind], minlength=len(first)).astype(np.int64)

    seen = steps >= first[0]
    reached = np.array([(steps >= step).sum() for step in first.tolist()], dtype=np.int64)
    is_cut, is_failed = (outcome == STOPPED) & seen, (outcome == FAILED) & seen
    return Rungs(bracket, first, last, reached, count(is_cut), count(is_failed), count(seen & ~is_cut & ~is_failed), int(of_it.sum()))


def _brackets(experiment: ExperimentData) -> Ints:
    """Per trial: the bracket that it was in, by the first rung that decided about it; all 0 for a scheduler without brackets."""
    name, asked = str(experiment.meta.get("scheduler", "")), experiment.settings.get("brackets", 1)
    if isinstance(asked, int) and asked > 1:
        first = experiment.first_judged
        unseen = first < 0
    elif name.startswith(("HyperBand", "HB")):
        first = experiment.first_pause
        unseen = first == 0
        # the last one to come to a milestone is not left waiting: stopped there, it tells its bracket all the same
        at_once = unseen & (experiment.outcome == STOPPED) & np.isin(experiment.steps, first[~unseen])
        first = np.where(at_once, experiment.steps, first)
        unseen &= ~at_once
    else:
        return np.zeros(len(experiment), dtype=np.int64)
    bracket = np.full(len(first), NONE, dtype=np.int64)
    _, number = np.unique(first[~unseen], return_inverse=True)
    bracket[~unseen] = number
    return bracket


def rungs_chart(experiment: ExperimentData, data: list[Rungs]) -> Chart:
    panels = []
    for one in data:
        places = np.arange(len(one.first), dtype=float)
        labels = [f"{a:,}" if a == b else f"{a:,} to {b:,}" for a, b in zip(one.first, one.last, strict=True)]
        on = one.reached - one.cut - one.failed - one.ended
        hover = [
            f"step {label}\n{n:,} of {one.trials:,} trials reached it\n{c:,} were stopped there ({c / max(n, 1):.0%})\n"
            f"{f:,} failed, {e:,} ended, {o:,} went on"
            for label, n, c, f, e, o in zip(labels, one.reached, one.cut, one.failed, one.ended, on, strict=True)
        ]
        marks: list[Mark] = []
        base = np.zeros(len(places))
        parts = [(on, "went on", BLUE), (one.ended, "ended there", GREEN), (one.failed, "failed", RED)]
        parts.append((one.cut, "stopped there", GREY))
        last = max(k for k, (counts, _, _) in enumerate(parts) if counts.any())
        for k, (counts, name, colour) in enumerate(parts):
            if counts.any():
                texts = [f"{n:,}" for n in one.reached] if k == last else None
                marks.append(Bars(places, counts.astype(float), name, colour, base.copy(), False, hover, texts))
                base += counts
        title = "" if len(data) == 1 else "bracket not known" if one.bracket == NONE else f"Bracket {one.bracket + 1}"
        y = Axis("trials that reached the step", range=(0.0, 1.1 * float(one.reached.max())))
        panels.append(Panel(marks, Axis("step (training_iteration)", labels=labels), y, title, 320.0))
    cut, trials = sum(int(one.cut.sum()) for one in data), len(experiment)
    beside = trials - sum(one.trials for one in data)
    waiting = int((experiment.outcome == UNFINISHED).sum())
    note = f"{experiment.meta.get('scheduler', 'The scheduler')} stopped {cut:,} of {trials:,} trials early."
    note += f" {beside:,} trials were in no bracket that stopped any." if beside else ""
    note += f" {waiting:,} are not over." if waiting else ""
    return Chart("Rungs: who went on", panels, note, min(2, len(panels)))


def rungs(analysis: Any, *, backend: str = "plotly") -> Any:
    """How many trials reached each step at which some were stopped, and how many were stopped there; a panel per bracket.

    Rungs are read from what happened, not from the scheduler's settings. A rule that may stop a trial at any step has
    neighbouring steps put together.

    Args:
        analysis, backend: as for :func:`history`.

    Raises:
        ValueError: no trial was stopped early.
    """
    experiment = experiment_of(analysis)
    return drawn(rungs_chart(experiment, rungs_data(experiment)), backend)
