"""Quasi-random search: configs that cover the space more evenly than random ones.

Scrambled Sobol points (Sobol 1967; Owen 1998, Scrambling Sobol and Niederreiter-Xing points) and scrambled Halton
points (Halton 1964; Owen 2017, A randomized Halton algorithm in R), both through ``scipy.stats.qmc``. Bergstra and
Bengio 2012, section 4, compare such sequences with random search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fasttune.extras import optional
from fasttune.search.base import Metric, Mode
from fasttune.search.space_searcher import SpaceSearcher
from fasttune.space.dimensions import Dimensions, Numbers
from fasttune.space.domains import SearchSpaceError

BLOCK = 256  # points that are made together; a power of two keeps Sobol points balanced
MOST_DIMENSIONS = {"Sobol": 21_201, "Halton": 100_000}  # Sobol: the direction numbers of Joe and Kuo 2008


class QuasiRandomSearch(SpaceSearcher):
    """Walks through a scrambled low-discrepancy sequence. It does not learn from results, so trials may end in any
    order, on any number of workers, and the configs are the same.

    Needs scipy (``pip install 'fasttune[scipy]'``).

    Args:
        space, metric, mode, points_to_evaluate: see ``SpaceSearcher``.
        sequence: "Sobol" (best when the number of trials is a power of two) or "Halton".
        seed: of the scrambling.
    """

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        *,
        sequence: str = "Sobol",
        seed: int | None = None,
    ) -> None:
        if sequence not in MOST_DIMENSIONS:
            raise ValueError(f"sequence must be one of {', '.join(MOST_DIMENSIONS)}, got {sequence!r}")
        optional("scipy", "scipy", type(self).__name__)
        self.sequence = sequence
        self._taken = 0
        self._block: list[list[float]] = []
        super().__init__(space, metric, mode, points_to_evaluate, seed=seed)

    def _begin(self, dimensions: Dimensions) -> None:
        most = MOST_DIMENSIONS[self.sequence]
        if len(dimensions) > most:
            raise SearchSpaceError(
                f"a {self.sequence} sequence has at most {most} dimensions, the space has {len(dimensions)}"
            )

    def _ask(self, trial_id: str) -> Numbers:
        assert self.dimensions is not None
        place = self._taken % BLOCK
        if place == 0 or not self._block:
            self._block = self._block_from(self._taken - place)
        self._taken += 1
        return self.dimensions.from_units(self._block[place])

    @property
    def batch_size(self) -> int | None:
        return None

    def _block_from(self, first: int) -> list[list[float]]:
        """Points ``first`` to ``first + BLOCK - 1`` of the sequence, which depends on the seed alone."""
        qmc: Any = optional("scipy.stats.qmc", "scipy", type(self).__name__)
        import numpy as np

        assert self.dimensions is not None
        points = getattr(qmc, self.sequence)(len(self.dimensions), scramble=True, rng=np.random.default_rng(self._seed))
        if first:
            points.fast_forward(first)
        block: list[list[float]] = points.random(BLOCK).tolist()
        return block

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "_block": []}


class SobolSearch(QuasiRandomSearch):
    """Scrambled Sobol points."""

    _sequence: ClassVar[str] = "Sobol"

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(space, metric, mode, points_to_evaluate, sequence=self._sequence, seed=seed)


class HaltonSearch(SobolSearch):
    """Scrambled Halton points."""

    _sequence = "Halton"
