"""The times that callbacks, schedulers and searchers are told of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune


class Times(tune.Callback):
    def __init__(self) -> None:
        self.told: list[tuple[float, float]] = []

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self.told.append((result["time_this_iter_s"], result["time_total_s"]))


def many(config: dict[str, Any]) -> None:
    for value in range(50):
        tune.report(value=value)


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_reports_that_are_read_together_have_each_their_own_time(tmp_path: Path, executor: str) -> None:
    """A logger's file had negative seconds per iteration, of a trial that reports quickly."""
    seen = Times()
    tune.run(many, callbacks=[seen], executor=executor, storage_path=str(tmp_path), verbose=0)
    assert len(seen.told) == 50
    assert min(seconds for seconds, _ in seen.told) >= 0
    total = 0.0
    for seconds, told in seen.told:
        total += seconds
        assert told == pytest.approx(total, abs=1e-5)


def test_an_attempt_that_begins_again_counts_from_its_own_beginning(tmp_path: Path) -> None:
    """A trial that was tried again had the seconds of its failed attempt in its first iteration."""
    seen = Times()
    mark = tmp_path / "failed"

    def fails_once(config: dict[str, Any]) -> None:
        many(config)
        if not mark.exists():
            mark.touch()
            raise RuntimeError("once")

    tune.run(
        fails_once, callbacks=[seen], max_failures=1, executor="inline", storage_path=str(tmp_path / "runs"), verbose=0
    )
    first, second = seen.told[:50], seen.told[50:]
    for attempt in (first, second):
        assert min(seconds for seconds, _ in attempt) >= 0
        assert sum(seconds for seconds, _ in attempt) == pytest.approx(attempt[-1][1], abs=1e-5)
