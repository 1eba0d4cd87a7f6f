"""A worker killed between two stores that belong together; a record that does not fit."""

from __future__ import annotations

import os
import signal
import sqlite3
import struct
import time
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune import _core
from fasttune.schedulers import ASHAScheduler, TrialScheduler


def run(trainable: Any, folder: Path, executor: str = "process", **more: Any) -> Any:
    given: dict[str, Any] = {"num_samples": 6, "max_concurrent_trials": 1}
    return tune.run(
        trainable,
        name="e",
        storage_path=str(folder),
        executor=executor,
        metric="loss",
        mode="min",
        verbose=0,
        raise_on_failed_trial=False,
        **{**given, **more},
    )


def statuses(analysis: Any) -> list[str]:
    return [trial.status for trial in analysis.trials]


def test_killed_when_it_had_said_that_nothing_runs_and_not_yet_that_the_trial_is_over(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        if tune.get_context().get_trial_id().endswith("2"):
            reporter: Any = _core.current()
            reporter.suspend()  # "nothing runs here"
            os.kill(os.getpid(), signal.SIGKILL)

    analysis = run(train, tmp_path)
    assert statuses(analysis) == ["TERMINATED"] * 2 + ["ERROR"] + ["TERMINATED"] * 3
    assert "SIGKILL" in str(analysis.errors[0])


class Chooses(TrialScheduler):
    """Is asked for everything, so that trials are handed out one by one."""

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self.CONTINUE


@pytest.mark.parametrize("scheduler", [None, Chooses], ids=["span", "one by one"])
def test_killed_when_it_had_said_that_a_trial_runs_and_not_yet_that_it_begins(tmp_path: Path, scheduler: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        marker = tmp_path / "killed"
        if marker.exists():
            return
        marker.touch()
        reporter: Any = _core.current()
        host = type(reporter.context.host)

        def die(trial: int) -> None:
            reporter.resume(trial, 0, 0.0, 0.0, -1, 0, 0.0, 99, _core.NEVER_ASK)  # "it runs here"
            os.kill(os.getpid(), signal.SIGKILL)

        host.run = lambda self, job, urgent=True: die(job.trial)
        host.run_span = lambda self, experiment, shift: die(self.reporter.ring.next_trial())

    analysis = run(train, tmp_path, scheduler=None if scheduler is None else scheduler())
    assert statuses(analysis) == ["TERMINATED"] * 6
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [1] * 6


def test_killed_between_a_judgement_that_all_can_see_and_the_end_of_its_change(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        loss = float(config["i"])
        tune.report(loss=loss)
        reporter: Any = _core.current()
        if config["i"] == 3:
            number = reporter.rule.sequence + 1
            judged = struct.pack("<dQ", loss, number << 8)  # at rung 0
            assert reporter.ring.write(_core.KIND_REPORT, reporter.trial, 2, judged, 8)
            reporter.rule.die_inside_lock(0, loss)
            os.kill(os.getpid(), signal.SIGKILL)
        for _ in range(3):
            tune.report(loss=loss)

    scheduler = ASHAScheduler(grace_period=2, max_t=100, reduction_factor=4)
    analysis = run(
        train, tmp_path, config={"i": tune.grid_search(list(range(8)))}, num_samples=1, scheduler=scheduler
    )
    assert analysis.trials[3].status == "ERROR"
    assert analysis.trials[3].last_result["training_iteration"] == 2
    rule: Any = scheduler.live_rule  # type: ignore[attr-defined]
    assert rule.rung_sizes()[0][0] == 8


def test_a_record_that_does_not_fit_costs_its_own_trial_at_most(tmp_path: Path, executor: str) -> None:
    def train(config: dict[str, Any]) -> None:
        reporter: Any = _core.current()
        tune.report(loss=float(config["i"]))
        if config["i"] == 1:
            assert reporter.ring.write(_core.KIND_REPORT, 1000, 1, struct.pack("<d", -5.0))  # no such trial
        if config["i"] == 2:
            assert reporter.ring.write(_core.KIND_START, reporter.trial)  # it runs already
            while executor != "inline":  # until it is ended for that; inline nobody can
                tune.report(loss=2.0)
                time.sleep(0.001)
        tune.report(loss=float(config["i"]))

    with pytest.warns(RuntimeWarning, match="do not fit what the journal says and were left out; they are kept"):
        analysis = run(
            train, tmp_path, executor, config={"i": tune.grid_search(list(range(5)))}, num_samples=1
        )
    ended = "TERMINATED" if executor == "inline" else "ERROR"
    assert statuses(analysis) == ["TERMINATED"] * 2 + [ended] + ["TERMINATED"] * 2
    if executor != "inline":
        assert "does not fit" in str(analysis.errors[0])
    assert analysis.get_best_trial("loss", "min").last_result["loss"] == 0.0
    opened = tune.ExperimentAnalysis(str(tmp_path / "e"))
    assert statuses(opened) == statuses(analysis)
    assert [trial.last_result["training_iteration"] for trial in opened.trials][3:] == [2, 2]
    database = sqlite3.connect(tmp_path / "e" / "experiment.db")
    kept = database.execute("SELECT why, length(data) FROM aside").fetchall()
    database.close()
    assert "trial 1000 of" in kept[0][0]
    assert len(kept) >= 2
    assert len(run(train, tmp_path, executor, config={"i": 9}, num_samples=1).trials) == 1
