"""log: tells a logger of an experiment, one that is over or one that runs."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fasttune.cli import INTERRUPTED, CommandError
from fasttune.cli import arguments as common

if TYPE_CHECKING:
    from fasttune.follower import Follower
    from fasttune.logger import JournalLogger

EXAMPLES = """\
  fasttune log mnist --to tensorboard                   then: tensorboard --logdir ~/fasttune_results/mnist
  fasttune log latest --to mlflow --option tracking_uri=sqlite:///mlflow.db --max-trials all
  fasttune log mnist --to wandb --option project=digits --option mode=offline
  fasttune log mnist --to my_module:MyLogger            a JournalLogger of your own
What was logged before is not logged again. Ctrl-C ends it where it is; the same command goes on."""

SAY_S = 5.0  # so often it is said how far it is
FIRST_LOOKS, FIRST_LOOK_S = 200, 0.05  # a run has its journal a moment before the first record in it


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)
    parser.add_argument("--to", required=True, metavar="LOGGER", help="tensorboard, mlflow, wandb, aim, comet, or module:Class")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an argument of the logger; JSON, or a text as it is"
    )
    parser.add_argument(
        "--max-trials", type=limit, default=..., metavar="N", help='the first N trials, or "all"; default: the logger\'s own'
    )


def limit(text: str) -> int | None:
    """A number of trials, or all of them."""
    return None if text == "all" else common.count(text)


def run(asked: argparse.Namespace) -> int:
    """Log what there is, and what comes while somebody runs it."""
    from fasttune.cli.finding import begun_at, find, opened
    from fasttune.follower import Follower, LoggingFailedError
    from fasttune.logger.following_process import called
    from fasttune.storage.recovery import writer_of

    logger = made(asked)
    path = find(asked.experiment)
    progress = LogProgress(called(logger))
    for _ in range(FIRST_LOOKS):
        if begun_at(path) is not None or writer_of(path) is None:
            break
        time.sleep(FIRST_LOOK_S)
    try:
        follower = Follower(path, logger, progress.tell)
    except LoggingFailedError as error:
        raise CommandError(f"{called(logger)}: {error}") from error
    try:
        if writer_of(path) is None:
            follower.total = len(opened(path))
        with interruptible(follower):
            follower.run(lambda: writer_of(path) is None, time.sleep)
    except LoggingFailedError as error:
        raise CommandError(f"{called(logger)}: {error}; what was logged before counts, the same command goes on") from error
    finally:
        follower.close()
    progress.end(follower)
    return 0 if follower.finished else INTERRUPTED


def made(asked: argparse.Namespace) -> JournalLogger:
    """The logger that is asked for; CommandError when it cannot be made."""
    kind = kind_of(asked.to)
    options = dict(map(option, asked.option))
    if asked.max_trials is not ...:
        options["max_trials"] = asked.max_trials
    try:
        logger: JournalLogger = kind(**options)
    except (ImportError, TypeError, ValueError) as error:
        raise CommandError(f"--to {asked.to}: {error}") from error
    return logger


def kind_of(text: str) -> Any:
    """A class of JournalLoggers by its key, or by its module and name."""
    from fasttune.cli.target import trainable_of
    from fasttune.logger import BEHIND, JournalLogger

    known = {kind.key: kind for kind in BEHIND}
    if text in known:
        return known[text]
    if ":" not in text:
        raise CommandError(f"--to is one of {', '.join(known)}, or module:Class of your own, got {text!r}")
    kind = trainable_of(text)
    if not (isinstance(kind, type) and issubclass(kind, JournalLogger)):
        raise CommandError(f"--to {text}: it is no class that derives from fasttune.logger.JournalLogger")
    return kind


def option(text: str) -> tuple[str, Any]:
    """NAME=VALUE, whose value is JSON where it can be read so."""
    name, found, value = text.partition("=")
    if not found or not name:
        raise CommandError(f"--option is NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@contextmanager
def interruptible(follower: Follower) -> Iterator[None]:
    """The first Ctrl-C lets it bring home what it holds; the next one is as always."""

    def stop(*_: object) -> None:
        follower.stop = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class LogProgress:
    """Says now and then how far a logger is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said_at = time.monotonic()

    def tell(self, told: dict[str, Any]) -> None:
        """Hear how far it is."""
        if time.monotonic() - self._said_at >= SAY_S:
            self._said_at = time.monotonic()
            wanted = f" of {told['wanted']:,}" if "wanted" in told else ""
            behind = f", {told['behind_s']:.0f} s behind the run" if told["behind_s"] and not wanted else ""
            print(f"{self._name}: {told['written']:,}{wanted} trials written{behind}", file=sys.stderr, flush=True)

    def end(self, follower: Follower) -> None:
        """Say how it ended."""
        told = follower.state()
        left_out = follower.left_out()
        if not follower.finished:
            print(f"{self._name}: interrupted with {told['written']:,} trials written; the same command goes on", file=sys.stderr)
            return
        cut = f", and {told['under_way']:,} that did not end, up to their last report" if "under_way" in told else ""
        print(f"{self._name}: {told['written']:,} trials written{cut}" + (f"; {left_out}" if left_out else ""), file=sys.stderr)
