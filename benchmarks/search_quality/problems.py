"""Functions to minimise, with spaces in fasttune's domains. All have their minimum at 0, and not in the middle.

Continuous ones: Surjanovic and Bingham, Virtual Library of Simulation Experiments, shifted. The others are made for this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fasttune as tune

Point = NDArray[np.float64]


class Problem(NamedTuple):
    """``loss`` takes a whole config, nested as the space is."""

    name: str
    group: str  # "continuous" or "mixed"; "rotated", "tables"
    space: Mapping[str, Any]
    loss: Callable[[dict[str, Any]], float]
    part: str = "build"  # "last": kept for a last look
    scale: float = 1.0  # what a regret is told in


def sphere(x: Point) -> float:
    return float(np.sum(x * x))


def rosenbrock(x: Point) -> float:
    y = x + 1.0
    return float(np.sum(100.0 * (y[1:] - y[:-1] ** 2) ** 2 + (1.0 - y[:-1]) ** 2))


def ackley(x: Point) -> float:
    return float(
        20.0 - 20.0 * np.exp(-0.2 * np.sqrt(np.mean(x * x))) + math.e - np.exp(np.mean(np.cos(2.0 * np.pi * x)))
    )


def levy(x: Point) -> float:
    w = 1.0 + x / 4.0
    middle = np.sum((w[:-1] - 1.0) ** 2 * (1.0 + 10.0 * np.sin(np.pi * w[:-1] + 1.0) ** 2))
    return float(
        np.sin(np.pi * w[0]) ** 2 + middle + (w[-1] - 1.0) ** 2 * (1.0 + np.sin(2.0 * np.pi * w[-1]) ** 2)
    )


def rastrigin(x: Point) -> float:
    return float(10.0 * len(x) + np.sum(x * x - 10.0 * np.cos(2.0 * np.pi * x)))


def griewank(x: Point) -> float:
    return float(1.0 + np.sum(x * x) / 4000.0 - np.prod(np.cos(x / np.sqrt(np.arange(1, len(x) + 1)))))


# name, function, half the width of its cube
CONTINUOUS: tuple[tuple[str, Callable[[Point], float], float], ...] = (
    ("sphere", sphere, 5.0),
    ("rosenbrock", rosenbrock, 2.5),
    ("ackley", ackley, 16.0),
    ("levy", levy, 10.0),
    ("rastrigin", rastrigin, 5.12),
    ("griewank", griewank, 100.0),
)

HARTMANN_A = np.array(
    [
        [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ]
)
HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
HARTMANN_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])


def hartmann(config: dict[str, Any]) -> float:
    z = np.array([config[f"x{k}"] for k in range(6)])
    return 3.32237 - float(np.sum(HARTMANN_ALPHA * np.exp(-np.sum(HARTMANN_A * (z - HARTMANN_P) ** 2, axis=1))))


def branin(config: dict[str, Any]) -> float:
    x, y = config["x0"], config["x1"]
    bowl = (y - 5.1 / (4.0 * math.pi**2) * x * x + 5.0 / math.pi * x - 6.0) ** 2
    return bowl + 10.0 * (1.0 - 1.0 / (8.0 * math.pi)) * math.cos(x) + 10.0 - 0.397887


def network(config: dict[str, Any]) -> float:
    """What tuning a network is like: orders of magnitude, small integers, options that matter."""
    loss = 0.5 * (math.log10(config["lr"]) + 2.6) ** 2 + 0.1 * (math.log10(config["decay"]) + 4.0) ** 2
    loss += 4.0 * (config["momentum"] - 0.9) ** 2 + 2.0 * (config["drop"] - 0.2) ** 2
    loss += 0.15 * abs(config["layers"] - 4) + 0.2 * abs(math.log2(config["units"] / 180.0))
    return loss + {"sgd": 0.4, "adam": 0.0, "lion": 0.15}[config["optimizer"]] + 0.1 * (config["batch"] != 64)


NETWORK: dict[str, Any] = {
    "lr": tune.loguniform(1e-5, 1.0),
    "decay": tune.loguniform(1e-7, 0.1),
    "momentum": tune.uniform(0, 1),
    "drop": tune.quniform(0, 0.8, 0.1),
    "layers": tune.randint(1, 13),
    "units": tune.lograndint(8, 1025),
    "optimizer": tune.choice(["sgd", "adam", "lion"]),
    "batch": tune.choice([16, 32, 64, 128]),
}


def categories(config: dict[str, Any]) -> float:
    """Options and integers alone; options that go together."""
    loss = 0.3 * abs(config["a"] - 7) + 0.05 * abs(config["b"] - 40)
    loss += {"p": 0.0, "q": 0.5, "r": 1.0, "s": 0.8, "t": 1.2}[config["c"]]
    return loss + (0.0 if (config["c"] == "p") == (config["d"] == "y") else 0.7) + 0.4 * (config["e"] != 2)


CATEGORIES: dict[str, Any] = {
    "a": tune.randint(0, 12),
    "b": tune.randint(0, 100),
    "c": tune.choice(["p", "q", "r", "s", "t"]),
    "d": tune.choice(["x", "y", "z"]),
    "e": tune.choice([0, 1, 2, 3, 4, 5]),
}


def conditional(config: dict[str, Any]) -> float:
    """Which parameters there are depends on the model."""
    model = config["model"]
    if model["kind"] == "svm":
        return 0.3 + 0.5 * (math.log10(model["c"]) - 1.0) ** 2 + 0.5 * (math.log10(model["gamma"]) + 2.0) ** 2
    if model["kind"] == "forest":
        return 0.05 * abs(model["depth"] - 13) + 2.0 * (model["share"] - 0.35) ** 2
    return 1.0 + (model["k"] - 5) ** 2 / 100.0


CONDITIONAL: dict[str, Any] = {
    "model": tune.choice(
        [
            {"kind": "svm", "c": tune.loguniform(1e-3, 1e3), "gamma": tune.loguniform(1e-6, 10)},
            {"kind": "forest", "depth": tune.randint(1, 40), "share": tune.uniform(0, 1)},
            {"kind": "neighbours", "k": tune.randint(1, 60)},
        ]
    )
}


def problems() -> list[Problem]:
    """All of them: fourteen continuous ones with 2 to 10 parameters, three mixed ones."""
    made = []
    for dimensions in (5, 10):
        for k, (name, function, half) in enumerate(CONTINUOUS):
            shift = np.random.default_rng(100 * dimensions + k).uniform(-0.36, 0.36, dimensions) * half
            made.append(_continuous(f"{name} {dimensions}", function, half, shift))
    made.append(Problem("branin 2", "continuous", {"x0": tune.uniform(-5, 10), "x1": tune.uniform(0, 15)}, branin))
    made.append(Problem("hartmann 6", "continuous", {f"x{k}": tune.uniform(0, 1) for k in range(6)}, hartmann))
    made.append(Problem("network", "mixed", NETWORK, network))
    made.append(Problem("categories", "mixed", CATEGORIES, categories))
    made.append(Problem("conditional", "mixed", CONDITIONAL, conditional))
    return made


def _continuous(name: str, function: Callable[[Point], float], half: float, shift: Point) -> Problem:
    names = [f"x{k}" for k in range(len(shift))]

    def loss(config: dict[str, Any]) -> float:
        return function(np.array([config[one] for one in names]) - shift)

    return Problem(name, "continuous", {one: tune.uniform(-half, half) for one in names}, loss)
