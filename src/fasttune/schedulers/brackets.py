"""What HyperBand and successive halving plan: which brackets, how many trials in each stage, up to which milestone.

All of it is exact: logarithms are compared as powers, sizes are rounded as fractions, so that no bracket is lost to the
last bit of a float (log 243 to the base 3 is 4.999... in floats).
"""

from __future__ import annotations

import math
from fractions import Fraction

Stage = tuple[int, float]  # trials, and the milestone they run to
MOST_BRACKETS = 64


def ray_brackets(max_t: float, eta: float) -> list[list[Stage]]:
    """As Ray Tune forms them, smallest first: bracket s has ceil((k / (s + 1)) * eta**s) trials for k brackets in all, the
    first milestone int(max_t / eta**s), then int(min(eta * milestone, max_t)); sizes are divided by eta and rounded up.
    The logarithm is rounded to the nearest, so a bracket may have no milestone >= 1; it is left out."""
    total, most, rate = _nearest_logarithm(max_t, eta) + 1, Fraction(max_t), Fraction(eta)
    brackets = []
    for s in range(total):
        size = math.ceil(Fraction(total, s + 1) * rate**s)
        milestone = math.floor(most / rate**s)
        if milestone == 0:
            continue
        stages: list[Stage] = [(size, milestone)]
        for _ in range(s):
            size = math.ceil(size / rate)
            milestone = math.floor(min(milestone * rate, most))
            stages.append((size, milestone))
        brackets.append(stages)
    return brackets


def algorithm1_brackets(max_t: float, eta: float) -> list[list[Stage]]:
    """As Algorithm 1 of Li et al. 2018 has them, largest first: n = ceil((s_max + 1) / (s + 1) * eta**s), then
    floor(n * eta**-i) trials for max_t * eta**(i - s)."""
    top, rate = _logarithm(max_t, eta), Fraction(eta)
    return [_falling(math.ceil(Fraction(top + 1, s + 1) * rate**s), s, max_t, rate) for s in range(top, -1, -1)]


def table1_brackets(max_t: float, eta: float) -> list[list[Stage]]:
    """As the paper's Table 1 prints them for max_t = 81, eta = 3 (81, 27, 9, 6, 5 trials), largest first:
    n = ceil(floor((s_max + 1) / (s + 1)) * eta**s). This is the rounding of the authors' own published loop."""
    top, rate = _logarithm(max_t, eta), Fraction(eta)
    return [_falling(math.ceil((top + 1) // (s + 1) * rate**s), s, max_t, rate) for s in range(top, -1, -1)]


def halving_stages(n: int, eta: float, min_t: float, max_t: float) -> list[Stage]:
    """One bracket for n candidates: n, ceil(n / eta), ... trials for min_t, eta * min_t, ... up to max_t, where the last
    stage ends. It also ends with the last candidate, who runs to max_t."""
    rate, size, milestone = Fraction(eta), n, Fraction(min_t)
    stages = []
    while size > 1 and milestone < Fraction(max_t):
        stages.append((size, _plain(milestone)))
        size = math.ceil(size / rate)
        milestone *= rate
    return [*stages, (size, _plain(Fraction(max_t)))]


def budget_of(stages: list[Stage]) -> float:
    """Time that all trials of a bracket run together, each going on where it was."""
    total, before = Fraction(0), Fraction(0)
    for size, milestone in stages:
        total += size * (Fraction(milestone) - before)
        before = Fraction(milestone)
    return _plain(total)


FORMS = {"ray": ray_brackets, "algorithm1": algorithm1_brackets, "table1": table1_brackets}


def _falling(n: int, s: int, max_t: float, rate: Fraction) -> list[Stage]:
    return [(math.floor(n / rate**i), _plain(Fraction(max_t) / rate ** (s - i))) for i in range(s + 1)]


def _plain(value: Fraction) -> float:
    return int(value) if value.denominator == 1 else float(value)


def _logarithm(max_t: float, eta: float) -> int:
    """The largest k with eta**k <= max_t."""
    most, rate, k = Fraction(max_t), Fraction(eta), 0
    while rate ** (k + 1) <= most:
        k += 1
        if k == MOST_BRACKETS:
            raise ValueError(
                f"reduction_factor {eta!r} is so near to 1 that max_t={max_t!r} needs more than {MOST_BRACKETS} brackets"
            )
    return k


def _nearest_logarithm(max_t: float, eta: float) -> int:
    """The logarithm of max_t to the base eta, rounded to the nearest; half-way to the even one, as round() does."""
    low = _logarithm(max_t, eta)
    above = Fraction(max_t) ** 2 - Fraction(eta) ** (2 * low + 1)
    return low + (above > 0 or (above == 0 and low % 2 == 1))
