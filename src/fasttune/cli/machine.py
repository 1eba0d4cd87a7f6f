"""bench and doctor: this machine."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from typing import Any

from fasttune.cli import CommandError
from fasttune.cli.listing import print_json

PACKAGES = ("numpy", "pandas", "psutil", "nvidia-ml-py", "greenlet", "cloudpickle", "rich")
OPTIONAL = ("matplotlib", "scipy", "scikit-learn")
OK, BAD = "ok", "FAILED"


def bench(asked: Namespace) -> int:
    """Measure, print, and write what was asked for. 1 when a measurement failed."""
    from fasttune.bench import benchmark

    if asked.plot:
        check_plot(asked.plot)
    on_terminal = sys.stderr.isatty()
    try:
        report = benchmark(
            asked.schedulers,
            asked.executors,
            trials=asked.trials,
            reports=asked.reports,
            seconds=asked.seconds,
            repeats=asked.repeats,
            seed=asked.seed,
            quick=asked.quick,
            progress=say if on_terminal else None,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    finally:
        if on_terminal:
            say("")
    if asked.json == "-":
        print(report.to_json(), end="")
    else:
        show(report)
        if asked.json:
            report.to_json(asked.json)
    if asked.plot:
        report.plot(asked.plot)
    for path in filter(None, (asked.json if asked.json != "-" else None, asked.plot)):
        print(f"written to {path}", file=sys.stderr)
    return int(any(row.error for row in report.rows))


def check_plot(path: str) -> None:
    """Say before minutes of measuring what would fail after them."""
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError("--plot needs matplotlib, which is not installed: pip install 'fasttune[plots]'")
    if os.path.splitext(path)[1].lower() not in (".png", ".svg", ".pdf"):
        raise CommandError(f"--plot takes a file that ends with .png, .svg or .pdf, got {path!r}")


def say(line: str) -> None:
    """The line that tells what is being measured, over the one before."""
    print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def show(report: Any) -> None:
    if not sys.stdout.isatty():
        print(report)
        return
    from rich.console import Console

    Console(highlight=False).print(report)


# ---- doctor


def doctor(asked: Namespace) -> int:
    """What fasttune finds here, line by line, and whether trials run. 1 when something that is needed does not work."""
    if asked.path is not None:
        from fasttune.cli.examination import examine

        return examine(asked.path, asked.repair, asked.json)
    if asked.repair:
        raise CommandError("--repair needs the folder of an experiment: fasttune doctor PATH --repair")
    return tell([*system(), *devices(), *places(), *executors()], asked.json)


Check = tuple[str, bool, str]


def tell(checks: list[Check], as_json: bool) -> int:
    """Print what was found; the exit code."""
    if as_json:
        print_json({name: {"ok": ok, "text": text} for name, ok, text in checks})
    else:
        width = max(len(name) for name, _, _ in checks)
        for name, ok, text in checks:
            print(f"{name.ljust(width)}  {'' if ok else BAD + ': '}{text}")
    return int(not all(ok for _, ok, _ in checks))


def system() -> list[Check]:
    """Versions."""
    from fasttune.bench.report import cpu_name, version

    checks = [
        ("fasttune", True, f"{version()}, in {os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}"),
        ("python", True, f"{platform.python_version()}, {sys.executable}"),
        ("system", True, f"{platform.system()} {platform.release()}, {cpu_name()}"),
    ]
    found = {name: installed(name) for name in (*PACKAGES, *OPTIONAL)}
    missing = [name for name in PACKAGES if found[name] is None]
    have = ", ".join(f"{name} {found[name]}" for name in found if found[name])
    lacking = f"; missing: {', '.join(missing)} (pip install fasttune)" if missing else ""
    return [*checks, ("packages", not missing, have + lacking)]


def installed(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def devices() -> list[Check]:
    """CPUs, memory and GPUs as trials get them, and what keeps others from them."""
    from fasttune.machine import detect

    machine = detect()
    count = os.cpu_count() or 1
    cpus = f"{len(machine.cpus)} of {count}" if len(machine.cpus) < count else str(len(machine.cpus))
    reason = machine.cpu_reason or ("affinity or a cpuset" if len(machine.cpus) < count else "")
    memory = f"{machine.memory_bytes / 2**30:.1f} GiB" if machine.memory_bytes else "unknown"
    lines = [("cpus", True, cpus + (f" ({reason})" if reason else "")), ("memory", True, memory)]
    if not machine.gpus:
        return [*lines, ("gpus", True, "none" + (f" ({machine.gpu_reason})" if machine.gpu_reason else ""))]
    names = [f"{gpu.index}: {gpu.name}, {gpu.memory_bytes / 2**30:.0f} GiB, {gpu.uuid}" for gpu in machine.gpus]
    rest = [machine.gpu_reason] if machine.gpu_reason else []
    return [*lines, *(("gpus" if i == 0 else "", True, text) for i, text in enumerate([*names, *rest]))]


def places() -> list[Check]:
    """Where experiments are stored, and whether they can be."""
    from fasttune.resolve import default_storage

    folder = default_storage()
    there = folder
    while not os.path.exists(there):
        there = os.path.dirname(there)
    if not os.access(there, os.W_OK | os.X_OK):
        return [("results", False, f"{folder}: {there} is not writable; set FASTTUNE_RESULTS_DIR")]
    return [("results", True, f"{folder}, {shutil.disk_usage(there).free / 2**30:.1f} GiB free")]


def executors() -> list[Check]:
    """One trial on each, everything included."""
    from fasttune.executors import EXECUTORS

    return [run_one(name) for name in sorted(EXECUTORS)]


def run_one(executor: str) -> Check:
    import fasttune as tune
    from fasttune.bench.loads import one_report, space

    began = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="fasttune-doctor-") as folder:
            tune.run(one_report, config=space(), executor=executor, storage_path=folder, verbose=0, seed=0)
    except Exception as error:  # whatever it is, it is what we came to hear
        return executor, False, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return executor, True, f"a trial runs, {(time.perf_counter() - began) * 1e3:.0f} ms from call to analysis"
