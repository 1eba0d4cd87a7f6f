"""How an experiment is getting on, in numbers and in words: for its line in the list, and for the head of its page."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fasttune.constraints import BARRIER
from fasttune.dashboard.shelf import Opened
from fasttune.plot.data import number_text, value_text
from fasttune.plot.facts import duration
from fasttune.scope import by_trial, measured, where
from fasttune.tables.best import best_of
from fasttune.tables.columns import counting_reports
from fasttune.tables.front import front_of
from fasttune.trial import shown_status

if TYPE_CHECKING:
    from fasttune.engine.records import ExperimentRecords
    from fasttune.tables.best import Best

Floats = NDArray[np.float64]

RECENT_S = 60.0  # the rate of a run is that of its last minute
LINE = 48  # points of the small line of the best value
DECADES = 2.5  # that positive values span before their line is logarithmic
MOST_ON_FRONT = 12  # trials of a front that are listed, from one end to the other
OVER = ("TERMINATED", "ERROR")
ORDER = ("TERMINATED", "ERROR", "RUNNING", "PAUSED", "PENDING")


def progress_of(opened: Opened) -> dict[str, Any]:
    """What the list shows of an experiment. Small, and kept when the experiment itself is closed."""
    source, table = opened.source, opened.source.table
    counts = table.counts()
    over = sum(counts[status] for status in OVER)
    created, heard = float(source.meta["created"]), last_heard(source)
    elapsed = max(heard - created, 0.0)
    asked = source.asked_for()
    rate = rate_of(source, opened.running, created, heard)
    best = _best(opened)
    state = state_of(opened)
    left = left_in_words(asked, over, rate) if opened.running else ""
    return {
        "name": source.name,
        "state": state,
        "trials": len(source),
        "asked": asked,
        "counts": {shown_status(status, opened.running): counts[status] for status in ORDER if counts[status]},
        "over": over,
        "reports": counting_reports(source),
        "metric": source.metric,
        "mode": source.mode,
        "objectives": [f"{name} ({mode})" for name, mode in source.objectives.items()],
        "best": None if best is None else _best_told(source, best, opened.running),
        "front": _front_told(opened),
        "line": line_of(source),
        "began": created,
        "heard": heard,
        "took": duration(elapsed),
        "rate": rate,
        "left": left,
        "words": in_words(state, counts, asked, duration(elapsed), left),
        "scheduler": source.meta.get("scheduler"),
        "searcher": source.meta.get("searcher"),
        "seed": source.meta.get("seed"),
        "said": opened.said,
    }


def state_of(opened: Opened) -> str:
    """running, finished or unfinished."""
    if opened.running:
        return "running"
    return "finished" if opened.source.is_over else "unfinished"


def last_heard(source: ExperimentRecords) -> float:
    """Unix time of the last thing that the experiment's own records tell."""
    latest = [float(source.meta["created"])]
    for field in ("started", "ended", "time"):
        times = _exported(source, field)
        known = times[np.isfinite(times)]
        if len(known):
            latest.append(float(known.max()))
    return max(latest)


def rate_of(source: ExperimentRecords, running: bool, created: float, heard: float) -> dict[str, float | None]:
    """Trials that ended and reports, a second: of trials in the last minute of a run, of reports in all of it."""
    ended = _exported(source, "ended")
    ended = ended[np.isfinite(ended) & (ended > 0)]
    now = max(heard, time.time()) if running else heard
    since = max(created, now - RECENT_S) if running else created
    window, elapsed = now - since, heard - created
    return {
        "trials": float((ended >= since).sum()) / window if window > 0 else None,
        "reports": source.table.reports / elapsed if elapsed > 0 else None,
    }


def in_words(state: str, counts: Mapping[str, int], asked: int | None, took: str, left: str) -> str:
    """How far it is, as one says it."""
    over = sum(counts[status] for status in OVER)
    alive, failed, runs = sum(counts.values()) - over, counts["ERROR"], counts["RUNNING"]
    of = f" of {asked:,}" if asked is not None and asked > over else ""
    trials = f"{over:,}{of} trial{'s' if of or over != 1 else ''} {'is' if over == 1 else 'are'} over"
    trials += f", {failed:,} of them failed" if failed else ""
    if state == "running":
        now = f"{runs:,} run{'s' if runs == 1 else ''} now."
        return f"It has run for {took}: {trials}, {now}" + (f" {left.capitalize()}." if left else "")
    if state == "finished":
        return f"It took {took}: {trials}."
    rest = f"{alive:,} {'was' if alive == 1 else 'were'} left when it ended, after {took}"
    return f"Nobody runs it: {trials}, and {rest}. It can be gone on with."


def left_in_words(asked: int | None, over: int, rate: dict[str, float | None]) -> str:
    """How long it may still take; "" where nobody can know."""
    pace = rate["trials"]
    if asked is None or not pace or asked <= over:
        return ""
    return f"about {duration((asked - over) / pace)} left"


def _best(opened: Opened) -> Best | None:
    source = opened.source
    if source.metric is None or source.mode is None or not source.table.reports:
        return None
    columns = opened.analysis._columns if source.scope != "last" else None  # it is wanted for pictures anyway
    return best_of(source, source.metric, source.mode, source.scope, columns=columns)


def _best_told(source: ExperimentRecords, best: Best, running: bool) -> dict[str, Any]:
    assert source.metric is not None
    params = source.evaluated_params(best.trial)
    return {
        "value": number_text(best.value),
        "words": f"best {measured(source.metric, source.scope, not running)} ({source.mode}){where(best.step)}",
        "trial": best.trial,
        "trial_id": by_trial(source.trial_id(best.trial), False, best.violation),
        "failed": source.status(best.trial) == "ERROR",
        "config": [[name, value_text(value)] for name, value in sorted(params.items())],
    }


def _front_told(opened: Opened) -> dict[str, Any] | None:
    """What there is in the place of a best trial where a run has several metrics: the size of the front, and some of its trials."""
    source = opened.source
    if not source.objectives or not source.table.reports:
        return None
    front = front_of(source, source.objectives, source.scope, columns=opened.analysis._columns)
    if front is None:
        return None
    some = np.unique(np.linspace(0, max(len(front.trials) - 1, 0), MOST_ON_FRONT).round().astype(np.int64))[: len(front.trials)]
    return {
        "size": len(front.trials),
        "words": front.words(),
        "spans": [[span.metric, *(number_text(one) for one in (span.low, span.high))] for span in front.spans],
        "hypervolume": None if front.hypervolume is None else number_text(front.hypervolume),
        "trials": [
            {"trial": front.trials[k], "trial_id": source.trial_id(front.trials[k]), "values": list(map(number_text, front.values[k]))}
            for k in some.tolist()
        ],
    }


def line_of(source: ExperimentRecords) -> list[list[float]]:
    """The best of the trials' last values so far, over the order in which trials reported last: points of a staircase, both
    axes from 0 to 1; [] where there is nothing to see."""
    if source.mode is None:
        return []
    values, times = _exported(source, "value"), _exported(source, "time")
    known = np.flatnonzero(np.isfinite(values) & np.isfinite(times) & (np.abs(values) < BARRIER))  # constraints hold
    if len(known) < 2:
        return []
    known = known[np.argsort(times[known], kind="stable")]
    best = (np.maximum if source.mode == "max" else np.minimum).accumulate(values[known])
    at = np.unique(np.linspace(0, len(best) - 1, LINE).round().astype(np.int64))
    y = best[at]
    if y.min() > 0 and math.log10(y.max() / y.min()) > DECADES:
        y = np.log10(y)
    spread = float(y.max() - y.min())
    y = (y - y.min()) / spread if spread > 0 else np.full(len(y), 0.5)
    x = at / max(len(best) - 1, 1)
    return [[round(float(a), 4), round(float(b), 4)] for a, b in zip(x, y, strict=True)]


def unreadable(folder: str, error: BaseException) -> dict[str, Any]:
    """The line of an experiment that cannot be read."""
    why = " ".join(str(error).split())[:400] or type(error).__name__
    return {"name": shown_name(os.path.basename(folder)), "state": "unreadable", "why": why}


def shown_name(name: str) -> str:
    """A file's name as text, whatever bytes it has."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _exported(source: ExperimentRecords, field: Any) -> Floats:
    column = source.table.export(field)
    return np.array(column, dtype=np.float64)
