"""Random search and grid search: the search algorithm of a run that names none."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.argument import checked_count
from fasttune.search.base import Metric, Mode, SearchAlgorithm, Searcher, check_metric_and_mode
from fasttune.space.points import with_point
from fasttune.space.seeds import derive_seed, seed_from
from fasttune.space.variants import Variants as Variants
from fasttune.space.variants import read_block as read_block
from fasttune.space.variants import read_config as read_config


class BasicVariantGenerator(SearchAlgorithm):
    """Runs the whole grid of a space ``num_samples`` times, with new random values for every trial.

    Args:
        points_to_evaluate: configs, or parts of configs, to try first. Each uses up one of ``num_samples``,
            overrides the keys it names, and runs the grids that it leaves open.
        max_concurrent: most trials at a time; 0: as many as there is room for.
        constant_grid_search: the trials of one sample's grid share their random values.
        random_state: int, numpy Generator or RandomState. None: see ``space.seeds.seed_from``.
    """

    def __init__(
        self,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        max_concurrent: int = 0,
        constant_grid_search: bool = False,
        random_state: Any = None,
    ) -> None:
        max_concurrent = checked_count("max_concurrent", max_concurrent, rule="an integer >= 0 (0: no limit)")
        for point in points_to_evaluate or []:
            if not isinstance(point, Mapping):
                raise TypeError(f"points_to_evaluate must be a list of dicts, got the element {point!r}")
        self._points = list(points_to_evaluate or [])
        self._made_with: tuple[tuple[Any, ...], dict[str, Any]] = (), {
            "points_to_evaluate": self._points,
            "constant_grid_search": constant_grid_search,
        }
        self.max_concurrent = max_concurrent
        self._constant_grid_search = constant_grid_search
        self._random_state = random_state
        self._fixed_seed = seed_from(random_state) if _is_int(random_state) else None
        self._calls = 0
        self._config: Mapping[str, Any] = {}
        self._total: int | None = 0

    def set_search_properties(
        self, metric: Metric, mode: Mode, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """Take over the search space. Metric and mode do not matter to a random search."""
        check_metric_and_mode(metric, mode)
        self.metric = metric
        self._config = config
        return True

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Always True: the run keeps to ``max_concurrent``."""
        self.max_concurrent = max_concurrent
        return True

    def variants(self, num_samples: int = 1, space: Mapping[str, Any] | None = None) -> Variants:
        """All configs of ``space`` (default: the one of ``set_search_properties``). The seed is drawn here.

        Called again, for another experiment of the same run, it gives configs of an independent seed.
        """
        if self._fixed_seed is None:
            seed = seed_from(self._random_state)
        else:
            seed = derive_seed(self._fixed_seed, self._calls) if self._calls else self._fixed_seed
        made = Variants(
            self._config if space is None else space,
            num_samples,
            seed=seed,
            points=self._points,
            constant_grid_search=self._constant_grid_search,
        )
        self._calls += 1
        self._total = None if self._total is None or made.len is None else self._total + made.len
        return made

    def check_points(self, spaces: Sequence[Mapping[str, Any]]) -> None:
        """KeyError for a point that names what a space does not have."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what lies outside is said when the configs are made
            for space in spaces:
                for point in self._points:
                    with_point(dict(space), dict(point))

    @property
    def points_to_evaluate(self) -> list[Mapping[str, Any]]:
        """Configs, or parts of configs, that come first."""
        return list(self._points)

    @property
    def constant_grid_search(self) -> bool:
        """Whether the trials of one sample's grid share their random values."""
        return self._constant_grid_search

    def one_by_one(self) -> Searcher:
        """A searcher that suggests the same configs one at a time."""
        from fasttune.search.random_search import RandomSearch

        made = RandomSearch(
            points_to_evaluate=self._points,
            constant_grid_search=self._constant_grid_search,
            seed=self._fixed_seed if self._fixed_seed is not None else seed_from(self._random_state),
        )
        if not self.max_concurrent:
            return made
        from fasttune.search.concurrency_limiter import ConcurrencyLimiter

        return ConcurrencyLimiter(made, self.max_concurrent)

    @property
    def total_samples(self) -> int:
        """The number of configs of all ``variants`` so far; 2**63 - 1 if one of them is endless."""
        return 2**63 - 1 if self._total is None else self._total


def _is_int(random_state: Any) -> bool:
    return isinstance(random_state, int) or hasattr(random_state, "__index__")
