"""What it takes to look at an experiment of 10^5 or 10^6 trials: a table, each figure from processes of its own.

    python -m benchmarks.analysis_size                                10^5 trials of 10 reports, about a minute
    python -m benchmarks.analysis_size --trials 100000,1000000 --folder /tmp/large

The experiment is made once in ``--folder`` and found there again. Parquet rows (where pyarrow is installed) read the same
numbers from files that ``to_parquet`` wrote; Optuna rows (where it is installed) are of a study in memory with as many
trials, up to 10^5, whose frame has no row per report. Memory is the most that a process had, pandas included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

REPORTS = 10
MOST_OF_OPTUNA = 100_000


def train(config: dict[str, Any]) -> None:
    import fasttune as tune

    for i in range(REPORTS):
        tune.report({"loss": config["lr"] * (REPORTS - i), "accuracy": 1.0 - config["lr"] / (i + 1)})


def made(folder: Path, trials: int) -> Path:
    """The experiment of so many trials, run now if it is not there."""
    import fasttune as tune

    name = f"analysis-{trials}"
    if not (folder / name / "experiment.db").exists():
        space = {
            "lr": tune.loguniform(1e-4, 1e-1),
            "momentum": tune.uniform(0.0, 1.0),
            "layers": tune.randint(1, 9),
            "activation": tune.choice(["relu", "tanh", "gelu"]),
        }
        steered = {"metric": "loss", "mode": "min", "executor": "inline", "verbose": 0, "seed": 3}
        tune.run(train, name=name, config=space, num_samples=trials, storage_path=str(folder), **steered)
    return folder / name


# ---- one figure, in a process of its own


def opened(path: Path) -> Any:
    import fasttune as tune

    return tune.ExperimentAnalysis(str(path))


def ready(path: Path) -> Any:
    """An analysis, and what everybody has imported who has frames."""
    import pandas  # noqa: F401

    return opened(path)


def parquet(path: Path, table: str) -> Any:
    import pandas

    return pandas.read_parquet(path / f"{table}.parquet")


def study_of(path: Path) -> Any:
    """A study in memory with as many trials and reports as the experiment, up to MOST_OF_OPTUNA."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    domains: dict[str, Any] = {
        "lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
        "momentum": optuna.distributions.FloatDistribution(0.0, 1.0),
        "layers": optuna.distributions.IntDistribution(1, 8),
        "activation": optuna.distributions.CategoricalDistribution(["relu", "tanh", "gelu"]),
    }
    params = {"lr": 0.01, "momentum": 0.5, "layers": 3, "activation": "relu"}
    values = {step: 1.0 / (step + 1) for step in range(REPORTS)}
    for _ in range(min(MOST_OF_OPTUNA, int(path.name.rpartition("-")[2]))):
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=domains, intermediate_values=values, value=0.1)
        )
    return study


# name -> (what is there before the clock starts, what is timed)
FIGURES: dict[str, tuple[Callable[[Path], Any], Callable[[Path, Any], Any]]] = {
    "open": (lambda path: None, lambda path, _: opened(path)),
    "dataframe()": (ready, lambda path, analysis: analysis.dataframe()),
    "dataframe('loss', 'min')": (ready, lambda path, analysis: analysis.dataframe("loss", "min")),
    "results_df": (ready, lambda path, analysis: analysis.results_df),
    "reports()": (ready, lambda path, analysis: analysis.reports()),
    "best_trial, scope all": (ready, lambda path, analysis: analysis.get_best_trial("loss", "min", "all")),
    "_repr_html_()": (ready, lambda path, analysis: analysis._repr_html_()),
    "Parquet, trials": (lambda path: __import__("pandas"), lambda path, _: parquet(path, "trials")),
    "Parquet, reports": (lambda path: __import__("pandas"), lambda path, _: parquet(path, "reports")),
    "Optuna, trials_dataframe()": (study_of, lambda path, study: study.trials_dataframe()),
}


def in_child(figure: str, path: Path) -> None:
    """Time one figure and print it as JSON."""
    import resource

    prepare, timed = FIGURES[figure]
    before = prepare(path)
    began, cpu = time.perf_counter(), time.process_time()
    found = timed(path, before)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    frame = found.memory_usage(deep=True).sum() / 2**20 if hasattr(found, "memory_usage") else None
    rows = len(found) if frame is not None else None
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak, "frame": frame, "rows": rows}))


# ---- the table


def measured(figure: str, path: Path, repeats: int) -> list[dict[str, Any]]:
    """What ``repeats`` processes found; [] where a library is missing."""
    command = [sys.executable, "-m", "benchmarks.analysis_size", "--figure", figure, "--path", str(path)]
    found = []
    for _ in range(repeats):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            if "ModuleNotFoundError" in done.stderr or "ImportError" in done.stderr:
                return []
            raise SystemExit(f"{figure} failed: {done.stderr}")
        found.append(json.loads(done.stdout))
    return found


def ls_seconds(path: Path, repeats: int) -> list[dict[str, Any]]:
    """``fasttune ls --sort``, the start of Python included."""
    import resource

    command = [sys.executable, "-m", "fasttune", "ls", str(path), "--sort", "loss", "--limit", "3"]
    found = []
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append({"seconds": seconds, "cpu": cpu, "peak": None, "frame": None, "rows": None})
    return found


def line(name: str, found: list[dict[str, Any]]) -> str:
    if not found:
        return f"{name:28}{'not installed':>10}"
    seconds = [one["seconds"] for one in found]
    last = found[-1]
    cells = [f"{min(seconds):10.3f}", f"{median(seconds):10.3f}", f"{median(one['cpu'] for one in found):10.3f}"]
    cells += [f"{last[key]:11,.0f}" if last[key] is not None else " " * 11 for key in ("peak", "frame", "rows")]
    return f"{name:28}{''.join(cells)}".rstrip()


def write_parquet(path: Path) -> None:
    """The files that are read for comparison."""
    analysis = opened(path)
    for table in ("trials", "reports"):
        if not (path / f"{table}.parquet").exists():
            try:
                analysis.to_parquet(path / f"{table}.parquet", table)
            except ImportError:
                return


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.analysis_size", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--trials", default="100000", help="numbers of trials, with commas between them")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the experiments are, or are made; default: a temporary one")
    parser.add_argument("--figure", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.figure:
        in_child(asked.figure, asked.path)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        for trials in map(int, asked.trials.split(",")):
            path = made(folder, trials)
            write_parquet(path)
            load = os.getloadavg()[0]
            print(f"\n{trials:,} trials of {REPORTS} reports, {os.cpu_count()} cores, load {load:.1f}, n={asked.repeats}")
            print(f"{'':28}{'min s':>10}{'median s':>10}{'cpu s':>10}{'peak MiB':>11}{'frame MiB':>11}{'rows':>11}")
            for figure in FIGURES:
                print(line(figure, measured(figure, path, asked.repeats)), flush=True)
            print(line("fasttune ls --sort --limit 3", ls_seconds(path, asked.repeats)), flush=True)


if __name__ == "__main__":
    main()
