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
from typing import Any

from laboratory import SOURCE

import forks

MOST = 60  # processes in a box
CGROUPS = Path("/sys/fs/cgroup")


def run_boxed(
    folder: Path, *argv: str, stdin: str = "", enter: Callable[[int], None] | None = None, new: bool = False, **environ: str
) -> subprocess.CompletedProcess[str]:
    """A Python program in ``folder``, which it imports from and keeps its results below; everything it has started is
    ended behind it. ``enter``: what else is done with the process before it begins. ``new``: it
    is a new interpreter."""
    with _few_processes() as enter_box:

        def placed(pid: int) -> None:
            enter_box(pid)
            if enter is not None:
                enter(pid)

        begun: dict[str, Any] = {"preexec_fn": lambda: placed(os.getpid())} if new else {"placed": placed}
        process = (subprocess.Popen if new else forks.Popen)(
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
            **begun,
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
def _few_processes() -> Iterator[Callable[[int], None]]:
    """What puts a process into the box: a control group where one can be made, else this user's limit."""

    def limit(pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_NPROC, (_processes_of_mine() + MOST,) * 2)

    with control_group("pids", {"pids.max": MOST}) as enter:
        yield enter or limit


@contextmanager
def control_group(controller: str, *settings: dict[str, int]) -> Iterator[Callable[[int], None] | None]:
    """What puts a process into a new control group in which one of these settings holds; None where no such group can be made.
    Everything in it is killed in the end."""
    group = _made_group(controller, settings)
    if group is None:
        yield None
        return

    def enter(pid: int) -> None:
        (group / "cgroup.procs").write_text(str(pid))

    try:
        yield enter
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


def _made_group(controller: str, settings: tuple[dict[str, int], ...]) -> Path | None:
    for parent in (CGROUPS / controller, CGROUPS):
        group = parent / f"fasttune-box-{os.getpid()}-{time.monotonic_ns()}"
        try:
            group.mkdir()
        except OSError:
            continue
        for setting in settings:
            if _set(group, setting):
                return group
        with suppress(OSError):  # a folder, and not a place of control groups
            group.rmdir()
    return None


def _set(group: Path, setting: dict[str, int]) -> bool:
    try:
        for name, value in setting.items():
            if not (group / name).exists():
                return False
            (group / name).write_text(str(value))
    except OSError:
        return False
    return True


def _processes_of_mine() -> int:
    return sum(
        1 for path in Path("/proc").glob("[0-9]*/task/[0-9]*") if path.exists() and path.stat().st_uid == os.getuid()
    )
