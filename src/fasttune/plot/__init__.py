"""Pictures of experiments, and the report page: ``fasttune.plot.history(analysis)``, ``analysis.plot.history()``.

A picture is made in three steps, each in the file of its family: ``..._data`` computes values with numpy,
``..._chart`` says in plain values what is drawn where, and a drawer (plotly or matplotlib) draws it.
"""

from __future__ import annotations

from fasttune.plot.curves import curves as curves
from fasttune.plot.front import hypervolume as hypervolume
from fasttune.plot.front import pareto as pareto
from fasttune.plot.history import edf as edf
from fasttune.plot.history import history as history
from fasttune.plot.importances import importance_table as importance_table
from fasttune.plot.importances import importances as importances
from fasttune.plot.lineage import lineage as lineage
from fasttune.plot.page import report as report
from fasttune.plot.parallel import parallel as parallel
from fasttune.plot.pictures import PICTURES as PICTURES
from fasttune.plot.pictures import Plots as Plots
from fasttune.plot.rungs import rungs as rungs
from fasttune.plot.slices import contour as contour
from fasttune.plot.slices import rank as rank
from fasttune.plot.slices import slices as slices
from fasttune.plot.workers import timeline as timeline

__all__ = [
    "PICTURES",
    "Plots",
    "contour",
    "curves",
    "edf",
    "history",
    "hypervolume",
    "importance_table",
    "importances",
    "lineage",
    "parallel",
    "pareto",
    "rank",
    "report",
    "rungs",
    "slices",
    "timeline",
]
