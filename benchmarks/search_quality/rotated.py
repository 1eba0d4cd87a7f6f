"""Continuous functions with shifts and rotations in 5 and 10 dimensions: where the optimum lies, and which directions matter, is
drawn anew for each seed. All have their minimum at 0, inside the space and, but for "edge", not near its middle.

The textbook ones are those of ``problems``; the others are made for this: losses of tuning are rarely polynomials. Half of the
functions, and half of the seeds, are kept for a last look (``part``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from benchmarks.search_quality.problems import Point, Problem, ackley, griewank, levy, rastrigin, rosenbrock
from numpy.typing import NDArray

import fasttune as tune

SHIFT = 0.6  # of half the cube's width: how far from the middle the optimum may lie
Made = Callable[[Point], float]


class Family(NamedTuple):
    """``make`` gives a function of a point of which the optimum is 0, in units of half the cube's width."""

    name: str
    part: str
    make: Callable[[int, np.random.Generator], Made]
    rotated: bool = True


def scaled(function: Made, half: float) -> Callable[[int, np.random.Generator], Made]:
    """A textbook function on the cube from -half to half."""
    return lambda d, rng: lambda x: function(half * x)


def ellipsoid(condition: float) -> Callable[[int, np.random.Generator], Made]:
    """A bowl whose axes differ in how much they count."""
    return lambda d, rng: lambda x: float(np.sum(condition ** np.linspace(0, 1, d) * x * x))


def saturated(d: int, rng: np.random.Generator) -> Made:
    """Flat far away, as a loss that is no better than chance, and steep near a narrow bowl."""
    weights = 10.0 ** rng.uniform(-1, 1, d)
    return lambda x: float(1.0 - np.exp(-np.sum(weights * x * x) / 0.5) + 0.1 * np.sum(x * x))


def logarithmic(d: int, rng: np.random.Generator) -> Made:
    """As the logarithm of an error: orders of magnitude, with a cusp that is rounded."""
    weights = 10.0 ** rng.uniform(-1, 1, d)
    return lambda x: float(np.log1p(1e3 * np.sum(weights * x * x)))


def pointed(d: int, rng: np.random.Generator) -> Made:
    """Sums of absolute values: no derivative at the optimum."""
    weights = 10.0 ** rng.uniform(-1, 1, d)
    return lambda x: float(np.sum(weights * np.abs(x)))


def funnels(d: int, rng: np.random.Generator) -> Made:
    """The least of several bowls, one of which is the lowest, if not the widest."""
    places = rng.uniform(-0.8, 0.8, (4, d))
    heights, widths = rng.uniform(0.05, 0.4, 4), 10.0 ** rng.uniform(-0.5, 0.3, 4)

    def made(x: Point) -> float:
        others = heights + widths * np.sum((x - places) ** 2, axis=1)
        return float(min(np.sum(x * x), others.min()))

    return made


def sharing(d: int, rng: np.random.Generator) -> Made:
    """Few directions matter, by powers that differ."""
    powers = rng.uniform(1.2, 4.0, d)
    weights = 10.0 ** -np.arange(d, dtype=float).clip(0, 4)
    return lambda x: float(np.sum(weights * np.abs(x) ** powers))


def valley(d: int, rng: np.random.Generator) -> Made:
    """A bent valley: each coordinate wants to be the square of the one before."""
    return lambda x: float(10 * np.sum((x[1:] - x[:-1] ** 2) ** 2) + 0.3 * np.sum(x * x))


def noisy(d: int, rng: np.random.Generator) -> Made:
    """A bowl under ripples that are small and fast, as of a short training."""
    waves = rng.uniform(20, 60, (6, d))

    def made(x: Point) -> float:
        return float(np.sum(x * x) + 0.01 * np.sum(1.0 - np.cos(waves @ x)))

    return made


def hinges(d: int, rng: np.random.Generator) -> Made:
    """The largest of some slopes: pieces of planes."""
    slopes = rng.standard_normal((3 * d, d))
    return lambda x: float(max(0.0, np.max(slopes @ x)) + 0.05 * np.sum(np.abs(x)))


def edge(d: int, rng: np.random.Generator) -> Made:
    """A slope beside a bowl: the optimum lies at the edge in half of the dimensions (see ``_problem``)."""
    half = d // 2
    return lambda x: float(np.sum(x[:half]) + np.sum(x[half:] ** 2) + 0.5 * np.sum(x[:half]) * np.sum(x[half:] ** 2))


FAMILIES = (
    Family("ellipsoid", "build", ellipsoid(1e3)),
    Family("rosenbrock", "build", scaled(rosenbrock, 2.5)),
    Family("ackley", "build", scaled(ackley, 16.0)),
    Family("levy", "build", scaled(levy, 10.0), rotated=False),
    Family("saturated", "build", saturated),
    Family("funnels", "build", funnels),
    Family("pointed", "build", pointed),
    Family("noisy", "build", noisy),
    Family("sphere", "last", ellipsoid(1.0)),
    Family("rastrigin", "last", scaled(rastrigin, 5.12)),
    Family("griewank", "last", scaled(griewank, 100.0)),
    Family("valley", "last", valley),
    Family("logarithmic", "last", logarithmic),
    Family("sharing", "last", sharing, rotated=False),
    Family("hinges", "last", hinges),
    Family("edge", "last", edge, rotated=False),
)


def rotated(seed: int) -> list[Problem]:
    """All functions in 5 and 10 dimensions, for one seed."""
    return [_problem(k, d, seed) for d in (5, 10) for k in range(len(FAMILIES))]


def _problem(number: int, d: int, seed: int) -> Problem:
    family = FAMILIES[number]
    rng = np.random.default_rng((number, d, seed))
    optimum = rng.uniform(-SHIFT, SHIFT, d)
    if family.name == "edge":
        optimum[: d // 2] = -1.0
    turn = _rotation(d, rng) if family.rotated else np.eye(d)
    function = family.make(d, rng)
    names = [f"x{k}" for k in range(d)]

    def loss(config: dict[str, Any]) -> float:
        return function(turn @ (np.array([config[one] for one in names]) - optimum))

    space = {one: tune.uniform(-1.0, 1.0) for one in names}
    return Problem(f"{family.name} {d}", "rotated", space, loss, family.part)


def _rotation(d: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A rotation, all of them being equally likely (Stewart 1980)."""
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    turned: NDArray[np.float64] = q * np.sign(np.diag(r))
    return turned
