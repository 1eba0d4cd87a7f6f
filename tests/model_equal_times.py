"""The slow, obvious twin of scores at equal training time: keep every score, sort one interval's when asked."""

from __future__ import annotations

import math

NOT_DUE, MIDDLE, LOWER, UPPER = range(4)


class SlowEqualTimes:
    """Nothing is ever forgotten but trials that are over."""

    def __init__(self, fraction: float, interval: float, maximise: bool) -> None:
        self.fraction, self.interval, self.sign = fraction, interval, 1.0 if maximise else -1.0
        self.scores: dict[int, dict[int, tuple[float, int]]] = {}  # trial -> interval -> score, number of its arrival
        self.at: dict[int, int] = {}
        self.copied: dict[int, int] = {}
        self.upper: set[int] = set()
        self.seen: set[int] = set()  # intervals in which a score came
        self.arrivals = 0

    def enter(self, trial: int, time: float, value: float) -> None:
        now, before = math.floor(time / self.interval), self.at.get(trial)
        mine = self.scores.setdefault(trial, {})
        if before in mine:
            for between in sorted(self.seen):
                if before < between < now and between not in mine:
                    self.arrivals += 1
                    mine[between] = (mine[before][0], self.arrivals)
        self.arrivals += 1
        mine[now] = (self.sign * value, self.arrivals)
        self.seen.add(now)
        self.at[trial] = now

    def forget(self, trial: int) -> None:
        for kept in (self.scores, self.at, self.copied):
            kept.pop(trial, None)  # type: ignore[attr-defined]
        self.upper.discard(trial)

    def copy(self, trial: int, donor: int) -> None:
        self.at[trial] = self.copied[trial] = self.at[donor]
        self.upper.discard(trial)

    def compared_in(self, trial: int, population: int) -> int | None:
        """The latest interval up to the trial's that more than half have a score in."""
        found = [
            number
            for number in self.scores.get(trial, {})
            if number <= self.at[trial] and 2 * sum(number in one for one in self.scores.values()) > population
        ]
        return max(found, default=None)

    def quantiles(self, number: int) -> tuple[list[int], list[int]]:
        """(lower, upper), the worst first; of equal scores the later one is worse."""
        known = [(*one[number], trial) for trial, one in self.scores.items() if number in one]
        order = [trial for _, _, trial in sorted((score, -came, trial) for score, came, trial in known if not math.isnan(score))]
        k = math.ceil(len(order) * self.fraction)
        if k > len(order) / 2:
            k = len(order) // 2
        return (order[:k], order[len(order) - k :]) if len(order) > 1 else ([], [])

    def settle(self, trial: int, population: int) -> int:
        number, place = self.compared_in(trial, population), MIDDLE
        if number is None:
            place = UPPER if population > 1 else MIDDLE
        elif number > self.copied.get(trial, -1):
            lower, upper = self.quantiles(number)
            place = LOWER if trial in lower else UPPER if trial in upper else MIDDLE
        (self.upper.add if place == UPPER else self.upper.discard)(trial)
        return place

    def donors(self, trial: int, population: int) -> set[int]:
        """Who may be drawn."""
        number = self.compared_in(trial, population)
        return set() if number is None else set(self.quantiles(number)[1]) & self.upper
