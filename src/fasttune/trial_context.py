"""Which trial runs here: its context, for whichever of its threads and tasks asks."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from fasttune import _core
from fasttune.constraints import Constraints
from fasttune.error import StopTrial

if TYPE_CHECKING:
    import asyncio

_AWAY_S = 0.002  # how often a thread looks whether its trial, which is paused, goes on

os.register_at_fork(after_in_child=_core.forget_in_child)


class Reporter(Protocol):
    """What the compiled reporter of a trial offers. ``report`` answers NOT_PLAIN, and has written nothing, if
    a value is not a plain float, int or bool or a key is not text; then ``report_extra`` is the way.
    ``checkpoint`` is a path relative to the folder of the experiment, or the checkpoint itself.
    """

    @property
    def context(self) -> TrialContext: ...

    @property
    def iteration(self) -> int: ...

    @property
    def metric(self) -> str | None: ...

    def leave_child(self) -> None: ...

    def note(self, kind: int, payload: bytes, urgent: bool, /) -> bool: ...

    def report(self, metrics: dict[str, Any], /) -> int: ...

    def report_extra(
        self,
        numbers: dict[str, float | int | bool],
        extra: dict[str, Any],
        extra_json: bytes,
        checkpoint: str | bytes | None,
        /,
    ) -> int: ...


class Threads:
    """What the threads of one trial share when they save checkpoints.

    saving  held by the one that saves: no two save under the same name, and names come in the order of the reports
    ending  held by the trial's own thread while it ends, and by another while its checkpoint gets its name: never behind the
            end, when a next attempt may use that name
    """

    __slots__ = ("ending", "saving")

    def __init__(self) -> None:
        self.saving = threading.RLock()
        self.ending = threading.RLock()


class Measured(Protocol):
    """What a trial has used so far."""

    def beside(self, metrics: Mapping[str, Any]) -> dict[str, Any]: ...
    def leave(self) -> None: ...
    def come(self) -> None: ...


class TrialOverError(Exception):
    """The trial of a thread has ended while the thread was saving."""


class TrialContext:
    """Who the trial is that runs here. Made by executors; a trial's folder is made when it is asked for.

    experiment_path  folder of the experiment; the trial's own folder is ``trial_dirname`` in it
    resources        what the trial was given, a PlacementGroupFactory
    checkpoint       directory (or bytes) to go on from, or None; after a reported checkpoint, that one
    is_class         a class Trainable runs: its ``step`` returns results, ``report`` is not for it
    wait             blocks (or switches away) until the trial may go on; returns CONTINUE or STOP
    flush            returns when the ring has room again
    until_stored     returns when the disk has what was reported; None: nobody waits for that
    turn             lets the loop that shares this thread have a turn, when a report was answered with TURN
    iteration0       reports the trial had made before it was restored here
    quick            a report of plain numbers may go straight to the reporter: no class, no checkpoint
    fresh            the trial has left nothing here: the next one may have it as it is
    threads          what the threads of the trial share; None: it has started none. They may look here when it is over, so
                     the next one has a context of its own
    logs             files that its standard output and errors also go to, if they go to files
    totals           steps and episodes of its reports so far; {} until a report has them, or for a class
    usage            measures what the trial uses, for each of its reports; None: nobody has asked for that
    pending          checkpoint that waits for the next report: of a ``checkpoint_dir`` block or a class's save
    next_checkpoint  index of the next checkpoint, None while the folder has not been looked at
    over             the trial has been told to stop
    task             of a trial that is a coroutine: the asyncio task that runs it
    constraints      what the run makes of reports, and compares them by
    attempt          how often the trial had begun before: a checkpoint in memory bears it
    """

    __slots__ = (
        "attempt",
        "checkpoint",
        "config",
        "constraints",
        "experiment_name",
        "experiment_path",
        "flush",
        "fresh",
        "index",
        "is_class",
        "iteration0",
        "logs",
        "next_checkpoint",
        "over",
        "pending",
        "quick",
        "resources",
        "task",
        "threads",
        "totals",
        "trial_dirname",
        "trial_id",
        "trial_name",
        "turn",
        "until_stored",
        "usage",
        "wait",
    )

    def __init__(
        self,
        index: int,
        trial_id: str,
        trial_name: str,
        experiment_name: str,
        experiment_path: str,
        trial_dirname: str,
        config: dict[str, Any],
        resources: Any,
        wait: Callable[[], int],
        checkpoint: str | bytes | None = None,
        is_class: bool = False,
        iteration0: int = 0,
    ) -> None:
        self.index = index
        self.trial_id = trial_id
        self.trial_name = trial_name
        self.experiment_name = experiment_name
        self.experiment_path = experiment_path
        self.trial_dirname = trial_dirname
        self.config = config
        self.constraints = Constraints()
        self.resources = resources
        self.wait = wait
        self.flush: Callable[[], None] = _no_flush
        self.turn: Callable[[], None] = _no_flush
        self.until_stored: Callable[[], None] | None = None
        self.checkpoint = checkpoint
        self.is_class = is_class
        self.iteration0 = iteration0
        self.quick = not is_class
        self.fresh = True
        self.threads: Threads | None = None
        self.logs: tuple[TextIO, TextIO] | None = None
        self.totals: dict[str, Any] = {}
        self.usage: Measured | None = None
        self.pending: str | bytes | None = None
        self.next_checkpoint: int | None = None
        self.attempt = 0
        self.over = False
        self.task: asyncio.Task[Any] | None = None

    def stopping(self) -> BaseException:
        """What is raised in a trial that is told to stop: StopTrial, and in a coroutine what stops coroutines."""
        return StopTrial() if self.task is None else _cancelled(self.task)

    def end(self) -> None:
        """The trial was told to stop: what it reports from now on is nothing but told so again."""
        self.over, self.quick, self.fresh = True, False, False

    def count(self, totals: dict[str, Any]) -> None:
        """These are the totals from now on, and every report bears them."""
        self.totals = totals
        if totals:
            self.quick = self.fresh = False

    def hold(self) -> None:
        """The trial that runs here starts a thread: this is its context from now on, and no other trial's."""
        if self.threads is None:
            self.threads, self.fresh = Threads(), False
        self.pin(self.who())

    def hold_unseen(self) -> None:
        """As :meth:`hold`, from a thread whose start nobody has seen. Its trial may be over by now, and this another's: who
        is meant is read first, and counts if the trial is still there afterwards."""
        who = self.who()
        if self.threads is None:
            self.threads, self.fresh = Threads(), False
        if _core.current() is not None:
            self.pin(who)

    def who(self) -> Any:
        """Which trial this is the context of, for :meth:`pin`."""

    def pin(self, who: Any) -> None:
        """Be the context of this trial, whichever runs."""

    @property
    def left(self) -> bool:
        """Nothing that the trial does counts any more: it is only left, so that it cleans up, and may run elsewhere by now."""
        return False

    @property
    def trial_path(self) -> str:
        """The trial's folder, whether it exists or not."""
        return os.path.join(self.experiment_path, self.trial_dirname)

    def trial_dir(self) -> str:
        """The trial's folder, made now if it is not there."""
        path = self.trial_path
        os.makedirs(path, exist_ok=True)
        return path


def _no_flush() -> None:
    """For a context whose reporter never runs out of room, and whose loop is in another process."""


def current_context() -> TrialContext | None:
    """The context of the trial that this thread belongs to, None outside a trial."""
    reporter: Reporter | None = _core.current()
    if reporter is None and back_from_absence():
        reporter = _core.current()
    context = None if reporter is None else reporter.context
    return context if _core.current() is not None else None  # else the trial has ended in between: it is the next one's


def of_another_thread() -> bool:
    """Whether this thread, which has a trial, may not be the one that runs trials: one whose start nobody has seen
    (`_thread`, C code), or one that has its trial by its context."""
    bound = _core.binding()
    return bound is None or bound[1] != 0


def back_from_absence() -> bool:
    """Wait while the trial that this thread belongs to is paused; whether it has gone on since. False at once for a
    thread that was not kept waiting."""
    waited = False
    while _core.absence() == _core.AWAY:
        if running_loop() is not None and _core.binding() is None:  # a task of the trial: who waits here keeps the loop
            return False
        waited = True
        time.sleep(_AWAY_S)  # nobody knows when it is chosen again
    return waited and _core.current() is not None


POOL_OF_ASYNCIO = "asyncio_"  # how the threads of an event loop's own pool are called


def why_absent() -> str:
    why = _core.absence()
    if why == _core.OVER:
        if _core.binding() is None:
            return "the trial that this task is of is over, and what it reports is dropped. Await a trial's tasks before it ends"
        return (
            "the trial in which this thread was started is over, and what the thread reports is dropped. Join the "
            "threads of a trial before it ends"
        )
    if why == _core.AWAY:
        return "the trial is paused in its own report, and what its other tasks report meanwhile is dropped"
    if why == _core.FORKED:
        return (
            "a trial has forked this process, and only the trial itself can report. Hand results back to it, through a "
            "pipe or a queue"
        )
    # not current_thread(), which would keep an object for good of a thread that C code has started
    here = next((thread.name for thread in threading.enumerate() if thread.ident == threading.get_ident()), "")
    if here.startswith(POOL_OF_ASYNCIO):
        return (
            "loop.run_in_executor(None, ...) does not say for which trial its thread works. Use await asyncio.to_thread(f), which does"
        )
    return "it reports for the trial that runs, and no trial does (a vectorized function returns or yields its columns)"


def _cancelled(task: asyncio.Task[Any]) -> BaseException:
    """What is raised in a coroutine that is told to stop. Where another task of the trial reports, or a thread, the trial's
    own is cancelled, too."""
    import asyncio

    loop = task.get_loop()
    if running_loop() is not loop:
        loop.call_soon_threadsafe(task.cancel)
    elif asyncio.current_task() is not task:
        task.cancel()
    return asyncio.CancelledError("the trial has been stopped")


def running_loop() -> Any:
    """The event loop that runs in this thread, None if there is none."""
    asyncio = sys.modules.get("asyncio")  # not loaded: then none runs
    return None if asyncio is None else asyncio._get_running_loop()


def run_loop(loop: Any) -> None:
    """From now on it is this event loop, or none, that runs in this thread."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        asyncio._set_running_loop(loop)
