"""Suggestions of a quadratic model (``_draws/quadratic.pxi``) for a searcher that deals in numbers: which results it may compare,
and what its points are in a space of any kind.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from fasttune import _draws
from fasttune.search.space_searcher import FAILED, PRUNED, Told
from fasttune.space.dimensions import CATEGORICAL, Dimensions, Numbers
from fasttune.space.seeds import derive_seed

FEWEST = 10  # results, before which nothing is suggested
RUNNING_FOR_ONE = 3  # trials, for which there is one more model
MOST_MODELS = 12
CLOSE = 0.01  # of the box, within which two suggestions that are out are one
WHOLE = 0  # the step of a result that was not ended early, where nobody said which

Units = list[float | None]


class QuadraticSteps:
    """Takes a turn of a searcher now and then, as often as its suggestions come true.

    Options and conditions stay those of the best config; of the numbers, those that have more than one value are moved. Only
    results of the largest step that was told count, so a trial that was stopped early is compared with none that went on.

    A model has one suggestion out at a time: two from the same results would be next to each other. Where many trials run there are
    more models, one for every three of them, each with a box of its own; they know the same results.
    """

    def __init__(self, dimensions: Dimensions, seed: int, **settings: float) -> None:
        self._dimensions = dimensions
        self._seed = seed
        self._moved = [k for k, one in enumerate(dimensions) if one.kind != CATEGORICAL and one.size > 1]
        self._others = [k for k, one in enumerate(dimensions) if one.kind == CATEGORICAL]
        self._models = [_draws.Quadratic(len(self._moved), seed, **settings)] if self._moved else []
        self._patterns: dict[tuple[Any, ...], int] = {}
        self._tried: set[tuple[Any, ...]] | None = set() if math.isfinite(dimensions.size) else None
        self._out: dict[str, tuple[_draws.Quadratic, Units]] = {}  # the trials that have a model's last suggestion
        self._step = WHOLE

    @property
    def is_out(self) -> bool:
        """No further suggestion is made before one is told, however many trials run."""
        return not self._models or len(self._out) >= MOST_MODELS

    def ask(self, number: int, trial_id: str, running: int = 0, live: Collection[Numbers] = ()) -> Numbers | None:
        """A config for this trial, or None: the searcher has its turn.

        Args:
            number: of the suggestion.
            running: trials that run already.
            live: the configs that run, of which none is suggested where configs can be counted.
        """
        for k in range(min(1 + running // RUNNING_FOR_ONE, MOST_MODELS) if self._models else 0):
            if k == len(self._models):
                self._models.append(self._one_more())
            model = self._models[k]
            if model.n < FEWEST or (found := model.ask(number)) is None:
                continue
            numbers = self._numbers(list(self._patterns)[found[0]], found[1])
            if self._is_of_use(model, found[1], numbers, live):
                self._out[trial_id] = model, found[1]
                return numbers
            model.miss(out=False)
        return None

    def _is_of_use(self, model: _draws.Quadratic, units: Units, numbers: Numbers, live: Collection[Numbers]) -> bool:
        """It is not known yet, and not what another model has just suggested."""
        if self._tried is not None and (tuple(numbers) in self._tried or numbers in live):
            return False
        return all(apart(units, others) >= CLOSE * model.radius for _, others in self._out.values())

    def _one_more(self) -> _draws.Quadratic:
        """A model with a box of its own, which knows all that the first one knows."""
        known: Any = self._models[0].__reduce__()
        n_dims, _, options, units, rows, hessian, _ = known[1]
        made = _draws.Quadratic(n_dims, derive_seed(self._seed, len(self._models)), **options)
        made.restore(units, rows, bytes(len(hessian)), (made.radius, made.score, 0.0, 0.0, 0.0, False))
        return made

    def take_back(self, trial_id: str) -> None:
        """The suggestion of this trial is of no use, being known."""
        self._out.pop(trial_id)[0].miss(out=False)

    def tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        """What came of a config, whoever suggested it."""
        if not self._models:
            return
        mine, _ = self._out.pop(trial_id, (None, [])) if trial_id is not None else (None, [])
        if self._tried is not None:
            self._tried.add(tuple(numbers))
        if told.outcome == FAILED or told.is_broken or not self._counts(told):  # a score of what breaks a constraint is no value
            if mine is not None and mine.out:
                mine.miss()
            return
        pattern = self._patterns.setdefault(self._pattern(numbers), len(self._patterns))
        units = [None if (n := numbers[k]) is None else self._dimensions[k].unit(n) for k in self._moved]
        for model in self._models:
            model.tell(units, told.loss, pattern, model is mine and model.out)

    def _counts(self, told: Told) -> bool:
        """Whether it came as far as any; when it is the first that came so far, the others are forgotten."""
        if told.step == WHOLE:
            return told.outcome != PRUNED
        if told.step > self._step:
            if self._step != WHOLE:
                for model in self._models:
                    model.clear()
            self._step = told.step
        return told.step == self._step

    def _pattern(self, numbers: Numbers) -> tuple[Any, ...]:
        return *(numbers[k] for k in self._others), *(numbers[k] is None for k in self._moved)

    def _numbers(self, pattern: tuple[Any, ...], units: list[float | None]) -> Numbers:
        """The config at a point, whose options are those of a pattern."""
        numbers: Numbers = [None if (one := self._dimensions[k]).size != 1 else one.value(0.5) for k in range(len(self._dimensions))]
        for k, option in zip(self._others, pattern, strict=False):
            numbers[k] = option
        for k, unit in zip(self._moved, units, strict=True):
            numbers[k] = None if unit is None else self._dimensions[k].value(min(unit, math.nextafter(1.0, 0.0)))
        return self._dimensions.active(numbers)


def apart(one: Units, other: Units) -> float:
    """How far two points are from each other in the dimension that divides them most; without end if they have not the same."""
    pairs = list(zip(one, other, strict=True))
    if any((a is None) != (b is None) for a, b in pairs):
        return math.inf
    return max((abs(a - b) for a, b in pairs if a is not None and b is not None), default=0.0)
