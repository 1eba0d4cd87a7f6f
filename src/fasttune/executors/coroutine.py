"""Trials that are coroutines: thousands at once in one thread, each a task of an event loop.

    CoroutineExecutor   begins them, and lets the event loop run while the TuneLoop rests
    TaskTrial           one of them: its task, its reporter, and where it is

A report only writes and returns, so a trial goes on at once. Where the loop has to be asked, ``report()``, which is no
coroutine, cannot await: each step of such a trial's task is made in a greenlet, which is left inside the report; the task
awaits the answer in its place, and the step goes on when that is there. What other tasks and threads of a trial report is
not asked about, as elsewhere.

All trials share one ring, a mapped file as that of trials inline, and have a reporter each: a few hundred bytes. Measured
with 10,000 trials (`benchmarks/bench_coroutines.py`).
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import coroutine
from typing import TYPE_CHECKING, Any, Self

from fasttune import _core, nesting
from fasttune.error import StopTrial, TuneError
from fasttune.executors.base import Batch, Death, Executor, ExecutorSite, Job, Program, Reply, Suspended
from fasttune.executors.event_loops import AwaitedRun, OwnLoop
from fasttune.executors.host import Host, HostContext
from fasttune.executors.ring_file import RING_BYTES, map_file, remove_ring, taken
from fasttune.executors.threads import follow_threads
from fasttune.failure import stored_exception, stored_text
from fasttune.folder import RINGS
from fasttune.once import warn_once
from fasttune.trainable import is_async
from fasttune.trial_context import running_loop
from fasttune.trial_functions import run_async_function

if TYPE_CHECKING:
    import asyncio

MOST_AT_ONCE = 10_000  # trials, where nobody says a number and they ask for nothing that runs out
BLOCKED_S = 1.0  # a trial that keeps the event loop for so long is told of
SLICE_S = 0.02  # a trial that only reports lets the loop have a turn in between so often
AGAIN = 5.0  # seconds; a trial that was told to stop and goes on is cancelled again every so often
GIVEN_UP = 15.0  # and is left alone after so many
HALT_S = 5.0  # for trials to clean up when the run is over; then they are cancelled once more
MANY = 1000  # trials that begin at once, with the garbage collector off: nothing of them is garbage. Of 10,000 that sleep it took
#              a third of the run's CPU time (0.50 s, 0.35 without)
CHOSEN_AT_ONCE = 64  # trials that a scheduler has chosen and that have not begun: each of them makes the next choice longer


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
        context.wait, context.flush, context.turn, context.until_stored = _nowhere, _nothing, _nothing, None
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
        self.executor.told[self] = self.told + AGAIN

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


class CoroutineExecutor(Executor):
    """Runs async functions as tasks, ``limit`` at once."""

    name = "async"
    here = True
    waits = True

    @classmethod
    def at(cls, place: ExecutorSite) -> Self:
        return cls(place)

    def __init__(self, place: ExecutorSite) -> None:
        self._place = place
        self._path = os.path.join(place.folder, RINGS, f"{place.first_source}.ring")
        self._source = place.first_source
        self._limit = min(place.limit, MOST_AT_ONCE if place.limit > LARGEST_LIMIT else place.limit)
        self._free = asks_for_nothing(place.request)
        self._slots = self._limit
        self._trials: dict[int, TaskTrial] = {}  # that run, wait or are paused
        self._tasks: set[TaskTrial] = set()  # those, and those that are being left
        self.told: OrderedDict[TaskTrial, float] = OrderedDict()  # those that were told to stop: when they are cancelled again
        self._active = 0  # that have a place
        self.beginning = 0  # that were taken and have not begun
        self._turned = 0.0
        self.thread = 0  # in which tasks run
        self._broken: BaseException | None = None
        self._leaves_files = False
        self._collects_later = False  # many trials begin at once, and the garbage collector is off until they have
        self._events: OwnLoop | AwaitedRun
        self.waits_inside = False  # a report may have to wait: steps are made in greenlets
        self.loop_lock = threading.RLock()  # held while the loop works, not while trials do: a thread of theirs may flush
        self._open = False

    def open(
        self, program: Program, epoch: float, rule: Any, drain: Callable[[], None], turn: Callable[[], None]
    ) -> None:
        import asyncio

        for one in program.trainables:
            check_async(one.trainable, one.name)
        if not self._free and all(one.resources == self._place.request for one in program.trainables):
            self._slots = fitting(self._place, self._limit)  # else it shows when they are started
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        memory = map_file(self._path, _core.Ring.nbytes(RING_BYTES))
        self.ring = _core.Ring(memory, create=True, epoch=epoch)
        self.drain = drain
        self.turn = turn
        self.reporter = program.reporter(self.ring, rule)
        self.host = Host(program, self.reporter, _nowhere, _nothing)
        self.waits_inside = program.asks or program.pauses or program.durable
        if self.waits_inside:
            from greenlet import getcurrent, greenlet

            self.current_greenlet, self.greenlet = getcurrent, greenlet
        self.cancelled, self.new_task, self.current_task = asyncio.CancelledError, asyncio.Task, asyncio.current_task
        self.thread = threading.get_ident()
        self._events = self._place.awaited or OwnLoop()
        self.loop = self._events.loop
        follow_threads()
        self.loop_lock.acquire()
        self._open = True

    # -- work ---------------------------------------------------------------------------------------------------------

    def room(self) -> int:
        room = self._slots - self._active
        if self.host.program.pauses:
            room = min(room, CHOSEN_AT_ONCE - self.beginning)
        return max(0, room)

    def run_span(self, experiment: int, first: int, n: int, local: int) -> None:
        if n >= MANY and gc.isenabled():
            gc.disable()
            self._collects_later = True
        for k in range(n):
            job = Job(first + k, experiment, local + k)
            placement = self._acquire(job)
            self._take(job, NOTHING if placement is None else placement)

    def start(self, job: Job) -> bool:
        if self.room() <= 0:
            return False
        placement = self._acquire(job)
        if placement is None:
            return False
        self._take(job, placement)
        return True

    def _take(self, job: Job, placement: Any) -> None:
        self._active += 1
        self.beginning += 1
        trial = self._trials[job.trial] = TaskTrial(self, job, placement)
        self._tasks.add(trial)

    def _acquire(self, job: Job) -> Any:
        """What the trial needs of the machine; NOTHING if it asks for nothing, None if that is not free."""
        one = self.host.program.trainables[job.experiment]
        request = job.resources if job.resources is not None else one.resources
        if callable(request) and not hasattr(request, "bundles"):
            request = request(self.host.config(job))
        return NOTHING if asks_for_nothing(request) else self._place.supply.acquire(request)

    def _give_back(self, trial: TaskTrial) -> None:
        """Its place is free."""
        placement, trial.placement = trial.placement, None
        if placement is None:
            return
        self._active -= 1
        if placement is not NOTHING:
            self._place.supply.release(placement)

    def is_over(self, trial: TaskTrial) -> None:
        """A task ends."""
        if self._trials.get(trial.job.trial) is trial:
            del self._trials[trial.job.trial]
        self._tasks.discard(trial)
        self.told.pop(trial, None)
        if not trial.begun:
            self.beginning -= 1
        self._give_back(trial)
        self.wake()

    def withdraw(self) -> list[int]:
        withdrawn = [trial for trial in self._trials.values() if not trial.begun]
        for trial in withdrawn:
            trial.left = True
            trial.task.cancel()  # before its first step: nothing of it ever runs
            self.is_over(trial)
            self._tasks.add(trial)
        return [trial.job.trial for trial in withdrawn]

    def resume(self, trial: int, ask_from: int = 0) -> bool:
        found = self._trials.get(trial)
        if found is None or (found.counters is None and not found.asked):
            raise TuneError(f"trial {trial} is not paused in this process")
        if found.counters is None or found.resumed or self.room() <= 0:
            return False
        placement = self._acquire(found.job)
        if placement is None:
            return False
        found.placement = placement
        self._active += 1
        found.resumed = True
        found.give(Reply(_core.CONTINUE, ask_from))
        return True

    def answer(self, trial: int, decision: int, ask_from: int = 0, save: bool = False) -> None:
        found = self._trials.get(trial)
        if found is None or not found.asked:
            return
        if decision == _core.PAUSE:
            found.pause()
            self._give_back(found)
        else:
            found.give(Reply(decision, ask_from))

    def save(self, trial: int) -> None:
        """Functions save nothing that they do not report."""

    def discard(self, trial: int) -> None:
        found = self._trials.get(trial)
        if found is not None and found.counters is not None and not found.resumed:
            del self._trials[trial]
            found.leave()

    def stop(self, trial: int) -> None:
        found = self._trials.get(trial)
        if found is None:
            return
        found.reporter.stopped = True
        if found.begun and found.counters is None:
            found.cancel()

    def kill(self, trial: int) -> None:
        """A task can only be cancelled; one that goes on all the same is left alone at last, whoever stopped it."""
        self.stop(trial)

    def _press_on(self) -> None:
        """Those that go on although they were told to stop."""
        now = time.monotonic()
        while self.told:
            trial, due = next(iter(self.told.items()))
            if due > now:
                return
            del self.told[trial]
            if trial not in self._tasks:  # a thread of it was told when it was over
                continue
            if now - trial.told < GIVEN_UP or trial.left:
                trial.press()
                self.told[trial] = now + AGAIN
            else:
                trial.give_up()
                self._trials.pop(trial.job.trial, None)
                self._tasks.discard(trial)
                self._give_back(trial)

    # -- the turn -----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """The loop shall have its turn."""
        self._events.wake()

    def turn_is_due(self) -> bool:
        """Whether a trial of this thread has kept the loop from its turn for long."""
        if threading.get_ident() != self.thread or time.monotonic() - self._turned < SLICE_S:
            return False
        self._turned = time.monotonic()
        return True

    def poll(self, timeout: float) -> list[Batch]:
        if self.told:
            self._press_on()
        self._rest(0.0 if self.beginning or self.ring.head != self.ring.position else timeout)
        if self._broken is not None:
            broken, self._broken = self._broken, None
            raise broken
        return taken(self.ring, self._source)

    def _rest(self, seconds: float) -> None:
        self.thread = threading.get_ident()
        self._turned = time.monotonic()
        with self._users_code():
            if self._collects_later:
                try:
                    self._events.rest(0.0)  # the round in which they begin
                finally:
                    self._collect_again()
            self._events.rest(seconds)

    def _collect_again(self) -> None:
        if self._collects_later:
            self._collects_later = False
            gc.enable()
            gc.collect(1)  # it would look at them now anyway, and then once more in the middle of their ends

    @contextmanager
    def _users_code(self) -> Iterator[None]:
        """In the block this thread runs tasks; it may itself be in a trial of another run."""
        outer = _core.binding()
        _core.rebind(None)
        self.loop_lock.release()
        try:
            yield
        finally:
            self.loop_lock.acquire()
            self.in_trial = False
            _core.rebind(outer)

    def breaks(self, error: BaseException) -> None:
        """The loop has failed within a trial, or a Ctrl-C came there: raised by the poll."""
        if self._broken is None:
            self._broken = error
        self.wake()

    def is_interrupted(self) -> None:
        # it is told by the KeyboardInterrupt, and may await what cleans up: a cancellation would end that
        trial = next((trial for trial in self._tasks if trial.inside), None)
        if trial is not None and not trial.told:
            trial.is_told()

    def drain_now(self) -> list[Batch]:
        return taken(self.ring, self._source)

    def release(self) -> None:
        self.ring.release()
        if self.host.program.durable:
            for trial in self._trials.values():
                if trial.storing:
                    trial.give(Reply(_core.CONTINUE))

    def deaths(self) -> list[Death]:
        return []

    @property
    def usage(self) -> str:
        return self._place.usage()

    @property
    def idle(self) -> bool:
        return self._active == 0

    # -- the end ------------------------------------------------------------------------------------------------------

    def halt(self) -> None:
        if not self._open:
            return
        for trial in self._trials.values():
            trial.leave()
        self._trials.clear()
        for _ in range(2):
            self._clean_up(time.monotonic() + HALT_S)
            for trial in self._tasks:
                trial.task.cancel()
        if self._tasks and not self._place.hurried():
            n = len(self._tasks)
            warn_once(
                "given up",
                f"{n} trials go on although the run is over: they swallow asyncio.CancelledError, or take long to clean up"
                if n > 1
                else "a trial goes on although the run is over: it swallows asyncio.CancelledError, or takes long to clean up",
                RuntimeWarning,
                in_run=True,
            )
        self.reporter.retire()
        self._broken = None

    def _clean_up(self, until: float) -> None:
        """Let trials that are being left go on until they are over."""
        seconds = 0.0
        while self._tasks and time.monotonic() < until and not self._place.hurried():
            self._rest(seconds)
            self._tasks = {trial for trial in self._tasks if not trial.task.done()}
            seconds = 0.05

    def leave_files(self) -> None:
        self._leaves_files = True

    def close(self) -> None:
        if not self._open:
            return
        self._collect_again()
        self.halt()
        self._open = False
        whole = self.ring.released == self.ring.head
        with self._users_code():
            self._events.close()
        self.host.close()
        self.host.let_go()
        self._tasks.clear()
        del self.host, self.reporter, self.ring, self.drain, self.turn
        self.loop_lock.release()
        if not self._leaves_files:
            remove_ring(self._path, whole)


LARGEST_LIMIT = 1 << 32  # who says more at once has not said a number
DONE = object()  # instead of what a step gives: there are no more
NOTHING = object()  # the placement of a trial that asks for nothing


def check_async(trainable: Any, name: str) -> None:
    """TypeError for what cannot be a task."""
    if is_async(trainable):
        return
    if isinstance(trainable, type):
        raise TypeError(
            f"executor='async' runs async functions, and {name} is a class, whose steps are plain calls: leave executor out, or "
            "write an async function"
        )
    raise TypeError(
        f"executor='async' runs async functions, and {name} is a plain one, which would keep all other trials from going on: "
        f"write `async def {name}(config)` that awaits what it waits for, or leave executor out"
    )


def asks_for_nothing(request: Any) -> bool:
    """Whether a trial needs no part of the machine."""
    return hasattr(request, "bundles") and not request.bundles


def fitting(place: ExecutorSite, limit: int) -> int:
    """How many trials fit at once, found by trying."""
    taken: list[Any] = []
    while len(taken) < limit and (placement := place.supply.acquire(place.request)) is not None:
        taken.append(placement)
    for placement in taken:
        place.supply.release(placement)
    return max(1, len(taken))


def _nowhere() -> int:
    raise AssertionError("each trial waits for itself")


def _nothing() -> None:
    """Each trial has its own."""
