"""Trials in this process: no pickling, no worker, deterministic.

Trials that never wait for an answer run one after the other as plain calls. When the loop is asked on every report,
each trial is a greenlet that switches away inside ``report()`` and goes on where it was when the answer has come; as
many are alive at once as the resources allow. Suspended trials share what a process has one of: the working directory,
the global random state, torch's gradient mode. Use worker processes for trials that change those.

The ring is a memory-mapped file of the experiment's folder, as a worker's: reports survive this process as well.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from fasttune import _core
from fasttune.error import StopTrial, TuneError
from fasttune.executors.base import Batch, Death, Executor, ExecutorSite, Job, Program, Reply
from fasttune.executors.host import Host
from fasttune.executors.ring_file import RING_BYTES, map_file, remove_ring, taken
from fasttune.executors.suspension import LEAVE, Suspension
from fasttune.executors.threads import follow_threads
from fasttune.folder import RINGS

SLICE_S = 0.02  # how long plain trials run before the loop gets its turn
SOURCE = 1


class InlineExecutor(Executor):
    """Runs trials in this process. ``slots``: how many may be under way at once when trials have to wait."""

    name = "inline"
    here = True
    same_process = True

    @classmethod
    def at(cls, place: ExecutorSite) -> Self:
        most = min(place.limit, os.cpu_count() or 1, 4096)  # one per CPU if they ask for nothing
        return cls(place.folder, place.room_for(most), place.usage(), place.first_source)

    def __init__(self, folder: str, slots: int, usage: str, source: int = SOURCE) -> None:
        self._path = os.path.join(folder, RINGS, f"{source}.ring")
        self._source = source
        self._slots = slots
        self._usage = usage
        self._spans: deque[tuple[int, int, int, int]] = deque()  # experiment, first, limit, shift
        self._jobs: deque[Job] = deque()
        self._ready: deque[tuple[int, Reply]] = deque()  # trials that were left and go on now
        self._dropped: list[int] = []  # paused trials to be left for good
        self._resumed: set[int] = set()  # paused trials that are ready to go on
        self._to_stop: set[int] = set()
        self._suspension: Suspension | None = None
        self._grant = 256
        self._stride = 1
        self._slice_ends = 0.0
        self._broken: BaseException | None = None  # raised by the loop within a trial
        self._leaves_files = False
        self._memory: mmap.mmap | None = None
        # Held by the loop's thread but while the user's code runs: a thread of a trial that finds the ring full then
        # drains it itself, because the loop's thread may be waiting for that very thread.
        self._loop_lock = threading.RLock()

    def open(
        self, program: Program, epoch: float, rule: Any, drain: Callable[[], None], turn: Callable[[], None]
    ) -> None:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        self._memory = map_file(self._path, _core.Ring.nbytes(RING_BYTES))
        self.ring = _core.Ring(self._memory, create=True, epoch=epoch)
        self._program = program
        self._drain = drain
        self._turn = turn
        self.reporter = program.reporter(self.ring, rule)
        until_stored = self._until_stored if program.durable else None
        self.host = Host(
            program, self.reporter, self._wait, self._drain_within, self._turn_within, until_stored
        )
        if program.asks or program.pauses:
            self._suspension = Suspension(self.host)
        follow_threads()
        self._loop_lock.acquire()

    # -- work ----------------------------------------------------------------------------------------------------------

    def room(self) -> int:
        if self._suspension is not None:
            under_way = len(self._suspension.waiting) + len(self._resumed) + len(self._jobs)
            under_way += sum(limit - first for _, first, limit, _ in self._spans)
            return max(0, self._slots - under_way)
        return 0 if self._spans or self._jobs else self._grant

    def run_span(self, experiment: int, first: int, n: int, local: int) -> None:
        self._spans.append((experiment, first, first + n, first - local))

    def start(self, job: Job) -> bool:
        if self.room() <= 0:
            return False
        self._jobs.append(job)
        return True

    def withdraw(self) -> list[int]:
        withdrawn = [job.trial for job in self._jobs]
        self._spans.clear()
        self._jobs.clear()
        return withdrawn

    def resume(self, trial: int, ask_from: int = 0) -> bool:
        left = self._suspension
        if left is None or not (trial in left.paused or trial in left.waiting):
            raise TuneError(f"trial {trial} is not paused in this process")
        if trial in left.waiting or self.room() <= 0:  # it is still saving before it is paused
            return False
        self._resumed.add(trial)
        self._ready.append((trial, Reply(_core.CONTINUE, ask_from)))
        return True

    def answer(self, trial: int, decision: int, ask_from: int = 0, save: bool = False) -> None:
        left = self._suspension
        if left is None or trial not in left.waiting:
            return
        if decision == _core.PAUSE and not save:
            left.pause(trial)
        else:
            self._ready.append((trial, Reply(decision, ask_from, save)))

    def save(self, trial: int) -> None:
        if self._is_paused(trial):
            self._ready.append((trial, LEAVE._replace(save=True)))

    def discard(self, trial: int) -> None:
        if self._is_paused(trial):
            self._dropped.append(trial)

    def _is_paused(self, trial: int) -> bool:
        return self._suspension is not None and trial in self._suspension.paused and trial not in self._resumed

    def stop(self, trial: int) -> None:
        self._to_stop.add(trial)
        self.ring.ask_stop(trial)

    def kill(self, trial: int) -> None:
        """Nothing can end a trial in this process but itself."""

    # -- the turn ------------------------------------------------------------------------------------------------------

    def poll(self, timeout: float) -> list[Batch]:
        self._slice_ends = time.monotonic() + SLICE_S
        self.reporter.turn_in(2 * SLICE_S)
        self.in_trial = True
        try:
            with self._users_code():
                if self._suspension is not None:
                    self._switch_around(self._suspension)
                else:
                    self._run_plain()
        except StopTrial:  # of a trial that was about to begin or to end when the loop broke
            if self._broken is None:
                raise
        finally:
            self.in_trial = False
        if self._broken is not None:
            raise self._broken
        return taken(self.ring, self._source)

    @contextmanager
    def _users_code(self) -> Iterator[None]:
        """In the block this thread runs trials; it may itself be in a trial of another run."""
        outer = _core.binding()
        self.reporter.bind()
        self._loop_lock.release()
        try:
            yield
        finally:
            self._loop_lock.acquire()
            _core.rebind(outer)

    def _enough(self) -> bool:
        return self._broken is not None or time.monotonic() >= self._slice_ends or self.ring.filled > 0.5

    def _run_plain(self) -> None:
        while self._jobs and not self._enough():
            self.host.run(self._jobs.popleft())
        before, began = self._left(), time.monotonic()
        while self._spans and not self._enough():
            self._run_stride()
        elapsed = time.monotonic() - began
        if elapsed > 0:  # enough for a slice, so that configs are suggested in large blocks
            self._grant = max(1, min(8192, int((before - self._left()) / elapsed * SLICE_S)))

    def _run_stride(self) -> None:
        """Run as many trials as last about a tenth of a slice before the clock is looked at again."""
        experiment, first, limit, shift = self._spans.popleft()
        middle = min(limit, first + self._stride)
        self.ring.set_span(first, middle)
        began = time.monotonic()
        try:
            self.host.run_span(experiment, shift)
        finally:
            middle -= self.ring.left
            if middle < limit:
                self._spans.appendleft((experiment, middle, limit, shift))
        elapsed = time.monotonic() - began
        self._stride = min(1024, self._stride * 2) if elapsed < SLICE_S / 10 else max(1, self._stride // 2)

    def _left(self) -> int:
        return sum(limit - first for _, first, limit, _ in self._spans)

    def _switch_around(self, left: Suspension) -> None:
        """Give each trial that can go on its turn, until every one waits or is over."""
        while self._dropped:
            left.drop(self._dropped.pop())
        while not self._enough():
            if self._ready:
                self._go_on(left, *self._ready.popleft())
                continue
            job = self._next_job()
            if job is None:
                return
            left.begin(job)

    def _go_on(self, left: Suspension, trial: int, answer: Reply) -> None:
        self._resumed.discard(trial)
        if trial in self._to_stop:  # the ring has room for one such wish
            self.ring.ask_stop(trial)
        if trial in left.waiting or trial in left.paused:
            left.enter(trial, answer)

    def _next_job(self) -> Job | None:
        if self._jobs:
            return self._jobs.popleft()
        if not self._spans:
            return None
        experiment, first, limit, shift = self._spans.popleft()
        if first + 1 < limit:
            self._spans.appendleft((experiment, first + 1, limit, shift))
        return Job(first, experiment, first - shift)

    def _wait(self) -> int:
        """Inside a trial: leave it here until the loop has answered."""
        assert self._suspension is not None, "no report waits in a run that asks for nothing"
        return self._suspension.wait()

    def _turn_within(self) -> None:
        """A trial goes on for longer than a slice: what watches the run sees it all the same."""
        if self._suspension is not None:
            self._ready.append((self.reporter.trial, Reply(_core.CONTINUE, self.reporter.ask_from)))
            self._suspension.wait()
            return
        self.reporter.turn_in(math.inf)  # not from within the turn itself
        self._guarded(self._turn)
        self.reporter.turn_in(SLICE_S)

    def _drain_within(self) -> None:
        self._guarded(self._drain)

    def _guarded(self, call: Callable[[], None]) -> None:
        """What goes wrong in the loop is no fault of the trial that it is called from: it is raised behind it. The trial is
        only left, whatever it does then: nothing is recorded of that, and it goes on when the run does."""
        try:
            with self._loop_lock:
                call()
        except BaseException as error:
            self._broken = error
            self.host.leaving = True
            self.reporter.mute(True)
            self.ring.set_span(0, 0)
            if isinstance(error, KeyboardInterrupt):
                raise
            raise StopTrial from error

    def _until_stored(self) -> None:
        """Inside a trial's report: it returns when the disk has it."""
        if not self.host.leaving and self.ring.released < self.ring.head:
            self._drain_within()

    def drain_now(self) -> list[Batch]:
        return taken(self.ring, self._source)

    def release(self) -> None:
        self.ring.release()

    def deaths(self) -> list[Death]:
        return []

    @property
    def usage(self) -> str:
        return self._usage

    @property
    def idle(self) -> bool:
        return not (self._spans or self._jobs or self._ready or self._dropped)

    def halt(self) -> None:
        if self._memory is None:
            return
        self._spans.clear()
        self._jobs.clear()
        self._end_suspended()
        self.reporter.retire()

    def leave_files(self) -> None:
        self._leaves_files = True

    def close(self) -> None:
        if self._memory is None:
            return
        self.halt()
        self.host.close()
        whole = self.ring.released == self.ring.head
        self.host.let_go()
        self._suspension = None
        del self.host, self.reporter, self.ring, self._drain
        self._memory = None  # unmapped when the last view of it has gone
        self._loop_lock.release()
        if not self._leaves_files:
            remove_ring(self._path, whole)

    def _end_suspended(self) -> None:
        """Trials that wait are left as a stopped one is, so that their ``finally`` blocks run; they stay as they were
        recorded, to be gone on with."""
        if self._suspension is None:
            return
        self._ready.clear()
        self._dropped.clear()
        with self._users_code():
            self._suspension.drop_all()
