"""The scheduler, the metric, stop rules, the seed, and what is shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fasttune.argument import check_called_methods, checked_count, checked_size, other_unit, shown
from fasttune.config import MODES, Experiment, Mode, as_mode, check_max_t, no_mode
from fasttune.constraints import Constraints, as_constraints
from fasttune.identity import arguments_of
from fasttune.resolve.call import DEFAULT_VERBOSE
from fasttune.resolve.words import kind_of, log
from fasttune.result import is_real
from fasttune.stopper import resolve_stop

if TYPE_CHECKING:
    from fasttune.callback import Callback
    from fasttune.devices.machine import Machine
    from fasttune.reporter.base import ProgressReporter
    from fasttune.schedulers.base import TrialScheduler
    from fasttune.stopper import StopRules


def chosen_scheduler(
    scheduler: TrialScheduler | str | None,
    max_t: float | None,
    trainables: Iterable[Any],
    stop: Any,
    says: Callable[[str], object] | None,
) -> TrialScheduler | str | None:
    """What ``scheduler="auto"`` stands for, and ``max_t`` without a scheduler, of which ``says`` is told a line that says why; the
    one that is named, if trials are to end at ``max_t``; anything else as it is."""
    if max_t is not None:
        max_t = check_max_t(max_t, scheduler)
        if isinstance(scheduler, str) and scheduler.lower() != "auto":
            return scheduler_until(scheduler, max_t, stop)
    elif not isinstance(scheduler, str) or scheduler.lower() != "auto":
        return scheduler
    from fasttune.schedulers import ASHAScheduler, AutoScheduler
    from fasttune.trainable import is_vectorized, takes_state

    made: TrialScheduler = AutoScheduler(max_t=max_t)
    check_end(max_t, made, stop)
    why = "trials are paused at rungs, which are trusted as far as their ranks agree with later ones"
    if any(is_vectorized(one) and not takes_state(one) for one in trainables):
        end = resolve_stop(stop).thresholds.get("training_iteration") if max_t is None else max_t
        made = ASHAScheduler(max_t=OPEN_END if end is None else end, reduction_factor=3)
        why = "trials are stopped at rungs; they cannot be paused, as their function takes no state"
    if says is not None:
        what = 'scheduler="auto"' if scheduler is not None else "The scheduler"
        says(f"{what} is {type(made).__name__}: {why}")
    return made


def scheduler_until(name: str, max_t: float, stop: Any) -> TrialScheduler:
    """The scheduler of that name, whose trials end at ``max_t``. ValueError if it has no such argument."""
    from inspect import signature

    from fasttune.schedulers import create_scheduler, scheduler_class

    parameters = signature(scheduler_class(name)).parameters
    if "max_t" not in parameters:
        raise ValueError(
            f"max_t={max_t:g} is the longest that a scheduler trains a trial, and {name!r} ends none by how long it has trained: say "
            f"stop={{'training_iteration': {max_t:g}}} in its place"
        )
    owed = [one.name for one in parameters.values() if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    if owed:
        made_of = ", ".join(f"{one}=..." for one in owed)
        raise ValueError(
            f"scheduler={name!r} cannot be made of max_t={max_t:g} alone: give the scheduler itself, "
            f"{scheduler_class(name).__name__}({made_of}, max_t={max_t:g}), and leave max_t out"
        )
    made = create_scheduler(name, max_t=max_t)
    check_end(max_t, made, stop)
    return made


def check_end(max_t: float | None, scheduler: TrialScheduler, stop: Any) -> None:
    """ValueError where ``stop`` ends trials at another time than ``max_t``."""
    if max_t is None:
        return
    ends = resolve_stop(stop).thresholds
    for key in scheduler.reads():
        end = ends.get(key, max_t)
        if end != max_t:
            raise ValueError(
                f"max_t={max_t:g} and stop={{{key!r}: {end:g}}} both say where trials end: give one of them"
            )


def longest_training(scheduler: TrialScheduler) -> float | None:
    """The ``max_t`` of a scheduler that counts reports; None if it has none, or counts by something else."""
    end = arguments_of(scheduler).get("max_t")
    return float(end) if is_real(end) and "training_iteration" in scheduler.reads() else None


OPEN_END = 3**20  # of trials that end by themselves


def resolve_scheduler(
    scheduler: TrialScheduler | str | None,
    metric: str | None,
    mode: str | None,
    public_spec: Mapping[str, Any],
    objectives: Mapping[str, str] = {},
) -> TrialScheduler:
    """The scheduler, told the run's metric and mode; FIFO if there is none. Of a run with several ``objectives`` it has its own."""
    from fasttune.schedulers import TrialScheduler, create_scheduler
    from fasttune.schedulers.base import tell_goal

    if scheduler is None or isinstance(scheduler, str):
        scheduler = create_scheduler(scheduler or "fifo")
    if not isinstance(scheduler, TrialScheduler):
        raise TypeError(
            f"scheduler must be a TrialScheduler, got {kind_of(scheduler)}: give an object such as "
            "ASHAScheduler()"
        )
    check_called_methods(scheduler, TrialScheduler)
    if not tell_goal(scheduler, metric, mode, public_spec):
        raise ValueError(
            f"metric={metric!r}, mode={mode!r} were given to the run, but {type(scheduler).__name__} was "
            "already made "
            "with its own: give them in one place"
        )
    if objectives and scheduler.compares and (scheduler.metric is None or scheduler.mode is None):
        name, way = next(iter(objectives.items()))
        raise ValueError(
            f"{type(scheduler).__name__} compares trials by one metric, and the run has {len(objectives)} "
            f"({', '.join(objectives)}): make it with the one that says which trials go on, "
            f"{type(scheduler).__name__}(metric={name!r}, mode={way!r}), or leave it out"
        )
    if metric is not None and mode is None and scheduler.compares and scheduler.mode is None:
        raise no_mode(metric)
    scheduler.check_metric()
    return scheduler


def attributes_of_run(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The run's user attributes, as they are kept."""
    if given is None:
        return {}
    from fasttune.user_attrs import check_user_attrs

    return check_user_attrs(given)
ON_DUPLICATE = ("allow", "skip", "reuse")


def steering_metric(
    metric: str | None, mode: str | None, scheduler: object, searcher: object
) -> tuple[str | None, Mode | None]:
    """The metric that the run is steered by: its own, else the scheduler's, else the searcher's. ValueError if nobody says
    which way it is better."""
    if metric is not None and mode is not None:
        return metric, as_mode(mode)
    found = [
        (getattr(one, "metric", None), getattr(one, "mode", None) or getattr(one, "_mode", None))
        for one in (scheduler, searcher)
    ]
    for own, how in found:
        if how in MODES and (isinstance(own, str) or metric is not None):
            return (own if metric is None else metric), as_mode(how)
    lone = metric if metric is not None else next((own for own, _ in found if isinstance(own, str)), None)
    if lone is not None:
        raise no_mode(lone)
    return None, None


def goal_of(metric: str | None, mode: str | None, scheduler: object, searcher: object) -> dict[str, str]:
    """The run's metric and mode as :func:`steering_metric` finds them; {} if there is none."""
    name, way = steering_metric(metric, mode, scheduler, searcher)
    return {} if name is None or way is None else {name: way}


def resolve_constraints(
    asked: object, metas: Sequence[Mapping[str, Any]], metric: str | None, mode: str | None, of_columns: bool
) -> Constraints:
    """What a run asks of results; where nobody says it, what the experiment that it goes on with was asked."""
    from fasttune.engine.going_on import latest

    before = latest(metas).get("constraints") if metas and asked is None else None
    if isinstance(before, dict):
        log(
            "The experiment was begun with constraints=%s, which only the program has: results from here on are not held against "
            "it. Give constraints= again",
            before.get("function"),
        )
        before = None
    found = as_constraints(before if asked is None else asked, metric, mode)
    if found.function is not None and of_columns:
        raise ValueError(
            "constraints=function is asked about one result, and a vectorized function reports columns of many: yield the constraints "
            'as columns of it ({"loss": loss, "constraints": {"memory": used - limit}}), or say texts like "latency <= 0.1"'
        )
    return found


def check_trust(trust: object) -> bool:
    """Whether files of other users may be gone on with."""
    if not isinstance(trust, bool):
        raise TypeError(f"trust must be True or False, got {trust!r}")
    return trust


def check_worker_limits(trials: object, memory: object) -> tuple[int | None, int | None]:
    """How many trials a worker runs, and how many bytes are its own, before another one comes in its place; None: any."""
    from fasttune.devices.free_memory import LEAST_MEMORY

    size = None if memory is None else checked_size("worker_max_memory", memory)
    if size is not None and size < LEAST_MEMORY:
        raise ValueError(
            f"worker_max_memory must be at least {LEAST_MEMORY >> 20} MiB (a worker has more of its own from the beginning, and each "
            f"would run one trial), got {shown(memory)}: {other_unit(size)}"
        )
    return None if trials is None else checked_count("worker_max_trials", trials, least=1), size


def check_gpu_policy(policy: object) -> str:
    """Which GPUs a trial gets."""
    from fasttune.devices.gpu_choice import POLICIES

    if not isinstance(policy, str) or policy not in POLICIES:
        raise ValueError(f"gpu_policy must be one of {', '.join(map(repr, POLICIES))}, got {shown(policy)}")
    return policy


CPU_AFFINITIES = ("cores",)


def check_cpu_affinity(affinity: object, executor: str, machine: Machine, verbose: int) -> bool:
    """Whether workers are pinned to the CPUs of their trials. Says so where that was asked for, and would crowd a shared machine."""
    from fasttune.executors import executor_class

    if affinity is None:
        return False
    if not isinstance(affinity, str) or affinity not in CPU_AFFINITIES:
        raise ValueError(f"cpu_affinity must be None or 'cores', got {shown(affinity)}")
    if not executor_class(executor).pins:
        where = "on other machines" if executor_class(executor).elsewhere else "in this one"
        raise ValueError(
            f"cpu_affinity='cores' pins worker processes to CPUs, and with executor={executor!r} trials run {where}: leave one of "
            "both out"
        )
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError(f"cpu_affinity='cores': processes cannot be pinned to CPUs on this system ({sys.platform})")
    if not machine.bind_cpus and verbose > 0:
        log("cpu_affinity='cores' pins nothing here, because nobody says which CPUs are meant: there is %s", machine.cpu_reason)
    return machine.bind_cpus


def check_measure_usage(measure: object, executor: str, of_columns: bool) -> bool:
    """Whether reports have what their trial has used."""
    from fasttune.executors import executor_class

    if not isinstance(measure, bool):
        raise TypeError(f"measure_usage must be True or False, got {shown(measure)}")
    if measure and not executor_class(executor, of_columns).measures:
        if of_columns:
            where = "trials of one call share a process"
        elif executor_class(executor).elsewhere:
            where = f"with executor={executor!r} workers are on other machines"
        else:
            where = f"with executor={executor!r} all trials share this process"
        instead = ", or say executor='process'" if executor == "async" else ""  # which nobody may have said
        raise ValueError(
            f"measure_usage=True tells what a trial uses of its worker process, and {where}: leave one of both out{instead}"
        )
    return measure


def resolve_stop_rules(experiment: Experiment) -> StopRules:
    """The stop criteria of a run, the time budget among them."""
    return resolve_stop(experiment.stop, experiment.time_budget_s)


def resolve_seed(seed: object, metas: Sequence[Mapping[str, Any]], earlier: str | None) -> int:
    """The run's seed: the one given, that of the experiment it goes on with, or a new one.

    A new one comes from numpy's global generator if the program has loaded numpy, so that programs which call
    ``numpy.random.seed(s)``, as users of other tuners do, repeat themselves.
    """
    from fasttune.space.seeds import seed_from

    if seed is not None:
        seed = checked_count("seed", seed, most=2**64 - 1, rule="None or an integer of at least 0, below 2**64")
    if not metas:
        return seed_from(seed)
    before = int(metas[0]["seed"])
    if seed is not None and seed != before:
        raise ValueError(
            f"the experiment in {earlier} was begun with seed={before} and cannot go on with seed={seed}: "
            f"seed: {before} was, {seed} is. Its trials would have other configs; leave seed out"
        )
    return before


def resolve_verbose(verbose: object) -> int:
    """0 (nothing), 1 (status), 2 (and a line for each result) or 3 (and every result in full)."""
    if verbose is None:
        return DEFAULT_VERBOSE
    level = int(verbose) if hasattr(verbose, "__index__") else getattr(verbose, "value", None)
    if not isinstance(level, int) or not 0 <= level <= 3:
        raise ValueError(f"verbose must be 0, 1, 2 or 3, got {shown(verbose)}")
    return level


def resolve_reporter(
    reporter: ProgressReporter | None, metric: str | None, mode: str | None, verbose: object
) -> ProgressReporter | None:
    """What shows the progress: the reporter given, or one that fits the output; None when verbose is 0."""
    if reporter is None and resolve_verbose(verbose) == 0:
        return None  # and no reporter is even loaded
    from fasttune.reporter import ProgressReporter, default_reporter

    if reporter is None:
        return default_reporter(resolve_verbose(verbose))
    if not isinstance(reporter, ProgressReporter):
        raise TypeError(f"progress_reporter must be a ProgressReporter, got {kind_of(reporter)}")
    if not reporter.set_search_properties(metric, mode):
        raise ValueError(
            f"metric={metric!r}, mode={mode!r} were given to the run, but {type(reporter).__name__} was "
            "already made "
            "with its own: give them in one place"
        )
    if verbose is None:  # who brings a reporter wants to see all that it shows
        return reporter
    reporter.verbose = resolve_verbose(verbose)
    return reporter if reporter.verbose > 0 else None


def result_lines(verbose: int) -> list[Callback]:
    """The callback that prints results, when that was asked for."""
    if verbose < 2:
        return []
    from fasttune.reporter import ResultLines

    return [ResultLines(full=verbose >= 3)]


def check_callbacks(callbacks: Sequence[Callback] | None) -> list[Callback]:
    """The callbacks in a list of our own: what a run adds does not appear in the caller's."""
    from fasttune.callback import Callback

    if callbacks is None:
        return []
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a list of Callback objects, got {kind_of(callbacks)}")
    for one in callbacks:
        if not isinstance(one, Callback):
            raise TypeError(f"callbacks must hold Callback objects, got {kind_of(one)}: {one!r:.80}")
        check_called_methods(one, Callback)
    return list(callbacks)
