"""An experiment whose trials somebody else runs: ask for a config, tell what came of it; everything is stored."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fasttune import _core
from fasttune.engine.loop import TuneLoop
from fasttune.executors.manual import ManualExecutor
from fasttune.search.base import Suggestion
from fasttune.storage.reader import SqliteReader
from fasttune.user_attrs import as_json, check_user_attrs

if TYPE_CHECKING:
    from fasttune.analysis import ExperimentAnalysis
    from fasttune.config import Constraint, Mode, RunSpec
    from fasttune.schedulers import TrialScheduler
    from fasttune.scope import Scope
    from fasttune.search import SearchAlgorithm, Searcher
    from fasttune.warm_start import WarmStart


def told_by_hand(config: dict[str, Any]) -> None:
    """What an experiment of ``open_experiment`` runs, by name: it is never called."""


def open_experiment(
    config: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    metric: str | Sequence[str] | None = None,
    mode: Mode | Sequence[Mode] | None = None,
    scope: Scope | None = None,
    constraints: Constraint = None,
    search_alg: Searcher | SearchAlgorithm | str | None = None,
    warm_start: WarmStart | ExperimentAnalysis | str | os.PathLike[str] | None = None,
    warm_start_from: Any = None,
    scheduler: TrialScheduler | str | None = None,
    max_t: float | None = None,
    num_samples: int = -1,
    on_duplicate: str = "allow",
    stop: Any = None,
    storage_path: str | os.PathLike[str] | None = None,
    resume: bool | str | None = "AUTO",
    seed: int | None = None,
    durability: str = "process",
    trust: bool = False,
    user_attrs: Mapping[str, Any] | None = None,
) -> OpenExperiment:
    """An experiment in which you run the trials: ``ask`` for one, ``report`` on it, ``tell`` how it ended.

    Everything is in the journal when a method returns. Opened again under the same name it goes on: the searcher knows
    what was told, and trials that were asked for and not told are given out again. Use it as a context manager, or close it.

    Args:
        config: the search space.
        num_samples: how many trials there are at most; -1: no end.
        resume: "AUTO" goes on with the experiment of that name if there is one, None begins a new one.
        trust: go on in a folder whose files belong to another user.
        durability: "process": what was told survives the death of this process; "full": a power cut, too.

    The other arguments are those of ``tune.run``.

    Raises:
        ValueError, TypeError: something asked for cannot be.
        ExperimentLockedError: another process has the experiment open.
        FolderGoneError: (from the methods) its folder was removed, replaced or made read-only; what was told so far is still
            in ``analysis``.
    """
    from fasttune import nesting
    from fasttune.config import Experiment, one_storage_path
    from fasttune.resolve import Call, resolve

    nesting.check_loaded("tune.open_experiment")
    experiment = Experiment(name or "told_by_hand", told_by_hand, config=config, num_samples=num_samples, stop=stop)
    call = Call(
        name=name,
        storage_path=one_storage_path(storage_path, None),
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
        resume=resume if name is not None else None,
        verbose=0,
        executor="inline",
        seed=seed,
        durability=durability,
        trust=trust,
        user_attrs=user_attrs,
    )
    return OpenExperiment(resolve([experiment], call))


class OpenExperiment:
    """What ``open_experiment`` returns. Not thread-safe."""

    def __init__(self, spec: RunSpec) -> None:
        self._loop = ManualLoop(spec)
        self._loop.open()

    @property
    def experiment_path(self) -> str:
        """The experiment's folder."""
        return self._loop.spec.path

    def ask(self) -> Suggestion | None:
        """The next trial to run: its id and its whole config. None: not before more is told (a searcher or a scheduler
        waits for results). A trial that the scheduler had paused comes again under its id, to be gone on with.

        Raises:
            LookupError: there are no more.
        """
        loop = self._open_loop()
        taken = loop.next_trial()
        if taken is None:
            if loop.state.finished:
                raise LookupError("the experiment has no more trials: everything was asked for and told")
            return None
        return Suggestion(loop.state.trial_id(taken.trial), taken.config)

    def set_user_attr(self, asked: Suggestion | str, name: str, value: Any) -> None:
        """Attaches a value to a trial that was asked for and is not over, as :func:`fasttune.set_user_attr` does."""
        self._open_loop().tell_attribute(self._number(asked), name, value)

    def report(self, asked: Suggestion | str, result: Mapping[str, Any] | float) -> bool:
        """A result on the way; returns whether to go on. False: the scheduler, or a stop criterion, has ended or paused the
        trial, and nothing more is to be told of it."""
        return self._open_loop().tell_report(self._number(asked), self._as_result(result))

    def tell(
        self,
        asked: Suggestion | str,
        result: Mapping[str, Any] | float | None = None,
        *,
        error: str | BaseException | None = None,
    ) -> None:
        """The trial is over: with a last result, without another one than those reported, or with an error."""
        loop, trial = self._open_loop(), self._number(asked)
        if error is not None and result is not None:
            raise ValueError("tell takes a result or an error, got both: report() the result first")
        loop.tell_end(trial, None if result is None else self._as_result(result), None if error is None else str(error))

    @property
    def analysis(self) -> ExperimentAnalysis:
        """What is known so far."""
        from fasttune.analysis import ExperimentAnalysis

        spec = self._loop.spec
        return ExperimentAnalysis(self._loop.state, default_metric=spec.metric, default_mode=spec.mode)

    def close(self) -> None:
        """Release the experiment; safe to call twice. What is out is given out again when it is opened next."""
        self._loop.close()

    def __enter__(self) -> OpenExperiment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_loop(self) -> ManualLoop:
        if self._loop.closed:
            raise ValueError(f"the experiment {self.experiment_path} is closed")
        return self._loop

    def _number(self, asked: Suggestion | str) -> int:
        """The number of a trial that is out. ValueError for every other one."""
        trial_id = asked if isinstance(asked, str) else asked.trial_id
        number = self._loop.number_of(trial_id)
        if number is None:
            raise ValueError(
                f"trial {trial_id!r} is not out: it was not asked for in this session, or it is over or paused"
            )
        return number

    def _as_result(self, result: Mapping[str, Any] | float) -> Mapping[str, Any]:
        if isinstance(result, Mapping):
            return result
        metric = self._loop.spec.metric
        if metric is None:
            raise ValueError(f"a result that is a number needs a metric, got {result!r}: open_experiment(metric=...)")
        return {metric: result}


class ManualLoop(TuneLoop):
    """The loop of a run that turns when somebody asks or tells."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__(spec)
        self.closed = True
        self._ids: dict[str, int] = {}  # trials that were handed out
        self.manual: ManualExecutor

    def open(self) -> None:
        self._lock = self._take_lock()
        try:
            self._store_in(self._open_storage())
            try:
                self._prepare()
                self._simple = False  # a trial for each time that somebody asks
                self._commit()
            except BaseException:
                self.storage.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        self.closed = False

    def _make_executor(self, request: Any, first_source: int) -> ManualExecutor:
        self.manual = ManualExecutor(first_source)
        return self.manual

    def _searcher_waits(self) -> None:
        """Whoever asked is told so."""

    def _end_from_outside(self, end_trials: bool) -> None:
        """Whoever asks gets nothing more, and who tells is told to stop: the program is not this run's to interrupt."""
        self.state.stop_all("it was ended from outside (fasttune stop)")

    def _end_if_stuck(self) -> None:
        """Only whoever asks finds out that nothing can be run."""
        if self.manual.room():
            super()._end_if_stuck()

    def next_trial(self) -> Any:
        """The trial that is handed out now; None when there is none."""
        self.manual.want()
        for _ in range(3):  # what a searcher hears of in one turn it may use in the next
            self._turn(0.0)
            if self.manual.taken is not None:
                break
        self.manual.unwant()
        self._settle()
        taken = self.manual.taken
        if taken is not None:
            self._ids[self.state.trial_id(taken.trial)] = taken.trial
        return taken

    def number_of(self, trial_id: str) -> int | None:
        number = self._ids.get(trial_id)
        return number if number is not None and self.manual.runs(number) else None

    def tell_report(self, trial: int, result: Mapping[str, Any], last: bool = False) -> bool:
        self.manual.report(trial, result, last)
        self._settle()
        return self.manual.decisions.get(trial) == _core.CONTINUE and self.manual.runs(trial)

    def tell_attribute(self, trial: int, name: str, value: Any) -> None:
        self.manual.attach(trial, as_json(check_user_attrs({name: value})))
        self._settle()

    def tell_end(self, trial: int, result: Mapping[str, Any] | None, error: str | None) -> None:
        if result is not None and not self.tell_report(trial, result, last=True):
            return  # a rule or a stop criterion has ended it with this result
        if error is not None:
            self.manual.fail(trial, error)
        else:
            self.manual.end(trial)
        self._settle()

    def _settle(self) -> None:
        """Everything that follows from what was told, until it is in the journal."""
        while self._turn(0.0):
            pass
        self._commit()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        try:
            self._to_the_end(self._finish)
        finally:
            self.storage.close()
            self._lock.release()
        if not self._gone:
            self.state.storage = SqliteReader(self.spec.path, keep=True)
