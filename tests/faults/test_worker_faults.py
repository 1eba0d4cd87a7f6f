"""Workers that die, hang, or are stopped: how long that costs, and nobody else pays for it (C2 rows 11, 12, 14, 16)."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from laboratory import wait_until

import fasttune as tune
from fasttune.processes import standing_of

Note = Callable[[str, object], None]


def run(trainable: Any, folder: Path, **more: Any) -> tune.ExperimentAnalysis:
    given: dict[str, Any] = {
        "metric": "loss",
        "mode": "min",
        "storage_path": str(folder / "runs"),
        "executor": "process",
        "resources_per_trial": {"cpu": 0.25},
        "verbose": 0,
        "raise_on_failed_trial": False,
    }
    return tune.run(trainable, **{**given, **more})


@pytest.mark.parametrize(
    "deaths", [pytest.param(6, id="few"), pytest.param(100, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_C2_11_a_dead_worker_is_replaced_at_once(tmp_path: Path, deaths: int, record_property: Note) -> None:
    """One at a time, and every second one dies of a segfault: how long until the next one runs."""

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0, at=time.time())
        if config["i"] % 2:
            ctypes.string_at(0)

    space = {"i": tune.grid_search(list(range(2 * deaths + 1)))}
    analysis = run(train, tmp_path, config=space, max_concurrent_trials=1)
    statuses = [trial.status for trial in analysis.trials]
    assert statuses == ["TERMINATED", "ERROR"] * deaths + ["TERMINATED"]
    at = [trial.last_result["at"] for trial in analysis.trials]
    waits = [1000 * (at[i + 1] - at[i]) for i in range(1, len(at) - 1, 2)]
    record_property("deaths", deaths)
    record_property("others that failed", 0)
    record_property("replaced after (ms, median)", round(sorted(waits)[len(waits) // 2], 1))


DEATHS: dict[str, tuple[Callable[[], object], str]] = {
    "segfault": (lambda: ctypes.string_at(0), "SIGSEGV"),
    "abort": (os.abort, "SIGABRT"),
    "kill": (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
    "bus error": (lambda: os.kill(os.getpid(), signal.SIGBUS), "SIGBUS"),
    "left with 0": (lambda: os._exit(0), "status 0"),
    "left with 3": (lambda: os._exit(3), "status 3"),
}


def test_C2_12_13_every_cause_is_told_apart(tmp_path: Path, record_property: Note) -> None:
    names = list(DEATHS)

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        DEATHS[config["how"]][0]()

    analysis = run(train, tmp_path, config={"how": tune.grid_search(names)})
    right = [DEATHS[name][1] in str(trial.get_error()) for name, trial in zip(names, analysis.trials, strict=True)]
    record_property("causes", len(right))
    record_property("causes told right", sum(right))
    assert all(right)


def python_loop() -> None:
    while True:
        pass


def c_loop() -> None:
    ctypes.PyDLL(None).sleep(1000)  # holds the interpreter


def blocked_in_a_read() -> None:
    reading, _ = os.pipe()
    os.read(reading, 1)


def deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            time.sleep(1)
        except BaseException:
            continue


HANGS = (python_loop, c_loop, blocked_in_a_read, deaf)


def test_C2_14_15_what_does_not_listen_is_ended_soon(tmp_path: Path, record_property: Note) -> None:
    """The run is told to end when all of them hang, as by its budget; how long until it has."""
    files = tmp_path / "files"
    files.mkdir()

    class AllHang(tune.Stopper):
        asks_every_report = False
        told = 0.0

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            if len(os.listdir(files)) == len(HANGS) and not self.told:
                self.told = time.monotonic()
            return self.told > 0

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        (files / str(config["i"])).touch()
        HANGS[config["i"]]()

    stopper = AllHang()
    analysis = run(train, tmp_path, config={"i": tune.grid_search(list(range(len(HANGS))))}, stop=stopper)
    took = time.monotonic() - stopper.told
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * len(HANGS)
    record_property("hanging trials", len(HANGS))
    record_property("most seconds until all are ended", round(took, 2))
    assert took < 30  # a second of grace, and the load of the machine


def test_C2_16_a_stopped_worker_keeps_nobody_up_and_reports_nothing_twice(tmp_path: Path, record_property: Note) -> None:
    """A trial stops its process in the middle; when all others have ended, it is sent on."""
    files = tmp_path / "files"
    files.mkdir()

    class WakesIt(tune.Callback):
        sent = False

        def on_trial_complete(self, trials: Any, **told: Any) -> None:
            if sum(trial.status == "TERMINATED" for trial in trials) == 7 and not self.sent:  # told of two at once: both see 7
                self.sent = True
                pid = int(wait_until(lambda: next(files.glob("stops_*"), None), "the stopped worker").name[6:])
                wait_until(lambda: standing_of(pid).state == "T", "it has been stopped")  # sent on before that, it would stop for good
                os.kill(pid, signal.SIGCONT)

    def train(config: dict[str, Any]) -> None:
        for step in range(6):
            if config["i"] == 2 and step == 3:
                (files / f"stops_{os.getpid()}").touch()
                os.kill(os.getpid(), signal.SIGSTOP)
            tune.report(loss=float(step), number=config["i"] * 100 + step)

    space = {"i": tune.grid_search(list(range(8)))}
    analysis = run(train, tmp_path, config=space, callbacks=[WakesIt()], max_concurrent_trials=2)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 8
    numbers = sorted(int(n) for frame in analysis.trial_dataframes.values() for n in frame["number"])
    assert numbers == [i * 100 + step for i in range(8) for step in range(6)]
    record_property("duplicates", len(numbers) - len(set(numbers)))
