"""Rows R11, F6 and F7: Ctrl-C, a killed driver, and a function that does not end, from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
import forks

SOURCE = str(Path(tune.__file__).resolve().parent.parent)
PATIENCE_S = 60

PROGRAM = """
import sys, time
import fasttune as tune

def train(config):
    for step in range(100_000):
        tune.report(step=step)
        with open(config["log"], "a") as file:
            file.write(f"{tune.get_trial_id()} {step + 1}\\n")
        time.sleep(0.005)

if __name__ == "__main__":
    stop = {"training_iteration": int(sys.argv[4])} if len(sys.argv) > 4 else None
    analysis = tune.run(train, config={"log": sys.argv[2]}, name="one", storage_path=sys.argv[1], executor=sys.argv[3], num_samples=2,
                        stop=stop, resources_per_trial={"cpu": 0.5}, resume="AUTO", verbose=0)
    print("back", *[trial.last_result.get("training_iteration") for trial in analysis.trials], flush=True)
"""


def wait_until(true: Callable[[], Any], what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until, f"waited in vain: {what}"
        time.sleep(0.005)


class Program:
    """A script that runs an experiment in a process of its own."""

    def __init__(self, folder: Path, executor: str) -> None:
        self.folder, self.executor = folder, executor
        self.script = folder / "train.py"
        self.script.write_text(PROGRAM)
        self.log = folder / "log.txt"
        self.log.touch()

    def start(self, *last: object) -> subprocess.Popen[str]:
        told = [self.folder / "runs", self.log, self.executor, *last]
        return forks.Popen(
            [sys.executable, str(self.script), *map(str, told)],
            env={**os.environ, "PYTHONPATH": SOURCE},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def reported(self) -> dict[str, int]:
        """The last step of each trial whose report has returned."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return {line[0]: int(line[1]) for line in lines if len(line) == 2}

    def stored(self) -> dict[str, int]:
        analysis = tune.ExperimentAnalysis(self.folder / "runs" / "one")
        return {
            trial.trial_id: trial.last_result["training_iteration"] for trial in analysis.trials if trial.last_result
        }


@pytest.fixture
def program(tmp_path: Path, executor: str) -> Program:
    return Program(tmp_path, executor)


def test_R11_ctrl_c_gives_the_analysis_and_the_run_goes_on(program):
    process = program.start()
    wait_until(lambda: len(program.log.read_text().splitlines()) > 20, "reports")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert out.startswith("back")
    before = program.stored()
    assert all(before[name] >= step for name, step in program.reported().items())
    again = program.start(max(before.values()) + 5)
    out, err = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0, err
    assert out.split()[1:] == [str(max(before.values()) + 5)] * 2


def test_R11_a_second_ctrl_c_ends_the_program(program):
    process = program.start()
    wait_until(lambda: program.reported(), "a report")
    ended = False
    until = time.monotonic() + PATIENCE_S
    while not ended and time.monotonic() < until:  # the second counts from a second behind the first on
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=1.2)
            ended = True
        except subprocess.TimeoutExpired:
            pass
    process.communicate()
    assert ended


def test_F6_a_killed_driver_loses_no_report_that_returned(program):
    process = program.start()
    wait_until(lambda: len(program.log.read_text().splitlines()) > 20, "reports")
    process.kill()
    process.communicate()
    reported = program.reported()
    stored = program.stored()
    assert all(stored[name] >= step for name, step in reported.items())
    again = program.start(max(stored.values()) + 3)
    out, err = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0, err
    assert out.split()[1:] == [str(max(stored.values()) + 3)] * 2


class Once(tune.Stopper):
    """Ends everything once a file is there."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.mark.exists()


def test_F7_a_function_that_never_reports_is_ended(tmp_path):
    def hangs(config):
        Path(config["mark"]).touch()
        while True:
            time.sleep(0.01)

    mark = tmp_path / "begun"
    analysis = tune.run(hangs, config={"mark": str(mark)}, stop=Once(mark), storage_path=tmp_path / "runs", verbose=0)
    assert analysis.trials[0].status == "TERMINATED"


def test_F7_one_that_reports_and_then_hangs_is_ended_too(tmp_path):
    def hangs(config):
        tune.report(x=1)
        Path(config["mark"]).touch()
        while True:
            time.sleep(0.01)

    mark = tmp_path / "reported"
    analysis = tune.run(hangs, config={"mark": str(mark)}, stop=Once(mark), storage_path=tmp_path / "runs", verbose=0)
    assert analysis.trials[0].last_result["x"] == 1
