"""How far values at an early step can be trusted: how well their ranks agree with ranks at a later one.

Trials that came to the later step were mostly chosen by the earlier one, so their ranks there lie close together and agree less than
those of all trials would. That is put right by the correction for a restricted range (Thorndike 1949, case 2), on normal scores of
ranks. Noise at the later step, which no earlier one could tell, is taken out by how well a step just before it agrees (Spearman
1904). A few pairs tell little: they are weighed against what is usual, on Fisher's scale.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from statistics import NormalDist

USUAL = 0.9  # agreement of steps of which the later one is THREEFOLD the earlier one
THREEFOLD = 3.0
PRIOR_PAIRS = 4.0  # that this is believed like
MOST_PAIRS = 48  # the newest ones: agreement is that of the configs which are tried now
MOST_VALUES = 256  # the newest of a step, among which a value has its rank
LEAST_PAIRS = 3
ENOUGH_PAIRS = 12  # more of one step do not outweigh what others say
SUREST = 0.995
NEAR = 0.66  # of a step, from which on another one is just before it
LEAST_CERTAINTY = 0.3
NARROWEST = 0.25  # of the spread that chosen trials may have left, in that of all: less would be told by chance alone


class StepValues:
    """Losses by step, of trials that came there, and how well those of one step tell those of a later one.

    Steps are any numbers that grow. A trial enters each step once, in their order; what it had at earlier ones is kept
    until it is ``over``.
    """

    def __init__(self) -> None:
        self._known: dict[object, dict[float, float]] = {}  # trial -> step -> loss
        self._values: dict[float, deque[float]] = {}  # the newest of each step
        self._pairs: dict[float, deque[dict[float, float]]] = {}  # of the newest trials of a step, all their losses
        self._counts: dict[float, int] = {}
        self._found: dict[tuple[float, float], tuple[int, float]] = {}  # at how many trials the agreement was looked at, and it

    def enter(self, trial: object, step: float, loss: float) -> bool:
        """The trial came to a step with this loss. False if that was known."""
        had = self._known.setdefault(trial, {})
        if step in had:
            return False
        had[step] = loss
        if step not in self._counts:
            self._counts[step] = 0
            self._values[step] = deque(maxlen=MOST_VALUES)
            self._pairs[step] = deque(maxlen=MOST_PAIRS)
        self._counts[step] += 1
        self._values[step].append(loss)
        self._pairs[step].append(dict(had))
        return True

    def over(self, trial: object) -> None:
        """The trial comes to no further step."""
        self._known.pop(trial, None)

    def count(self, step: float) -> int:
        """How many trials came to a step."""
        return self._counts.get(step, 0)

    @property
    def steps(self) -> list[float]:
        """Those that trials came to, earliest first."""
        return sorted(self._counts)

    def trust(self, step: float, last: float) -> float:
        """How well ranks at ``step`` tell those at ``last``, from 0 to 1: by all later steps that trials came to from it, the nearer
        to the last the more, and by what is usual from there on."""
        if step >= last:
            return 1.0
        share = self._share(step, last)
        prior = usual(step, last)
        weights, total = PRIOR_PAIRS, PRIOR_PAIRS * math.atanh(min(prior, SUREST))
        for later, count in self._counts.items():
            if step < later <= last and count >= LEAST_PAIRS:
                weight = min(count, ENOUGH_PAIRS) / (1.0 + math.log(last / later, THREEFOLD))
                found = max(-SUREST, min(self._agreement(step, later) / self._certainty(later), SUREST))
                total += weight * math.atanh(found * usual(later, last))
                weights += weight
        return share * max(0.0, math.tanh(total / weights))

    def _share(self, step: float, later: float) -> float:
        """Of the trials that came to the later step, those of which the earlier one is known: one that tells only of others says
        nothing of these."""
        came = self._pairs.get(later, ())
        return sum(step in had for had in came) / len(came) if came else 1.0

    def _certainty(self, step: float) -> float:
        """How well ranks at a step agree with those just before it: what noise leaves of any agreement with it."""
        near = max((one for one in self._counts if NEAR * step <= one < step), default=step)
        count = self._counts[step]
        if near == step or count < LEAST_PAIRS:
            return 1.0
        seen = (count * self._agreement(near, step) + PRIOR_PAIRS) / (count + PRIOR_PAIRS)
        return max(LEAST_CERTAINTY, seen)

    def _agreement(self, step: float, later: float) -> float:
        """Looked at anew when a tenth more trials came to the later step."""
        count = self._counts[later]
        before, found = self._found.get((step, later), (-1, 0.0))
        if before >= 0 and count < before + max(1, before // 10):
            return found
        pairs = [(had[step], had[later]) for had in self._pairs[later] if step in had]
        found = agreement(pairs, sorted(self._values.get(step, ())))
        self._found[step, later] = count, found
        return found


def usual(step: float, later: float) -> float:
    """The agreement that is believed in before anything is seen."""
    return math.pow(USUAL, math.log(max(1.0, later / step), THREEFOLD))


def agreement(pairs: Sequence[tuple[float, float]], everyone: Sequence[float]) -> float:
    """From pairs of losses at two steps, and the sorted losses of all that came to the earlier one: -1 to 1, 0 for too few."""
    n = len(pairs)
    if n < LEAST_PAIRS:
        return 0.0
    x = [normal_score(everyone, value) for value, _ in pairs]
    there = sorted(value for _, value in pairs)
    y = [normal_score(there, value) for _, value in pairs]
    mean_x, mean_y = sum(x) / n, sum(y) / n
    spread_x = math.sqrt(sum((one - mean_x) ** 2 for one in x) / n)
    spread_y = math.sqrt(sum((one - mean_y) ** 2 for one in y) / n)
    if spread_x == 0.0 or spread_y == 0.0:
        return 0.0
    r = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / (n * spread_x * spread_y)
    u = 1.0 / min(1.0, max(spread_x, NARROWEST))
    out: float = r * u / math.sqrt(1.0 + r * r * (u * u - 1.0))
    return out


_NORMAL = NormalDist()


def normal_score(everyone: Sequence[float], value: float) -> float:
    """The place of a value among sorted ones as a quantile of the normal distribution; equal ones share a place."""
    place = 0.5 * (bisect_left(everyone, value) + bisect_right(everyone, value))
    return _NORMAL.inv_cdf((place + 0.5) / (len(everyone) + 1))
