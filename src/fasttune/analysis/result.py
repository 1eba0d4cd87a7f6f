"""Result: what one trial of an analysis has come to."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from fasttune.analysis.experiment_analysis import ExperimentAnalysis
from fasttune.checkpoint import Checkpoint
from fasttune.constraints import as_compared
from fasttune.error import TuneError
from fasttune.metric_values import whole_text
from fasttune.result import AUTO_RESULT_KEYS, DELIMITER, best_position, check_mode, flatten, number
from fasttune.trial import ERROR, Trial, trial_folder

if TYPE_CHECKING:
    import pandas as pd


class Result:
    """What one trial has come to: last metrics, checkpoints, error, folder, and every report as a frame."""

    def __init__(
        self,
        metrics: dict[str, Any] | None = None,
        checkpoint: Checkpoint | None = None,
        error: BaseException | None = None,
        path: str | None = None,
        metrics_dataframe: pd.DataFrame | Callable[[], pd.DataFrame] | None = None,
        best_checkpoints: list[tuple[Checkpoint, dict[str, Any]]] | None = None,
        *,
        config: dict[str, Any] | None = None,
        make_folder: bool = False,
        user_attrs: dict[str, Any] | None = None,
    ) -> None:
        """A callable ``metrics_dataframe`` is called when the frame is first looked at; ``make_folder`` makes
        the folder when ``path`` is."""
        self.metrics = metrics
        self.checkpoint = checkpoint
        self.error = error
        self.best_checkpoints = best_checkpoints
        self.user_attrs = user_attrs or {}
        self._path = path
        self._config = config
        self._make_folder = make_folder
        self._frame = metrics_dataframe

    @property
    def metrics_dataframe(self) -> pd.DataFrame | None:
        """Every report of the trial, one row each, names flattened with "/"."""
        if callable(self._frame):
            self._frame = self._frame()
        return self._frame

    @property
    def path(self) -> str | None:
        """The trial's folder."""
        if self._make_folder and self._path is not None and os.path.isdir(os.path.dirname(self._path)):
            with suppress(OSError):  # somebody else's read-only experiment can still be looked at
                os.makedirs(self._path, exist_ok=True)
        return self._path

    @property
    def config(self) -> dict[str, Any] | None:
        """The config that the trial ran with."""
        if self._config is None and self.metrics:
            found: dict[str, Any] | None = self.metrics.get("config")
            return found
        return self._config

    @property
    def filesystem(self) -> str:
        """Always "local": experiments lie on this machine's disk."""
        return "local"

    def get_best_checkpoint(self, metric: str, mode: str) -> Checkpoint | None:
        """The kept checkpoint whose report has the best ``metric``; NaN is worse than any number.

        Raises:
            ValueError: ``mode`` is neither "min" nor "max".
            RuntimeError: there is no checkpoint, or none of their reports has the metric.
        """
        check_mode(mode)
        if not self.best_checkpoints:
            raise RuntimeError(f"no checkpoint exists for the trial in {self._path}")
        told = [(as_compared(flatten(result), metric, mode), saved) for saved, result in self.best_checkpoints]
        scored = [(number(result.get(metric)), saved) for result, saved in told]
        known = [(score, saved) for score, saved in scored if score is not None]
        if not known:
            names = sorted({name for _, result in self.best_checkpoints for name in flatten(result)})
            raise RuntimeError(f"no checkpoint's report has metric {metric!r}; they have: {', '.join(names)}")
        return known[best_position([score for score, _ in known], mode)][1]

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> Result:
        """The result of the trial whose folder this is (a folder inside an experiment's folder)."""
        return result_from_path(path)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_frame": self.metrics_dataframe}

    def __repr__(self) -> str:
        return self._repr()

    def _repr_html_(self) -> str:
        from fasttune.html_table import facts_html, listed

        told = flatten(self.metrics or {})
        own = {k: v for k, v in told.items() if k not in AUTO_RESULT_KEYS and not k.startswith(f"config{DELIMITER}")}
        facts = [
            ("metrics", listed(own)),
            ("iteration", str(told.get("training_iteration", 0))),
            ("config", listed(flatten(self.config or {}))),
            ("folder", str(self._path)),
        ]
        if self.checkpoint is not None:
            facts.append(("checkpoint", repr(self.checkpoint)))
        if self.error is not None:
            facts.append(("error", f"{type(self.error).__name__}: {str(self.error)[:200]}"))
        return facts_html("Result", facts)

    def _repr(self, indent: int = 0) -> str:
        shown: dict[str, Any] = {"error": type(self.error).__name__} if self.error else {}
        if self.metrics:
            shown["metrics"] = {k: v for k, v in self.metrics.items() if k not in AUTO_RESULT_KEYS}
        else:
            shown["metrics"] = self.metrics
        shown.update(path=self._path, filesystem=self.filesystem, checkpoint=self.checkpoint)
        margin = " " * indent
        lines = ",\n".join(f"{margin}  {name}={value!r}" for name, value in shown.items())
        return f"{margin}{type(self).__name__}(\n{lines}\n{margin})"


def result_of(analysis: ExperimentAnalysis, trial: Trial) -> Result:
    """The Result of one of an analysis' trials. Makes no frame and no folder until it is asked."""
    source, i = analysis._source, trial.index
    saved: list[tuple[Checkpoint, dict[str, Any]]] = [
        (Checkpoint(one) if isinstance(one, str) else one, metrics) for one, metrics in source.checkpoints(i)
    ]
    return Result(
        metrics=trial.last_result,
        checkpoint=saved[-1][0] if saved else None,
        error=trial.get_error() if trial.status == ERROR else None,
        path=trial_folder(source, i),
        metrics_dataframe=partial(_frame, analysis, i),
        best_checkpoints=saved,
        config=trial.config,
        make_folder=True,
        user_attrs=trial.user_attrs,
    )


def _frame(analysis: ExperimentAnalysis, trial: int) -> pd.DataFrame:
    from fasttune.analysis.frames import trial_frame

    return trial_frame(analysis._columns, trial)


def result_from_path(path: str | os.PathLike[str]) -> Result:
    """The result of the trial whose folder this is.

    Raises:
        TuneError: no trial of the experiment in the folder above has this folder.
    """
    from fasttune.tables.trial_columns import TrialColumns

    folder = os.path.abspath(os.path.expanduser(os.fspath(path)))
    analysis = ExperimentAnalysis(os.path.dirname(folder))
    every = TrialColumns(analysis._source, range(len(analysis.trials)))
    at = (every.folders == whole_text(os.path.join(analysis.experiment_path, os.path.basename(folder)))).nonzero()[0]
    if len(at):
        return result_of(analysis, analysis.trials[int(at[0])])
    raise TuneError(
        f"{folder} is not the folder of a trial of the experiment in {analysis.experiment_path}; "
        "Result.from_path takes <experiment folder>/<trial folder>"
    )
