"""A reporter in plain Python that keeps the contract of the compiled one, and a context to go with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fasttune.metric_values import from_json
from fasttune.session import CONTINUE, NOT_PLAIN
from fasttune.trial_context import TrialContext


def make_context(folder: Path, **changes: Any) -> TrialContext:
    """The context of trial ab12c_00007 of an experiment in ``folder``."""
    fields: dict[str, Any] = {
        "index": 7,
        "trial_id": "ab12c_00007",
        "trial_name": "train_ab12c_00007",
        "experiment_name": "exp",
        "experiment_path": str(folder / "exp"),
        "trial_dirname": "train_ab12c_00007_7_a=1",
        "config": {"a": 1},
        "resources": {"cpu": 1},
        "wait": lambda: CONTINUE,
    }
    return TrialContext(**{**fields, **changes})


class FakeReporter:
    """Keeps what was reported. ``answers`` are the codes of the next reports; after them all are CONTINUE.

    rows         per report the numbers and the extra metrics together
    checkpoints  per report the checkpoint that came with it, or None
    """

    def __init__(self, context: TrialContext, answers: tuple[int, ...] = ()) -> None:
        self.context = context
        self.rows: list[dict[str, Any]] = []
        self.checkpoints: list[str | bytes | None] = []
        self.metric: str | None = None
        self.notes: list[tuple[int, bytes]] = []
        self.quick_calls = 0
        self._answers = list(answers)

    @property
    def iteration(self) -> int:
        return self.context.iteration0 + len(self.rows)

    def leave_child(self) -> None:
        """Nobody forks here."""

    def note(self, kind: int, payload: bytes, urgent: bool, /) -> bool:
        self.notes.append((kind, payload))
        return True

    def report(self, metrics: dict[str, Any], /) -> int:
        if any(type(key) is not str for key in metrics):
            return NOT_PLAIN
        if any(type(value) not in (float, int, bool) for value in metrics.values()):
            return NOT_PLAIN
        if any(type(value) is int and abs(value) > 2**53 for value in metrics.values()):
            return NOT_PLAIN
        self.quick_calls += 1
        return self._write(dict(metrics), None)

    def report_extra(
        self,
        numbers: dict[str, float | int | bool],
        extra: dict[str, Any],
        extra_json: bytes,
        checkpoint: str | bytes | None,
        /,
    ) -> int:
        assert all(type(value) in (float, int, bool) for value in numbers.values())
        stored = from_json(extra_json) if extra_json else {}
        assert repr(stored) == repr(extra), "what a live run sees and what a replay reads must be the same"
        return self._write({**numbers, **extra}, checkpoint)

    def _write(self, row: dict[str, Any], checkpoint: str | bytes | None) -> int:
        self.rows.append(row)
        self.checkpoints.append(checkpoint)
        return self._answers.pop(0) if self._answers else CONTINUE
