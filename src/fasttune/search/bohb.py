"""BOHB's half of BOHB: a density model for every budget, for the scheduler HyperBandForBOHB.

Falkner, Klein, Hutter 2018, BOHB: Robust and Efficient Hyperparameter Optimization at Scale (ICML), section 4 and algorithm
2. The densities are those of TPESearch (``_draws/tpe.pxi``), one model for each budget.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fasttune import _draws
from fasttune.argument import checked_count, checked_number
from fasttune.search.base import Metric, Mode
from fasttune.search.parzen import Parzen
from fasttune.search.space_searcher import SpaceSearcher, Told
from fasttune.space.dimensions import Dimensions, Numbers

MOST_GOOD = 100  # trials that the good side is made of


class BohbSettings(NamedTuple):
    """Settings of the model, by the names that hpbandster has for them."""

    min_points_in_model: int | None = None
    top_n_percent: float = 15
    num_samples: int = 64
    random_fraction: float = 1 / 3


def checked_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """``bohb_config``, if all of it can be obeyed."""
    unknown = sorted(set(given) - set(BohbSettings._fields))
    if unknown:
        raise TypeError(
            f"bohb_config has {unknown[0]!r}; TuneBOHB knows {', '.join(BohbSettings._fields)}. Bandwidths are chosen by "
            "the model itself, as in TPESearch"
        )
    settings = BohbSettings(**given)
    checked_count("num_samples", settings.num_samples, least=1)
    if settings.min_points_in_model is not None:
        checked_count("min_points_in_model", settings.min_points_in_model, least=1)
    checked_number("top_n_percent", settings.top_n_percent, above=0, below=100)
    checked_number("random_fraction", settings.random_fraction, least=0, most=1)
    return dict(given)


class TuneBOHB(SpaceSearcher):
    """Learns at every budget that HyperBandForBOHB stops at, and suggests by the largest one of which enough is known.

    Results count at the budget in their ``hyperband_info``, and the last one of a trial that ended at the time it came to.
    A share of the suggestions stays random. With another scheduler it learns from the ends of trials alone. Needs no
    further package.

    Args:
        space, metric, mode, points_to_evaluate: see ``SpaceSearcher``; one metric.
        bohb_config: the model's settings by the names of hpbandster: ``min_points_in_model`` (number of parameters + 1;
            a model needs two more), ``top_n_percent`` that are good (15), ``num_samples`` drawn for each suggestion (64),
            ``random_fraction`` (1/3).
        seed: of everything random.
        max_concurrent: trials that may be out and not paused at a time; 0: any number.
        time_attr: the scheduler's.

    Raises:
        TypeError: for another key in ``bohb_config``.
    """

    ranks = True
    several = False

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        bohb_config: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        seed: int | None = None,
        max_concurrent: int = 0,
        *,
        evaluated_rewards: Sequence[float] | None = None,
        time_attr: str = "training_iteration",
    ) -> None:
        self._settings = BohbSettings(**checked_settings(bohb_config or {}))
        checked_count("max_concurrent", max_concurrent, least=0)
        self.max_concurrent = max_concurrent
        self._time_attr = time_attr
        self._models: dict[float, _draws.Tpe] = {}  # by budget
        self._rows: dict[str, tuple[float, int]] = {}  # trial -> the budget it was suggested by, and its row there
        self._heard: dict[str, float] = {}  # trial -> the largest budget that it was heard of at
        self._elsewhere: list[tuple[Numbers, Told]] = []
        self._paused: set[str] = set()
        super().__init__(space, metric, mode, points_to_evaluate, evaluated_rewards, seed=seed)

    def _begin(self, dimensions: Dimensions) -> None:
        modes = [self._mode] if isinstance(self._mode, str) else list(self._mode or ())
        if len(modes) != 1:
            raise ValueError(f"TuneBOHB optimises one metric, got {self._metric!r} with modes {self._mode!r}")
        self._parzen = Parzen(dimensions)
        self._random = random.Random(self._seed)
        self._enough = (self._settings.min_points_in_model or len(dimensions) + 1) + 2

    # -- suggesting ---------------------------------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.max_concurrent and len(self._live) - len(self._paused) >= self.max_concurrent:
            return None
        return super().suggest(trial_id)

    def _ask(self, trial_id: str) -> Numbers:
        assert self.dimensions is not None
        at_random = self._random.random() < self._settings.random_fraction
        budget = self.budget
        if budget is None or at_random:
            return self.dimensions.draw(self._asked)
        row, numbers = self._models[budget].ask(self._asked)
        self._rows[trial_id] = budget, row
        return self._parzen.suggested(self._models[budget], row, numbers)

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        made = super().replay(trial_id, suggestion)
        if trial_id in self._rows:
            budget, row = self._rows[trial_id]
            self._models[budget].change(row, self._parzen.inward(self._live[trial_id]))
        return made

    @property
    def budget(self) -> float | None:
        """The largest budget of which enough is known; None: none yet, and all suggestions are random."""
        return max((b for b, model in self._models.items() if model.n_finished >= self._enough), default=None)

    @property
    def results(self) -> dict[float, int]:
        """How many results there are by budget."""
        return {budget: self._models[budget].n_finished for budget in sorted(self._models)}

    # -- learning -----------------------------------------------------------------------------------------------------

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        info = result.get("hyperband_info") or {}
        if "budget" in info:
            self._hear(trial_id, float(info["budget"]), result)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        if trial_id not in self._live:
            return
        time = (result or {}).get(self._time_attr, 1)
        if result and not error and isinstance(time, (int, float)) and time > self._heard.get(trial_id, 0.0):
            self._hear(trial_id, float(time), result)
        self._heard.pop(trial_id, None)
        if trial_id in self._rows:
            budget, row = self._rows.pop(trial_id)
            self._models[budget].drop(row)
        self._paused.discard(trial_id)
        del self._live[trial_id]

    def _hear(self, trial_id: str, budget: float, result: Mapping[str, Any]) -> None:
        """A trial has a result at a budget."""
        numbers, losses = self._live.get(trial_id), self.losses(result)
        if numbers is None or losses is None or budget <= self._heard.get(trial_id, 0.0):
            return
        self._heard[trial_id] = budget
        model = self._model_of(budget)
        by, row = self._rows.get(trial_id, (None, -1))
        if by == budget:
            del self._rows[trial_id]
        else:
            row = model.add(self._parzen.inward(numbers))
        model.tell(row, _draws.Tpe.WHOLE, losses[0])

    def _model_of(self, budget: float) -> _draws.Tpe:
        if budget not in self._models:
            largest = budget > max(self._models, default=0.0)
            share = self._settings.top_n_percent / 100
            self._models[budget] = model = self._parzen.model(
                self._seed, candidates=self._settings.num_samples, gamma=share, most_good=MOST_GOOD
            )
            if largest:
                for numbers, told in self._elsewhere:
                    self._add(model, numbers, told)
        return self._models[budget]

    def _add(self, model: _draws.Tpe, numbers: Numbers, told: Told) -> None:
        model.tell(model.add(self._parzen.inward(numbers)), _draws.Tpe.WHOLE, told.loss, math.isnan(told.loss))

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        """Evaluated elsewhere: it counts at the largest budget, whatever that will be."""
        self._elsewhere.append((numbers, told))
        if self._models:
            self._add(self._models[max(self._models)], numbers, told)

    def on_pause(self, trial_id: str) -> None:
        if trial_id in self._live:
            self._paused.add(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        self._paused.discard(trial_id)
