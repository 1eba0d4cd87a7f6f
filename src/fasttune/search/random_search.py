"""Random and grid search as a searcher that is asked for one config at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.argument import checked_count
from fasttune.search.base import Metric, Mode, Searcher
from fasttune.space.domains import contains_domains, grid_of
from fasttune.space.seeds import seed_from
from fasttune.space.variants import Variants


class RandomSearch(Searcher):
    """The configs of random and grid search, one by one: for ``ask`` and ``tell`` and inside of other searchers.

    A run needs none of this: it takes the same configs (of the same seed) from ``BasicVariantGenerator``, many at a time.

    Args:
        space: the search space, grids included; None: that of the run.
        metric, mode: nothing depends on them.
        points_to_evaluate: configs, or parts of configs, to try first.
        num_samples: how often the grid is run, or without one the number of configs; None: endlessly.
        constant_grid_search: the trials of one sample's grid share their random values.
        seed: of everything random; None draws one.
    """

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        *,
        num_samples: int | None = None,
        constant_grid_search: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        if num_samples is not None:
            rule = "an integer >= 1, or None for no end"
            num_samples = checked_count("num_samples", num_samples, least=1, rule=rule)
        self._points = [dict(point) for point in points_to_evaluate or ()]
        self._num_samples = -1 if num_samples is None else num_samples
        self._constant_grid_search = constant_grid_search
        self._seed = seed_from(seed, "seed")
        self._taken = 0
        self._variants: Variants | None = None
        self._given_space = space is not None
        if space is not None:
            self._compile(space)

    def _compile(self, space: Mapping[str, Any]) -> None:
        self._variants = Variants(
            space,
            self._num_samples,
            seed=self._seed,
            points=self._points,
            constant_grid_search=self._constant_grid_search,
        )

    @property
    def space(self) -> Mapping[str, Any] | None:
        """What is searched; None until it is known."""
        return None if self._variants is None else self._variants.space

    @property
    def _own_space(self) -> Mapping[str, Any] | None:
        return self.space if self._given_space else None

    def total(self, space: Mapping[str, Any], num_samples: int) -> int:
        """How many configs ``num_samples`` are of this space."""
        return len(Variants(space if self.space is None else self.space, num_samples, seed=0, points=self._points))

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        if self._given_space and (contains_domains(config) or _has_grid(config)):
            return False
        if metric is not None:
            self._metric = metric
        if mode is not None:
            self._mode = mode
        if self._variants is None:
            self._compile(config)
        return True

    @property
    def is_ready(self) -> bool:
        return self._variants is not None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        variants = self._variants
        if variants is None:
            raise RuntimeError("RandomSearch does not know its space yet: give it to the searcher or to the run")
        if variants.len is not None and self._taken >= variants.len:
            return Searcher.FINISHED
        self._taken += 1
        return variants.config(self._taken - 1)

    @property
    def batch_size(self) -> int | None:
        return None

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing is learnt."""


def _has_grid(node: Any) -> bool:
    if grid_of(node) is not None:
        return True
    parts = node.values() if isinstance(node, Mapping) else node if isinstance(node, (list, tuple)) else ()
    return any(map(_has_grid, parts))
