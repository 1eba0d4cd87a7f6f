"""What ``early_stopping`` and ``search_optimization`` stand for: a scheduler, and a searcher."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from fasttune import schedulers
from fasttune.callback import Callback
from fasttune.error import TuneError
from fasttune.schedulers import TrialScheduler, scheduler_class
from fasttune.search import SearchAlgorithm, Searcher, TuneBOHB, create_searcher, seeded_searcher

BY_DEFAULT = "ASHAScheduler"
ALSO_CALLED = {"bayesian": "gp"}  # by tune-sklearn


def scheduler_of(early_stopping: Any, *, reports: int, candidates: int, search: Any) -> TrialScheduler | None:
    """The scheduler, a new one for each fit; None: no candidate is stopped.

    Args:
        early_stopping: True, the name of a scheduler, or one. False and None: none.
        reports: how many reports a candidate makes at most; schedulers that are made here count in them.
        candidates: how many there will be; -1: any number.
        search: the searcher that was asked for: BOHB has a scheduler of its own.
    """
    if early_stopping is None or early_stopping is False:
        return None
    if isinstance(early_stopping, TrialScheduler):
        return copy.deepcopy(early_stopping)  # fit changes no parameter, and each one begins anew
    if early_stopping is True:
        early_stopping = "HyperBandForBOHB" if isinstance(search, TuneBOHB) else BY_DEFAULT
    if not isinstance(early_stopping, str):
        raise TypeError(
            f"early_stopping must be True, False, the name of a scheduler or a TrialScheduler, got {early_stopping!r:.80}"
        )
    by_class = {name.lower(): name for name in schedulers.__all__ if inspect.isclass(getattr(schedulers, name))}
    kind = by_class.get(early_stopping.lower())
    made = getattr(schedulers, kind) if kind is not None else scheduler_class(early_stopping)
    fitting: dict[str, Any] = {"time_attr": "training_iteration", "grace_period": 1, "max_t": max(2, reports)}
    if candidates > 0:
        fitting["n"] = candidates
    known = inspect.signature(made).parameters
    return _made(made, {name: value for name, value in fitting.items() if name in known}, early_stopping)


def _made(kind: Any, arguments: dict[str, Any], name: str) -> TrialScheduler:
    try:
        made: TrialScheduler = kind(**arguments)
    except (TypeError, ValueError, TuneError) as error:
        raise ValueError(f"early_stopping={name!r}: give the scheduler itself, {kind.__name__}(...): {error}") from error
    return made


def searcher_of(search_optimization: Any, arguments: Mapping[str, Any] | None, seed: int) -> Searcher | SearchAlgorithm | str:
    """The searcher, a new one for each fit, or "auto", which the run decides.

    Args:
        search_optimization: the name of a searcher, or one.
        arguments: what the searcher of that name is made with.
        seed: of a searcher that is made here.
    """
    if not isinstance(search_optimization, str):
        if arguments:
            raise ValueError("search_kwargs are for a searcher's name, and search_optimization is one already: give them to it")
        if not isinstance(search_optimization, (Searcher, SearchAlgorithm)):
            raise TypeError(f"search_optimization must be a Searcher or its name, got {search_optimization!r:.80}")
        return copy.deepcopy(search_optimization)
    name = ALSO_CALLED.get(search_optimization.lower(), search_optimization)
    if arguments and name.lower() == "auto":
        raise ValueError("search_kwargs need the name of a searcher: search_optimization='auto' may be any")
    if name.lower() == "auto":
        return name
    made: Searcher | SearchAlgorithm = create_searcher(name, **arguments) if arguments else seeded_searcher(name, seed)
    return made


def callbacks_of(loggers: Sequence[Any] | None) -> list[Callback]:
    """Callbacks, and loggers by the names that tune-sklearn knew them by: "json" and "csv"."""
    from fasttune import logger

    by_name = {"json": "JsonLoggerCallback", "csv": "CSVLoggerCallback", "tensorboard": "TBXLoggerCallback"}
    by_name |= {"mlflow": "MLflowLoggerCallback", "wandb": "WandbLoggerCallback"}
    there = {name: kind for name, kind in by_name.items() if kind in logger.__all__}
    made = []
    for one in loggers or ():
        if isinstance(one, str) and one.lower() in there:
            one = getattr(logger, there[one.lower()])()
        elif not isinstance(one, Callback):
            raise ValueError(f"loggers must be Callbacks or names ({', '.join(there)}), got {one!r:.80}")
        made.append(one)
    return made
