"""CMA-ES: a normal distribution that learns where good configs lie and how parameters go together.

Hansen 2016, The CMA Evolution Strategy: A Tutorial (arXiv 1604.00772), through the package ``cmaes`` (Nomura and Shibata
2024, arXiv 2402.01373). Steps of integers: Hamano et al. 2022, CMA-ES with Margin (GECCO). Choices beside numbers: Hamano et
al. 2025, CatCMA with Margin (GECCO). Restarts: Auger and Hansen 2005 (IPOP, CEC) and Hansen 2009 (BIPOP, GECCO workshops).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.argument import checked_count, checked_number
from fasttune.extras import optional
from fasttune.search.base import Metric, Mode
from fasttune.search.space_searcher import FAILED, SpaceSearcher, Told
from fasttune.search.steps import comparable
from fasttune.space.dimensions import CATEGORICAL, INTEGER, Dimension, Dimensions, Numbers

RESTARTS = ("bipop", "ipop", None)
MOST_VALUES = 1000  # of a number beside choices; one with more is searched as if it were continuous
NARROW = 1e-9  # a distribution this narrow, in widths of the space, has found its place


class CMAESearch(SpaceSearcher):
    """Asks CMA-ES for configs: strong on spaces of numbers, up to some dozens, from about 100 trials on.

    Needs ``pip install 'fasttune[cmaes]'``. All domains of numbers can be searched, with logarithms and steps, and choices, each by
    chances of its options; a choice whose options hold domains is refused. Asks never wait: any number of trials may be out,
    and a result counts whenever it comes. Failed trials count as the worst result so far.

    Args:
        space, metric, mode, points_to_evaluate, evaluated_rewards: see ``SpaceSearcher``; the distribution is first laid
            around the best of them and of the start.
        sigma0: the first standard deviation, in widths of the space.
        population_size: results from which the distribution learns at a time; None: ``4 + ln(dimensions)``, which is
            fewer than the usual ``4 + 3 ln(dimensions)`` and gets further with some hundred trials.
        n_start: evenly spread points to begin with, the best of which becomes the first mean. With none, the default, it
            is the middle of the space: within 200 trials on functions with shifted optima that was better.
        restarts: what follows when the distribution has become a point: "ipop" doubles the population, "bipop"
            alternates with small ones, None goes on as before, from another place.
        seed: of everything random.
    """

    ranks = True
    several = False
    conditional = False

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[float] | None = None,
        *,
        sigma0: float = 1 / 6,
        population_size: int | None = None,
        n_start: int = 0,
        restarts: str | None = "bipop",
        seed: int | None = None,
    ) -> None:
        optional("cmaes", "cmaes", type(self).__name__)
        if restarts not in RESTARTS:
            raise ValueError(f"restarts must be one of {', '.join(map(repr, RESTARTS))}, got {restarts!r}")
        self.sigma0 = checked_number("sigma0", sigma0, above=0, most=1, rule="> 0 and <= 1, in widths of the space")
        self.population_size = None if population_size is None else checked_count("population_size", population_size, least=3)
        self.n_start = checked_count("n_start", n_start)
        self.restarts = restarts
        super().__init__(space, metric, mode, points_to_evaluate, evaluated_rewards, seed=seed)

    def _begin(self, dimensions: Dimensions) -> None:
        self._random = random.Random(self._seed)
        movable = [k for k, one in enumerate(dimensions) if one.size > 1]  # the others have one value
        self._free = [k for k in movable if dimensions[k].kind != CATEGORICAL]
        self._choices = [k for k in movable if dimensions[k].kind == CATEGORICAL]
        if self._choices:
            self._free.sort(key=lambda k: self._values_of(dimensions[k]) is not None)  # the library has steps behind the others
        self._population = self.population_size or 4 + round(math.log(max(1, len(movable))))
        self._start = self._spread(self.n_start)
        self._optimizer: Any = None
        self._run = 0  # the restart that is under way
        self._drawn: dict[str, tuple[int, Numbers, Any]] = {}  # trial -> restart, numbers, the library's raw point
        self._generation: list[tuple[Any, float, int]] = []  # the library's point, its loss, and the step at which it was told
        self._early: list[tuple[float, list[float]]] = []  # results before there is a distribution
        self._worst = -math.inf
        self._spent = {"large": 0, "small": 0}
        self._regime = "large"
        self._largest = self._population

    @property
    def batch_size(self) -> int | None:
        """A generation, as large as that of the first run of it."""
        return self._population if self._begun else super().batch_size

    def _spread(self, n: int) -> list[list[float]]:
        """A Latin hypercube (McKay, Beckman, Conover 1979): each dimension's n strata are hit once."""
        columns = [self._random.sample(range(n), n) for _ in (*self._free, *self._choices)]
        return [[(column[i] + self._random.random()) / n for column in columns] for i in range(n)]

    # -- the library's coordinates: the unit cube, with steps where values are as far apart as their numbers --------------

    def _coordinates_of(self, one: Dimension) -> tuple[float, float, float]:
        """Lowest and highest coordinate, and the step from value to value (0: none)."""
        if one.log or not math.isfinite(one.size):
            return 0.0, 1.0, 0.0
        if one.kind == INTEGER:
            half = 0.5 / one.size
            return half, 1.0 - half, 1.0 / one.size
        return 0.0, 1.0, 1.0 / (one.size - 1)

    def _values_of(self, one: Dimension) -> list[float] | None:
        """The coordinates of all values, where these are as far apart as their numbers, and few."""
        low, _, step = self._coordinates_of(one)
        return [low + k * step for k in range(int(one.size))] if step and one.size <= MOST_VALUES else None

    def _point(self, numbers: Numbers) -> list[float]:
        assert self.dimensions is not None
        units = self.dimensions.to_units(numbers)
        return [units[k] for k in (*self._free, *self._choices)]

    def _numbers(self, point: Sequence[float]) -> Numbers:
        """Of coordinates of numbers, and then units of choices."""
        assert self.dimensions is not None
        units = [0.5] * len(self.dimensions)
        for k, coordinate in zip((*self._free, *self._choices), point, strict=True):
            units[k] = min(max(float(coordinate), 0.0), 1.0)
        return self.dimensions.from_units(units)

    # -- suggesting -----------------------------------------------------------------------------------------------------

    def _ask(self, trial_id: str) -> Numbers:
        if not self._free and not self._choices:
            return self._numbers([])
        if self._start:
            return self._numbers(self._start.pop(0))
        if self._optimizer is None:
            self._lay_first()
        import numpy as np

        with np.errstate(all="ignore"):
            self._optimizer.reseed_rng(self._random.getrandbits(32))  # a pickle of it forgets where its draws were
            point, raw = self._draw()
        numbers = self._numbers(point)
        self._drawn[trial_id] = self._run, numbers, raw
        return numbers

    def _draw(self) -> tuple[list[float], Any]:
        """A point, and what the library wants to be told again of it."""
        asked = self._optimizer.ask()
        if not self._choices:
            return asked[0].tolist(), asked[1]
        assert self.dimensions is not None
        numbers = [value for part in (asked.x, asked.z) if part is not None for value in part.tolist()]
        options = [int(picked.argmax()) for picked in asked.c]
        units = [self.dimensions[k].unit(option) for k, option in zip(self._choices, options, strict=True)]
        return [*numbers, *units], asked

    def _lay_first(self) -> None:
        """Around the best that is known, or in the middle."""
        best = min(self._early, default=(0.0, [0.5] * (len(self._free) + len(self._choices))))[1]
        self._lay(best, self.sigma0, self._population)

    def _lay(self, mean: Sequence[float], sigma: float, population: int) -> None:
        import numpy as np

        library: Any = optional("cmaes", "cmaes", type(self).__name__)

        assert self.dimensions is not None
        if self._choices:
            self._optimizer = self._with_choices(library, mean, sigma, population)
            self._generation = []
            return
        steps = [self._coordinates_of(self.dimensions[k]) for k in self._free]
        bounds = np.array([(low, high) for low, high, _ in steps])
        inside = np.clip(np.array(mean), bounds[:, 0], bounds[:, 1])
        self._optimizer = library.CMAwM(
            inside, sigma, bounds, np.array([step for _, _, step in steps]), seed=0, population_size=population
        )
        self._generation = []

    def _with_choices(self, library: Any, mean: Sequence[float], sigma: float, population: int) -> Any:
        """The distribution of numbers, and chances of options, all alike at first."""
        import numpy as np

        assert self.dimensions is not None
        if not hasattr(library, "CatCMAwM"):
            raise ImportError(f"{type(self).__name__} needs cmaes 0.12 or newer for a choice: pip install -U cmaes")
        n = len(self._free)
        stepped = [values for k in self._free if (values := self._values_of(self.dimensions[k])) is not None]
        return library.CatCMAwM(
            x_space=[[0.0, 1.0]] * (n - len(stepped)) or None,
            z_space=stepped or None,
            c_space=[len(self.dimensions[k].options) for k in self._choices],
            population_size=population,
            mean=np.array(mean[:n], dtype=float),
            cov=sigma**2 * np.eye(n),
            seed=0,
        )

    # -- learning -------------------------------------------------------------------------------------------------------

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        drawn = self._drawn.pop(trial_id or "", None)
        failed = told.outcome == FAILED
        if not failed:
            self._worst = max(self._worst, told.loss)
        loss = (self._worst if math.isfinite(self._worst) else 0.0) if failed else told.loss
        if self._optimizer is None:
            if not failed:
                self._early.append((loss, self._point(numbers)))
        elif drawn is not None and drawn[0] == self._run and drawn[1] == numbers:
            self._generation.append((drawn[2], loss, told.step))
            if len(self._generation) >= self._optimizer.population_size:
                self._learn_generation()

    def _learn_generation(self) -> None:
        """Move and reshape the distribution; begin anew when there is nothing left to find here."""
        import numpy as np

        generation, self._generation = self._generation, []
        self._spent[self._regime] += len(generation)
        try:
            with np.errstate(all="ignore"):
                losses = comparable([loss for _, loss, _ in generation], [step for _, _, step in generation], len(generation) // 2)
                if self._choices:  # by rank: the library divides by a spread, which ties may leave without any
                    order = sorted(range(len(losses)), key=losses.__getitem__)
                    losses = [float(order.index(k)) for k in range(len(losses))]
                self._optimizer.tell([(point, loss) for (point, _, _), loss in zip(generation, losses, strict=True)])
                over = self._is_over()
        except (ArithmeticError, AssertionError, ValueError):  # LinAlgError is a ValueError
            over = True
        if over:
            self._restart()

    def _is_over(self) -> bool:
        import numpy as np

        if not self._free:  # chances of options have a least value each, which those of all others but one come to
            rest = self._optimizer._qmin * (self._optimizer._K - 1)
            return bool(np.all(self._optimizer._q.max(axis=1) >= 1.0 - 1.5 * rest))
        inner = self._optimizer if self._choices else self._optimizer._cma
        widths = inner._sigma * np.sqrt(np.diag(inner._C))
        sound = bool(np.all(np.isfinite(widths)) and np.all(np.isfinite(inner._mean)))
        return not sound or bool(np.max(widths) < NARROW) or bool(self._optimizer.should_stop())

    def _restart(self) -> None:
        self._run += 1
        sigma, population = self.sigma0, self._population
        if self.restarts == "bipop" and self._run > 1 and self._spent["small"] < self._spent["large"]:
            self._regime = "small"
            u = self._random.random()
            population = max(3, int(population * (0.5 * self._largest / population) ** (u * u)))
            sigma *= 10.0 ** (-2.0 * self._random.random())
        elif self.restarts is not None:
            self._regime = "large"
            self._largest *= 2
            population = self._largest
        self._lay([self._random.random() for _ in (*self._free, *self._choices)], sigma, population)
