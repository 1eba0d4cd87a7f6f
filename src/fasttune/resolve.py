"""From what a door was asked to the ``RunSpec`` that the machine carries out.

``resolve(experiments, call)`` is the story; what follows are its chapters, each a function of what it is
given. Everything that can be known to be wrong is said here, before the first trial starts. A folder that had to
be made, because its lock decides who begins an experiment, goes again when the run is refused.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.argument import checked_count, shown
from fasttune.config import (
    MODES,
    Experiment,
    FailureConfig,
    Mode,
    ResumeConfig,
    RunSpec,
    TrainableSpec,
    as_mode,
    check_durability,
    check_max_suspended,
    check_metric_mode,
    no_mode,
    resolve_resume,
)
from fasttune.error import TuneError
from fasttune.folder import JOURNAL as JOURNAL
from fasttune.folder import LONGEST_NAME, cut
from fasttune.once import warn_anew
from fasttune.plain_files import check_before_writing
from fasttune.scope import DEFAULT_SCOPE, check_scope

if TYPE_CHECKING:
    from fasttune.callback import Callback
    from fasttune.devices.machine import Machine
    from fasttune.devices.resources import PlacementGroupFactory
    from fasttune.reporter.base import ProgressReporter
    from fasttune.schedulers.base import TrialScheduler
    from fasttune.scope import Scope
    from fasttune.search.base import SearchAlgorithm, Searcher
    from fasttune.stopper import StopRules
    from fasttune.storage.recovery import ExperimentLock

DEFAULT_VERBOSE = 1


@dataclass(eq=False, repr=False)
class Call:
    """How a run is steered: the arguments of ``run`` that are not about one experiment."""

    name: str | None = None
    storage_path: str | None = None
    metric: str | None = None
    mode: str | None = None
    scope: Scope | None = None
    search_alg: Searcher | SearchAlgorithm | str | None = None
    warm_start: Any = None
    scheduler: TrialScheduler | str | None = None
    on_duplicate: str = "allow"
    max_concurrent: int | None = None
    max_suspended: int | None = None
    durability: str = "process"
    trust: bool = False
    fail_fast: Any = False
    resume: object = None
    resume_config: ResumeConfig | None = None
    restored_path: str | None = None
    reuse_actors: bool = False
    callbacks: list[Callback] = field(default_factory=list)
    progress_reporter: ProgressReporter | None = None
    verbose: int | None = None
    executor: str | None = None
    gpus: list[int | str] | None = None
    resources: Mapping[str, float] | None = None
    user_attrs: Mapping[str, Any] | None = None
    seed: int | None = None
    raise_on_failed_trial: bool = True
    door: str = "run"  # what the user has called
    in_words: Callable[[str], str] = str  # what is printed, as users of this door say it


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
    from fasttune.executors import check_executor

    first = experiments[0]
    metric, mode = check_metric_mode(call.metric, call.mode)
    scope = None if call.scope is None else check_scope(call.scope)
    failure = FailureConfig(first.max_failures, call.fail_fast)
    executor = check_executor(call.executor)
    durability = check_durability(call.durability)
    trust = check_trust(call.trust)
    user_attrs = attributes_of_run(call.user_attrs)
    verbose = resolve_verbose(call.verbose)
    max_suspended = check_max_suspended(call.max_suspended)
    trainables = [resolve_trainable(one) for one in experiments]
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
    machine = check_supply(trainables, call.gpus, resources, verbose)
    seed = resolve_seed(call.seed, earlier)
    stop = resolve_stop_rules(first)
    reporter = resolve_reporter(call.progress_reporter, metric, mode, call.verbose)
    # What changes something comes last, so that a run that is refused can be corrected and tried again.
    scheduler = resolve_scheduler(call.scheduler, metric, mode, first.public_spec)
    search_alg = call.search_alg
    spaces = [scheduler.complete_space(one.space) for one in trainables]
    experiments = [with_space(one, space) for one, space in zip(experiments, spaces, strict=True)]
    first = experiments[0]
    if isinstance(search_alg, str) and search_alg.lower() == "auto":
        search_alg = chosen_before(metas) or chosen_searcher(first, metric, scheduler, verbose)
    search_seed = seed_of_search(seed, metas, spaces)
    if call.on_duplicate != "allow":
        search_alg = without_duplicates(search_alg, call.on_duplicate, experiments, search_seed)
        trainables[0] = replace(trainables[0], num_samples=total_of(search_alg, first))
    searcher = resolve_searcher(search_alg, metric, mode, experiments, call.max_concurrent, search_seed)
    if call.warm_start is not None:
        from fasttune.warm_start.known import as_warm_start

        as_warm_start(call.warm_start).teach(searcher)
    check_searcher_wanted(searcher, scheduler)
    metric, mode = steering_metric(metric, mode, scheduler, searcher)
    if not claims:
        claims.append(place.claim())
    folder = claims[0].folder
    spec = RunSpec(
        name=os.path.basename(folder),
        asked_name=place.name,
        path=folder,
        trainables=[
            replace(one, experiment=one.experiment or os.path.basename(folder), space=dict(space))
            for one, space in zip(trainables, spaces, strict=True)
        ],
        metric=metric,
        mode=mode,
        searcher=searcher,
        scheduler=scheduler,
        stop=stop,
        scope=scope or scope_before(metas),
        on_duplicate=call.on_duplicate,
        time_budget_s=first.time_budget_s,
        failure=failure,
        checkpoint=first.checkpoint_config,
        max_concurrent=call.max_concurrent or own_limit(searcher),
        max_suspended=max_suspended,
        durability=durability,
        trust=trust,
        executor=executor,
        gpus=None if call.gpus is None else list(call.gpus),
        resources=resources,
        user_attrs=user_attrs,
        machine=machine,
        callbacks=call.callbacks + result_lines(verbose),
        progress_reporter=reporter,
        verbose=verbose,
        seed=seed,
        resume=place.resume if earlier is not None else None,
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


def seed_of_search(seed: int, metas: list[dict[str, Any]], spaces: Sequence[Mapping[str, Any]]) -> int:
    """The seed of a searcher that is made here: in a later search space of the same experiment another one, or it would
    begin as it did before."""
    from fasttune.engine.going_on import number_of_space
    from fasttune.space.domains import derive_seed

    number = number_of_space(metas, spaces) if metas else 0
    return derive_seed(seed, number) if number else seed


def earlier_metas(folder: str) -> list[dict[str, Any]]:
    """What an experiment's journal says of its sessions; [] if the run ended before it wrote anything."""
    from fasttune.engine.meta import read_metas
    from fasttune.error import JournalError
    from fasttune.storage.reader import SqliteReader

    try:
        return read_metas(SqliteReader(folder), folder)
    except JournalError:
        return []


# -------- what is to be run


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


def resolve_trainable(experiment: Experiment) -> TrainableSpec:
    """The experiment's trainable, found if it is a name, and checked, with what one trial of it needs."""
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
        resources=resolve_request(trainable, experiment.resources_per_trial),
        space=experiment.config,
        num_samples=experiment.num_samples,
        experiment=experiment.name or "",
    )


def with_space(experiment: Experiment, space: Mapping[str, Any]) -> Experiment:
    """The same experiment over the space that its scheduler has completed: what a searcher is told."""
    made = copy(experiment)
    made.config = dict(space)
    return made


def with_earlier_space(
    experiment: Experiment, k: int, metas: Sequence[Mapping[str, Any]], earlier: str | None
) -> Experiment:
    """Experiment number k; one that says no config goes on with the one that was. ResumeError if only the program has it."""
    if experiment.has_config or not metas:
        return experiment
    from fasttune.engine.going_on import earlier_space

    return with_space(experiment, earlier_space(metas, k, str(earlier)))


def resolve_request(
    trainable: object, per_trial: object
) -> PlacementGroupFactory | Callable[[dict[str, Any]], PlacementGroupFactory]:
    """What one trial needs, said in one place: resources_per_trial, with_resources or the class itself."""
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
    if isinstance(asked, PlacementGroupFactory) or not callable(asked):
        return resolve_resources(asked)
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


def declared_before(metas: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The kinds of resources that the session before had declared."""
    from fasttune.devices.resources import check_declared
    from fasttune.engine.going_on import latest

    return check_declared(latest(metas).get("resources") or {}) if metas else {}


def check_supply(
    trainables: Iterable[TrainableSpec], gpus: list[int | str] | None, resources: Mapping[str, float], verbose: int
) -> Machine:
    """The machine with what the run may use of it. Refuses a trial that it can never hold, and says so when GPUs would lie
    idle."""
    from fasttune.devices.machine import detect
    from fasttune.devices.resources import PlacementGroupFactory, check_possible, with_declared

    machine = with_declared(detect(gpus=gpus), resources)
    unused = bool(machine.gpus)
    for one in trainables:
        if not isinstance(one.resources, PlacementGroupFactory):
            unused = False  # known when there is a config
            continue
        check_possible(machine, one.resources)
        unused = unused and not one.resources.required_resources.get("GPU", 0)
    if unused and verbose > 0:
        log(
            "This machine has %d GPUs and no trial asks for one: resources_per_trial={'gpu': 1}",
            len(machine.gpus),
        )
    return machine


# -------- what steers the run


def resolve_scheduler(
    scheduler: TrialScheduler | str | None,
    metric: str | None,
    mode: str | None,
    public_spec: Mapping[str, Any],
) -> TrialScheduler:
    """The scheduler, told the run's metric and mode; FIFO if there is none."""
    from fasttune.schedulers import TrialScheduler, create_scheduler
    from fasttune.schedulers.base import tell_goal

    if scheduler is None or isinstance(scheduler, str):
        scheduler = create_scheduler(scheduler or "fifo")
    if not isinstance(scheduler, TrialScheduler):
        raise TypeError(
            f"scheduler must be a TrialScheduler, got {kind_of(scheduler)}: give an object such as "
            "ASHAScheduler()"
        )
    if not tell_goal(scheduler, metric, mode, public_spec):
        raise ValueError(
            f"metric={metric!r}, mode={mode!r} were given to the run, but {type(scheduler).__name__} was "
            "already made "
            "with its own: give them in one place"
        )
    if metric is not None and mode is None and scheduler.compares and scheduler.mode is None:
        raise no_mode(metric)
    scheduler.check_metric()
    return scheduler


def check_searcher_wanted(searcher: object, scheduler: TrialScheduler) -> None:
    """Refuses a searcher beside a scheduler that explores configs itself."""
    from fasttune.search import Searcher

    if isinstance(searcher, Searcher) and not scheduler.takes_searcher:
        raise ValueError(
            f"{type(scheduler).__name__} explores configs itself and takes no searcher, got "
            f"{type(searcher).__name__}: leave search_alg out"
        )


def chosen_before(metas: list[dict[str, Any]]) -> str | None:
    """The name of the searcher that the experiment which is gone on with was begun with: more samples do not change it."""
    from fasttune.engine.going_on import latest
    from fasttune.search.auto import KINDS

    found: Any = latest(metas)["searcher"] if metas else None
    while isinstance(found, dict) and found["kind"] not in KINDS:
        found = found["settings"].get("searcher")
    return KINDS.get(found["kind"] if isinstance(found, dict) else found)


def attributes_of_run(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The run's user attributes, as they are kept."""
    if given is None:
        return {}
    from fasttune.user_attrs import check_user_attrs

    return check_user_attrs(given)


def scope_before(metas: list[dict[str, Any]]) -> Scope:
    """What says who is best: in an experiment that is gone on with what it was asked, else the usual."""
    from fasttune.engine.going_on import latest

    found: Scope = latest(metas).get("scope", DEFAULT_SCOPE) if metas else DEFAULT_SCOPE
    return found


def chosen_searcher(experiment: Experiment, metric: str | None, scheduler: TrialScheduler, verbose: int) -> str:
    """The name of the searcher that suits, and a line that says why."""
    from fasttune.schedulers import HyperBandForBOHB
    from fasttune.search.auto import choose

    choice = choose(
        experiment.config,
        experiment.num_samples,
        has_metric=isinstance(metric, str),
        has_budgets=isinstance(scheduler, HyperBandForBOHB),
    )
    if not scheduler.takes_searcher:
        return "random"
    if verbose > 0:
        print(f'fasttune: search_alg="auto" is "{choice.name}": {choice.why}')
    return choice.name


def resolve_searcher(
    search_alg: Searcher | SearchAlgorithm | str | None,
    metric: str | None,
    mode: str | None,
    experiments: Sequence[Experiment],
    max_concurrent: int | None,
    seed: int,
) -> Searcher | SearchAlgorithm:
    """The searcher, told metric, mode and space, and limited; random and grid search if there is none."""
    from fasttune.search import BasicVariantGenerator, SearchAlgorithm, Searcher, SearchGenerator, seeded_searcher

    if search_alg is None:
        return BasicVariantGenerator(random_state=seed)
    if isinstance(search_alg, str):
        search_alg = seeded_searcher(search_alg, seed)
    if isinstance(search_alg, SearchGenerator):
        search_alg = search_alg.searcher
    if not isinstance(search_alg, (Searcher, SearchAlgorithm)):
        raise TypeError(f"search_alg must be a Searcher, its name or None, got {kind_of(search_alg)}")
    if isinstance(search_alg, Searcher):
        tell_space(search_alg, metric, mode, experiments)
        return limit(search_alg, max_concurrent)
    check_own_limit(search_alg, max_concurrent)
    if isinstance(search_alg, BasicVariantGenerator):
        search_alg.check_points([one.config for one in experiments])
    return search_alg


ON_DUPLICATE = ("allow", "skip", "reuse")


def without_duplicates(search_alg: object, how: str, experiments: list[Experiment], seed: int) -> Searcher:
    """The searcher of a run with ``on_duplicate`` "skip" or "reuse": one that is asked for each config."""
    from fasttune.search import BasicVariantGenerator, Searcher, SearchGenerator, seeded_searcher

    if how not in ON_DUPLICATE:
        raise ValueError(f"on_duplicate must be one of {', '.join(map(repr, ON_DUPLICATE))}, got {how!r}")
    if len(experiments) > 1:
        raise ValueError(f"on_duplicate={how!r} needs one experiment at a time, got {len(experiments)}")
    if isinstance(search_alg, str):
        search_alg = seeded_searcher(search_alg, seed)
    if search_alg is None:
        search_alg = BasicVariantGenerator(random_state=seed)
    if isinstance(search_alg, BasicVariantGenerator):
        search_alg = search_alg.one_by_one()
    if isinstance(search_alg, SearchGenerator):
        search_alg = search_alg.searcher
    if not isinstance(search_alg, Searcher):
        raise TypeError(f"on_duplicate={how!r} needs a Searcher, its name or None, got {kind_of(search_alg)}")
    if how == "reuse":
        return search_alg
    from fasttune.search import UniqueSearch

    return UniqueSearch(search_alg)


def total_of(searcher: object, experiment: Experiment) -> int:
    """How many trials there will be: of random and grid search as many as without a searcher."""
    from fasttune.search import RandomSearch

    inner = getattr(searcher, "searcher", searcher)
    if not isinstance(inner, RandomSearch) or experiment.num_samples == -1:
        return experiment.num_samples
    return inner.total(experiment.config, experiment.num_samples)


def tell_space(searcher: Searcher, metric: str | None, mode: str | None, experiments: Sequence[Experiment]) -> None:
    """Hands metric, mode and space to the searcher; a space that it does not take must hold no domains."""
    from fasttune.search.base import tell_properties

    own = getattr(searcher, "metric", None)
    if metric is not None and isinstance(own, str) and own != metric:
        raise ValueError(
            f"metric={metric!r} was given to the run, but {type(searcher).__name__} was made with "
            f"metric={own!r}: "
            "give it in one place"
        )
    check_one_space(searcher, experiments)
    first = experiments[0]
    taken = tell_properties(searcher, metric, mode, dict(first.config), first.public_spec)
    if taken:
        return
    left = unresolved(first.config)
    if left:
        raise ValueError(
            f"{type(searcher).__name__} was already instantiated with a search space, but config still "
            "holds domains: "
            f"{', '.join(sorted(left)[:5])}. Put them into the searcher's space, or give the searcher none"
        )


def check_one_space(searcher: Searcher, experiments: Sequence[Experiment]) -> None:
    """Refuses experiments of different spaces beside one searcher: it knows one, and what it suggests is for that."""
    from fasttune.identity import described, differences
    from fasttune.space.domains import domains_of, path_name

    searched = [
        {path_name(path): described(domain) for path, domain in domains_of(one.config)} for one in experiments
    ]
    for experiment, domains in zip(experiments[1:], searched[1:], strict=True):
        found = differences(searched[0], domains)
        if found:
            raise ValueError(
                f"{type(searcher).__name__} searches one space, and the experiments "
                f"{experiments[0].name or name_of(experiments[0].run)!r} and {experiment.name or name_of(experiment.run)!r} "
                f"have different ones ({'; '.join(found[:3])}): run them one after the other, each with a searcher of its own"
            )


def unresolved(config: Mapping[str, Any]) -> list[str]:
    """The names "a/b" of everything in a config that is still to be sampled."""
    from fasttune.space.domains import domains_of, path_name

    return [path_name(path) for path, _ in domains_of(config)]


def limit(searcher: Searcher, max_concurrent: int | None) -> Searcher:
    """The searcher, never asked for more than ``max_concurrent`` trials at once."""
    from fasttune.search import ConcurrencyLimiter

    if max_concurrent is None:
        return searcher
    if isinstance(searcher, ConcurrencyLimiter):
        check_own_limit(searcher, max_concurrent)
        return searcher
    return ConcurrencyLimiter(searcher, max_concurrent=max_concurrent)


def own_limit(search_alg: object) -> int | None:
    """How many trials at once the searcher itself was made for; None: as many as fit."""
    own = getattr(search_alg, "max_concurrent", None)
    return own if isinstance(own, int) and own > 0 else None


def check_own_limit(search_alg: Searcher | SearchAlgorithm, max_concurrent: int | None) -> None:
    """Refuses two different limits on how many trials run at once."""
    own = own_limit(search_alg)
    if max_concurrent is not None and own is not None and own != max_concurrent:
        raise ValueError(
            f"max_concurrent_trials={max_concurrent}, but {type(search_alg).__name__} was made with "
            f"max_concurrent={own}: give one of them"
        )


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


def check_trust(trust: object) -> bool:
    """Whether files of other users may be gone on with."""
    if not isinstance(trust, bool):
        raise TypeError(f"trust must be True or False, got {trust!r}")
    return trust


def resolve_stop_rules(experiment: Experiment) -> StopRules:
    """The stop criteria of a run, the time budget among them."""
    from fasttune.stopper import resolve_stop

    return resolve_stop(experiment.stop, experiment.time_budget_s)


def resolve_seed(seed: object, earlier: str | None) -> int:
    """The run's seed: the one given, that of the experiment it goes on with, or a new one.

    A new one comes from numpy's global generator if the program has loaded numpy, so that programs which call
    ``numpy.random.seed(s)``, as users of other tuners do, repeat themselves.
    """
    from fasttune.space.domains import seed_from

    if seed is not None:
        seed = checked_count("seed", seed, most=2**64 - 1, rule="None or an integer of at least 0, below 2**64")
    before = earlier_seed(earlier) if earlier is not None else None
    if before is None:
        return seed_from(seed)
    if seed is not None and seed != before:
        raise ValueError(
            f"the experiment in {earlier} was begun with seed={before} and cannot go on with seed={seed}: "
            f"seed: {before} was, {seed} is. Its trials would have other configs; leave seed out"
        )
    return before


def earlier_seed(folder: str) -> int | None:
    """The seed in an experiment's journal; None if the run ended before it wrote anything."""
    from fasttune.engine.meta import read_meta
    from fasttune.error import JournalError
    from fasttune.storage.reader import SqliteReader

    try:
        return int(read_meta(SqliteReader(folder), folder)["seed"])
    except JournalError:
        return None


# -------- what people see


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
    return list(callbacks)


# -------- folders and what they already hold


class Place(NamedTuple):
    """Where a run is stored: in a folder of its own, or, to be gone on with, where the last one of that name is."""

    root: str
    name: str
    dated: bool
    restored: str | None = None  # the folder itself, when it was named
    resume: ResumeConfig | None = None
    trust: bool = False

    def claim(self) -> Claim:
        """Take the folder, made if it is a new one. ExperimentLockedError when another process is writing there what
        this run would go on with."""
        if self.restored is not None:
            from fasttune.storage.recovery import ExperimentLock

            check_before_writing(self.restored, self.trust)
            return Claim(self.restored, ExperimentLock(self.restored), self.restored)
        if self.resume is not None:
            return claim_to_go_on(self.root, self.name, self.trust)
        return claim_folder(self.root, self.name, exclusive=self.dated)


class Claim(NamedTuple):
    """A folder whose lock is held: what was seen of it stays so."""

    folder: str
    lock: ExperimentLock
    earlier: str | None = None  # the folder, if it holds an experiment to go on with
    made: tuple[str, ...] = ()  # folders that were made for it, the outermost first

    def give_up(self) -> None:
        """Let go of it, and take away what was made."""
        if self.folder in self.made:
            self.lock.remove()
        for folder in reversed(self.made):
            with suppress(OSError):  # somebody has put something into it
                os.rmdir(folder)
        self.lock.release()


def find_place(experiments: Sequence[Experiment], trainables: Sequence[TrainableSpec], call: Call) -> Place:
    """Where the run is to be stored, and whether it goes on with what is there. Makes nothing yet."""
    if call.restored_path is not None:
        return Place("", "", False, call.restored_path, call.resume_config, call.trust)
    resume = call.resume_config or resolve_resume(call.resume)
    root = call.storage_path or experiments[0].storage_path or default_storage()
    given = call.name or next((one.name for one in experiments if one.name), None)
    name, dated = experiment_name(given, trainables[0].name, time.localtime(), os.environ)
    if resume is None:
        return Place(root, name, dated)
    if dated:
        raise ValueError(
            f"resume={call.resume!r} needs name=...: without one every run has a new folder with its date, "
            "so there is never anything to go on with"
        )
    if latest_folder(root, name) is None and (call.resume is True or call.resume_config is not None):
        raise ValueError(
            f"nothing to resume: there is no {JOURNAL} in {os.path.join(root, name)}. resume='AUTO' starts a "
            "new experiment in that case"
        )
    return Place(root, name, False, None, resume, call.trust)


def how_to_go_on(folder: str, door: str) -> str:
    """The call that goes on with this experiment, for people."""
    if door == "Tuner":
        return f"Tuner.restore({folder!r}, trainable).fit()"
    if door == "run_experiments":
        return "run_experiments(..., resume='AUTO')"
    root, name = os.path.split(folder)
    if door == "command":
        import shlex

        return f"fasttune resume {shlex.quote(name if root == default_storage() else folder)}"
    place = "" if root == default_storage() else f", storage_path={root!r}"
    return f"tune.run(..., name={name!r}{place}, resume='AUTO')"


def default_storage() -> str:
    """Where experiments are stored when nobody says where."""
    return os.path.abspath(os.path.expanduser(os.environ.get("FASTTUNE_RESULTS_DIR") or "~/fasttune_results"))


def experiment_name(
    given: str | None, trainable_name: str, now: time.struct_time, environ: Mapping[str, str]
) -> tuple[str, bool]:
    """The name of an experiment, and whether it bears the date and so belongs to this run alone."""
    if given is not None:
        if not given or os.path.isabs(given) or ".." in given.split("/") or "\0" in given:
            raise ValueError(f"name must be a folder name below storage_path, got {given!r}")
        if any(len(os.fsencode(part)) > LONGEST_NAME for part in given.split("/")):
            raise ValueError(f"name must be at most {LONGEST_NAME} bytes long, which is what folders leave to it, got {given!r}")
        return given, False
    trainable_name = cut(trainable_name, LONGEST_NAME)
    if environ.get("TUNE_DISABLE_DATED_SUBDIR", "0") not in ("", "0"):
        return trainable_name, False
    return f"{trainable_name}_{time.strftime('%Y-%m-%d_%H-%M-%S', now)}", True


def claim_folder(root: str, name: str, *, exclusive: bool) -> Claim:
    """Takes ``root/name``, or ``root/name_2`` and so on: the first that holds no experiment yet, and that no other
    process is about to begin one in. With ``exclusive`` the folder is one that did not exist."""
    from fasttune.error import ExperimentLockedError
    from fasttune.storage.recovery import ExperimentLock

    attempt = 1
    while attempt < 1_000_000:
        folder = numbered(root, name, attempt)
        made = make_folders(folder)
        if folder not in made and (exclusive or not os.path.isdir(folder) or holds_experiment(folder)):
            attempt += 1
            continue
        try:
            lock = ExperimentLock(folder)
        except FileNotFoundError:  # whoever had made it was refused, and took it away
            continue
        except ExperimentLockedError:
            attempt += 1
            continue
        if not holds_experiment(folder):
            return Claim(folder, lock, None, made)
        lock.release()
        attempt += 1
    raise TuneError(f"{os.path.join(root, name)} and a million numbered folders beside it are taken")


def claim_to_go_on(root: str, name: str, trust: bool) -> Claim:
    """Takes the folder of the last experiment of that name, or the first one's to be. Of two processes that come at the
    same moment one gets the lock; the other one is refused, or finds what the first one has done."""
    from fasttune.storage.recovery import ExperimentLock

    while True:
        folder = latest_folder(root, name) or numbered(root, name, 1)
        made = make_folders(folder)
        if not os.path.isdir(folder):
            raise NotADirectoryError(f"{folder} is to be the folder of an experiment, and is a file")
        check_before_writing(folder, trust)
        try:
            lock = ExperimentLock(folder)
        except FileNotFoundError:
            continue
        if (latest_folder(root, name) or folder) == folder:
            return Claim(folder, lock, folder if holds_experiment(folder) else None, made)
        lock.release()  # a later one has appeared meanwhile


def make_folders(folder: str) -> tuple[str, ...]:
    """Makes a folder and those above it that are missing; which ones were made here, the outermost first."""
    missing = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    made = []
    for one in reversed(missing):
        with suppress(FileExistsError):  # another process makes it at the same moment
            os.mkdir(one)
            made.append(one)
    return tuple(made)


def holds_experiment(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, JOURNAL))


def latest_folder(root: str, name: str) -> str | None:
    """The folder of the last experiment of that name; None if there is none."""
    latest = None
    attempt = 1
    while os.path.isdir(folder := numbered(root, name, attempt)):
        if holds_experiment(folder) and (attempt == 1 or name_asked(folder, name) == name):
            latest = folder
        attempt += 1
    return latest


def name_asked(folder: str, otherwise: str) -> str:
    """The name that was asked for when the experiment in a folder began: mnist_2 may be the second of mnist, or somebody's
    mnist_2. Journals of earlier versions do not say."""
    from fasttune.engine.meta import first_meta
    from fasttune.error import JournalError
    from fasttune.storage.reader import SqliteReader

    try:
        found = first_meta(SqliteReader(folder).read(), folder).get("asked_name")
    except (JournalError, OSError):
        return otherwise
    return found if isinstance(found, str) else otherwise


def numbered(root: str, name: str, attempt: int) -> str:
    """The folder of the n-th experiment of one name."""
    return os.path.join(root, name if attempt == 1 else f"{name}_{attempt}")


def name_of(trainable: object) -> str:
    if isinstance(trainable, str):
        return trainable
    from fasttune.trainable import trainable_name

    return trainable_name(trainable)


def kind_of(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def log(text: str, *values: object) -> None:
    import logging

    logging.getLogger("fasttune").warning(text, *values)
