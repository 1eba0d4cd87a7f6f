"""What the dashboard answers: a method for each question, which takes checked values and gives what JSON has.

The methods that end in ``_figures`` may take seconds and are asked in a thread of their own; all others take milliseconds, once
an experiment is open.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from fasttune.checkpoint import memory_key
from fasttune.cli import CommandError
from fasttune.cli.finding import experiments_in, holds_one
from fasttune.cli.stop import check_runs
from fasttune.dashboard import figures
from fasttune.dashboard.progress import progress_of, shown_name, unreadable
from fasttune.dashboard.question import NotAnswered
from fasttune.dashboard.shelf import Opened, Shelf
from fasttune.dashboard.trial_sheet import Asked, reason_of, sheet_of
from fasttune.engine.stop_requests import StopRequest, ask
from fasttune.error import TuneError
from fasttune.plot.data import value_text
from fasttune.plot.facts import Facts, facts_of
from fasttune.result import flatten
from fasttune.trial import shown_status

READING_S = 0.4  # that one look at the list spends on experiments that it does not know yet
MOST_COMPARED = 8
MOST_BROKEN = 100  # experiments of which it is kept why they cannot be read
LONGEST_TRACEBACK = 20000  # characters
LONGEST_VALUE = 2000  # likewise
MOST_VALUES = 400  # of one trial
OVER = ("TERMINATED", "ERROR")


class ListedExperiment(NamedTuple):
    """What the list knows of an experiment."""

    version: str
    told: dict[str, Any]
    look_again: float  # not before; seconds of the monotonic clock


class Answers:
    """Answers about the experiments in one folder, or about the one that the folder is."""

    def __init__(self, folder: str, control: bool = False) -> None:
        self.folder = os.path.abspath(os.path.expanduser(folder))
        self.control = control
        self._alone = holds_one(self.folder)  # the folder is an experiment itself
        self._shelf = Shelf()
        self._known: dict[str, ListedExperiment] = {}
        self._broken: dict[str, tuple[str, str]] = {}  # version of what cannot be read, and why: it is not tried again

    # ---- which experiment

    def path_of(self, experiment: str) -> str:
        """The folder of an experiment by its id: its name, with all but letters and digits in percent. NotAnswered."""
        try:
            name = os.fsdecode(unquote_to_bytes(experiment))
        except UnicodeEncodeError:  # half a surrogate pair
            raise NotAnswered(404, f"there is no experiment {ascii(experiment)[:200]}") from None
        if self._alone and name == os.path.basename(self.folder):
            return self.folder
        path = os.path.join(self.folder, name)
        # a name, and nothing that leads elsewhere
        if self._alone or not name or name in (".", "..") or "/" in name or "\0" in name or not holds_one(path):
            raise NotAnswered(404, f"there is no experiment {shown_name(name)[:200]!r} in {shown_name(self.folder)}")
        return path

    def version(self, experiment: str) -> str:
        """Text that is another one when something of an experiment has changed. NotAnswered."""
        try:
            return self._shelf.version(self.path_of(experiment))
        except OSError as error:
            raise NotAnswered(404, f"the experiment cannot be read any more: {error.strerror or error}") from error

    def opened(self, experiment: str) -> Opened:
        """An experiment as it is now. NotAnswered says why it cannot be read."""
        path, version = self.path_of(experiment), self.version(experiment)
        known = self._broken.get(path)
        if known is not None and known[0] == version:
            raise NotAnswered(422, known[1])
        try:
            return self._shelf.opened(path)
        except Exception as error:  # whatever a stranger's folder holds, the page says what it is
            why = f"this experiment cannot be read: {unreadable(path, error)['why']}"
            if len(self._broken) >= MOST_BROKEN:
                self._broken.clear()
            self._broken[path] = version, why
            raise NotAnswered(422, why) from error

    # ---- the list

    def experiments(self) -> dict[str, Any]:
        """Every experiment of the folder, the one begun last first. Those that it did not know yet are read for READING_S; the rest
        says that it is being read, and is so when it is asked for again."""
        paths = [self.folder] if self._alone else experiments_in(self.folder)
        deadline = time.monotonic() + READING_S
        rows, when = [], {}
        for path in sorted(paths, key=_changed_at, reverse=True):  # who waits for the newest is told first
            name = os.path.basename(path)
            told = self._told_of(path, deadline)
            identity = quote(os.fsencode(name), safe="")
            rows.append({"id": identity, "folder": shown_name(name), **told})
            when[identity] = told.get("began") or _changed_at(path)
        rows.sort(key=lambda row: when[row["id"]], reverse=True)  # an order that stays while several of them run
        self._known = {path: known for path, known in self._known.items() if path in set(paths)}
        return {"folder": shown_name(self.folder), "alone": self._alone, "control": self.control, "experiments": rows}

    def _told_of(self, path: str, deadline: float) -> dict[str, Any]:
        known = self._known.get(path)
        now = time.monotonic()
        if known is not None and now < known.look_again:
            return known.told
        try:
            version = self._shelf.version(path)
        except OSError as error:
            return unreadable(path, error)
        if known is not None and known.version == version:
            return known.told
        if now >= deadline:
            return known.told if known is not None else {"name": shown_name(os.path.basename(path)), "state": "reading"}
        try:
            opened = self._shelf.opened(path)
            told, version = progress_of(opened), opened.version
        except Exception as error:  # whatever is in one folder, the others are listed
            told = unreadable(path, error)
        took = time.monotonic() - now
        self._known[path] = ListedExperiment(version, told, time.monotonic() + 10 * took)
        return told

    # ---- one experiment

    def experiment(self, experiment: str) -> dict[str, Any]:
        """The head of an experiment's page."""
        opened = self.opened(experiment)
        with opened.working():
            return {
                **opened.once(("progress",), lambda: progress_of(opened)),
                "id": experiment,
                "path": shown_name(opened.folder),
                "version": opened.version,
                "metrics": sheet_of(opened).metrics[:200],
                "pictures": figures.pictures(opened),
                "control": self.control and opened.running,
            }

    def facts(self, opened: Opened) -> dict[str, Any]:
        """What was searched and asked for, what it cost, what failed."""
        found: dict[str, Any] = opened.once(("facts",), lambda: _facts(opened))
        return found

    def trials(self, experiment: str, asked: Asked) -> dict[str, Any]:
        """A page of the table of trials."""
        opened = self.opened(experiment)
        with opened.working():
            return sheet_of(opened).page(asked)

    def trial(self, experiment: str, number: int) -> dict[str, Any]:
        """All that is known of one trial, but for its curves."""
        opened = self.opened(experiment)
        source = opened.source
        if number >= len(source):
            raise NotAnswered(404, f"there is no trial {number}; they go from 0 to {len(source) - 1}")
        failure = source.failure(number)
        status = source.status(number)
        sampled = source.evaluated_params(number)
        config = source.config(number)
        return {
            "version": opened.version,
            "trial": number,
            "trial_id": source.trial_id(number),
            "status": shown_status(status, opened.running),
            "iteration": source.table.iteration(number),
            "failures": source.num_failures(number),
            "attempt": source.table.attempt(number),
            "stopped": bool(source.table.was_stopped(number)) and not (source.metrics(number) or {}).get("done"),
            "metrics": _exact(source.metrics(number) or {}),
            "sampled": _exact(sampled),
            "given": _exact({name: value for name, value in flatten(config).items() if name not in sampled}),
            "config": config,
            "checkpoint": _checkpoint(opened, number),
            "reason": reason_of(source, number),
            "traceback": "" if failure is None else failure.text[-LONGEST_TRACEBACK:],
            "lineage": _lineage(opened, number),
            "can_stop": self.control and opened.running and status not in OVER,
        }

    # ---- several

    def chosen(self, experiments: Sequence[str]) -> list[tuple[str, Opened]]:
        """Experiments to compare, each with a name that no other one has. NotAnswered."""
        if not 1 <= len(experiments) <= MOST_COMPARED:
            raise NotAnswered(400, f"from 1 to {MOST_COMPARED} experiments can be compared, got {len(experiments)}")
        return [(shown_name(os.path.basename(self.path_of(one))), self.opened(one)) for one in dict.fromkeys(experiments)]

    def compared(self, several: Sequence[tuple[str, Opened]]) -> list[dict[str, Any]]:
        """The same experiments in numbers, for a table."""
        return [
            {"folder": name, "version": opened.version, **opened.once(("progress",), lambda one=opened: progress_of(one))}  # type: ignore[misc]
            for name, opened in several
        ]

    # ---- what changes something

    def stop(self, experiment: str, trial: int | None, at_once: bool) -> dict[str, Any]:
        """Ask the run to stop a trial, or itself. NotAnswered: nobody runs it, the dashboard may only look, ..."""
        if not self.control:
            raise NotAnswered(403, "this dashboard only looks: start it with `fasttune dashboard --control` to stop trials")
        opened = self.opened(experiment)
        source = opened.source
        if trial is not None and trial >= len(source):
            raise NotAnswered(404, f"there is no trial {trial}; they go from 0 to {len(source) - 1}")
        if trial is not None and source.status(trial) in OVER:
            raise NotAnswered(409, f"{source.trial_id(trial)} is over already ({source.status(trial)})")
        try:
            check_runs(opened.folder)
            ask(opened.folder, [StopRequest(None if trial is None else source.trial_id(trial), at_once)])
        except CommandError as error:
            raise NotAnswered(409, str(error)) from error
        except (TuneError, OSError) as error:
            raise NotAnswered(409, f"the request cannot be written: {error}") from error
        what = "the run" if trial is None else source.trial_id(trial)
        return {"said": f"{what} was asked to stop"}


def _changed_at(path: str) -> float:
    try:
        return os.stat(os.path.join(path, "experiment.db"), follow_symlinks=False).st_mtime
    except OSError:
        return 0.0


def _facts(opened: Opened) -> dict[str, Any]:
    goal, why = None, ""
    try:
        goal = opened.experiment.goal(None, None, None)
        opened.experiment.score(goal)
    except ValueError as error:
        goal, why = None, str(error)
    facts: Facts = facts_of(opened.experiment, goal, why)
    told = facts._asdict()
    del told["goal"]
    told["saved"] = None if facts.saved is None else facts.saved._asdict()
    told["best"] = None if facts.best is None else facts.best._asdict()
    told["failures"] = [kind._asdict() for kind in facts.failures]
    return told


def _exact(values: Mapping[str, Any]) -> list[list[str]]:
    """Names and values, with all digits of numbers."""
    told = [[name, repr(value) if isinstance(value, float) else str(value)[:LONGEST_VALUE]] for name, value in values.items()]
    if len(told) > MOST_VALUES:
        return [*told[:MOST_VALUES], ["...", f"and {len(told) - MOST_VALUES:,} more"]]
    return told


def _checkpoint(opened: Opened, number: int) -> str:
    """Where the newest checkpoint of a trial is, in words; "" where there is none."""
    latest = opened.source.saves.latest(number)
    if latest is None:
        return ""
    path, step = latest
    return f"of step {step:,}, in {'experiment.db' if memory_key(path) else shown_name(path)}"


def _lineage(opened: Opened, number: int) -> list[str]:
    """What a population's scheduler did to a trial, and whom it served, in words."""
    return list(_told_lineage(opened, number))[-20:]


def _told_lineage(opened: Opened, number: int) -> Iterator[str]:
    source = opened.source
    for one in source.lineage():
        if one.trial != number:
            continue
        old, new = flatten(one.old_config), flatten(one.new_config)
        changes = [
            f"{name} {value_text(old[name]) if name in old else '(nothing)'} to {value_text(value)}"
            for name, value in new.items()
            if name not in old or value_text(old[name]) != value_text(value)
        ]
        whose = "its own checkpoint" if one.donor is None else f"the checkpoint of {source.trial_id(one.donor)}"
        changed = f": {', '.join(changes)}" if changes else ", with the same config"
        yield f"at step {one.trial_iteration:,} it went on from {whose} of step {one.donor_iteration:,}{changed}"
