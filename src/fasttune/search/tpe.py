"""The tree-structured Parzen estimator, compiled.

Bergstra et al. 2011 (Algorithms for Hyper-Parameter Optimization, section 4) introduced it; Watanabe 2023 (arXiv
2304.11127, section 3 and Tables 3 and 6) takes it apart and measures what the parts are worth. The model is
``_draws/tpe.pxi``; here are the first trials, what counts as good, and the numbers that the core does not know.

Trials that report on their way are compared at equal steps: there is a model for each of some steps, as BOHB has one for each
budget (Falkner, Klein, Hutter 2018), and suggestions come from the one whose results tell most, as Hyper-Tune weighs them (Li
et al. 2022): many results where ranks agree with those at the end, few where they are the end.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from fasttune import _draws
from fasttune.agreement import StepValues
from fasttune.argument import checked_count
from fasttune.search.base import Metric, Mode
from fasttune.search.latin_hypercube import latin_hypercube
from fasttune.search.parzen import Parzen, model_settings
from fasttune.search.quadratic import QuadraticSteps
from fasttune.search.space_searcher import FAILED, PRUNED, SpaceSearcher, Told
from fasttune.space.dimensions import Dimensions, Numbers

PER_DIMENSION = 0.5  # results for each parameter with which a model knows half of what it could
TRIES = 32  # random configs, until one was not tried before
MOST_KEPT = 1000  # results of the last step: one with more of them is the end, or near it
LEAST_WORTH = 0.2  # of a step: with less, suggestions are random
MOST_COMPARED = 256  # suggestions made at once of which each is the best of some; those of a larger batch are drawn as they are


class TPESearch(SpaceSearcher):
    """Suggests where configs of good trials are dense and those of bad ones are not.

    Conditional parts of a space are modelled on the trials that had them. Trials that report on their way are compared at equal
    steps, whatever stops them: at 1, 2, 3, 4, 6, 8, 12, ... and at the last one; suggestions are made by the step that tells most
    of the last one (:attr:`step`), and the less that is, the more of them are random. Those that failed count as bad, and so do
    those that still run, which keeps parallel suggestions apart (the constant liar of Ginsbourger et al. 2010). A config of a space
    without continuous parameters is not suggested twice while there are others.

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
        self.n_initial_points = checked_count("n_initial_points", n_initial_points, least=1)
        self.quadratic = quadratic
        self._settings = model_settings(n_candidates, gamma, most_good, multivariate, prior_weight)
        self._first: list[Numbers] = []  # what is left of the Latin hypercube, last one first
        self._rows: dict[str, tuple[float, int]] = {}  # of the trials that run: by which step's model, and their row there
        self._models: dict[float, _draws.Tpe] = {}
        self._steps_known = StepValues()
        self._last_step = 0.0  # that any trial came to
        self._results = 0  # of all steps
        self._looked_at = 0  # results, of which the best step was found
        self._best: tuple[float | None, float] = None, LEAST_WORTH
        self._failed: list[Numbers] = []  # which count as bad at every step
        self._elsewhere: list[tuple[Numbers, Told]] = []  # evaluated; they count at the last step, whatever that will be
        self._at_last: list[tuple[Numbers, float]] = []  # what else was told there, as far as that is kept
        self._configs: list[Numbers] = []  # all, where they can be counted
        self._tried: set[tuple[Any, ...]] = set()  # the same
        self._told_before: Numbers | None = None  # by a journal: what the next suggestion was
        super().__init__(space, metric, mode, points_to_evaluate, evaluated_rewards, seed=seed)

    def _begin(self, dimensions: Dimensions) -> None:
        self._parzen = Parzen(dimensions)
        self._quadratic = QuadraticSteps(dimensions, self._seed) if self.quadratic else None
        self._can_repeat = all(math.isfinite(one.size) for one in dimensions)
        self._random = random.Random(self._seed)
        points = latin_hypercube(self.n_initial_points, len(dimensions), self._seed)
        self._first = [dimensions.from_units(point) for point in reversed(points)]

    # -- which step ---------------------------------------------------------------------------------------------------

    @property
    def step(self) -> float | None:
        """The step whose results suggestions are made by now; None: no model is used yet."""
        return self._best_step()[0]

    def _best_step(self) -> tuple[float | None, float]:
        """That step, and what it is worth; found again when a fiftieth more is known."""
        if self._results >= self._looked_at + max(1, self._looked_at // 50):
            self._looked_at, self._best = self._results, self._find_best_step()
        return self._best

    def _find_best_step(self) -> tuple[float | None, float]:
        found, most = None, LEAST_WORTH
        for step, model in self._models.items():
            n = model.n_finished
            if n < self.n_initial_points:
                continue
            known = n / (n + PER_DIMENSION * len(self._parzen.dimensions))
            worth = self._steps_known.trust(step, self._last_step) * math.sqrt(known)
            if worth > most:
                found, most = step, worth
        return found, most

    @property
    def _most_end_early(self) -> bool:
        """Whether few of the trials come to the last step: the model is of steps that may mislead, or of few trials."""
        known = self._steps_known
        return len(known.steps) > 1 and 2 * known.count(self._last_step) < known.count(known.steps[0])

    def _model_of(self, step: float) -> _draws.Tpe:
        if step in self._models:
            return self._models[step]
        last = max(self._models, default=0.0)
        self._models[step] = model = self._fresh_model()
        if step > last and self._elsewhere:
            if last and self._models[last].n_finished < MOST_KEPT:
                self._forget_elsewhere(last)
            for numbers, told in self._elsewhere:
                self._add_elsewhere(model, numbers, told)
        if step > last:
            self._at_last.clear()
        return model

    def _fresh_model(self) -> _draws.Tpe:
        """What is known at every step."""
        model = self._parzen.model(self._seed, **self._settings)
        for numbers in self._configs:
            model.drop(model.add(self._parzen.inward(numbers)))
        for numbers in self._failed:
            self._add_failed(model, numbers)
        return model

    def _forget_elsewhere(self, step: float) -> None:
        """A step that is not the last one any more: losses of whole trials are no measure there."""
        self._models[step] = model = self._fresh_model()
        for numbers, loss in self._at_last:
            model.tell(model.add(self._parzen.inward(numbers)), _draws.Tpe.WHOLE, loss)
        for trial_id in [one for one, (at, _) in self._rows.items() if at == step]:
            del self._rows[trial_id]
            if trial_id in self._live:
                self._rows[trial_id] = step, model.add(self._parzen.inward(self._live[trial_id]))

    # -- suggesting ---------------------------------------------------------------------------------------------------

    def _ask(self, trial_id: str) -> Numbers:
        assert self.dimensions is not None
        step, worth = self._best_step()
        live = self._live.values()
        if step is None or (self._most_end_early and self._random.random() > worth):
            step = self._last_step or 1.0
            row, numbers = self._first_or_random(self.dimensions, self._model_of(step))
        elif self._quadratic is not None and (stepped := self._quadratic.ask(self._asked, trial_id, len(live), live)) is not None:
            numbers = stepped
            row = self._models[step].add(self._parzen.inward(numbers))
        elif self._told_before is not None:  # nothing is kept of how a suggestion was made
            numbers = self._told_before
            row = self._models[step].add(self._parzen.inward(numbers))
        else:
            row, numbers = self._models[step].ask(self._asked)
            numbers = self._parzen.suggested(self._models[step], row, numbers)
        self._rows[trial_id] = step, row
        self._remember(step, numbers)
        return numbers

    def suggest_batch(self, trial_ids: Sequence[str]) -> list[dict[str, Any] | str | None]:
        """As one by one, each away from those before, up to 256 of them; those of a larger batch are drawn from the densities of
        the good trials together, which costs a hundredth of it."""
        drawn = self._draw_batch(trial_ids)
        if drawn is None:
            return super().suggest_batch(trial_ids)
        return [self._suggestion_of(numbers) for numbers in drawn]

    def _draw_batch(self, trial_ids: Sequence[str]) -> list[Numbers] | None:
        """What these trials try, if it is drawn together; None: they are to be asked for one by one."""
        is_plain = self._begun and not self._points and not self._near and not self._most_end_early
        step = self._best_step()[0] if is_plain else None
        if step is None or len(trial_ids) <= MOST_COMPARED:
            return None
        made: list[Numbers] = []
        while len(made) < len(trial_ids):
            left, number = trial_ids[len(made) :], self._asked + len(made)
            found, stepped = self._drawn_until_quadratic(step, left, number)
            if stepped is not None:
                row, stepped = self._made_by_quadratic(step, left[len(found)], number + len(found), stepped)
                self._rows[left[len(found)]] = step, row
                self._remember(step, stepped)
                found.append(stepped)
            self._live.update(zip(left, found, strict=False))
            made += found
        return made

    def _made_by_quadratic(self, step: float, trial_id: str, number: int, stepped: Numbers) -> tuple[int, Numbers]:
        """Its row and numbers; another one's, where those drawn just before have it."""
        assert self._quadratic is not None
        model = self._models[step]
        if not self._can_repeat or tuple(stepped) not in self._tried:
            return model.add(self._parzen.inward(stepped)), stepped
        self._quadratic.take_back(trial_id)
        row, numbers = model.ask(number)
        return row, self._parzen.suggested(model, row, numbers)

    def _drawn_until_quadratic(
        self, step: float, trial_ids: Sequence[str], number: int
    ) -> tuple[list[Numbers], Numbers | None]:
        """Suggestions from ``number`` on for the first of these trials, until one is a quadratic model's turn, and that one."""
        n, stepped, live = len(trial_ids), None, self._live.values()
        for k in range(n if self._quadratic is not None and not self._quadratic.is_out else 0):
            assert self._quadratic is not None
            if (stepped := self._quadratic.ask(number + k, trial_ids[k], len(live) + k, live)) is not None:
                n = k
                break
        first, found = self._models[step].ask_many(number, n)
        for row, trial_id, numbers in zip(range(first, first + n), trial_ids, found, strict=False):
            self._rows[trial_id] = step, row
            self._remember(step, self._parzen.suggested(self._models[step], row, numbers))
        return found, stepped

    def _first_or_random(self, dimensions: Dimensions, model: _draws.Tpe) -> tuple[int, Numbers]:
        """The next of the first configs, or a random one; one that was not tried yet, while there are any. And its row."""
        numbers = self._first.pop() if self._first else dimensions.draw(self._asked)
        for k in range(1, TRIES if self._can_repeat else 0):
            if tuple(numbers) not in self._tried:
                break
            numbers = dimensions.draw(self._asked + (k << 32))
        if tuple(numbers) in self._tried and self._told_before is None:  # few are left, and the model finds them
            row, numbers = model.ask(self._asked)
            return row, self._parzen.suggested(model, row, numbers)
        return model.add(self._parzen.inward(numbers)), numbers

    def _remember(self, step: float, numbers: Numbers) -> None:
        """Other steps' models do not suggest it either, where that can come about."""
        if not self._can_repeat:
            return
        self._configs.append(numbers)
        self._tried.add(tuple(numbers))
        for other, model in self._models.items():
            if other != step:
                model.drop(model.add(self._parzen.inward(numbers)))

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        self.expect(suggestion)
        made = super().replay(trial_id, suggestion)
        self.expect(None)
        if trial_id in self._rows:
            self.watch(trial_id, self._live[trial_id])
        return made

    def expect(self, suggestion: Mapping[str, Any] | None) -> None:
        """This is what the next suggestion was; None: nobody knows."""
        self._told_before = None
        if suggestion is not None and self.dimensions is not None:
            with contextlib.suppress(ValueError):  # a text of an object
                self._told_before = self.dimensions.numbers(suggestion, missing=self._asked)

    def watch(self, trial_id: str, numbers: Numbers) -> None:
        """This is what the trial tries, whoever suggested it."""
        if trial_id in self._rows:
            step, row = self._rows[trial_id]
            self._models[step].change(row, self._parzen.inward(numbers))
            return
        step = self._best_step()[0] or self._last_step or 1.0
        self._rows[trial_id] = step, self._model_of(step).add(self._parzen.inward(numbers))
        self._remember(step, numbers)

    # -- learning -----------------------------------------------------------------------------------------------------

    def _report(self, trial_id: str, numbers: Numbers, told: Told) -> None:
        if is_compared_at(told.step):
            self._enter(trial_id, numbers, told)

    def on_pause(self, trial_id: str) -> None:
        """The trial waits for others, perhaps for good."""
        self._leave_row(trial_id)

    def _leave_row(self, trial_id: str, ended: bool = False) -> None:
        """Nothing more is heard of a suggestion at the step that it was made by: that is bad, if the trial was ended."""
        if trial_id not in self._rows:
            return
        step, row = self._rows.pop(trial_id)
        if ended:
            self._models[step].tell(row, _draws.Tpe.UNKNOWN, math.nan, True)
        else:
            self._models[step].drop(row)

    def _enter(self, trial_id: str, numbers: Numbers, told: Told) -> None:
        """A trial has a loss at a step."""
        step = float(max(1, told.step))
        if not self._steps_known.enter(trial_id, step, told.loss):
            return
        self._last_step = max(self._last_step, step)
        model = self._model_of(step)
        at, row = self._rows.get(trial_id, (0.0, -1))
        if at == step:
            del self._rows[trial_id]
        else:
            row = model.add(self._parzen.inward(numbers))
        model.tell(row, _draws.Tpe.WHOLE, told.loss)
        self._results += 1
        if step == self._last_step and len(self._at_last) < MOST_KEPT:
            self._at_last.append((numbers, told.loss))

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        if self._quadratic is not None:
            self._quadratic.tell(trial_id, numbers, told)
        if told.outcome == FAILED or trial_id is None:
            self._tell_without_step(trial_id, numbers, told)
            return
        if is_compared_at(told.step) or told.step >= self._last_step:
            self._enter(trial_id, numbers, told)
        self._leave_row(trial_id, ended=True)
        self._steps_known.over(trial_id)

    def _tell_without_step(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        """It failed, or was evaluated elsewhere."""
        if trial_id is not None:
            self._leave_row(trial_id)
            self._steps_known.over(trial_id)
        last = self._model_of(max(self._models, default=1.0))
        self._results += 1
        if told.outcome == FAILED:
            self._failed.append(numbers)
            for model in self._models.values():
                self._add_failed(model, numbers)
        else:
            self._elsewhere.append((numbers, told))
            self._add_elsewhere(last, numbers, told)

    def _add_failed(self, model: _draws.Tpe, numbers: Numbers) -> None:
        model.tell(model.add(self._parzen.inward(numbers)), _draws.Tpe.UNKNOWN, math.nan, True)

    def _add_elsewhere(self, model: _draws.Tpe, numbers: Numbers, told: Told) -> None:
        known = _draws.Tpe.UNKNOWN if told.outcome == PRUNED else _draws.Tpe.WHOLE
        model.tell(model.add(self._parzen.inward(numbers)), known, told.loss)


def is_compared_at(step: int) -> bool:
    """Whether trials are compared at a step: at the powers of two, and half-way between them."""
    low = max(0, step.bit_length() - 2)
    return step > 0 and step >> low << low == step
