"""report: one page that tells what an experiment found and what it cost."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from fasttune.cli import CommandError
from fasttune.cli import arguments as common

if TYPE_CHECKING:
    from fasttune.plot.data import ExperimentData

EXAMPLES = """\
  fasttune report latest                                report.html in the experiment's folder
  fasttune report mnist -o mnist.html                   one file, which needs no network
  fasttune report mnist --metrics loss=min,seconds=min  with the Pareto front of these"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="default: report.html in the experiment's folder")
    common.goal(parser)
    parser.add_argument("--metrics", type=metrics, metavar="A=min,B=max", help="adds the Pareto front of these")


def metrics(text: str) -> dict[str, str]:
    """Metrics, and which is better of each: "loss=min,accuracy=max"."""
    pairs = [part.rpartition("=") for part in text.split(",") if part.strip()]
    if not pairs or any(mode not in ("min", "max") or not name for name, _, mode in pairs):
        raise argparse.ArgumentTypeError(f"must be like loss=min,accuracy=max, got {text!r}")
    return {name.strip(): mode for name, _, mode in pairs}


def run(asked: argparse.Namespace) -> int:
    """Write the page; its path goes to standard output."""
    experiment = to_draw(asked.experiment)
    try:
        from fasttune.plot import report as write

        print(write(experiment, asked.output, metric=asked.metric, mode=asked.mode, scope=asked.scope, metrics=asked.metrics))
    except (ValueError, ImportError) as error:
        raise CommandError(str(error)) from error
    return 0


def to_draw(named: str) -> ExperimentData:
    """The experiment that is named, as far as it is stored."""
    from fasttune.cli.finding import find, opened

    source = opened(find(named))
    print(f"reading {len(source):,} trials of {source.path}", file=sys.stderr)
    from fasttune.analysis import ExperimentAnalysis
    from fasttune.plot.data import ExperimentData

    return ExperimentData(ExperimentAnalysis(source))
