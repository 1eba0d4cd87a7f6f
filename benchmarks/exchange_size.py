"""What it takes to export an experiment of 10^5 trials with ten reports each: a table, a process of its own for each form.

    python -m benchmarks.exchange_size                            some minutes
    python -m benchmarks.exchange_size --folder FOLDER --only ray,optuna

MLflow's client takes tens of milliseconds for a run, so its row is of ``--mlflow`` trials. A form whose library is not
installed is said to be so. CPU seconds are those of the process alone, the experiment opened before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.analysis_size import REPORTS, made, opened

# name -> (form, name of what is written, options)
EXPORTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "csv, trials": ("csv", "trials.csv", {"table": "trials"}),
    "csv, reports": ("csv", "reports.csv", {"table": "reports"}),
    "jsonl, trials": ("jsonl", "trials.jsonl", {"table": "trials"}),
    "jsonl, reports": ("jsonl", "reports.jsonl", {"table": "reports"}),
    "parquet, trials": ("parquet", "trials.parquet", {"table": "trials"}),
    "parquet, reports": ("parquet", "reports.parquet", {"table": "reports"}),
    "sqlite": ("sqlite", "tables.sqlite", {}),
    "ray": ("ray", "rayed", {}),
    "optuna, SQLite": ("optuna", "study.db", {}),
    "optuna, journal": ("optuna", "study.log", {}),
    "mlflow": ("mlflow", "mlflow.db", {}),
}


def in_child(export: str, path: Path, folder: Path) -> None:
    """Time one export and print it as JSON."""
    import resource

    form, name, options = EXPORTS[export]
    analysis = opened(path)
    began, cpu = time.perf_counter(), time.process_time()
    analysis.export(folder / name, form, **options)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    written = [one.stat().st_size for one in folder.rglob("*") if one.is_file()]
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak, "size": sum(written) / 2**20, "files": len(written)}))


def row(export: str, path: Path) -> str:
    """One line of the table."""
    folder = Path(tempfile.mkdtemp(dir=path.parent))
    command = [sys.executable, "-m", "benchmarks.exchange_size", "--export", export, "--path", str(path), "--into", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        shutil.rmtree(folder)
    if done.returncode:
        if "ImportError" in done.stderr or "ModuleNotFoundError" in done.stderr:
            return f"{export:20} not installed"
        raise SystemExit(f"{export} failed: {done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    trials = int(path.name.rpartition("-")[2])
    cells = f"{found['seconds']:10.1f}{found['cpu']:10.1f}{found['peak']:11,.0f}{found['size']:11,.0f}{found['files']:10,}"
    return f"{export:20}{trials:10,}{cells}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exchange_size", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--mlflow", type=int, default=1_000, help="trials of MLflow's row")
    parser.add_argument("--only", default="", help="beginnings of names of exports, with commas between them")
    parser.add_argument("--folder", type=Path, help="where the experiments are, or are made; default: a temporary one")
    for hidden in ("--export", "--path", "--into"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.export:
        in_child(asked.export, Path(asked.path), Path(asked.into))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        print(f"{REPORTS} reports for each trial")
        print(f"{'':20}{'trials':>10}{'wall s':>10}{'cpu s':>10}{'peak MiB':>11}{'size MiB':>11}{'files':>10}")
        for export in EXPORTS:
            if export.startswith(tuple(asked.only.split(","))):
                trials = asked.mlflow if export == "mlflow" else asked.trials
                print(row(export, made(folder, trials)), flush=True)


if __name__ == "__main__":
    main()
