"""Trials get what others have left: resources that change while a trial runs.

Another scheduler decides who goes on; a function says, after each report, what the trial shall have from now on. A trial
whose share changes is paused and goes on from its checkpoint with the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fasttune.argument import checked_count, checked_number, shown
from fasttune.devices.machine import detect
from fasttune.devices.resources import PlacementGroupFactory, resolve_resources
from fasttune.once import warn_in_run
from fasttune.result import is_real
from fasttune.schedulers.base import Change, FIFOScheduler, Order, Save, TrialScheduler, tell_goal
from fasttune.schedulers.view import ExperimentView
from fasttune.trial import Trial

if TYPE_CHECKING:
    from fasttune.config import Mode

EPSILON = 1e-9

Allocation = Callable[
    [Any, Trial, dict[str, Any], "ResourceChangingScheduler"], PlacementGroupFactory | Mapping[str, float] | None
]


def _amounts(name: str, given: Mapping[str, float]) -> dict[str, float]:
    """Amounts above 0 by their names."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{name} must be a dict of amounts such as {{'CPU': 1}}, got {shown(given)}")
    checked = {key: checked_number(f"{name}[{key!r}]", amount, least=0, finite=True) for key, amount in given.items()}
    return {key: amount for key, amount in checked.items() if amount > 0}


class DistributeResources:
    """Shares the machine's CPUs and GPUs evenly among the trials that are not over.

    Every trial has its base request and as many increments more as an even share holds; what is left over goes to the
    first ones. Of 8 CPUs four trials of one CPU get 2 each; when one has ended, 3, 3 and 2, then 4, and the last one 8.
    While more trials wait than the machine holds, each that runs has its base request.

    Args:
        add_bundles: increments are bundles of their own (for trials that start processes) instead of making the one
            bundle larger. A base request of several bundles needs it.
        increase_by: one increment, such as ``{"CPU": 2}``; default 1 GPU if the base request has GPUs (and its CPUs per
            GPU), else 1 CPU.
        increase_by_times: the most increments that a trial gets; -1: no limit.
        reserve_resources: what is left alone, such as ``{"CPU": 1}``.
    """

    def __init__(
        self,
        add_bundles: bool = False,
        increase_by: Mapping[str, float] | None = None,
        increase_by_times: int = -1,
        reserve_resources: Mapping[str, float] | None = None,
    ) -> None:
        self.add_bundles = add_bundles
        self.increase_by = None if increase_by is None else _amounts("increase_by", increase_by)
        if self.increase_by == {}:
            raise ValueError(f"increase_by must name an amount above 0, such as {{'CPU': 1}}, got {shown(increase_by)}")
        self.increase_by_times = checked_count(
            "increase_by_times", increase_by_times, least=-1, rule="an integer >= 0, or -1 for no limit"
        )
        self.reserve_resources = _amounts("reserve_resources", {} if reserve_resources is None else reserve_resources)

    def __call__(
        self, state: ExperimentView, trial: Trial, result: dict[str, Any], scheduler: ResourceChangingScheduler
    ) -> PlacementGroupFactory | None:
        """What the trial shall have; None: what it has."""
        base = scheduler.base_trial_resources
        if base is None:
            return None
        if trial.is_finished():
            return None
        increment = self._increment(base)
        total = self._total(state)
        first = first_alive(state, max(1, _times(total, base.required_resources)))
        sharing = max(1, len(first))
        free = {key: total.get(key, 0.0) - sharing * base.required_resources.get(key, 0.0) for key in increment}
        times, left_over = divmod(_times(free, increment), sharing)
        return self._request(base, increment, times + (trial.index in first[:left_over]))

    def _increment(self, base: PlacementGroupFactory) -> dict[str, float]:
        if self.increase_by is not None:
            return self.increase_by
        amounts = base.required_resources
        gpus = amounts.get("GPU", 0.0)
        if gpus <= 0:
            return {"CPU": 1.0}
        cpus = amounts.get("CPU", 0.0) / gpus
        return {"GPU": 1.0, "CPU": cpus} if cpus > 0 else {"GPU": 1.0}

    def _total(self, state: ExperimentView) -> dict[str, float]:
        """What there is to be given out, by the names that requests use."""
        machine = state.machine or _detected()
        total = {_NAMES.get(name, name): float(amount) for name, amount in machine.items()}
        return {name: amount - self.reserve_resources.get(name, 0.0) for name, amount in total.items()}

    def _request(
        self, base: PlacementGroupFactory, increment: Mapping[str, float], times: int
    ) -> PlacementGroupFactory:
        if self.increase_by_times >= 0:
            times = min(times, self.increase_by_times)
        if times <= 0:
            return base
        if self.add_bundles:
            return PlacementGroupFactory([*base.bundles, *[dict(increment)] * times], base.strategy)
        if len(base.bundles) > 1:
            raise ValueError(
                f"trials ask for {len(base.bundles)} bundles, of which none can be said to be the one that grows: "
                "use DistributeResources(add_bundles=True)"
            )
        grown = dict(base.bundles[0])
        for key, amount in increment.items():
            grown[key] = grown.get(key, 0.0) + times * amount
        return PlacementGroupFactory([grown], base.strategy)


class DistributeResourcesToTopJob(DistributeResources):
    """Gives all that is free to the best trial; every other one has its base request.

    Args:
        metric, mode: which trial is best, by its last result; default those of the scheduler. The other arguments are
            those of DistributeResources.
    """

    def __init__(
        self,
        add_bundles: bool = False,
        increase_by: Mapping[str, float] | None = None,
        increase_by_times: int = -1,
        reserve_resources: Mapping[str, float] | None = None,
        metric: str | None = None,
        mode: Mode | None = None,
    ) -> None:
        super().__init__(add_bundles, increase_by, increase_by_times, reserve_resources)
        if mode not in (None, "min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        self.metric = metric
        self.mode = mode

    def __call__(
        self, state: ExperimentView, trial: Trial, result: dict[str, Any], scheduler: ResourceChangingScheduler
    ) -> PlacementGroupFactory | None:
        base = scheduler.base_trial_resources
        if base is None:
            return None
        metric, mode = self.metric or scheduler.metric, self.mode or scheduler.mode
        if metric is None or mode is None:
            raise ValueError(
                "DistributeResourcesToTopJob needs a metric and a mode: give them to it, or to the run, "
                "e.g. tune.run(..., metric='loss', mode='min')"
            )
        others = (*state.trials_of("RUNNING"), *state.trials_of("PAUSED"), *scheduler.changed_trials())
        if not self._is_best(others, trial, result.get(metric), metric, 1.0 if mode == "max" else -1.0):
            return base
        increment = self._increment(base)
        total = self._total(state)
        changed = [one for one in scheduler.changed_trials() if one.status != "RUNNING"]  # what was promised is given
        for other in (*state.trials_of("RUNNING"), *changed):
            if other.index != trial.index:
                for key, amount in scheduler.resources_of(other).required_resources.items():
                    total[key] = total.get(key, 0.0) - amount
        free = {key: total.get(key, 0.0) - base.required_resources.get(key, 0.0) for key in increment}
        return self._request(base, increment, _times(free, increment))

    @staticmethod
    def _is_best(others: Sequence[Trial], trial: Trial, value: Any, metric: str, sign: float) -> bool:
        """Whether none of the others has a better last value; of equals the first is the best."""
        if not _is_known(value):
            return False
        for other in others:
            theirs: Any = other.last_result.get(metric)
            if other.trial_id == trial.trial_id or not _is_known(theirs):
                continue
            if sign * theirs > sign * value or (theirs == value and other.trial_id < trial.trial_id):
                return False
        return True


def evenly_distribute_cpus_gpus(
    state: ExperimentView, trial: Trial, result: dict[str, Any], scheduler: ResourceChangingScheduler
) -> PlacementGroupFactory | None:
    """``DistributeResources()`` under the older name of this rule."""
    return DistributeResources()(state, trial, result, scheduler)


class ResourceChangingScheduler(TrialScheduler):
    """Changes what trials have while they run; which of them go on is for ``base_scheduler`` to decide.

    After every report that the base scheduler answers CONTINUE, ``resources_allocation_function(state, trial, result,
    scheduler)`` says what the trial shall have from now on: a PlacementGroupFactory or a dict like ``{"cpu": 2}``; None:
    as it is. If that is something else, the trial pauses and goes on with it, from a checkpoint of this very report: a
    class Trainable is saved for that; a function changes at a report that came with a checkpoint, and keeps what it has
    until then (said once, as a warning), because it would lose its progress otherwise. All trials have to ask for
    the same at first.

    Args:
        base_scheduler: FIFO if None.
        resources_allocation_function: DistributeResources() by default; None: nothing is changed.

    Raises:
        ValueError: ``reuse_actors=True``: an actor keeps the resources that it was made with.
        RuntimeError: trials that ask for different resources.
    """

    pauses = True

    def __init__(
        self,
        base_scheduler: TrialScheduler | None = None,
        resources_allocation_function: Allocation | None = DistributeResources(add_bundles=False),  # noqa: B008 - has no state
    ) -> None:
        if base_scheduler is not None and not isinstance(base_scheduler, TrialScheduler):
            raise TypeError(f"base_scheduler must be a TrialScheduler, got {type(base_scheduler).__name__}")
        if resources_allocation_function is not None and not callable(resources_allocation_function):
            raise TypeError(
                "resources_allocation_function must be callable(state, trial, result, scheduler), got "
                f"{resources_allocation_function!r:.80}"
            )
        self._base = base_scheduler if base_scheduler is not None else FIFOScheduler()
        self.takes_searcher = self._base.takes_searcher
        self.holds_back = self._base.holds_back
        self._allocate = resources_allocation_function
        self._base_resources: PlacementGroupFactory | None = None
        self._resources: dict[str, PlacementGroupFactory] = {}  # trial id -> what it has, where that was changed
        self._changed: dict[str, Trial] = {}  # those of them that are not over
        self._pending: list[Order] = []
        self._warned = False

    @property
    def metric(self) -> str | None:
        return self._base.metric

    @property
    def mode(self) -> str | None:
        return self._base.mode

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return tell_goal(self._base, metric, mode, spec)

    def check_metric(self) -> None:
        self._base.check_metric()

    def reads(self) -> Mapping[str, str]:
        own = getattr(self._allocate, "metric", None)
        return {**self._base.reads(), **({own: "metric"} if isinstance(own, str) else {})}

    @property
    def base_trial_resources(self) -> PlacementGroupFactory | None:
        """What every trial asks for at first; None before there is one."""
        return self._base_resources

    def resources_of(self, trial: Trial) -> PlacementGroupFactory:
        """What the trial has, or will have when it goes on."""
        assert self._base_resources is not None
        return self._resources.get(trial.trial_id, self._base_resources)

    def was_changed(self, trial: Trial) -> bool:
        """Whether the trial has, or will have when it goes on, something else than it asked for at first."""
        return trial.trial_id in self._resources

    def changed_trials(self) -> list[Trial]:
        """Those trials, as far as they are not over."""
        return list(self._changed.values())

    # -- hooks --------------------------------------------------------------------------------------------------------

    def on_trial_add(self, state: ExperimentView, trial: Trial) -> None:
        if state.reuses_processes:
            raise ValueError(
                "ResourceChangingScheduler cannot be used with reuse_actors=True: an actor keeps the resources that it "
                "was made with"
            )
        if trial.trial_id not in self._resources:
            self._check_equal(trial)
        else:  # it is tried again with what it was given
            self._changed[trial.trial_id] = trial
        self._base.on_trial_add(state, trial)
        self._pending += self._base.orders()

    def _check_equal(self, trial: Trial) -> None:
        own = resolve_resources(trial.placement_group_factory)
        if self._base_resources is None:
            self._base_resources = own
        elif own != self._base_resources:
            raise RuntimeError(
                f"ResourceChangingScheduler needs trials that ask for the same resources: {trial.trial_id} asks for "
                f"{own}, those before it for {self._base_resources}"
            )

    def on_trial_result(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> str:
        decision = self.CONTINUE
        if result.get("training_iteration", 0) >= self._base.ask_from(trial) or result.get("done"):
            decision = self._base.on_trial_result(state, trial, result)
        ordered = list(self._base.orders())
        self._pending += ordered
        taken = any(order.trial.trial_id == trial.trial_id for order in ordered if not isinstance(order, Save))
        if decision not in (self.CONTINUE, self.NOOP) or taken or self._allocate is None or result.get("done"):
            return decision
        wanted = self._allocate(state, trial, result, self)
        if wanted is None or wanted == self.resources_of(trial) or resolve_resources(wanted) == self.resources_of(trial):
            return decision
        return self._change(state, trial, resolve_resources(wanted)) or decision

    def _change(self, state: ExperimentView, trial: Trial, wanted: PlacementGroupFactory) -> str | None:
        """Order the change, if the trial can go on from where it is; PAUSE when it was ordered."""
        if not state.can_begin_again(trial):
            self._warn(trial, wanted)
            return None
        self._pending.append(Change(trial, resources=wanted))
        self._resources[trial.trial_id] = wanted
        self._changed[trial.trial_id] = trial
        return self.PAUSE

    def _warn(self, trial: Trial, wanted: PlacementGroupFactory) -> None:
        if not self._warned:
            self._warned = True
            warn_in_run(
                f"trial {trial.trial_id} could have {dict(wanted.required_resources)}, but it would have to begin again "
                "for that and its last report came without a checkpoint: it keeps what it has. Report one, "
                "tune.report(metrics, checkpoint=...), where resources may change",
                RuntimeWarning,
                stacklevel=2,
            )

    def complete_space(self, space: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._base.complete_space(space)

    def tells_searcher(self, trial: Trial) -> Mapping[str, Any]:
        return self._base.tells_searcher(trial)

    def files(self, state: ExperimentView) -> Mapping[str, str]:
        return self._base.files(state)

    def ask_from(self, trial: Trial) -> int:
        return self._base.ask_from(trial) if self._allocate is None else 0

    def orders(self) -> Sequence[Order]:
        given = [*self._pending, *self._base.orders()]
        self._pending = []
        return given

    def on_trial_complete(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> None:
        self._changed.pop(trial.trial_id, None)
        self._base.on_trial_complete(state, trial, result)

    def on_trial_remove(self, state: ExperimentView, trial: Trial) -> None:
        self._changed.pop(trial.trial_id, None)
        self._base.on_trial_remove(state, trial)

    def on_trial_error(self, state: ExperimentView, trial: Trial) -> None:
        self._changed.pop(trial.trial_id, None)
        self._base.on_trial_error(state, trial)

    def choose_trial_to_run(self, state: ExperimentView) -> Trial | None:
        return self._base.choose_trial_to_run(state)

    def debug_string(self) -> str:
        return f"(ResourceChangingScheduler) {self._base.debug_string()}"

    def save(self, checkpoint_path: str) -> None:
        self._base.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        self._base.restore(checkpoint_path)


_NAMES = {"cpu": "CPU", "gpu": "GPU"}
_ALIVE = ("PENDING", "RUNNING", "PAUSED")


def first_alive(state: ExperimentView, most: int) -> list[int]:
    """Numbers of the first trials that are not over."""
    found = [trial.index for status in _ALIVE for trial in state.trials_of(status, most)]
    return sorted(found)[:most]


def _detected() -> dict[str, float]:
    machine = detect()
    return {"cpu": float(len(machine.cpus)), "gpu": float(len(machine.gpus)), **machine.custom}


def _times(amounts: Mapping[str, float], part: Mapping[str, float]) -> int:
    """How many times ``part`` fits into ``amounts``."""
    fits = [int(amounts.get(key, 0.0) / amount + EPSILON) for key, amount in part.items() if amount > 0]
    return max(0, min(fits, default=0))


def _is_known(value: Any) -> bool:
    """Whether a metric has a value that can be compared."""
    return is_real(value) and value == value
