"""One measurement: a program in a process of its own, watched from outside, within a time limit."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
from benchmarks.peers.environments import environ_of
from benchmarks.peers.workloads import Contender, Measurement

PROGRAMS = Path(__file__).resolve().parent / "programs"

IMPORT_ONLY = """
import json, {module}
with open("/proc/self/status") as status:
    kilobytes = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
print(json.dumps({{"mb": kilobytes / 1024}}))
"""


class MeasurementError(Exception):
    """The program failed or ran out of time; the message says which."""


def measure(contender: Contender, n: int, python: str, limit: float, memory: bool) -> Measurement:
    """Run the contender's program once. Whatever it stored is thrown away, whatever it started is ended."""
    with tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as folder:
        store = Path(folder) / "store"
        store.mkdir()
        first = Path(folder) / "first_result"
        with open(Path(folder) / "out", "w+") as out, open(Path(folder) / "err", "w+") as err:
            started_at, started = time.time(), time.perf_counter()
            process = psutil.Popen(
                command(contender, n, python, store),
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                cwd=folder,
                env={**environ_of(contender.env), "PEERS_FIRST_RESULT": str(first)},
            )
            try:
                peak = watch(process, started + limit, memory)
                wall = time.perf_counter() - started
            finally:
                end_tree(process)
            out.seek(0)
            err.seek(0)
            lines, complaint = out.read().splitlines(), err.read().strip().splitlines()
        if process.returncode != 0:
            raise MeasurementError(complaint[-1] if complaint else f"exit code {process.returncode}")
        first_at = float(first.read_text()) - started_at if first.exists() else None
        return Measurement(json.loads(lines[-1]), wall, first_at, peak)


def command(contender: Contender, n: int, python: str, store: Path) -> list[str]:
    kind, _, module = contender.work.partition(":")
    if kind == "import":
        return [python, "-c", IMPORT_ONLY.format(module=module)]
    return [
        python,
        str(PROGRAMS / f"run_{contender.env}.py"),
        contender.work,
        "--n",
        str(n),
        "--folder",
        str(store),
    ]


def watch(process: psutil.Popen, deadline: float, memory: bool) -> float | None:
    """Wait for the end; give the highest memory seen, if asked to look (which disturbs a timing)."""
    peak = 0.0
    while True:
        if memory:
            peak = max(peak, tree_mb(process))
        try:
            process.wait(0.02 if memory else max(0.0, deadline - time.perf_counter()))
            return peak if memory else None
        except psutil.TimeoutExpired:
            if time.perf_counter() >= deadline:
                raise MeasurementError("not finished within the time limit") from None


def tree_mb(process: psutil.Popen) -> float:
    """Proportional set size of a process and all below it: pages that several share are counted once."""
    total = 0
    for member in [process, *children_of(process)]:
        try:
            with open(f"/proc/{member.pid}/smaps_rollup") as rollup:
                total += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        except (OSError, StopIteration):  # it has ended meanwhile
            continue
    return total / 1024


def children_of(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def end_tree(process: psutil.Popen) -> None:
    for member in [*children_of(process), process]:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
