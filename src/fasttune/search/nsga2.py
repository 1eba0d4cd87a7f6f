"""Several objectives by evolution: NSGA-II (Deb et al. 2002), one child at a time.

A generation would have to wait for its slowest trial. So each result that comes joins the population at once, and the worst member
leaves it (a steady state, as in Durillo et al. 2009): who is beaten by more fronts, and within a front who is most crowded.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.argument import checked_count
from fasttune.search.base import Metric, Mode
from fasttune.search.latin_hypercube import latin_hypercube
from fasttune.search.space_searcher import FAILED, SpaceSearcher, Told
from fasttune.space.dimensions import CATEGORICAL, Dimensions, Numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Units = list[float]
CROSSED = 0.9  # children of two parents, of all
CROSSING = 15.0  # how near children are to their parents: the distribution index of simulated binary crossover
MUTATION = 20.0  # likewise of polynomial mutation
TRIES = 8


class FrontMember(NamedTuple):
    """A result of the population."""

    units: Units
    losses: tuple[float, ...]


class NSGA2Search(SpaceSearcher):
    """Searches for the Pareto front of several metrics, by children of those that no other beats and that are least crowded.

    For floats, integers, choices and conditional parts alike; asks never wait, and a result counts whenever it comes. Trials that
    break their constraints are beaten by all that hold them. Failed ones have no children. With one metric it is a plain
    evolution by it. Below some hundred trials :class:`MOTPESearch` finds more.

    Args:
        space, metric, mode, points_to_evaluate, evaluated_rewards: see ``SpaceSearcher``; lists of metrics and modes. An evaluated
            reward is then a list of values.
        population_size: results that may have children; also the evenly spread configs to begin with.
        seed: of everything random.
    """

    ranks = True
    several = True

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[Any] | None = None,
        *,
        population_size: int = 30,
        seed: int | None = None,
    ) -> None:
        self.population_size = checked_count("population_size", population_size, least=4)
        super().__init__(space, metric, mode, points_to_evaluate, evaluated_rewards, seed=seed)

    @property
    def batch_size(self) -> int | None:
        return self.population_size

    def _begin(self, dimensions: Dimensions) -> None:
        self._random = random.Random(self._seed)
        self._start = latin_hypercube(self.population_size, len(dimensions), self._seed)
        self._population: list[FrontMember] = []
        self._merits: list[tuple[int, float]] = []  # of each member: its front, and how crowded it is (the less the better)
        self._children: dict[str, tuple[Units, Numbers]] = {}

    # -- suggesting -----------------------------------------------------------------------------------------------------

    def _ask(self, trial_id: str) -> Numbers:
        assert self.dimensions is not None
        if self._start:
            units = self._start.pop()
        elif len(self._population) < 2:
            units = [self._random.random() for _ in self.dimensions]
        else:
            units = self._child()
        numbers = self.dimensions.from_units(units)
        self._children[trial_id] = units, numbers
        return numbers

    def _child(self) -> Units:
        assert self.dimensions is not None
        one, other = self._parent(), self._parent()
        known = [self.dimensions.from_units(one), self.dimensions.from_units(other)]
        units = one
        for _ in range(TRIES):  # steps and options may give the config of a parent again
            units = self._crossed(one, other) if self._random.random() < CROSSED else list(one)
            units = [self._mutated(k, unit) if self._random.random() * len(units) < 1.0 else unit for k, unit in enumerate(units)]
            if self.dimensions.from_units(units) not in known:
                break
        return units

    def _parent(self) -> Units:
        """The better one of two."""
        rivals = self._random.sample(range(len(self._population)), 2)
        return self._population[min(rivals, key=lambda i: self._merits[i])].units

    def _crossed(self, one: Units, other: Units) -> Units:
        """Between two parents or a little beyond (Deb and Agrawal 1995); of a choice, either one's option."""
        assert self.dimensions is not None
        draw = self._random
        units = []
        for dimension, a, b in zip(self.dimensions, one, other, strict=True):
            if draw.random() < 0.5 or a == b or dimension.kind == CATEGORICAL:
                units.append(a if draw.random() < 0.5 else b)
                continue
            u = draw.random()
            spread = (2 * u) ** (1 / (CROSSING + 1)) if u < 0.5 else (2 - 2 * u) ** (-1 / (CROSSING + 1))
            side = spread if draw.random() < 0.5 else -spread
            units.append(_inside(0.5 * (a + b) + 0.5 * side * (a - b)))
        return units

    def _mutated(self, k: int, unit: float) -> float:
        assert self.dimensions is not None
        draw = self._random
        one = self.dimensions[k]
        if one.kind == CATEGORICAL:
            return draw.random()
        u = draw.random()
        step = (2 * u) ** (1 / (MUTATION + 1)) - 1 if u < 0.5 else 1 - (2 - 2 * u) ** (1 / (MUTATION + 1))
        return _inside(unit + step)

    # -- learning -------------------------------------------------------------------------------------------------------

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        assert self.dimensions is not None
        units, suggested = self._children.pop(trial_id or "", ([], []))
        if told.outcome == FAILED:
            return
        if suggested != numbers:  # evaluated elsewhere, or a point to evaluate
            units = self.dimensions.to_units(numbers)
        self._population.append(FrontMember(units, told.losses))
        self._select()

    def _select(self) -> None:
        """Rank the members, and let the worst one go if there are too many."""
        import numpy as np

        losses = np.array([one.losses for one in self._population])
        fronts = fronts_of(losses)
        if len(losses) > self.population_size:
            last = np.flatnonzero(fronts == fronts.max())  # who goes changes nobody else's front
            worst = int(last[np.argmin(crowding(losses[last]))])
            del self._population[worst]
            losses, fronts = np.delete(losses, worst, axis=0), np.delete(fronts, worst)
        crowded = np.zeros(len(losses))
        for front in range(int(fronts.max()) + 1):
            rows = np.flatnonzero(fronts == front)
            crowded[rows] = -crowding(losses[rows])
        self._merits = list(zip(fronts.tolist(), crowded.tolist(), strict=True))


def fronts_of(losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """The number of each point's front: 0 for those that no other beats, 1 for those that only these do, and so on."""
    import numpy as np

    no_worse = (losses[:, None, :] <= losses[None, :, :]).all(axis=2)
    beats: Any = no_worse & (losses[:, None, :] < losses[None, :, :]).any(axis=2)
    fronts = np.full(len(losses), -1)
    left = np.ones(len(losses), dtype=bool)
    number = 0
    while left.any():
        beaten: NDArray[np.bool_] = np.asarray(beats[left].any(axis=0))
        front = left & ~beaten
        fronts[front] = number
        left &= ~front
        number += 1
    return fronts


def crowding(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the neighbours of each point of a front are from each other, over all metrics; inf at the ends."""
    import numpy as np

    n, m = losses.shape
    found = np.zeros(n)
    for k in range(m):
        order = np.argsort(losses[:, k], kind="stable")
        values = losses[order, k]
        width = values[-1] - values[0]
        found[order[[0, -1]]] = np.inf
        if width > 0 and n > 2:
            found[order[1:-1]] += (values[2:] - values[:-2]) / width
    return found


def _inside(unit: float) -> float:
    return min(max(unit, 0.0), 1.0 - 2**-53)
