"""The tree-structured Parzen estimator, compiled.

Bergstra et al. 2011 (Algorithms for Hyper-Parameter Optimization, section 4) introduced it; Watanabe 2023 (arXiv
2304.11127, section 3 and Tables 3 and 6) takes it apart and measures what the parts are worth. The model is
``_draws/tpe.pxi``; here are the first trials, what counts as good, and the numbers that the core does not know.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from fasttune import _draws
from fasttune.argument import checked_count, checked_number
from fasttune.search.base import Metric, Mode
from fasttune.search.parzen import Parzen
from fasttune.search.quadratic import QuadraticSteps
from fasttune.search.space_searcher import FAILED, PRUNED, SpaceSearcher, Told
from fasttune.space.dimensions import Dimensions, Numbers


class TPESearch(SpaceSearcher):
    """Suggests where configs of good trials are dense and those of bad ones are not.

    Conditional parts of a space are modelled on the trials that had them. Trials rank by the steps they came to, then by
    their last loss, so that what a scheduler stopped counts for less than what went on; those that failed count as bad, and
    so do those that still run, which keeps parallel suggestions apart (the constant liar of Ginsbourger et al. 2010). A
    config of a space without continuous parameters is not suggested twice while others are at hand.

    Trials that break their constraints rank behind all that hold them, by how much they do (as in the c-TPE of Watanabe and
    Hutter 2023, where the good ones are feasible).

    Args:
        space, metric, mode, points_to_evaluate, evaluated_rewards: see ``SpaceSearcher``; one metric.
        n_initial_points: results before the model is used. Until then the configs are a Latin hypercube of this many, then
            random ones.
        n_candidates: configs drawn from the good trials' densities for each suggestion, of which the best one is taken.
        gamma: the share of trials that are good, at most ``most_good`` of them.
        multivariate: model the parameters together; False: each on its own.
        prior_weight: of the flat density that belongs to either side, in trials.
        quadratic: a quadratic model of the results around the best one suggests some of the configs: a twentieth to a half, as
            often as its suggestions become the best. It moves numbers, not options.
        seed: of everything random. The same results, in the same order, bring the same suggestions.
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
        n_initial_points: int = 10,
        n_candidates: int = 24,
        gamma: float = 0.1,
        most_good: int = 25,
        multivariate: bool = True,
        prior_weight: float = 1.0,
        quadratic: bool = True,
        seed: int | None = None,
    ) -> None:
        at_least(1, n_initial_points=n_initial_points, n_candidates=n_candidates, most_good=most_good)
        gamma = checked_number("gamma, the share of good trials,", gamma, above=0, below=1)
        prior_weight = checked_number("prior_weight", prior_weight, above=0, finite=True)
        self.n_initial_points = n_initial_points
        self.quadratic = quadratic
        self._settings: dict[str, Any] = {
            "candidates": n_candidates,
            "gamma": gamma,
            "most_good": most_good,
            "multivariate": multivariate,
            "prior_weight": prior_weight,
        }
        self._first: list[Numbers] = []  # what is left of the Latin hypercube, last one first
        self._rows: dict[str, int] = {}  # of the trials that run
        self._model: _draws.Tpe
        super().__init__(space, metric, mode, points_to_evaluate, evaluated_rewards, seed=seed)

    def _begin(self, dimensions: Dimensions) -> None:
        self._parzen = Parzen(dimensions)
        self._model = self._parzen.model(self._seed, **self._settings)
        self._quadratic = QuadraticSteps(dimensions, self._seed) if self.quadratic else None
        points = latin_hypercube(self.n_initial_points, len(dimensions), self._seed)
        self._first = [dimensions.from_units(point) for point in reversed(points)]

    def _ask(self, trial_id: str) -> Numbers:
        assert self.dimensions is not None
        if self._model.n_finished < self.n_initial_points:
            numbers = self._first.pop() if self._first else self.dimensions.draw(self._asked)
            row = self._model.add(self._parzen.inward(numbers))
        elif self._quadratic is not None and (stepped := self._quadratic.ask(self._asked, trial_id)) is not None:
            numbers = stepped
            row = self._model.add(self._parzen.inward(numbers))
        else:
            row, numbers = self._model.ask(self._asked)
            numbers = self._parzen.outward(numbers)
        self._rows[trial_id] = row
        return numbers

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        made = super().replay(trial_id, suggestion)
        if trial_id in self._rows:
            self.watch(trial_id, self._live[trial_id])
        return made

    def watch(self, trial_id: str, numbers: Numbers) -> None:
        """This is what the trial tries, whoever suggested it."""
        if trial_id in self._rows:
            self._model.change(self._rows[trial_id], self._parzen.inward(numbers))
        else:
            self._rows[trial_id] = self._model.add(self._parzen.inward(numbers))

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        row = self._rows.pop(trial_id, -1) if trial_id is not None else -1
        if row < 0:
            row = self._model.add(self._parzen.inward(numbers))
        step = told.step or (_draws.Tpe.UNKNOWN if told.outcome == PRUNED else _draws.Tpe.WHOLE)
        if told.is_broken:  # behind all that hold their constraints, however far it came
            step = _draws.Tpe.UNKNOWN
        self._model.tell(row, step, told.loss, told.outcome == FAILED)
        if self._quadratic is not None:
            self._quadratic.tell(trial_id, numbers, told)


def latin_hypercube(n: int, dimensions: int, seed: int) -> list[list[float]]:
    """Points of the unit cube, one in each of n equal slices of every dimension (McKay et al. 1979)."""
    draw = random.Random(seed)
    columns = []
    for _ in range(dimensions):
        slices = list(range(n))
        draw.shuffle(slices)
        columns.append([(place + draw.random()) / n for place in slices])
    return [list(point) for point in zip(*columns, strict=True)]


def at_least(least: int, **given: int) -> None:
    """Raise ValueError unless each of ``given`` is an integer that is not less."""
    for name, value in given.items():
        checked_count(name, value, least=least)
