"""plot: single pictures of an experiment."""

from __future__ import annotations

import argparse
import os
from typing import Any

from fasttune.cli import CommandError
from fasttune.cli import arguments as common
from fasttune.cli.report import metrics, to_draw

EXAMPLES = """\
  fasttune plot latest ?                                which pictures there are
  fasttune plot mnist history                           history.html
  fasttune plot mnist importances -o importances.svg
  fasttune plot mnist slices --params lr,layers
  fasttune plot mnist pareto --metrics loss=min,seconds=min"""

STATIC = (".png", ".svg", ".pdf")
NEED_METRICS = ("pareto", "hypervolume")
WITHOUT_METRIC = ("timeline", "rungs")
WITH_PARAMS = ("parallel", "slices", "contour", "rank", "importances")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)
    parser.add_argument("name", metavar="NAME", help="of the picture: history, curves, importances, ...; '?' names all")
    parser.add_argument("-o", "--output", metavar="FILE", help=".html, .png, .svg or .pdf; default NAME.html")
    common.goal(parser)
    parser.add_argument(
        "--metrics", type=metrics, metavar="A=min,B=max", help="of the Pareto front; default: those of a run with several"
    )
    parser.add_argument(
        "--params", type=common.names, metavar="A,B", help="parameters of the picture; default: those of the space"
    )


def run(asked: argparse.Namespace) -> int:
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
    told = told_to(asked)
    experiment = to_draw(asked.experiment)
    if asked.name in NEED_METRICS and asked.metrics is None and not experiment.analysis.objectives:
        raise CommandError(f"{asked.name} needs --metrics, e.g. --metrics loss=min,accuracy=max")
    try:
        figure = PICTURES[asked.name](experiment, **told, backend="matplotlib" if ending in STATIC else "plotly")
    except (ValueError, ImportError) as error:
        raise CommandError(str(error)) from error
    if ending in STATIC:
        figure.savefig(output, dpi=130)
    else:
        figure.write_html(output, include_plotlyjs=True)
    print(output)
    return 0


def told_to(asked: argparse.Namespace) -> dict[str, Any]:
    """What the picture takes of what was asked; CommandError for what it does not take."""
    goal = {name: value for name in ("metric", "mode", "scope") if (value := getattr(asked, name)) is not None}
    refused = []
    if asked.name in WITHOUT_METRIC:
        refused += [f"--{name}" for name in goal]
    if asked.name in NEED_METRICS:
        refused += [f"--{name}" for name in ("metric", "mode") if name in goal]
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
