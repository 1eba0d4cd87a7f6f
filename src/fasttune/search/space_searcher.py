"""What all searchers that know their space have in common: points to try first, who is out, and what came of it.

A searcher of this kind deals in numbers, one per dimension, and in losses, which are always to be minimised. It writes
``_begin`` (space, metric and mode are known), ``_ask`` and ``_tell``; see ``space/dimensions.py`` for the numbers.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple

from fasttune.argument import shown
from fasttune.constraints import constraint_violation, is_broken, score
from fasttune.search.base import Metric, Mode, Searcher, check_metric_and_mode
from fasttune.space.dimensions import KINDS, Dimensions, Numbers
from fasttune.space.domains import SearchSpaceError, contains_domains
from fasttune.space.near_prior import Near, numbers_known
from fasttune.space.nested import Config, merge
from fasttune.space.seeds import seed_from

DONE = "done"
PRUNED = "pruned"  # known to have been ended early; of a run's own trials, ``step`` tells how far they came
FAILED = "failed"  # an error, or no usable number


class Told(NamedTuple):
    """What came of a suggestion."""

    losses: tuple[float, ...]  # one per metric, to be minimised; () when it failed without
    outcome: str  # DONE, PRUNED, FAILED
    step: int = 0  # reports that the trial made, 0 unknown

    @property
    def loss(self) -> float:
        """The first loss; nan when there is none."""
        return self.losses[0] if self.losses else math.nan

    @property
    def is_broken(self) -> bool:
        """It breaks its constraints: the losses are scores, beyond all losses (see ``constraints``)."""
        return any(map(is_broken, self.losses))


class SpaceSearcher(Searcher):
    """Base of searchers that are told a space, or given it by the run.

    Args:
        space: the search space; None: that of the run.
        metric, mode: as for ``Searcher``; None: those of the run.
        points_to_evaluate: configs, or parts of configs, to try first, in this order.
        evaluated_rewards: the metric's values for ``points_to_evaluate``: they are learnt from instead of run.
        seed: of everything random; None draws one.
    """

    kinds: ClassVar[Collection[str]] = KINDS
    conditional: ClassVar[bool] = True
    seed_name: ClassVar[str] = "seed"  # what the argument is called here
    several: ClassVar[bool | None] = None  # whether it optimises several metrics; None: it says that itself, when it begins
    ranks: ClassVar[bool] = False  # losses are only compared; else those that break constraints are told as failed

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[float] | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        for point in points_to_evaluate or ():
            if not isinstance(point, Mapping):
                raise TypeError(f"points_to_evaluate must be a list of dicts, got the element {point!r}")
        if evaluated_rewards is not None and (
            isinstance(evaluated_rewards, (str, bytes)) or not hasattr(evaluated_rewards, "__len__")
        ):
            raise TypeError(f"evaluated_rewards must be a list of numbers, got {shown(evaluated_rewards)}")
        if evaluated_rewards is not None and len(evaluated_rewards) != len(points_to_evaluate or ()):
            raise ValueError(
                f"evaluated_rewards needs one value for each of the {len(points_to_evaluate or ())} "
                f"points_to_evaluate, got {len(evaluated_rewards)}"
            )
        self._points = [dict(point) for point in points_to_evaluate or ()]
        self._rewards = list(evaluated_rewards) if evaluated_rewards is not None else None
        self._seed = seed_from(seed, self.seed_name)
        self._earlier: list[tuple[dict[str, Any], Any, str]] = []  # evaluated elsewhere, before the space was known
        self._live: dict[str, Numbers] = {}
        self._steps: dict[str, int] = {}
        self._asked = 0
        self._given = 0  # how many of those were points to evaluate
        self._given_space = space is not None
        self._config: Config = dict(space or {})
        self._begun = False
        self.dimensions: Dimensions | None = None
        self._near: Near | None = None  # what is thought to be good; None: the space is not known
        if space is not None:
            self._compile()
        self._begin_if_ready()

    @classmethod
    def convert_search_space(cls, space: Mapping[str, Any]) -> dict[str, Any]:
        """The space, checked for this searcher, which takes it as it is: there is no other form to convert it to.

        Raises:
            SearchSpaceError: this searcher cannot search it; the text says which part, and what to write instead.
        """
        Dimensions(dict(space), cls.__name__, cls.kinds, cls.conditional)
        return dict(space)

    # -- what a searcher writes ----------------------------------------------------------------------------------------

    def _begin(self, dimensions: Dimensions) -> None:
        """Space, metrics and modes are known: build what depends on them. Called once."""

    @abstractmethod
    def _ask(self, trial_id: str) -> Numbers | str | None:
        """The numbers of the next config; None: not now; ``Searcher.FINISHED``."""

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        """A config was evaluated; ``trial_id`` None: elsewhere, or it was a point to evaluate."""

    def _report(self, trial_id: str, numbers: Numbers, told: Told) -> None:
        """A trial reported and goes on."""

    @property
    def _own_space(self) -> Mapping[str, Any] | None:
        return self._config if self._given_space and self.dimensions is not None else None

    # -- getting ready -------------------------------------------------------------------------------------------------

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """Take over metric, mode and space of the run. False: this searcher has a space already."""
        if self._given_space and contains_domains(config):
            return False
        check_metric_and_mode(metric, mode)
        if metric is not None:
            self._metric = metric
        if mode is not None:
            self._mode = mode
        if not self._given_space and self.dimensions is None:
            self._config = dict(config)
            self._compile()
        self._begin_if_ready()
        return True

    def _compile(self) -> None:
        name = type(self).__name__
        self.dimensions = Dimensions(self._config, name, self.kinds, self.conditional, self._seed)
        if len(self.dimensions) == 0:
            raise SearchSpaceError(
                f"{name} has nothing to search: the space holds no domain. Usual cause: config={{'lr': "
                "tune.loguniform(1e-4, 1e-1)} was meant, and plain values were given."
            )
        self._points = [self._checked_point(point) for point in self._points]
        self._near = Near(self.dimensions, tried=self._whole_points())

    def _checked_point(self, point: dict[str, Any]) -> dict[str, Any]:
        assert self.dimensions is not None
        for name, why in self.dimensions.strangers(point):
            raise SearchSpaceError(f"points_to_evaluate names {name!r}, {why}")
        try:
            self.dimensions.numbers(point, missing=0)
        except ValueError as error:
            raise ValueError(f"points_to_evaluate: {error}") from None
        return point

    def _whole_points(self) -> list[Numbers]:
        """The points to evaluate that say all of their config."""
        assert self.dimensions is not None
        found = []
        for point in self._points:
            with suppress(KeyError):
                found.append(self.dimensions.numbers(point))
        return found

    @property
    def _knows_goal(self) -> bool:
        """What to optimise, and which way: nothing here guesses the latter."""
        return self._metric is not None and self._mode is not None

    def _begin_if_ready(self) -> None:
        if self.dimensions is None or not self._knows_goal or self._begun:
            return
        self._check_goal()
        self._begun = True
        self._begin(self.dimensions)
        if self._rewards is not None:
            for point, reward in zip(self._points, self._rewards, strict=True):
                self._earlier.append((point, reward, DONE))
            self._points = []
        for point, value, outcome in self._earlier:
            self._learn(point, value, outcome)
        self._earlier = []

    def _check_goal(self) -> None:
        modes = [self._mode] if isinstance(self._mode, str) else list(self._mode or ())
        if self.several is False and sum(mode != "obs" for mode in modes) != 1:
            raise ValueError(
                f"{type(self).__name__} optimises one metric, got {self._metric!r} with modes {self._mode!r}. Several: "
                'search_alg="motpe", "nsga2", "optuna" or "ax"'
            )

    @property
    def is_ready(self) -> bool:
        return self._begun

    # -- the searcher's contract ---------------------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        numbers = self._next(trial_id)
        if numbers is None or isinstance(numbers, str):
            return numbers
        assert self.dimensions is not None
        self._live[trial_id] = numbers
        return self._suggestion_of(numbers)

    def _suggestion_of(self, numbers: Numbers) -> Config:
        """What the run is told of a config: with the constants of a space that is this searcher's own, which nobody else
        knows."""
        assert self.dimensions is not None
        made = (self.dimensions.config if self._given_space else self.dimensions.suggestion)(numbers, self._asked)
        self._asked += 1
        return made

    def _whole_config(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        return suggestion if self._given_space else merge(self._config, suggestion)

    def _next(self, trial_id: str) -> Numbers | str | None:
        if self.dimensions is None or not self._begun:
            lacks = "space" if not self.dimensions else "metric" if self._metric is None else "mode ('min' or 'max')"
            raise RuntimeError(
                f"{type(self).__name__} does not know its {lacks} yet: give it to "
                "the searcher or to the run, e.g. tune.run(..., metric='loss', mode='min')"
            )
        if self._points:
            self._given += 1
            return self.dimensions.numbers(self._points.pop(0), missing=self._asked)
        if self._near:
            near = self._near.numbers(self._seed, self._asked, self._known, self._given)
            if near is not None:
                return near
        return self._ask(trial_id)

    @property
    def _known(self) -> int:
        """How many results there are: what is near a prior fades with them."""
        return self._asked - len(self._live)

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        """Bring the state to where it was after this suggestion of an earlier session."""
        asked = self._next(trial_id)
        assert self.dimensions is not None
        try:
            numbers = self.dimensions.numbers(suggestion, missing=self._asked)
        except ValueError:  # an object, of which the journal has only a text that changes from run to run
            if not isinstance(asked, list):
                raise
            numbers = asked
        self._live[trial_id] = numbers
        return self._suggestion_of(numbers)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        numbers = self._live.get(trial_id)
        if numbers is None:
            return
        step = self._step(trial_id, result)
        losses = self.losses(result)
        told = Told(losses or (), DONE, step)
        if losses is not None and (self.ranks or not told.is_broken):
            self._report(trial_id, numbers, told)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        numbers = self._live.pop(trial_id, None)
        if numbers is None:
            return
        step = self._step(trial_id, result or {})
        self._steps.pop(trial_id, None)
        losses = self.losses(result) if result else None
        told = Told(losses or (), FAILED if error or losses is None else DONE, step)
        if told.is_broken and not self.ranks:  # a model of values would be spoilt by scores
            told = Told((), FAILED, step)
        self._tell(trial_id, numbers, told)

    def _step(self, trial_id: str, result: Mapping[str, Any]) -> int:
        step = int(result.get("training_iteration", self._steps.get(trial_id, 0) + 1))
        self._steps[trial_id] = step
        return step

    def losses(self, result: Mapping[str, Any]) -> tuple[float, ...] | None:
        """The metrics of a result as losses, which are scores where it breaks a constraint; None when one is missing or not a
        finite number."""
        violation = constraint_violation(result)
        metrics = [self._metric] if isinstance(self._metric, str) else list(self._metric or ())
        modes = [self._mode] if isinstance(self._mode, str) else list(self._mode or ())
        values = []
        for metric, mode in zip(metrics, modes, strict=True):
            if mode == "obs":
                continue
            value = result.get(metric)
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                return None
            values.append(score(-float(value) if mode == "max" else float(value), violation, "min"))
        return tuple(values)

    def begin_near(self, configs: Sequence[Mapping[str, Any]]) -> int:
        """Configs (flat names) that were good in a space like this one, the best first: the first ones are tried, and a share of
        what is suggested, which fades with results, lies near them. Called once the space is known, before the first suggestion.

        Returns:
            How many of them say anything of this space.
        """
        if self.dimensions is None:
            raise RuntimeError(f"{type(self).__name__} does not know its space yet")
        known = [numbers_known(self.dimensions, config) for config in configs]
        known = [numbers for numbers in known if any(number is not None for number in numbers)]
        assert self._near is not None
        self._near = self._near.with_points(known)
        return len(known)

    # -- what is known already ------------------------------------------------------------------------------------------

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Learn from a config that was evaluated elsewhere; ``value`` in the metric's own direction."""
        outcome = FAILED if error else PRUNED if pruned else DONE
        if self._begun:
            self._learn(parameters, value, outcome)
        else:
            self._earlier.append((parameters, value, outcome))

    def _learn(self, parameters: dict[str, Any], value: Any, outcome: str) -> None:
        assert self.dimensions is not None
        numbers = self.dimensions.numbers(parameters)
        names = [self._metric] if isinstance(self._metric, str) else list(self._metric or ())
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        losses = self.losses(dict(zip(names, values, strict=True))) if value is not None else None
        if losses is None:
            outcome = FAILED
        self._tell(None, numbers, Told(losses or (), outcome))
