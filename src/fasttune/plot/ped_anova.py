"""PED-ANOVA: how much each parameter decides whether a trial is among the best, with numpy alone.

Watanabe, Bansal, Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces", IJCAI 2023:
a parameter matters as much as its distribution among the best trials differs from that among all of them, measured by the
Pearson divergence of two densities of one variable. No model of the objective is fitted, so it takes milliseconds for 10^5
trials.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasttune.plot.parameters import Parameter

Floats = NDArray[np.float64]

CELLS = 64  # of a numeric parameter's density
LEAST_WIDTH = 0.5 / CELLS
SHUFFLES = 16


class Divergence(NamedTuple):
    """Of one parameter."""

    value: float
    chance: float  # its mean over random sets of as many trials: what a parameter without any effect gets
    trials: int  # that have the parameter


def divergence(parameter: Parameter, losses: Floats, top: float, seed: int = 0) -> Divergence:
    """How much the values of a parameter among the best trials differ from those among all.

    Only trials that have the parameter, and a finite loss, count: of a conditional one the best among these.

    Args:
        losses: per trial; NaN where there is none.
        top: the share of trials that are the best, in (0, 1).
    """
    used = np.flatnonzero(np.isfinite(losses) & np.isfinite(parameter.values))
    if len(used) < 2:
        return Divergence(0.0, 0.0, len(used))
    cell, kernel_of = _cells(parameter, used)
    best = max(1, round(top * len(used)))
    order = np.argsort(losses[used], kind="stable")
    reference = _density(cell, kernel_of)
    random = np.random.default_rng(seed)
    chance = [
        _pearson(_density(cell[random.choice(len(used), best, replace=False)], kernel_of), reference) for _ in range(SHUFFLES)
    ]
    return Divergence(_pearson(_density(cell[order[:best]], kernel_of), reference), float(np.mean(chance)), len(used))


class _Kernel(NamedTuple):
    cells: int
    smooth: bool  # categories are no neighbours of each other


def _cells(parameter: Parameter, used: NDArray[np.int64]) -> tuple[NDArray[np.int64], _Kernel]:
    """The cell that each trial is in, and how densities are made of them."""
    if parameter.labels is not None:
        return parameter.values[used].astype(np.int64), _Kernel(len(parameter.labels), False)
    units = parameter.units()[used]
    return np.minimum((units * CELLS).astype(np.int64), CELLS - 1), _Kernel(CELLS, True)


def _density(cell: NDArray[np.int64], kernel: _Kernel) -> Floats:
    """The share of the density in each cell, with one trial spread over all of them, so that none is empty."""
    counts = np.bincount(cell, minlength=kernel.cells).astype(np.float64)
    n = counts.sum()
    if kernel.smooth:
        middle = (np.arange(kernel.cells) + 0.5) / kernel.cells
        mean = float(counts @ middle) / n
        deviation = float(np.sqrt(counts @ (middle - mean) ** 2 / n))
        width = max(1.06 * deviation * n**-0.2, LEAST_WIDTH)  # Scott's rule
        near = np.exp(-0.5 * ((middle[None, :] - middle[:, None]) / width) ** 2)
        near /= near.sum(axis=1, keepdims=True)  # what would fall outside falls inside
        counts = counts @ near
    density: Floats = (counts + 1.0 / kernel.cells) / (n + 1.0)
    return density


def _pearson(top: Floats, reference: Floats) -> float:
    return float((reference * (top / reference - 1.0) ** 2).sum())
