"""CatBoost: each boosting round is a report. Needs catboost 1.2 or newer.

Metrics are called by CatBoost's name of the data and the metric: "learn-Logloss", "validation-AUC" ("validation_0-AUC" and
so on with several sets).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from fasttune import trial_context
from fasttune.checkpoint import Checkpoint
from fasttune.error import StopTrial
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

optional("catboost", "catboost", "fasttune.integration.catboost")

from catboost import CatBoost  # noqa: E402

NOT_IN_PIECES = (
    "callbacks",
    "early_stopping_rounds",
    "od_pval",
    "od_wait",
    "save_snapshot",
    "snapshot_file",
    "snapshot_interval",
    "use_best_model",
)


class TuneReportCallback:
    """For ``fit(..., callbacks=[...])``: reports each round.

    A trial that is stopped ends its training in the CatBoost way: ``fit`` returns with the trees that it has. What the
    function reports behind it does not count: ``tune.report`` raises StopTrial there.

    Args:
        metrics: what to report: one of CatBoost's names ("validation-Logloss"), several, or {name in the report: CatBoost's
            name}. None: all.
        results_postprocessing_fn: takes the dict of what would be reported, and returns what is.

    Raises:
        MissingMetricError: in the first round, if a metric is not among those that CatBoost brings; ``fit`` raises it as a
            CatBoostError with its text.
    """

    def __init__(self, metrics: Metrics = None, results_postprocessing_fn: Postprocess | None = None) -> None:
        self._metrics = ReportedMetrics(metrics, "CatBoost", results_postprocessing_fn)

    def after_iteration(self, info: Any) -> bool:
        """Called by CatBoost after each round; False ends the training, because what is raised would not come out as it is."""
        context = trial_context.current_context()
        try:
            report_with_files(self._metrics(last_of(info.metrics)))
        except StopTrial:
            return False
        return context is None or not context.over


class TuneReportCheckpointCallback:
    """Trains in pieces, with a checkpoint behind each: ``callback.fit(model, x, y, eval_set=...)`` in place of ``model.fit``.

    CatBoost shows its callbacks no model, so that none of them can save one: the training ends every ``frequency`` rounds,
    the model is saved, and the next piece goes on from it (``init_model``). Each piece reads the data again: a frequency
    of 1 makes small trainings slow. A trial that is stopped ends inside of ``fit`` (StopTrial). One that goes on does so by
    ``callback.fit(model, ..., init_model=get_model(tune.get_checkpoint()))``: its rounds count among ``iterations``.

    Args:
        metrics: what to report: one of CatBoost's names ("validation-Logloss"), several, or {name in the report: CatBoost's
            name}. None: all.
        filename: of the model in the checkpoint.
        frequency: rounds in a piece; 0: one piece of all rounds.
        checkpoint_at_end: save with the last round.
        results_postprocessing_fn: takes the dict of what would be reported, and returns what is.
    """

    CHECKPOINT_NAME = "model.cbm"

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = CHECKPOINT_NAME,
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Postprocess | None = None,
    ) -> None:
        self._metrics = ReportedMetrics(metrics, "CatBoost", results_postprocessing_fn)
        self._filename = checked_filename(filename)
        self._frequency = checked_frequency(frequency)
        self._checkpoint_at_end = checkpoint_at_end

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = CHECKPOINT_NAME) -> CatBoost:
        """The model of a checkpoint that such a callback has reported, as a plain ``CatBoost``."""
        return CatBoost().load_model(path_in(checkpoint, filename))

    def after_iteration(self, info: Any) -> bool:
        """Raises: this is not for ``callbacks=[...]``."""
        raise TypeError(
            "CatBoost shows its callbacks no model to save: call callback.fit(model, x, y, ...) in place of "
            "model.fit(..., callbacks=[callback]), or use TuneReportCallback"
        )

    def fit(self, model: CatBoost, *arguments: Any, init_model: CatBoost | None = None, **keywords: Any) -> CatBoost:
        """Train as ``model.fit(*arguments, **keywords)`` does, and return the trained model; ``model`` itself is not trained.

        ``iterations`` of the model counts the rounds of ``init_model`` too. The trained model has all rounds, not the best
        ones only.

        Raises:
            ValueError: for arguments that a training in pieces has no use for: early stopping, snapshots, callbacks.
            MissingMetricError: in the first round, if a metric is not among those that CatBoost brings.
        """
        self._check(model, keywords)
        total = rounds_of(model)
        done = 0 if init_model is None else init_model.tree_count_
        trained = init_model
        while done < total:
            rounds = min(total - done, self._frequency - done % self._frequency if self._frequency else total - done)
            trained = self._piece(model, rounds, trained, done + rounds == total, arguments, keywords)
            if trained.tree_count_ < done + rounds:  # CatBoost itself sees no use in more
                break
            done += rounds
        if trained is None:
            raise ValueError(f"iterations must be >= 1, got {total}")
        return trained

    def _piece(
        self, model: CatBoost, rounds: int, before: CatBoost | None, last: bool, arguments: Any, keywords: Any
    ) -> CatBoost:
        piece = type(model)(**{**without_rounds(model), "iterations": rounds, "use_best_model": False})
        reports = _PieceReports(self._metrics, rounds)
        piece.fit(*arguments, init_model=before, callbacks=[reports], **keywords)
        if reports.raised is not None:
            raise reports.raised
        if reports.held is not None:
            due = self._frequency > 0 and piece.tree_count_ % self._frequency == 0
            save = due or (last and self._checkpoint_at_end)
            report_with_files(reports.held, partial(self._write, piece) if save else None)
        return piece

    def _write(self, model: CatBoost, folder: str) -> None:
        model.save_model(os.path.join(folder, self._filename))

    def _check(self, model: CatBoost, keywords: Mapping[str, Any]) -> None:
        given = {**model.get_params(), **keywords}
        for name in NOT_IN_PIECES:
            if given.get(name):
                raise ValueError(
                    f"{name}={given[name]!r:.80} is not for a training in pieces: the scheduler of the run stops a trial, and "
                    "its checkpoints are the snapshots"
                )


class _PieceReports:
    """Reports the rounds of a piece as they come, and keeps the last one until there is a model that goes with it."""

    def __init__(self, metrics: ReportedMetrics, rounds: int) -> None:
        self._metrics = metrics
        self._rounds = rounds
        self._done = 0
        self.held: dict[str, Any] | None = None
        self.raised: BaseException | None = None

    def after_iteration(self, info: Any) -> bool:
        self._done += 1
        try:
            metrics = self._metrics(last_of(info.metrics))
            if self._done < self._rounds:
                report_with_files(metrics)
            else:
                self.held = metrics
        except BaseException as error:  # CatBoost would make a CatBoostError of it, also of a StopTrial
            self.raised = error
            return False
        return True


def last_of(metrics: Mapping[str, Mapping[str, list[float]]]) -> dict[str, float]:
    """The last value of each metric, under its flat name."""
    return {
        f"{data}-{metric}": float(values[-1]) for data, of_data in metrics.items() for metric, values in of_data.items() if values
    }


ROUNDS = ("iterations", "n_estimators", "num_boost_round", "num_trees")
DEFAULT_ROUNDS = 1000  # of CatBoost


def rounds_of(model: CatBoost) -> int:
    """How many rounds the model is to be trained, by whichever name it was given."""
    parameters = model.get_params()
    return int(next((parameters[name] for name in ROUNDS if parameters.get(name) is not None), DEFAULT_ROUNDS))


def without_rounds(model: CatBoost) -> dict[str, Any]:
    """The model's parameters, but for the number of rounds."""
    return {name: value for name, value in model.get_params().items() if name not in ROUNDS}
