"""Every limit against every way not to end: the trial is ended, what it reported is kept, the cause is told, its neighbours end as if
nothing had been, and nothing is left of what it had started. No test looks at a clock: that a limit acts within a second follows
from how often it is looked at and how long a trial is left to end by itself."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from laboratory import Lab, check_acks

import fasttune as tune
from fasttune.engine import journaling, trial_timeouts
from fasttune.engine.opening import open_records
from fasttune.executors import memory_watch
from fasttune.processes import is_running

MIB = 1 << 20
ASKED = 150 * MIB  # a worker without libraries has some 20
TRIALS = 6
ENDLESS = (1, 3)


def loops_in_python() -> None:
    while True:
        pass


def loops_in_c() -> None:
    """Holds the GIL for good."""
    ctypes.PyDLL(None).pause()


def ignores_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        with suppress(BaseException):
            time.sleep(60)


def is_stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        time.sleep(60)


WAYS: dict[str, Callable[[], None]] = {
    "python": loops_in_python,
    "c": loops_in_c,
    "sigterm": ignores_sigterm,
    "children": ignores_sigterm,
    "stopped": is_stopped,
}


def note(folder: str, name: str) -> None:
    """A file that is whole, or not there."""
    Path(folder, name).touch()


def children_that_keep_on(folder: str, hungry: bool) -> None:
    """One in the worker's process group, and one that has left it; where memory is the limit, they have it."""
    for leaves in (False, True):
        pid = os.fork()
        if pid == 0:
            if leaves:
                os.setsid()
            held = bytearray(os.urandom(MIB)) * (120 if hungry else 0)
            while True:
                time.sleep(60 + 0 * len(held))
        note(folder, f"child-{pid}")


def misbehaves(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])
    note(config["seen"], f"{config['x']}-1")
    if config["x"] in ENDLESS:
        held = b""
        if config["way"] == "children":
            children_that_keep_on(config["seen"], config["hungry"])
        elif config["hungry"]:
            held = bytearray(os.urandom(MIB)) * 300
        WAYS[config["way"]]()
        del held
    tune.report(loss=config["x"] / 2)
    note(config["seen"], f"{config['x']}-2")


LIMITS: dict[str, dict[str, Any]] = {
    "trial_timeout_s": {"trial_timeout_s": 0.6},
    "time_budget_s": {"time_budget_s": 2.0},
    "memory": {"resources_per_trial": {"cpu": 0.25, "memory": ASKED}},
}


def run(folder: Path, way: str, limit: str) -> tune.ExperimentAnalysis:
    seen = folder / "seen"
    seen.mkdir()
    space = {"x": tune.grid_search(list(range(TRIALS))), "way": way, "seen": str(seen), "hungry": limit == "memory"}
    return tune.run(
        misbehaves,
        config=space,
        storage_path=str(folder),
        name="e",
        verbose=0,
        raise_on_failed_trial=False,
        **{"resources_per_trial": {"cpu": 0.25}, **LIMITS[limit]},
    )


def check_cause(analysis: tune.ExperimentAnalysis, trial: Any, limit: str) -> None:
    """The journal, too, tells why the trial was ended."""
    if limit == "memory":
        assert trial.status == "ERROR"
        assert "was ended for its memory" in str(trial.get_error())
        assert "the trial had asked for 150 MiB" in str(trial.get_error())
        assert "To give trials more: \"memory\": " in str(trial.get_error())
        return
    assert trial.status == "TERMINATED"
    assert trial.get_error() is None
    if limit == "trial_timeout_s":
        assert str(trial.stop_reason).startswith("trial_timeout_s=0.6: it had run for ")
    else:
        assert "time_budget_s" in str(open_records(analysis.experiment_path).ended_because)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_holds_whatever_a_trial_does(tmp_path: Path, way: str, limit: str) -> None:
    analysis = run(tmp_path, way, limit)
    seen = {path.name for path in (tmp_path / "seen").iterdir()}
    for again in (analysis, tune.ExperimentAnalysis(str(tmp_path / "e"))):
        for x, trial in enumerate(again.trials):
            if limit == "time_budget_s" and f"{x}-1" not in seen:
                continue  # the machine was busy: the run was over before the trial was
            if x in ENDLESS:
                assert trial.last_result["loss"] == x
                check_cause(again, trial, limit)
                continue
            assert trial.status == "TERMINATED"
            assert trial.stop_reason is None
            if limit != "time_budget_s" or f"{x}-2" in seen:
                assert trial.last_result["loss"] == x / 2
                assert trial.last_result["training_iteration"] == 2
    children = [int(name.removeprefix("child-")) for name in seen if name.startswith("child-")]
    assert bool(children) == (way == "children" and bool(seen & {f"{x}-1" for x in ENDLESS}))
    assert not any(map(is_running, children))


def test_what_a_trial_has_started_ends_with_it_not_with_the_run(tmp_path: Path) -> None:
    """Another trial waits until the child of the one that was ended is gone, which has left the worker's process group."""

    def train(config: dict[str, Any]) -> None:
        if config["x"] == 0:
            child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            (tmp_path / "starting").write_text(str(child.pid))
            (tmp_path / "starting").rename(tmp_path / "pid")
            held = bytearray(os.urandom(MIB)) * 300
            loops_in_python()
            del held
        while not (tmp_path / "pid").exists() or is_running(int((tmp_path / "pid").read_text())):
            time.sleep(0.001)
        tune.report(gone=1)

    analysis = tune.run(
        train,
        config={"x": tune.grid_search([0, 1])},
        resources_per_trial={"cpu": 0.5, "memory": ASKED},
        time_budget_s=60,  # the end of a test that fails
        storage_path=str(tmp_path / "r"),
        verbose=0,
        raise_on_failed_trial=False,
    )
    assert [trial.status for trial in analysis.trials] == ["ERROR", "TERMINATED"]
    assert analysis.trials[1].last_result["gone"] == 1


def test_limits_act_within_a_second() -> None:
    """A turn comes at least every IDLE_S; then the limit is looked at, and who was told to end is killed after its grace."""
    turn = journaling.IDLE_S
    assert trial_timeouts.LOOK_S + trial_timeouts.GRACE_S + 2 * turn < 1  # time-outs
    assert turn + trial_timeouts.GRACE_S + turn < 1  # the budget of the run
    assert memory_watch.LOOK_S + turn < 1  # memory: nobody is asked first


def test_a_budget_does_not_count_the_time_in_which_the_run_was_switched_off(lab: Lab) -> None:
    """A run is killed and gone on with, by the same call: since the first beginning more time has gone by than the budget allows,
    so all that the second session does would be nothing if that counted."""
    told = lab.told("endless", "process", samples=2, workers=2)
    began = time.monotonic()
    assert lab.wait_for_acks(20, lab.start(told))
    lab.kill_everything()
    for budget_s in (1.0, 4.0, 16.0):  # on a busy machine no trial may come to a report within the first
        before = len(lab.acks())
        while time.monotonic() - began <= budget_s:
            time.sleep(0.01)
        process = lab.start({**told, "resume": "AUTO", "max_failures": 3, "budget": budget_s})
        assert process.wait(120) == 0, process.communicate()[1]
        if len(lab.acks()) > before:
            break
    assert len(lab.acks()) > before
    assert "time_budget_s" in str(open_records(lab.experiment).ended_because)
    check_acks(lab, lab.reopen())
