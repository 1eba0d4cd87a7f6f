"""A table as a Parquet file, as ``ExperimentAnalysis.to_parquet`` writes it. Needs pyarrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasttune.analysis.exchange.tables import table_of

if TYPE_CHECKING:
    from fasttune.analysis.experiment_analysis import ExperimentAnalysis


def write(analysis: ExperimentAnalysis, path: str, *, table: str = "trials") -> str:
    """Write one table; a file that is there is replaced."""
    from fasttune.analysis.exports import to_parquet

    to_parquet(table_of(analysis, table), path)
    return path
