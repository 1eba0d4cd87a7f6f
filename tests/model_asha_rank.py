"""ASHA in its plainest words, for both rules, patience and smoothing: lists, sorted again at every decision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


def percentile(values: list[float], q: float) -> float:
    """numpy's linear percentile of some numbers, to the last bit (``test_rung`` holds it against numpy)."""
    values = sorted(values)
    at = q * (len(values) - 1)
    low, t = values[math.floor(at)], at - math.floor(at)
    high = values[min(math.floor(at) + 1, len(values) - 1)]
    return high - (high - low) * (1 - t) if t >= 0.5 else low + (high - low) * t


@dataclass
class Where:
    rung: int = -1
    strikes: int = 0
    best: float = math.nan
    stopped: bool = False


class SlowRanked:
    """``settings`` are those of ``_core.Asha``; ``bracket_of`` says which bracket a trial was drawn into."""

    def __init__(self, bracket_of: Any, **settings: Any) -> None:
        self.bracket_of, self.s = bracket_of, settings
        self.milestones = [
            m
            for k in range(64)
            if (m := settings["grace_period"] * settings["reduction_factor"] ** k) <= settings["max_t"]
        ]
        self.rungs: dict[tuple[int, int], list[float]] = {}
        self.where: dict[int, Where] = {}

    def value_of(self, one: Where, value: float) -> float:
        v = value if self.s["maximise"] else -value
        if not self.s["smooth"]:
            return v
        if not math.isnan(v):
            one.best = v if math.isnan(one.best) else max(one.best, v)
        return one.best

    def rung_for(self, trial: int, one: Where, t: float) -> int | None:
        """The highest rung that t reaches, if it is above those where the trial was judged."""
        reached = [k for k, m in enumerate(self.milestones) if m <= t and k >= self.bracket_of(trial)]
        return reached[-1] if reached and reached[-1] > one.rung else None

    def is_below(self, others: list[float], v: float) -> bool:
        eta = self.s["reduction_factor"]
        if self.s["rank"]:
            better = sum(other > v for other in others)
            return better + 1 > max(1, math.floor((len(others) + 1) / eta))
        return bool(others) and v < percentile(others, (1 - 1 / eta) * 100 / 100)

    def judge(self, trial: int, t: float, value: float, decides: bool = True) -> bool:
        """True to stop."""
        one = self.where.setdefault(trial, Where())
        v = self.value_of(one, value)
        if decides and t >= self.s["max_t"] and self.s["stop_last_trials"]:
            return True
        k = self.rung_for(trial, one, t)
        if k is None:
            return False
        if self.s["rank"] and math.isnan(v):
            v = -math.inf
        others = self.rungs.setdefault((self.bracket_of(trial), k), [])
        below = self.is_below(others, v)
        if not math.isnan(v):
            others.append(v)
        one.rung = k
        if not decides:
            return False
        one.strikes = one.strikes + 1 if below else 0
        return one.strikes >= max(1, self.s["patience"])

    def complete(self, trial: int, t: float, value: float) -> None:
        self.judge(trial, t, value, decides=False)
