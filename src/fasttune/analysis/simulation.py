"""``tune.simulate``: a run in virtual time, and what came out of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fasttune.analysis.curves import Cost, Curves, Listed, curves_of
from fasttune.analysis.experiment_analysis import ExperimentAnalysis
from fasttune.analysis.fresh import copied
from fasttune.config import FailureConfig, RunSpec, TrainableSpec, check_metric_mode, objectives_of, resolve_seconds
from fasttune.resolve.call import Call
from fasttune.scope import DEFAULT_SCOPE, Scope, check_scope
from fasttune.space.seeds import seed_from
from fasttune.stopper import tell_stop_goal

if TYPE_CHECKING:
    import pandas as pd

    from fasttune.config import Constraint, Experiment, Mode
    from fasttune.engine.virtual import VirtualLoop
    from fasttune.schedulers import TrialScheduler
    from fasttune.search.base import SearchAlgorithm, Searcher


class Simulation(ExperimentAnalysis):
    """An ExperimentAnalysis whose times are virtual seconds since the beginning. Nothing of it is on disk."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(loop.state, default_metric=loop.spec.metric, default_mode=loop.spec.mode)
        #: Virtual seconds from the beginning until the last trial was over.
        self.seconds = loop.virtual.now
        #: Virtual seconds that workers were busy, all together.
        self.busy_seconds = loop.virtual.busy
        #: Steps that were trained, all trials together; those that a retry repeated count again.
        self.epochs = loop.state.table.reports - loop.echoes
        self.workers = loop.virtual.workers
        #: The scheduler that decided (a copy of the one given).
        self.scheduler = loop.spec.scheduler
        #: Ids of the trials that would have gone on where their recorded curve ends.
        self.truncated = [loop.state.trial_id(i) for i in sorted(loop.virtual.truncated)]

    def best_over_time(self) -> pd.DataFrame:
        """A line for each report that was better than all before it, and held its constraints: time, epochs up to then, trial_id, the
        metric.

        ValueError without a metric and mode.
        """
        import numpy as np
        import pandas as pd

        metric, mode = self._metric(None), self._mode(None)
        columns = self._columns
        order = np.argsort(columns.time, kind="stable")
        values, present = columns.metric(metric)
        holds = present if columns.violation is None else present & ~(columns.violation > 0.0)
        score = np.where(holds, values, np.nan)[order]
        score = np.where(np.isnan(score), -np.inf, score if mode == "max" else -score)
        best = np.maximum.accumulate(score)
        first = np.ones(min(1, len(best)), dtype=np.bool_)
        better = np.flatnonzero(np.concatenate([first, best[1:] > best[:-1]]) & (best > -np.inf))
        rows = order[better]
        ids = [self._source.trial_id(int(i)) for i in columns.trial[rows]]
        return pd.DataFrame(
            {"time": columns.time[rows], "epochs": better + 1, "trial_id": ids, metric: values[rows]}
        )

    def __repr__(self) -> str:
        return f"<Simulation of {len(self.trials)} trials: {self.epochs} epochs in {self.seconds:g} virtual seconds>"


def simulate(
    curves: Any,
    config: Any = None,
    *,
    cost: Cost | None = None,
    steps: int | None = None,
    num_samples: int | None = None,
    metric: str | Sequence[str] | None = None,
    mode: Mode | Sequence[Mode] | None = None,
    scope: Scope = DEFAULT_SCOPE,
    constraints: Constraint = None,
    scheduler: TrialScheduler | str | None = None,
    search_alg: Searcher | SearchAlgorithm | str | None = None,
    warm_start: Any = None,
    warm_start_from: Any = None,
    on_duplicate: str = "allow",
    max_t: float | None = None,
    stop: Any = None,
    workers: int = 1,
    time_budget_s: float | timedelta | None = None,
    failures: float = 0.0,
    max_failures: int = 0,
    resources_per_trial: Any = None,
    seed: int = 0,
) -> Simulation:
    """Runs an experiment in virtual time: the same state, scheduler, searcher and stop criteria as ``tune.run``, over
    learning curves that are known. The same arguments give the same result, to the last bit.

    Args:
        curves: a function ``curve(config, step)`` that gives the report of a step (a dict or a number, None when training
            is over before it), a generator function ``curve(config)``, or one made by ``tune.vectorized``, which is asked for each
            trial alone; or a table: a data frame with a line per config and
            step (columns ``config``, ``step``, metrics, and ``config/<name>`` for parameters), or a dict of arrays of
            shape (configs, steps), where NaN ends a curve; or an experiment that was run (ExperimentAnalysis or path).
        config: the search space of a function; for a dict of arrays the list of its configs.
        cost: virtual seconds of a step: a number (default 1), the name of a metric, or a function(config, step). Of an
            experiment by default what each step took.
        steps: a curve by ``curve(config, step)`` ends after so many (default 100).
        num_samples: as in ``tune.run``; of recorded curves the first so many (default all).
        metric, mode, scope, constraints, warm_start, warm_start_from, on_duplicate: as in ``tune.run``, lists of metrics and modes,
            too. Of recorded curves the configs are those that were tried, so nothing is searched there.
        scheduler, search_alg, stop: copies of them are used, so that they can be given again.
        max_t: the longest that a trial trains, as in ``tune.run``: where no scheduler is named, that is "auto" then, and so is the
            searcher of a function's curves.
        workers: trials at a time; a trial that asks for n CPUs occupies n of them.
        time_budget_s: of virtual time.
        failures: chance that a step of a function's curve fails; ``max_failures`` as in ``tune.run``. An exception of the
            function fails its trial, too.
        seed: of the search space and of failures.

    A trial that goes on from another one's checkpoint is at that trial's step, on the curve of its own config.
    """
    from fasttune.engine.virtual import VirtualLoop

    check_numbers(workers, steps, failures)
    seed = seed_from(seed, "seed")
    call = Call(
        metric=metric, mode=mode, scope=check_scope(scope), constraints=constraints, search_alg=copied(search_alg),
        warm_start=warm_start, warm_start_from=warm_start_from, on_duplicate=on_duplicate, scheduler=copied(scheduler),
        max_t=max_t, seed=seed,
    )  # fmt: skip
    one, _ = check_metric_mode(metric, mode)
    source = curves_of(curves, cost, steps, config, one, failures, seed)
    experiment = as_experiment(source, config, num_samples, copied(stop), resources_per_trial, max_failures)
    spec = spec_of(source, experiment, call, seed, resolve_seconds(time_budget_s))
    loop = VirtualLoop(spec, source.curve, workers)
    loop.run()
    return Simulation(loop)


def curve(config: dict[str, Any]) -> None:
    """What a simulated experiment runs, by name: nothing is ever called."""


def as_experiment(
    source: Curves, config: Any, num_samples: int | None, stop: Any, resources: Any, max_failures: int
) -> Experiment:
    """What is to be run, as the other doors describe it."""
    from fasttune.config import Experiment

    if source.configs is not None:
        most = len(source.configs)
        if num_samples is not None and not 0 < num_samples <= most:
            raise ValueError(f"num_samples must be from 1 to {most}, the number of recorded curves, got {num_samples}")
        config, num_samples = {}, num_samples or most
    return Experiment(
        "simulation",
        curve,
        config=config,
        num_samples=1 if num_samples is None else num_samples,
        stop=stop,
        resources_per_trial=resources,
        max_failures=max_failures,
    )


def spec_of(source: Curves, experiment: Experiment, call: Call, seed: int, time_budget_s: float | None) -> RunSpec:
    """The RunSpec of a simulation: as ``resolve`` makes it, without a folder and without asking for the machine."""
    from fasttune.resolve.search_of_run import SearchOfRun, searcher_of_run
    from fasttune.resolve.searchers import objectives_of_searcher, own_limit, resolve_searcher
    from fasttune.resolve.settings import (
        chosen_scheduler,
        longest_training,
        resolve_constraints,
        resolve_scheduler,
        resolve_stop_rules,
        steering_metric,
    )
    from fasttune.resolve.trainables import resolve_request, with_space

    objectives = objectives_of(call.metric, call.mode)
    metric, mode = check_metric_mode(call.metric, call.mode)
    scheduler = chosen_scheduler(call.scheduler, call.max_t, (), experiment.stop, says=None)
    scheduler = resolve_scheduler(scheduler, metric, mode, experiment.public_spec, objectives)
    experiment = with_space(experiment, scheduler.complete_space(experiment.config))
    if source.configs is None:
        found = searcher_of_run(call, scheduler, [experiment], [], metric, mode, objectives, seed, verbose=0)
    else:
        searches = {
            "search_alg": call.search_alg, "warm_start": call.warm_start, "warm_start_from": call.warm_start_from,
            "on_duplicate": None if call.on_duplicate == "allow" else call.on_duplicate,
        }  # fmt: skip
        for name, value in searches.items():
            if value is not None:
                raise ValueError(f"recorded curves are those of their configs: {name} needs curves by a function")
        found = SearchOfRun(resolve_searcher(Listed(source.configs), metric, mode, [experiment], None, seed), [], None, None)
    searcher = found.searcher
    metric, mode = steering_metric(metric, mode, scheduler, searcher)
    stop = resolve_stop_rules(experiment)
    tell_stop_goal(stop, metric, mode, scheduler.compares, longest_training(scheduler))
    return RunSpec(
        name="simulation",
        path="",
        trainables=[
            TrainableSpec(
                "curve",
                curve,
                resolve_request(curve, experiment.resources_per_trial),
                experiment.config,
                experiment.num_samples if found.num_samples is None else found.num_samples,
                "simulation",
            )
        ],
        metric=metric,
        mode=mode,
        scope=call.scope or DEFAULT_SCOPE,
        constraints=resolve_constraints(call.constraints, [], metric, mode, of_columns=False),
        near=found.near,
        taught=found.taught,
        objectives=objectives or objectives_of_searcher(searcher),
        on_duplicate=call.on_duplicate,
        searcher=searcher,
        scheduler=scheduler,
        stop=stop,
        time_budget_s=time_budget_s,
        failure=FailureConfig(experiment.max_failures, False),
        max_concurrent=own_limit(searcher),
        executor="inline",
        seed=seed,
        raise_on_failed_trial=False,
    )


def check_numbers(workers: object, steps: object, failures: object) -> None:
    """Refuses numbers that mean nothing."""
    for name, value in (("workers", workers), ("steps", 1 if steps is None else steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    if isinstance(failures, bool) or not isinstance(failures, (int, float)) or not 0.0 <= failures <= 1.0:
        raise ValueError(f"failures is the chance that a step fails, from 0 to 1, got {failures!r}")



