"""The command ``fasttune``. Exit codes: 0 done, 1 it could not be done or something is wrong (one line says what), 2 the
command line was not understood, 130 Ctrl-C, 141 whoever read the output had enough.

Each command is a module of its own with ``EXAMPLES``, ``arguments(parser)`` and ``run(asked) -> int``, and one line in
``COMMANDS``. It is imported when it is called: ``fasttune --help`` loads the standard library only.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import NamedTuple, NoReturn

PIPE_CLOSED = 141  # as shells show it: the reader of the output (head, less) had enough
INTERRUPTED = 130  # likewise: Ctrl-C


class CommandError(Exception):
    """A command cannot do what was asked; the text is all that the user sees."""


class Command(NamedTuple):
    """One line of the table of commands."""

    module: str
    names: str  # the first is its own, the others are aliases
    about: str


COMMANDS = (
    Command("run", "run", "run trials of a function or class, over a space in a TOML file"),
    Command("resume", "resume", "go on with an experiment"),
    Command("watch", "watch", "follow an experiment while it runs"),
    Command("dashboard", "dashboard", "follow experiments on a local page in the browser"),
    Command("stop", "stop", "stop trials of an experiment that runs, or the whole run"),
    Command("lsx", "lsx list-experiments", "list the experiments in a folder"),
    Command("ls", "ls trials list-trials", "list the trials of an experiment"),
    Command("show", "show", "show an experiment: its state, its best trial, its notes"),
    Command("best", "best", "print the config of the best trial, or where its checkpoint is"),
    Command("report", "report", "write one page that tells what an experiment found and what it cost"),
    Command("plot", "plot", "write one picture of an experiment"),
    Command("export", "export", "write trials or reports as CSV, JSON lines or Parquet, or all of it for SQL, Optuna, MLflow and Ray"),
    Command("log", "log", "write an experiment to TensorBoard, MLflow, W&B, Aim or Comet, also while it runs"),
    Command("replay", "replay", "ask the scheduler again: does the journal give the same decisions"),
    Command("note", "add-note", "add a note to an experiment"),
    Command("table", "table", "write an experiment's table for SQL, 'trials'"),
    Command("rm", "rm", "delete an experiment"),
    Command("bench", "bench", "measure how many trials, reports and decisions a second this machine does"),
    Command("doctor", "doctor", "check this machine, or what is whole of an experiment"),
    Command("completion", "completion", "print what completes commands and experiments in bash or zsh"),
)

EPILOG = """\
EXP is an experiment's name (below $FASTTUNE_RESULTS_DIR, default ~/fasttune_results), the beginning of it, its folder, or
"latest". fasttune COMMAND --help says more, with examples."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises SystemExit(2) for a command line that nobody understands."""
    try:
        words = list(sys.argv[1:] if argv is None else argv)
        asked = parser_of(words).parse_args(words)
        for stream in (sys.stdout, sys.stderr):  # names and values may hold what the terminal's encoding does not
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        call: Callable[[argparse.Namespace], int] = module_of(asked.command).run
        code = call(asked)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that nothing is flushed at exit
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if not _is_the_users(error):
            raise
        from fasttune.cli.words import one_sentence

        print(f"fasttune: {one_sentence(str(error))}", file=sys.stderr)
        return 1


def _is_the_users(error: Exception) -> bool:
    """Whether the error is about what was asked; anything else is ours, and its traceback is wanted."""
    from fasttune.error import IllegalTransitionError, TuneError

    known = isinstance(error, (CommandError, TuneError, OSError))
    return known and not isinstance(error, IllegalTransitionError)


# ---- the command line


def parser_of(words: Sequence[str] | None) -> argparse.ArgumentParser:
    """The parser of ``fasttune``, with the arguments of the command that these words call; None: of all commands."""
    called = None if words is None else next((word for word in words if not word.startswith("-")), "")
    known = [name for one in COMMANDS for name in one.names.split()]
    parser = Parser(
        prog="fasttune",
        description="Run experiments, look at them, also while they run; measure and check this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    if called and called not in known:
        from difflib import get_close_matches

        near = get_close_matches(called, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(one.names.split()[0] for one in COMMANDS)}"
        parser.error(f"there is no command {called!r}; {hint}")
    for one in COMMANDS:
        name, *aliases = one.names.split()
        about = f"{one.about[0].upper()}{one.about[1:]}."
        made = commands.add_parser(
            name, aliases=aliases, help=one.about, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        made.set_defaults(command=one.module)
        if called is None or called in one.names.split():
            module = module_of(one.module)
            made.epilog = f"examples:\n{module.EXAMPLES}" if module.EXAMPLES else None
            module.arguments(made)
    return parser


def module_of(name: str) -> ModuleType:
    """The module of a command."""
    return import_module(f"fasttune.cli.{name}")


class Parser(argparse.ArgumentParser):
    """Says behind an error where help is."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {message} ({self.prog} --help has examples)\n")


class _Version(argparse.Action):
    """Asked for only when it is wanted: reading a package's metadata costs more than the rest."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        from fasttune.bench.report import version

        print(f"fasttune {version()}")
        parser.exit()


__all__ = [
    "COMMANDS",
    "EPILOG",
    "INTERRUPTED",
    "PIPE_CLOSED",
    "Command",
    "CommandError",
    "Parser",
    "main",
    "module_of",
    "parser_of",
]
