"""Trials that are nothing but what a reporter looks at, and a snapshot over them."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fasttune.reporter import StatusSnapshot


@dataclass
class FakeTrial:
    trial_id: str
    status: str
    config: dict[str, Any] = field(default_factory=dict)
    last_result: dict[str, Any] = field(default_factory=dict)
    evaluated_params: dict[str, Any] = field(default_factory=dict)
    location: str | None = "here"
    num_failures: int = 0
    error_file: str | None = None
    local_experiment_path: str = "/results/exp"

    def __str__(self) -> str:
        return self.trial_id

    def get_error(self) -> BaseException | None:
        return ValueError("lr is 0") if self.status == "ERROR" else None


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def five_trials() -> list[FakeTrial]:
    """One TERMINATED, one PENDING and three RUNNING trials, trial i with a=i, b=2i."""
    trials = []
    for i in range(5):
        config = {"a": i, "b": 2 * i, "n": {"k": [i, 2 * i]}}
        trials.append(
            FakeTrial(
                trial_id=f"{i:05d}",
                status={0: "TERMINATED", 1: "PENDING"}.get(i, "RUNNING"),
                config=config,
                last_result={
                    "config": config,
                    "metric_1": i / 2,
                    "metric_2": i / 4,
                    "nested": {"sub": i / 2},
                },
                evaluated_params={"a": i, "b": 2 * i, "n/k/0": i, "n/k/1": 2 * i},
            )
        )
    return trials


def snapshot_over(trials: Sequence[FakeTrial], **more: Any) -> StatusSnapshot:
    """A snapshot as the machine makes it; ``asked`` on its rows function counts the rows it gave."""
    by_status: dict[str, list[FakeTrial]] = {}
    for trial in trials:
        by_status.setdefault(trial.status, []).append(trial)
    settings: dict[str, Any] = {
        "time": float(calendar.timegm((2026, 3, 4, 12, 30, 45))),
        "elapsed": 6.2,
        "scheduler": "Using FIFO scheduling algorithm.",
        "resources": "2.0/2 CPUs, 0/0 GPUs",
        "path": "/results/exp",
        "counts": {status: len(some) for status, some in by_status.items()},
        "rows": lambda status, number: by_status.get(status, [])[:number],
    }
    return StatusSnapshot(**{**settings, **more})
