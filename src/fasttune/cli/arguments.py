"""Arguments that several commands have."""

from __future__ import annotations

import argparse

from fasttune.scope import SCOPES


def experiment(parser: argparse.ArgumentParser) -> None:
    """EXP: one experiment, see ``finding.find``."""
    parser.add_argument("experiment", metavar="EXP", help='name of the experiment, its folder, or "latest"')


def as_json(parser: argparse.ArgumentParser) -> None:
    """--json: what is printed is for programs."""
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def goal(parser: argparse.ArgumentParser) -> None:
    """What the best trial is best at."""
    parser.add_argument("--metric", help="what the best trial is best at; default: the experiment's")
    parser.add_argument("--mode", choices=("min", "max"), help="likewise")
    parser.add_argument("--scope", choices=SCOPES, help="which value of a trial says how good it is; likewise")


def listing(parser: argparse.ArgumentParser, columns: str) -> None:
    """Which rows and columns of a table, in which order and form; ``columns``: those that it shows otherwise."""
    parser.add_argument("--columns", metavar="A,B", help=f"columns to show, '?' names them; default {columns}")
    parser.add_argument("--sort", metavar="A,B", help="columns to sort by, smallest first, empty cells last")
    parser.add_argument("--desc", nargs="?", const=True, default=False, type=truth, metavar="BOOL", help="largest first")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="'COL OP VALUE'",
        help="rows for which it holds, OP is one of = == != < <= > >= ~ (has the text in it); also '0.01 < lr <= 0.1', "
        "'opt in sgd,adam', 'loss =' (empty), or a word; 'and' joins several, and all that are given have to hold",
    )
    parser.add_argument("--limit", type=count, metavar="N", help="at most N rows; default 50 on a terminal, else all")
    parser.add_argument("--output", "-o", metavar="FILE", help="write all columns to FILE.csv, .json or .pkl instead")
    parser.add_argument("--json", action="store_true", help="print the rows with all their columns as JSON")
    parser.add_argument("--csv", action="store_true", help="print them as CSV")


def names(text: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def count(text: str) -> int:
    """A number of things, at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def seconds(text: str) -> float:
    """A time: 90, 1.5m, 2h, 1h30m."""
    import math
    import re

    found = re.fullmatch(r"(?:(\d+)d)?(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+(?:e[+-]?\d+)?)s?)?", text.strip().lower())
    try:
        parts = [float(part or 0) for part in found.groups()] if found is not None and text.strip() else []
    except ValueError:
        parts = []
    total = sum(part * size for part, size in zip(parts, (86400, 3600, 60, 1), strict=False))
    if not parts or not math.isfinite(total) or total <= 0:
        raise argparse.ArgumentTypeError(f"a time is a number of seconds above 0, or such as 90s, 30m, 1h30m, got {text!r}")
    return total


def truth(text: str) -> bool:
    """True or False, as Ray Tune's command takes it."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"must be True or False, got {text!r}")
    return words[text.lower()]
