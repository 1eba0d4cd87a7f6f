"""result.json (one JSON object per report and line) and params.json in the folder of each trial."""

from __future__ import annotations

import json
import os
from typing import IO, Any

from fasttune.folder import PARAMS_JSON, RESULT_JSON
from fasttune.logger.base import LoggerCallback
from fasttune.plain_files import plain_opener


class JsonLoggerCallback(LoggerCallback):
    """Writes result.json, a line per report with everything in it, and params.json, the config.

    NaN is the token NaN, as Python's json writes and reads it. Arrays become lists, what JSON does not know
    its text.
    """

    def __init__(self) -> None:
        self._files: dict[str, IO[str]] = {}

    def log_trial_start(self, trial: Any) -> None:
        if trial.trial_id in self._files:
            return
        folder = trial.local_path
        with open(os.path.join(folder, PARAMS_JSON), "w", encoding="utf-8", opener=plain_opener) as file:
            json.dump(trial.config, file, indent=2, sort_keys=True, default=plain, skipkeys=True)
        path = os.path.join(folder, RESULT_JSON)
        self._files[trial.trial_id] = open(path, "a", encoding="utf-8", opener=plain_opener)  # noqa: SIM115 - stays open

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        self.log_trial_start(trial)
        file = self._files[trial.trial_id]
        file.write(json.dumps(result, default=plain) + "\n")
        file.flush()

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        file = self._files.pop(trial.trial_id, None)
        if file is not None:
            file.close()

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        for file in self._files.values():  # of trials that an interrupt left unfinished
            file.close()
        self._files.clear()


def plain(value: Any) -> Any:
    """What stands in a file for a value that JSON does not know."""
    if hasattr(value, "tolist"):  # arrays and scalars of numpy and its like
        plain = value.tolist()
        return str(plain) if type(plain) is type(value) else plain
    return str(value)
