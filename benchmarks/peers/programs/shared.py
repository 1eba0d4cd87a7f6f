"""What every measured program shares: the objective, the learning curve, arguments in, one JSON line out."""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable
from typing import Any

MAX_T = 81
ETA = 3
RUNGS = (1, 3, 9, 27)


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
