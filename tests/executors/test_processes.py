"""What the kernel says of processes, of some that were made for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import forks
from fasttune import processes
from fasttune.processes import children_of, descends_from, family, is_running, read_small, standing_of

NOBODY = 4_123_456


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def state(pid: int) -> str:
    found = standing_of(pid)
    return "gone" if found is None else found.state


def test_of_this_process_and_of_none() -> None:
    found = standing_of(os.getpid())
    assert found is not None
    assert (found.parent, found.group) == (os.getppid(), os.getpgrp())
    assert is_running(os.getpid())
    assert standing_of(NOBODY) is None
    assert not is_running(NOBODY)
    assert (children_of(NOBODY), read_small(f"/proc/{NOBODY}/stat")) == ([], b"")


def test_stopped_and_waiting_to_be_collected() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        child.send_signal(signal.SIGSTOP)
        until(lambda: state(child.pid) == "T")
        assert is_running(child.pid)
        assert descends_from(child.pid, [os.getpid()])
        assert child.pid in family(os.getpid())
        child.kill()
        until(lambda: state(child.pid) == "Z")
        assert not is_running(child.pid)
    assert state(child.pid) == "gone"


CALLS_ITSELF = """
import ctypes, os, sys, time
ctypes.CDLL(None).prctl(15, b") R 1 1 (")
print("named", flush=True)
sys.stdin.read()
"""


def test_a_name_that_looks_like_the_rest_of_the_line() -> None:
    with subprocess.Popen([sys.executable, "-c", CALLS_ITSELF], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = standing_of(child.pid)
        assert found is not None
        assert (found.parent, found.group) == (os.getpid(), os.getpgrp())
        child.communicate(b"")


LEAVES_ONE = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1)  # it becomes the parent of those whose own has ended
sys.path[:0] = {path!r}
from fasttune.processes import children_of, orphans
worker = os.fork()
if worker == 0:
    os.setpgid(0, 0)
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(left.pid, flush=True)
    os._exit(0)
os.waitpid(worker, 0)
(left,) = children_of(os.getpid())
print(orphans(os.getpid(), []) == {{worker: [left]}}, orphans(os.getpid(), [left]) == {{}}, flush=True)
os.kill(left, 9)
"""


def test_what_a_worker_leaves_is_known_by_its_group() -> None:
    path = os.path.dirname(os.path.dirname(processes.__file__))
    done = forks.run(
        [sys.executable, "-c", LEAVES_ONE.format(path=[path])], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[1:] == ["True True"], done.stderr
