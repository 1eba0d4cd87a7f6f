"""The tree-structured Parzen estimator for several metrics.

Ozaki, Tanigaki, Watanabe, Onishi, "Multiobjective Tree-Structured Parzen Estimator for Computationally Expensive Optimization
Problems", GECCO 2020: the good trials are those of the first fronts, and of the front that is cut those that cover the most.
The model is that of ``TPESearch`` (``_draws/tpe.pxi``), told the place of each trial in that order as its loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fasttune import _draws
from fasttune.argument import checked_count
from fasttune.pareto import covering, pareto_front
from fasttune.search.base import Metric, Mode
from fasttune.search.latin_hypercube import latin_hypercube
from fasttune.search.parzen import Parzen, model_settings
from fasttune.search.space_searcher import FAILED, SpaceSearcher, Told
from fasttune.space.dimensions import Dimensions, Numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MOTPESearch(SpaceSearcher):
    """Suggests where configs of the first Pareto fronts are dense, and those of all other trials are not.

    The model is made anew after each result: a millisecond for 1,000 results, and more for more (:class:`NSGA2Search` costs the same
    always). Trials that break their constraints are beaten by all that hold them; failed ones, and those that still run, count as
    bad.

    Args:
        space, metric, mode, points_to_evaluate, evaluated_rewards: see ``SpaceSearcher``; lists of metrics and modes. An evaluated
            reward is then a list of values.
        n_initial_points: results before the model is used. Until then the configs are a Latin hypercube of this many, then
            random ones.
        n_candidates: configs drawn from the good trials' densities for each suggestion, of which the best one is taken.
        gamma: the share of trials that are good, at most ``most_good`` of them.
        multivariate: model the parameters together; False: each on its own.
        prior_weight: of the flat density that belongs to either side, in trials.
        seed: of everything random. The same results, in the same order, bring the same suggestions.
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
        n_initial_points: int = 10,
        n_candidates: int = 24,
        gamma: float = 0.1,
        most_good: int = 25,
        multivariate: bool = True,
        prior_weight: float = 1.0,
        seed: int | None = None,
    ) -> None:
        self.n_initial_points = checked_count("n_initial_points", n_initial_points, least=1)
        self._settings = model_settings(n_candidates, gamma, most_good, multivariate, prior_weight)
        super().__init__(space, metric, mode, points_to_evaluate, evaluated_rewards, seed=seed)

    def _begin(self, dimensions: Dimensions) -> None:
        self._parzen = Parzen(dimensions)
        self._first = [dimensions.from_units(p) for p in latin_hypercube(self.n_initial_points, len(dimensions), self._seed)]
        self._told: list[tuple[Numbers, tuple[float, ...]]] = []  # inward numbers and losses; () of one that failed
        self._pending: dict[str, Numbers] = {}
        self._model: _draws.Tpe | None = None  # None: what came since it was made is not in it

    def _ask(self, trial_id: str) -> Numbers:
        assert self.dimensions is not None
        if len(self._told) < self.n_initial_points:
            numbers = self._first.pop() if self._first else self.dimensions.draw(self._asked)
        else:
            if self._model is None:
                self._model = self._made()
            _, numbers = self._model.ask(self._asked)
            numbers = self._parzen.outward(numbers)
        self._pending[trial_id] = list(self._parzen.inward(numbers))
        return numbers

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        made = super().replay(trial_id, suggestion)
        numbers = list(self._parzen.inward(self._live[trial_id]))
        if trial_id in self._pending and self._pending[trial_id] != numbers:
            self._pending[trial_id], self._model = numbers, None
        return made

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        self._pending.pop(trial_id or "", None)
        self._told.append((list(self._parzen.inward(numbers)), () if told.outcome == FAILED else told.losses))
        self._model = None

    def _made(self) -> _draws.Tpe:
        """A model of all that was told, and of what still runs."""
        import numpy as np

        model = self._parzen.model(self._seed, **self._settings)
        done = [k for k, (_, losses) in enumerate(self._told) if losses]
        place = dict.fromkeys(range(len(self._told)), math.inf)
        if done:
            good = max(1, min(math.ceil(self._settings["gamma"] * len(self._told)), self._settings["most_good"]))
            order = first_fronts(np.array([self._told[k][1] for k in done]), good)
            place |= {done[row]: float(rank) for rank, row in enumerate(order.tolist())}
        for k, (numbers, losses) in enumerate(self._told):
            model.tell(model.add(numbers), _draws.Tpe.WHOLE, place[k] if losses else math.nan, not losses)
        for numbers in self._pending.values():
            model.add(numbers)
        return model


def first_fronts(losses: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """The n best rows: of the first fronts, and of the one that does not fit as a whole those that cover the most."""
    import numpy as np

    found: list[NDArray[np.int64]] = []
    left = np.arange(len(losses))
    while len(left) and n > 0:
        front = pareto_front(losses[left])
        rows = left[front]
        if len(rows) > n:
            rows = rows[covering(losses[rows], n)]
        found.append(rows)
        n -= len(rows)
        left = np.delete(left, front)
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)
