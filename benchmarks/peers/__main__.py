"""Measure fasttune beside its peers and write results/peers.md and results/peers.json.

    python -m benchmarks.peers                     everything, about half an hour
    python -m benchmarks.peers --quick             small sizes, one repeat: does it all run?
    python -m benchmarks.peers --only P1,P4 --without ray

The contenders of a workload take turns, repeat by repeat, so that whatever disturbs the machine disturbs
all of them; what is compared are medians. A contender that fails or passes the time limit is not run again.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from benchmarks.peers.environments import python_of, version_of
from benchmarks.peers.measure import MeasurementError, measure
from benchmarks.peers.report import Outcome, machine, write_report
from benchmarks.peers.workloads import WORKLOADS, Workload

ROOT = Path(__file__).resolve().parents[2]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and a single repeat")
    parser.add_argument("--only", default="", help="workloads, by the start of their names: P1,P5")
    parser.add_argument("--without", default="", help="environments to leave out: ray,optuna")
    parser.add_argument("--repeats", type=int, default=0, help="default 5; 1 with --quick")
    parser.add_argument(
        "--limit", type=float, default=120.0, help="seconds for one measurement (default 120)"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder to write to")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    without = set(filter(None, args.without.split(",")))
    only = tuple(filter(None, args.only.split(",")))
    workloads = [work for work in WORKLOADS if not only or work.key.split()[0] in only]
    if not workloads:
        raise SystemExit(
            f"--only {args.only}: there are {', '.join(sorted({w.key.split()[0] for w in WORKLOADS}))}"
        )
    envs = {c.env for work in workloads for c in work.contenders} - without
    pythons, versions = prepare(sorted(envs))
    outcomes = [run_workload(work, args, pythons) for work in workloads]
    path = write_report(args.results, outcomes, versions, machine(), quick=args.quick)
    print(f"\n{path.read_text()}\nwritten to {path}")


def prepare(envs: list[str]) -> tuple[dict[str, str], list[str]]:
    """The interpreters that could be had, and what is installed in them."""
    pythons, versions = {}, []
    for env in envs:
        try:
            pythons[env] = python_of(env, ROOT / ".venv-peers")
            versions.append(version_of(env, pythons[env]))
        except subprocess.CalledProcessError as error:
            print(f"{env} is left out: its environment could not be made ({error})")
    return pythons, versions


def run_workload(work: Workload, args: argparse.Namespace, pythons: dict[str, str]) -> Outcome:
    outcome = Outcome(work, args.quick)
    contenders = [contender for contender in work.contenders if contender.env in pythons]
    for repeat in range(args.repeats or (1 if args.quick else 5)):
        for contender in contenders:
            if contender.name in outcome.failures:
                continue
            n = outcome.size_of(contender)
            try:
                seen = measure(contender, n, pythons[contender.env], args.limit, work.memory)
            except MeasurementError as error:
                outcome.failures[contender.name] = str(error)
                print(f"{work.key} {contender.name}: {error}", flush=True)
                continue
            outcome.add(contender, seen)
            print(f"{work.key} #{repeat + 1} {contender.name}: {outcome.last(contender)}", flush=True)
    return outcome


if __name__ == "__main__":
    main()
