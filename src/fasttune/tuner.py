"""The doors: ``run``, ``run_experiments`` and ``Tuner``.

Each takes what the user asked apart into Experiments (what runs) and a Call (how it is steered); ``resolve``
makes one RunSpec of them, ``loop.execute`` carries it out, and the door gives the results in its own form.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Never, TypeVar, Unpack

from fasttune.config import (
    CheckpointConfig,
    ClusterOnly,
    Constraint,
    Experiment,
    FailureConfig,
    Mode,
    ResumeConfig,
    ResumeType,
    RunConfig,
    RunSpec,
    TuneConfig,
    check_cluster_only,
    check_config,
    check_durability,
    check_max_concurrent,
    check_metric_mode,
    one_storage_path,
    settings_places,
)
from fasttune.error import FolderGoneError, IncompleteTrialsError, TrialFailedError, TuneError
from fasttune.folder import JOURNAL, TUNER_FILE, UNFINISHED
from fasttune.nesting import begun
from fasttune.once import warn_in_run
from fasttune.plain_files import check_owner, plain_opener, write_whole
from fasttune.resolve import Call, resolve
from fasttune.resolve.settings import check_callbacks, steering_metric
from fasttune.resolve.trainables import as_experiments, chosen_executor, named_experiments
from fasttune.resolve.words import kind_of, log, name_of
from fasttune.working_directory import absolute

if TYPE_CHECKING:
    from fasttune.analysis import ExperimentAnalysis, ResultGrid
    from fasttune.callback import Callback
    from fasttune.engine.records import ExperimentRecords
    from fasttune.engine.state import ExperimentState
    from fasttune.executors.event_loops import AwaitedRun
    from fasttune.reporter.base import ProgressReporter
    from fasttune.schedulers.base import TrialScheduler
    from fasttune.scope import Scope
    from fasttune.search.base import SearchAlgorithm, Searcher
    from fasttune.trial import Trial
    from fasttune.warm_start import WarmStart

_awaited_by: ContextVar[AwaitedRun | None] = ContextVar("fasttune_awaited_by", default=None)
# They compute their configs themselves, and functions and requests come to them by value.
WORKERS_NEED = ("fasttune.space.variants", "fasttune.code_places", "fasttune.devices.resources")

Runnable = Callable[..., Any] | type | str
Path = str | os.PathLike[str]
_T = TypeVar("_T")


def run(
    run_or_experiment: Runnable | Experiment | Sequence[Runnable | Experiment],
    *,
    name: str | None = None,
    metric: str | Sequence[str] | None = None,
    mode: Mode | Sequence[Mode] | None = None,
    scope: Scope | None = None,
    constraints: Constraint = None,
    stop: Any = None,
    time_budget_s: float | timedelta | None = None,
    config: Mapping[str, Any] | None = None,
    resources_per_trial: Any = None,
    num_samples: int = 1,
    storage_path: Path | None = None,
    local_dir: Path | None = None,
    search_alg: Searcher | SearchAlgorithm | str | None = None,
    warm_start: WarmStart | ExperimentAnalysis | ResultGrid | Path | None = None,
    warm_start_from: Any = None,
    scheduler: TrialScheduler | str | None = None,
    max_t: float | None = None,
    on_duplicate: str = "allow",
    checkpoint_config: CheckpointConfig | Mapping[str, Any] | None = None,
    keep_checkpoints_num: int | None = None,
    checkpoint_score_attr: str | None = None,
    checkpoint_freq: int = 0,
    checkpoint_at_end: bool = False,
    verbose: int | None = None,
    progress_reporter: ProgressReporter | None = None,
    log_to_file: bool | str | Sequence[str] = False,
    trial_name_creator: Callable[[Trial], str] | None = None,
    trial_dirname_creator: Callable[[Trial], str] | None = None,
    max_failures: int = 0,
    fail_fast: Any = False,
    restore: Path | None = None,
    resume: bool | str | ResumeConfig | None = None,
    resume_config: ResumeConfig | None = None,
    reuse_actors: bool | None = None,
    raise_on_failed_trial: bool = True,
    callbacks: Sequence[Callback] | None = None,
    max_concurrent_trials: int | None = None,
    max_suspended: int | None = None,
    trial_timeout_s: float | timedelta | None = None,
    worker_max_trials: int | None = None,
    worker_max_memory: int | str | None = None,
    cpu_affinity: str | None = None,
    measure_usage: bool = False,
    durability: str = "process",
    trust: bool = False,
    executor: str | None = None,
    gpus: list[int | str] | None = None,
    gpu_policy: str = "pack",
    resources: Mapping[str, float] | None = None,
    user_attrs: Mapping[str, Any] | None = None,
    seed: int | None = None,
    **cluster_only: Unpack[ClusterOnly],
) -> ExperimentAnalysis:
    """Runs trials of ``run_or_experiment`` and returns their analysis.

    What runs:
        run_or_experiment: a function ``f(config)``, a Trainable class, a registered name, an Experiment, or
            a list of those. Several share one searcher and one scheduler; the limits of the first one hold
            for all.
        config: the search space, a dict of values and domains.
        num_samples: how often to sample the space (a grid is run as often); -1: until something else stops the run.
        search_alg: what suggests configs: a Searcher, or its name ("tpe", "gp", "auto", ...). None: random and grid search.
        warm_start: what the searcher knows already: ``tune.warm_start.from_optuna(study)`` and its like, or an earlier experiment
            (its analysis, or its folder). A run that goes on is given it again.
        warm_start_from: a list of earlier experiments, of another data set or space perhaps. Only the order of their trials counts:
            the searcher begins near the configs of the best ones, as far as they lie in this space. They are in the journal: a run
            that goes on needs the experiments no more.
        user_attrs: names and values that are attached to the run, e.g. ``{"dataset": "v3"}``, kept and shown, and steer nothing:
            ``analysis.user_attrs``. Those of a trial: :func:`fasttune.set_user_attr`.
        on_duplicate: what happens when a config comes twice. "allow": it is run again. "skip": another one is taken, and the
            search ends when a finite space is used up. "reuse": a config that another trial has been trained with gets
            that trial's result without being run.
        seed: the same seed gives the same configs for any number of workers.

    What is better, and what ends:
        metric, mode: the reported value by which trials are compared, and whether "min" or "max" is better. One without the
            other is an error, unless the scheduler or the searcher was made with its own. Lists of both for several: then the searcher
            looks for the Pareto front ("motpe" or "nsga2", if none is named), and the result is ``analysis.best_trials``. A
            scheduler that compares trials is made with the one metric that it is to go by.
        scope: which value of a trial says how good it is, on the screen, in the analysis and for the command line, also
            later: "last" (the default), "all" (the best of all its reports), "avg", "last-5-avg" or "last-10-avg". It
            changes no decision of a scheduler.
        constraints: what has to hold of a result, e.g. ``"latency <= 0.1"``, a list of those, or a function of a report's metrics
            that gives numbers (a dict, a list or one), at most 0 where a constraint holds. A trial may report its own:
            ``tune.report(loss=..., constraints={"memory": used - limit})``. Results that hold all of them come before those that do
            not, of which less is better: for schedulers, searchers, the screen and the analysis alike.
        scheduler: what stops, pauses and changes trials: a TrialScheduler, or its name ("asha", "hyperband", ...). None: nobody.
        max_t: the longest that a trial trains, in what the scheduler counts by (``time_attr``, mostly reports). It is the
            ``max_t`` of the scheduler that is named; where none is, that is "auto", and so is ``search_alg``, unless it is
            given. Most trials end long before it.
        stop: ``{"metric": value}``, a function ``(trial_id, result) -> bool``, a Stopper or a list of those; or "regret", which ends
            the run when more trials would hardly improve its metric (``fasttune.stopper.RegretStopper``).
        time_budget_s: seconds (or a timedelta) after which the run ends, and trials with it. One that is gone on with has all of it
            again, whatever time has passed.
        trial_timeout_s: seconds (or a timedelta) that one trial may run (its ``time_total_s``: an attempt from the start has all
            of it again). Then it is told to stop, and in a worker process ended half a second later, whatever it does; what it
            reported is kept, and ``trial.stop_reason`` says why.

    Where trials run:
        resources_per_trial: ``{"cpu": 2, "gpu": 0.5}``, ``{"cpu": 1, "gpu_memory": "6GB"}`` (a share of one GPU by its memory), a
            PlacementGroupFactory, or a function of the config. A trial that has more memory than the ``"memory"`` that it asks for
            is ended and fails, if it runs in a worker process.
        gpus: which GPUs may be used, by index or UUID; default: all that this process may see.
        gpu_policy: which GPUs a trial gets. "pack": a share goes to a GPU that is shared already. "spread": to the one that is used
            least. "close": as "pack", and a trial of several GPUs waits until the nearest to each other are free; under the others
            it gets the nearest of those that are free.
        resources: kinds of resources of your own, and how much of each there is, e.g. ``{"licence": 4}``; trials ask for
            them in ``resources_per_trial``. A run that goes on has those of before, unless it says others.
        max_concurrent_trials: at most so many at once; None: as many as fit. Of async functions 10,000, of vectorized ones their
            size; or as many as a searcher suggests well before it hears of results (``Searcher.batch_size``, mostly 16).
        executor: "process" (trials run in worker processes), "thread" (in threads of this process), "inline" (one after the
            other in this process's own thread), "async" (async functions, thousands at once in this thread) or "vector" (functions
            made by ``tune.vectorized``, in this thread; "process" and "thread" take them, too), or "ray" (in worker processes on the
            nodes of a Ray cluster, with the extra ``ray``). None: the last two but one for such functions, else "process".
        worker_max_trials, worker_max_memory: a worker process that has run so many trials, or has so much memory of its own (bytes, or
            "2GB"), ends when its trial is over, and a fresh one comes in its place: for libraries that leak.
        cpu_affinity: "cores": a worker process runs on the CPUs of its trial and on no others; whole ones are nobody else's, fractions
            share one. None: wherever the system puts it.
        measure_usage: each report also has what its trial has used so far: ``peak_memory_bytes``, ``cpu_seconds`` and, with a GPU,
            ``peak_gpu_memory_bytes`` and ``gpu_utilization`` (percent). In worker processes only.
        reuse_actors: objects of a Trainable class are kept for other trials, if their ``reset_config`` says yes.
        max_suspended: how many paused trials stay in memory where they are (default 1000). Beyond it, those that
            have a checkpoint of where they are, or can save one (classes), are put away and go on from it later; a
            function without one always stays.

    What is stored:
        name: the experiment's folder below ``storage_path``. Default: the trainable's name and the date.
        storage_path: where experiments are stored; default ``$FASTTUNE_RESULTS_DIR`` or
            ``~/fasttune_results``. ``local_dir`` is its old name.
        trial_name_creator, trial_dirname_creator: functions of a Trial that name it, and its folder.
        log_to_file: what trials print goes to files in their folders, too: True (``stdout`` and ``stderr``), a name, or two.
        durability: "process": a report that returned survives the death of every process. "full": it survives a power cut
            too; each one waits until the disk has it (a millisecond or so, many at a time).

    Checkpoints:
        checkpoint_config: a CheckpointConfig. ``keep_checkpoints_num``, ``checkpoint_score_attr`` ("min-loss" for a loss),
            ``checkpoint_freq`` and ``checkpoint_at_end`` say the same in the old way; the last two are for classes.
        restore: a checkpoint's folder from which every trial starts.

    Failures, and going on:
        max_failures: how often one trial is tried again, from its last checkpoint; -1: without limit.
        fail_fast: True ends the run at the first failure; "raise" also raises the trial's own exception.
        raise_on_failed_trial: a failed trial makes ``run`` raise TuneError, after all others have ended.
        resume: "AUTO" goes on with the experiment of that name if there is one; True insists on one. ``resume_config``, a
            ResumeConfig, says it for each kind of trial.
        trust: go on with an experiment whose files belong to another user. Going on unpickles what trials saved as dicts.

    What is seen:
        verbose: 0 (nothing but what trials print), 1 (status), 2 (and a line for each result) or 3 (and every result in full).
        progress_reporter: a ProgressReporter; None: one that suits the terminal or notebook.
        callbacks: a list of Callbacks, told of everything that happens.

    Options that mean something on a cluster only (ClusterOnly) are taken as long as they ask for nothing.

    Raises:
        ValueError, TypeError: something asked for cannot be, said before any trial starts.
        IncompleteTrialsError: a trial failed and ``raise_on_failed_trial`` is true, or no trial has reported the metric. A
            TuneError; its ``analysis`` is what would have been returned.
    """
    check_keywords(run, cluster_only.keys() - ClusterOnly.__annotations__.keys())
    check_cluster_only(**cluster_only)
    FailureConfig(max_failures, fail_fast)  # both together, before either is taken apart
    for_one_experiment = {
        "stop": stop,
        "time_budget_s": time_budget_s,
        "config": config,
        "resources_per_trial": resources_per_trial,
        "num_samples": num_samples,
        "checkpoint_config": checkpoint_config,
        "keep_checkpoints_num": keep_checkpoints_num,
        "checkpoint_score_attr": checkpoint_score_attr,
        "checkpoint_freq": checkpoint_freq,
        "checkpoint_at_end": checkpoint_at_end,
        "trial_name_creator": trial_name_creator,
        "trial_dirname_creator": trial_dirname_creator,
        "log_to_file": log_to_file,
        "max_failures": max_failures,
        "restore": restore,
    }
    call = Call(
        name=name,
        storage_path=one_storage_path(storage_path, local_dir),
        metric=metric,
        mode=mode,
        scope=scope,
        constraints=constraints,
        search_alg=search_alg,
        warm_start=warm_start,
        warm_start_from=warm_start_from,
        on_duplicate=on_duplicate,
        scheduler=scheduler,
        max_t=max_t,
        max_concurrent=check_max_concurrent(max_concurrent_trials),
        max_suspended=max_suspended,
        trial_timeout_s=trial_timeout_s,
        worker_max_trials=worker_max_trials,
        worker_max_memory=worker_max_memory,
        cpu_affinity=cpu_affinity,
        measure_usage=measure_usage,
        durability=durability,
        trust=trust,
        fail_fast=fail_fast,
        resume=resume,
        resume_config=resume_config,
        reuse_actors=bool(reuse_actors),
        callbacks=check_callbacks(callbacks),
        progress_reporter=progress_reporter,
        verbose=verbose,
        executor=executor,
        gpus=gpus,
        gpu_policy=gpu_policy,
        resources=resources,
        user_attrs=user_attrs,
        seed=seed,
        raise_on_failed_trial=raise_on_failed_trial,
    )
    return carry_out(run_or_experiment, for_one_experiment, call)


def carry_out(
    run_or_experiment: Any,
    about_one: Mapping[str, Any],
    call: Call,
    begin: Callable[[RunSpec], None] | None = None,
    preload: tuple[str, ...] = (),
) -> ExperimentAnalysis:
    """What :func:`run` does with its arguments once they are taken apart: those that are about one experiment, and how the
    run is steered. ``begin`` is called before the first trial, when the folder is this run's alone. ``preload`` names modules
    that every worker will need, to be loaded once for all of them."""
    call.awaited = _awaited_by.get()
    _awaited_by.set(None)  # what trials and callbacks begin is awaited by nobody
    awaited_here = call.awaited is not None and call.awaited.is_here
    experiments = as_experiments(run_or_experiment, about_one)
    call.executor = chosen_executor(call.executor, experiments)
    with begun("tune.run", awaited_here), workers_launched(call.executor, preload):
        spec = resolve(experiments, call)
        if begin is not None:
            before_the_run(spec, lambda: begin(spec))
        return analysis_of(execute(spec), spec)


async def arun(run_or_experiment: Any, **arguments: Any) -> ExperimentAnalysis:
    """:func:`run` to be awaited, with the same arguments, where an event loop runs: in a web server, or a notebook.

    Trials of async functions are tasks of that loop (``executor="async"``), beside whatever else it runs. With other executors
    the run is in a thread of its own. Whoever cancels what awaits it ends the run softly: its trials are cancelled and clean up,
    what they have reported is stored, and ``resume="AUTO"`` goes on with them. Signals are left to whoever runs the loop.
    """
    from fasttune.executors import OF_COROUTINES
    from fasttune.executors.event_loops import AwaitedRun

    awaited = AwaitedRun()
    token = _awaited_by.set(awaited)
    try:
        if _executor_of(run_or_experiment, arguments) == OF_COROUTINES:
            return await awaited.in_tasks(partial(run, run_or_experiment, **arguments))
        return await awaited.in_thread(partial(run, run_or_experiment, **arguments))
    finally:
        _awaited_by.reset(token)


def _executor_of(given: Any, arguments: Mapping[str, Any]) -> str:
    """The executor of a run of this."""
    several = list(given) if isinstance(given, (list, tuple)) else [given]
    experiments = [one if isinstance(one, Experiment) else Experiment(None, one) for one in several]
    return chosen_executor(arguments.get("executor"), experiments)


def run_experiments(
    experiments: Experiment | Mapping[str, Any] | Sequence[Any],
    scheduler: TrialScheduler | str | None = None,
    verbose: int | None = None,
    progress_reporter: ProgressReporter | None = None,
    resume: bool | str | ResumeConfig | None = None,
    resume_config: ResumeConfig | None = None,
    reuse_actors: bool | None = None,
    raise_on_failed_trial: bool = True,
    concurrent: bool = True,
    callbacks: Sequence[Callback] | None = None,
    durability: str = "process",
    trust: bool = False,
    resources: Mapping[str, float] | None = None,
    scope: Scope | None = None,
    user_attrs: Mapping[str, Any] | None = None,
    **unknown: Never,
) -> list[Trial]:
    """Runs experiments given as ``{name: spec}``, as an Experiment or as a list, and returns their trials.

    All of them run at the same time, or with ``concurrent=False`` one after another. ``durability``, ``trust``,
    ``resources``, ``scope`` and ``user_attrs`` are those of :func:`run`.
    """
    check_keywords(run_experiments, unknown)
    groups = [named_experiments(experiments)]
    if not concurrent:
        groups = [[one] for one in groups[0]]
    trials: list[Trial] = []
    for group in groups:
        call = Call(
            storage_path=group[0].storage_path,
            scheduler=scheduler,
            verbose=verbose,
            progress_reporter=progress_reporter,
            resume=resume,
            resume_config=resume_config,
            reuse_actors=bool(reuse_actors),
            callbacks=check_callbacks(callbacks),
            raise_on_failed_trial=raise_on_failed_trial,
            durability=durability,
            trust=trust,
            door="run_experiments",
            resources=resources,
            scope=scope,
            user_attrs=user_attrs,
        )
        with begun("tune.run_experiments"):
            spec = resolve(group, call)
            trials.extend(analysis_of(execute(spec), spec).trials)
    return trials


class Tuner:
    """Runs a trainable over a space and gives the results as a ResultGrid; failed trials do not raise.

    ``Tuner(f, param_space=..., tune_config=TuneConfig(...), run_config=RunConfig(...)).fit()``. What ``fit``
    was asked is kept beside the experiment, so that ``Tuner.restore(path, f).fit()`` can go on with it.
    """

    def __init__(
        self,
        trainable: Runnable | None = None,
        *,
        param_space: Mapping[str, Any] | None = None,
        tune_config: TuneConfig | None = None,
        run_config: RunConfig | None = None,
        **unknown: Never,
    ) -> None:
        for wrong in unknown:
            from fasttune.other_words import unexpected

            raise unexpected("Tuner", wrong, ("trainable", "param_space", "tune_config", "run_config"), settings_places())
        if trainable is None:
            raise TuneError(
                "a Tuner needs something to run: a function, a Trainable class or a registered name"
            )
        self._trainable = trainable
        self._param_space = check_param_space(param_space)
        self._tune_config = _instance(tune_config, TuneConfig, "tune_config")
        self._run_config = _instance(run_config, RunConfig, "run_config")
        self._resume: ResumeConfig | None = None
        self._path: str | None = None
        self._trust = False
        self._state: ExperimentRecords | None = None
        self.restore = self._no_restore  # type: ignore[method-assign]
        self._experiment()  # what is wrong with the settings is said here, not when fit() is called

    def fit(self) -> ResultGrid:
        """Runs the trials and returns their results."""
        kept = self._pickled()  # before the run, which changes searcher and scheduler
        experiments, call = [self._experiment()], self._call()
        call.executor = chosen_executor(call.executor, experiments)
        with begun("Tuner.fit"), workers_launched(call.executor):
            spec = resolve(experiments, call)
            self._path = spec.path
            before_the_run(spec, lambda: _write_tuner_file(spec.path, kept))
            self._state = execute(spec)
        return self._grid(self._state, spec.metric, spec.mode)

    def get_results(self) -> ResultGrid:
        """The results of the last ``fit``, or of the experiment that was restored."""
        if self._state is None and self._path is not None:
            from fasttune.engine.opening import open_records

            self._state = open_records(self._path)
        if self._state is None:
            raise RuntimeError(
                "there are no results yet: call fit() first, or Tuner.restore(path, trainable)"
            )
        return self._grid(self._state, *check_metric_mode(self._tune_config.metric, self._tune_config.mode))

    @classmethod
    def restore(
        cls,
        path: Path,
        trainable: Runnable | None = None,
        resume_unfinished: bool = True,
        resume_errored: bool = False,
        restart_errored: bool = False,
        param_space: Mapping[str, Any] | None = None,
        storage_filesystem: object = None,
        *,
        tune_config: TuneConfig | None = None,
        run_config: RunConfig | None = None,
        trust: bool = False,
        new_space: bool = False,
    ) -> Tuner:
        """A Tuner that goes on with the experiment at ``path``; finished trials are not run again.

        The trainable must bear the same name, and ``param_space``, if given, be the same as before; with ``new_space``
        another one holds from the next trial on, and ``num_samples`` counts its trials alone.
        ``tune_config`` and ``run_config`` default to those of the first run, which are read from a pickle in
        the experiment's folder, ``tuner.pkl``. Going on unpickles that, and what trials saved as dicts: restore only
        experiments whose origin you trust. Files that belong to another user are refused, unless ``trust`` is true.
        (Looking at results reads no pickle.) FileNotFoundError when there is no experiment.
        """
        check_cluster_only(storage_filesystem=storage_filesystem)
        folder = absolute(path, "the experiment")
        if not cls.can_restore(folder):
            raise FileNotFoundError(f"no experiment to restore in {folder}: there is no {JOURNAL}")
        if trainable is None:
            raise ValueError(f"Tuner.restore({folder!r}) needs the trainable that the experiment ran")
        before: dict[str, Any] = {}
        if param_space is None or tune_config is None or run_config is None:
            before = _read_tuner_file(folder, trust)
        space = check_param_space(before["param_space"] if param_space is None else param_space)
        tune_config = tune_config or before["tune_config"]
        check_same_experiment(folder, name_of(trainable), space, tune_config.scheduler, new_space)
        tuner = cls(
            trainable,
            param_space=space,
            tune_config=tune_config,
            run_config=run_config or before["run_config"],
        )
        tuner._path = folder
        tuner._trust = trust
        tuner._resume = replace(
            restore_config(resume_unfinished, resume_errored, restart_errored), new_space=bool(new_space)
        )
        return tuner

    @classmethod
    def can_restore(cls, path: Path, storage_filesystem: object = None) -> bool:
        """Whether ``path`` holds an experiment."""
        check_cluster_only(storage_filesystem=storage_filesystem)
        return os.path.exists(os.path.join(os.path.expanduser(os.fspath(path)), JOURNAL))

    def _no_restore(self, *args: object, **keywords: object) -> Never:
        raise AttributeError(
            "restore makes a new Tuner: call Tuner.restore(path, trainable), not tuner.restore(...)"
        )

    def _experiment(self) -> Experiment:
        run, tune = self._run_config, self._tune_config
        check_metric_mode(tune.metric, tune.mode)
        if isinstance(tune.metric, str) and tune.mode is None:
            steering_metric(tune.metric, None, tune.scheduler, tune.search_alg)
        check_durability(run.durability)
        checkpoint = run.checkpoint_config or CheckpointConfig()
        if checkpoint.checkpoint_at_end is None and isinstance(self._trainable, type):
            checkpoint = replace(checkpoint, checkpoint_at_end=True)
        return Experiment(
            run.name,
            self._trainable,
            stop=run.stop,
            time_budget_s=tune.time_budget_s,
            config=self._param_space,
            num_samples=tune.num_samples,
            storage_path=run.storage_path,
            local_dir=run.local_dir,
            storage_filesystem=run.storage_filesystem,
            sync_config=run.sync_config,
            checkpoint_config=checkpoint,
            trial_name_creator=tune.trial_name_creator,
            trial_dirname_creator=tune.trial_dirname_creator,
            log_to_file=run.log_to_file,
            max_failures=(run.failure_config or FailureConfig()).max_failures,
        )

    def _call(self) -> Call:
        run, tune = self._run_config, self._tune_config
        check_cluster_only(chdir_to_trial_dir=tune.chdir_to_trial_dir)
        return Call(
            name=run.name,
            storage_path=one_storage_path(run.storage_path, run.local_dir),
            metric=tune.metric,
            mode=tune.mode,
            scope=tune.scope,
            constraints=tune.constraints,
            search_alg=tune.search_alg,
            warm_start=tune.warm_start,
            warm_start_from=tune.warm_start_from,
            on_duplicate=tune.on_duplicate,
            scheduler=tune.scheduler,
            max_t=tune.max_t,
            max_concurrent=check_max_concurrent(tune.max_concurrent_trials),
            fail_fast=(run.failure_config or FailureConfig()).fail_fast,
            resume_config=self._resume,
            restored_path=self._path if self._resume is not None else None,
            reuse_actors=bool(tune.reuse_actors),
            callbacks=check_callbacks(run.callbacks),
            progress_reporter=run.progress_reporter,
            verbose=run.verbose,
            executor=run.executor,
            gpus=run.gpus,
            gpu_policy=run.gpu_policy,
            resources=run.resources,
            user_attrs=run.user_attrs,
            seed=run.seed,
            max_suspended=run.max_suspended,
            trial_timeout_s=run.trial_timeout_s,
            worker_max_trials=run.worker_max_trials,
            worker_max_memory=run.worker_max_memory,
            cpu_affinity=run.cpu_affinity,
            measure_usage=run.measure_usage,
            durability=run.durability,
            trust=self._trust,
            raise_on_failed_trial=False,
            door="Tuner",
        )

    def _pickled(self) -> bytes | None:
        import cloudpickle

        kept = {
            "param_space": self._param_space,
            "tune_config": self._tune_config,
            "run_config": self._run_config,
        }
        try:
            return bytes(cloudpickle.dumps(kept))
        except Exception as error:  # whatever a __reduce__ of the user's raises
            log("Tuner.restore will need tune_config and run_config again, they cannot be pickled: %r", error)
            return None

    def _grid(self, state: ExperimentRecords, metric: str | None, mode: str | None) -> ResultGrid:
        from fasttune.analysis import ExperimentAnalysis, ResultGrid

        return ResultGrid(ExperimentAnalysis(state, default_metric=metric, default_mode=mode))

    def __repr__(self) -> str:
        return f"Tuner({name_of(self._trainable)}, {self._tune_config!r}, {self._run_config!r})"


def workers_launched(executor: str | None, preload: tuple[str, ...] = ()) -> AbstractContextManager[None]:
    """Begins to start what worker processes come from, so that it gets ready while the run is being set up."""
    if executor not in (None, "process"):
        return nullcontext()
    from fasttune.executors.server import launched_early

    return launched_early(preload=WORKERS_NEED + preload)


def before_the_run(spec: RunSpec, write: Callable[[], None]) -> None:
    """What a door writes into the folder of a run before that begins. FolderGoneError when somebody has removed it meanwhile."""
    try:
        write()
    except BaseException as error:
        if spec.lock is not None:
            spec.lock.release()
        if isinstance(error, FileNotFoundError) and not os.path.isdir(spec.path):
            raise FolderGoneError(f"{spec.path} has been removed before the run began") from None
        raise


def execute(spec: RunSpec) -> ExperimentState:
    """Carries the run out, and raises for failed trials if that was asked."""
    from fasttune.engine.loop import execute as carry_out

    state = carry_out(spec)
    if spec.raise_on_failed_trial and not state.interrupted:
        raise_if_incomplete(state, spec)
    elif state.ending.lacking:
        warn_in_run(f"the run was ended: {state.ending.lacking}", RuntimeWarning, stacklevel=3)
    return state


def raise_if_incomplete(state: ExperimentState, spec: RunSpec) -> None:
    """Raises IncompleteTrialsError, chained to the first failure, if any trial failed or the metric never came.

    Trials that were still waiting when the run was over, out of time for instance, are no failure.
    """
    failed = state.trials_of("ERROR")
    if not failed and not state.ending.lacking:
        return
    failure = state.failure(failed[0].index) if failed else None
    text = failure.text.rstrip("\n") if failure is not None else ""
    # The trial's own exception, if it has come here as an object; another one would only repeat the text.
    cause = failure.exception if failure is not None else None
    if isinstance(cause, TrialFailedError):
        cause = None
    why = state.ending.lacking or "Trials did not complete"
    raise IncompleteTrialsError(why, failed, analysis_of(state, spec), text) from cause


def analysis_of(state: ExperimentState, spec: RunSpec) -> ExperimentAnalysis:
    """The analysis of a run, with the run's metric and mode as what "best" means."""
    from fasttune.analysis import ExperimentAnalysis

    return ExperimentAnalysis(state, default_metric=spec.metric, default_mode=spec.mode)


def restore_config(resume_unfinished: bool, resume_errored: bool, restart_errored: bool) -> ResumeConfig:
    """What Tuner.restore's three switches say about each kind of trial."""
    if resume_errored and restart_errored:
        raise ValueError(
            "resume_errored and restart_errored are both true: a failed trial can do one of them"
        )
    errored = (
        ResumeType.RESUME if resume_errored else ResumeType.RESTART if restart_errored else ResumeType.SKIP
    )
    return ResumeConfig(
        unfinished=ResumeType.RESUME if resume_unfinished else ResumeType.SKIP, errored=errored
    )


def check_param_space(space: object) -> dict[str, Any]:
    """The space of a Tuner as a dict of its own."""
    if space is not None and not isinstance(space, Mapping):
        raise ValueError(f"param_space must be a dict, got {type(space).__name__}: {space!r:.80}")
    if space and "run_config" in space:
        raise ValueError(
            "param_space must not hold 'run_config': give run_config=RunConfig(...) to the Tuner"
        )
    return check_config(space)


def check_same_experiment(
    folder: str, name: str, space: Mapping[str, Any], scheduler: TrialScheduler | str | None, new_space: bool
) -> None:
    """Refuses to go on with an experiment of another trainable, or over another space unless that is meant."""
    from fasttune.engine.going_on import check_space, latest
    from fasttune.engine.meta import read_metas
    from fasttune.schedulers import TrialScheduler
    from fasttune.storage.reader import SqliteReader

    asked = latest(read_metas(SqliteReader(folder), folder))
    ran = asked["trainables"][0]
    if ran["name"] != name:
        raise ValueError(
            f"the experiment in {folder} ran {ran['name']!r}, and {name!r} was given to go on with it: "
            "Tuner.restore needs the same trainable, under the same name"
        )
    if not new_space:
        check_space(folder, asked, scheduler.complete_space(space) if isinstance(scheduler, TrialScheduler) else space)


def _write_tuner_file(folder: str, kept: bytes | None) -> None:
    if kept is None:
        return
    write_whole(os.path.join(folder, TUNER_FILE), kept, UNFINISHED)


def _read_tuner_file(folder: str, trust: bool) -> dict[str, Any]:
    import pickle

    try:
        with open(os.path.join(folder, TUNER_FILE), "rb", opener=plain_opener) as file:
            if not trust:
                check_owner(file.name, os.fstat(file.fileno()), "unpickled")
            kept = pickle.load(file)
    except (OSError, pickle.UnpicklingError, EOFError, ImportError, AttributeError) as error:
        raise ValueError(
            f"the settings of the experiment in {folder} cannot be read ({type(error).__name__}: {error}): "
            "give "
            "param_space, tune_config and run_config to Tuner.restore"
        ) from error
    return dict(kept)


def check_keywords(function: Callable[..., Any], unknown: Collection[str]) -> None:
    """Refuses keyword arguments that do not exist, and names the one that was probably meant."""
    for wrong in unknown:
        import inspect

        from fasttune.other_words import unexpected

        known = [name for name in inspect.signature(function).parameters if name not in ("unknown", "cluster_only")]
        elsewhere = {"Tuner({})": ("param_space", "tune_config", "run_config")} if wrong != "param_space" else {}
        raise unexpected(function.__name__, wrong, known, elsewhere)


def _instance(value: _T | None, kind: type[_T], name: str) -> _T:
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {kind_of(value)}")
    return value
