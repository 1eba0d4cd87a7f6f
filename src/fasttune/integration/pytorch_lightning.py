"""PyTorch Lightning: each validation is a report. Needs lightning 2.2 or newer, or pytorch-lightning.

Metrics are called as the module logs them: ``self.log("val_loss", ...)``. What is logged on epochs of training is there when
the epoch has ended, which is behind its validation: report ``on="train_epoch_end"`` if you need both at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from fasttune.checkpoint import Checkpoint
from fasttune.extras import installed, optional
from fasttune.integration.reports import (
    Metrics,
    ReportedMetrics,
    at_another_event,
    checked_events,
    checked_filename,
    path_in,
    report_with_files,
)

if "lightning" not in sys.modules and ("pytorch_lightning" in sys.modules or installed("lightning") is None):
    optional("pytorch_lightning", "lightning", "fasttune.integration.pytorch_lightning")
    from pytorch_lightning import Callback
else:
    optional("lightning", "lightning", "fasttune.integration.pytorch_lightning")
    from lightning.pytorch import Callback

# Saving calls these two, and an exception may be the very one that ended the trial.
NO_REPORTS_IN = {"on_save_checkpoint", "on_load_checkpoint", "on_exception"}
EVENTS = tuple(
    name.removeprefix("on_")
    for name in dir(Callback)
    if name.startswith("on_") and name not in NO_REPORTS_IN and callable(getattr(Callback, name))
)


class TuneReportCheckpointCallback(Callback):  # type: ignore[misc,unused-ignore]
    """For ``Trainer(callbacks=[...])``: reports the metrics that the module has logged, and saves what the trainer needs.

    A trial that is stopped ends inside of ``trainer.fit`` (StopTrial), behind Lightning's own clean-up of an exception. One
    that goes on does so by ``trainer.fit(model, ..., ckpt_path=get_path(tune.get_checkpoint()))``: weights, optimizers,
    epochs and steps are as they were. So is the learning rate in the optimizer's state: with population based training
    set the config's in the module's ``on_train_start``.

    Args:
        metrics: what to report: one of the names that are logged, several, or {name in the report: name that is logged}.
            None: all.
        filename: of Lightning's checkpoint in the trial's.
        save_checkpoints: False: report only.
        on: the event or events, without ``on_``: "validation_end", "train_epoch_end" and so on.

    Raises:
        MissingMetricError: at the end of ``fit``, if a metric has never been logged. Until then it is left out.
    """

    CHECKPOINT_NAME = "checkpoint"

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = CHECKPOINT_NAME,
        save_checkpoints: bool = True,
        on: str | Sequence[str] = "validation_end",
    ) -> None:
        super().__init__()
        self._metrics = ReportedMetrics(metrics, "Lightning")
        self._filename = checked_filename(filename)
        self._save_checkpoints = save_checkpoints
        self._on = checked_events(on, EVENTS, "Lightning")
        for event in self._on:
            if event != "fit_end":
                setattr(self, f"on_{event}", partial(self._at, event))

    @classmethod
    def get_path(cls, checkpoint: Checkpoint, filename: str = CHECKPOINT_NAME) -> str:
        """Where Lightning's own checkpoint is, for ``ckpt_path=`` and ``load_from_checkpoint``."""
        return path_in(checkpoint, filename)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Called by Lightning."""
        if "fit_end" in self._on:
            self._at("fit_end", trainer)
        self._metrics.check_all_came()

    def _at(self, event: str, trainer: Any, *arguments: Any, **keywords: Any) -> None:
        if trainer.sanity_checking:
            return
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        metrics = self._metrics(found, at_another_event)
        if metrics:
            report_with_files(metrics, partial(self._write, trainer) if self._save_checkpoints else None)

    def _write(self, trainer: Any, folder: str) -> None:
        trainer.save_checkpoint(os.path.join(folder, self._filename))


class TuneReportCallback(TuneReportCheckpointCallback):
    """As :class:`TuneReportCheckpointCallback`, without checkpoints."""

    def __init__(self, metrics: Metrics = None, on: str | Sequence[str] = "validation_end") -> None:
        super().__init__(metrics, save_checkpoints=False, on=on)
