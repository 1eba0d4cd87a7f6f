"""The slow, obvious twin of the population's ranks: sort everybody, every time."""

from __future__ import annotations

import math

NOT_DUE, MIDDLE, LOWER, UPPER = range(4)


class SlowPopulation:
    """Scores in a dict, quantiles by sorting them."""

    def __init__(self, fraction: float, interval: float, burn_in: float, maximise: bool) -> None:
        self.fraction, self.interval, self.burn_in = fraction, interval, burn_in
        self.sign = 1.0 if maximise else -1.0
        self.scores: dict[int, tuple[float, int]] = {}
        self.perturbed: dict[int, float] = {}
        self.arrivals = 0

    def quantiles(self) -> tuple[list[int], list[int]]:
        """(lower, upper), the worst first; of equal scores the later one is worse."""
        known = [(score, -number, trial) for trial, (score, number) in self.scores.items() if not math.isnan(score)]
        order = [trial for _, _, trial in sorted(known)]
        k = math.ceil(len(order) * self.fraction)
        if k > len(order) / 2:
            k = len(order) // 2
        return (order[:k], order[len(order) - k :]) if len(order) > 1 else ([], [])

    def judge(self, trial: int, t: float, value: float) -> int:
        if t < self.burn_in or t - self.perturbed.get(trial, 0.0) < self.interval:
            return NOT_DUE
        self.arrivals += 1
        self.scores[trial] = (self.sign * value, self.arrivals)
        self.perturbed[trial] = t
        lower, upper = self.quantiles()
        return LOWER if trial in lower else UPPER if trial in upper else MIDDLE

    def forget(self, trial: int) -> None:
        self.scores.pop(trial, None)
        self.perturbed.pop(trial, None)

    def take_over(self, trial: int, donor: int) -> None:
        self.perturbed[trial] = self.perturbed.get(donor, 0.0)
