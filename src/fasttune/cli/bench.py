"""bench: how fast this machine is."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from fasttune.cli import CommandError
from fasttune.cli.arguments import count, names

EXAMPLES = """\
  fasttune bench                                        two to three minutes
  fasttune bench --quick --schedulers asha,pbt --json -"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--quick", action="store_true", help="half a minute instead of two or three")
    parser.add_argument("--schedulers", type=names, metavar="A,B", help="default: all")
    parser.add_argument(
        "--executors", type=names, metavar="A,B", help="default: all of ours; also what packages have registered"
    )
    parser.add_argument("--trials", type=count, metavar="N", help="of a run; default: as many as take --seconds")
    parser.add_argument("--reports", type=count, metavar="N", help="of a trial that nobody stops; default 81")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="of work in a run; default 0.5")
    parser.add_argument("--repeats", type=count, default=3, metavar="N", help="runs of which the median is given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE", help="write everything to FILE; '-': print it instead of the table")
    parser.add_argument("--plot", metavar="FILE", help="draw a picture: .png, .svg or .pdf (needs matplotlib)")


def run(asked: argparse.Namespace) -> int:
    """Measure, print, and write what was asked for. 1 when a measurement failed."""
    from fasttune.bench import benchmark
    from fasttune.bench.suite import OUR_EXECUTORS

    if asked.plot:
        check_plot(asked.plot)
    on_terminal = sys.stderr.isatty()
    try:
        report = benchmark(
            asked.schedulers,
            asked.executors or OUR_EXECUTORS,
            trials=asked.trials,
            reports=asked.reports,
            seconds=asked.seconds,
            repeats=asked.repeats,
            seed=asked.seed,
            quick=asked.quick,
            progress=say if on_terminal else None,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    finally:
        if on_terminal:
            say("")
    if asked.json == "-":
        print(report.to_json(), end="")
    else:
        show(report)
        if asked.json:
            report.to_json(asked.json)
    if asked.plot:
        report.plot(asked.plot)
    for path in filter(None, (asked.json if asked.json != "-" else None, asked.plot)):
        print(f"written to {path}", file=sys.stderr)
    return int(any(row.error for row in report.rows))


def check_plot(path: str) -> None:
    """Say before minutes of measuring what would fail after them."""
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError("--plot needs matplotlib, which is not installed: pip install 'fasttune[plots]'")
    if os.path.splitext(path)[1].lower() not in (".png", ".svg", ".pdf"):
        raise CommandError(f"--plot takes a file that ends with .png, .svg or .pdf, got {path!r}")


def say(line: str) -> None:
    """The line that tells what is being measured, over the one before."""
    print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def show(report: Any) -> None:
    if not sys.stdout.isatty():
        print(report)
        return
    from rich.console import Console

    Console(highlight=False).print(report)
