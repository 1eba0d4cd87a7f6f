"""Looking at a large experiment: its frames, all its reports, the rows of ``fasttune ls``, the table of a notebook.

20,000 trials of 10 reports by default; FASTTUNE_BENCH_TRIALS=1000000 for a large one. ``benchmarks/analysis_size.py`` prints
the same beside Parquet and Optuna, each figure from a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.analysis_size import made

import fasttune as tune
from fasttune.cli.listing import RowFilter, places_of
from fasttune.cli.trials import TrialTable
from fasttune.engine.opening import open_records

TRIALS = int(os.environ.get("FASTTUNE_BENCH_TRIALS", "20000"))

LOOKS: dict[str, Callable[[Any], Any]] = {
    "open": lambda analysis: analysis,
    "dataframe": lambda analysis: analysis.dataframe(),
    "best_lines": lambda analysis: analysis.dataframe("loss", "min"),
    "results_df": lambda analysis: analysis.results_df,
    "reports": lambda analysis: analysis.reports(),
    "html": lambda analysis: analysis._repr_html_(),
}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("large"), TRIALS)


@pytest.mark.benchmark(group=f"opening {TRIALS:,} trials of 10 reports, and a look")
@pytest.mark.parametrize("what", list(LOOKS))
def bench_look(benchmark: Any, experiment: Path, what: str) -> None:
    benchmark.pedantic(lambda: LOOKS[what](tune.ExperimentAnalysis(str(experiment))), rounds=3, warmup_rounds=1)


@pytest.mark.benchmark(group=f"opening {TRIALS:,} trials of 10 reports, and a look")
def bench_ls(benchmark: Any, experiment: Path) -> None:
    wanted = RowFilter(None, ["loss"], False, [], 3, None, False, False)

    def listed() -> Any:
        table = TrialTable(open_records(str(experiment)))
        return table.take(places_of(table, wanted, table.names)[:3])

    assert len(benchmark.pedantic(listed, rounds=3, warmup_rounds=1)) == 3
