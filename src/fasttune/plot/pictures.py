"""The pictures by name: what ``analysis.plot``, the command line and their errors know of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fasttune.plot.curves import curves
from fasttune.plot.front import hypervolume, pareto
from fasttune.plot.history import edf, history
from fasttune.plot.importances import importances
from fasttune.plot.lineage import lineage
from fasttune.plot.parallel import parallel
from fasttune.plot.rungs import rungs
from fasttune.plot.slices import contour, rank, slices
from fasttune.plot.workers import timeline

if TYPE_CHECKING:
    from fasttune.analysis.experiment_analysis import ExperimentAnalysis

# The one place where a picture is registered: ``analysis.plot``, the command line and their errors read it.
PICTURES: dict[str, Callable[..., Any]] = {
    one.__name__: one
    for one in (history, curves, parallel, slices, contour, rank, edf, importances, timeline, rungs, lineage, pareto, hypervolume)
}


class Plots:
    """The pictures of one analysis, by name: ``analysis.plot.history()``. ``dir()`` lists them."""

    def __init__(self, analysis: ExperimentAnalysis) -> None:
        self._analysis = analysis

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in PICTURES:
            raise AttributeError(f"there is no picture {name!r}; there are {', '.join(PICTURES)}")
        return partial(PICTURES[name], self._analysis)

    def __dir__(self) -> list[str]:
        return list(PICTURES)

    def __repr__(self) -> str:
        return f"<pictures of {self._analysis!r}: {', '.join(PICTURES)}>"
