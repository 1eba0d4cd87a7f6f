"""LoggerCallback: a callback in terms of one trial at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fasttune.callback import Callback


class LoggerCallback(Callback):
    """Derive from it and override what you need; each is called with the trial it is about.

    log_trial_start, log_trial_result*, log_trial_end come in this order, for a trial that is tried again more
    than once.
    """

    def log_trial_start(self, trial: Any) -> None:
        """A trial starts to run."""

    def log_trial_restore(self, trial: Any) -> None:
        """A trial has gone back to a checkpoint."""

    def log_trial_save(self, trial: Any) -> None:
        """A checkpoint of a trial has been written."""

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """A trial has reported."""

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """A trial is over."""

    def on_trial_start(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        self.log_trial_start(trial)

    def on_trial_restore(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        self.log_trial_restore(trial)

    def on_trial_save(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        self.log_trial_save(trial)

    def on_trial_result(
        self, iteration: int, trials: Sequence[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.log_trial_result(iteration, trial, result)

    def on_trial_complete(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        self.log_trial_end(trial, failed=False)

    def on_trial_error(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        self.log_trial_end(trial, failed=True)
