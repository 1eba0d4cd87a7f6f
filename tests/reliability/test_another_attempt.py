"""A trial that begins again elsewhere while its first worker still clears up behind it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import fasttune as tune


class AskedAboutAll(tune.schedulers.TrialScheduler):
    """Lets everything go on, and is asked at every report."""

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self.CONTINUE


def test_the_new_attempt_gets_its_answers_while_the_old_worker_clears_up(tmp_path: Path) -> None:
    failed, answered = tmp_path / "failed", tmp_path / "answered"

    class Lingers:
        """Takes until the other attempt was answered to be deleted; then the worker is still not free."""

        def __del__(self) -> None:
            deadline = time.monotonic() + 20
            while not answered.exists() and time.monotonic() < deadline:
                time.sleep(0.002)

    class First(Exception):
        """Lives until its worker has told of it."""

        lingers: Lingers

        def __reduce__(self) -> Any:
            return RuntimeError, ("the first attempt",)

    def trainable(config: dict[str, Any]) -> None:
        if not failed.exists():
            failed.touch()
            error = First()
            error.lingers = Lingers()
            raise error
        tune.report(loss=1.0)
        tune.report(loss=0.5, in_time=not answered.exists())
        answered.touch()

    analysis = tune.run(
        trainable,
        config={},
        scheduler=AskedAboutAll(),
        metric="loss",
        mode="min",
        executor="process",
        max_concurrent_trials=2,
        max_failures=1,
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert analysis.trials[0].status == "TERMINATED"
    assert analysis.trials[0].last_result["in_time"]
