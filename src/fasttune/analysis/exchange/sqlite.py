"""Both tables in an SQLite database, as ``ExperimentAnalysis.to_sqlite`` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasttune.analysis.experiment_analysis import ExperimentAnalysis


def write(analysis: ExperimentAnalysis, path: str) -> str:
    """Write the tables ``trials`` and ``reports``; a file that is there is replaced."""
    analysis.to_sqlite(path)
    return path
