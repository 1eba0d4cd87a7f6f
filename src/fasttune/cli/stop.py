"""stop: ends trials of a run, or the run, from another terminal."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from fasttune.cli import CommandError
from fasttune.cli import arguments as common
from fasttune.cli.words import one_line
from fasttune.folder import COMMAND_FILE

if TYPE_CHECKING:
    from fasttune.engine.records import ExperimentRecords
    from fasttune.engine.stop_requests import StopRequest

EXAMPLES = """\
  fasttune stop mnist 3f2a1_00004                       one trial, at its next report; its results are kept
  fasttune stop mnist 4 7 9 --now                       without waiting for their next report
  fasttune stop mnist                                   the run, as Ctrl-C would: fasttune resume mnist goes on with it
  fasttune stop latest --end                            the run, and the trials that run are over for good"""

LOOK_S = 0.1  # so often it is looked whether it has been done
SHARE = 5  # looking takes at most one part in so many of the time


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)
    parser.add_argument("trials", metavar="TRIAL", nargs="*", help="ids of trials, or their numbers; default: the whole run")
    parser.add_argument("--now", action="store_true", help="end trials without waiting for their next report")
    parser.add_argument("--end", action="store_true", help="of a run: trials that run are over for good, not left to be resumed")
    parser.add_argument(
        "--wait", type=float, default=10.0, metavar="S", help="seconds to wait until it has been done; default 10, 0: only ask"
    )


def run(asked: argparse.Namespace) -> int:
    """Ask for it, and wait until it is done: 0 then, or where the run has heard it; 1 where it has not."""
    from fasttune.cli.finding import find, opened
    from fasttune.engine.stop_requests import StopRequest, ask

    if asked.trials and asked.end:
        raise CommandError("--end is about the whole run: leave the trials out")
    if asked.now and not asked.trials:
        raise CommandError("--now is about trials: name some, or say --end to end the run with all of its trials")
    folder = find(asked.experiment)
    check_runs(folder)
    source = opened(folder)
    if not asked.trials:
        requests = [StopRequest(None, asked.end)]
        ask(folder, requests)
        return wait_for_run(folder, requests, asked.wait)
    numbers = [number_of(text, source) for text in dict.fromkeys(asked.trials)]
    alive = [i for i in numbers if source.status(i) not in ("TERMINATED", "ERROR")]
    for i in numbers:
        if i not in alive:
            print(one_line(f"{source.trial_id(i)} is over already ({source.status(i)})"), file=sys.stderr)
    if not alive:
        return 1
    requests = [StopRequest(source.trial_id(i), asked.now) for i in alive]
    ask(folder, requests)
    return wait_for_trials(folder, alive, requests, asked.wait)


def check_runs(folder: str) -> None:
    """CommandError when nobody runs the experiment, or somebody who would not listen to us."""
    from fasttune.plain_files import owner_name
    from fasttune.storage.recovery import writer_of

    writer = writer_of(folder)
    if writer is None:
        raise CommandError(f"nobody runs the experiment in {folder}: there is nothing to stop")
    try:
        owner = os.stat(f"/proc/{writer}").st_uid
    except OSError:  # it has not said who it is, or there is no such file system here
        return
    if os.geteuid() not in (owner, 0):
        raise CommandError(
            f"the experiment in {folder} is run by {owner_name(owner)}, whose runs listen to that user and to root alone"
        )


def number_of(text: str, source: ExperimentRecords) -> int:
    """The number of a trial by its id, or by its number. CommandError."""
    if text.isdecimal() and int(text) < len(source):
        return int(text)
    try:
        return source.index_of(text)
    except KeyError:
        last = f"{source.trial_id(0)} to {source.trial_id(len(source) - 1)}" if len(source) else "none yet"
        raise CommandError(f"there is no trial {text!r} in {source.name!r}: ids are {last}, numbers from 0 on") from None


def wait_for_run(folder: str, requests: list[StopRequest], seconds: float) -> int:
    """Wait until nobody writes the experiment any more."""
    from fasttune.cli.run import short_name
    from fasttune.storage.recovery import writer_of

    deadline = time.monotonic() + seconds
    while writer_of(folder) is not None:
        if time.monotonic() >= deadline:
            return asked_only(folder, "the run")
        ask_again(folder, requests)
        time.sleep(LOOK_S)
    name = short_name(folder)
    begun_here = os.path.isfile(os.path.join(folder, COMMAND_FILE))
    on = f"fasttune resume {name}" if begun_here else "the program that began it goes on with resume='AUTO'"
    print(f"the run has ended: fasttune show {name}; {on}", file=sys.stderr)
    return 0


def wait_for_trials(folder: str, trials: list[int], requests: list[StopRequest], seconds: float) -> int:
    """Wait until these trials are over."""
    from fasttune.cli.finding import opened
    from fasttune.storage.recovery import writer_of

    deadline = time.monotonic() + seconds
    while trials:
        began = time.monotonic()
        running = writer_of(folder) is not None
        source = opened(folder)
        over = [i for i in trials if source.status(i) in ("TERMINATED", "ERROR")]
        trials = [i for i in trials if i not in over]
        for i in over:
            print(one_line(f"{source.trial_id(i)} has ended after {source.table.iteration(i)} reports"), file=sys.stderr)
        if trials and not running:
            raise CommandError(f"the run has ended meanwhile; {len(trials)} trials are left to be gone on with")
        if trials and time.monotonic() >= deadline:
            return asked_only(folder, ", ".join(source.trial_id(i) for i in trials))
        if trials:
            ask_again(folder, requests)
            time.sleep(max(LOOK_S, SHARE * (time.monotonic() - began)))
    return 0


def ask_again(folder: str, requests: list[StopRequest]) -> None:
    """A run that was just beginning has cleared away what was asked before."""
    from fasttune.engine.stop_requests import ask, is_unheard

    if is_unheard(folder):
        ask(folder, requests)


def asked_only(folder: str, what: str) -> int:
    """It takes longer than somebody waits for."""
    print(
        f"{what}: asked to stop, and not over yet: a trial ends at its next report (--now does not wait for it, where trials "
        "run in workers)",
        file=sys.stderr,
    )
    return 0
