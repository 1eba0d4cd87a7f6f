"""report, plot: the report page and single pictures of experiments on disk."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, Any

from fasttune.cli import CommandError, _command

if TYPE_CHECKING:
    from fasttune.cli import Commands
    from fasttune.plot.data import Experiment

STATIC = (".png", ".svg", ".pdf")
NEED_METRICS = ("pareto",)
WITHOUT_METRIC = ("timeline", "rungs")
WITH_PARAMS = ("parallel", "slices", "contour", "rank", "importances")


def add_report(commands: Commands[ArgumentParser]) -> None:
    parser = _command(commands, "report:report", "report", "write one page that tells what an experiment found and what it cost")
    parser.add_argument("path", metavar="EXP", help="folder of the experiment")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: report.html in the experiment's folder")
    _add_goal(parser)
    parser.add_argument("--metrics", type=_metrics, metavar="A=min,B=max", help="adds the Pareto front of these")


def add_plot(commands: Commands[ArgumentParser]) -> None:
    parser = _command(commands, "report:plot", "plot", "write one picture of an experiment")
    parser.add_argument("path", metavar="EXP", help="folder of the experiment")
    parser.add_argument("name", metavar="NAME", help="of the picture: history, curves, importances, ...; '?' names all")
    parser.add_argument("-o", "--output", metavar="FILE", help=".html, .png, .svg or .pdf; default NAME.html")
    _add_goal(parser)
    parser.add_argument("--metrics", type=_metrics, metavar="A=min,B=max", help="of the Pareto front")
    parser.add_argument("--params", type=_params, metavar="A,B", help="parameters of the picture; default: those of the space")


def _add_goal(parser: ArgumentParser) -> None:
    from fasttune.scope import SCOPES

    parser.add_argument("--metric", help="what trials are compared by; default: the experiment's")
    parser.add_argument("--mode", choices=("min", "max"), help="likewise")
    parser.add_argument("--scope", choices=SCOPES, help="which value of a trial says how good it is; likewise")


def _metrics(text: str) -> dict[str, str]:
    pairs = [part.rpartition("=") for part in text.split(",") if part.strip()]
    if not pairs or any(mode not in ("min", "max") or not name for name, _, mode in pairs):
        raise ArgumentTypeError(f"must be like loss=min,accuracy=max, got {text!r}")
    return {name.strip(): mode for name, _, mode in pairs}


def _params(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def report(asked: Namespace) -> int:
    """Write the page; its path goes to standard output."""
    experiment = _opened(asked.path)
    try:
        from fasttune.plot import report as write

        print(write(experiment, asked.output, metric=asked.metric, mode=asked.mode, scope=asked.scope, metrics=asked.metrics))
    except (ValueError, ImportError) as error:
        raise CommandError(str(error)) from error
    return 0


def plot(asked: Namespace) -> int:
    """Write the picture; its path goes to standard output."""
    from fasttune.plot import PICTURES

    if asked.name == "?":
        for name, picture in PICTURES.items():
            print(f"{name:<12}  {(picture.__doc__ or '').splitlines()[0]}")
        return 0
    if asked.name not in PICTURES:
        raise CommandError(f"there is no picture {asked.name!r}; there are {', '.join(PICTURES)}")
    output = os.path.abspath(os.path.expanduser(asked.output or f"{asked.name}.html"))
    ending = os.path.splitext(output)[1].lower()
    if ending not in (".html", *STATIC):
        raise CommandError(f"-o names a file that ends in .html, {', '.join(STATIC)}, got {os.path.basename(output)!r}")
    experiment = _opened(asked.path)
    try:
        figure = PICTURES[asked.name](
            experiment, **_arguments(asked), backend="matplotlib" if ending in STATIC else "plotly"
        )
    except (ValueError, ImportError) as error:
        raise CommandError(str(error)) from error
    if ending in STATIC:
        figure.savefig(output, dpi=130)
    else:
        figure.write_html(output, include_plotlyjs=True)
    print(output)
    return 0


def _arguments(asked: Namespace) -> dict[str, Any]:
    """What the picture takes of what was asked; CommandError for what it does not take."""
    goal = {name: value for name in ("metric", "mode", "scope") if (value := getattr(asked, name)) is not None}
    refused = []
    if asked.name in WITHOUT_METRIC:
        refused += [f"--{name}" for name in goal]
    if asked.name in NEED_METRICS:
        refused += [f"--{name}" for name in ("metric", "mode") if name in goal]
        if asked.metrics is None:
            raise CommandError(f"{asked.name} needs --metrics, e.g. --metrics loss=min,accuracy=max")
        goal["metrics"] = asked.metrics
    elif asked.metrics is not None:
        refused.append("--metrics")
    if asked.params is not None:
        if asked.name not in WITH_PARAMS:
            refused.append("--params")
        goal["params"] = asked.params
    if refused:
        raise CommandError(f"the picture {asked.name} takes no {', '.join(refused)}")
    return goal


def _opened(path: str) -> Experiment:
    """The experiment in a folder, as far as it is stored."""
    from fasttune.cli.experiments import opened

    source = opened(path)
    print(f"reading {len(source):,} trials of {source.path}", file=sys.stderr)
    from fasttune.analysis import ExperimentAnalysis
    from fasttune.plot.data import Experiment

    return Experiment(ExperimentAnalysis(source))
