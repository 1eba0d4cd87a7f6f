"""Trial schedulers: which trials go on, pause or stop. A name is loaded when it is first used.

To add one, write its file and put its class into ``_HOME``; a class of another package is found by an entry
point of the group ``fasttune.schedulers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asha_promotion import ASHAPromotionScheduler as ASHAPromotionScheduler
    from .async_hyperband import ASHAScheduler as ASHAScheduler
    from .async_hyperband import AsyncHyperBandScheduler as AsyncHyperBandScheduler
    from .base import FIFOScheduler as FIFOScheduler
    from .base import TrialScheduler as TrialScheduler
    from .hb_bohb import HyperBandForBOHB as HyperBandForBOHB
    from .hyperband import HyperBandScheduler as HyperBandScheduler
    from .median_stopping_rule import MedianStoppingRule as MedianStoppingRule
    from .pasha import PASHAScheduler as PASHAScheduler
    from .pb2 import PB2 as PB2
    from .pbt import PopulationBasedTraining as PopulationBasedTraining
    from .pbt_replay import PopulationBasedTrainingReplay as PopulationBasedTrainingReplay
    from .resource_changing import DistributeResources as DistributeResources
    from .resource_changing import DistributeResourcesToTopJob as DistributeResourcesToTopJob
    from .resource_changing import ResourceChangingScheduler as ResourceChangingScheduler
    from .resource_changing import evenly_distribute_cpus_gpus as evenly_distribute_cpus_gpus
    from .successive_halving import SuccessiveHalvingScheduler as SuccessiveHalvingScheduler
    from .view import ExperimentView as ExperimentView

_HOME = {
    "ASHAPromotionScheduler": "asha_promotion",
    "ASHAScheduler": "async_hyperband",
    "AsyncHyperBandScheduler": "async_hyperband",
    "DistributeResources": "resource_changing",
    "DistributeResourcesToTopJob": "resource_changing",
    "ExperimentView": "view",
    "FIFOScheduler": "base",
    "PB2": "pb2",
    "PopulationBasedTraining": "pbt",
    "PopulationBasedTrainingReplay": "pbt_replay",
    "ResourceChangingScheduler": "resource_changing",
    "HyperBandForBOHB": "hb_bohb",
    "HyperBandScheduler": "hyperband",
    "SuccessiveHalvingScheduler": "successive_halving",
    "MedianStoppingRule": "median_stopping_rule",
    "PASHAScheduler": "pasha",
    "TrialScheduler": "base",
    "evenly_distribute_cpus_gpus": "resource_changing",
}
# What ``create_scheduler`` calls them.
_NAMES = {
    "asha": "ASHAScheduler",
    "asha_promotion": "ASHAPromotionScheduler",
    "async_hyperband": "AsyncHyperBandScheduler",
    "asynchyperband": "AsyncHyperBandScheduler",
    "fifo": "FIFOScheduler",
    "hb_bohb": "HyperBandForBOHB",
    "hyperband": "HyperBandScheduler",
    "median_stopping_rule": "MedianStoppingRule",
    "medianstopping": "MedianStoppingRule",
    "pasha": "PASHAScheduler",
    "pb2": "PB2",
    "pbt": "PopulationBasedTraining",
    "pbt_replay": "PopulationBasedTrainingReplay",
    "resource_changing": "ResourceChangingScheduler",
    "successive_halving": "SuccessiveHalvingScheduler",
}

__all__ = [
    "PB2",
    "ASHAPromotionScheduler",
    "ASHAScheduler",
    "AsyncHyperBandScheduler",
    "DistributeResources",
    "DistributeResourcesToTopJob",
    "ExperimentView",
    "FIFOScheduler",
    "HyperBandForBOHB",
    "HyperBandScheduler",
    "MedianStoppingRule",
    "PASHAScheduler",
    "PopulationBasedTraining",
    "PopulationBasedTrainingReplay",
    "ResourceChangingScheduler",
    "SuccessiveHalvingScheduler",
    "TrialScheduler",
    "create_scheduler",
    "evenly_distribute_cpus_gpus",
    "scheduler_class",
    "scheduler_names",
]


def create_scheduler(scheduler: str, **arguments: Any) -> TrialScheduler:
    """The scheduler of that name, in any case of letters. An unknown argument is a TypeError."""
    if not isinstance(scheduler, str):
        raise TypeError(f"create_scheduler takes a name, got {type(scheduler).__name__}: {scheduler!r:.80}")
    made = scheduler_class(scheduler)(**arguments)
    return _checked(made, scheduler)


def scheduler_names() -> list[str]:
    """The names that ``create_scheduler`` knows, those of other packages included."""
    return sorted({name for name, kind in _NAMES.items() if kind in _HOME} | set(_entry_points()))


def scheduler_class(scheduler: str) -> Any:
    """What ``create_scheduler`` calls for that name. ValueError if there is none."""
    wanted = scheduler.lower()
    kind = _NAMES.get(wanted)
    if kind in _HOME:
        return __getattr__(kind)
    outside = _entry_points()
    if wanted in outside:
        return outside[wanted].load()
    if kind is not None:
        raise ValueError(f"the scheduler {wanted!r} ({kind}) is not part of this version; {_known()}")
    raise ValueError(f"there is no scheduler called {wanted!r}; {_known()}")


def _known() -> str:
    return f"the names are {', '.join(scheduler_names())}"


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {found.name.lower(): found for found in entry_points(group="fasttune.schedulers")}


def _checked(made: Any, name: str) -> TrialScheduler:
    from .base import TrialScheduler

    if not isinstance(made, TrialScheduler):
        raise TypeError(f"the scheduler {name!r} is a {type(made).__name__}, not a TrialScheduler")
    return made


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
