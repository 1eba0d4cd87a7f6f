"""Slow, obvious twins of promotion (Algorithm 2 of Li et al. 2020) and of PASHA on top of it."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import numpy as np

CONTINUE, STOP, PAUSE = 0, 1, 3


class SlowPromotion:
    """Rungs as lists of (value, trial) in order of arrival; sorted whenever somebody asks."""

    def __init__(self, max_t: float, grace: float, factor: float, maximise: bool) -> None:
        self.milestones = [m for k in range(64) if (m := grace * factor**k) < max_t] + [max_t]
        self.factor, self.sign = factor, 1.0 if maximise else -1.0
        self.limit = len(self.milestones) - 1
        self.rungs: list[list[tuple[float, int]]] = [[] for _ in self.milestones]
        self.gone: set[tuple[int, int]] = set()  # (rung, trial) that is promoted, or over
        self.rung: dict[int, int] = {}

    def top(self, k: int) -> list[int]:
        """The best trials of a rung: those that may be promoted, promoted or not."""
        order = sorted(range(len(self.rungs[k])), key=lambda i: (-self.rungs[k][i][0], i))
        return [self.rungs[k][i][1] for i in order[: math.floor(len(order) / self.factor)]]

    def candidate(self, below: int = 64) -> tuple[int, int] | None:
        for k in reversed(range(min(below, self.limit))):
            for trial in self.top(k):
                if (k, trial) not in self.gone:
                    return trial, k
        return None

    def promote(self, trial: int) -> None:
        self.withdraw(trial)

    def withdraw(self, trial: int) -> None:
        self.gone.add((self.rung.get(trial, -1), trial))

    def judge(self, trial: int, t: float, value: float) -> int:
        if math.isnan(t):
            return CONTINUE
        self.reported(trial, t, self.sign * value)
        before = self.rung.get(trial, -1)
        reached = [k for k, m in enumerate(self.milestones[: self.limit + 1]) if m <= t and k > before]
        self.withdraw(trial)
        if not reached:
            return STOP if t >= self.milestones[-1] else CONTINUE
        self.enter(trial, reached[-1], self.sign * value)
        if t >= self.milestones[-1]:
            self.withdraw(trial)
            return STOP
        return PAUSE

    def enter(self, trial: int, k: int, value: float) -> None:
        self.rung[trial] = k
        self.rungs[k].append((-math.inf if math.isnan(value) else value, trial))
        if math.isnan(value):
            self.withdraw(trial)

    def reported(self, trial: int, t: float, value: float) -> None:
        """For PASHA."""


class SlowPasha(SlowPromotion):
    """Curves as dicts; everything about the highest rung from scratch whenever a trial enters it."""

    def __init__(self, max_t: float, grace: float, factor: float, maximise: bool) -> None:
        super().__init__(max_t, grace, factor, maximise)
        self.limit = min(1, self.limit)
        self.curves: dict[int, dict[float, float]] = {}
        self.entered: dict[int, dict[int, float]] = {}
        self.members: list[int] = []
        self.epsilon = 0.0

    def reported(self, trial: int, t: float, value: float) -> None:
        earlier = {at: v for at, v in self.curves.get(trial, {}).items() if at < t}
        self.curves[trial] = {**earlier, t: value}

    def enter(self, trial: int, k: int, value: float) -> None:
        super().enter(trial, k, value)
        self.entered.setdefault(trial, {})[k] = value
        known = [self.entered[trial].get(j, math.nan) for j in (k - 1, k)]
        if k < self.limit or k == 0 or any(map(math.isnan, known)):
            return
        self.members = [*self.members, trial][-128:]
        noise = [d for a, b in combinations(self.members, 2) if not math.isnan(d := self.noise(a, b))]
        if noise:
            self.epsilon = float(np.percentile(noise, 90))
        if self.limit + 1 < len(self.milestones) and not self.stable():
            self.limit += 1
            self.members = []

    def noise(self, a: int, b: int) -> float:
        """The distance of two curves that cross at least twice, where both were last seen."""
        shared = sorted(self.curves[a].keys() & self.curves[b].keys())
        apart = [self.curves[a][t] - self.curves[b][t] for t in shared]
        sides = [d > 0 for d in apart if d != 0 and not math.isnan(d)]
        crossings = sum(x != y for x, y in pairwise(sides))
        finite = [abs(d) for d in apart if math.isfinite(d)]
        return finite[-1] if crossings >= 2 and finite else math.nan

    def stable(self) -> bool:
        now = [(self.entered[t][self.limit], self.entered[t][self.limit - 1]) for t in self.members]
        held = [below for _, below in sorted(now, reverse=True)]
        then = sorted(held, reverse=True)
        return all(x == y or abs(x - y) <= self.epsilon for x, y in zip(held, then, strict=True))
