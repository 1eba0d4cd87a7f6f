"""What large data costs in memory when workers share it, and what it would cost if each had a copy.

    python -m benchmarks.shared_memory                     an array of 1 GB, 8 workers, about a minute
    python -m benchmarks.shared_memory --mib 256 --workers 4

Each row is a run in a process of its own: as many trials as workers add up the array, and wait while the memory of all processes
is read: PSS of /proc/PID/smaps_rollup, in which a page that n processes have counts 1/n in each. "data" is what the workers and
their server have more than in a run without any; the driver has the array that it made besides, unless that is a file's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

CASES = ("array", "frame", "mapped file", "array, a copy each")
GO = "go"  # the file that ends the trials


def made(case: str, mib: int, folder: Path) -> Any:
    """The data of a case."""
    import numpy as np
    import pandas as pd

    array = np.arange(mib * 2**17, dtype=float)
    if case == "frame":
        return pd.DataFrame(array.reshape(-1, 8), columns=list("abcdefgh"), copy=False)
    if case == "mapped file":
        np.save(folder / "data.npy", array)
        del array
        return np.load(folder / "data.npy", mmap_mode="r")
    return array


def measured(case: str, mib: int, workers: int) -> dict[str, float]:
    """Bytes of the driver and of its workers, and the seconds until the last of these had added it all up."""
    import fasttune as tune
    from fasttune.executors import process
    from fasttune.out_of_band import Buffers

    if case.endswith("a copy each"):
        process.Buffers = partial(Buffers, smallest=1 << 62)  # type: ignore[misc, assignment]
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        data = made(case, mib, folder)
        began = time.monotonic()

        class Measure(tune.Callback):
            reports = 0

            def on_trial_result(self, **_: Any) -> None:
                self.reports += 1
                if self.reports == workers:
                    found.update(seconds=time.monotonic() - began, **memory_of_all())
                    (folder / GO).touch()

        def train(config: dict[str, Any], data: Any) -> None:
            tune.report(sum=float(data.sum() if data.ndim == 1 else data.to_numpy().sum()))
            while not (folder / GO).exists():
                time.sleep(0.01)

        tune.run(
            tune.with_parameters(train, data=data), num_samples=workers, resources_per_trial={"cpu": 0}, verbose=0,
            max_concurrent_trials=workers, executor="process", storage_path=name, callbacks=[Measure()],
        )  # fmt: skip
    return found


def memory_of_all() -> dict[str, float]:
    """Bytes of PSS of this process, and of all that come from it."""
    parents = {int(path.name): parent(path) for path in Path("/proc").iterdir() if path.name.isdecimal()}
    below, waiting = [], [os.getpid()]
    for pid in waiting:
        waiting += (children := [child for child, its in parents.items() if its == pid])
        below += children
    return {"driver": pss(os.getpid()), "workers": sum(map(pss, below)), "processes": len(below)}


def parent(folder: Path) -> int:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def pss(pid: int) -> int:
    """Bytes; 0 for a process that has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="the array's size")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--case", choices=CASES, help="this one alone, as JSON")
    asked = parser.parse_args()
    if asked.case:
        print(json.dumps(measured(asked.case, asked.mib, asked.workers)))
        return
    print(f"{asked.mib} MiB of data, {asked.workers} workers; MiB of PSS")
    print(f"{'':20}{'driver':>9}{'workers':>9}{'data':>9}{'x size':>8}{'in all':>9}{'seconds':>9}")
    without = {case: in_a_process(case, 0, asked.workers) for case in ("array", "frame")}
    for case in CASES:
        row = in_a_process(case, asked.mib, asked.workers)
        driver, workers = row["driver"] / 2**20, row["workers"] / 2**20
        data = workers - without.get(case, without["array"])["workers"] / 2**20
        print(
            f"{case:20}{driver:9.0f}{workers:9.0f}{data:9.0f}{data / asked.mib:8.2f}{driver + workers:9.0f}{row['seconds']:9.1f}"
        )


def in_a_process(case: str, mib: int, workers: int) -> dict[str, float]:
    """What ``measured`` finds in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.shared_memory", "--case", case, "--mib", str(mib), "--workers", str(workers)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
