"""Which points no other point beats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pareto_front(losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows of ``losses`` (points x metrics, all to be minimised, without NaN) that no other row dominates: none is at least
    as good in all of them and better in one. By the first metric, then the next; equal rows are all in it. O(n * front).
    """
    order = np.lexsort(losses.T[::-1])
    front: list[int] = []
    left = order
    while len(left):
        first = losses[left[0]]  # nothing comes before it in this order, so nothing that is left dominates it
        equal = (losses[left] == first).all(axis=1)
        front += left[equal].tolist()
        left = left[~(losses[left] >= first).all(axis=1)]
    return np.array(front, dtype=np.int64)
