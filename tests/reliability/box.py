"""A box for programs that would multiply if they were not stopped: few processes, a time limit, and everything ends."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from laboratory import SOURCE

MOST = 60  # processes in a box
CGROUPS = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))


def run_boxed(folder: Path, *argv: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """A Python program in ``folder``, which it imports from and keeps its results below; everything it has started is
    ended behind it."""
    with _few_processes() as enter:
        process = subprocess.Popen(
            [sys.executable, *argv],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": f"{folder}:{SOURCE}",
                "FASTTUNE_RESULTS_DIR": str(folder / "results"),
                **environ,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=enter,
        )
        try:
            out, err = process.communicate(stdin, timeout=60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def experiments_in(folder: Path) -> int:
    """How many runs have begun."""
    results = folder / "results"
    return len(list(results.iterdir())) if results.exists() else 0


@contextmanager
def _few_processes() -> Iterator[Callable[[], None]]:
    """What a child has to call to be in the box: a control group where one can be made, else this user's limit."""
    group = _made_group()
    if group is None:
        yield lambda: resource.setrlimit(resource.RLIMIT_NPROC, (_processes_of_mine() + MOST,) * 2)
        return
    try:
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid())) and None
    finally:
        deadline = time.monotonic() + 10
        while (pids := (group / "cgroup.procs").read_text().split()) and time.monotonic() < deadline:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.005)
        while time.monotonic() < deadline:
            with suppress(OSError):  # zombies that nobody has collected yet
                group.rmdir()
                break
            time.sleep(0.005)


def _made_group() -> Path | None:
    for parent in CGROUPS:
        group = parent / f"fasttune-box-{os.getpid()}-{time.monotonic_ns()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / "pids.max").write_text(str(MOST))
            return group
        except OSError:  # not a place of this controller
            group.rmdir()
    return None


def _processes_of_mine() -> int:
    return sum(
        1 for path in Path("/proc").glob("[0-9]*/task/[0-9]*") if path.exists() and path.stat().st_uid == os.getuid()
    )
