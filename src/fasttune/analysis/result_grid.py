"""ResultGrid: the outcome of a Tuner, one Result per trial."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from fasttune.analysis.experiment_analysis import ExperimentAnalysis
from fasttune.analysis.result import Result, result_of
from fasttune.trial import ERROR, TERMINATED, Trial

if TYPE_CHECKING:
    import pandas as pd
    import polars
    import pyarrow

    from fasttune.plot import Plots

REPR_RESULTS = 100


class ResultGrid(Sequence[Result]):
    """The results of an experiment's trials, in their order. Each is made when it is looked at."""

    def __init__(self, experiment_analysis: ExperimentAnalysis) -> None:
        self._analysis = experiment_analysis

    @property
    def experiment_path(self) -> str:
        """The experiment's folder."""
        return self._analysis.experiment_path

    @property
    def interrupted(self) -> bool:
        """Whether the run was over before its trials were, see ``ExperimentAnalysis.interrupted``."""
        return self._analysis.interrupted

    @property
    def filesystem(self) -> str:
        """Always "local": experiments lie on this machine's disk."""
        return "local"

    @property
    def errors(self) -> list[BaseException]:
        """The errors of the trials that ended with one."""
        return self._analysis.errors

    @property
    def num_errors(self) -> int:
        """How many trials ended with an error."""
        return self._count(ERROR)

    @property
    def num_terminated(self) -> int:
        """How many trials ended without an error, by themselves or stopped."""
        return self._count(TERMINATED)

    def get_best_result(
        self,
        metric: str | None = None,
        mode: str | None = None,
        scope: str | None = None,
        filter_nan_and_inf: bool = True,
    ) -> Result:
        """The result of the best trial; the arguments are those of ``ExperimentAnalysis.get_best_trial``.

        It tells of the trial: its ``metrics`` are those of the last report, whatever the scope.

        Raises:
            ValueError: there are several trials, and metric or mode is neither given here nor in TuneConfig.
            RuntimeError: no trial has a usable value of the metric.
        """
        best = self._analysis.get_best_trial(metric, mode, scope, filter_nan_and_inf)
        if best is None:
            wanted = metric or self._analysis.default_metric
            raise RuntimeError(
                f"No best trial found for metric {wanted!r}: no trial reported a usable number for it. "
                "The usual causes are a misspelled name, trials that failed before their first report, "
                "and values that are all NaN or infinite (see filter_nan_and_inf)"
            )
        return self._result(best)

    @property
    def best_results(self) -> list[Result]:
        """The results of the trials that no other one beats in all of the run's metrics at once, see
        ``ExperimentAnalysis.best_trials``."""
        return [self._result(trial) for trial in self._analysis.best_trials]

    def get_dataframe(self, filter_metric: str | None = None, filter_mode: str | None = None) -> pd.DataFrame:
        """One line per trial: its last report, or that of its best ever value of ``filter_metric``."""
        return self._analysis.dataframe(metric=filter_metric, mode=filter_mode)

    def get_reports(self, metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """One line per report of all trials, see ``ExperimentAnalysis.reports``."""
        return self._analysis.reports(metrics)

    def to_arrow(self, table: str = "trials") -> pyarrow.Table:
        """``get_dataframe()`` ("trials") or ``get_reports()`` ("reports") as an Arrow table; needs pyarrow."""
        return self._analysis.to_arrow(table)

    def to_polars(self, table: str = "trials") -> polars.DataFrame:
        """The same as a Polars frame; needs polars."""
        return self._analysis.to_polars(table)

    def to_parquet(self, path: str | os.PathLike[str], table: str = "trials") -> None:
        """The same as a Parquet file, which takes the place of one that is there; needs pyarrow."""
        self._analysis.to_parquet(path, table)

    def export(self, path: str | os.PathLike[str], format: str | None = None, **options: Any) -> str:  # noqa: A002
        """Write the experiment in the form of another program, see ``ExperimentAnalysis.export``."""
        return self._analysis.export(path, format, **options)

    @property
    def user_attrs(self) -> dict[str, Any]:
        """What was attached to the run, see ``ExperimentAnalysis.user_attrs``."""
        return self._analysis.user_attrs

    @property
    def plot(self) -> Plots:
        """The pictures of the experiment, see ``ExperimentAnalysis.plot``."""
        return self._analysis.plot

    def report(self, path: str | os.PathLike[str] | None = None, **asked: Any) -> str:
        """Writes the report page and returns its path, see ``ExperimentAnalysis.report``."""
        return self._analysis.report(path, **asked)

    def __len__(self) -> int:
        return len(self._analysis.trials)

    @overload
    def __getitem__(self, position: int) -> Result: ...
    @overload
    def __getitem__(self, position: slice) -> list[Result]: ...
    def __getitem__(self, position: int | slice) -> Result | list[Result]:
        if isinstance(position, slice):
            return [self._result(trial) for trial in self._analysis.trials[position]]
        return self._result(self._analysis.trials[position])

    def __iter__(self) -> Iterator[Result]:
        return map(self._result, self._analysis.trials)

    def __repr__(self) -> str:
        shown = ",\n".join(result._repr(indent=2) for result in self[:REPR_RESULTS])
        rest = f",\n  and {len(self) - REPR_RESULTS} more" if len(self) > REPR_RESULTS else ""
        return f"ResultGrid<[\n{shown}{rest}\n]>"

    def _repr_html_(self) -> str:
        from fasttune.analysis.overview import overview_html

        return overview_html(self._analysis, os.path.basename(self.experiment_path))

    def _count(self, status: str) -> int:
        return self._analysis.status_counts().get(status, 0)

    def _result(self, trial: Trial) -> Result:
        return result_of(self._analysis, trial)
