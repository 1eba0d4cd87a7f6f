"""Slow, obvious twins of the median stopping rule and of what it stands on."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction
from typing import NamedTuple

CONTINUE, STOP, TOO_FEW = 0, 1, -1


def mean(values: list[float]) -> float:
    """Rounded once; NaN of no values, and of values that are not all finite."""
    if not values or not all(math.isfinite(value) for value in values):
        return math.nan
    return float(sum(map(Fraction, values)) / len(values))


class Report(NamedTuple):
    t: float
    value: float
    step: int
    strikes: int


class SlowMedian:
    """All reports in lists, and every mean from scratch at every report."""

    def __init__(
        self, grace: float, min_samples: int, maximise: bool, patience: int = 1, last: bool = False
    ) -> None:
        self.grace, self.min_samples, self.last = grace, min_samples, last
        self.sign = 1.0 if maximise else -1.0
        self.patience = max(1, patience)
        self.reports: dict[int, list[Report]] = {}

    def record(self, trial: int, t: float, value: float, step: int = 0) -> None:
        if not math.isnan(t):
            kept = self.reports[trial] = self.kept(trial, t, step)
            kept.append(Report(t, self.sign * value, step, kept[-1].strikes if kept else 0))

    def kept(self, trial: int, t: float, step: int) -> list[Report]:
        """The reports that come before this one; the others are of an attempt that was given up."""
        before = self.reports.get(trial, [])
        kept = [one for one in before if one.t <= t and not 0 < step <= one.step]
        if len(kept) < len(before) and step == 0:
            kept = [one for one in kept if one.t < t]
        return kept

    def judge(self, trial: int, t: float, value: float, step: int = 0) -> int:
        self.record(trial, t, value, step)
        if math.isnan(t) or t < self.grace:
            return CONTINUE
        means = self.means_at(t, [other for other in self.reports if other != trial])
        if len(means) < self.min_samples:
            return TOO_FEW
        mine = [one.value for one in self.reports[trial] if not math.isnan(one.value)]
        compared = self.sign * value if self.last else max(mine, default=math.nan)
        if not means or math.isnan(compared):
            return CONTINUE
        now = self.reports[trial][-1]
        now = now._replace(strikes=now.strikes + 1 if compared < statistics.median(means) else 0)
        self.reports[trial][-1] = now
        return STOP if now.strikes >= self.patience else CONTINUE

    def means_at(self, t: float, others: list[int]) -> list[float]:
        """Running means of the trials whose last report is not before t."""
        found = []
        for other in others:
            if self.reports[other][-1].t >= t:
                found.append(mean([one.value for one in self.reports[other] if self.grace <= one.t <= t]))
        return [value for value in found if math.isfinite(value)]
