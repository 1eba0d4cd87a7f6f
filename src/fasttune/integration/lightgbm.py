"""LightGBM: each boosting round is a report. Needs lightgbm 4.0 or newer.

Metrics are called by the name of the data in ``valid_names`` and the metric, "valid-binary_logloss"; with LightGBM's own
names "valid_0-auc". Of ``lightgbm.cv``: "valid-auc-mean" and "valid-auc-stdv".
"""

from __future__ import annotations

import os
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
)

optional("lightgbm", "lightgbm", "fasttune.integration.lightgbm")

from lightgbm import Booster  # noqa: E402
from lightgbm.callback import CallbackEnv  # noqa: E402


class TuneReportCheckpointCallback:
    """For ``callbacks=[...]`` of ``lightgbm.train`` and of the scikit-learn classes: reports each round, and saves the model.

    A trial that is stopped ends inside of ``train`` (StopTrial). One that goes on does so by
    ``lightgbm.train(..., num_boost_round=those_left, init_model=get_model(tune.get_checkpoint()))``.

    Args:
        metrics: what to report: one of LightGBM's names ("valid-auc"), several, or {name in the report: LightGBM's name}.
            None: all.
        filename: of the model in the checkpoint.
        frequency: save with every so many-th round, counted over all rounds of the model; 0: not while it trains.
        checkpoint_at_end: save with the last round of ``num_boost_round``. LightGBM does not tell callbacks that another one
            (``early_stopping``) ends the training before: save by ``frequency`` then.
        results_postprocessing_fn: takes the dict of what would be reported, and returns what is.

    Raises:
        MissingMetricError: in the first round, if a metric is not among those that LightGBM brings.
        ValueError: if ``lightgbm.cv`` is to save: it has a model for each fold.
    """

    CHECKPOINT_NAME = "model.txt"

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = CHECKPOINT_NAME,
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Postprocess | None = None,
    ) -> None:
        self._metrics = ReportedMetrics(metrics, "LightGBM", results_postprocessing_fn)
        self._filename = checked_filename(filename)
        self._frequency = checked_frequency(frequency)
        self._checkpoint_at_end = checkpoint_at_end

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = CHECKPOINT_NAME) -> Booster:
        """The model of a checkpoint that such a callback has reported."""
        return Booster(model_file=path_in(checkpoint, filename))

    def __call__(self, env: CallbackEnv) -> None:
        """Called by LightGBM after each round."""
        metrics = self._metrics(measured(env))
        at_end = self._checkpoint_at_end and env.iteration == env.end_iteration - 1
        if at_end or (self._frequency and (env.iteration + 1) % self._frequency == 0):
            report_with_files(metrics, lambda folder: self._write(env.model, folder))
        else:
            report_with_files(metrics)

    def _write(self, model: Any, folder: str) -> None:
        if not isinstance(model, Booster):
            raise ValueError(
                "lightgbm.cv has a model for each fold, and none that could be a checkpoint: use TuneReportCallback, or "
                "frequency=0 and checkpoint_at_end=False"
            )
        model.save_model(os.path.join(folder, self._filename), num_iteration=-1)  # all rounds, not the best ones only


class TuneReportCallback(TuneReportCheckpointCallback):
    """As :class:`TuneReportCheckpointCallback`, without checkpoints."""

    def __init__(self, metrics: Metrics = None, results_postprocessing_fn: Postprocess | None = None) -> None:
        super().__init__(
            metrics, checkpoint_at_end=False, results_postprocessing_fn=results_postprocessing_fn
        )


def measured(env: CallbackEnv) -> dict[str, float]:
    """What was measured after a round, under flat names. ``lightgbm.cv`` has a deviation behind each mean."""
    flat: dict[str, float] = {}
    for data, metric, value, _, *deviation in env.evaluation_result_list or ():
        if deviation and deviation[0] is not None:
            flat[f"{data}-{metric}-mean"], flat[f"{data}-{metric}-stdv"] = float(value), float(deviation[0])
        else:
            flat[f"{data}-{metric}"] = float(value)
    return flat
