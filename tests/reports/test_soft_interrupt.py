"""SIGUSR1 ends a run softly: results are returned, nobody is killed, and children are not changed by it."""

import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
import forks
from fasttune.engine.interrupts import has_no_handler

PROGRAM = """
import os, signal, subprocess, sys, time
import fasttune as tune

def endless(config):
    # what a trial starts is ended by the signal, as ever
    child = subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"], stdout=subprocess.PIPE)
    child.stdout.readline()
    child.send_signal(signal.SIGUSR1)
    died = child.wait(30) == -signal.SIGUSR1
    child.stdout.close()
    while True:
        time.sleep(0.001)
        tune.report(x=1, died=died)

class Presses(tune.Callback):
    def on_trial_result(self, *, result, **info):
        if not hasattr(self, "pressed"):
            self.pressed = True
            forked = os.fork()
            if forked == 0:
                os._exit(0 if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL else 1)
            assert os.waitpid(forked, 0)[1] == 0, "a child has our handler"
            if sys.argv[2] == "group":
                for pid in others():
                    os.kill(pid, signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR1)

def others():
    mine = {os.getpid()}
    stats = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                told = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()
            except OSError:
                continue
            stats.append((int(name), int(told[1])))
    for _ in range(5):
        mine |= {pid for pid, parent in stats if parent in mine}
    return mine - {os.getpid()}

if __name__ == "__main__":
    analysis = tune.run(endless, callbacks=[Presses()], executor=sys.argv[1], verbose=0, storage_path=sys.argv[3])
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    last = analysis.trials[0].last_result
    print(analysis.trials[0].status, last["died"], analysis.trials[0].num_failures)
"""


@pytest.mark.parametrize(("executor", "whom"), [("inline", "driver"), ("process", "driver"), ("process", "group")])
def test_it_returns_what_there_is(tmp_path: Path, executor: str, whom: str) -> None:
    """The signal that a batch system sends before the time is up killed the run, with everything that was printed."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script), executor, whom, str(tmp_path / "results")]
    done = forks.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    status, died, failures = done.stdout.split()
    assert (died, failures) == ("True", "0")
    assert status in ("RUNNING", "TERMINATED")


def test_who_handles_it_keeps_it(tmp_path: Path) -> None:
    """A run took the signal away from who had asked for it, in Python or in C."""

    def sees(config: dict[str, Any]) -> dict[str, Any]:
        return {"mine": signal.getsignal(signal.SIGUSR1) is mine, "free": has_no_handler(signal.SIGUSR1)}

    def run() -> dict[str, Any]:
        return dict(tune.run(sees, executor="inline", verbose=0, storage_path=str(tmp_path)).trials[0].last_result)

    mine: Any = lambda number, frame: None  # noqa: E731
    before = signal.signal(signal.SIGUSR1, mine)
    try:
        assert run()["mine"]
        assert signal.getsignal(signal.SIGUSR1) is mine
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert has_no_handler(signal.SIGUSR1)
    with open(os.devnull, "w") as nowhere:
        faulthandler.register(signal.SIGUSR1, file=nowhere)
        try:
            assert not has_no_handler(signal.SIGUSR1)
            run()
            assert not has_no_handler(signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR1)
        finally:
            faulthandler.unregister(signal.SIGUSR1)
    assert has_no_handler(signal.SIGUSR1)
