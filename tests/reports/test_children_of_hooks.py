"""What hooks and trials start themselves ends by the signals that it is sent, whatever started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import Searcher


def say_so_and_sleep(place: str) -> None:
    Path(place).write_text("up")
    time.sleep(60)


def end_a_child(how: str, folder: Path) -> int:
    """The exit status of a child that was sent SIGTERM."""
    place = folder / f"up {how}"
    place.unlink(missing_ok=True)
    process: Any
    if how == "subprocess":
        program = f"import pathlib, time; pathlib.Path({str(place)!r}).write_text('up'); time.sleep(60)"
        process = subprocess.Popen([sys.executable, "-c", program])
    else:
        process = multiprocessing.get_context(how).Process(target=say_so_and_sleep, args=(str(place),))
        process.start()
    while not place.exists():
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGTERM)
    if how == "subprocess":
        return int(process.wait(30))
    process.join(30)
    status: int = process.exitcode
    process.close()
    return status


@pytest.mark.parametrize("how", ["fork", "subprocess"])
@pytest.mark.parametrize("where", ["callback", "searcher", "stopper", "inline trial"])
def test_children_end_by_sigterm(tmp_path: Path, how: str, where: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A data loader that a callback or an inline trial had started ignored SIGTERM, and printed a KeyboardInterrupt."""
    statuses: list[int] = []

    def here(place: str) -> None:
        if place == where and not statuses:
            statuses.append(end_a_child(how, tmp_path))

    class Hook(tune.Callback):
        def on_trial_result(self, **info: Any) -> None:
            here("callback")

    class One(Searcher):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            here("searcher")
            return {"x": 1}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None: ...

    def stop(trial_id: str, result: dict[str, Any]) -> bool:
        here("stopper")
        return False

    def train(config: dict[str, Any]) -> None:
        here("inline trial")
        tune.report(loss=1.0)

    told = tune.run(train, search_alg=One(), callbacks=[Hook()], stop=stop, executor="inline", verbose=0)
    assert statuses == [-signal.SIGTERM]
    assert told.trials[0].status == "TERMINATED"
    assert "KeyboardInterrupt" not in capfd.readouterr().err
