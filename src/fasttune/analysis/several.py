"""Analysis: the trials of all experiments below a folder, together."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fasttune.analysis.experiment_analysis import ExperimentAnalysis
from fasttune.error import JournalError
from fasttune.folder import JOURNAL
from fasttune.result import check_mode
from fasttune.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

    from fasttune.checkpoint import Checkpoint


class Analysis:
    """The experiments in a folder and in the folders below it, as one set of trials.

    A trial's score is its best value ever of a metric. For one experiment ``ExperimentAnalysis`` says more.

    Args:
        experiment_dir: a folder of experiments, or one experiment's.
        default_metric, default_mode: used where a method's are not given.

    Raises:
        ValueError: there is no experiment.
    """

    def __init__(
        self,
        experiment_dir: str | os.PathLike[str],
        default_metric: str | None = None,
        default_mode: str | None = None,
    ) -> None:
        if default_mode is not None:
            check_mode(default_mode)
        self.default_metric = default_metric
        self.default_mode = default_mode
        root = os.path.abspath(os.path.expanduser(os.fspath(experiment_dir)))
        self.experiments = [one for folder in sorted(_experiments_below(root)) if (one := _opened(folder)) is not None]
        if not self.experiments:
            raise ValueError(f"there is no experiment in {root} or below; an experiment is a folder with {JOURNAL}")

    @property
    def trials(self) -> list[Trial]:
        """All trials, experiment by experiment in the order of their paths."""
        return [trial for one in self.experiments for trial in one.trials]

    def dataframe(self, metric: str | None = None, mode: str | None = None) -> pd.DataFrame:
        """One line per trial that reported, as of ``ExperimentAnalysis.dataframe``, with the folder of its ``experiment``.

        With a metric and a mode it is the line of the trial's best value; experiments that never had the metric have none.
        """
        import pandas as pd

        metric = metric or self.default_metric
        mode = mode or (self.default_mode if metric else None)
        frames, without = [], []
        for one in self.experiments:
            try:
                frame = one.dataframe(metric, mode)
            except ValueError as error:  # this experiment has another metric
                without.append(error)
            else:
                frames.append(frame.assign(experiment=one.experiment_path))
        if not frames:
            raise without[0]
        filled = [frame for frame in frames if len(frame)] or frames[:1]
        return pd.concat(filled, ignore_index=True)

    def get_best_trial(self, metric: str | None = None, mode: str | None = None) -> Trial | None:
        """The trial with the best value ever of a metric, the first of equals; None if no trial has a number there."""
        metric, mode = metric or self.default_metric, mode or self.default_mode
        if metric is None or mode is None:
            raise ValueError('give a metric and a mode: get_best_trial(metric="loss", mode="min")')
        frame = self.dataframe(metric, mode)
        scores = zip(frame[metric].astype(float).tolist(), frame["trial_id"].tolist(), strict=True)
        known = [(score, name) for score, name in scores if math.isfinite(score)]
        if not known:
            return None
        _, best = (max if mode == "max" else min)(known, key=lambda one: one[0])
        return next(trial for trial in self.trials if trial.trial_id == best)

    def get_best_config(self, metric: str | None = None, mode: str | None = None) -> dict[str, Any] | None:
        """The config of ``get_best_trial``."""
        best = self.get_best_trial(metric, mode)
        return best.config if best else None

    def get_best_logdir(self, metric: str | None = None, mode: str | None = None) -> str | None:
        """The folder of ``get_best_trial``."""
        best = self.get_best_trial(metric, mode)
        return best.logdir if best else None

    def get_all_configs(self, prefix: bool = False) -> dict[str, dict[str, Any]]:
        """Trial id -> config; with ``prefix`` its keys are "config/<key>"."""
        return {key: config for one in self.experiments for key, config in one.get_all_configs(prefix).items()}

    @cached_property
    def trial_dataframes(self) -> Mapping[str, pd.DataFrame]:
        """Trial id -> every report of the trial, one line each."""
        return {key: frame for one in self.experiments for key, frame in one.trial_dataframes.items()}

    def fetch_trial_dataframes(self) -> Mapping[str, pd.DataFrame]:
        """The same as ``trial_dataframes``."""
        return self.trial_dataframes

    def get_trial_checkpoints_paths(self, trial: Trial | str, metric: str | None = None) -> list[tuple[str, Any]]:
        """(checkpoint, value of the metric) of each checkpoint that is kept of a trial, oldest first."""
        return self._experiment_of(trial).get_trial_checkpoints_paths(trial, metric or self.default_metric)

    def get_best_checkpoint(
        self, trial: Trial | str, metric: str | None = None, mode: str | None = None
    ) -> Checkpoint | None:
        """The checkpoint of a trial with the best value of a metric."""
        return self._experiment_of(trial).get_best_checkpoint(
            trial, metric or self.default_metric, mode or self.default_mode
        )

    def get_last_checkpoint(
        self, trial: Trial | str, metric: str = "training_iteration", mode: str = "max"
    ) -> Checkpoint | None:
        """The latest checkpoint of a trial, or the one that is last by a metric."""
        return self._experiment_of(trial).get_last_checkpoint(trial, metric, mode)

    def _experiment_of(self, trial: Trial | str) -> ExperimentAnalysis:
        name = trial.trial_id if isinstance(trial, Trial) else trial
        for one in self.experiments:
            if any(other.trial_id == name for other in one.trials):
                return one
        raise ValueError(f"no trial {name!r} is in these {len(self.experiments)} experiments")

    def __repr__(self) -> str:
        trials = sum(len(one.trials) for one in self.experiments)
        return f"<Analysis of {len(self.experiments)} experiments, {trials} trials>"


def _opened(folder: str) -> ExperimentAnalysis | None:
    """The experiment in a folder; None, with a warning, for one that cannot be read: it hides no other."""
    try:
        return ExperimentAnalysis(folder)
    except JournalError as error:
        warnings.warn(f"passed over: {error}", RuntimeWarning, stacklevel=3)
        return None


def _experiments_below(root: str) -> Iterator[str]:
    """Folders that are experiments; what lies in one (its trials' folders) is not looked at."""
    for folder, below, files in os.walk(root):
        if JOURNAL in files:
            below.clear()
            yield folder
