"""What runs in the threads of :mod:`fasttune.executors.thread`: a worker's work, handed over without pickling.

    Feed      short trials that wait, for all threads alike
    Releases  who waits until the journal has what was reported
    ThreadWorker    one thread: its ring, its reporter, its host, what it is to do next
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from fasttune import _core, nesting
from fasttune.error import StopTrial
from fasttune.executors.base import Job, Program, Reply
from fasttune.executors.host import Host
from fasttune.executors.threads import TrialThread

if TYPE_CHECKING:
    from fasttune.executors.suspension import Suspension

ANY = -1  # an answer for whichever trial waits


class Feed:
    """Fresh trials that wait to be begun, for all threads alike.

    left, taken  how many wait, and how many were taken so far
    """

    def __init__(self) -> None:
        self.left = self.taken = 0
        self._low = 0  # when so few are left the loop is called
        self._lock = threading.Lock()
        self._spans: deque[list[int]] = deque()  # first, limit, experiment, shift

    def add(self, experiment: int, first: int, n: int, shift: int) -> None:
        with self._lock:
            self._spans.append([first, first + n, experiment, shift])
            self.left += n
            self._low = self.left // 2

    def take(self, worker: ThreadWorker) -> tuple[int, int, int] | None:
        """(trial, experiment, shift) of the next one; the variant of a trial is trial - shift."""
        with self._lock:
            worker.fresh = -1
            if worker.leaving or not self._spans:
                return None
            span = self._spans[0]
            worker.fresh = trial = span[0]
            span[0] += 1
            if span[0] == span[1]:
                self._spans.popleft()
            self.left -= 1
            self.taken += 1
            is_low = self.left == self._low
        if is_low:
            worker.ring.call()
        return trial, span[2], span[3]

    def clear(self) -> None:
        with self._lock:
            self._spans.clear()
            self.left = 0


class Releases:
    """Wakes those who wait until the journal has what they have reported."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    def tell(self) -> None:
        """There was one, or it is over."""
        with self._changed:
            self._changed.notify_all()

    def wait_until(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(holds)


class ThreadHost(Host):
    """Runs each trial in a copy of the context that the run was begun in: what the caller has set there is seen, what a
    trial sets is its own."""

    def __init__(
        self,
        begun_in: Context,
        program: Program,
        reporter: _core.Reporter,
        wait: Callable[[], int],
        flush: Callable[[], None],
        until_stored: Callable[[], None] | None,
    ) -> None:
        super().__init__(program, reporter, wait, flush, until_stored=until_stored, begins_run=False)
        self.alone = True  # signals come to the main thread: a KeyboardInterrupt here is the trial's own
        self._begun_in = begun_in

    def run(self, job: Job, urgent: bool = True) -> None:
        self._begun_in.copy().run(super().run, job, urgent)

    def run_fresh(self, trial: int, experiment: int, shift: int) -> None:
        """Run one trial as one of a span is run."""
        self._begun_in.copy().run(super().run_span, experiment, shift, trial)


class ThreadWorker:
    """A thread that runs trials, and what it has for that.

    leaving  it is to run nothing any more, and nothing that it writes counts
    fresh    the trial that it has taken from the feed, and has begun or is about to; -1 none
    failure  what has ended it that is no trial's: a mistake of ours
    """

    def __init__(
        self, program: Program, ring: _core.Ring, rule: Any, feed: Feed, releases: Releases, begun_in: Context, name: str
    ) -> None:
        self.ring = ring
        self.leaving = False
        self.fresh = -1
        self.failure: BaseException | None = None
        self.orders: SimpleQueue[tuple[bool, Callable[..., None], tuple[Any, ...]] | None] = SimpleQueue()
        self.answers: SimpleQueue[tuple[int, Reply]] = SimpleQueue()
        self.reporter = program.reporter(ring, rule)
        until_stored = self._until_stored if program.durable else None
        self._host = ThreadHost(
            begun_in, program, self.reporter, self._wait, self._flush, until_stored
        )
        self._feed = feed
        self._releases = releases
        self._pauses = program.pauses
        self._left: Suspension | None = None
        self._runs = nesting.runs_here()
        self.thread = TrialThread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def leave(self) -> None:
        """Called by the loop: let what runs here hear of the end by StopTrial, and end the thread behind it. Nothing is
        recorded of that."""
        self.leaving = True
        self._host.leaving = True
        self.reporter.mute(True)
        self.answers.put((ANY, Reply(_core.STOP)))
        self.orders.put(None)
        self._releases.tell()

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        nesting.stand_within(self._runs)
        self.reporter.bind()
        try:
            if self._pauses:
                from fasttune.executors.suspension import Suspension

                self._left = Suspension(self._host)
            self._work()
            if self._left is not None:
                self._left.drop_all()
            self._host.close()
        except BaseException as error:
            self.failure = error
        finally:
            self.reporter.retire()
            _core.Reporter.unbind()
            self._left = None
            self._host.let_go()
            self.ring.call()

    def _work(self) -> None:
        """Carry out orders; those that occupy the thread are counted when they are done. The loop is called when none is
        left."""
        while (order := self.orders.get()) is not None and not self.leaving:
            counts, what, given = order
            del order  # it may hold a config, and so whatever is in one
            try:
                what(*given)
            except StopTrial:  # of a trial that was about to begin or to end, and found no room in the ring
                if not self.leaving:
                    raise
            del what, given
            if counts:
                self.ring.order_done()
            if self.orders.empty():
                self.ring.call()

    def serve(self) -> None:
        """Run what is in the feed, until it is empty."""
        while (fresh := self._feed.take(self)) is not None:
            if self._left is None:
                self._host.run_fresh(*fresh)
            else:
                trial, experiment, shift = fresh
                self._left.begin(Job(trial, experiment, trial - shift))

    def run_one(self, job: Job) -> None:
        if self._left is None:
            self._host.run(job, urgent=False)
        else:
            self._left.begin(job)

    def go_on(self, trial: int, answer: Reply) -> None:
        """Go on with a paused trial, or let it save."""
        if self._left is not None and trial in self._left.paused:
            self._left.enter(trial, answer)

    def discard(self, trial: int) -> None:
        if self._left is not None:
            self._left.drop(trial)

    def _wait(self) -> int:
        """Inside a trial's report: block until the loop has answered; a pause leaves the trial here."""
        trial, answered = self.reporter.trial, ANY
        while answered != trial:
            answered, answer = self.answers.get()
            if self.leaving:
                return _core.STOP
        if self._left is not None:
            return self._left.carry_out(answer)
        if answer.save:
            self._host.save_now()
        self.reporter.ask_again_from(answer.ask_from)
        return answer.decision

    def _flush(self) -> None:
        """Wait until the loop has made room in the ring."""
        ring = self.ring
        before = ring.released
        ring.call()
        self._releases.wait_until(lambda: self.leaving or ring.released != before or ring.released == ring.head)
        if self.leaving:
            raise StopTrial

    def _until_stored(self) -> None:
        """Inside a trial's report: wait until the loop has brought it to the disk. One that the disk never got does not return."""
        ring = self.ring
        position = ring.head
        ring.call()
        self._releases.wait_until(lambda: self.leaving or ring.released >= position)
        if ring.released < position:
            raise StopTrial
