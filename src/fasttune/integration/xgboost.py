"""XGBoost: each boosting round is a report. Needs xgboost 2.0 or newer (package ``xgboost`` or ``xgboost-cpu``).

Metrics are called as in XGBoost's own log: the name of the data in ``evals`` and the metric, "valid-logloss". Of
``xgboost.cv``: "test-logloss-mean" and "test-logloss-std".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fasttune.checkpoint import Checkpoint
from fasttune.extras import optional
from fasttune.integration.reports import (
    Metrics,
    Postprocess,
    ReportedMetrics,
    checked_filename,
    checked_frequency,
    path_in,
    report_with_files,
    save_behind,
)

optional("xgboost", "xgboost", "fasttune.integration.xgboost")

from xgboost import Booster  # noqa: E402
from xgboost.callback import TrainingCallback  # noqa: E402


class TuneReportCheckpointCallback(TrainingCallback):
    """For ``callbacks=[...]`` of ``xgboost.train`` and of the scikit-learn classes: reports each round, and saves the model.

    A trial that is stopped ends inside of ``train`` (StopTrial). One that goes on does so by
    ``xgboost.train(..., num_boost_round=those_left, xgb_model=get_model(tune.get_checkpoint()))``.

    Args:
        metrics: what to report: one of XGBoost's names ("valid-logloss"), several, or {name in the report: XGBoost's name}.
            None: all.
        filename: of the model in the checkpoint; the ending tells the format: ".ubj", ".json".
        frequency: save with every so many-th round, counted over all rounds of the model; 0: not while it trains.
        checkpoint_at_end: save what has been trained to the end; it belongs to the last report.
        results_postprocessing_fn: takes the dict of what would be reported, and returns what is.

    Raises:
        MissingMetricError: in the first round, if a metric is not among those that XGBoost brings.
        ValueError: if ``xgboost.cv`` is to save: it has a model for each fold.
    """

    CHECKPOINT_NAME = "model.ubj"

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = CHECKPOINT_NAME,
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Postprocess | None = None,
    ) -> None:
        super().__init__()
        self._metrics = ReportedMetrics(metrics, "XGBoost", results_postprocessing_fn)
        self._filename = checked_filename(filename)
        self._frequency = checked_frequency(frequency)
        self._checkpoint_at_end = checkpoint_at_end
        self._saved = -1  # rounds of the model that was saved last

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = CHECKPOINT_NAME) -> Booster:
        """The model of a checkpoint that such a callback has reported."""
        return Booster(model_file=path_in(checkpoint, filename))

    def before_training(self, model: Any) -> Any:
        """Called by XGBoost."""
        self._saved = -1
        if (self._frequency or self._checkpoint_at_end) and not isinstance(model, Booster):
            raise ValueError(
                "xgboost.cv has a model for each fold, and none that could be a checkpoint: use TuneReportCallback, or "
                "frequency=0 and checkpoint_at_end=False"
            )
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, list[Any]]]) -> bool:
        """Called by XGBoost after each round."""
        metrics = self._metrics(last_of(evals_log))
        if self._frequency and (rounds := model.num_boosted_rounds()) % self._frequency == 0:
            self._saved = rounds
            report_with_files(metrics, lambda folder: self._write(model, folder))
        else:
            report_with_files(metrics)
        return False

    def after_training(self, model: Any) -> Any:
        """Called by XGBoost when all rounds are done, or another callback has ended them."""
        if self._checkpoint_at_end and model.num_boosted_rounds() != self._saved:
            save_behind(lambda folder: self._write(model, folder))
        return model

    def _write(self, model: Any, folder: str) -> None:
        model.save_model(os.path.join(folder, self._filename))


class TuneReportCallback(TuneReportCheckpointCallback):
    """As :class:`TuneReportCheckpointCallback`, without checkpoints."""

    def __init__(self, metrics: Metrics = None, results_postprocessing_fn: Postprocess | None = None) -> None:
        super().__init__(
            metrics, checkpoint_at_end=False, results_postprocessing_fn=results_postprocessing_fn
        )


def last_of(evals_log: Mapping[str, Mapping[str, list[Any]]]) -> dict[str, float]:
    """The last value of each metric, under its flat name. ``xgboost.cv`` has (mean, deviation) in the place of a number."""
    flat: dict[str, float] = {}
    for data, metrics in evals_log.items():
        for metric, values in metrics.items():
            if isinstance(values[-1], tuple):
                flat[f"{data}-{metric}-mean"], flat[f"{data}-{metric}-std"] = map(float, values[-1])
            else:
                flat[f"{data}-{metric}"] = float(values[-1])
    return flat
