"""Bayesian optimisation with a Gaussian process, through the package ``bayesian-optimization`` (Nogueira 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.argument import checked_count
from fasttune.extras import optional
from fasttune.search.base import Metric, Mode, Searcher
from fasttune.search.space_searcher import FAILED, SpaceSearcher, Told
from fasttune.space.dimensions import FLOAT, INTEGER, Dimensions, Numbers
from fasttune.space.domains import Domain
from fasttune.space.functions import uniform

UTILITY = {"kind": "ucb", "kappa": 2.576, "xi": 0.0}


class BayesOptSearch(SpaceSearcher):
    """Gaussian-process search of number spaces, good for up to a few hundred trials.

    Needs bayesian-optimization 1.4 or newer (``pip install 'fasttune[bayesopt]'``). Log-uniform domains are searched on
    their logarithm, integers and steps by rounding; a choice, a normal or a conditional domain is refused. Trials that
    are out are taken for as bad as the worst so far (constant liar), so several at once differ; so are failed ones, and
    nobody waits for them.

    Args:
        space: a search space, or names with (low, high) pairs. None: the space of the run.
        metric, mode, points_to_evaluate: see ``SpaceSearcher``.
        utility_kwargs: ``kind`` "ucb" (with ``kappa``), "ei" or "poi" (with ``xi``).
        random_state: seed.
        random_search_steps: so many random configs come first.
        verbose: accepted; nothing is printed.
        patience: a config that was suggested before is passed over so often in a row; then the search is finished.
        skip_duplicate: pass such configs over.
        analysis: learn from the trials of this finished experiment first.
        repeat_float_precision: floats count as the same when they agree to so many decimals.
    """

    several = False

    kinds = (FLOAT, INTEGER)
    conditional = False

    seed_name = "random_state"

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        utility_kwargs: Mapping[str, Any] | None = None,
        random_state: int = 42,
        random_search_steps: int = 10,
        verbose: int = 0,
        patience: int = 5,
        skip_duplicate: bool = True,
        analysis: Any = None,
        repeat_float_precision: int = 5,
    ) -> None:
        self._library: Any = optional("bayes_opt", "bayesopt", type(self).__name__)
        self._utility = checked_utility({**UTILITY, **(utility_kwargs or {})})
        for name, value, least in (
            ("random_search_steps", random_search_steps, 0),
            ("patience", patience, 1),
            ("repeat_float_precision", repeat_float_precision, 0),
        ):
            checked_count(name, value, least=least)
        self._random_steps = random_search_steps
        self._patience = patience
        self._skip_duplicate = skip_duplicate
        self._decimals = repeat_float_precision
        self._repeats = 0
        self._seen: set[tuple[float, ...]] = set()
        self._optimizer: Any = None
        made = {name: pair_as_domain(name, value) for name, value in space.items()} if space is not None else None
        super().__init__(made, metric, mode, points_to_evaluate, seed=random_state)
        if analysis is not None:
            self._analysis = analysis
            self._learn_from_analysis()

    _analysis: Any = None

    def _begin(self, dimensions: Dimensions) -> None:
        seed = self._seed % 2**32
        bounds = {str(k): (0.0, 1.0) for k in range(len(dimensions))}
        if hasattr(self._library, "acquisition"):
            self._optimizer = self._library.BayesianOptimization(
                f=None,
                pbounds=bounds,
                acquisition_function=self._acquisition(),
                random_state=seed,
                verbose=0,
                allow_duplicate_points=True,
            )
        else:
            self._optimizer = FirstGeneration(self._library, bounds, self._utility, seed)
        self._learn_from_analysis()

    def _learn_from_analysis(self) -> None:
        if self._analysis is not None and self._begun:
            analysis, self._analysis = self._analysis, None
            self.add_evaluated_trials(analysis, str(self._metric))

    def _acquisition(self) -> Any:
        kinds = self._library.acquisition
        kind, kappa, xi = self._utility["kind"], self._utility["kappa"], self._utility["xi"]
        if kind == "ucb":
            base = kinds.UpperConfidenceBound(kappa=kappa)
        else:
            base = (kinds.ExpectedImprovement if kind == "ei" else kinds.ProbabilityOfImprovement)(xi=xi)
        return kinds.ConstantLiar(base, strategy="min")

    def _ask(self, trial_id: str) -> Numbers | str | None:
        assert self.dimensions is not None
        numbers = self._suggested()
        key = self._key(numbers)
        if not self._skip_duplicate or key not in self._seen:
            self._repeats = 0
            self._seen.add(key)
            if isinstance(self._optimizer, FirstGeneration):
                self._optimizer.begin(self._params(numbers))
            return numbers
        self._repeats += 1
        return Searcher.FINISHED if self._repeats > self._patience else None

    def _suggested(self) -> Numbers:
        assert self.dimensions is not None
        if self._asked < self._random_steps or len(self._optimizer.space) == 0:
            return self.dimensions.draw(self._asked + self._repeats * 2**32)
        at = self._optimizer.suggest()
        return self.dimensions.from_units([min(max(float(at[str(k)]), 0.0), 1.0) for k in range(len(self.dimensions))])

    def _key(self, numbers: Numbers) -> tuple[float, ...]:
        return tuple(round(float(number or 0), self._decimals) for number in numbers)

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        assert self.dimensions is not None
        self._seen.add(self._key(numbers))
        space = self._optimizer.space
        if told.outcome == FAILED and len(space) == 0:
            return
        target = float(space.target.min()) if told.outcome == FAILED else -told.loss
        self._optimizer.register(params=self._params(numbers), target=target)

    def _params(self, numbers: Numbers) -> dict[str, float]:
        assert self.dimensions is not None
        return {str(k): unit for k, unit in enumerate(self.dimensions.to_units(numbers))}


class FirstGeneration:
    """An optimizer of bayesian-optimization 1.4, which Nevergrad 1.0 insists on, in the form of those since 2: it knows
    its utility function, and takes points that are out for as bad as the worst so far.

    Args:
        library: the module.
        bounds: of the parameters, by name.
        utility: ``kind``, ``kappa`` and ``xi``.
        seed: of what it draws.
    """

    def __init__(self, library: Any, bounds: dict[str, tuple[float, float]], utility: dict[str, Any], seed: int) -> None:
        import numpy as np

        self._library = library
        self._bounds = bounds
        self._utility = library.UtilityFunction(**utility)
        self._random = np.random.RandomState(seed)
        self._known = self._empty()
        self._out: list[dict[str, float]] = []

    def _empty(self) -> Any:
        """An optimizer that knows nothing."""
        return self._library.BayesianOptimization(
            f=None, pbounds=self._bounds, random_state=self._random, verbose=0, allow_duplicate_points=True
        )

    @property
    def space(self) -> Any:
        """What was registered, as the library keeps it: ``len()`` and ``target``."""
        return self._known.space

    def suggest(self) -> dict[str, float]:
        """The most promising point, told apart from those that are out."""
        supposed = self._known
        if self._out:
            supposed = self._empty()
            for known in self._known.space.res():
                _register(supposed, known["params"], known["target"])
            worst = float(self._known.space.target.min())
            for point in self._out:
                _register(supposed, point, worst)
        return {name: float(value) for name, value in supposed.suggest(self._utility).items()}

    def begin(self, params: dict[str, float]) -> None:
        """A point is being evaluated."""
        self._out.append(params)

    def register(self, params: dict[str, float], target: float) -> None:
        """A point was evaluated."""
        if params in self._out:
            self._out.remove(params)
        _register(self._known, params, target)


def _register(optimizer: Any, params: dict[str, float], target: float) -> None:
    """A point that comes twice is moved by the least that there is: the library would print a line about it."""
    import numpy as np

    point = optimizer.space.params_to_array(params)
    while point in optimizer.space:
        point = np.nextafter(point, 0.5)
    optimizer.register(params=point, target=target)


def checked_utility(utility: dict[str, Any]) -> dict[str, Any]:
    """The acquisition function's settings; ValueError for one that there is not."""
    unknown = sorted(set(utility) - set(UTILITY))
    if unknown:
        raise ValueError(f"utility_kwargs takes {', '.join(UTILITY)}, got {unknown[0]!r}")
    if utility["kind"] not in ("ucb", "ei", "poi"):
        raise ValueError(f"utility_kwargs['kind'] must be 'ucb', 'ei' or 'poi', got {utility['kind']!r}")
    return utility


def pair_as_domain(name: str, value: Any) -> Any:
    """A (low, high) pair is a uniform float."""
    if isinstance(value, Domain) or not isinstance(value, tuple):
        return value
    if len(value) != 2:
        raise ValueError(f"the bounds of {name!r} must be (low, high), got {value!r}")
    return uniform(*value)
