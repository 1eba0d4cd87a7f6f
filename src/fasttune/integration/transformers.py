"""Hugging Face Transformers: each evaluation of the ``Trainer`` is a report. Needs transformers 4.41 or newer.

Metrics are called as in the trainer's log: "loss", "eval_loss", "eval_accuracy", "learning_rate".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from fasttune.checkpoint import Checkpoint
from fasttune.error import StopTrial
from fasttune.extras import optional
from fasttune.integration.reports import (
    Metrics,
    ReportedMetrics,
    at_another_event,
    checked_events,
    checked_filename,
    path_in,
    report_with_files,
)

optional("transformers", "transformers", "fasttune.integration.transformers")

from transformers import TrainerCallback  # noqa: E402

EVENTS = ("evaluate", "log", "save")


class _ReportingCallback(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """What both callbacks do: they report the newest value of each metric in the trainer's log.

    When the trial is stopped the trainer is told so: it ends as after its last step, with the ends of its callbacks, and
    ``train`` raises StopTrial there. No code of the trial behind ``train`` runs.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = ReportedMetrics(metrics, "the Trainer")
        self._stopped: StopTrial | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        """Called by the trainer."""
        self._stopped = None

    def on_train_end(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        """Called by the trainer."""
        if self._stopped is not None:
            raise self._stopped
        self._metrics.check_all_came()

    def _report(self, state: Any, control: Any, folder: str | None = None, filename: str = "") -> None:
        found: dict[str, Any] = {}
        for entry in state.log_history:
            found.update(entry)
        metrics = self._metrics(found, at_another_event)
        if not metrics or self._stopped is not None:
            return
        try:
            report_with_files(metrics, None if folder is None else partial(_link, folder, filename))
        except StopTrial as stop:
            self._stopped = stop
            control.should_training_stop = control.should_epoch_stop = True
            control.should_evaluate = control.should_save = False


class TuneReportCallback(_ReportingCallback):
    """For ``Trainer(callbacks=[...])``: reports the trainer's log.

    Args:
        metrics: what to report: one of the names in the log ("eval_loss"), several, or {name in the report: name in the log}.
            None: all.
        on: when: "evaluate" (after each evaluation), "log" (also after each log of the training) or "save"; or several.

    Raises:
        MissingMetricError: at the end of ``train``, if a metric has never been in the log. Until then it is left out.
    """

    def __init__(self, metrics: Metrics = None, on: str | Sequence[str] = "evaluate") -> None:
        super().__init__(metrics)
        self._on = checked_events(on, EVENTS, "the Trainer")

    def on_evaluate(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        """Called by the trainer."""
        if "evaluate" in self._on and "log" not in self._on:  # the log of the evaluation came before
            self._report(state, control)

    def on_log(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        """Called by the trainer."""
        if "log" in self._on and self._metrics.asks_for(state.log_history[-1]):
            self._report(state, control)

    def on_save(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        """Called by the trainer."""
        if "save" in self._on:
            self._report(state, control)


class TuneReportCheckpointCallback(_ReportingCallback):
    """For ``Trainer(callbacks=[...])``: reports each evaluation, with what the trainer has saved with it.

    How often is evaluated and saved say the ``TrainingArguments`` (``eval_strategy``, ``save_strategy``). What is saved at a
    step without an evaluation is not taken; with ``eval_strategy="no"`` each save is a report. A trial goes on by
    ``trainer.train(resume_from_checkpoint=get_path(tune.get_checkpoint()))``: weights, optimizer and steps are as they were,
    and so is the learning rate.

    Args:
        metrics: what to report: one of the names in the log ("eval_loss"), several, or {name in the report: name in the log}.
            None: all.
        filename: of the folder with the trainer's checkpoint in the trial's.

    Raises:
        ValueError: for ``save_strategy="best"``, which decides when the evaluation has been reported.
        MissingMetricError: at the end of ``train``, if a metric has never been in the log. Until then it is left out.
    """

    CHECKPOINT_NAME = "checkpoint"

    def __init__(self, metrics: Metrics = None, filename: str = CHECKPOINT_NAME) -> None:
        super().__init__(metrics)
        self._filename = checked_filename(filename)
        self._evaluated = -1  # the step of the last evaluation
        self._saved = -1  # and that of the last save

    def on_train_begin(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        """Called by the trainer."""
        super().on_train_begin(args, state, control, **keywords)
        self._evaluated = self._saved = -1
        if _value(args.save_strategy) == "best":
            raise ValueError(
                'save_strategy="best" decides behind the report whether to save: use "epoch" or "steps", and '
                "CheckpointConfig(num_to_keep=1, checkpoint_score_attribute=...) keeps the best"
            )

    @classmethod
    def get_path(cls, checkpoint: Checkpoint, filename: str = CHECKPOINT_NAME) -> str:
        """Where the trainer's own checkpoint is, for ``resume_from_checkpoint=`` and ``from_pretrained``."""
        return path_in(checkpoint, filename)

    def on_evaluate(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        """Called by the trainer."""
        self._evaluated = state.global_step
        if control.should_save:  # it comes at once: the report waits for it
            return
        saved = _saved(args, state) if self._saved == state.global_step else None
        self._report(state, control, saved, self._filename)

    def on_save(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        """Called by the trainer: behind the evaluation of the same step, or before it if that is made once an epoch."""
        self._saved = state.global_step
        if self._evaluated == state.global_step or _value(args.eval_strategy) == "no":
            self._report(state, control, _saved(args, state), self._filename)


def _value(strategy: Any) -> str:
    """The text of a strategy, which is a text itself or an enumeration's."""
    return str(getattr(strategy, "value", strategy))


def _saved(args: Any, state: Any) -> str:
    """Where the trainer saves at this step."""
    return os.path.join(args.output_dir, f"checkpoint-{state.global_step}")


def _link(saved: str, name: str, folder: str) -> None:
    """What the trainer has saved goes into a checkpoint by a link: it is copied once, when that is reported."""
    os.symlink(os.path.abspath(saved), os.path.join(folder, name), target_is_directory=True)
