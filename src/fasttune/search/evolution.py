"""Regularised evolution: children of the best of the youngest, for spaces of every kind.

Real, Aggarwal, Huang, Le 2019, Regularized Evolution for Image Classifier Architecture Search (AAAI), algorithm 1: the
oldest dies, not the worst, so a lucky result is forgotten. Three in ten children take a step of differential evolution
(Storn and Price 1997) instead of a mutation.

Why this and not differential evolution as such: within 200 evaluations of functions with 5 and 10 parameters, continuous
and mixed, its asynchronous form (as in DEHB: Awad, Mallik, Hutter 2021) with populations of 10 to 20 left 2 to 7 times the
regret (geometric means), since most of its budget goes into replacing members that are not the best.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fasttune.argument import checked_count
from fasttune.search.base import Metric, Mode
from fasttune.search.space_searcher import FAILED, SpaceSearcher, Told
from fasttune.search.steps import comparable
from fasttune.space.dimensions import CATEGORICAL, Dimensions, Numbers

WIDEST, FINEST = -0.3, -3.0  # powers of ten between which the deviation of a mutation lies, in widths of the space
CROSSED = 0.3  # share of mutated children that have a second parent
STEPPED = 0.3  # share of children that step along the difference of two members
TAKEN = 0.7  # share of the dimensions that such a step moves
RIVALS = 3  # members of which the best is the second parent
LONG = 4  # of so many members one has to have come as far as those whose losses are compared
TRIES = 8  # for a child that is another config than its parent

Units = list[float]


class Member(NamedTuple):
    """One result. Tuples compare by loss, then by age: a tie goes to the older."""

    loss: float
    age: int
    units: Units  # of all dimensions: what the config leaves out is passed on unseen
    numbers: Numbers
    step: int  # at which the loss was told


class EvolutionSearch(SpaceSearcher):
    """Mutates the best of the youngest configs. For floats, integers, choices and conditional parts alike, in microseconds
    a suggestion, however many results there are; asks never wait, and a result counts whenever it comes. Failed trials
    count as worse than all others, and those that were stopped before most others as no better than the middle of these.

    Args:
        space, metric, mode, points_to_evaluate, evaluated_rewards: see ``SpaceSearcher``.
        population_size: the youngest results that may have children; also the evenly spread configs to begin with.
        sample_size: how many of them are looked at for the best; None: all. Fewer of them search more broadly, which
            pays with some thousand trials.
        seed: of everything random.
    """

    ranks = True
    several = False

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[float] | None = None,
        *,
        population_size: int = 30,
        sample_size: int | None = None,
        seed: int | None = None,
    ) -> None:
        population_size = checked_count("population_size", population_size, least=2)
        if sample_size is not None:
            rule = f">= 1 and <= population_size ({population_size})"
            sample_size = checked_count("sample_size", sample_size, least=1, most=population_size, rule=rule)
        self.population_size = population_size
        self.sample_size = sample_size
        super().__init__(space, metric, mode, points_to_evaluate, evaluated_rewards, seed=seed)

    def _begin(self, dimensions: Dimensions) -> None:
        self._random = random.Random(self._seed)
        self._start = self._spread(self.population_size, len(dimensions))
        self._young: deque[Member] = deque(maxlen=self.population_size)
        self._members: Sequence[Member] = self._young  # with losses that can be compared
        self._children: dict[str, tuple[Units, Numbers]] = {}
        self._told = 0

    def _spread(self, n: int, d: int) -> list[Units]:
        """A Latin hypercube (McKay, Beckman, Conover 1979): each dimension's n strata are hit once."""
        columns = [self._random.sample(range(n), n) for _ in range(d)]
        return [[(column[i] + self._random.random()) / n for column in columns] for i in range(n)]

    # -- suggesting -----------------------------------------------------------------------------------------------------

    def _ask(self, trial_id: str) -> Numbers:
        assert self.dimensions is not None
        if self._start:
            units = self._start.pop()
        elif not self._members:
            units = [self._random.random() for _ in self.dimensions]
        else:
            units = self._child()
        numbers = self.dimensions.from_units(units)
        self._children[trial_id] = units, numbers
        return numbers

    def _child(self) -> Units:
        assert self.dimensions is not None
        draw = self._random
        young = self._members
        seen = young if self.sample_size is None else draw.sample(young, min(self.sample_size, len(young)))
        parent = min(seen)
        units: Units = []
        for _ in range(TRIES):  # steps and options may give the same config again
            units = self._stepped(parent) if len(young) > 2 and draw.random() < STEPPED else self._mutated(parent)
            if self.dimensions.from_units(units) != parent.numbers:
                break
        return units

    def _stepped(self, parent: Member) -> Units:
        """Along the way from the worse to the better one of two members; of a choice, the better one's option."""
        assert self.dimensions is not None
        draw = self._random
        better, worse = sorted(draw.sample(self._members, 2))
        length = draw.random()
        units = parent.units.copy()
        for k, one in enumerate(self.dimensions):
            if draw.random() >= TAKEN:
                continue
            if one.kind != CATEGORICAL:
                units[k] = self._inside(units[k] + length * (better.units[k] - worse.units[k]))
            elif draw.random() < length:
                units[k] = better.units[k]
        return units

    def _mutated(self, parent: Member) -> Units:
        """One dimension that counts, and each other one with a chance of 1 in their number."""
        assert self.dimensions is not None
        draw = self._random
        units = parent.units.copy()
        if draw.random() < CROSSED:
            second = min(draw.sample(self._members, min(RIVALS, len(self._members))))
            units = [other if draw.random() < 0.5 else own for own, other in zip(units, second.units, strict=True)]
        active = [k for k, number in enumerate(parent.numbers) if number is not None]
        surely = draw.choice(active)
        for k in range(len(units)):
            if k == surely or draw.random() * len(active) < 1.0:
                units[k] = self._moved(k, units[k])
        return units

    def _moved(self, k: int, unit: float) -> float:
        assert self.dimensions is not None
        draw = self._random
        one = self.dimensions[k]
        if one.kind != CATEGORICAL:
            return self._inside(unit + draw.gauss(0.0, 10.0 ** draw.uniform(FINEST, WIDEST)))
        if one.size == 1:
            return unit
        option = draw.randrange(len(one.options) - 1)  # another one
        return one.unit(option + (option >= one.value(unit)))

    def _inside(self, unit: float) -> float:
        return unit if 0.0 <= unit < 1.0 else self._random.random()

    # -- learning -------------------------------------------------------------------------------------------------------

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        assert self.dimensions is not None
        units, suggested = self._children.pop(trial_id or "", ([], []))
        if suggested != numbers:  # evaluated elsewhere, or a point to evaluate
            units = self.dimensions.to_units(numbers)
        loss = float("inf") if told.outcome == FAILED else told.loss
        self._young.append(Member(loss, self._told, units, numbers, told.step))
        self._told += 1
        steps = [one.step for one in self._young]
        if steps.count(steps[0]) == len(steps):
            self._members = self._young
            return
        losses = comparable([one.loss for one in self._young], steps, max(1, len(steps) // LONG))
        self._members = [one._replace(loss=loss) for one, loss in zip(self._young, losses, strict=True)]
