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

FEWEST = 10  # results, before which nothing is suggested
WHOLE = 0  # the step of a result that was not ended early, where nobody said which


class QuadraticSteps:
    """Takes a turn of a searcher now and then, as often as its suggestions come true.

    Options and conditions stay those of the best config; of the numbers, those that have more than one value are moved. Only
    results of the largest step that was told count, so a trial that was stopped early is compared with none that went on. One
    suggestion is out at a time: two from the same results would be next to each other.
    """

    def __init__(self, dimensions: Dimensions, seed: int, **settings: float) -> None:
        self._dimensions = dimensions
        self._moved = [k for k, one in enumerate(dimensions) if one.kind != CATEGORICAL and one.size > 1]
        self._others = [k for k, one in enumerate(dimensions) if one.kind == CATEGORICAL]
        self._model = _draws.Quadratic(len(self._moved), seed, **settings) if self._moved else None
        self._patterns: dict[tuple[Any, ...], int] = {}
        self._tried: set[tuple[Any, ...]] | None = set() if math.isfinite(dimensions.size) else None
        self._out: str | None = None  # the trial that has its last suggestion
        self._step = WHOLE

    @property
    def is_out(self) -> bool:
        """Its last suggestion is not told yet: until then it makes none."""
        return self._model is None or self._model.out

    def ask(self, number: int, trial_id: str, live: Collection[Numbers] = ()) -> Numbers | None:
        """A config for this trial, or None: the searcher has its turn. ``number`` is that of the suggestion; ``live`` are the configs
        that run, of which none is suggested where configs can be counted."""
        model = self._model
        if model is None or model.n < FEWEST or (found := model.ask(number)) is None:
            return None
        pattern, units = found
        numbers = self._numbers(list(self._patterns)[pattern], units)
        if self._tried is not None and (tuple(numbers) in self._tried or numbers in live):
            model.miss(out=False)
            return None
        self._out = trial_id
        return numbers

    def tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        """What came of a config, whoever suggested it."""
        model = self._model
        if model is None:
            return
        mine = trial_id is not None and trial_id == self._out
        if mine:
            self._out = None
        if self._tried is not None:
            self._tried.add(tuple(numbers))
        if told.outcome == FAILED or told.is_broken or not self._counts(told):  # a score of what breaks a constraint is no value
            if mine and model.out:
                model.miss()
            return
        pattern = self._patterns.setdefault(self._pattern(numbers), len(self._patterns))
        units = [None if (n := numbers[k]) is None else self._dimensions[k].unit(n) for k in self._moved]
        model.tell(units, told.loss, pattern, mine and model.out)

    def _counts(self, told: Told) -> bool:
        """Whether it came as far as any; when it is the first that came so far, the others are forgotten."""
        if told.step == WHOLE:
            return told.outcome != PRUNED
        if told.step > self._step:
            if self._step != WHOLE and self._model is not None:
                self._model.clear()
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
