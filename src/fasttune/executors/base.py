"""The executor contract: trials go in, records come out.

The loop gives work (:meth:`Executor.run_span`, :meth:`Executor.start`, :meth:`Executor.resume`), answers reports that
wait and takes what happened by :meth:`Executor.poll`, whose views stay valid until :meth:`Executor.release` says that
the journal holds them. An executor writes what the trials do as records of the rings it owns; it does not know what a
metric means or who is best. A process that dies is reported once, after everything it had written, by
:meth:`Executor.deaths`. All methods are called from one thread.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from fasttune import _core
from fasttune.constraints import Constraints
from fasttune.executors.wear import NO_LIMITS, WorkerLimits
from fasttune.rule import NO_RULE, CompiledRule

if TYPE_CHECKING:
    from fasttune.devices.machine import Machine


@dataclass(eq=False, repr=False)
class ProgramTrainable:
    """One trainable of the run, as a worker needs to know it."""

    name: str
    trainable: Any
    is_class: bool
    form: str  # how the function wants to be called, see trainable.call_form
    resources: Any  # PlacementGroupFactory, or a function of the config
    variants: Any  # configs by number; None when each start brings its own
    names: Any = None  # of a function of columns: what the space says of their names, a space.config_columns.ColumnNames


@dataclass(eq=False, repr=False)
class Program:
    """Everything that is the same for all trials of a run; travels to the workers once."""

    name: str
    path: str
    prefix: str
    trainables: list[ProgramTrainable]
    metric: str | None = None
    constraints: Constraints = field(default_factory=Constraints)  # what is made of reports, and what they are compared by
    strict: bool = True
    limits: dict[str, float] = field(default_factory=dict)
    rule: CompiledRule = NO_RULE
    asks: bool = False  # every report waits for the loop's answer
    pauses: bool = False  # the answer may be to pause
    scheduler_pauses: str = ""  # the scheduler that says it will be, by its kind
    only_to_change: bool = False  # and only trials that it changes, if all run at once
    total: int | None = None  # how many trials there will be, None when that is open
    rows: int = 0  # trials of a call, at most, in each worker; 0: as many as functions say
    worker: str = ""  # "module:class" of what runs trials in a worker process; "": one trial after the other
    reuse_actors: bool = False
    checkpoint_frequency: int = 0
    checkpoint_at_end: bool = False
    log_to_file: tuple[str, str] | None = None
    durable: bool = False  # a report waits until the disk has it
    measures_usage: bool = False  # reports have what their trial has used
    judged_elsewhere: bool = False  # the rule's rungs are not where trials run: a report that reaches one is judged by who has them

    def reporter(self, ring: _core.Ring, rule: Any) -> _core.Reporter:
        """What writes the reports of its trials into a ring, and judges them by the compiled rule unless the loop is asked."""
        return _core.Reporter(
            ring,
            metric=self.metric,
            strict=self.strict,
            rule=None if self.asks else rule,
            time_attr=self.rule.time_attr,
            limits=self.limits,
            elsewhere=self.judged_elsewhere,
        )

    def request_of(self, job: Job) -> Any:
        """What a trial asks of the machine: its own, or that of its trainable, which may be a function of the config."""
        one = self.trainables[job.experiment]
        request = one.resources if job.resources is None else job.resources
        if not callable(request):
            return request
        from fasttune.devices.resources import resolve_resources

        return resolve_resources(request, job.config if job.config is not None else one.variants.config(job.local))


Suspended = tuple[int, int, float, float, int, int, float, int]  # what Reporter.suspend() gives and resume() takes


class Job(NamedTuple):
    """One trial to run."""

    trial: int
    experiment: int
    local: int  # number of its config among the experiment's variants
    config: dict[str, Any] | None = None
    iteration: int = 0
    base_total: float = 0.0
    rung: int = -1
    checkpoint: str | bytes | None = None  # directory to go on from, or the checkpoint itself
    attempt: int = 0
    changes: int = 0  # how often the journal had changed or requeued it
    name: str | None = None  # given names; None: the usual ones
    dirname: str | None = None
    ask_from: int | None = None  # report from which the loop must be asked; None: as ``Program.asks`` says
    resources: Any = None  # what this trial needs; None: what its trainable asks for
    standing: tuple[int, float] = (0, math.nan)  # strikes and best value that earlier attempts have left
    packed: bytes | None = None  # the config, on its way to a worker
    next_checkpoint: int | None = None  # number of its next checkpoint; None: its folder says it


class Reply(NamedTuple):
    """What a trial that waits in its report shall do."""

    decision: int  # CONTINUE, STOP or PAUSE
    ask_from: int = 0  # report from which the loop must be asked again
    save: bool = False  # first


class Death(NamedTuple):
    """A worker process ended by itself."""

    source: int
    trial: int  # the trial that ran, -1 none
    unstarted: list[int]  # trials it had been given and had not begun
    suspended: list[int]  # trials that were paused in it
    why: str


class Batch(NamedTuple):
    """Records of one source, and the ring's position behind them."""

    source: int
    position: int
    data: memoryview


class Supplies(Protocol):
    """What there is to give out; see ``resources.Supply``."""

    def acquire(self, request: Any) -> Any: ...
    def release(self, placement: Any) -> None: ...
    def give_back(self, placement: Any, pid: int = 0) -> None: ...
    def why_lost(self, placement: Any) -> str: ...
    def has_workers(self, pids: Callable[[], Collection[int]]) -> None: ...

    @property
    def returning(self) -> bool: ...

    @property
    def waits(self) -> bool: ...


class ExecutorSite(NamedTuple):
    """What an executor is made of."""

    folder: str  # the experiment's
    supply: Supplies  # the machine's resources
    request: Any  # what one trial asks for
    limit: int  # the most trials at once
    environ_of: Callable[[Any], dict[str, str]]  # the environment of trials with that placement
    usage: Callable[[], str]  # resources in use, in words
    cpus_of: Callable[[Any], tuple[int, ...]] = lambda placement: ()  # on which CPUs they run; (): on all
    first_source: int = 1  # number of its first ring; those from here on are its own
    awaited: Any = None  # an event_loops.AwaitedRun, if the run is awaited and its trials are tasks of the loop that does
    measures: bool = False  # what trials use of GPUs
    worker_limits: WorkerLimits = NO_LIMITS  # what one worker may do before another one comes in its place
    hurried: Callable[[], bool] = bool  # whether somebody waits for the end no longer: a second Ctrl-C

    def room_for(self, most: int) -> int:
        """How many trials fit at once, found by trying: from 1 to ``most``."""
        taken: list[Any] = []
        while len(taken) < most and (placement := self.supply.acquire(self.request)) is not None:
            taken.append(placement)
        for placement in taken:
            self.supply.release(placement)
        return max(1, len(taken))


class Executor(ABC):
    """Where trials run.

    Attributes:
        name: as ``executor=`` has it.
        here: trials run in the loop's thread, in its ``poll``.
        waits: the poll of one that runs them there sleeps all the same while none has anything to do.
        in_trial: the user's code runs in the loop's thread just now: a Ctrl-C may end it where it is.
        same_process: trials run in this process, in whatever thread: its environment is theirs.
        evaluates_together: what it has room for begins together, so configs may be suggested in a batch.
        holds_memory: a trial that has more memory than it asked for is ended.
        pins: its workers can be pinned to CPUs.
        measures: what one trial uses can be told from what others use.
        elsewhere: trials run on machines that something else than this process gives out.
    """

    name: str = ""
    here: bool = False
    waits: bool = False
    in_trial: bool = False
    same_process: bool = False
    evaluates_together: bool = False
    holds_memory: bool = False
    pins: bool = False
    measures: bool = False
    elsewhere: bool = False

    @classmethod
    def machine(cls) -> Machine | None:
        """What the largest request may ask for, where trials do not run on this machine; None: they do. Asked before anything
        else, so what makes runs impossible there is raised here."""
        return None

    @classmethod
    def at(cls, place: ExecutorSite) -> Self:
        """One that a run has asked for by name."""
        raise NotImplementedError(f"{cls.__name__} must override at(place) to be made by its name")

    def pass_prints(self, caught: tuple[int, ...], show: Callable[[str], None], named: bool) -> None:  # noqa: B027
        """Perhaps called before :meth:`open`: what trials in other processes write to the streams ``caught`` (1: standard
        output, 2: errors) comes to ``show`` in whole lines, from the thread that calls this; the rest goes where it went.
        ``named``: every line bears the name of its trial. In this process the reporter catches these streams itself."""

    @abstractmethod
    def open(
        self, program: Program, epoch: float, rule: Any, drain: Callable[[], None], turn: Callable[[], None]
    ) -> None:
        """Get ready. Raises before any trial starts.

        ``rule`` is the compiled rule when it is not to be shared. Two for an executor that runs trials in this process:
        ``drain`` folds and stores what is in a ring that is full; ``turn`` is a whole turn of the loop from within a
        trial, but for starting others.
        """

    def shared_rule(self, program: Program) -> Any:
        """The compiled rule of a program that has one, on memory that all share who judge; asked before :meth:`open`."""
        return program.rule.build()

    def find_configs(self, place_of: Callable[[int], tuple[int, int]]) -> None:  # noqa: B027
        """By what to find (experiment, number of its config among the variants) of a trial that was part of a span; told behind
        :meth:`open`."""

    def rebalance(self) -> bool:
        """Nothing is left to be handed out: share what was, and has not begun, more evenly. Whether anything was moved."""
        return False

    @abstractmethod
    def room(self) -> int:
        """How many fresh trials it would like to have now, so that no worker runs dry; 0 when all are busy."""

    @abstractmethod
    def run_span(self, experiment: int, first: int, n: int, local: int) -> None:
        """Run the trials first .. first+n-1, whose configs are the variants local .. local+n-1 of an experiment."""

    @abstractmethod
    def start(self, job: Job) -> bool:
        """Run one trial; False when there is no room for what it needs."""

    @abstractmethod
    def resume(self, trial: int, ask_from: int = 0) -> bool:
        """Go on with a paused trial; False when its place is taken. TuneError if it is not paused here."""

    @abstractmethod
    def answer(self, trial: int, decision: int, ask_from: int = 0, save: bool = False) -> None:
        """Answer a report that waits. Reports before the step ``ask_from`` will not wait for an answer.

        With ``save`` a class Trainable saves first, before it goes on or is paused; the checkpoint is told by a
        CHECKPOINT record with the step of the report. Functions save nothing.
        """

    @abstractmethod
    def save(self, trial: int) -> None:
        """A paused class Trainable saves, as soon as its place is free, and stays paused. Nobody waits for it; a trial
        that is not paused here is left alone, but for a row of a call, which saves between two of its steps."""

    @abstractmethod
    def discard(self, trial: int) -> None:
        """Leave a paused trial's code for good: StopTrial is raised where it is, so that ``finally`` blocks run, and
        nothing is recorded. It may be started anew at once. A trial that is not paused here is left alone."""

    @abstractmethod
    def stop(self, trial: int) -> None:
        """The trial shall end at its next report."""

    @abstractmethod
    def kill(self, trial: int) -> None:
        """End a trial that does not listen, with its process. The death is reported as any other. In this process nothing can
        be ended: the trial goes on, or is told as dead and nothing counts that it does from there on."""

    def withdraw(self) -> list[int]:
        """Trials that it was given and that have not begun shall not begin, as far as that can still be had; returns
        those among them that were started one by one."""
        return []

    @abstractmethod
    def poll(self, timeout: float) -> list[Batch]:
        """What happened; waits up to ``timeout`` seconds if nothing did."""

    @abstractmethod
    def release(self) -> None:
        """The journal holds everything that was polled."""

    @abstractmethod
    def deaths(self) -> list[Death]:
        """Processes that ended by themselves since the last call; all their records have been polled."""

    def halt(self) -> None:  # noqa: B027
        """End everything that runs; what it wrote can still be had by :meth:`drain_now`. Safe to call twice."""

    def drain_now(self) -> list[Batch]:
        """What is in the rings and was not polled yet, without waiting and without running anything."""
        return []

    def is_interrupted(self) -> None:  # noqa: B027
        """A Ctrl-C is raised in the user's code that runs in the loop's thread just now: it has been told to stop. Called within a
        signal handler."""

    def leave_files(self) -> None:  # noqa: B027
        """The experiment's folder is another one by now, or none: remove nothing by its name."""

    @abstractmethod
    def close(self) -> None:
        """End everything that runs and leave nothing behind but rings that hold more than was released; safe to call
        twice."""

    @property
    @abstractmethod
    def usage(self) -> str:
        """Resources in use, for the status block: "2.0/2 CPUs, 0/0 GPUs"."""

    @property
    @abstractmethod
    def idle(self) -> bool:
        """Nothing runs and nothing waits to be run, and all that ran has been polled: a trial that the journal has as running is
        lost then."""
