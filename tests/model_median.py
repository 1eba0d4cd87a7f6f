"""Slow, obvious twins of the median stopping rule and of what it stands on."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

CONTINUE, STOP, TOO_FEW = 0, 1, -1


def mean(values: list[float]) -> float:
    """Rounded once; NaN of no values, and of values that are not all finite."""
    if not values or not all(math.isfinite(value) for value in values):
        return math.nan
    return float(sum(map(Fraction, values)) / len(values))


class SlowMedian:
    """All reports in lists, and every mean from scratch at every report."""

    def __init__(
        self, grace: float, min_samples: int, maximise: bool, patience: int = 1, last: bool = False
    ) -> None:
        self.grace, self.min_samples, self.last = grace, min_samples, last
        self.sign = 1.0 if maximise else -1.0
        self.patience = max(1, patience)
        self.reports: dict[int, list[tuple[float, float]]] = {}
        self.strikes: dict[int, int] = {}

    def record(self, trial: int, t: float, value: float) -> None:
        if not math.isnan(t):
            self.reports.setdefault(trial, []).append((t, self.sign * value))

    def judge(self, trial: int, t: float, value: float) -> int:
        self.record(trial, t, value)
        if math.isnan(t) or t < self.grace:
            return CONTINUE
        means = self.means_at(t, [other for other in self.reports if other != trial])
        if len(means) < self.min_samples:
            return TOO_FEW
        mine = [v for _, v in self.reports[trial] if not math.isnan(v)]
        compared = self.sign * value if self.last else max(mine, default=math.nan)
        if not means or math.isnan(compared):
            return CONTINUE
        worse = compared < statistics.median(means)
        self.strikes[trial] = self.strikes.get(trial, 0) + 1 if worse else 0
        return STOP if self.strikes[trial] >= self.patience else CONTINUE

    def means_at(self, t: float, others: list[int]) -> list[float]:
        """Running means of the trials whose last report is not before t."""
        found = []
        for other in others:
            if self.reports[other][-1][0] >= t:
                found.append(mean([v for at, v in self.reports[other] if self.grace <= at <= t]))
        return [value for value in found if math.isfinite(value)]
