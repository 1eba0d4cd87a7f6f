"""doctor: this machine, or what is whole of an experiment."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from fasttune.cli import CommandError
from fasttune.cli import arguments as common
from fasttune.cli.checks import Check, tell

if TYPE_CHECKING:
    from fasttune.devices.gpu import Gpu

EXAMPLES = """\
  fasttune doctor                                       CPUs, memory, GPUs, versions, does a trial run?
  fasttune doctor mnist                                 what is whole of an experiment
  fasttune doctor mnist --repair                        and a copy of that beside it"""

PACKAGES = ("numpy", "pandas", "psutil", "nvidia-ml-py", "greenlet", "cloudpickle", "rich")
OPTIONAL = ("matplotlib", "scipy", "scikit-learn")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("experiment", metavar="EXP", nargs="?", help="an experiment; default: this machine")
    parser.add_argument("--repair", action="store_true", help="make a copy beside it of all that is whole")
    common.as_json(parser)


def run(asked: argparse.Namespace) -> int:
    """What fasttune finds here, line by line, and whether trials run. 1 when something that is needed does not work."""
    if asked.experiment is not None:
        from fasttune.cli.examination import examine
        from fasttune.cli.finding import find

        return examine(find(asked.experiment), asked.repair, asked.json)
    if asked.repair:
        raise CommandError("--repair needs the folder of an experiment: fasttune doctor EXP --repair")
    return tell([*system(), *devices(), *places(), *executors()], asked.json)


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
    from fasttune.devices.machine import detect

    machine = detect()
    count = os.cpu_count() or 1
    cpus = f"{len(machine.cpus)} of {count}" if len(machine.cpus) < count else str(len(machine.cpus))
    reason = machine.cpu_reason or ("affinity or a cpuset" if len(machine.cpus) < count else "")
    memory = f"{machine.memory_bytes / 2**30:.1f} GiB" if machine.memory_bytes else "unknown"
    lines = [("cpus", True, cpus + (f" ({reason})" if reason else "")), ("memory", True, memory)]
    if not machine.gpus:
        return [*lines, ("gpus", True, "none" + (f" ({machine.gpu_reason})" if machine.gpu_reason else ""))]
    names = [described(gpu) for gpu in machine.gpus]
    rest = [*machine.links, *([machine.gpu_reason] if machine.gpu_reason else [])]
    return [*lines, *(("gpus" if i == 0 else "", True, text) for i, text in enumerate([*names, *rest]))]


def described(gpu: Gpu) -> str:
    """One device: what it is, and where it lies."""
    size = gpu.memory_bytes / 2**30
    parts = [f"{gpu.index}: {gpu.name}", f"{size:.0f} GiB" if size >= 10 else f"{size:.3g} GiB", gpu.uuid]
    if gpu.is_slice:
        parts.append(f"a slice of {gpu.parent}")
    if gpu.pci:
        parts.append(f"PCI {gpu.pci}")
    if gpu.numa is not None:
        parts.append(f"NUMA node {gpu.numa}")
    return ", ".join([*parts, *in_use(gpu)])


def in_use(gpu: Gpu) -> list[str]:
    """How much of a device's memory is used at this moment, and by whom, as far as the driver says."""
    from fasttune.devices.gpu_state import gpu_state

    state = gpu_state(gpu)
    if state.used is None:
        return [state.lost] if state.lost else []
    used = f"{state.used / 2**20:,.0f} MiB used"
    if state.processes is None:
        return [used]
    who = "processes " + ", ".join(map(str, state.processes)) if state.processes else "no process computes on it"
    return [f"{used}, {who}"]


def places() -> list[Check]:
    """Where experiments are stored, and whether they can be."""
    from fasttune.resolve.places import default_storage

    folder = default_storage()
    there = folder
    while not os.path.exists(there):
        there = os.path.dirname(there)
    if not os.access(there, os.W_OK | os.X_OK):
        return [("results", False, f"{folder}: {there} is not writable; set FASTTUNE_RESULTS_DIR")]
    return [("results", True, f"{folder}, {shutil.disk_usage(there).free / 2**30:.1f} GiB free")]


def executors() -> list[Check]:
    """One trial on each that runs them on this machine, everything included."""
    from fasttune.executors import OF_CLUSTERS, executor_names

    return [run_one(name) for name in sorted(executor_names()) if name not in OF_CLUSTERS]


def run_one(executor: str) -> Check:
    import fasttune as tune
    from fasttune.bench.loads import one_awaited_report, one_column, one_report, space
    from fasttune.executors import OF_COLUMNS, OF_COROUTINES

    load: Any = {OF_COROUTINES: one_awaited_report, OF_COLUMNS: one_column}.get(executor, one_report)
    began = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="fasttune-doctor-") as folder:
            tune.run(load, config=space(), executor=executor, storage_path=folder, verbose=0, seed=0)
    except Exception as error:  # whatever it is, it is what we came to hear
        return executor, False, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return executor, True, f"a trial runs, {(time.perf_counter() - began) * 1e3:.0f} ms from call to analysis"
