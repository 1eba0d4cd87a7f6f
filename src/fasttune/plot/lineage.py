"""The lineage of a population: who copied whom, whom the best trial descends from, and the schedule that was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttune.plot.chart import BLUE, GREY, Axis, Chart, Line, Mark, Panel, Points
from fasttune.plot.data import ExperimentData, Floats, Goal, Ints, experiment_of, value_text
from fasttune.plot.drawn import drawn
from fasttune.result import flatten, is_real

if TYPE_CHECKING:
    from fasttune.engine.facts import Changed

LANES = 50  # trials; of a larger population the best and those that the best descends from
SCHEDULES = 3  # parameters whose values along the best line are drawn
MOST_JUMPS = 1500
BEST = "#d9702b"


class Segment(NamedTuple):
    """A stretch of the line that led to the best trial: a trial from one step to another, with one config."""

    position: int
    first: int
    last: int
    config: dict[str, Any]  # flat


class Lineage(NamedTuple):
    """The changes that the scheduler ordered (arrays of one entry each, in their order), and the line of the best trial."""

    trial: Ints  # positions
    step: Ints  # where the trial was
    donor: Ints  # position; -1: it went on from its own checkpoint
    donor_step: Ints  # of the checkpoint that it went on from
    text: list[str]  # what changed in the config
    line: list[Segment]  # oldest first
    changed: list[str]  # names of the parameters that ever changed


def lineage_data(experiment: ExperimentData, goal: Goal) -> Lineage:
    """The values of the picture ``lineage``. ValueError where no trial was changed."""
    experiment.check_some()
    told = experiment.lineage
    if not told:
        raise ValueError(
            "there is no lineage to draw: no trial copied another or went on with another config (scheduler "
            f"{experiment.meta.get('scheduler', 'unknown')}); population based training does that"
        )
    pairs = [(flatten(one.old_config), flatten(one.new_config)) for one in told]
    names = list(dict.fromkeys(name for old, new in pairs for name in new if not _same(old.get(name), new[name])))
    texts = [_changes(names, old, new) for old, new in pairs]
    return Lineage(
        np.array([one.trial for one in told], np.int64),
        np.array([one.trial_iteration for one in told], np.int64),
        np.array([-1 if one.donor is None else one.donor for one in told], np.int64),
        np.array([one.donor_iteration for one in told], np.int64),
        texts,
        _line(experiment, told, experiment.best(goal)),
        names,
    )


def _changes(names: list[str], old: dict[str, Any], new: dict[str, Any]) -> str:
    pairs = [(name, old.get(name), new.get(name)) for name in names]
    return ", ".join(f"{name}: {value_text(was)} to {value_text(now)}" for name, was, now in pairs if not _same(was, now))


def _line(experiment: ExperimentData, told: list[Changed], best: int) -> list[Segment]:
    """From the best trial back: what it copied, what that had copied before, and so on."""
    of_trial: dict[int, list[int]] = {}
    for k, one in enumerate(told):
        of_trial.setdefault(one.trial, []).append(k)
    segments: list[Segment] = []
    trial, end, before = best, int(experiment.steps[best]), len(told)
    while True:
        earlier = [k for k in of_trial.get(trial, []) if k < before]
        if not earlier:
            config = told[of_trial[trial][0]].old_config if trial in of_trial else experiment.analysis.trials[trial].config
            segments.append(Segment(trial, 0, end, flatten(config)))
            return segments[::-1]
        change = told[earlier[-1]]
        segments.append(Segment(trial, change.donor_iteration, end, flatten(change.new_config)))
        trial, end, before = trial if change.donor is None else change.donor, change.donor_iteration, earlier[-1]


def _same(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except (TypeError, ValueError):
        return repr(a) == repr(b)


def lineage_chart(experiment: ExperimentData, goal: Goal, data: Lineage) -> Chart:
    lanes = _lanes(experiment, goal, data)
    place = {position: float(k) for k, position in enumerate(lanes)}
    ids = [experiment.trial_id(position) for position in lanes]
    top = float(max(experiment.steps[lanes].max(initial=1), data.step.max(initial=1)))
    gap = np.array([np.nan])
    runs_x = np.concatenate([np.array([0.0, experiment.steps[p], np.nan]) for p in lanes])
    runs_y = np.repeat(np.arange(float(len(lanes))), 3)
    texts = experiment.hover(np.array(lanes), goal)
    hover = [part for text in texts for part in (text, text, "")]
    marks: list[Mark] = [Line(runs_x, runs_y, "trials", GREY, hover, 1.2, opacity=0.7)]
    shown = [k for k in range(len(data.trial)) if int(data.trial[k]) in place and (data.donor[k] < 0 or int(data.donor[k]) in place)]
    shown = shown[-MOST_JUMPS:]
    copies = [k for k in shown if data.donor[k] >= 0]
    if copies:
        x = np.concatenate([np.array([data.donor_step[k], data.donor_step[k], np.nan], dtype=float) for k in copies])
        y = np.concatenate([np.append([place[int(data.donor[k])], place[int(data.trial[k])]], gap) for k in copies])
        marks.append(Line(x, y, "copies, from the donor to the trial", BLUE, None, 1.0, opacity=0.45))
    told = [_said(experiment, data, k) for k in shown]
    at_x = np.array([data.donor_step[k] for k in shown], dtype=float)  # where the trial goes on from
    at_y = np.array([place[int(data.trial[k])] for k in shown])
    marks.append(Points(at_x, at_y, "changes", BLUE, told, "diamond", 6.0, 0.9))
    marks.append(_best_line(experiment, data, place))
    step = Axis("step (training_iteration)", range=(-0.01 * top, 1.02 * top))
    height = 120.0 + 17.0 * len(lanes)
    panels = [Panel(marks, step, Axis("", labels=ids), "Who copied whom", height)]
    panels += [_schedule(data, name, step) for name in _scheduled(data)]
    n = len({segment.position for segment in data.line})
    note = f"{len(data.trial):,} changes. The best trial descends from {n:,} {'trial' if n == 1 else 'trials'}, itself included."
    if len(lanes) < len(experiment):
        note += f" {len(lanes):,} of {len(experiment):,} trials are shown."
    return Chart("Lineage of the population", panels, note)


def _lanes(experiment: ExperimentData, goal: Goal, data: Lineage) -> list[int]:
    """The trials that are drawn, the last one on top of the picture."""
    if len(experiment) <= LANES:
        return list(range(len(experiment)))[::-1]
    losses = goal.sign * experiment.score(goal)
    by_score = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable").tolist()
    ancestors = [segment.position for segment in data.line[::-1]]
    return sorted(list(dict.fromkeys([*ancestors, *by_score]))[:LANES])[::-1]


def _said(experiment: ExperimentData, data: Lineage, k: int) -> str:
    donor = int(data.donor[k])
    how = "went on from its own checkpoint" if donor < 0 else f"copied trial {experiment.trial_id(donor)}"
    changes = data.text[k].replace(", ", "\n") or "the same config"
    return f"trial {experiment.trial_id(int(data.trial[k]))}, step {data.step[k]:,}\n{how} of step {data.donor_step[k]:,}\n{changes}"


def _best_line(experiment: ExperimentData, data: Lineage, place: dict[int, float]) -> Line:
    x, y, hover = [], [], []
    for one in data.line:
        if one.position in place:
            x += [float(one.first), float(one.last)]
            y += [place[one.position]] * 2
            config = "\n".join(f"{name} = {value_text(one.config.get(name))}" for name in data.changed)
            hover += [f"trial {experiment.trial_id(one.position)}, steps {one.first:,} to {one.last:,}\n{config}"] * 2
    return Line(np.array(x), np.array(y), "the line of the best trial", BEST, hover, 3.0)


def _scheduled(data: Lineage) -> list[str]:
    """Parameters whose numbers change along the line of the best trial."""
    found = []
    for name in data.changed:
        values = [one.config.get(name) for one in data.line]
        if all(map(is_real, values)) and len(set(values)) > 1:
            found.append(name)
    return found[:SCHEDULES]


def _schedule(data: Lineage, name: str, step: Axis) -> Panel:
    values: Floats = np.array([float(one.config[name]) for one in data.line])
    x = np.array([float(one.first) for one in data.line] + [float(data.line[-1].last)])
    y = np.append(values, values[-1])
    log = bool(values.min() > 0 and values.max() > 10 * values.min())
    hover = [f"from step {at:,.0f} on: {name} = {value_text(float(value))}" for at, value in zip(x, y, strict=True)]
    return Panel([Line(x, y, "", BEST, hover, 2.2, step=True)], step, Axis(name, log=log), f"{name} along that line", 170.0)


def lineage(
    analysis: Any, metric: str | None = None, mode: str | None = None, *, scope: str | None = None, backend: str = "plotly"
) -> Any:
    """Who copied whom in population based training, the line that led to the best trial, and its values along that line.

    Args:
        analysis, metric, mode, scope, backend: as for :func:`history`; they say which trial is the best.

    Raises:
        ValueError: as for :func:`history`, or no trial was changed while it ran.
    """
    experiment = experiment_of(analysis)
    goal = experiment.goal(metric, mode, scope)
    return drawn(lineage_chart(experiment, goal, lineage_data(experiment, goal)), backend)
