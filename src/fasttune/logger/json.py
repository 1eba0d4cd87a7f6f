"""result.json (one JSON object per report and line) and params.json in the folder of each trial."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import IO, Any

from fasttune.folder import PARAMS_JSON, RESULT_JSON
from fasttune.logger.base import LoggerCallback
from fasttune.metric_values import with_text_keys
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
            json.dump(_sorted(trial.config), file, indent=2, default=plain)
        path = os.path.join(folder, RESULT_JSON)
        self._files[trial.trial_id] = open(path, "a", encoding="utf-8", opener=plain_opener)  # noqa: SIM115 - stays open

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        self.log_trial_start(trial)
        file = self._files[trial.trial_id]
        file.write(json.dumps(with_text_keys(result), default=plain) + "\n")
        file.flush()

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        file = self._files.pop(trial.trial_id, None)
        if file is not None:
            file.close()

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        for file in self._files.values():  # of trials that an interrupt left unfinished
            file.close()
        self._files.clear()


def _sorted(value: Any) -> Any:
    """Dicts in the order of their keys, which become texts: they may be of types that cannot be compared, or that JSON does
    not have."""
    if isinstance(value, Mapping):
        return {
            key: _sorted(value_) for key, value_ in sorted(((str(key), one) for key, one in value.items()), key=_first)
        }
    return [_sorted(part) for part in value] if isinstance(value, (list, tuple)) else value


def _first(pair: tuple[str, Any]) -> str:
    return pair[0]


def plain(value: Any) -> Any:
    """What stands in a file for a value that JSON does not know."""
    if hasattr(value, "tolist"):  # arrays and scalars of numpy and its like
        plain = value.tolist()
        return str(plain) if type(plain) is type(value) else plain
    return str(value)
