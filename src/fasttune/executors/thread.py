"""Trials in threads of this process: nothing is pickled, and large data are those of the caller.

One slot is one thread with a placement (CPUs, GPUs), a ring up (a memory-mapped file of the experiment's folder, as a
worker's: reports survive this process), a reporter, and queues of orders and answers down. Short trials wait in one feed
for all threads: whoever is free takes the next one, so there is nothing to balance. A trial that is paused is left inside its
``report()`` and goes on there, in its thread.

The GIL is one for all: what a trial computes in Python itself, no other does at the same time. A rung's lock is taken and
let go of without a chance for another thread in between, so nobody waits for one while its holder waits for the GIL.

A thread cannot be ended. A trial that does not listen is given up: it is said, its records end there, what it reports later
is answered by StopTrial and not written, and the run goes on, and ends, without it.
"""

from __future__ import annotations

import math
import os
import resource
import select
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from fasttune import _core
from fasttune.devices.gpus import detect_gpus
from fasttune.error import TuneError
from fasttune.executors.base import Batch, Death, Executor, ExecutorSite, Job, Program, Reply
from fasttune.executors.ring_file import RING_BYTES, map_file, remove_ring
from fasttune.executors.thread_worker import Feed, Releases, ThreadWorker
from fasttune.executors.threads import follow_threads
from fasttune.folder import RINGS
from fasttune.once import warn_anew, warn_in_run

if TYPE_CHECKING:
    from fasttune.executors.named_streams import NamedStreams

AHEAD_S = 0.05  # fresh trials for so long wait in the feed
LONGEST_SPAN = 8192
RATE_S = 0.005  # what trials were taken in less says nothing about how many are
MOST_AT_ONCE = 64  # threads that are started in one turn
HEARS_S = 1.0  # a trial that was given up and has not reported by then is named
PATIENCE_S = 2.0  # so long the end of a run waits for trials to report, and so to hear of it
SPARE_FILES = 24  # open files that the journal and callbacks may need
MOST_NAMED = 5  # trials in one warning


class Bell:
    """What threads ring when the loop sleeps: one eventfd where the system has that, else a pipe."""

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self.fd = self._reader = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._reader, self.fd = os.pipe()
            os.set_blocking(self._reader, False)
            os.set_blocking(self.fd, False)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)

    def wait(self, seconds: float) -> None:
        self._poll.poll(1000.0 * seconds)

    def quiet(self) -> None:
        """Make it silent until it is rung again."""
        with suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def close(self) -> None:
        for fd in {self.fd, self._reader}:
            os.close(fd)


@dataclass(eq=False)
class ThreadSlot:
    """A thread and what it has been given."""

    source: int
    worker: ThreadWorker
    path: str  # of its ring
    placement: Any  # None: it has none, and nothing to do
    request: Any
    job: int = -1  # the single trial it was given, until its end is seen
    suspended: set[int] = field(default_factory=set)
    orders: int = 0  # given so far that occupy it
    ending: int = 0  # of these, as many are done or about to be: their trial was answered to pause
    given_up: int = -1  # the trial in it that did not listen

    @property
    def ring(self) -> _core.Ring:
        return self.worker.ring

    @property
    def busy(self) -> bool:
        return self.orders > max(self.ring.orders, self.ending)

    @property
    def free(self) -> bool:
        """It can be given something to do."""
        return self.job < 0 and self.given_up < 0 and not self.busy

    def order(self, what: Callable[..., None], *given: Any) -> None:
        """Give it something to do that occupies it."""
        self.orders += 1
        self.worker.orders.put((True, what, given))

    def tell(self, what: Callable[..., None], *given: Any) -> None:
        """Give it something to do that nobody waits for."""
        self.worker.orders.put((False, what, given))


class Lost(NamedTuple):
    """A thread whose trial was told to stop, and by when it should have reported."""

    thread: threading.Thread
    trial: int
    until: float


class ThreadExecutor(Executor):
    """Runs trials in threads of this process, as many at once as the resources allow."""

    name = "thread"
    same_process = True

    @classmethod
    def at(cls, place: ExecutorSite) -> Self:
        return cls(place)

    def __init__(self, place: ExecutorSite) -> None:
        self._folder = os.path.join(place.folder, RINGS)
        self._supply = place.supply
        self._request = place.request
        self._usage = place.usage
        self._limit = min(place.limit, threads_by_open_files())
        self._next_source = place.first_source
        self._slots: list[ThreadSlot] = []
        self._left_over: list[ThreadSlot] = []  # given up, and their rings not yet released
        self._lost: list[Lost] = []
        self._deaths: list[Death] = []
        self._feed = Feed()
        self._releases = Releases()
        self._bell: Bell | None = None
        self._visible: frozenset[str] | None = None  # GPUs that this process sees
        self._varied = False  # trials ask for different things
        self._ahead = 0  # so many trials shall wait in the feed
        self._since = (0.0, 0)  # when the feed was looked at, and how many had been taken from it by then
        self._halted = False
        self._leaves_files = False
        self._named = False
        self._caught: tuple[int, ...] = ()
        self._names: NamedStreams | None = None

    def pass_prints(self, caught: tuple[int, ...], show: Callable[[str], None], named: bool) -> None:
        # `caught` are streams that the reporter, which is of this process, has replaced itself
        self._caught, self._named = caught, named

    def open(
        self, program: Program, epoch: float, rule: Any, drain: Callable[[], None], turn: Callable[[], None]
    ) -> None:
        self._program = program
        self._epoch = epoch
        self._rule = rule
        self._varied = any(one.resources != self._request for one in program.trainables)
        for one in program.trainables:
            self._check_gpus_of(one.resources)
        os.makedirs(self._folder, exist_ok=True)
        self._begun_in = copy_context()
        self._bell = Bell()
        warn_anew()
        follow_threads()
        if self._named:
            from fasttune.executors.named_streams import NamedStreams

            self._names = NamedStreams([number for number in (1, 2) if number not in self._caught])

    # -- resources -----------------------------------------------------------------------------------------------------

    def _check_gpus_of(self, request: Any) -> None:
        """Refuse a request whose trials would have to see different GPUs. What a function asks for is seen when it does."""
        if callable(request) or (placement := self._supply.acquire(request)) is None:
            return
        try:
            self._check_gpus(placement)
        finally:
            self._supply.release(placement)

    def _check_gpus(self, placement: Any) -> None:
        mine = frozenset(gpu.uuid for gpu, _ in getattr(placement, "gpus", ()))
        if not mine:
            return
        if self._visible is None:
            self._visible = frozenset(gpu.uuid for gpu in detect_gpus()[0])
        if mine != self._visible:
            raise ValueError(
                f"trials that run in threads (executor='thread') all see the same GPUs, because CUDA_VISIBLE_DEVICES is "
                f"one for the whole process; here a trial would get {len(mine)} of the {len(self._visible)} that this process "
                "sees, and could not know which. Use executor='process', ask for all of them, or show this process "
                "one GPU only, by CUDA_VISIBLE_DEVICES, of which trials have a share each"
            )

    def _place(self, request: Any) -> Any:
        placement = self._supply.acquire(request)
        if placement is not None:
            try:
                self._check_gpus(placement)
            except BaseException:
                self._supply.release(placement)
                raise
        return placement

    def _vacate(self, request: Any) -> bool:
        """Take the placement of a thread that has nothing to do, if it is of another kind. True if there was one."""
        for slot in self._slots:
            if slot.placement is not None and slot.request != request and slot.free and not slot.suspended:
                self._supply.release(slot.placement)
                slot.placement = slot.request = None
                return True
        return False

    def _bare(self) -> ThreadSlot | None:
        """A thread without a placement."""
        return next((slot for slot in self._slots if slot.placement is None), None)

    def _idle_slot(self, request: Any) -> ThreadSlot | None:
        for slot in self._slots:
            if slot.free and slot.placement is not None and slot.request == request:
                return slot
        return self._new_slot(request)

    def _new_slot(self, request: Any) -> ThreadSlot | None:
        """Another thread, or one that has no placement, if there is room for what it needs."""
        while len(self._slots) >= self._limit and self._bare() is None:
            if not self._vacate(request):
                return None
        while (placement := self._place(request)) is None:
            if not self._vacate(request):
                return None
        slot = self._bare()
        if slot is not None:
            slot.placement, slot.request = placement, request
            return slot
        try:
            slot = self._started(placement, request)
        except BaseException as error:
            self._supply.release(placement)
            if not (self._slots and isinstance(error, (OSError, RuntimeError))):
                raise
            self._make_do(error)
            return None
        self._slots.append(slot)
        return slot

    def _started(self, placement: Any, request: Any) -> ThreadSlot:
        source = self._next_source
        self._next_source += 1
        path = os.path.join(self._folder, f"{source}.ring")
        with suppress(FileExistsError):  # it goes with the last ring
            os.mkdir(self._folder)
        assert self._bell is not None, "no trial starts before the executor is open"
        try:
            memory = map_file(path, _core.Ring.nbytes(RING_BYTES))
            ring = _core.Ring(memory, create=True, epoch=self._epoch, bell_fd=self._bell.fd)
            worker = ThreadWorker(
                self._program, ring, self._rule, self._feed, self._releases, self._begun_in, f"fasttune-trials-{source}"
            )
        except BaseException:
            with suppress(OSError):
                remove_ring(path, whole=True)
            raise
        return ThreadSlot(source, worker, path, placement, request)

    def _make_do(self, error: BaseException) -> None:
        """Go on with the threads that there are."""
        self._limit = len(self._slots)
        warn_in_run(
            f"the run goes on with {self._limit} thread{'s' * (self._limit > 1)}: another one cannot be started: {error}",
            RuntimeWarning,
            stacklevel=2,
        )

    # -- work ----------------------------------------------------------------------------------------------------------

    def room(self) -> int:
        if self._varied:  # whether there is room depends on the trial: start() finds out
            return 1 if len(self._slots) < self._limit or any(slot.free for slot in self._slots) else 0
        left = self._feed.left
        free = self._could_take()
        self._look_at_rate()
        wanted = max(free, self._ahead)
        return 0 if left >= free and left > wanted // 2 else max(0, wanted - left)

    def _could_take(self) -> int:
        """How many trials could begin now, as far as is known."""
        free: int = sum(slot.free and slot.request == self._request for slot in self._slots)
        taken: list[Any] = []
        most = min(MOST_AT_ONCE, self._limit - len(self._slots))
        while len(taken) < most and (placement := self._supply.acquire(self._request)) is not None:
            taken.append(placement)
        for placement in taken:
            self._supply.release(placement)
        return free + len(taken)

    def _look_at_rate(self) -> None:
        """Short trials wait in the feed before somebody has time for them, and so are suggested in large blocks."""
        now, (then, before) = time.monotonic(), self._since
        if now - then >= RATE_S:
            taken = self._feed.taken
            if then:
                self._ahead = min(LONGEST_SPAN, int((taken - before) / (now - then) * AHEAD_S))
            self._since = now, taken

    def run_span(self, experiment: int, first: int, n: int, local: int) -> None:
        self._feed.add(experiment, first, n, first - local)
        self._serve()

    def _serve(self) -> None:
        """As many threads as there is work for look into the feed."""
        for slot in self._slots:
            if self._feed.left <= 0:
                return
            if slot.free and slot.request == self._request:
                slot.order(slot.worker.serve)
        new = 0
        while self._feed.left > new and (slot_or_none := self._new_slot(self._request)) is not None:
            slot_or_none.order(slot_or_none.worker.serve)
            new += 1

    def withdraw(self) -> list[int]:
        self._feed.clear()
        return []

    def start(self, job: Job) -> bool:
        request = self._program.request_of(job)
        self._varied = self._varied or request != self._request
        slot = self._idle_slot(request)
        if slot is None:
            return False
        for other in self._slots:
            if other.job == job.trial:  # an earlier attempt failed there; that thread still clears up behind it
                other.job = -1
        slot.order(slot.worker.run_one, job)
        slot.job = job.trial
        return True

    def resume(self, trial: int, ask_from: int = 0) -> bool:
        slot = self._slot_of(trial)
        if slot is None:
            raise TuneError(f"trial {trial} is not paused in any thread")
        if not slot.free:
            return False
        slot.suspended.discard(trial)
        slot.job = trial
        slot.order(slot.worker.go_on, trial, Reply(_core.CONTINUE, ask_from))
        return True

    def _slot_of(self, trial: int) -> ThreadSlot | None:
        """The thread that a paused trial lives in."""
        return next((slot for slot in self._slots if trial in slot.suspended), None)

    def _running(self, trial: int) -> ThreadSlot | None:
        """The thread that a trial runs in; one that only saves there, or is left, may have been there before."""
        job = next((slot for slot in self._slots if slot.job == trial), None)
        return job or next((slot for slot in self._slots if slot.ring.busy_trial == trial), None)

    def answer(self, trial: int, decision: int, ask_from: int = 0, save: bool = False) -> None:
        slot = self._running(trial)
        if slot is None:
            return
        if decision == _core.PAUSE:
            slot.suspended.add(trial)
            if slot.job == trial:
                slot.job = -1
                slot.ending = slot.orders
        slot.worker.answers.put((trial, Reply(decision, ask_from, save)))

    def save(self, trial: int) -> None:
        slot = self._slot_of(trial)
        if slot is not None:
            slot.tell(slot.worker.go_on, trial, Reply(_core.PAUSE, save=True))

    def discard(self, trial: int) -> None:
        slot = self._slot_of(trial)
        if slot is not None:
            slot.suspended.discard(trial)
            slot.tell(slot.worker.discard, trial)

    def stop(self, trial: int) -> None:
        for slot in self._slots:
            if slot.ring.busy_trial == trial:
                slot.ring.ask_stop(trial)

    def kill(self, trial: int) -> None:
        """Give it up: nothing can end a thread. What it has written so far counts, and it is told as dead."""
        for slot in self._slots:
            if slot.ring.busy_trial == trial and slot.given_up < 0:
                slot.given_up = trial
                slot.worker.leave()
                self._lost.append(Lost(slot.worker.thread, trial, time.monotonic() + HEARS_S))

    def _say_held(self, how: str, now: float = math.inf) -> None:
        """Name the trials that should have reported by ``now`` and still go on."""
        trials = sorted(one.trial for one in self._lost if now >= one.until and one.thread.is_alive())
        self._lost = [one for one in self._lost if now < one.until]
        if not trials:
            return
        ids = [f"{self._program.prefix}_{trial:05d}" for trial in trials[:MOST_NAMED]]
        named = ", ".join(ids) + (f" and {len(trials) - MOST_NAMED} more" if len(trials) > MOST_NAMED else "")
        which, them = (f"trial {named} does", "it") if len(trials) == 1 else (f"the trials {named} do", "them")
        warn_in_run(
            f"{which} not come to a report, which would end {them}, and a thread cannot be ended from outside. {how} {them}; "
            "what is computed there goes on until the next report, or until this process ends",
            RuntimeWarning,
            stacklevel=3,
        )

    # -- the turn ------------------------------------------------------------------------------------------------------

    def poll(self, timeout: float) -> list[Batch]:
        if timeout > 0:
            self._sleep(timeout)
        batches: list[Batch] = []
        for slot in self._slots:
            if slot.worker.failure is not None:
                raise slot.worker.failure
            self._take(slot, batches)
            if slot.job >= 0 and not slot.busy:
                slot.job = -1
        self._bury()
        if self._lost:
            self._say_held("The run goes on without", time.monotonic())
        if self._feed.left:  # somebody may have looked there just before it came
            self._serve()
        return batches

    def _take(self, slot: ThreadSlot, batches: list[Batch]) -> None:
        while (data := slot.ring.take()) is not None:
            batches.append(Batch(slot.source, slot.ring.position, data))

    def _sleep(self, timeout: float) -> None:
        """Sleep until a thread calls, or the time is over."""
        assert self._bell is not None
        rings = [slot.ring for slot in self._slots]
        if all([ring.sleep_begin() for ring in rings]):  # noqa: C419 - every one of them has to be told
            self._bell.wait(timeout)
        for ring in rings:
            ring.sleep_end()
        self._bell.quiet()

    def _bury(self) -> None:
        """Tell of the threads whose trial was given up; what that had written has just been taken, and no more will be."""
        for slot in [slot for slot in self._slots if slot.given_up >= 0]:
            unstarted = [trial for trial in (slot.worker.fresh, slot.job) if trial not in (-1, slot.given_up)]
            why = "The trial was told to stop and did not come to a report; a thread cannot be ended, so it was given up."
            self._deaths.append(Death(slot.source, slot.given_up, unstarted, sorted(slot.suspended), why))
            self._slots.remove(slot)
            self._left_over.append(slot)
            self._forget(slot)

    def _forget(self, slot: ThreadSlot) -> None:
        slot.ring.bell_fd = -1  # it may be another file by the time that the thread reports
        if slot.placement is not None:
            self._supply.release(slot.placement)
            slot.placement = None

    def release(self) -> None:
        for slot in self._slots:
            slot.ring.release()
        for slot in self._left_over:
            slot.ring.release()
            self._remove(slot)
        self._left_over.clear()
        self._releases.tell()

    def _remove(self, slot: ThreadSlot) -> None:
        if not self._leaves_files:
            remove_ring(slot.path, slot.ring.released == slot.ring.head)

    def deaths(self) -> list[Death]:
        deaths, self._deaths = self._deaths, []
        return deaths

    @property
    def usage(self) -> str:
        return self._usage()

    @property
    def idle(self) -> bool:
        return not self._feed.left and all(slot.free for slot in self._slots)

    # -- the end -------------------------------------------------------------------------------------------------------

    def halt(self) -> None:
        if self._halted:
            return
        self._halted = True
        self._feed.clear()
        for slot in self._slots:
            slot.worker.leave()
        deadline = time.monotonic() + PATIENCE_S
        self._lost += [Lost(slot.worker.thread, slot.worker.reporter.trial, deadline) for slot in self._slots]
        for one in self._lost:
            one.thread.join(max(0.0, deadline - time.monotonic()))
        self._say_held("The run ends without")

    def drain_now(self) -> list[Batch]:
        batches: list[Batch] = []
        for slot in self._slots:
            self._take(slot, batches)
        return batches

    def leave_files(self) -> None:
        self._leaves_files = True

    def close(self) -> None:
        self.halt()
        if self._bell is None:
            return
        for slot in (*self._slots, *self._left_over):
            self._forget(slot)
            self._remove(slot)
        self._slots.clear()
        self._left_over.clear()
        if not self._leaves_files:
            with suppress(OSError):  # it holds something; without a thread there was no ring to go with
                os.rmdir(self._folder)
        self._bell.close()
        self._bell = None
        if self._names is not None:
            self._names.stop()


def threads_by_open_files() -> int:
    """How many threads the limit on open files allows: the ring of each is one. TuneError when it is none."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 32
    if limit - used <= SPARE_FILES:
        raise TuneError(
            f"this process may have {limit} open files and has {used}: too few for the rings of trials in threads; raise the "
            "limit (ulimit -n), or run with executor='inline'"
        )
    return limit - used - SPARE_FILES
