"""Trials that are coroutines: thousands at once in one thread, each a task of an event loop.

``CoroutineExecutor`` begins them, and lets the event loop run while the TuneLoop rests; one of them is a ``TaskTrial``
(``coroutine_trial.py``).

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from fasttune import _core
from fasttune.error import TuneError
from fasttune.executors.base import Batch, Death, Executor, ExecutorSite, Job, Program, Reply
from fasttune.executors.coroutine_trial import SLICE_S, TaskTrial, nothing, nowhere
from fasttune.executors.event_loops import AwaitedRun, OwnLoop
from fasttune.executors.host import Host
from fasttune.executors.ring_file import RING_BYTES, map_file, remove_ring, taken
from fasttune.executors.threads import follow_threads
from fasttune.folder import RINGS
from fasttune.once import warn_once
from fasttune.trainable import is_async

MOST_AT_ONCE = 10_000  # trials, where nobody says a number and they ask for nothing that runs out
AGAIN = 5.0  # seconds; a trial that was told to stop and goes on is cancelled again every so often
GIVEN_UP = 15.0  # and is left alone after so many
HALT_S = 5.0  # for trials to clean up when the run is over; then they are cancelled once more
MANY = 1000  # trials that begin at once, with the garbage collector off: nothing of them is garbage. Of 10,000 that sleep it took
#              a third of the run's CPU time (0.50 s, 0.35 without)
CHOSEN_AT_ONCE = 64  # trials that a scheduler has chosen and that have not begun: each of them makes the next choice longer
LARGEST_LIMIT = 1 << 32  # who says more at once has not said a number
NOTHING = object()  # the placement of a trial that asks for nothing


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
            self._slots = self._place.room_for(self._limit)  # else it shows when they are started
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        memory = map_file(self._path, _core.Ring.nbytes(RING_BYTES))
        self.ring = _core.Ring(memory, create=True, epoch=epoch)
        self.drain = drain
        self.turn = turn
        self.reporter = program.reporter(self.ring, rule)
        self.host = Host(program, self.reporter, nowhere, nothing)
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

    def press_later(self, trial: TaskTrial, now: float) -> None:
        """It was told to stop, and is told again if it goes on."""
        self.told[trial] = now + AGAIN

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
                self.press_later(trial, now)
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
