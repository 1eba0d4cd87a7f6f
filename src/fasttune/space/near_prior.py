"""Configs near what is thought to be good, fewer and fewer of them as results come.

What that is says the space (``prior`` of a domain), or an earlier experiment whose best configs are known (``Near.points``).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.space.dimensions import CATEGORICAL, Dimension, Dimensions, Number, Numbers
from fasttune.space.seeds import derive_seed

SHARE = 0.8  # of the configs that are near it while nothing is known
HALF = 10  # results after which it is half of that
WIDTH = 0.15  # of the normal distribution around a number, as a part of the dimension
KEPT = 0.7  # how often a choice has the option that is thought to be good, beside the share that chance gives it
NUMBER = 1 << 33  # of the seed of these draws in the family of a searcher's
FIRST = 3  # points that are tried as they are


class Near:
    """What is thought to be good in a space.

    Args:
        points: configs, the best one first, whatever of them lies in the space (:func:`numbers_known`); one that comes again counts
            once.
        tried: configs that somebody tries anyway, so that they are none of the first ones here.
    """

    def __init__(self, dimensions: Dimensions, points: Sequence[Numbers] = (), tried: Sequence[Numbers] = ()) -> None:
        self._dimensions = dimensions
        self._tried = tried
        own: list[Numbers] = [[one.prior for one in dimensions]] if dimensions.has_priors else []
        self._own = len(own)
        self._points = [*own, *(point for point in distinct(points) if point not in own)]
        self._first = [point for point in self._points[: self._own + FIRST] if dimensions.active(point) not in tried]

    def with_points(self, points: Sequence[Numbers]) -> Near:
        """The same, and near these as well."""
        return Near(self._dimensions, points, self._tried)

    def __bool__(self) -> bool:
        return bool(self._points)

    def numbers(self, seed: int, number: int, results: int, given: int = 0) -> Numbers | None:
        """The numbers of suggestion ``number``, if it is one near a point; None: it is not. A pure function of its arguments.

        The first ones, behind as many as were ``given`` by somebody, are the points themselves. What is not known of a point is
        drawn from all values.
        """
        draw = random.Random(derive_seed(seed, NUMBER + number))
        if number - given < len(self._first):
            point = self._first[number - given]
            return self._dimensions.active(
                [one.value(draw.random()) if known is None else known for one, known in zip(self._dimensions, point, strict=True)]
            )
        if draw.random() >= SHARE * HALF / (HALF + max(results, 0)):
            return None
        point = self._drawn(draw)
        return self._dimensions.from_units([_unit(one, known, draw) for one, known in zip(self._dimensions, point, strict=True)])

    def _drawn(self, draw: random.Random) -> Numbers:
        """A point: the prior of the space half of the time, else the better ones more often (as 1 to their ranks)."""
        others = self._points[self._own :]
        if not others or (self._own and draw.random() < 0.5):
            return self._points[0]
        return draw.choices(others, [1.0 / (1 + rank) for rank in range(len(others))])[0]


def distinct(points: Sequence[Numbers]) -> list[Numbers]:
    """Each of them once, in the order of first sight."""
    return list(map(list, dict.fromkeys(map(tuple, points))))


def _unit(one: Dimension, known: Number, draw: random.Random) -> float:
    if known is None:
        return draw.random()
    middle = one.unit(known)
    if one.kind == CATEGORICAL:
        return middle if draw.random() < KEPT else draw.random()
    while True:  # at worst, at an end, half of the draws lie outside
        unit = draw.gauss(middle, WIDTH)
        if 0.0 <= unit < 1.0:
            return unit


def numbers_known(dimensions: Dimensions, config: Mapping[str, Any]) -> Numbers:
    """What a config of another space (flat names) says of this one: all, if it lies in this one; else the numbers of what has the
    same name and lies within its domain, None for all else."""
    try:
        return dimensions.numbers(config)
    except (KeyError, ValueError):
        pass
    return [dimensions.number_of(k, config[one.name]) if one.name in config else None for k, one in enumerate(dimensions)]
