"""lsx: the experiments in a folder."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from fasttune.cli import CommandError
from fasttune.cli import arguments as common

if TYPE_CHECKING:
    from fasttune.engine.records import ExperimentRecords
    from fasttune.tables.best import Best

EXAMPLES = """\
  fasttune lsx                                          where tune.run stores experiments
  fasttune lsx --sort last_updated --desc --limit 5     the newest ones
  fasttune lsx runs/ --filter status=unfinished --columns name,terminated,error"""

SHOWN = ("name", "status", "total_trials", "terminated", "error", "pending", "metric", "scope", "best", "front", "last_updated")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("path", metavar="FOLDER", nargs="?", help="default: where tune.run stores experiments")
    common.listing(parser, "all")


def run(asked: argparse.Namespace) -> int:
    """One row for each folder that holds an experiment."""
    import pandas as pd

    from fasttune.cli.finding import experiments_in
    from fasttune.cli.listing import Framed, RowFilter, give
    from fasttune.resolve.places import default_storage

    wanted = RowFilter.of(asked)
    folder = os.path.expanduser(asked.path or default_storage())
    if not os.path.isdir(folder):
        raise CommandError(f"there is no folder {folder!r}")
    rows = [row_of(path) for path in experiments_in(folder)]
    if not rows:
        raise CommandError(f"there is no experiment in {folder!r}; an experiment is a folder with experiment.db")
    names = list(dict.fromkeys(name for row in rows for name in row))
    shown = [name for name in SHOWN if name != "front" or any(row.get("front") is not None for row in rows)]
    columns = {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}
    return give(Framed(pd.DataFrame(columns)), shown, wanted, "experiments")


def row_of(path: str) -> dict[str, Any]:
    """What lsx knows of one experiment. One that cannot be read is a row that says so."""
    row: dict[str, Any] = {"name": os.path.basename(path), "path": path}
    try:
        return {**row, **facts_of(path)}
    except Exception as error:  # whatever is in one folder, the others are listed
        return {**row, "status": f"unreadable: {' '.join(str(error).split())[:200]}"}


def facts_of(path: str) -> dict[str, Any]:
    """What lsx shows of an experiment that can be read."""
    from fasttune.cli.facts import date, last_heard, state_of
    from fasttune.cli.finding import opened
    from fasttune.tables.best import best_of
    from fasttune.tables.columns import counting_reports
    from fasttune.tables.front import front_of
    from fasttune.trial import INTERRUPTED, RUNNING

    source = opened(path)
    counts = {INTERRUPTED: 0, **source.table.counts()}
    if not source.is_run():  # nobody runs it: what its table calls running was cut
        counts[INTERRUPTED], counts[RUNNING] = counts[RUNNING], 0
    metric, mode = source.metric, source.mode
    best = None if metric is None or mode is None else best_of(source, metric, mode, source.scope)
    several = source.objectives
    front = front_of(source, several, source.scope) if several and source.table.reports else None
    return {
        "status": state_of(source),
        "total_trials": len(source),
        **{status.lower(): n for status, n in counts.items()},
        "metric": source.metric if metric or not several else ", ".join(several),
        "mode": source.mode if metric or not several else ", ".join(several.values()),
        "scope": source.scope,
        "best": None if best is None else best.value,
        "best_trial": None if best is None else _who(source, best),
        "front": None if front is None else len(front.trials),
        "reports": counting_reports(source),
        "began": date(source.meta["created"]),
        "last_updated": date(last_heard(source)),
    }


def _who(source: ExperimentRecords, best: Best) -> str:
    from fasttune.scope import by_trial

    return by_trial(source.trial_id(best.trial), source.status(best.trial) == "ERROR", best.violation)
