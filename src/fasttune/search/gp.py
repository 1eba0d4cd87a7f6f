"""Bayesian optimisation with a Gaussian process: the most from few, expensive trials.

Snoek, Larochelle, Adams 2012, Practical Bayesian Optimization of Machine Learning Algorithms (NeurIPS); log expected
improvement: Ament et al. 2023, Unexpected Improvements to Expected Improvement (NeurIPS). Trials that are out are taken to
end as the model expects (the kriging believer of Ginsbourger, Le Riche, Carraro 2010, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.argument import checked_count
from fasttune.extras import one_thread, optional
from fasttune.search.base import Metric, Mode
from fasttune.search.parzen import Parzen
from fasttune.search.quadratic import QuadraticSteps
from fasttune.search.space_searcher import FAILED, SpaceSearcher, Told
from fasttune.search.steps import comparable
from fasttune.space.dimensions import CATEGORICAL, Dimension, Dimensions, Numbers

MOST = 500  # results that the model is made of
FINE = 50  # a number with more values than this is searched as if it were continuous
BINS = 1024  # of the unit, to find the value of such a number that is next to a point
CANDIDATES = 400  # of which the variance is asked, after few results; with more of these, fewer
WORK = 30_000  # candidates x results, from where there are fewer
FEWEST = 60
SPREAD = 4  # as many are drawn, and those of the least means kept
STARTS = 3  # of a suggestion, climbing together
STEPS = 16  # of them, at most
CLOSE = 1e-2  # a step that gains less, in logarithms of the expected improvement, is the last one
LEARNT = 150  # results that the hyperparameters are fitted to
WARM = 6  # steps of L-BFGS for that, from where it was before
COLD = 60
ROUNDS = 2  # through the dimensions with few values
BENDS = 0.0, 3.0  # how far losses are bent by a logarithm; the evidence decides between them
WARP = 3.0  # interquartile ranges above the median from where losses count by their logarithm


class GPSearch(SpaceSearcher):
    """Asks a Gaussian process for the config of which it expects most.

    For small budgets: up to about 300 trials of a second or more, and 20 dimensions. Beyond 500 results the model is made
    of the best half and of some of the others. Numbers are searched on their own scale (logarithm, steps), a choice has a
    column for each option; what a conditional space leaves out counts as its middle. Failed trials count as the worst.
    Any number of trials may be out. Needs scipy (``pip install 'fasttune[scipy]'``).

    Args:
        space, metric, mode, points_to_evaluate, evaluated_rewards: see ``SpaceSearcher``.
        n_start: quasi-random configs to begin with; None: one and a half for each dimension, at least 4, at most 20.
        seed: of everything random.
    """

    several = False

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[float] | None = None,
        *,
        n_start: int | None = None,
        seed: int | None = None,
    ) -> None:
        optional("scipy", "scipy", type(self).__name__)
        self.n_start = None if n_start is None else checked_count("n_start", n_start, least=1)
        super().__init__(space, metric, mode, points_to_evaluate, evaluated_rewards, seed=seed)

    def _begin(self, dimensions: Dimensions) -> None:
        import numpy as np
        from scipy.stats import qmc

        from fasttune.search.gaussian_process import Fit

        self._rng = np.random.default_rng(self._seed)
        n = self.n_start or min(max(4, math.ceil(1.5 * len(dimensions))), 20)
        spread: Any = qmc.Sobol(len(dimensions), rng=self._rng)
        self._start: list[list[float]] = spread.random_base2(math.ceil(math.log2(n + 1)))[:n].tolist()
        self._first = n
        self._columns = [len(one.options) if one.kind == CATEGORICAL else 1 for one in dimensions]
        self._offsets = [sum(self._columns[:k]) for k in range(len(dimensions))]
        self._few = [k for k, one in enumerate(dimensions) if one.kind == CATEGORICAL or one.size <= FINE]
        self._snapped = {
            k: np.array([one.unit(one.value((n + 0.5) / BINS)) for n in range(BINS)])
            for k, one in enumerate(dimensions)
            if k in self._few and one.kind != CATEGORICAL
        }
        smooth = set(range(len(dimensions))) - set(self._few)
        self._smooth = np.array([self._offsets[k] for k in sorted(smooth)], dtype=int)
        groups = np.repeat(np.arange(len(dimensions), dtype=float), self._columns)
        self._fits = {bend: Fit(groups) for bend in BENDS}
        self._bend = BENDS[0]
        self._fit = self._fits[self._bend]
        self._fitted = 0  # results that the hyperparameters were last fitted to
        self._kept: list[int] = []  # the results that the model was made of then
        self._steps_of: list[int] = []
        self._quadratic = QuadraticSteps(dimensions, self._seed)
        self._x: list[Any] = []
        self._losses: list[float] = []  # nan: failed
        self._seen: set[tuple[Any, ...]] = set()

    # -- columns --------------------------------------------------------------------------------------------------------

    def _row(self, numbers: Numbers) -> Any:
        """The point that stands for a config; options have columns of their own, a unit apart."""
        import numpy as np

        assert self.dimensions is not None
        row = np.zeros(sum(self._columns))
        units = self.dimensions.to_units(numbers)
        for k, (one, offset, unit) in enumerate(zip(self.dimensions, self._offsets, units, strict=True)):
            if one.kind != CATEGORICAL:
                row[offset] = unit
            elif (number := numbers[k]) is not None:
                row[offset + int(number)] = math.sqrt(0.5)
        return row

    def _units(self, row: Any) -> list[float]:
        assert self.dimensions is not None
        units = []
        for one, offset, width in zip(self.dimensions, self._offsets, self._columns, strict=True):
            if one.kind == CATEGORICAL:
                units.append(one.unit(int(row[offset : offset + width].argmax())))
            else:
                units.append(min(max(float(row[offset]), 0.0), 1.0))
        return units

    def _numbers(self, row: Any) -> Numbers:
        assert self.dimensions is not None
        return self.dimensions.from_units(self._units(row))

    # -- suggesting -----------------------------------------------------------------------------------------------------

    def _ask(self, trial_id: str) -> Numbers:
        assert self.dimensions is not None
        if self._start and len(self._x) < self._first:
            return self._unless_known(self.dimensions.from_units(self._start.pop(0)))
        usable = [loss for loss in self._losses if math.isfinite(loss)]
        if len(usable) < 2 or min(usable) == max(usable):
            return self._unless_known(self.dimensions.draw(self._asked))
        live = self._live.values()
        if (stepped := self._quadratic.ask(self._asked, trial_id, len(live), live)) is not None:
            return stepped
        import numpy as np

        try:
            with np.errstate(all="ignore"), one_thread():
                numbers = self._best_of_model()
        except np.linalg.LinAlgError:
            return self._unless_known(self.dimensions.draw(self._asked))
        return self._unless_known(numbers)

    def _unless_known(self, numbers: Numbers) -> Numbers:
        """These, or another config that was not tried and does not run, while there is one, away from those."""
        if not self._is_known(numbers):
            return numbers
        assert self.dimensions is not None
        parzen = Parzen(self.dimensions)
        model = parzen.model(self._seed)
        for known in [*map(list, sorted(self._seen, key=repr)), *self._live.values()]:
            model.add(parzen.inward(known))
        return parzen.outward(model.ask(self._asked)[1])

    def _is_known(self, numbers: Numbers) -> bool:
        return tuple(numbers) in self._seen or any(numbers == out for out in self._live.values())

    def _best_of_model(self) -> Numbers:
        import numpy as np

        losses = self._comparable_losses()
        self._learn_hyperparameters(losses)
        rows = self._kept + list(range(self._fitted, len(self._x)))
        x = np.array([self._x[k] for k in rows])
        y, _ = warped(losses[rows], self._bend)
        posterior = self._fit.posterior(x, y)
        best = posterior.least_mean()
        if self._live:
            out = np.array([self._row(numbers) for numbers in self._live.values()])
            believed = posterior.mean(out)
            posterior = posterior.with_points(out)
            posterior.tell(np.concatenate([y, believed]))
            best = min(best, float(believed.min()))
        candidates = self._promising(posterior, self._candidates(x, y))
        improvement = posterior.log_improvement(candidates, best)
        chosen = candidates[np.argsort(-improvement, kind="stable")[:STARTS]]
        return self._numbers(self._climb(posterior, best, chosen))

    def _comparable_losses(self) -> Any:
        """Of all results; failures are as bad as the worst."""
        import numpy as np

        losses = np.array(comparable(self._losses, self._steps_of, self._first))
        return np.where(np.isnan(losses), np.nanmax(losses), losses)

    def _promising(self, posterior: Any, rows: Any) -> Any:
        """As many of the rows as variances can be asked of in little time: half of them by their means, half of them any."""
        import numpy as np

        many = min(CANDIDATES, max(FEWEST, WORK // len(posterior.x)))
        if len(rows) <= many:
            return rows
        order = np.argsort(posterior.mean(rows), kind="stable")
        half = many // 2
        rest = order[half:]
        return rows[np.concatenate([order[:half], rest[:: max(1, len(rest) // (many - half))]])]

    def _thinned(self, losses: Any, most: int) -> list[int]:
        """The best half of what there is room for, and every so-manieth of the others by rank."""
        import numpy as np

        if len(losses) <= most:
            return list(range(len(losses)))
        order = np.argsort(losses, kind="stable")
        half = most // 2
        rest = order[half:]
        kept = np.concatenate([order[:half], rest[np.linspace(0, len(rest) - 1, most - half).astype(int)]])
        return sorted(int(k) for k in kept)

    def _learn_hyperparameters(self, losses: Any) -> None:
        """After every result at first, later after every tenth part more: what they cost grows with n^3."""
        import numpy as np

        known = len(self._x)
        if self._fitted and known < self._fitted + max(1, min(self._fitted // 10, 50)):
            return
        rows = self._thinned(losses, LEARNT)
        x = np.array([self._x[k] for k in rows])
        evidence = {}
        for bend, fit in self._fits.items():
            y, change = warped(losses[rows], bend)
            evidence[bend] = change - fit.learn(x, y, WARM if self._fitted else COLD)
        self._bend = max(evidence, key=evidence.__getitem__)
        self._fit = self._fits[self._bend]
        self._fitted = known
        self._kept = self._thinned(losses, MOST)

    def _candidates(self, x: Any, y: Any) -> Any:
        """Points all over the space, and near the best ones, at values that there are."""
        import numpy as np

        assert self.dimensions is not None
        d = len(self.dimensions)
        many = min(CANDIDATES, max(FEWEST, WORK // len(x))) * SPREAD // 2
        units = self._rng.random((many, d))
        near = many // 2
        best = [self._units(x[k]) for k in np.argsort(y, kind="stable")[:5]]
        parents = np.array(best)[self._rng.integers(len(best), size=near)]
        width = 10.0 ** self._rng.uniform(-3.0, -0.5, (near, 1))
        moved = np.clip(parents + width * self._rng.standard_normal((near, d)), 0.0, 1.0)
        change = self._rng.random((near, d)) < np.maximum(self._rng.random((near, 1)), 1.0 / d)
        few = np.isin(np.arange(d), self._few)
        local = np.where(few, np.where(change & (self._rng.random((near, d)) < 0.3), units[:near], parents), moved)
        units[:near] = np.where(change, local, parents)
        return self._rows(units)

    def _rows(self, units: Any) -> Any:
        """Rows of many points at once; as ``_row`` of the config that each stands for."""
        import numpy as np

        assert self.dimensions is not None
        if any(one.parent >= 0 for one in self.dimensions):
            return np.array([self._row(self.dimensions.from_units(point)) for point in units.tolist()])
        rows = np.zeros((len(units), sum(self._columns)))
        for k, (one, offset) in enumerate(zip(self.dimensions, self._offsets, strict=True)):
            column = units[:, k]
            if one.kind == CATEGORICAL:
                picked = np.minimum((column * len(one.options)).astype(int), len(one.options) - 1)
                rows[np.arange(len(units)), offset + picked] = math.sqrt(0.5)
            elif k in self._snapped:
                rows[:, offset] = self._snapped[k][np.minimum((column * BINS).astype(int), BINS - 1)]
            else:
                rows[:, offset] = column
        return rows

    def _climb(self, posterior: Any, best: float, rows: Any) -> Any:
        """Uphill from all of the rows together where the space is smooth, value by value where it is not."""
        from fasttune.search.gaussian_process import climb

        smooth = self._smooth
        if not len(smooth):
            top = rows[0]
        else:
            whole = rows.copy()

            def improvement(places: Any) -> tuple[Any, Any]:
                whole[:, smooth] = places
                value, slope = posterior.log_improvement_and_slope(whole, best)
                return value, slope[:, smooth]

            places, value = climb(improvement, rows[:, smooth], STEPS, CLOSE)
            whole[:, smooth] = places
            top = whole[int(value.argmax())]
        for _ in range(ROUNDS if self._few else 0):
            top = self._step_around(posterior, best, top)
        return top

    def _step_around(self, posterior: Any, best: float, top: Any) -> Any:
        """The best of all points that differ in one dimension with few values, known configs left out."""
        assert self.dimensions is not None
        start = self._units(top)
        around = [start]
        for k in self._few:
            around += [[*start[:k], unit, *start[k + 1 :]] for unit in units_of(self.dimensions[k])]
        import numpy as np

        rows = self._rows(np.array(around))
        value = posterior.log_improvement(rows, best)
        for k in np.argsort(-value, kind="stable"):
            if not self._is_known(self._numbers(rows[k])):
                return rows[k]
        return top

    # -- learning -------------------------------------------------------------------------------------------------------

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        self._x.append(self._row(numbers))
        self._losses.append(math.nan if told.outcome == FAILED else told.loss)
        self._steps_of.append(told.step)
        self._quadratic.tell(trial_id, numbers, told)
        self._seen.add(tuple(numbers))


def units_of(one: Dimension) -> list[float]:
    """The unit of every value of a dimension with few."""
    n = int(one.size)
    if one.kind == CATEGORICAL:
        return [one.unit(k) for k in range(n)]
    step = one.q or 1.0
    return [one.unit(one.low + k * step) for k in range(n)] if n > 1 else [0.5]


def warped(losses: Any, bend: float) -> tuple[Any, float]:
    """Losses with mean 0 and deviation 1, bent by a logarithm from the least one upwards (``bend`` 0: only what lies far
    above the others is drawn near); and the logarithm of the change of density, which makes evidences comparable."""
    import numpy as np

    low, middle, high = np.percentile(losses, (25, 50, 75))
    if bend:
        unit = max(middle - losses.min(), 1e-300) / bend
        edge = losses.min()
    else:
        unit = max(high - low, 1e-300)
        edge = middle + WARP * unit
    over = np.maximum(losses - edge, 0.0) / unit
    y = np.where(over > 0, edge + unit * np.log1p(over), losses)
    deviation = y.std() or 1.0
    return (y - y.mean()) / deviation, float(-np.sum(np.log1p(over)) - len(y) * math.log(deviation))
