"""ls, lsx, show, add-note: experiments on disk, running ones included."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from fasttune.cli import CommandError
from fasttune.cli.listing import Listed, Row, Wanted, cell, give, print_json
from fasttune.cli.trial_rows import FIRST, TrialRows
from fasttune.error import JournalError
from fasttune.folder import JOURNAL, is_ours, is_plain
from fasttune.plain_files import open_plain, plain_opener
from fasttune.scope import measured, where

if TYPE_CHECKING:
    from fasttune.analysis import ExperimentAnalysis
    from fasttune.best import Best
    from fasttune.records import ExperimentRecords

NOTE = "note.txt"
LONGEST_NOTE = 1 << 16  # characters of it that are shown


def ls(asked: Namespace) -> int:
    """One row for each trial: what it last reported, its config, its state."""
    source = opened(asked.path)
    rows = TrialRows(source)
    params = [f"config/{name}" for name in (source.evaluated_params(0) if len(rows) else ())]
    metrics = own_metrics(rows.names, source.metric)
    return give(rows, [*FIRST, *metrics, *params, "error"], Wanted.of(asked), "trials")


def opened(path: str) -> ExperimentRecords:
    """The experiment in a folder, as far as it is stored."""
    from fasttune.experiment import ExperimentState

    if os.path.isfile(path):
        path = os.path.dirname(os.path.abspath(path))
    return ExperimentState.load(path)


def own_metrics(names: list[str], steered: str | None) -> list[str]:
    """Metrics that the trials reported themselves, what the run is steered by first."""
    from fasttune.result import AUTO_RESULT_KEYS

    known = {*FIRST, *AUTO_RESULT_KEYS, "error", "trial_id", "status"}
    own = [name for name in names if name not in known and not name.startswith("config/")]
    return sorted(own, key=lambda name: name != steered)


def lsx(asked: Namespace) -> int:
    """One row for each folder that holds an experiment."""
    from fasttune.resolve import default_storage

    folder = asked.path or default_storage()
    if not os.path.isdir(folder):
        raise CommandError(f"there is no folder {folder!r}")
    rows = [experiment_row(path) for path in experiments_in(folder)]
    if not rows:
        raise CommandError(f"there is no experiment in {folder!r}; an experiment is a folder with experiment.db")
    shown = ["name", "status", "total_trials", "terminated", "error", "pending", "metric", "scope", "best", "last_updated"]
    return give(Listed(rows), shown, Wanted.of(asked), "experiments")


def experiments_in(folder: str) -> list[str]:
    """Paths of the experiments right below a folder, in the order of their names."""
    found = [entry.path for entry in os.scandir(folder) if os.path.lexists(os.path.join(entry.path, JOURNAL))]
    return sorted(found)


def experiment_row(path: str) -> Row:
    """What lsx knows of one experiment. One that cannot be read is a row that says so."""
    row: Row = {"name": os.path.basename(path)}
    try:
        return {**row, **facts_of_row(path)}
    except Exception as error:  # whatever is in one folder, the others are listed
        return {**row, "status": f"unreadable: {' '.join(str(error).split())[:200]}", "last_updated": updated(path)}


def facts_of_row(path: str) -> Row:
    """What lsx shows of an experiment that can be read."""
    from fasttune.best import best_of

    source = opened(path)
    counts = source.table.counts()
    metric, mode = source.metric, source.mode
    best = None if metric is None or mode is None else best_of(source, metric, mode, source.scope)
    return {
        "status": state_of(source),
        "total_trials": len(source),
        **{status.lower(): n for status, n in counts.items()},
        "metric": source.metric,
        "mode": source.mode,
        "scope": source.scope,
        "best": None if best is None else best.value,
        "reports": source.table.reports,
        "last_updated": updated(path),
        "path": path,
    }


def state_of(source: ExperimentRecords) -> str:
    """running, finished or unfinished."""
    if writer_of(source.path) is not None:
        return "running"
    return "finished" if source.table.finished == len(source) else "unfinished"


def writer_of(path: str) -> str | None:
    """What is known of the process that writes an experiment; None when there is none, or it is not known."""
    from fasttune.storage.recovery import writer_of as found

    number = found(path)
    return None if number is None else f"process {number or 'unknown'}"


def updated(path: str) -> str:
    """When the journal was last written."""
    times = [
        os.lstat(file).st_mtime
        for name in (JOURNAL, f"{JOURNAL}-wal")
        if os.path.lexists(file := os.path.join(path, name))
    ]
    return date(max(times)) if times else ""


def date(unix: float) -> str:
    """Local time, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix))


# ---- show


def show(asked: Namespace) -> int:
    """The state of one experiment, its best trial and its notes."""
    from fasttune.analysis import ExperimentAnalysis

    source = opened(asked.path)
    analysis = ExperimentAnalysis(
        source, default_metric=asked.metric, default_mode=asked.mode, default_scope=asked.scope
    )
    facts = facts_of(source, analysis)
    if asked.json:
        print_json(facts)
    else:
        print_facts(facts, source)
    return 0


def facts_of(source: ExperimentRecords, analysis: ExperimentAnalysis) -> dict[str, Any]:
    """What ``show`` shows, as ``--json`` prints it."""
    meta = source.meta
    best = best_trial(source, analysis)
    return {
        "name": source.name,
        "path": source.path,
        "status": state_of(source),
        "writer": writer_of(source.path),
        "trials": len(source),
        "statuses": {status: n for status, n in source.table.counts().items() if n},
        "reports": source.table.reports,
        "scheduler": meta["scheduler"],
        "searcher": meta["searcher"],
        "seed": meta["seed"],
        "created": date(meta["created"]),
        "last_updated": updated(source.path),
        "metric": analysis.default_metric,
        "mode": analysis.default_mode,
        "scope": analysis.default_scope,
        "best": best and best_facts(best, source),
        "notes": notes_of(source.path),
    }


def best_trial(source: ExperimentRecords, analysis: ExperimentAnalysis) -> Best | None:
    """None where no trial has a number there. A metric that nobody reported is a CommandError."""
    from fasttune.best import best_of

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
        "value": best.value,
        "at_iteration": best.step,
        "training_iteration": source.last_result(best.trial).get("training_iteration"),
        "config": source.config(best.trial),
        "path": trial_folder(source, best.trial),
    }


def notes_of(path: str) -> str:
    try:
        with open(os.path.join(path, NOTE), encoding="utf-8", opener=plain_opener) as file:
            return file.read(LONGEST_NOTE).strip()
    except (OSError, UnicodeDecodeError, JournalError):
        return ""


def print_facts(facts: dict[str, Any], source: ExperimentRecords) -> None:
    from fasttune.result import flatten

    status = facts["status"]
    if status == "running":
        status = f"running, {facts['writer']}"
    elif status == "unfinished":
        status = "unfinished: the same tune.run call with resume='AUTO' goes on with it"
    counts = ", ".join(f"{n:,} {name}" for name, n in facts["statuses"].items())
    lines = [
        ("experiment", facts["name"]),
        ("folder", facts["path"]),
        ("status", status),
        ("trials", f"{facts['trials']:,}" + (f" ({counts})" if counts else "")),
        ("reports", f"{facts['reports']:,}"),
        ("decided by", f"{facts['scheduler']}, {facts['searcher']}, seed {facts['seed']}"),
        ("began", facts["created"]),
        ("written", facts["last_updated"]),
    ]
    best = facts["best"]
    if facts["metric"] is None:
        lines.append(("best trial", "no metric is known: give --metric and --mode"))
    elif best is None:
        lines.append(("best trial", f"none has a number for {facts['metric']} yet"))
    else:
        words = measured(facts["metric"], facts["scope"])
        value = f"best {words} = {cell(best['value'])} ({facts['mode']}){where(best['at_iteration'])}"
        ran = ", after" if best["at_iteration"] is None else " of"
        lines.append(("best trial", f"{best['trial_id']}, {value}{ran} {best['training_iteration']} iterations"))
        lines += [(f"  {name}", cell(value)) for name, value in flatten(best["config"]).items()]
    if facts["notes"]:
        lines.append(("notes", facts["notes"].replace("\n", "\n" + " " * 14)))
    width = max(12, *(len(name) for name, _ in lines))
    for name, text in lines:
        print(f"{name.ljust(width)}  {text}")


# ---- the table for SQL


def table(asked: Namespace) -> int:
    """Write the table ``trials`` as the journal is now."""
    from fasttune.plain_files import check_before_writing
    from fasttune.storage.recovery import ExperimentLock
    from fasttune.storage.sqlite import SqliteStorage

    source = opened(asked.path)  # first: where there is no experiment, none is made
    check_before_writing(source.path)
    lock = ExperimentLock(source.path)
    try:
        storage = SqliteStorage(source.path)
        try:
            storage.write_table(*source.table_rows())
        finally:
            storage.close()
    finally:
        lock.release()
    print(f"wrote {len(source):,} trials into the table 'trials' of {storage.path}", file=sys.stderr)
    return 0


# ---- notes


def add_note(asked: Namespace) -> int:
    """Add to the experiment's file of notes; an empty note changes nothing."""
    folder = os.path.abspath(asked.path)
    if not os.path.isfile(os.path.join(folder, JOURNAL)):
        raise JournalError(f"there is no experiment at {folder!r}: experiment.db does not exist")
    if not is_plain(asked.filename) or is_ours(asked.filename):
        raise CommandError(
            "--filename is a name for a file of notes, without a folder and none that fasttune uses itself, got "
            f"{asked.filename!r}"
        )
    path = os.path.join(folder, asked.filename)
    if not asked.text and sys.stdin.isatty():
        if os.path.lexists(path):
            os.close(open_plain(path, os.O_RDWR))  # the editor would follow a link
        return edit(path)
    text = " ".join(asked.text) if asked.text else sys.stdin.read().rstrip("\n")
    if not text.strip():
        raise CommandError("the note is empty: nothing was added")
    with open(path, "a", encoding="utf-8", opener=plain_opener) as file:
        file.write(text + "\n")
    print(f"added to {path}", file=sys.stderr)
    return 0


def edit(path: str) -> int:
    """The whole file in the user's editor; its exit code is ours."""
    import shlex

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        return subprocess.run([*shlex.split(editor), path], check=False).returncode
    except FileNotFoundError as error:
        raise CommandError(f"the editor {editor!r} was not found: set EDITOR, or give the text") from error
