"""Points to begin a search with: evenly spread, and told by a seed."""

from __future__ import annotations

import random


def latin_hypercube(n: int, dimensions: int, seed: int) -> list[list[float]]:
    """Points of the unit cube, one in each of n equal slices of every dimension (McKay et al. 1979)."""
    draw = random.Random(seed)
    columns = []
    for _ in range(dimensions):
        slices = list(range(n))
        draw.shuffle(slices)
        columns.append([(place + draw.random()) / n for place in slices])
    return [list(point) for point in zip(*columns, strict=True)]
