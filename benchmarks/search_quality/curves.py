"""Tables of real learning curves, made from scikit-learn's digits, and how soon tuners find the best hundredth of their configs.

    python -m benchmarks.search_quality.curves FOLDER                       makes the tables, once: some CPU minutes
    python -m benchmarks.search_quality.curves FOLDER --tuners auto asha    epochs of all trials together, in virtual time

Each table is a full grid of configs, the validation error of each after every one of 81 epochs. A tuner has found the best hundredth
when the config whose report is the best one so far is among them after 81 epochs. Printed are the middle and the mean over the seeds;
a run that has not found it after all its epochs counts with those.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

EPOCHS = 81
GRIDS: dict[str, dict[str, list[Any]]] = {
    "network": {
        "lr": [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
        "hidden": [4, 8, 16, 32],
        "momentum": [0.0, 0.9],
        "alpha": [1e-5, 1e-2, 1.0],
        "batch": [16, 64, 256],
    },
    "linear": {
        "lr": [3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2],
        "loss": ["hinge", "log_loss", "modified_huber"],
        "alpha": [1e-6, 1e-4, 1e-2],
        "penalty": ["l2", "l1", "elasticnet"],
        "power": [0.0, 0.5],
    },
}


def network(config: dict[str, Any], classes: Any) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        (config["hidden"],),
        solver="sgd",
        learning_rate_init=config["lr"],
        momentum=config["momentum"],
        alpha=config["alpha"],
        batch_size=config["batch"],
        random_state=0,
    )


def linear(config: dict[str, Any], classes: Any) -> Any:
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(
        loss=config["loss"],
        alpha=config["alpha"],
        penalty=config["penalty"],
        learning_rate="invscaling",
        eta0=config["lr"],
        power_t=config["power"],
        random_state=0,
    )


MODELS: dict[str, Callable[[dict[str, Any], Any], Any]] = {"network": network, "linear": linear}
TRAINED_ON = 500  # of the 1,797 images: the others tell the error


def configs_of(name: str) -> list[dict[str, Any]]:
    """The grid, in the order of the table's rows."""
    grid = GRIDS[name]
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def curve(name: str, config: dict[str, Any]) -> list[float]:
    """The validation error after each epoch; 1 from where the weights were not finite any more."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))
    images, digits = images[order] / 16.0, digits[order]
    model, errors = MODELS[name](config, np.unique(digits)), []
    shuffle = np.random.default_rng(1)
    for _ in range(EPOCHS):
        rows = shuffle.permutation(TRAINED_ON)
        try:
            model.partial_fit(images[rows], digits[rows], classes=np.arange(10))
        except ValueError:
            break
        errors.append(1.0 - float(model.score(images[TRAINED_ON:], digits[TRAINED_ON:])))
    return errors + [1.0] * (EPOCHS - len(errors))


def table(name: str, folder: str) -> NDArray[np.float64]:
    """Errors by config and epoch; from the folder, where they are written when they were computed."""
    path = os.path.join(folder, f"{name}.json")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            known = json.load(file)
        if known["grid"] == GRIDS[name]:
            return np.array(known["errors"])
    warnings.simplefilter("ignore")
    configs, errors = configs_of(name), []
    for k, config in enumerate(configs):
        errors.append([round(error, 5) for error in curve(name, config)])
        if k % 50 == 0:
            print(f"{name}: {k} of {len(configs)}", flush=True)
    os.makedirs(folder, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"grid": GRIDS[name], "errors": errors}, file)
    return np.array(errors)


def hundredth(errors: NDArray[np.float64]) -> float:
    """The error after 81 epochs of the last config that belongs to the best hundredth."""
    ends = np.sort(errors[:, -1])
    return float(ends[math.ceil(len(ends) / 100) - 1])


def epochs_to(found: list[tuple[int, float]], regret: float, most: int) -> int:
    """After how many epochs a tuner's best config so far has no more regret than this; ``most`` if never."""
    return next((epochs for epochs, left in found if left <= regret + 1e-9), most)


def race(name: str, folder: str, tuners: list[str], workers: list[int], seeds: int) -> None:
    """Print a line for each tuner, the middle and the mean of its epochs for each number of workers."""
    from benchmarks.search_quality.fidelity import MARKS, TUNERS
    from benchmarks.search_quality.fidelity_problems import real

    errors = table(name, folder)
    goal = hundredth(errors) - float(errors[:, -1].min())
    problem = real(name, False, folder)
    print(f"{name:24}" + "".join(f"{f'{number} workers':>18}" for number in workers))
    for tuner in tuners:
        cells = ""
        for number in workers:
            epochs = [epochs_to(TUNERS[tuner](problem, seed, number), goal, MARKS[-1]) for seed in range(seeds)]
            cells += f"{statistics.median(epochs):10,.0f} {statistics.mean(epochs):7,.0f}"
        print(f"  {tuner:22}{cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", help="where the tables are, or are written")
    parser.add_argument("--tuners", nargs="+", default=[], help="names of benchmarks.search_quality.fidelity")
    parser.add_argument("--tables", nargs="+", choices=[*GRIDS], default=[*GRIDS])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--seeds", type=int, default=15)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in args.tables:
        errors = table(name, args.folder)
        print(f"{name}: {len(errors)} configs, best {errors[:, -1].min():.4f}, 99th percentile {hundredth(errors):.4f}")
    if args.tuners:
        print(f"epochs to the 99th percentile, {args.seeds} seeds: middle and mean")
        for name in args.tables:
            race(name, args.folder, args.tuners, args.workers, args.seeds)


if __name__ == "__main__":
    main()
