"""rm: deletes an experiment, and nothing else."""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import sys

from fasttune.cli import CommandError
from fasttune.folder import JOURNAL, LOCK_FILE

EXAMPLES = """\
  fasttune rm mnist                                     asks first
  fasttune rm mnist mnist_2 --yes"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("experiments", metavar="EXP", nargs="+", help='whole names of experiments, their folders, or "latest"')
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")


def run(asked: argparse.Namespace) -> int:
    """Delete them, after asking for each. All are looked at before the first one goes."""
    from fasttune.cli.finding import find

    folders = list(dict.fromkeys(find(text, whole=True) for text in asked.experiments))
    described = [(folder, checked(folder)) for folder in folders]
    if not asked.yes and not sys.stdin.isatty():
        raise CommandError(f"nobody is there to be asked whether {len(folders)} experiments are to be deleted: say --yes")
    for folder, words in described:
        if not asked.yes and not agreed(f"delete {folder} ({words})? [y/N] "):
            print("left as it is", file=sys.stderr)
            continue
        delete(folder)
        print(f"deleted {folder}", file=sys.stderr)
    return 0


def checked(folder: str) -> str:
    """What the experiment is, in words. CommandError for a folder that is more, or something else, than an experiment."""
    from fasttune.cli.facts import date, last_heard
    from fasttune.cli.finding import opened
    from fasttune.storage.recovery import writer_of

    if os.path.islink(folder):
        raise CommandError(f"{folder} is a symbolic link: delete what it leads to by its own name, and then the link")
    writer = writer_of(folder)
    if writer is not None:
        raise CommandError(f"the experiment in {folder} is run by process {writer or 'unknown'}: fasttune stop ends it")
    source = opened(folder)  # a folder that merely has such a file is none of ours
    with os.scandir(folder) as entries:
        others = [one.name for one in entries if one.is_dir(follow_symlinks=False) and has_journal(one.path)]
    if others:
        raise CommandError(f"{folder} holds other experiments ({', '.join(sorted(others)[:5])}): move or delete them first")
    home = os.path.realpath(os.path.expanduser("~"))
    if os.path.realpath(folder) in (home, os.path.sep) or os.path.ismount(folder):
        raise CommandError(f"{folder} is a home, or the root of a file system, and not an experiment's folder alone")
    return f"{len(source):,} trials, {source.table.reports:,} reports, last written {date(last_heard(source))}"


def has_journal(folder: str) -> bool:
    """Whether a folder holds an experiment."""
    return os.path.lexists(os.path.join(folder, JOURNAL))


def agreed(question: str) -> bool:
    """Whether somebody says yes."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def delete(folder: str) -> None:
    """Everything in it, links themselves and not what they lead to. The journal goes last: what an error leaves behind is
    still an experiment, and can be deleted again. OSError."""
    from fasttune.storage.recovery import ExperimentLock

    lock = ExperimentLock(folder)  # nobody begins to write it from here on
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda one: (one.name == JOURNAL, one.name == LOCK_FILE, one.name))
        for one in found:
            if stat.S_ISDIR(one.stat(follow_symlinks=False).st_mode):
                shutil.rmtree(one.path)
            else:
                os.unlink(one.path)
        os.rmdir(folder)
    finally:
        lock.release()
