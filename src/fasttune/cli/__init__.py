"""The command ``fasttune``. Exit codes: 0 done, 1 it could not be done (one line says why), 2 misunderstood.

Each command is a function in a module of its own kind, which is imported when the command is called: ``fasttune
--help`` loads the standard library only.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

PIPE_CLOSED = 141  # as shells show it: the reader of the output (head, less) had enough


class CommandError(Exception):
    """A command cannot do what was asked; the text is all that the user sees."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises SystemExit(2) for a command line that nobody understands."""
    asked = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):  # names and values may hold what the terminal's encoding does not
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    module, _, function = asked.command.partition(":")
    try:
        code: int = getattr(import_module(f"fasttune.cli.{module}"), function)(asked)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that nothing is flushed at exit
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not _is_the_users(error):
            raise
        print(f"fasttune: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def _is_the_users(error: Exception) -> bool:
    """Whether the error is about what was asked; anything else is ours, and its traceback is wanted."""
    from fasttune.error import IllegalTransitionError, TuneError

    known = isinstance(error, (CommandError, TuneError, OSError))
    return known and not isinstance(error, IllegalTransitionError)


# ---- the command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fasttune",
        description="Look at experiments, also while they run; measure and check this machine.",
        epilog="fasttune COMMAND --help says more.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_ls(commands)
    _add_lsx(commands)
    _add_show(commands)
    _add_note(commands)
    _add_bench(commands)
    _add_doctor(commands)
    _add_table(commands)
    _add_pictures(commands)
    return parser


class _Version(argparse.Action):
    """Asked for only when it is wanted: reading a package's metadata costs more than the rest."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        from fasttune.bench.report import version

        print(f"fasttune {version()}")
        parser.exit()


Commands = argparse._SubParsersAction


def _command(commands: Commands[argparse.ArgumentParser], call: str, names: str, about: str) -> argparse.ArgumentParser:
    name, *aliases = names.split()
    made = commands.add_parser(name, aliases=aliases, help=about, description=f"{about[0].upper()}{about[1:]}.")
    made.set_defaults(command=call)
    return made


def _add_ls(commands: Commands[argparse.ArgumentParser]) -> None:
    ls = _command(commands, "experiments:ls", "ls list-trials", "list the trials of an experiment")
    ls.add_argument("path", metavar="PATH", help="folder of the experiment")
    _add_listing(ls, "trial_id, status, training_iteration, metrics and parameters")


def _add_lsx(commands: Commands[argparse.ArgumentParser]) -> None:
    lsx = _command(commands, "experiments:lsx", "lsx list-experiments", "list the experiments in a folder")
    lsx.add_argument("path", metavar="FOLDER", nargs="?", help="default: where tune.run stores experiments")
    _add_listing(lsx, "all")


def _add_listing(parser: argparse.ArgumentParser, columns: str) -> None:
    parser.add_argument("--columns", metavar="A,B", help=f"columns to show, '?' names them; default {columns}")
    parser.add_argument("--sort", metavar="A,B", help="columns to sort by, smallest first, empty cells last")
    parser.add_argument(
        "--desc", nargs="?", const=True, default=False, type=_truth, metavar="BOOL", help="largest first"
    )
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="'COL OP VALUE'",
        help="rows for which it holds, OP is one of < <= == != >= >; given several times, all have to hold",
    )
    parser.add_argument("--limit", type=_count, metavar="N", help="at most N rows; default 50 on a terminal, else all")
    parser.add_argument("--output", "-o", metavar="FILE", help="write all columns to FILE.csv, .json or .pkl instead")
    parser.add_argument("--json", action="store_true", help="print the rows with all their columns as JSON")


def _add_show(commands: Commands[argparse.ArgumentParser]) -> None:
    from fasttune.scope import SCOPES

    show = _command(commands, "experiments:show", "show", "show an experiment: its state, its best trial, its notes")
    show.add_argument("path", metavar="PATH", help="folder of the experiment")
    show.add_argument("--metric", help="what the best trial is best at; default: the experiment's")
    show.add_argument("--mode", choices=("min", "max"), help="likewise")
    show.add_argument("--scope", choices=SCOPES, help="which value of a trial says how good it is; likewise")
    show.add_argument("--json", action="store_true", help="print it as JSON")


def _add_note(commands: Commands[argparse.ArgumentParser]) -> None:
    note = _command(commands, "experiments:add_note", "add-note", "add a note to an experiment")
    note.add_argument("path", metavar="PATH", help="folder of the experiment")
    note.add_argument("text", metavar="TEXT", nargs="*", help="default: what $EDITOR leaves, or standard input")
    note.add_argument("--filename", default="note.txt", help="file in the experiment's folder; default note.txt")


def _add_bench(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "measure how many trials, reports and decisions a second this machine does"
    bench = _command(commands, "machine:bench", "bench", about)
    bench.add_argument("--quick", action="store_true", help="about 15 seconds instead of one or two minutes")
    bench.add_argument("--schedulers", type=_names, metavar="A,B", help="default: all")
    bench.add_argument("--executors", type=_names, default=["inline", "process"], metavar="A,B", help="default: both")
    bench.add_argument("--trials", type=_count, metavar="N", help="of a run; default: as many as take --seconds")
    bench.add_argument("--reports", type=_count, metavar="N", help="of a trial that nobody stops; default 81")
    bench.add_argument("--seconds", type=float, default=0.5, metavar="S", help="of work in a run; default 0.5")
    bench.add_argument("--repeats", type=_count, default=3, metavar="N", help="runs of which the median is given")
    bench.add_argument("--seed", type=int, default=0)
    bench.add_argument("--json", metavar="FILE", help="write everything to FILE; '-': print it instead of the table")
    bench.add_argument("--plot", metavar="FILE", help="draw a picture: .png, .svg or .pdf (needs matplotlib)")


def _add_doctor(commands: Commands[argparse.ArgumentParser]) -> None:
    doctor = _command(commands, "machine:doctor", "doctor", "check this machine, or what is whole of an experiment")
    doctor.add_argument("path", metavar="PATH", nargs="?", help="folder of an experiment; default: this machine")
    doctor.add_argument("--repair", action="store_true", help="make a copy beside it of all that is whole")
    doctor.add_argument("--json", action="store_true", help="print it as JSON")


def _add_table(commands: Commands[argparse.ArgumentParser]) -> None:
    table = _command(commands, "experiments:table", "table", "write an experiment's table for SQL, 'trials'")
    table.add_argument("path", metavar="PATH", help="folder of the experiment")


def _add_pictures(commands: Commands[argparse.ArgumentParser]) -> None:
    from fasttune.cli.report import add_plot, add_report

    add_report(commands)
    add_plot(commands)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _truth(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"must be True or False, got {text!r}")
    return words[text.lower()]


__all__ = ["PIPE_CLOSED", "CommandError", "Commands", "main"]
