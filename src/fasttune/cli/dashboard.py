"""dashboard: a local page that follows experiments."""

from __future__ import annotations

import argparse
import os
import sys

from fasttune.cli import CommandError

EXAMPLES = """\
  fasttune dashboard                                    the experiments where tune.run stores them
  fasttune dashboard runs/ --port 8000                  those of a folder, on a port that stays the same
  fasttune dashboard latest --control                   one experiment; the page may stop its trials
  ssh -L 8000:127.0.0.1:8000 HOST fasttune dashboard --port 8000      from another machine"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        help="one with experiments in it, or an experiment (its folder, its name or \"latest\"); default: where tune.run stores them",
    )
    parser.add_argument("--port", type=int, default=0, help="default 0: one that is free")
    parser.add_argument("--host", default="127.0.0.1", help="an address of this machine alone; default 127.0.0.1")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    parser.add_argument("--control", action="store_true", help="the page may stop trials and runs; else it only looks")


def run(asked: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    import warnings

    from fasttune.dashboard.server import serve

    warnings.simplefilter("ignore")  # what is wrong with an experiment stands on its page

    folder = folder_of(asked.folder)

    def say(address: str) -> None:
        print(address, flush=True)
        what = "trials can be stopped from it" if asked.control else "it only looks; --control lets it stop trials"
        print(f"The dashboard of {folder}; {what}. Ctrl-C ends it.", file=sys.stderr, flush=True)

    try:
        serve(folder, host=asked.host, port=asked.port, control=asked.control, browser=not asked.no_browser, say=say)
    except (ValueError, ImportError) as error:
        raise CommandError(str(error)) from error
    return 0


def folder_of(text: str | None) -> str:
    """The folder that is meant: one that is there, else that of an experiment of this name. CommandError. The one where tune.run
    stores experiments need not be there yet: the first that begins makes it."""
    from fasttune.cli.finding import find
    from fasttune.resolve.places import default_storage

    if text is None:
        return default_storage()
    path = os.path.abspath(os.path.expanduser(text))
    return path if os.path.isdir(path) else find(text)
