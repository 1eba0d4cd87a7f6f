"""What a logger costs the run that it follows: CPU time of the run's main thread, with TensorBoard behind it and without.

    python -m benchmarks.logger_cost                      20,000 inline trials of one report, five rounds of each
    python -m benchmarks.logger_cost --trials 100000 --rounds 3

Rounds alternate; the smallest of each kind is compared, and the time of the run itself is shown beside it. What happens behind
the run's end (catching up) is not part of either.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

import fasttune as tune
from fasttune.logger import TBXLoggerCallback


class Cost(NamedTuple):
    """Seconds of one run, up to its last trial."""

    cpu: float  # of the main thread
    wall: float


class Clock(tune.Callback):
    """Takes the time at which the last trial is over, before any logger catches up."""

    def on_experiment_end(self, trials: Sequence[Any], **info: Any) -> None:
        self.end = time.thread_time(), time.perf_counter()


def train(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"] ** 2)


def measured(folder: str, trials: int, *loggers: tune.Callback) -> Cost:
    """One run of so many trials."""
    clock = Clock()
    cpu, wall = time.thread_time(), time.perf_counter()
    tune.run(
        train, config={"x": tune.uniform(-1, 1)}, num_samples=trials, metric="loss", mode="min", seed=0, verbose=0,
        executor="inline", storage_path=folder, callbacks=[clock, *loggers],
    )  # fmt: skip
    return Cost(clock.end[0] - cpu, clock.end[1] - wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-trials", type=int, default=100, help="that TensorBoard writes: the rest is read all the same")
    asked = parser.parse_args()
    costs: dict[str, list[Cost]] = {"without": [], "with TensorBoard": []}
    with tempfile.TemporaryDirectory() as folder:
        measured(folder, 100)  # loads what is loaded once
        for _ in range(asked.rounds):
            costs["without"].append(measured(folder, asked.trials))
            costs["with TensorBoard"].append(measured(folder, asked.trials, TBXLoggerCallback(max_trials=asked.max_trials)))
    print(f"{asked.trials:,} inline trials, {asked.rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':20}{'CPU min':>10}{'median':>10}{'wall min':>10}{'median':>10}   seconds")
    for name, each in costs.items():
        cpu, wall = [one.cpu for one in each], [one.wall for one in each]
        print(f"{name:20}{min(cpu):10.3f}{median(cpu):10.3f}{min(wall):10.3f}{median(wall):10.3f}")
    least = {name: min(one.cpu for one in each) for name, each in costs.items()}
    print(f"ratio of the smallest CPU times: {least['with TensorBoard'] / least['without']:.3f}")


if __name__ == "__main__":
    main()
