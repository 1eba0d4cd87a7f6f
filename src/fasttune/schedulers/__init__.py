"""Trial schedulers: which trials go on, pause or stop. A name is loaded when it is first used.

To add one, write its file and a line of ``_OFFERED``, which type checkers have once more as an import; a class of another package
is found by an entry point of the group ``fasttune.schedulers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asha_promotion import ASHAPromotionScheduler as ASHAPromotionScheduler
    from .async_hyperband import ASHAScheduler as ASHAScheduler
    from .async_hyperband import AsyncHyperBandScheduler as AsyncHyperBandScheduler
    from .auto import AutoScheduler as AutoScheduler
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
    from .wilcoxon_stopping_rule import WilcoxonStoppingRule as WilcoxonStoppingRule

# Whatever is offered here: its module, and what ``create_scheduler`` calls it. All other lists are made of this one.
_OFFERED: dict[str, tuple[str, ...]] = {
    "ASHAScheduler": ("async_hyperband", "asha"),
    "AsyncHyperBandScheduler": ("async_hyperband", "async_hyperband", "asynchyperband"),
    "AutoScheduler": ("auto", "auto"),
    "ASHAPromotionScheduler": ("asha_promotion", "asha_promotion"),
    "PASHAScheduler": ("pasha", "pasha"),
    "HyperBandScheduler": ("hyperband", "hyperband"),
    "HyperBandForBOHB": ("hb_bohb", "hb_bohb"),
    "SuccessiveHalvingScheduler": ("successive_halving", "successive_halving"),
    "MedianStoppingRule": ("median_stopping_rule", "median_stopping_rule", "medianstopping"),
    "WilcoxonStoppingRule": ("wilcoxon_stopping_rule", "wilcoxon_stopping_rule", "wilcoxon"),
    "PopulationBasedTraining": ("pbt", "pbt"),
    "PopulationBasedTrainingReplay": ("pbt_replay", "pbt_replay"),
    "PB2": ("pb2", "pb2"),
    "ResourceChangingScheduler": ("resource_changing", "resource_changing"),
    "DistributeResources": ("resource_changing",),
    "DistributeResourcesToTopJob": ("resource_changing",),
    "evenly_distribute_cpus_gpus": ("resource_changing",),
    "FIFOScheduler": ("base", "fifo"),
    "TrialScheduler": ("base",),
    "ExperimentView": ("view",),
}
_NAMES = {name: kind for kind, (_, *names) in _OFFERED.items() for name in names}

__all__ = [*_OFFERED, "create_scheduler", "scheduler_class", "scheduler_names"]


def create_scheduler(scheduler: str, **arguments: Any) -> TrialScheduler:
    """The scheduler of that name, in any case of letters. An unknown argument is a TypeError."""
    if not isinstance(scheduler, str):
        raise TypeError(f"create_scheduler takes a name, got {type(scheduler).__name__}: {scheduler!r:.80}")
    made = scheduler_class(scheduler)(**arguments)
    return _checked(made, scheduler)


def scheduler_names() -> list[str]:
    """The names that ``create_scheduler`` knows, those of other packages included."""
    return sorted({*_NAMES, *_entry_points()})


def scheduler_class(scheduler: str) -> Any:
    """What ``create_scheduler`` calls for that name. ValueError if there is none."""
    wanted = scheduler.lower()
    if wanted in _NAMES:
        return __getattr__(_NAMES[wanted])
    outside = _entry_points()
    if wanted in outside:
        return outside[wanted].load()
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
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f".{_OFFERED[name][0]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
