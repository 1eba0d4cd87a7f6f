"""``trial_timeout_s``: whatever a trial does, it ends; what it reported is kept, and its neighbours go on."""

from __future__ import annotations

import ctypes
import pickle
import signal
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.engine.trial_timeouts import LOOK_S, TrialTimeouts
from fasttune.schedulers import ASHAScheduler

LIMIT = 0.6


def in_python(config: dict[str, Any]) -> None:
    while True:
        pass


def in_c(config: dict[str, Any]) -> None:
    """Holds the GIL in C for good."""
    ctypes.PyDLL(None).pause()


def deaf(config: dict[str, Any]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        with suppress(BaseException):
            time.sleep(60)


def reports(config: dict[str, Any]) -> None:
    while True:
        tune.report(loss=config["x"])


ENDLESS = {"python": in_python, "c": in_c, "deaf": deaf, "reports": reports}


def some_are_endless(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])
    if config["x"] in (1, 3):
        ENDLESS[config["kind"]](config)
    tune.report(loss=config["x"] / 2)


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_trial_is_ended_and_keeps_what_it_reported(tmp_path: Path, kind: str) -> None:
    analysis = tune.run(
        some_are_endless,
        config={"x": tune.grid_search(list(range(6))), "kind": kind},
        trial_timeout_s=LIMIT,
        metric="loss",
        mode="min",
        storage_path=str(tmp_path),
        name="e",
        verbose=0,
    )
    for again in (analysis, tune.ExperimentAnalysis(str(tmp_path / "e")), pickle.loads(pickle.dumps(analysis))):
        assert [trial.status for trial in again.trials] == ["TERMINATED"] * 6
        assert [trial.last_result["loss"] for trial in again.trials] == [0, 1, 1, 3, 2, 2.5]
        reasons = [trial.stop_reason for trial in again.trials]
        assert [reason is not None for reason in reasons] == [False, True, False, True, False, False]
        assert str(reasons[1]).startswith("trial_timeout_s=0.6: it had run for ")


def test_asha_and_the_journal_know_that_it_did_not_end_by_itself(tmp_path: Path) -> None:
    scheduler = {"max_t": 9, "grace_period": 1, "reduction_factor": 3}
    given: dict[str, Any] = {"metric": "loss", "mode": "min", "storage_path": str(tmp_path), "name": "e", "verbose": 0}
    space = {"x": tune.grid_search(list(range(6))), "kind": "python"}
    analysis = tune.run(some_are_endless, config=space, trial_timeout_s=LIMIT, scheduler=ASHAScheduler(**scheduler), **given)
    assert analysis.verify(ASHAScheduler(**scheduler)) == []
    again = tune.run(
        some_are_endless, config=space, trial_timeout_s=LIMIT, scheduler=ASHAScheduler(**scheduler), resume="AUTO", **given
    )
    assert [trial.status for trial in again.trials] == ["TERMINATED"] * 6  # none of them is run again
    assert [trial.stop_reason for trial in again.trials] == [trial.stop_reason for trial in analysis.trials]


@pytest.mark.parametrize("executor", ["inline", "thread"])
def test_in_this_process_it_ends_at_its_next_report(tmp_path: Path, executor: str) -> None:
    analysis = tune.run(
        reports, config={"x": 1.0}, executor=executor, trial_timeout_s=0.2, storage_path=str(tmp_path), verbose=0
    )
    [trial] = analysis.trials
    assert trial.status == "TERMINATED"
    assert "trial_timeout_s=0.2" in str(trial.stop_reason)


def test_a_thread_that_never_reports_is_left(tmp_path: Path) -> None:
    go_on, over = threading.Event(), threading.Event()

    def waits(config: dict[str, Any]) -> None:
        tune.report(loss=1)
        try:
            go_on.wait()
            tune.report(loss=2)
        finally:
            over.set()

    with pytest.warns(RuntimeWarning, match="a thread cannot be ended from outside"):
        analysis = tune.run(waits, executor="thread", trial_timeout_s=0.2, storage_path=str(tmp_path), verbose=0)
    go_on.set()
    assert over.wait(60)
    assert analysis.trials[0].last_result["loss"] == 1


def test_a_coroutine_is_cancelled_and_cleans_up(tmp_path: Path) -> None:
    import asyncio

    cleaned = []

    async def waits(config: dict[str, Any]) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.append(True)

    analysis = tune.run(waits, trial_timeout_s=0.2, storage_path=str(tmp_path), verbose=0)
    assert cleaned == [True]
    assert "trial_timeout_s" in str(analysis.trials[0].stop_reason)


def test_time_of_earlier_attempts_counts(tmp_path: Path) -> None:
    """It fails twice and goes on from its checkpoint: three attempts together have the time of one."""

    class Slow(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.at = 0

        def step(self) -> dict[str, Any]:
            self.at += 1
            time.sleep(0.15)
            if self.at in (2, 4):
                raise ValueError("again")
            return {"at": self.at}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            Path(checkpoint_dir, "at").write_text(str(self.at + 1))

        def load_checkpoint(self, checkpoint_dir: str) -> None:
            self.at = int(Path(checkpoint_dir, "at").read_text())

    analysis = tune.run(
        Slow, trial_timeout_s=1.0, max_failures=2, checkpoint_freq=1, storage_path=str(tmp_path), verbose=0, stop={"at": 1000}
    )
    [trial] = analysis.trials
    assert trial.num_failures <= 2
    assert "trial_timeout_s=1" in str(trial.stop_reason)
    assert trial.last_result["time_total_s"] < 3


@pytest.mark.parametrize("wrong", [0, -1, "5", True, float("nan")])
def test_what_is_no_time_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="trial_timeout_s"):
        tune.run(in_python, trial_timeout_s=wrong, storage_path=str(tmp_path), verbose=0)


def test_a_timedelta_and_a_tuner_say_it_too(tmp_path: Path) -> None:
    config = tune.RunConfig(trial_timeout_s=timedelta(seconds=0.3), storage_path=str(tmp_path), verbose=0)
    [result] = tune.Tuner(in_python, run_config=config).fit()
    assert result.error is None


class Table:
    """Three trials that run since 0, 5 and 9 s."""

    def of_status(self, status: str, most: int = -1) -> list[int]:
        assert status == "RUNNING"
        return [0, 1, 2]


def test_it_looks_now_and_then_and_names_who_is_over() -> None:
    timeouts, begun = TrialTimeouts(4.0), [0.0, 5.0, 9.0]
    table: Any = Table()

    def over(now: float) -> list[int]:
        return [i for i, _ in timeouts.over(table, now, lambda i, now: now - begun[i])]

    assert over(4.0) == []
    assert over(4.05) == []  # it has just looked
    assert over(4.2) == [0]
    assert over(9.1) == [0, 1]
    assert timeouts.rest(5.0) == LOOK_S
    assert TrialTimeouts(None).rest(5.0) == 5.0
    assert TrialTimeouts(None).over(table, 1e9, lambda i, now: now) == []
