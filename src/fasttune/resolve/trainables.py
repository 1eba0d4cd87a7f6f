"""Experiments, their trainables, and what these ask of the machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from fasttune.argument import check_called
from fasttune.config import Experiment, TrainableSpec
from fasttune.error import TuneError
from fasttune.resolve.words import log, name_of

if TYPE_CHECKING:
    from fasttune.devices.machine import Machine
    from fasttune.devices.resources import PlacementGroupFactory

LEAST_AT_ONCE = 16  # trials that ask for nothing


def as_experiments(given: object, arguments: Mapping[str, Any]) -> list[Experiment]:
    """What ``run`` was given as Experiments; ``arguments`` are those of ``run`` that are about one."""
    several: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given]
    if not several:
        raise ValueError("run() was given an empty list: there is nothing to run")
    if all(isinstance(one, Experiment) for one in several):
        check_said_once(arguments)
    return [one if isinstance(one, Experiment) else Experiment(None, one, **arguments) for one in several]


def check_said_once(arguments: Mapping[str, Any]) -> None:
    """Refuses arguments of ``run`` that an Experiment says itself: they would have no effect."""
    for name, value in arguments.items():
        if value and not (name == "num_samples" and value == 1):
            raise ValueError(
                f"{name}={value!r:.80} has no effect beside an Experiment: say it in Experiment(...)"
            )


def named_experiments(given: object) -> list[Experiment]:
    """What was given to ``run_experiments`` as a list of Experiments."""
    if isinstance(given, Experiment):
        return [given]
    if isinstance(given, Mapping):
        return [
            one if isinstance(one, Experiment) else Experiment.from_json(key, one)
            for key, one in given.items()
        ]
    if isinstance(given, (list, tuple)):
        return [experiment for one in given for experiment in named_experiments(one)]
    raise TuneError(
        f"run_experiments takes an Experiment, a dict {{name: spec}} or a list of those, got "
        f"{type(given).__name__}"
    )


def chosen_executor(executor: str | None, experiments: Iterable[Experiment]) -> str:
    """The name of the executor. Where nobody has named one, async functions are tasks of this process, vectorized ones are called
    in it, and all else runs in workers. Refuses trainables that the executor cannot run."""
    from fasttune.executors import DEFAULT, OF_COLUMNS, OF_COROUTINES, VECTOR_EXECUTORS, check_executor
    from fasttune.registry import get_trainable
    from fasttune.trainable import is_async, is_vectorized

    found = [get_trainable(one.run) if isinstance(one.run, str) else one.run for one in experiments]
    kinds = {OF_COROUTINES: is_async, OF_COLUMNS: is_vectorized}
    fits = [name for name, holds in kinds.items() if found and all(holds(one) for one in found)]
    name = check_executor(executor, fits[0] if fits else DEFAULT)
    check_columns(found, name, OF_COLUMNS, VECTOR_EXECUTORS)
    if name == OF_COROUTINES:
        from fasttune.executors.coroutine import check_async

        for one in found:
            if callable(one):  # what is none is said elsewhere
                check_async(one, name_of(one))
    return name


def many_fit(executor: str, trainables: Iterable[TrainableSpec]) -> bool:
    """So many trials run at once, where nobody says a number, that this is none of the machine's."""
    from fasttune.executors import OF_COROUTINES
    from fasttune.trainable import is_vectorized, vector_of

    if executor == OF_COROUTINES:
        return True
    return all(is_vectorized(one.trainable) and not vector_of(one.trainable).size_is_given for one in trainables)


def check_columns(trainables: Iterable[Any], executor: str, of_columns: str, these: Iterable[str]) -> None:
    """ValueError for a trainable that evaluates many trials in one call, elsewhere than where that is done (``these``); for another
    one where only that is done; and for both in one run."""
    from fasttune.trainable import is_vectorized

    together = {is_vectorized(one): name_of(one) for one in trainables if callable(one)}
    if executor == of_columns and False in together:
        raise ValueError(
            f"executor={executor!r} evaluates many trials in one call, and {together[False]} evaluates one: make it a function "
            "of columns of configs by @tune.vectorized, or leave executor= out"
        )
    if True in together and executor not in these:
        raise ValueError(
            f"{together[True]} evaluates many trials in one call, which executor={' or '.join(map(repr, these))} does "
            f"({of_columns!r} is its default), got executor={executor!r}"
        )
    if len(together) > 1:
        raise ValueError(f"{together[True]} evaluates many trials in one call, and {together[False]} one: run them in two runs")


def resolve_trainable(experiment: Experiment, executor: str | None = None) -> TrainableSpec:
    """The experiment's trainable, found if it is a name, and checked, with what one trial of it needs."""
    from fasttune.executors import OF_COROUTINES
    from fasttune.registry import get_trainable
    from fasttune.trainable import check_trainable

    trainable, name = experiment.run, None
    if isinstance(trainable, str):
        name, trainable = trainable, get_trainable(trainable)
    check_trainable(trainable)
    experiment.check_checkpointing(trainable)
    return TrainableSpec(
        name=name or name_of(trainable),
        trainable=trainable,
        resources=resolve_request(trainable, experiment.resources_per_trial, executor == OF_COROUTINES),
        space=experiment.config,
        num_samples=experiment.num_samples,
        experiment=experiment.name or "",
    )


def with_space(experiment: Experiment, space: Mapping[str, Any]) -> Experiment:
    """The same experiment over the space that its scheduler has completed: what a searcher is told."""
    made = copy(experiment)
    made.config = dict(space)
    return made


def resolve_request(
    trainable: object, per_trial: object, waits: bool = False
) -> PlacementGroupFactory | Callable[[dict[str, Any]], PlacementGroupFactory]:
    """What one trial needs, said in one place: resources_per_trial, with_resources or the class itself. Where nobody says it,
    a CPU; nothing where trials are tasks (``waits``)."""
    from fasttune.devices.resources import PlacementGroupFactory, resolve_resources
    from fasttune.trainable import attached_resources

    attached = attached_resources(trainable)
    own = class_request(trainable)
    if per_trial is not None and attached is not None:
        raise TuneError(
            "resources_per_trial and with_resources(...) both say what a trial of "
            f"{name_of(trainable)} needs: say it once"
        )
    if per_trial is not None and own is not None:
        raise TuneError(
            f"{name_of(trainable)}.default_resource_request says what a trial needs, so resources_per_trial "
            "must not: change the method, or leave it out"
        )
    asked: Any = next((one for one in (per_trial, attached, own) if one is not None), None)
    if asked is None and waits:
        return PlacementGroupFactory([{}])
    if isinstance(asked, PlacementGroupFactory) or not callable(asked):
        return resolve_resources(asked)
    check_called("resources_per_trial", asked)
    return lambda config: resolve_resources(asked, config)


def class_request(trainable: object) -> Callable[[dict[str, Any]], Any] | None:
    """A class trainable's own default_resource_request, if it has written one."""
    from fasttune.trainable import Trainable

    if not isinstance(trainable, type) or not issubclass(trainable, Trainable):
        return None
    own = trainable.default_resource_request
    if getattr(own, "__func__", own) is getattr(
        Trainable.default_resource_request, "__func__", Trainable.default_resource_request
    ):
        return None
    # A class that answers None for the empty config leaves the choice to resources_per_trial.
    try:
        return None if own({}) is None else own
    except (KeyError, AttributeError, TypeError):  # it needs a real config to answer, so it does answer
        return own


def check_supply(
    trainables: Iterable[TrainableSpec], gpus: list[int | str] | None, resources: Mapping[str, float], verbose: int, executor: str
) -> Machine:
    """The machine with what the run may use of it. Refuses a trial that it can never hold, and says so when GPUs would lie
    idle. Where others give machines out, the largest one."""
    from fasttune.devices.machine import detect
    from fasttune.devices.resources import PlacementGroupFactory, check_possible, with_declared

    trainables = list(trainables)
    elsewhere = machine_elsewhere(executor, gpus, resources)
    machine = elsewhere or with_declared(detect(gpus=gpus), resources)
    unused = bool(machine.gpus) and elsewhere is None
    for one in trainables:
        if not isinstance(one.resources, PlacementGroupFactory):
            unused = False  # known when there is a config
            continue
        check_possible(machine, one.resources)
        asked = one.resources.required_resources
        unused = unused and not (asked.get("GPU", 0) or asked.get("gpu_memory", 0))
    if unused and verbose > 0:
        log(
            "This machine has %d GPUs and no trial asks for one: resources_per_trial={'gpu': 1}",
            len(machine.gpus),
        )
    return machine


def check_memory(executor: str, trainables: Iterable[TrainableSpec], verbose: int) -> None:
    """Refuses a request for less memory than a worker has by itself, and says so where nothing can end a trial that has more."""
    from fasttune.devices.free_memory import check_worker_memory
    from fasttune.devices.resources import PlacementGroupFactory
    from fasttune.executors import executor_class

    requests = [one.resources for one in trainables if isinstance(one.resources, PlacementGroupFactory)]
    asked = [size for one in requests if (size := one.required_resources.get("memory"))]
    if executor_class(executor).holds_memory:
        check_worker_memory(asked)
    elif asked and verbose > 0:
        where = "on a cluster" if executor_class(executor).elsewhere else "in this process"
        log(
            "Trials ask for memory and run %s (executor=%r): it is counted, but a trial that has more is not ended, as it is in "
            "worker processes here",
            where,
            executor,
        )


def machine_elsewhere(executor: str, gpus: list[int | str] | None, resources: Mapping[str, float]) -> Machine | None:
    """The largest machine that trials may run on, if they do not run on this one. ValueError for what chooses of, or adds to,
    this one."""
    from fasttune.executors import OF_CLUSTERS, executor_class

    if executor not in OF_CLUSTERS:
        return None
    for name, value in (("gpus", gpus), ("resources", resources)):
        if value:
            raise ValueError(
                f"{name}={value!r} is about this machine, and executor={executor!r} runs trials on those of a cluster: say it where "
                "nodes are started (ray start --resources, CUDA_VISIBLE_DEVICES)"
            )
    return executor_class(executor).machine()


def bound_of_the_free(executor: str, trainables: Iterable[TrainableSpec], machine: Machine, verbose: int) -> int | None:
    """How many trials run at once at most, where they ask for nothing that is given out and nobody says a number; None: what they
    ask for is bound enough. As in Ray Tune, the larger one of 16 and 1.1 for each CPU."""
    from fasttune.devices.resources import PlacementGroupFactory
    from fasttune.executors import executor_class

    if executor_class(executor).here:  # one at a time, or as many as its own rule says
        return None
    asked = [one.resources for one in trainables]
    if any(not isinstance(one, PlacementGroupFactory) or any(one.required_resources.values()) for one in asked):
        return None
    most = max(LEAST_AT_ONCE, math.ceil(1.1 * len(machine.cpus)))
    if verbose > 0:
        log("Trials ask for no CPU and nothing else: %d run at once. More: max_concurrent_trials=...", most)
    return most


def unresolved(config: Mapping[str, Any]) -> list[str]:
    """The names "a/b" of everything in a config that is still to be sampled."""
    from fasttune.space.domains import domains_of
    from fasttune.space.nested import path_name

    return [path_name(path) for path, _ in domains_of(config)]
