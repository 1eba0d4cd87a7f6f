"""A laboratory: experiments in processes of their own, which can be killed, and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasttune
import forks
from fasttune.engine.opening import open_records
from fasttune.engine.records import ExperimentRecords
from fasttune.engine.state import ExperimentState
from fasttune.storage.reader import SqliteReader

SCRIPT = Path(__file__).with_name("crash_script.py")
SOURCE = Path(fasttune.__file__).parents[1]
MARK = "FASTTUNE_TEST_MARK"
PATIENCE_S = 30.0  # until a test gives up; nothing here is slow when it works


def wait_until(true: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """The first true answer of ``true()``; the test fails when there is none for long."""
    deadline = time.monotonic() + seconds
    while not (answer := true()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.001)
    return answer


class Lab:
    """One experiment folder, its file of acknowledged reports, and all processes that were started for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.acks_file = folder / "acks"
        self.mark = uuid.uuid4().hex
        self.started: list[subprocess.Popen[str]] = []
        self.new_interpreters = False  # where something is loaded into them that is loaded before all else
        self.read_behind: tuple[Any, str] = (None, "")  # what reopen() read last, and what was acknowledged before
        self.experiment = str(folder / "crash")

    def told(self, trainable: str, executor: str, **more: Any) -> dict[str, Any]:
        """Arguments of crash_script.run."""
        return {
            "trainable": trainable,
            "executor": executor,
            "folder": str(self.folder),
            "acks": str(self.acks_file),
            **more,
        }

    def start(self, told: dict[str, Any], script: Path = SCRIPT) -> subprocess.Popen[str]:
        """The script in a process group of its own."""
        process = (subprocess.Popen if self.new_interpreters else forks.Popen)(
            [sys.executable, str(script), json.dumps(told)],
            env={**os.environ, "PYTHONPATH": str(SOURCE), MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def acks(self) -> list[int]:
        """Numbers of the reports that were acknowledged."""
        return [int(line) for line in self.notes().split()]

    def notes(self) -> str:
        """The file of acknowledged reports as it is."""
        return self.acks_file.read_text() if self.acks_file.exists() else ""

    def wait_for_acks(self, n: int, process: subprocess.Popen[str]) -> bool:
        """Until n more reports than now were acknowledged; False if the run ended before that."""
        size = self.acks_file.stat().st_size if self.acks_file.exists() else 0
        line = len(str(1 << 52)) + 1
        wait_until(
            lambda: (
                process.poll() is not None
                or (self.acks_file.exists() and self.acks_file.stat().st_size >= size + n * (line - 2))
            ),
            f"{n} acknowledged reports",
        )
        return process.poll() is None

    def marked(self) -> list[int]:
        """Processes that carry this laboratory's mark, zombies excluded."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        found.append(int(name))
            except OSError:  # it has ended meanwhile
                continue
        return found

    def kill_everything(self) -> int:
        """kill -9 of every process of the run, as nearly at once as can be; how many there were."""
        pids = self.marked()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return len(pids)

    def nobody_left(self, seconds: float = 2.0) -> None:
        """Fails unless all processes of the run are gone soon."""
        wait_until(lambda: not self.marked(), f"processes are left: {self.marked()}", seconds)

    def reopen(self) -> ExperimentState:
        """The experiment as it is read now. What is acknowledged later, by workers that live on for a moment behind their
        driver, need not be in it."""
        notes = self.notes()
        state: Any = open_records(self.experiment)
        self.read_behind = (state, notes)
        return state

    def reopen_as_it_is(self) -> ExperimentRecords:
        """What the database says while somebody writes it."""
        return ExperimentRecords.read(SqliteReader(self.experiment), self.experiment)

    def close(self) -> None:
        self.kill_everything()  # first: they may hold the pipes that are read below
        for process in self.started:
            process.communicate(timeout=PATIENCE_S)


def numbers_of(state: Any) -> list[int]:
    """Numbers of the reports that the journal holds."""
    found: list[int] = []
    for block in state.report_blocks():
        column = memoryview(block.values[block.keys.index("number")])
        found.extend(int(value) for value in column.cast("B").cast("d"))
    return found


def check_acks(lab: Lab, state: Any) -> int:
    """Every report that was acknowledged before the state was read is there exactly once; how many there are."""
    found = numbers_of(state)
    assert len(set(found)) == len(found), "a report is there twice"
    read, notes = lab.read_behind
    acks = [int(line) for line in notes.split()] if read is state else lab.acks()
    lost = set(acks) - set(found)
    assert not lost, f"{len(lost)} of {len(acks)} acknowledged reports are lost"
    return len(found)
