"""Where configs come from: random and grid search, and what a searcher is."""

from __future__ import annotations

from typing import Any

from fasttune.search.base import SearchAlgorithm as SearchAlgorithm
from fasttune.search.base import Searcher as Searcher
from fasttune.search.basic_variant import BasicVariantGenerator as BasicVariantGenerator
from fasttune.search.concurrency_limiter import ConcurrencyLimiter as ConcurrencyLimiter
from fasttune.search.repeater import Repeater as Repeater
from fasttune.search.search_generator import SearchGenerator as SearchGenerator

__all__ = [
    "BasicVariantGenerator",
    "ConcurrencyLimiter",
    "Repeater",
    "SearchAlgorithm",
    "SearchGenerator",
    "Searcher",
    "create_searcher",
]

_SEARCHERS: dict[str, Any] = {
    "random": BasicVariantGenerator,
    "variant_generator": BasicVariantGenerator,
}

# names that Ray Tune knows, whose libraries have no adapter here yet
_WITHOUT_ADAPTER = frozenset(
    [
        "ax",
        "bayesopt",
        "blendsearch",
        "bohb",
        "cfo",
        "dragonfly",
        "hebo",
        "hyperopt",
        "nevergrad",
        "optuna",
        "sigopt",
        "skopt",
        "zoopt",
    ]
)


def create_searcher(search_alg: str, **kwargs: Any) -> Any:
    """A searcher by its name. Arguments that it does not know are a TypeError.

    Packages offer more names through the entry point group ``fasttune.search``.
    """
    made = _SEARCHERS.get(search_alg) or _from_entry_point(search_alg)
    if made is not None:
        return made(**kwargs)
    if search_alg in _WITHOUT_ADAPTER:
        raise ValueError(
            f"the adapter for the search library {search_alg!r} is not in this version of fasttune. "
            f"Names that work: {', '.join(sorted(_SEARCHERS))}; or pass a subclass of Searcher."
        )
    raise ValueError(f"search_alg must be one of {', '.join(sorted(_SEARCHERS))}, got {search_alg!r}")


def _from_entry_point(name: str) -> Any:
    from importlib.metadata import entry_points

    for entry in entry_points(group="fasttune.search", name=name):
        return entry.load()
    return None
