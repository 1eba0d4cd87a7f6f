"""Keras: each epoch is a report. Needs keras 3.0 or newer, with whichever backend.

Metrics are called as in Keras' own logs: "loss", "accuracy", "val_loss".
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fasttune.checkpoint import Checkpoint
from fasttune.error import StopTrial
from fasttune.extras import optional
from fasttune.integration.reports import (
    Metrics,
    ReportedMetrics,
    checked_events,
    checked_filename,
    checked_frequency,
    path_in,
    report_with_files,
)

optional("keras", "keras", "fasttune.integration.keras")

from keras.callbacks import Callback  # noqa: E402
from keras.models import Model, load_model  # noqa: E402

EPOCH = "epoch"  # in a checkpoint's metadata: so many epochs are done

EVENTS = tuple(
    f"{what}_{when}"
    for what in ("epoch", "train", "train_batch", "test", "test_batch", "predict", "predict_batch")
    for when in ("begin", "end")
)


class _ReportingCallback(Callback):  # type: ignore[misc,unused-ignore]
    """Reports at some of Keras' events, and saves at every so many-th of them.

    When the trial is stopped within ``fit``, Keras is told so (``model.stop_training``): the ends of all callbacks run, and
    ``fit`` raises StopTrial at its end. Callbacks behind this one in the list miss that.
    """

    CHECKPOINT_NAME = "checkpoint.keras"

    def __init__(self, metrics: Metrics, filename: str, frequencies: Mapping[str, int]) -> None:
        super().__init__()
        self._metrics = ReportedMetrics(metrics, "Keras")
        self._filename = checked_filename(filename, (".keras", ".h5"))
        self._frequencies = dict(frequencies)  # event -> so many of them to a checkpoint, 0: none
        self._counts = dict.fromkeys(frequencies, 0)
        self._due = False  # a checkpoint goes along with the next report
        self._epochs = 0  # that are done
        self._fits = False
        self._stopped: StopTrial | None = None
        for event in frequencies:
            if f"on_{event}" not in _ReportingCallback.__dict__:
                # only where it was asked for: callbacks of batches cost Keras its asynchronous dispatch
                setattr(self, f"on_{event}", partial(self._at, event))

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = CHECKPOINT_NAME, **keywords: Any) -> Model:
        """The model of a checkpoint that such a callback has reported, with the state of its optimizer.

        ``keywords`` (``custom_objects``, ``compile``, ``safe_mode``) are those of ``keras.models.load_model``.
        """
        return load_model(path_in(checkpoint, filename), **keywords)

    @staticmethod
    def get_epoch(checkpoint: Checkpoint) -> int:
        """How many epochs were done when it was saved: the ``initial_epoch`` of the ``fit`` that goes on from it."""
        return int(checkpoint.get_metadata().get(EPOCH, 0))

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._fits, self._stopped = True, None
        self._at("train_begin", logs)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._epochs = epoch
        self._at("epoch_begin", logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._epochs = epoch + 1
        self._at("epoch_end", logs)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._fits = False
        if self._stopped is not None:
            raise self._stopped
        self._at("train_end", logs)
        self._metrics.check_all_came()

    def _at(self, event: str, *arguments: Any, logs: Mapping[str, Any] | None = None) -> None:
        """An event; its logs are the last argument, or named."""
        frequency = self._frequencies.get(event)
        if frequency is None or self._stopped is not None:
            return
        self._counts[event] += 1
        self._due |= frequency > 0 and self._counts[event] % frequency == 0
        found = (logs if logs is not None else arguments[-1] if arguments else None) or {}
        metrics = self._metrics(found, partial(_comes_later, found))
        if not metrics:
            return
        write, self._due = (self._write if self._due else None), False
        try:
            report_with_files(metrics, write, {EPOCH: self._epochs})
        except StopTrial as stop:
            if not self._fits:
                raise
            self._stopped = stop
            self.model.stop_training = True

    def _write(self, folder: str) -> None:
        self.model.save(os.path.join(folder, self._filename))


class TuneReportCallback(_ReportingCallback):
    """For ``model.fit(..., callbacks=[...])``, last in the list: reports what Keras logs.

    Args:
        metrics: what to report: one of Keras' names ("val_loss"), several, or {name in the report: Keras' name}. None: all.
        on: the event or events, without ``on_``: "epoch_end", "train_batch_end", "test_end" and so on.

    Raises:
        MissingMetricError: in the first epoch, if a metric is not among those that Keras brings; at the end of ``fit``, if it
            is one of validation data ("val_...") and there were none.
    """

    def __init__(self, metrics: Metrics = None, on: str | Sequence[str] = "epoch_end") -> None:
        events = checked_events(on, EVENTS, "Keras")
        super().__init__(metrics, self.CHECKPOINT_NAME, dict.fromkeys(events, 0))


class TuneReportCheckpointCallback(_ReportingCallback):
    """As :class:`TuneReportCallback`, and saves the model, with the state of its optimizer.

    A trial goes on by ``model = callback.get_model(checkpoint)`` in place of a new model, and
    ``model.fit(..., initial_epoch=callback.get_epoch(checkpoint))``. The model comes with the learning rate that it had.

    Args:
        metrics, on: see :class:`TuneReportCallback`.
        filename: of the model in the checkpoint; it ends in ".keras" (or ".h5").
        frequency: save with every so many-th event; a list has one number for each event of ``on``. 0: never.
    """

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = _ReportingCallback.CHECKPOINT_NAME,
        frequency: int | Sequence[int] = 1,
        on: str | Sequence[str] = "epoch_end",
    ) -> None:
        events = checked_events(on, EVENTS, "Keras")
        each = list(frequency) if isinstance(frequency, Sequence) else [frequency] * len(events)
        if len(each) != len(events):
            raise ValueError(f"frequency must have a number for each event of on={on!r}, got {frequency!r:.80}")
        super().__init__(metrics, filename, {event: checked_frequency(n) for event, n in zip(events, each, strict=True)})


class ReportCheckpointCallback(_ReportingCallback):
    """As :class:`TuneReportCheckpointCallback`, under the name and with the arguments of Ray 2.

    Args:
        checkpoint_on: the events at which the model is saved; each is also a report.
        report_metrics_on: the events at which is reported only.
        metrics: see :class:`TuneReportCallback`.
    """

    def __init__(
        self,
        checkpoint_on: str | Sequence[str] = "epoch_end",
        report_metrics_on: str | Sequence[str] = "epoch_end",
        metrics: Metrics = None,
    ) -> None:
        reports = checked_events(report_metrics_on, EVENTS, "Keras")
        saves = checked_events(checkpoint_on, EVENTS, "Keras")
        super().__init__(metrics, self.CHECKPOINT_NAME, {**dict.fromkeys(reports, 0), **dict.fromkeys(saves, 1)})


def _comes_later(found: Mapping[str, Any], name: str) -> bool:
    """Whether it is no wonder that a metric is not there: no validation has been made at this event."""
    return not found or (name.startswith("val_") and not any(other.startswith("val_") for other in found))
