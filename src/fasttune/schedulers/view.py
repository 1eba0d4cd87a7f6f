"""What a scheduler sees of the experiment: everything to look at, nothing to act with.

What it wants done a scheduler returns, or leaves in ``orders()``: it stands in the journal then, and a run that goes on knows of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fasttune.trial import Trial


class Viewed(Protocol):
    """Who is looked at: the experiment's state."""

    metric: str | None
    mode: str | None
    machine: dict[str, float]

    @property
    def trials(self) -> Sequence[Trial]: ...
    @property
    def total(self) -> int | None: ...
    @property
    def reuses_processes(self) -> bool: ...
    @property
    def _resource_updater(self) -> Any: ...
    def get_trial(self, trial_id: str) -> Trial: ...
    def get_live_trials(self) -> list[Trial]: ...
    def trials_of(self, status: str, most: int = -1) -> list[Trial]: ...
    def lineage(self) -> list[Any]: ...
    def can_begin_again(self, trial: Trial) -> bool: ...


class ExperimentView:
    """The first argument of a scheduler's methods, and of allocation functions. It is read-only, and follows the experiment.

    Attributes:
        trials: all of them, by number.
        total: how many trials there will be; None when that is open.
        metric, mode: the run's; None where it has none.
        machine: what the run has to give out, {"cpu": 8.0, "gpu": 1.0, ...}.
        reuses_processes: trials of a class follow one another in a process, without a setup between them (``reuse_actors``).
    """

    __slots__ = ("__weakref__", "_experiment")

    def __init__(self, experiment: Viewed) -> None:
        self._experiment = experiment

    @property
    def trials(self) -> Sequence[Trial]:
        return self._experiment.trials

    @property
    def total(self) -> int | None:
        return self._experiment.total

    @property
    def metric(self) -> str | None:
        return self._experiment.metric

    @property
    def mode(self) -> str | None:
        return self._experiment.mode

    @property
    def machine(self) -> Mapping[str, float]:
        return MappingProxyType(self._experiment.machine)

    @property
    def reuses_processes(self) -> bool:
        return self._experiment.reuses_processes

    def get_trial(self, trial_id: str) -> Trial:
        """The trial of an id; KeyError."""
        return self._experiment.get_trial(trial_id)

    def get_trials(self) -> Sequence[Trial]:
        """All trials: Ray Tune's name of ``trials``."""
        return self._experiment.trials

    def get_live_trials(self) -> list[Trial]:
        """The trials that are not over yet, by number."""
        return self._experiment.get_live_trials()

    def trials_of(self, status: str, most: int = -1) -> list[Trial]:
        """The first ``most`` trials of a status, by number; all with -1. One that was handed to a worker is RUNNING, one that was
        answered PAUSE is PAUSED."""
        return self._experiment.trials_of(status, most)

    def lineage(self) -> list[Any]:
        """Which trials were changed, in order, as values with ``trial`` and ``donor`` (its number, or None): who copied whom, when,
        and what changed."""
        return self._experiment.lineage()

    def can_begin_again(self, trial: Trial) -> bool:
        """Whether a trial that just reported loses nothing if it goes on in another place."""
        return self._experiment.can_begin_again(trial)

    @property
    def trial_executor(self) -> ExperimentView:
        """For allocation functions written for Ray Tune 1.x, which ask it how much there is."""
        return self

    @property
    def _resource_updater(self) -> Any:
        return self._experiment._resource_updater

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        there = ", ".join(one for one in vars(ExperimentView) if not one.startswith("_"))
        raise AttributeError(
            f"the experiment that a scheduler sees has no {name!r}; it has {there}. It is only to be looked at: what is to be done "
            "a scheduler returns, or leaves in orders()"
        )
