"""What of a result is drawn over steps: what was measured, not what names the trial or says when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fasttune.result import flatten, number

LEFT_OUT = frozenset(
    [
        "config", "date", "done", "experiment_tag", "hostname", "node_ip", "pid", "time_total_s", "timestamp",
        "training_iteration", "trial_id", "should_checkpoint", "checkpoint_dir_name", "iterations_since_restore",
        "time_since_restore",
    ]
)  # fmt: skip


def shown(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result flattened ("a/b"), without the config and what names the trial. ``training_iteration`` is its step."""
    return flatten({name: value for name, value in result.items() if name not in LEFT_OUT})


def numbers_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a result, flattened, as libraries take them: a truth is 0 or 1."""
    return {name: point for name, value in shown(result).items() if (point := number(value)) is not None}


def as_plain(value: Any) -> Any:
    """A value of a config as every library takes it: a number, a text, a truth, None, lists and dicts of those."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_plain(one) for key, one in value.items()}
    return [as_plain(one) for one in value] if isinstance(value, (list, tuple)) else str(value)
