"""The timeline: which worker ran which trial when, how busy workers were, and how many GPUs trials held."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fasttune.plot.chart import BLUE, GREEN, GREY, RED, VIOLET, Axis, Bars, Chart, Heat, Line, Mark, Panel
from fasttune.plot.data import FAILED, FINISHED, OUTCOMES, STOPPED, ExperimentData, Floats, Ints, Spans, experiment_of
from fasttune.plot.drawn import drawn

MOST_BARS = 1500  # of more spans the share of time that a worker was busy is drawn
BINS = 200
COLOUR_OF = {FINISHED: BLUE, STOPPED: GREY, FAILED: RED}
UNITS = ((1e-3, "ms"), (1.0, "seconds"), (60.0, "minutes"), (3600.0, "hours"), (86400.0, "days"))


class Timeline(NamedTuple):
    """When workers ran trials, in seconds since the first began."""

    spans: Spans  # start and end in seconds since the first start
    workers: int
    seconds: float  # from the first start to the last end
    busy: Floats  # share of time, workers x BINS
    gpu_time: Floats  # where the number of GPUs that running trials hold changes, and how many it is from there on
    gpu: Floats


def timeline_data(experiment: ExperimentData) -> Timeline:
    """The values of the picture ``timeline``. ValueError if no trial has begun, or there is no journal."""
    spans = experiment.spans
    if not len(spans.start):
        raise ValueError(f"there is nothing to draw: no trial of {experiment.place} has begun")
    first = float(spans.start.min())
    start, end = spans.start - first, spans.end - first
    seconds = max(float(end.max()), 1e-9)
    workers = int(spans.lane.max()) + 1
    time, gpu = _held(start, end, experiment.gpus[spans.position])
    return Timeline(spans._replace(start=start, end=end), workers, seconds, _busy(spans.lane, start, end, workers, seconds), time, gpu)


def _busy(lane: Ints, start: Floats, end: Floats, workers: int, seconds: float) -> Floats:
    """The share of each bin that a worker ran trials in: of each end of a span, what lies before it, in all bins at once."""
    width = seconds / BINS
    busy = np.zeros((workers, BINS + 1))
    for moment, sign in ((start, -1.0), (end, 1.0)):
        at = np.minimum((moment / width).astype(np.int64), BINS - 1)
        within = moment / width - at
        # a span adds to each bin what its end leaves behind it: a part of the bin it lies in, all of those before
        np.add.at(busy, (lane, at), sign * within)
        whole = np.zeros((workers, BINS + 1))
        np.add.at(whole, (lane, at), sign)
        busy += np.cumsum(whole[:, ::-1], axis=1)[:, ::-1] - whole
    return np.clip(busy[:, :BINS], 0.0, 1.0)


def _held(start: Floats, end: Floats, gpus: Floats) -> tuple[Floats, Floats]:
    moments = np.concatenate([start, end])
    changes = np.concatenate([gpus, -gpus])
    used = changes != 0
    if not used.any():
        return np.empty(0), np.empty(0)
    order = np.argsort(moments[used], kind="stable")
    moments, held = moments[used][order], np.round(np.cumsum(changes[used][order]), 9)
    last = np.append(np.diff(moments) > 0, True)  # what is given back and taken in one moment is no change
    return moments[last], held[last]


def timeline_chart(experiment: ExperimentData, data: Timeline) -> Chart:
    scale, unit = next(((s, u) for s, u in reversed(UNITS) if data.seconds >= 2 * s), UNITS[0])
    labels = [f"worker {k + 1}" for k in range(data.workers)]
    share = float((data.spans.end - data.spans.start).sum()) / (data.workers * data.seconds)
    note = f"{data.workers:,} {'worker' if data.workers == 1 else 'workers'}, busy with trials for {share:.0%} of the time."
    x = Axis(f"{unit} since the first trial began", range=(-0.01 * data.seconds / scale, 1.01 * data.seconds / scale))
    y = Axis("", labels=labels)
    marks: list[Mark]
    if len(data.spans.start) > MOST_BARS:
        middle = (np.arange(BINS) + 0.5) * data.seconds / BINS / scale
        hover = [[f"{name}: busy for {part:.0%} of the time around {at:.3g} {unit}" for part, at in zip(row, middle, strict=True)]
                 for name, row in zip(labels, data.busy, strict=True)]  # fmt: skip
        marks = [Heat(middle, np.arange(float(data.workers)), data.busy, "share of time busy", 0.0, 1.0, hover=hover)]
        note += f" {len(data.spans.start):,} stretches of trials are too many to be told apart: colours are shares of time."
    else:
        marks = _bars(experiment, data, scale, unit)
    panels = [Panel(marks, x, y, "Workers", 110.0 + 28.0 * data.workers)]
    if len(data.gpu):
        held = Line(data.gpu_time / scale, data.gpu, "", VIOLET, width=1.8, step=True)
        panels.append(Panel([held], x, Axis("GPUs held by running trials"), "GPUs", 180.0))
    return Chart("Timeline of the workers", panels, note)


def _bars(experiment: ExperimentData, data: Timeline, scale: float, unit: str) -> list[Mark]:
    spans = data.spans
    outcome = experiment.outcome[spans.position]
    marks: list[Mark] = []
    for kind in np.unique(outcome).tolist():
        at = np.flatnonzero(outcome == kind)
        hover = [
            f"trial {experiment.trial_id(p)}, {OUTCOMES[kind]}\n{b - a:.4g} seconds on worker {lane + 1}\n"
            + "\n".join(experiment.config_lines(p))
            for p, lane, a, b in zip(spans.position[at].tolist(), spans.lane[at].tolist(), spans.start[at], spans.end[at], strict=True)
        ]
        length = np.maximum(spans.end[at] - spans.start[at], data.seconds * 4e-4)  # thinner ones would not be seen
        lane = spans.lane[at].astype(float)
        marks.append(Bars(lane, length / scale, OUTCOMES[kind], COLOUR_OF.get(kind, GREEN), spans.start[at] / scale, True, hover))
    return marks


def timeline(analysis: Any, *, backend: str = "plotly") -> Any:
    """Which worker ran which trial when, coloured by what became of the trial; below it the GPUs that running trials held.

    A trial that was paused, retried or moved has a stretch for each time that it ran. Of more than 1,500 stretches the share
    of time is drawn that workers were busy.

    Args:
        analysis, backend: as for :func:`history`.

    Raises:
        ValueError: no trial has begun, or the analysis was pickled and has no journal.
    """
    experiment = experiment_of(analysis)
    return drawn(timeline_chart(experiment, timeline_data(experiment)), backend)
