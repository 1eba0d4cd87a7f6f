"""What is known of one experiment: for lsx, show, best and watch."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from fasttune.cli import CommandError
from fasttune.error import JournalError
from fasttune.plain_files import plain_opener

if TYPE_CHECKING:
    from fasttune.analysis import ExperimentAnalysis
    from fasttune.engine.records import ExperimentRecords
    from fasttune.tables.best import Best

NOTE = "note.txt"
LONGEST_NOTE = 1 << 16  # characters of it that are shown


def state_of(source: ExperimentRecords) -> str:
    """running, finished or unfinished."""
    if writer_of(source.path) is not None:
        return "running"
    return "finished" if source.is_over else "unfinished"


def writer_of(path: str) -> str | None:
    """What is known of the process that writes an experiment; None when there is none, or it is not known."""
    from fasttune.storage.recovery import writer_of as found

    number = found(path)
    return None if number is None else f"process {number or 'unknown'}"


def last_heard(source: ExperimentRecords) -> float:
    """When the run last did something (unix time), as its own records say: the times of files are also those of whoever
    looks into the database with another program, or copies it."""
    table = source.table
    times = [float(source.meta["created"])]
    if len(table):
        times += [max(table.export("started")), max(table.export("ended"))]
        times += [table.times(i)[2] for status in ("RUNNING", "PAUSED", "PENDING") for i in table.of_status(status)]
    return max(one for one in times if one == one)


def date(unix: float) -> str:
    """Local time, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix))


def facts_of(source: ExperimentRecords, analysis: ExperimentAnalysis) -> dict[str, Any]:
    """What ``show`` shows, as ``--json`` prints it."""
    from fasttune.tables.columns import counting_reports

    meta = source.meta
    best = best_trial(source, analysis)
    return {
        "name": source.name,
        "path": source.path,
        "status": state_of(source),
        "writer": writer_of(source.path),
        "trials": len(source),
        "asked_for": source.asked_for(),
        "ended_because": source.ended_because,
        "statuses": source.shown_counts(),
        "ended_early": source.stop_causes(),
        "reports": counting_reports(source),
        "scheduler": meta["scheduler"],
        "searcher": meta["searcher"],
        "seed": meta["seed"],
        "created": date(meta["created"]),
        "last_updated": date(last_heard(source)),
        "user_attrs": analysis.user_attrs,
        "metric": analysis.default_metric,
        "mode": analysis.default_mode,
        "scope": analysis.default_scope,
        "best": best and best_facts(best, source),
        "objectives": analysis.objectives,
        "front": front_facts(analysis, source),
        "notes": notes_of(source.path),
    }


def best_trial(source: ExperimentRecords, analysis: ExperimentAnalysis) -> Best | None:
    """None where no trial has a number there. A metric that nobody reported is a CommandError."""
    from fasttune.tables.best import best_of

    metric, mode = analysis.default_metric, analysis.default_mode
    if metric is None or mode is None or not source.table.reports:
        return None
    names = {name for block in source.report_blocks() for name in block.keys}
    derived = ("training_iteration", "time_this_iter_s", "time_total_s")
    if metric not in names and metric not in derived:
        raise CommandError(f"no trial reported {metric!r}; reported were {', '.join(sorted(names))}")
    return best_of(source, metric, mode, analysis.default_scope)


def best_facts(best: Best, source: ExperimentRecords) -> dict[str, Any]:
    """What is told of the best trial."""
    from fasttune.trial import trial_folder

    return {
        "trial_id": source.trial_id(best.trial),
        "status": source.shown_status(best.trial),
        "value": best.value,
        "at_iteration": best.step,
        "violation": best.violation,
        "training_iteration": source.last_result(best.trial).get("training_iteration"),
        "config": source.config(best.trial),
        "user_attrs": source.attributes_of(best.trial),
        "path": trial_folder(source, best.trial),
    }


def front_facts(analysis: ExperimentAnalysis, source: ExperimentRecords) -> list[dict[str, Any]]:
    """What is told of the trials that no other one beats in the metrics of a run with several; [] of all other runs."""
    if not analysis.objectives or not source.table.reports:
        return []
    from fasttune.analysis.fronts import front_of
    from fasttune.constraints import constraint_violation
    from fasttune.trial import trial_folder

    found = []
    for i in front_of(analysis, None, None, quietly=True):
        last = source.metrics(i) or {}
        found.append(
            {
                "trial_id": source.trial_id(i),
                "status": source.shown_status(i),
                "values": {name: last.get(name) for name in analysis.objectives},
                "violation": constraint_violation(last),
                "config": source.config(i),
                "user_attrs": source.attributes_of(i),
                "path": trial_folder(source, i),
            }
        )
    return found


def notes_of(path: str) -> str:
    """The first notes of an experiment, "" where there are none."""
    try:
        with open(os.path.join(path, NOTE), encoding="utf-8", opener=plain_opener) as file:
            return file.read(LONGEST_NOTE).strip()
    except (OSError, UnicodeDecodeError, JournalError):
        return ""
