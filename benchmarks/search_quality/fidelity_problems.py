"""Tuning problems whose trials report for 81 epochs, with early epochs that are good, middling and bad guides, and real tables.

Half of the problems are kept apart: nothing was chosen by them, and ``--kept`` looks at them alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from benchmarks.search_quality.curves import EPOCHS, GRIDS, table
from numpy.typing import NDArray

import fasttune as tune

EPOCHS_FROM_1 = np.arange(1.0, EPOCHS + 1.0)
NUMBERS = 5  # of the parameters of a synthetic problem; one more is a choice
NAMES = [f"x{k}" for k in range(NUMBERS)]


class FidelityProblem(NamedTuple):
    """``curve(config, seed)`` is what a trial reports, epoch by epoch, ``regret(config)`` what is left to the best config after 81
    epochs."""

    name: str
    kept: bool
    space: Mapping[str, Any]
    curve: Callable[[dict[str, Any], int], NDArray[np.float64]]
    regret: Callable[[dict[str, Any]], float]


class Valley:
    """A function of the unit cube and an option, 0 at its minimum, about 1 at a random point."""

    def __init__(self, draw: np.random.Generator) -> None:
        self.place = draw.uniform(0.15, 0.85, NUMBERS)
        self.weight = draw.dirichlet(np.ones(NUMBERS)) * 5.0
        turned, _ = np.linalg.qr(draw.standard_normal((NUMBERS, NUMBERS)))
        self.turn = 0.5 * turned + 0.5 * np.eye(NUMBERS)
        self.option = np.concatenate([[0.0], draw.uniform(0.1, 0.6, 3)])[draw.permutation(4)]
        self.ripple = draw.uniform(0.0, 0.15)

    def __call__(self, x: Any, option: int) -> float:
        off = self.turn @ (x - self.place)
        bowl = float(self.weight @ (off * off)) * 1.6
        bumps = self.ripple * float(np.mean(1.0 - np.cos(5.0 * math.pi * off)))
        return bowl + bumps + float(self.option[option])


def synthetic(name: str, guide: str, number: int, kept: bool, noise: float = 0.01) -> FidelityProblem:
    """Curves that fall to the last value by a power law. ``guide``: "good", the curves hardly cross; "slow", the better the
    config the more slowly it learns; "other", the first epochs show another function; "none", they show nothing."""
    draw = np.random.default_rng(1000 + number)
    last, first, speed = Valley(draw), Valley(draw), Valley(draw)

    def parts(config: dict[str, Any]) -> tuple[float, float, float]:
        x = np.array([config[one] for one in NAMES])
        x[0] = (math.log10(x[0]) + 5.0) / 5.0
        x[1] = math.log2(x[1] / 8.0) / 7.0
        option = config["kind"]
        end = last(x, option)
        if guide == "good":
            return end, 1.0 + 0.5 * end, 0.7
        if guide == "slow":
            return end, 3.0 - 1.5 * min(end, 1.5), 0.35 + 0.5 * min(1.0, 0.5 * speed(x, option) + 0.4 * end)
        return end, 4.0 * first(x, option) if guide == "other" else 2.0, 0.8

    def curve(config: dict[str, Any], seed: int) -> NDArray[np.float64]:
        end, height, power = parts(config)
        left = EPOCHS_FROM_1**-power - EPOCHS**-power
        chance = np.random.default_rng([seed, int(1e9 * config["x2"]), int(1e9 * config["x3"])])
        jitter = noise * chance.standard_normal(EPOCHS)
        if guide == "none":
            jitter += 3.0 * left * abs(chance.standard_normal())  # for as long as it lasts
        out: NDArray[np.float64] = end + height * left + jitter
        return out

    space = {
        "x0": tune.loguniform(1e-5, 1.0),
        "x1": tune.lograndint(8, 1025),
        **{one: tune.uniform(0, 1) for one in NAMES[2:]},
        "kind": tune.choice([0, 1, 2, 3]),
    }
    return FidelityProblem(name, kept, space, curve, lambda config: parts(config)[0])


def real(name: str, kept: bool, folder: str) -> FidelityProblem:
    """A table of ``benchmarks.search_quality.curves``."""
    errors = table(name, folder)
    grid = GRIDS[name]
    sizes = [len(values) for values in grid.values()]
    best = float(errors[:, -1].min())

    def row(config: dict[str, Any]) -> int:
        places = [values.index(config[one]) for one, values in grid.items()]
        return int(np.ravel_multi_index(places, sizes))

    def curve(config: dict[str, Any], seed: int) -> NDArray[np.float64]:
        found: NDArray[np.float64] = errors[row(config)]
        return found

    space = {one: tune.choice(list(values)) for one, values in grid.items()}
    return FidelityProblem(name, kept, space, curve, lambda config: float(errors[row(config), -1]) - best)


def fidelity_problems(kept: bool, folder: str | None) -> list[FidelityProblem]:
    """Those that were built with, or those that were kept; real tables where a folder for them is given."""
    first = 20 if kept else 0  # 10 to 14 were kept, too, until they had been looked at once
    made = []
    for k, guide in enumerate(("good", "slow", "other", "none")):
        made.append(synthetic(f"{guide} {first + k}", guide, first + k, kept))
    made.append(synthetic(f"good, noisy {first + 4}", "good", first + 4, kept, 0.1))
    if folder is not None:
        made.append(real("linear" if kept else "network", kept, folder))
    return made
