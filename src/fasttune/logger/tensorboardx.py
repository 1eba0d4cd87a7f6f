"""TensorBoard: a file of events in the folder of each trial, which TensorBoard shows as one run.

Events and records are tensorboardX's. Its SummaryWriter is not used: it takes a thread, a queue and three fsyncs a trial (9 ms of
CPU and as much waiting, against 1 ms), and a second one in the same second writes over the first one's file.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from fasttune.extras import optional, require
from fasttune.logger.behind import JournalLogger, LoggedExperiment
from fasttune.logger.numbers import numbers_of, shown
from fasttune.logger.open_runs import OpenRuns
from fasttune.result import AUTO_RESULT_KEYS, flatten, number

BINS = 64  # of a histogram


class EventFile:
    """One file of events, under a name that no other has."""

    _made = 0

    def __init__(self, folder: str) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import RecordWriter

        os.makedirs(folder, exist_ok=True)
        EventFile._made += 1
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{EventFile._made}"
        self._event = Event
        self._file = RecordWriter(os.path.join(folder, name))
        self._file.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        self._waiting = False

    def add(self, summary: Any, step: int, when: float) -> None:
        """An event: what, at which step, and at which unix time."""
        self._file.write(self._event(wall_time=when, step=step, summary=summary).SerializeToString())
        self._waiting = True

    def flush(self) -> None:
        """Bring to the disk what was added."""
        if self._waiting:
            self._file.flush()
            self._waiting = False

    def close(self) -> None:
        """The same, and nothing more will come."""
        self._file.close()


class TBXLoggerCallback(JournalLogger):
    """Writes ``events.out.tfevents...`` into each trial's folder, through tensorboardX: a point for each number of each report, at
    the report's time and ``training_iteration`` (``timesteps_total``, where that is reported); lists and arrays of numbers
    as histograms; at the trial's end its config as hparams, with the value of the metric.

    Look at it by ``tensorboard --logdir FOLDER_OF_THE_EXPERIMENT``.

    Args:
        prefix: stands before the names of metrics; Ray Tune's is "ray/tune/".
        max_trials, best_trials: see :class:`JournalLogger`. TensorBoard itself gets slow with thousands of runs.
    """

    title = "TensorBoard"
    key = "tensorboard"

    def __init__(self, *, prefix: str = "", max_trials: int | None = 1000, best_trials: int = 10) -> None:
        require("tensorboardX", "tensorboard", type(self).__name__)
        super().__init__(max_trials=max_trials, best_trials=best_trials)
        self.prefix = prefix

    def log_begin(self, experiment: LoggedExperiment) -> None:
        optional("tensorboardX", "tensorboard", type(self).__name__)
        self._metric = experiment.metric
        self._files = OpenRuns(lambda trial: EventFile(trial.path), EventFile.close)
        self._last: dict[str, dict[str, float]] = {}  # numbers of the last report of each trial that is not over

    def log_trial_start(self, trial: Any) -> None:
        self._files.of(trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        from tensorboardX import summary

        drawn: list[Any] = []
        for name, value in shown(result).items():
            if (point := number(value)) is not None:
                drawn += summary.scalar(self.prefix + name, point).value
            elif isinstance(value, (list, tuple)):
                drawn += _histogram(self.prefix + name, value)
        when = result.get("timestamp", time.time())
        self._files.of(trial).add(summary.Summary(value=drawn), step_of(result, iteration), when)
        self._last[trial.trial_id] = numbers_of(result)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        last = self._last.pop(trial.trial_id, None) or numbers_of(trial.last_result)  # of an earlier process
        file = self._files.take(trial)
        if last:
            params = trial.evaluated_params or flatten(trial.config)
            own = {name: value for name, value in last.items() if name not in AUTO_RESULT_KEYS}
            self._add_hparams(file, params, {self._metric: last[self._metric]} if self._metric in last else own)
        file.close()

    def log_flush(self) -> None:
        for file in self._files:
            file.flush()

    def log_end(self, finished: bool) -> None:
        self._files.put_all_away()

    def _add_hparams(self, file: EventFile, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        from tensorboardX.summary import hparams

        plain = {name: value if isinstance(value, (int, float, str)) else str(value) for name, value in params.items()}
        for summary in hparams(plain, {f"{self.prefix}{name}": value for name, value in metrics.items()}):
            file.add(summary, 0, time.time())


def step_of(result: Mapping[str, Any], iteration: int) -> int:
    """Where a report stands: at the trial's own count of steps, if it reports one that TensorBoard's 64 bits hold."""
    step = result.get("timesteps_total")
    return int(step) if isinstance(step, (int, float)) and abs(step) < 2**63 else iteration


def _histogram(name: str, value: Any) -> list[Any]:
    """Numbers, in a list or an array of any shape, as a histogram; [] for what is none, or not finite."""
    import numpy as np
    from tensorboardX import summary

    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):  # texts, or rows of several lengths
        return []
    return list(summary.histogram(name, array, BINS).value) if array.size and np.isfinite(array).all() else []
