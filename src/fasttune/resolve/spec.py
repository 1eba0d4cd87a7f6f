"""From what a door was asked to the ``RunSpec`` that the machine carries out: the story, whose chapters are the other files."""

from __future__ import annotations

import os
from dataclasses import replace

from fasttune.argument import check_called
from fasttune.config import (
    Experiment,
    FailureConfig,
    RunSpec,
    check_durability,
    check_max_suspended,
    check_metric_mode,
    objectives_of,
    resolve_seconds,
)
from fasttune.constraints import as_constraints
from fasttune.once import warn_anew
from fasttune.resolve.call import Call
from fasttune.resolve.earlier import (
    declared_before,
    earlier_metas,
    scope_before,
    seed_of_search,
    with_earlier_space,
)
from fasttune.resolve.places import Claim, find_place, how_to_go_on
from fasttune.resolve.search_of_run import searcher_of_run
from fasttune.resolve.searchers import objectives_of_searcher, own_limit
from fasttune.resolve.settings import (
    attributes_of_run,
    check_cpu_affinity,
    check_gpu_policy,
    check_measure_usage,
    check_trust,
    check_worker_limits,
    chosen_scheduler,
    longest_training,
    resolve_constraints,
    resolve_reporter,
    resolve_scheduler,
    resolve_seed,
    resolve_stop_rules,
    resolve_verbose,
    result_lines,
    steering_metric,
)
from fasttune.resolve.trainables import (
    bound_of_the_free,
    check_memory,
    check_supply,
    chosen_executor,
    many_fit,
    resolve_trainable,
    with_space,
)
from fasttune.resolve.words import teller
from fasttune.scope import check_scope
from fasttune.stopper import tell_stop_goal


def resolve(experiments: list[Experiment], call: Call) -> RunSpec:
    """The RunSpec of these experiments steered by this call. Raises for everything that cannot be."""
    warn_anew()
    claims: list[Claim] = []
    try:
        return _resolved(experiments, call, claims)
    except BaseException:
        for claim in claims:
            claim.give_up()
        raise


def _resolved(experiments: list[Experiment], call: Call, claims: list[Claim]) -> RunSpec:
    from fasttune.devices.resources import check_declared
    from fasttune.trainable import is_vectorized

    first = experiments[0]
    objectives = objectives_of(call.metric, call.mode)
    metric, mode = check_metric_mode(call.metric, call.mode)
    scope = None if call.scope is None else check_scope(call.scope)
    as_constraints(call.constraints)
    for name in ("trial_name_creator", "trial_dirname_creator"):
        check_called(name, getattr(first, name))
    failure = FailureConfig(first.max_failures, call.fail_fast)
    executor = chosen_executor(call.executor, experiments)
    durability = check_durability(call.durability)
    trust = check_trust(call.trust)
    user_attrs = attributes_of_run(call.user_attrs)
    verbose = resolve_verbose(call.verbose)
    max_suspended = check_max_suspended(call.max_suspended)
    gpu_policy = check_gpu_policy(call.gpu_policy)
    max_trials, max_memory = check_worker_limits(call.worker_max_trials, call.worker_max_memory)
    trial_timeout = resolve_seconds(call.trial_timeout_s, "trial_timeout_s")
    trainables = [resolve_trainable(one, executor) for one in experiments]
    resources = None if call.resources is None else check_declared(call.resources)
    place = find_place(experiments, trainables, call)
    if place.resume is not None:
        claims.append(place.claim())  # under its lock: whether there is something to go on with
    earlier = claims[0].earlier if claims else None
    metas = earlier_metas(earlier) if earlier is not None else []
    experiments = [with_earlier_space(one, k, metas, earlier) for k, one in enumerate(experiments)]
    trainables = [replace(one, space=said.config) for one, said in zip(trainables, experiments, strict=True)]
    if resources is None:
        resources = declared_before(metas)
    machine = check_supply(trainables, call.gpus, resources, verbose, executor)
    of_columns = is_vectorized(trainables[0].trainable)
    measures = check_measure_usage(call.measure_usage, executor, of_columns)
    pins = check_cpu_affinity(call.cpu_affinity, executor, machine, verbose)
    check_memory(executor, trainables, verbose)
    seed = resolve_seed(call.seed, metas, earlier)
    stop = resolve_stop_rules(first)
    reporter = resolve_reporter(call.progress_reporter, metric, mode, call.verbose)
    # What changes something comes last, so that a run that is refused can be corrected and tried again.
    says = teller(verbose, call.in_words)
    scheduler = chosen_scheduler(call.scheduler, call.max_t, [one.trainable for one in trainables], first.stop, says)
    scheduler = resolve_scheduler(scheduler, metric, mode, first.public_spec, objectives)
    spaces = [scheduler.complete_space(one.space) for one in trainables]
    experiments = [with_space(one, space) for one, space in zip(experiments, spaces, strict=True)]
    first = experiments[0]
    search_seed = seed_of_search(seed, metas, spaces)
    found = searcher_of_run(call, scheduler, experiments, metas, metric, mode, objectives, search_seed, verbose)
    searcher, near = found.searcher, found.near
    if found.num_samples is not None:
        trainables[0] = replace(trainables[0], num_samples=found.num_samples)
    metric, mode = steering_metric(metric, mode, scheduler, searcher)
    tell_stop_goal(stop, metric, mode, scheduler.compares, longest_training(scheduler))
    constraints = resolve_constraints(call.constraints, metas, metric, mode, of_columns)
    if not claims:
        claims.append(place.claim())
    folder = claims[0].folder
    spec = RunSpec(
        name=os.path.basename(folder),
        asked_name=place.name,
        beside=place.beside(folder),
        path=folder,
        trainables=[
            replace(one, experiment=one.experiment or os.path.basename(folder), space=dict(space))
            for one, space in zip(trainables, spaces, strict=True)
        ],
        metric=metric,
        mode=mode,
        near=near,
        taught=found.taught,
        objectives=objectives or objectives_of_searcher(searcher),
        searcher=searcher,
        scheduler=scheduler,
        stop=stop,
        scope=scope or scope_before(metas),
        constraints=constraints,
        on_duplicate=call.on_duplicate,
        time_budget_s=first.time_budget_s,
        failure=failure,
        checkpoint=first.checkpoint_config,
        max_concurrent=call.max_concurrent
        or own_limit(searcher, many_fit(executor, trainables))
        or bound_of_the_free(executor, trainables, machine, verbose),
        max_suspended=max_suspended,
        trial_timeout_s=trial_timeout,
        worker_max_trials=max_trials,
        worker_max_memory=max_memory,
        pins_workers=pins,
        measure_usage=measures,
        durability=durability,
        trust=trust,
        executor=executor,
        awaited=call.awaited,
        gpus=None if call.gpus is None else list(call.gpus),
        gpu_policy=gpu_policy,
        resources=resources,
        user_attrs=user_attrs,
        machine=machine,
        callbacks=call.callbacks + result_lines(verbose),
        progress_reporter=reporter,
        verbose=verbose,
        seed=seed,
        resume=place.resume if earlier is not None else None,
        metas=metas,
        lock=claims[0].lock,
        restore=first.restore,
        reuse_actors=call.reuse_actors,
        log_to_file=first.log_to_file,
        strict_metric=os.environ.get("TUNE_DISABLE_STRICT_METRIC_CHECKING", "0") in ("", "0"),
        trial_name_creator=first.trial_name_creator,
        trial_dirname_creator=first.trial_dirname_creator,
        raise_on_failed_trial=call.raise_on_failed_trial,
        public_spec=first.public_spec,
        how_to_go_on=how_to_go_on(folder, call.door),
        in_words=call.in_words,
    )
    if metas:
        from fasttune.engine.going_on import check

        check(metas, spec)  # before anything is written
    return spec
