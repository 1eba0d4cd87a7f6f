"""Workers that die or do not listen cost their own trial and nothing else (C2 rows 11-16)."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.engine.opening import open_records
from fasttune.search import Searcher

BAD = 3  # the trial that misbehaves


def a_run(trainable: Any, folder: Path, samples: int = 8, **more: Any) -> tune.ExperimentAnalysis:
    settings: dict[str, Any] = {
        "config": {"n": tune.grid_search(list(range(samples)))},
        "storage_path": folder,
        "name": "run",
        "metric": "loss",
        "mode": "min",
        "seed": 1,
        "verbose": 0,
        "executor": "process",
        "resources_per_trial": {"cpu": 0.5},
        "raise_on_failed_trial": False,
    }
    return tune.run(trainable, **{**settings, **more})


def text_of(analysis: tune.ExperimentAnalysis, trial: int) -> str:
    """What the journal says of a trial's failure."""
    failure = open_records(analysis.experiment_path).failure(trial)
    assert failure is not None
    return failure.text


def deadly(die: Callable[[], Any]) -> Callable[[dict[str, Any]], None]:
    """A trainable that reports; the bad trial then dies of ``die``."""

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": config["n"]})
        if config["n"] == BAD:
            die()
        tune.report({"loss": config["n"] - 0.5})

    return trial


def segfault() -> None:
    ctypes.string_at(0)


def abort() -> None:
    os.abort()


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave_quietly() -> None:
    os._exit(0)


def leave_with_status() -> None:
    os._exit(3)


def sys_exit() -> None:
    sys.exit(5)


def raise_interrupt() -> None:
    raise KeyboardInterrupt


WAYS_TO_DIE = {
    segfault: ("SIGSEGV", "segfault"),
    abort: ("SIGABRT", "abort"),
    kill: ("SIGKILL", "killed from outside"),
    leave_quietly: ("status 0", "os._exit"),
    leave_with_status: ("status 3", "os._exit"),
    sys_exit: ("sys.exit(5)", "SystemExit"),
    raise_interrupt: ("KeyboardInterrupt", "raise_interrupt"),
}


@pytest.mark.parametrize("die", WAYS_TO_DIE, ids=lambda die: die.__name__)
def test_C2_11_13_a_dead_worker_costs_its_trial_only(tmp_path: Path, die: Callable[[], Any]) -> None:
    """N-1 of N end well; the text names the signal and, where there was time for one, has the Python stack."""
    analysis = a_run(deadly(die), tmp_path)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * BAD + ["ERROR"] + ["TERMINATED"] * 4
    text = text_of(analysis, BAD)
    for part in WAYS_TO_DIE[die]:
        assert part in text
    assert analysis.trials[BAD].last_result["loss"] == BAD
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [2] * BAD + [1] + [2] * 4


def test_C2_11_the_stack_of_a_segfault_is_in_the_error(tmp_path: Path) -> None:
    def outer_function(config: dict[str, Any]) -> None:
        tune.report({"loss": 1.0})
        segfault()

    analysis = a_run(outer_function, tmp_path, samples=1)
    text = text_of(analysis, 0)
    assert "Segmentation fault" in text
    assert text.index("string_at") < text.index("segfault") < text.index("outer_function")


@pytest.mark.parametrize("die", [segfault, kill, leave_quietly], ids=lambda die: die.__name__)
def test_C2_11_max_failures_tries_again(tmp_path: Path, die: Callable[[], Any]) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": config["n"]})
        if config["n"] == BAD and len(os.listdir(marks)) < 2:
            (marks / str(os.getpid())).touch()
            die()

    analysis = a_run(trial, tmp_path, max_failures=2)
    assert {one.status for one in analysis.trials} == {"TERMINATED"}
    assert analysis.trials[BAD].num_failures == 2
    assert len(os.listdir(marks)) == 2


def test_C2_11_max_failures_used_up(tmp_path: Path) -> None:
    analysis = a_run(deadly(segfault), tmp_path, max_failures=2)
    assert [one.status for one in analysis.trials].count("ERROR") == 1
    assert analysis.trials[BAD].num_failures == 3


def test_C2_11_a_death_in_a_long_span_loses_none_of_it(tmp_path: Path) -> None:
    """Quick trials are given out by the hundred: those that the dead worker had not begun are run by others."""

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": config["n"]})
        if config["n"] % 100 == 50:
            os.kill(os.getpid(), signal.SIGKILL)

    analysis = a_run(trial, tmp_path, samples=2000)
    statuses = [one.status for one in analysis.trials]
    assert [i for i, status in enumerate(statuses) if status == "ERROR"] == list(range(50, 2000, 100))
    assert statuses.count("TERMINATED") == 1980


def refuse() -> None:
    raise OSError("no such device in this process")


class Unreadable:
    """A value that a process other than the one that made it cannot have."""

    def __init__(self, why: Callable[[], Any]) -> None:
        self.why = why

    def __reduce__(self) -> tuple[Any, ...]:
        return self.why, ()


@pytest.mark.parametrize("why", [refuse, abort])
def test_C2_11_a_config_that_cannot_be_unpacked_costs_its_trial_only(tmp_path: Path, why: Callable[[], Any]) -> None:
    class Suggestions(Searcher):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            n = int(trial_id.rsplit("_", 1)[1])
            return {"n": n, "x": Unreadable(why) if n == BAD else 0}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            pass

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": config["n"]})

    analysis = a_run(trial, tmp_path, search_alg=Suggestions(), num_samples=8, config={}, max_failures=1)
    assert [one.status for one in analysis.trials] == ["TERMINATED"] * BAD + ["ERROR"] + ["TERMINATED"] * 4
    assert ("no such device in this process" if why is refuse else "SIGABRT") in text_of(analysis, BAD)
    assert analysis.trials[BAD].num_failures == 2


def test_C2_11_a_worker_that_cannot_begin_ends_the_run(tmp_path: Path) -> None:
    """A trainable that crashes the interpreter as it is loaded: said with the signal, not tried for ever."""

    bomb = Bomb()

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": bool(bomb)})

    with pytest.raises(tune.TuneError, match=r"in a row ended before they began a trial(.|\n)*SIGSEGV"):
        a_run(trial, tmp_path)


class Bomb:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ctypes.string_at, (0,)


# -- trials that do not listen -------------------------------------------------------------------------------


def python_loop() -> None:
    while True:
        pass


def c_loop() -> None:
    """Sleeps in C without giving the interpreter back."""
    ctypes.PyDLL(None).sleep(1000)


def regular_expression() -> None:
    import re

    re.match(r"(a+)+$", "a" * 64 + "b")


def deaf_to_everything() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            time.sleep(1)
        except BaseException:
            continue


def swallows_the_stop() -> None:
    while True:
        try:
            tune.report({"loss": 1.0})
        except BaseException:
            continue


def stopped_process() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@pytest.mark.parametrize(
    "hang",
    [python_loop, c_loop, regular_expression, deaf_to_everything, swallows_the_stop, stopped_process],
    ids=lambda hang: hang.__name__,
)
def test_C2_14_15_16_a_trial_that_does_not_listen_ends_with_the_run(tmp_path: Path, hang: Callable[[], Any]) -> None:
    """The run is told to end when it hangs and all others have ended; the budget (below) takes the same way."""
    seen = tmp_path / "seen"
    seen.mkdir()

    class Others(tune.stopper.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return len(os.listdir(seen)) == 8

    def trial(config: dict[str, Any]) -> None:
        if config["n"] == BAD:
            tune.report({"loss": config["n"]})
            (seen / "bad").touch()
            hang()
        deadly(hang)(config)
        (seen / str(config["n"])).touch()

    analysis = a_run(trial, tmp_path, stop=Others())
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 8
    assert analysis.trials[BAD].last_result["loss"] in (BAD, 1.0)
    assert [trial.last_result["loss"] for i, trial in enumerate(analysis.trials) if i != BAD] == [
        n - 0.5 for n in range(8) if n != BAD
    ]


def test_C2_14_the_budget_ends_a_trial_that_holds_the_interpreter(tmp_path: Path) -> None:
    analysis = a_run(deadly(c_loop), tmp_path, samples=BAD + 1, time_budget_s=1.0)
    assert {one.status for one in analysis.trials} <= {"TERMINATED", "PENDING"}


def test_C2_14_the_budget_holds_for_every_trial_that_reports(tmp_path: Path, executor: str) -> None:
    """Also for a single one that reports for ever, in this process as well."""

    def trial(config: dict[str, Any]) -> None:
        while True:
            time.sleep(0.001)
            tune.report({"loss": 1.0})

    for budget_s in (1.0, 4.0, 16.0):  # on a busy machine none may begin within the first
        analysis = a_run(trial, tmp_path / f"{budget_s}", samples=3, time_budget_s=budget_s, executor=executor)
        assert {one.status for one in analysis.trials} <= {"TERMINATED", "PENDING"}
        if any(one.last_result for one in analysis.trials):
            break
    assert analysis.trials[0].status == "TERMINATED"


# -- the lock that workers share -----------------------------------------------------------------------------


def test_C2_12_killed_while_asha_decides_does_not_hang_the_others(tmp_path: Path) -> None:
    """Every report is a milestone, so a worker is often inside the shared lock when a thread of its own kills it."""
    import fasttune.schedulers as schedulers

    def trial(config: dict[str, Any]) -> None:
        rng = random.Random(config["n"])
        if config["n"] % 3 == 0:
            import threading

            threading.Timer(rng.uniform(0.0001, 0.003), os.kill, (os.getpid(), signal.SIGKILL)).start()
        for step in range(3000):
            tune.report({"loss": rng.random(), "t": 1.0001**step})

    asha = schedulers.ASHAScheduler(time_attr="t", max_t=1e6, grace_period=1, reduction_factor=1.3)
    analysis = a_run(trial, tmp_path, samples=90, scheduler=asha)
    statuses = [one.status for one in analysis.trials]
    assert set(statuses) == {"TERMINATED", "ERROR"}
    assert (
        statuses.count("ERROR") <= 30
    )  # one for each thread that kills; a trial that ends sooner leaves it to the next


def test_C2_12_the_lock_of_a_process_that_died_inside_is_put_right() -> None:
    """A process is killed again and again in a loop that is inside the lock nearly all the time; the rungs stay usable
    and hold what was recorded."""
    from fasttune._core import Asha

    told: dict[str, Any] = {
        "max_t": 100.0,
        "grace_period": 1.0,
        "reduction_factor": 4.0,
        "brackets": 1,
        "maximise": True,
    }
    shared = os.memfd_create("rungs")
    rule = Asha(**told, fd=shared)
    rng = random.Random(3)
    for _ in range(25):
        pid = os.fork()
        if pid == 0:
            mine = random.Random(5)
            while True:
                rule.record(0, 0, mine.random())
        before = rule.sequence
        while rule.sequence < before + rng.randint(1, 3000):
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        rule.record(0, 0, 0.5)
    count = rule.sequence
    rule.record(0, 0, 0.5)
    assert rule.sequence == count + 1
    os.close(shared)
