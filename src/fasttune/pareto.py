"""Which points no other point beats, and how much a set of them covers."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class MetricRange(NamedTuple):
    """From where to where a metric goes on a front."""

    metric: str
    mode: str
    low: float
    high: float

    def words(self) -> str:
        """ "loss 0.01 to 0.2"."""
        return f"{self.metric} {self.low:.4g}" + (f" to {self.high:.4g}" if self.high > self.low else "")


class ParetoFront(NamedTuple):
    """The trials of an experiment that no other one beats in all metrics; none where each breaks its constraints."""

    trials: list[int]  # their numbers, by the first metric, best first
    spans: list[MetricRange]
    hypervolume: float | None  # up to the worst value of each metric; None: it would take long
    values: list[list[float]]  # of each metric, a row for each of the trials

    def words(self) -> str:
        """ "front of 12 trials: loss 0.01 to 0.2, seconds 3 to 9, hypervolume 0.8"."""
        if not self.trials:
            return "no front, as no trial holds its constraints"
        n = len(self.trials)
        told = [span.words() for span in self.spans]
        told += [] if self.hypervolume is None else [f"hypervolume {self.hypervolume:.4g}"]
        return f"front of {n:,} trial{'s' if n > 1 else ''}: {', '.join(told)}"


def pareto_front(losses: Floats) -> NDArray[np.int64]:
    """Rows of ``losses`` (points x metrics, all to be minimised, without NaN) that no other row dominates: none is at least
    as good in all of them and better in one. By the first metric, then the next; equal rows are all in it. O(n * front).
    """
    import numpy as np

    order = np.lexsort(losses.T[::-1])
    front: list[int] = []
    left = order
    while len(left):
        first = losses[left[0]]  # nothing comes before it in this order, so nothing that is left dominates it
        equal = (losses[left] == first).all(axis=1)
        front += left[equal].tolist()
        left = left[~(losses[left] >= first).all(axis=1)]
    return np.array(front, dtype=np.int64)


def hypervolume(losses: Floats, reference: Floats) -> float:
    """How much lies between the points (rows, all metrics to be minimised) and the reference point: the measure of what at least
    one point is no worse than, and that is no worse than the reference. Exact; O(n log n) for two metrics, O(n^(m-1)) for m."""
    inside = losses[(losses < reference).all(axis=1)]
    return _volume(inside[pareto_front(inside)] if len(inside) else inside, reference)


def _volume(front: Floats, reference: Floats) -> float:
    import numpy as np

    if not len(front):
        return 0.0
    if front.shape[1] == 1:
        return float(reference[0] - front.min())
    order = np.argsort(front[:, -1], kind="stable")
    front = front[order]
    if front.shape[1] == 2:
        lowest = np.minimum.accumulate(front[:, 0])
        heights = np.diff(front[:, 1], append=reference[1])
        return float(((reference[0] - lowest) * heights).sum())
    # slices along the last metric: each is what all points up to it cover in the others
    heights = np.diff(front[:, -1], append=reference[-1])
    covered = 0.0
    for k, height in enumerate(heights.tolist()):
        if height > 0:
            some = front[: k + 1, :-1]
            covered += height * _volume(some[pareto_front(some)], reference[:-1])
    return covered


def hypervolumes(losses: Floats, reference: Floats) -> Iterator[float]:
    """The hypervolume of the first point, of the first two, and so on. A row with NaN adds nothing."""
    import numpy as np

    front = np.empty((0, len(reference)))
    covered = 0.0
    for row in losses:
        if (row < reference).all() and not (front <= row).all(axis=1).any():
            front = np.vstack([front[~(row <= front).all(axis=1)], row])
            covered = _volume(front, reference)
        yield covered


def covering(losses: Floats, n: int) -> NDArray[np.int64]:
    """n rows of a front that cover much of what all of them do, the one that adds the most first (which is at least 63 % of the
    most that n can cover). The reference lies a tenth of the front's width behind its ends."""
    import numpy as np

    low, width = losses.min(axis=0), np.ptp(losses, axis=0)
    width[width == 0] = 1.0
    points = (losses - low) / width
    reference = np.full(losses.shape[1], 1.1)
    if losses.shape[1] == 2:
        return _covering_of_two(points, reference, n)
    chosen: list[int] = []
    # what a point adds shrinks as others are chosen: what it was is a bound
    bounds = [(-float(np.prod(reference - point)), k, 0) for k, point in enumerate(points)]
    heapq.heapify(bounds)
    covered = 0.0
    while len(chosen) < n and bounds:
        gain, k, known = heapq.heappop(bounds)
        if known == len(chosen):
            chosen.append(k)
            covered -= gain
        else:
            with_it = hypervolume(points[[*chosen, k]], reference)
            heapq.heappush(bounds, (covered - with_it, k, len(chosen)))
    return np.array(chosen, dtype=np.int64)


def _covering_of_two(points: Floats, reference: Floats, n: int) -> NDArray[np.int64]:
    """Of two metrics: what a point adds is a rectangle between those chosen before and behind it."""
    import numpy as np

    chosen: list[int] = []
    for _ in range(min(n, len(points))):
        some = points[chosen][np.argsort(points[chosen, 0], kind="stable")] if chosen else np.empty((0, 2))
        at = np.searchsorted(some[:, 0], points[:, 0])
        right = np.append(some[:, 0], reference[0])[at]
        top = np.concatenate([reference[1:], some[:, 1]])[at]
        gains = (right - points[:, 0]) * (top - points[:, 1])
        gains[chosen] = -np.inf
        chosen.append(int(gains.argmax()))
    return np.array(chosen, dtype=np.int64)
