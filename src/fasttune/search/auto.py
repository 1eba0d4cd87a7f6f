"""Which searcher a run gets that asks for ``search_alg="auto"``.

The limits come from ``python -m benchmarks.search_quality``: ranks by kind of space and budget, and time per suggestion.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, NamedTuple

from fasttune.space.dimensions import Dimensions
from fasttune.space.domains import SearchSpaceError

MOST_LEARNT = 50_000  # trials; with more, blocks of random configs find as much, for nothing
FEW = 200  # trials, for which a Gaussian process takes some seconds in all
MOST_IN_FRONTS = 150  # trials of several metrics, below which their model finds more than evolution
MOST_OBJECTIVES = 4  # beyond it, what a point covers takes long to compute
MOST_DIMENSIONS = 20  # of a Gaussian process
# The names that are chosen, by the kind of searcher that they give.
KINDS = {
    "BasicVariantGenerator": "random",
    "RandomSearch": "random",
    "GPSearch": "gp",
    "MOTPESearch": "motpe",
    "NSGA2Search": "nsga2",
    "PriorSearch": "prior",
    "TPESearch": "tpe",
    "TuneBOHB": "bohb",
}


class Choice(NamedTuple):
    """A name for ``create_searcher``, and why."""

    name: str
    why: str


def choose(space: Mapping[str, Any], num_samples: int, *, has_metric: bool, has_budgets: bool = False, objectives: int = 0) -> Choice:
    """The searcher for a space and a number of trials (-1: any).

    Args:
        has_metric: one metric is known, which can be learnt from.
        objectives: how many metrics there are, if there are several.
        has_budgets: the scheduler says at which budget a result was reached (HyperBandForBOHB).
    """
    if not has_metric and not objectives:
        return Choice("random", "there is no single metric to learn from")
    try:
        dimensions = Dimensions(space, "a searcher")
    except SearchSpaceError:
        return Choice("random", "a grid is walked through")
    if not len(dimensions):
        return Choice("random", "there is nothing to search")
    if objectives:
        return _of_several(num_samples, objectives)
    if has_budgets:
        return Choice("bohb", "the scheduler tells budgets")
    if num_samples > MOST_LEARNT:
        return Choice("random", f"more than {MOST_LEARNT:,} trials")
    if 0 < num_samples <= FEW and len(dimensions) <= MOST_DIMENSIONS:
        if importlib.util.find_spec("scipy") is not None:
            return Choice("gp", f"it makes most of {num_samples} trials, in milliseconds each")
        return Choice("tpe", 'good with few trials; "gp" is better and needs scipy')
    return Choice("tpe", "good in every space, and it costs microseconds")


def _of_several(num_samples: int, objectives: int) -> Choice:
    if 0 < num_samples <= MOST_IN_FRONTS and objectives <= MOST_OBJECTIVES:
        return Choice("motpe", f"it finds the most of the front of {objectives} metrics in {num_samples} trials")
    return Choice("nsga2", f"it searches for the front of {objectives} metrics, at the same cost however many trials there are")
