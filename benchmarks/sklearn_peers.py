"""fasttune's search classes beside GridSearchCV, RandomizedSearchCV, HalvingRandomSearchCV and OptunaSearchCV.

    python -m benchmarks.sklearn_peers                    two data sets and 2,000 cheap fits, 5 repeats: a quarter of an hour
    python -m benchmarks.sklearn_peers --repeats 1 --only cheap
    python -m benchmarks.sklearn_peers --without optuna   no environment is made for optuna-integration

Each measurement is a process of its own, on 2 jobs; classes take turns, repeat by repeat, and what is compared are medians. The
target of a data set is the best cross-validated score of a grid of 64 candidates, measured first. Times begin with ``fit``:
imports do not count, starting workers does. A class that does not reach the target in its 64 candidates says how often it did.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers.environments import environ_of, python_of, version_of
from benchmarks.peers.report import machine

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "benchmarks" / "peers" / "programs" / "run_sklearn_search.py"
OPTUNA = "optuna-integration"

TITLES = {
    "digits": "digits, SVC: C and gamma",
    "cancer": "breast cancer, gradient boosting: learning_rate, subsample and max_features",
    "cheap": "2,000 cheap fits: iris, GaussianNB, 400 candidates in 5 folds",
}
CLASSES = {
    "digits": ["TuneSearchCV", "TuneSearchCV early", "TuneGridSearchCV", "GridSearchCV", "RandomizedSearchCV",
               "HalvingRandomSearchCV", "OptunaSearchCV"],
    "cheap": ["TuneGridSearchCV", "TuneSearchCV random", "GridSearchCV", "RandomizedSearchCV", "OptunaSearchCV"],
}  # fmt: skip
CLASSES["cancer"] = CLASSES["digits"]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sklearn_peers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="digits,cancer,cheap", help="of digits, cancer, cheap")
    parser.add_argument("--without", default="", help="optuna: leave it out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one measurement (default 300)")
    parser.add_argument("--json", type=Path, default=None, help="write every figure here")
    return parser.parse_args()


def measured(kind: str, data: str, python: str, args: argparse.Namespace, seed: int, target: float) -> dict[str, Any]:
    """One search in a process of its own; its figures, or how it failed."""
    env = OPTUNA if kind == "OptunaSearchCV" else "fasttune"
    with tempfile.TemporaryDirectory(prefix="sklearn-peers-") as folder:
        log = [] if data == "cheap" else ["--log", str(Path(folder) / "log")]
        call = [python, str(PROGRAM), kind, data, "--jobs", str(args.jobs), "--seed", str(seed), "--target", repr(target), *log]
        try:
            done = subprocess.run(call, capture_output=True, text=True, timeout=args.limit, cwd=folder, env=environ_of(env))
        except subprocess.TimeoutExpired:
            return {"failure": f"not finished in {args.limit:g} s"}
    if done.returncode:
        return {"failure": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(data: str, pythons: dict[str, str], args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """The figures of each class, repeat by repeat."""
    target = math.inf
    if data != "cheap":
        target = measured("GridSearchCV", data, sys.executable, args, 0, math.inf)["best"]
        print(f"{data}: the target is {target:.4f}", flush=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for repeat in range(args.repeats):
        for kind in CLASSES[data]:
            python = pythons.get(kind, sys.executable)
            if not python or any("failure" in one for one in found.get(kind, ())):
                continue
            figures = measured(kind, data, python, args, repeat, target - 1e-9)
            found.setdefault(kind, []).append(figures)
            print(f"{data} #{repeat + 1} {kind}: {figures}", flush=True)
    return found


def table(data: str, found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Medians of a workload; x: how many times as long as the first row."""
    lines = ["", TITLES[data], ""]
    to_the_target = "" if data == "cheap" else f"{'to the target':>15}{'x':>7}{'reached':>9}"
    lines.append(f"{'':24}{'seconds':>9}{'x':>7}{'best':>9}{to_the_target}")
    first: tuple[float, float] | None = None
    for kind, runs in found.items():
        if failures := [one["failure"] for one in runs if "failure" in one]:
            lines.append(f"{kind:24}{failures[0]}")
            continue
        # One that did not get there counts as never: a median of infinity says that most did not.
        seconds = median(one["seconds"] for one in runs)
        reached = median(math.inf if one["reached"] is None else one["reached"] for one in runs)
        first = first or (seconds, reached)
        line = f"{kind:24}{seconds:9.2f}{seconds / first[0]:7.2f}{median(one['best'] for one in runs):9.4f}"
        if data != "cheap":
            times = reached / first[1] if math.isfinite(first[1]) else math.nan
            there = sum(one["reached"] is not None for one in runs)
            line += f"{reached:15.2f}{times:7.2f}{there:>5} of {len(runs)}"
        lines.append(line)
    return lines


def main() -> None:
    args = parse_arguments()
    only = [name for name in args.only.split(",") if name]
    if unknown := set(only) - set(TITLES):
        raise SystemExit(f"--only {args.only}: there are {', '.join(TITLES)}, not {', '.join(unknown)}")
    pythons = {"OptunaSearchCV": "" if "optuna" in args.without else python_of(OPTUNA, ROOT / ".venv-peers")}
    figures = {data: compare(data, pythons, args) for data in only}
    where = machine()
    versions = [version_of(OPTUNA, pythons["OptunaSearchCV"])] if pythons["OptunaSearchCV"] else []
    versions.append(version_of("scikit-learn", sys.executable))
    print(
        f"\n{where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB, {where['system']}, {where['date']}, load average "
        f"{where['load_average']:.1f}. {', '.join(versions)}. Medians of {args.repeats}, {args.jobs} jobs."
    )
    for data, found in figures.items():
        print("\n".join(table(data, found)))
    if args.json is not None:
        args.json.write_text(json.dumps({"machine": where, "versions": versions, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
