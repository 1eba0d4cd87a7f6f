"""One trial that is a coroutine: its task, its reporter, and where it is (``coroutine.py`` has all of them).

A step of the task is a plain call in which the trial may report. Where a report has to wait the step is made in a greenlet, and
left inside the report; the task awaits the answer in its place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from types import coroutine
from typing import TYPE_CHECKING, Any

from fasttune import _core, nesting
from fasttune.error import StopTrial
from fasttune.executors.base import Job, Reply, Suspended
from fasttune.executors.host import Host, HostContext
from fasttune.failure import stored_exception, stored_text
from fasttune.once import warn_once
from fasttune.trial_context import running_loop
from fasttune.trial_functions import run_async_function

if TYPE_CHECKING:
    import asyncio

    from fasttune.executors.coroutine import CoroutineExecutor

BLOCKED_S = 1.0  # a trial that keeps the event loop for so long is told of
SLICE_S = 0.02  # a trial that only reports lets the loop have a turn in between so often
DONE = object()  # instead of what a step gives: there are no more


class TaskContext(HostContext):
    """A trial that is told to stop is told once, by a report or by a cancellation: it may await while it cleans up."""

    __slots__ = ("trial",)

    def __init__(self, trial: TaskTrial) -> None:
        super().__init__(trial.executor.host)
        self.trial: TaskTrial | None = trial

    def stopping(self) -> BaseException:
        trial = self.trial
        return super().stopping() if trial is None else trial.stopping()


class TaskTrial:
    """One trial that runs as a task.

    Attributes:
        counters: What its reporter had counted when it was paused; None while it is not.
        reply: The answer that it goes on with.
        at: The greenlet in which it was left inside its report.
        asked: It waits for an answer. ``storing``: it waits until the disk has what it reported.
        left: It is only to clean up: nothing is recorded any more.
        told: When it was told to stop, 0.0 while it was not. ``inside``: it makes a step. ``due``: it is cancelled when that
            is made, unless a report within has told it.
        late: It was cancelled by somebody else (a time limit of its own) while it waited: raised when it goes on.
    """

    __slots__ = (
        "asked", "at", "begun", "context", "counters", "due", "executor", "future", "hub", "inside", "job", "late", "left",
        "paused_at", "placement", "reply", "reporter", "resumed", "storing", "task", "told",
    )  # fmt: skip

    def __init__(self, executor: CoroutineExecutor, job: Job, placement: Any) -> None:
        self.executor = executor
        self.job = job
        self.placement = placement
        self.reporter = executor.reporter.for_task()
        self.begun = self.asked = self.storing = self.left = self.resumed = False
        self.counters: Suspended | None = None
        self.paused_at = 0.0
        self.reply: Reply | None = None
        self.future: asyncio.Future[None] | None = None
        self.late: BaseException | None = None
        self.at: Any = None
        self.hub: Any = None
        self.told = 0.0
        self.inside = self.due = False
        self.task: asyncio.Task[None] = executor.new_task(self.run(), loop=executor.loop)  # never eager: it is not known yet

    # -- its life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From START to END; its own errors are recorded, not raised."""
        executor, reporter, job = self.executor, self.reporter, self.job
        one = executor.host.program.trainables[job.experiment]
        flags = _core.CONTINUE
        try:
            context = self._own_context()
            reporter.enter()
            self._begin()
            try:
                context.config = config = executor.host.config(job)
                with self._logged():
                    await self._steps(run_async_function(one.trainable, config, reporter, one.form))
            except StopTrial:
                flags = _core.STOP
            except executor.cancelled as error:
                if not (self.told or context.over or reporter.stopped or self.left):
                    self._failed(error)  # nobody here has cancelled it
                    return
                flags = _core.STOP
            if reporter.is_foreign:
                nesting.end_process(None)
            if not self.left:
                self._end(flags)
        except GeneratorExit:
            raise
        except BaseException as error:
            self._failed(error)
        finally:
            reporter.retire()
            executor.is_over(self)
            self._break_circles()

    def _own_context(self) -> HostContext:
        executor, job = self.executor, self.job
        self.reporter.context = self.context = context = TaskContext(self)
        context.job = job
        context.wait, context.flush, context.turn = self.wait, self.flush, self.turn
        if executor.host.program.durable:
            context.until_stored = self.until_stored
        context.renew(False, job.checkpoint, job.iteration)
        context.task = self.task
        context.attempt = job.attempt
        if job.attempt:
            context.next_checkpoint = context.index_after(job.checkpoint)
        return context

    def _break_circles(self) -> None:
        """So that all of it goes with its last user, and the garbage collector need not find it."""
        context = self.context
        context.wait, context.flush, context.turn, context.until_stored = nowhere, nothing, nothing, None
        context.task = context.trial = None
        del self.task

    def _begin(self) -> None:
        job, host, reporter = self.job, self.executor.host, self.reporter
        ask_from = host.ask_from if job.ask_from is None else job.ask_from
        while not reporter.begin(
            job.trial, job.iteration, job.base_total, job.rung, ask_from, host.pid, job.changes, *job.standing
        ):
            self.flush()
        reporter.turn_in(2 * SLICE_S)
        self.begun = True
        self.executor.beginning -= 1

    def _logged(self) -> AbstractContextManager[None]:
        names = self.executor.host.program.log_to_file
        if names is None:
            return nullcontext()
        from fasttune.executors.tee import tee

        return tee(self.context, *names)

    def _end(self, flags: int) -> None:
        if self.reporter.unasked:
            Host._say_unasked()
        with self._ending():
            while not self.reporter.end(flags):
                self.flush()

    def _failed(self, error: BaseException) -> None:
        if self.reporter.is_foreign:
            nesting.end_process(error)
        if self.left:
            return
        if isinstance(error, KeyboardInterrupt):
            self.executor.breaks(error)
            return
        text, pickled = stored_text(error), stored_exception(error)
        with self._ending():
            while pickled and not self.reporter.note(_core.KIND_EXCEPTION, pickled):
                self.flush()
            while not self.reporter.note(_core.KIND_ERROR, text):
                self.flush()

    def _ending(self) -> AbstractContextManager[Any]:
        """As of Host: held while the trial ends."""
        threads = self.context.threads
        return nullcontext() if threads is None else threads.ending

    # -- its steps ----------------------------------------------------------------------------------------------------

    @coroutine
    def _steps(self, trained: Any) -> Generator[Any, Any, None]:
        """Await the trial's own code. While it makes a step, this thread is its reporter's."""
        executor, reporter, now = self.executor, self.reporter, time.monotonic
        step, value = trained.send, None
        try:
            while True:
                if executor.waits_inside:
                    given = yield from self._step_in_greenlet(step, value)
                    if given is DONE:
                        return
                else:
                    began = now()
                    reporter.step_in()
                    executor.in_trial = self.inside = True
                    try:
                        given = step(value)
                    finally:
                        executor.in_trial = self.inside = False
                        reporter.step_out()
                        if now() - began > BLOCKED_S:
                            self._blocked(now() - began)
                if reporter.is_foreign:  # the trial has forked, and awaits in the child: the event loop is its parent's
                    nesting.end_process(None)
                if self.due:
                    self._cancel_task()
                try:
                    value = yield given
                    step = trained.send
                except BaseException as error:
                    step, value = trained.throw, error
        except StopIteration:
            return

    def _step_in_greenlet(self, step: Callable[[Any], Any], value: Any) -> Generator[Any, Any, Any]:
        """One step, which may be left inside a report as often as that has to wait."""
        executor, reporter = self.executor, self.reporter
        self.hub = hub = executor.current_greenlet()
        green = executor.greenlet(step)
        green.gr_context = hub.gr_context  # what the step sets there is set for the steps that follow
        enter = green.switch
        while True:
            began = time.monotonic()
            reporter.step_in()
            executor.in_trial = self.inside = True
            try:
                given = enter(value)
            except StopIteration:
                return DONE
            finally:
                executor.in_trial = self.inside = False
                reporter.step_out()
                if time.monotonic() - began > BLOCKED_S:
                    self._blocked(time.monotonic() - began)
            at, self.at = self.at, None
            if at is None:
                return given
            if self.due:
                self._cancel_task()
            ended = yield from self._answered()
            enter, value = (at.switch, None) if ended is None else (at.throw, ended)

    def _answered(self) -> Generator[Any, Any, BaseException | None]:
        """Until there is a reply; or what ends the trial."""
        while self.reply is None:
            self.future = self.executor.loop.create_future()
            try:
                yield from self.future
            except self.executor.cancelled as error:
                if self.told or self.left or self.reporter.stopped:
                    return error
                self.late = error
        return None

    def _blocked(self, seconds: float) -> None:
        warn_once(
            "blocked",
            f"trial {self.context.trial_id} kept the event loop for {seconds:.1f} s without awaiting anything: no other trial "
            "goes on meanwhile. Await what it waits for, hand what computes to `await asyncio.to_thread(f)`, or run trials in "
            "processes with executor='process'",
            RuntimeWarning,
            in_run=True,
        )

    # -- inside its reports -------------------------------------------------------------------------------------------

    def wait(self) -> int:
        """Leave the trial here until the loop has answered; CONTINUE or STOP."""
        self.asked = True
        reply = self._leave()
        if self.counters is not None:
            self._go_on(self.counters, reply.ask_from)
        self.reporter.ask_again_from(reply.ask_from)
        self._raise_late()
        return reply.decision

    def _raise_late(self) -> None:
        if self.late is not None:
            late, self.late = self.late, None
            raise late

    def _go_on(self, counters: Suspended, ask_from: int) -> None:
        """It was paused: that time does not count for time_total_s."""
        number, iteration, started, base_total, rung, strikes, best, life = counters
        started += time.monotonic() - self.paused_at
        self.reporter.resume(number, iteration, started, base_total, rung, strikes, best, life, ask_from)
        self.counters, self.resumed = None, False
        while not self.reporter.note(_core.KIND_RESUMED):
            self.flush()
        if self.reporter.stopped:  # while it was on its way back
            self.cancel()

    def _leave(self) -> Reply:
        self.executor.wake()
        self.at = self.executor.current_greenlet()
        try:
            self.hub.switch()
            assert self.reply is not None
            return self.reply
        finally:
            self.reply, self.asked, self.storing = None, False, False

    def until_stored(self) -> None:
        """The report returns when the disk has it; that of another task or thread of the trial has it stored at once."""
        ring = self.executor.ring
        position = ring.head
        while not self.left and ring.released < position:
            if _core.binding() == (self.reporter, 0):
                self.storing = True
                self._leave()
            else:
                self.flush()
        self._raise_late()
        if ring.released < position:  # the trial is left, and the disk never got it
            raise self.context.stopping()

    def turn(self) -> None:
        """It goes on for longer than a slice without awaiting: what watches the run sees it all the same."""
        executor = self.executor
        self.reporter.turn_in(SLICE_S)
        if executor.turn_is_due():
            self._guarded(executor.turn)

    def flush(self) -> None:
        self._guarded(self.executor.drain)

    def _guarded(self, call: Callable[[], None]) -> None:
        """What goes wrong in the loop is no fault of the trial that it is called from: it is raised behind it."""
        try:
            with self.executor.loop_lock:
                call()
        except BaseException as error:
            self.executor.breaks(error)
            self.leave()
            raise self.stopping() from error

    # -- the hub's side -----------------------------------------------------------------------------------------------

    def give(self, reply: Reply) -> None:
        """It goes on with this answer, in the event loop's next round."""
        self.reply = reply
        if self.future is not None and not self.future.done():
            self.future.set_result(None)

    def cancel(self) -> None:
        """Tell it to stop, unless it was told."""
        if not self.told:
            self.is_told()
            self.press()

    def press(self) -> None:
        """Cancel it, told or not; in the middle of its step, when that is made."""
        if threading.get_ident() != self.executor.thread:
            self.executor.loop.call_soon_threadsafe(self.task.cancel)
        elif self.inside:
            self.due = True
        else:
            self.task.cancel()

    def _cancel_task(self) -> None:
        self.due = False
        self.task.cancel()

    def is_told(self) -> None:
        """It has been told to stop, and is cancelled only when it has not in a while."""
        self.told = time.monotonic()
        self.executor.press_later(self, self.told)

    def stopping(self) -> BaseException:
        """What its report raises. Where another task of the trial reports, or a thread, its own is cancelled, too."""
        executor = self.executor
        told, own = self.told, False
        if running_loop() is executor.loop:
            own = self.inside and executor.current_task() is self.task
        if not told:
            self.is_told()
            if not own:
                self.press()
        elif own:
            self.due = False
        return executor.cancelled("the trial has been stopped")

    def pause(self) -> None:
        while not self.reporter.note(_core.KIND_PAUSED):
            self.executor.drain()
        self.counters = self.reporter.suspend()
        self.paused_at = time.monotonic()
        self.asked = False

    def leave(self) -> None:
        """It ends without a word in the records: its code is cancelled, so that it cleans up."""
        self.left = True
        if self.counters is not None:
            self.reporter.resume(*self.counters, _core.NEVER_ASK, False)  # it may run elsewhere by now
            self.counters = None
        self.reporter.mute(True)
        self.cancel()

    def give_up(self) -> None:
        """It does not listen: for the run it is over, whatever it does."""
        while not self.reporter.end(_core.STOP):
            self.executor.drain()
        self.left = True
        self.reporter.mute(True)
        warn_once(
            "given up",
            f"trial {self.context.trial_id} was stopped and goes on all the same: it swallows asyncio.CancelledError. What it "
            "does from here on does not count",
            RuntimeWarning,
            in_run=True,
        )


def nowhere() -> int:
    """Where a host waits of which each trial waits for itself."""
    raise AssertionError("each trial waits for itself")


def nothing() -> None:
    """What a host does to flush, of which each trial has its own."""
