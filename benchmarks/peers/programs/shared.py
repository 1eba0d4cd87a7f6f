"""What every measured program shares: the objective, the learning curve, arguments in, one JSON line out."""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any

MAX_T = 81
ETA = 3
RUNGS = (1, 3, 9, 27)
AT_ONCE, REPORT_S = 96, 0.02  # trials that report so often, all at once (P8)
RUNS = 21  # one after the other in one process (P17)


def objective(a: float, b: float, x: float) -> float:
    return a * x**2 + b


def loss_at(a: float, b: float, x: float, epoch: int) -> float:
    """A learning curve: falls towards the objective, so that early epochs say something about late ones."""
    return objective(a, b, x) * (1.0 + 1.0 / epoch)


def boosting_data() -> tuple[Any, Any, Any, Any]:
    """Rows to learn from and rows to be judged by: 20,000 and 5,000 of 20 numbers, of which some matter."""
    import numpy as np

    draws = np.random.default_rng(0)
    x = draws.normal(size=(25_000, 20))
    y = (x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + 0.5 * draws.normal(size=25_000) > 0).astype(float)
    return x[:20_000], y[:20_000], x[20_000:], y[20_000:]


def boosted(data: tuple[Any, Any, Any, Any], leaves: int, rate: float) -> float:
    """One trial of LightGBM on one core, about a third of a second: the share of rows that it gets wrong."""
    import lightgbm

    x, y, other_x, other_y = data
    given = {"objective": "binary", "num_leaves": leaves, "learning_rate": rate, "num_threads": 1, "verbosity": -1, "seed": 0}
    model = lightgbm.train(given, lightgbm.Dataset(x, y), num_boost_round=60)
    return float((((model.predict(other_x, num_threads=1)) > 0.5) != other_y).mean())


def computed(x: float) -> float:
    """About two milliseconds of Python, that hold one core."""
    total = x
    for k in range(30_000):
        total += x * k
    return total


def paced(n: int, report: Callable[[int], Any]) -> None:
    """Report n times, at moments that lie REPORT_S apart whatever a report costs, if it costs less."""
    began = time.monotonic()
    for step in range(n):
        report(step)
        time.sleep(max(0.0, began + (step + 1) * REPORT_S - time.monotonic()))


def run_again_and_again(run: Callable[[], Any]) -> dict[str, Any]:
    """How long the first one of RUNS runs takes, and how long those after it, in the middle."""
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return {"first": seconds[0], "later": median(seconds[1:])}


def beside_one_process(n: int, run: Callable[[], Any]) -> dict[str, Any]:
    """What a run of n computations takes, and the same ones one after the other in this process, just before."""
    started = time.perf_counter()
    for k in range(n):
        computed(k)
    alone = time.perf_counter() - started
    started = time.perf_counter()
    run()
    return {"trials": n, "alone": alone, "seconds": time.perf_counter() - started}


def draw() -> dict[str, float]:
    uniform = random.uniform
    return {"a": uniform(0.0, 1.0), "b": uniform(0.0, 1.0), "x": uniform(-10.0, 10.0)}


def note_first_result() -> None:
    """Write down once, whichever process comes first, when the first result was there."""
    try:
        file = os.open(os.environ["PEERS_FIRST_RESULT"], os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return
    os.write(file, repr(time.time()).encode())
    os.close(file)


def count_files(folder: str) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def main(works: dict[str, Callable[[argparse.Namespace], dict[str, Any]]]) -> None:
    """Run the work named on the command line; it gives ``seconds`` where starting up is not the subject."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=sorted(works))
    parser.add_argument("--n", type=int, required=True, help="trials, or reports of each trial")
    parser.add_argument("--folder", required=True, help="an empty folder for whatever is stored")
    args = parser.parse_args()
    started = time.perf_counter()
    answer = works[args.work](args)
    answer.setdefault("seconds", time.perf_counter() - started)
    answer["files"] = count_files(args.folder)
    print(json.dumps(answer), flush=True)
