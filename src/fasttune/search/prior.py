"""What is thought to be good before anything is known (``tune.loguniform(1e-5, 1e-1, prior=1e-3)``), for every searcher.

The first config is the prior itself. After that a share of the configs, which fades with results, is drawn near it in place of the
searcher's own (``space/near_prior.py``). That a share comes from the prior is from PriorBand (Mallik et al. 2023), that it fades from
piBO (Hvarfner et al. 2022): a good prior is used at once, and a misleading one costs a few trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.search.base import Metric, Mode
from fasttune.search.space_searcher import SpaceSearcher, Told
from fasttune.space.dimensions import Numbers


class PriorSearch(SpaceSearcher):
    """Random search of a space in which somebody has said what is thought to be good. A run without a searcher takes it by itself
    where a domain has a ``prior``.

    Args:
        space, metric, mode, points_to_evaluate: see ``SpaceSearcher``; nothing depends on the metric.
        seed: of everything random.
    """

    ranks = True

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(space, metric, mode, points_to_evaluate, seed=seed)

    @property
    def _knows_goal(self) -> bool:
        return True

    @property
    def batch_size(self) -> int | None:
        return None

    @property
    def _known(self) -> int:
        return self._asked  # so that configs depend on no order of results, as those of random search do not

    def _ask(self, trial_id: str) -> Numbers:
        assert self.dimensions is not None
        return self.dimensions.draw(self._asked)

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        """Nothing is learnt, but that there is one result more."""
