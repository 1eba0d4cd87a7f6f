"""Tables of real learning curves, made from scikit-learn's digits: ``python -m benchmarks.search_quality.curves FOLDER``.

Each table is a full grid of configs, the validation error of each after every one of 81 epochs. It takes some CPU minutes, once.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
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


def main() -> None:
    for name in GRIDS:
        errors = table(name, sys.argv[1])
        ends = np.sort(errors[:, -1])
        print(f"{name}: {len(errors)} configs, best {ends[0]:.4f}, 99th percentile {ends[math.ceil(len(ends) / 100) - 1]:.4f}")


if __name__ == "__main__":
    main()
