"""Where configs come from: random and grid search, native searchers, and what a searcher is.

A name is loaded when it is first used. To add a native searcher, write its file, put its class into ``_HOME`` and
``__all__``, what ``create_searcher`` calls it into ``_NAMES``, and its import where type checkers look. Adapters to
libraries are imported by their path (``fasttune.search.optuna``); a class of another package is found by an entry point
of the group ``fasttune.search``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasttune.search.base import SearchAlgorithm as SearchAlgorithm
from fasttune.search.base import Searcher as Searcher
from fasttune.search.base import Suggestion as Suggestion
from fasttune.search.basic_variant import BasicVariantGenerator as BasicVariantGenerator
from fasttune.search.concurrency_limiter import ConcurrencyLimiter as ConcurrencyLimiter
from fasttune.search.repeater import Repeater as Repeater
from fasttune.search.search_generator import SearchGenerator as SearchGenerator

if TYPE_CHECKING:
    from fasttune.search.auto import AutoSearch as AutoSearch
    from fasttune.search.bohb import TuneBOHB as TuneBOHB
    from fasttune.search.cmaes import CMAESearch as CMAESearch
    from fasttune.search.evolution import EvolutionSearch as EvolutionSearch
    from fasttune.search.gp import GPSearch as GPSearch
    from fasttune.search.motpe import MOTPESearch as MOTPESearch
    from fasttune.search.nsga2 import NSGA2Search as NSGA2Search
    from fasttune.search.prior import PriorSearch as PriorSearch
    from fasttune.search.quasi_random import HaltonSearch as HaltonSearch
    from fasttune.search.quasi_random import QuasiRandomSearch as QuasiRandomSearch
    from fasttune.search.quasi_random import SobolSearch as SobolSearch
    from fasttune.search.random_search import RandomSearch as RandomSearch
    from fasttune.search.tpe import TPESearch as TPESearch
    from fasttune.search.unique import UniqueSearch as UniqueSearch
    from fasttune.space.search_space import SearchSpace as SearchSpace

_HOME = {
    "AutoSearch": "auto",
    "CMAESearch": "cmaes",
    "EvolutionSearch": "evolution",
    "GPSearch": "gp",
    "HaltonSearch": "quasi_random",
    "MOTPESearch": "motpe",
    "NSGA2Search": "nsga2",
    "PriorSearch": "prior",
    "QuasiRandomSearch": "quasi_random",
    "RandomSearch": "random_search",
    "SearchSpace": ".space.search_space",
    "SobolSearch": "quasi_random",
    "TPESearch": "tpe",
    "TuneBOHB": "bohb",
    "UniqueSearch": "unique",
}
# What ``create_searcher`` calls them: a class of ``_HOME`` or of this module, or "module:class" for an adapter.
_NAMES = {
    "auto": "AutoSearch",
    "ax": "ax:AxSearch",
    "bayesopt": "bayesopt:BayesOptSearch",
    "bohb": "TuneBOHB",
    "cmaes": "CMAESearch",
    "evolution": "EvolutionSearch",
    "gp": "GPSearch",
    "halton": "HaltonSearch",
    "hyperopt": "hyperopt:HyperOptSearch",
    "motpe": "MOTPESearch",
    "nevergrad": "nevergrad:NevergradSearch",
    "nsga2": "NSGA2Search",
    "optuna": "optuna:OptunaSearch",
    "prior": "PriorSearch",
    "quasi_random": "QuasiRandomSearch",
    "random": "BasicVariantGenerator",
    "sobol": "SobolSearch",
    "tpe": "TPESearch",
    "variant_generator": "BasicVariantGenerator",
}
# The adapters, each in the module of its library's name: loading one asks for the library.
_ADAPTERS = {kind: module for module, _, kind in (name.partition(":") for name in _NAMES.values()) if kind}
# Names that Ray Tune knows, whose libraries have no adapter here, and what does the same work.
_INSTEAD = {
    "blendsearch": "'evolution', 'cmaes' or 'nevergrad'",
    "cfo": "'evolution', 'cmaes' or 'nevergrad'",
    "dragonfly": "'gp' or 'optuna'",
    "hebo": "'gp' or 'ax'",
    "sigopt": "'tpe' or 'gp'",
    "skopt": "'gp' or 'optuna'",
    "zoopt": "'evolution', 'cmaes' or 'nevergrad'",
}

__all__ = [
    "AutoSearch",
    "BasicVariantGenerator",
    "CMAESearch",
    "ConcurrencyLimiter",
    "EvolutionSearch",
    "GPSearch",
    "HaltonSearch",
    "MOTPESearch",
    "NSGA2Search",
    "PriorSearch",
    "QuasiRandomSearch",
    "RandomSearch",
    "Repeater",
    "SearchAlgorithm",
    "SearchGenerator",
    "SearchSpace",
    "Searcher",
    "SobolSearch",
    "Suggestion",
    "TPESearch",
    "TuneBOHB",
    "UniqueSearch",
    "create_searcher",
    "searcher_names",
    "seeded_searcher",
]


def create_searcher(search_alg: str, **kwargs: Any) -> Any:
    """A searcher by its name, in any case of letters. Arguments that it does not know are a TypeError.

    Packages offer more names through the entry point group ``fasttune.search``.
    """
    if not isinstance(search_alg, str):
        raise TypeError(f"create_searcher takes a name, got {type(search_alg).__name__}: {search_alg!r:.80}")
    wanted = search_alg.lower()
    made = _class_of(_NAMES[wanted]) if wanted in _NAMES else _from_entry_point(search_alg)
    if made is not None:
        return made(**kwargs)
    known = ", ".join(searcher_names())
    if wanted in _INSTEAD:
        raise ValueError(
            f"there is no adapter to the search library {search_alg!r} here (docs/search.md says why). "
            f"What to take instead: {_INSTEAD[wanted]}. Names that work: {known}; or pass a subclass of Searcher."
        )
    raise ValueError(f"search_alg must be one of {known}, got {search_alg!r}")


def searcher_names() -> list[str]:
    """The names that ``create_searcher`` knows, those of other packages included."""
    from importlib.metadata import entry_points

    return sorted({*_NAMES, *(entry.name for entry in entry_points(group="fasttune.search"))})


def seeded_searcher(search_alg: str, seed: int) -> Any:
    """``create_searcher`` with a run's seed, for those that have one."""
    import inspect

    wanted = search_alg.lower() if isinstance(search_alg, str) else ""
    made = _class_of(_NAMES[wanted]) if wanted in _NAMES else None
    known = inspect.signature(made).parameters if made is not None else ()
    name = next((one for one in ("seed", "random_state", "random_state_seed") if one in known), None)
    return create_searcher(search_alg, **({} if name is None else {name: seed}))


def _class_of(name: str) -> Any:
    module, colon, kind = name.partition(":")
    if not colon:
        return globals()[name] if name in globals() else __getattr__(name)
    import importlib

    return getattr(importlib.import_module(f".{module}", __name__), kind)


def _from_entry_point(name: str) -> Any:
    from importlib.metadata import entry_points

    for entry in entry_points(group="fasttune.search", name=name):
        return entry.load()
    return None


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        hint = f": from {__name__}.{_ADAPTERS[name]} import {name}" if name in _ADAPTERS else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
    import importlib

    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
