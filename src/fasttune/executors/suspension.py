"""Trials that were left inside their ``report()`` and live on there, each in a greenlet of its own.

One ``Suspension`` belongs to one Host. On the hub's side (the loop that gives work) trials are begun, entered and
dropped; on the trial's side a report that waits leaves, and carries out the answer that it is entered with.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune import _core
from fasttune.error import StopTrial
from fasttune.executors.base import Job, Reply, Suspended
from fasttune.trial_context import run_loop, running_loop

if TYPE_CHECKING:
    from fasttune.executors.host import Host, HostContext

LEAVE = Reply(_core.PAUSE)  # with ``save``: save, and stay paused


class Left(NamedTuple):
    """A trial that waits somewhere inside its report."""

    green: Any
    counters: Suspended
    context: HostContext
    at: float  # when it was left, if it is paused


class Suspension:
    """The trials of ``host`` that are left inside a report: ``waiting`` for an answer, or ``paused``."""

    def __init__(self, host: Host) -> None:
        import greenlet

        self._host = host
        self._reporter = host.reporter
        self._current = greenlet.getcurrent
        self._greenlet = greenlet.greenlet
        self._hub = greenlet.getcurrent()
        self.waiting: dict[int, Left] = {}
        self.paused: dict[int, Left] = {}
        self._was_paused = False  # the trial that was entered last

    # -- the hub's side ------------------------------------------------------------------------------------------------

    def begin(self, job: Job) -> None:
        """Run a trial until it is left or over."""
        from fasttune.executors.host import HostContext

        host = self._host
        self._reporter.context = host.context = HostContext(host)
        self._switch(self._greenlet(host.run).switch, job)

    def enter(self, trial: int, answer: Reply) -> None:
        """Let a trial that was left have its answer, and run until it is left again or over."""
        left = self.waiting.pop(trial, None)
        self._was_paused = left is None
        if left is None:
            left = self.paused.pop(trial)
            # what it was away does not count for time_total_s
            number, iteration, started, base_total, rung, strikes, best, life = left.counters
            started += time.monotonic() - left.at
            left = left._replace(counters=(number, iteration, started, base_total, rung, strikes, best, life))
        self._become(left, answer.ask_from)
        self._switch(left.green.switch, answer)

    def pause(self, trial: int) -> None:
        """A trial that waits for its answer is paused where it is."""
        left = self.waiting.pop(trial)
        self._become(left, _core.NEVER_ASK)
        self._note(_core.KIND_PAUSED)
        self._reporter.suspend()
        self.paused[trial] = left._replace(at=time.monotonic())

    def drop(self, trial: int) -> None:
        """Leave a paused trial's code for good; nothing is recorded of that."""
        left = self.paused.pop(trial, None)
        if left is None:
            return
        self._become(left, _core.NEVER_ASK, runs=False)  # it may run elsewhere by now
        self._host.leaving = True
        self._reporter.mute(True)
        try:
            self._switch(left.green.throw, StopTrial)
        finally:
            self._reporter.mute(False)
            self._host.leaving = False

    def drop_all(self) -> None:
        """Leave them all, those that wait too."""
        self.paused.update(self.waiting)
        self.waiting.clear()
        for trial in list(self.paused):
            self.drop(trial)

    @staticmethod
    def _switch(enter: Any, what: Any) -> None:
        """Into a trial, until it is left or over. One that reports inside ``asyncio.run`` leaves its event loop running in
        this thread, where it is not for the next trial, nor for whoever runs trials."""
        outer = running_loop()
        try:
            enter(what)
        finally:
            run_loop(outer)

    def __contains__(self, trial: int) -> bool:
        return trial in self.paused

    def __iter__(self) -> Iterator[int]:
        return iter(self.paused)

    def _become(self, left: Left, ask_from: int, runs: bool = True) -> None:
        self._reporter.resume(*left.counters, ask_from, runs)
        self._reporter.context = self._host.context = left.context

    def _note(self, kind: int, urgent: bool = False) -> None:
        while not self._reporter.note(kind, b"", urgent):
            self._host.flush()

    # -- the trial's side ----------------------------------------------------------------------------------------------

    def wait(self) -> int:
        """Leave the trial that runs here until it is entered with an answer; returns CONTINUE or STOP."""
        answer = self._leave(self.waiting)
        return self.carry_out(answer, self._was_paused)

    def carry_out(self, answer: Reply, paused: bool = False) -> int:
        """Do what the trial that runs here, or is paused, is answered: save, be paused, go on. CONTINUE or STOP."""
        while True:
            if answer.save:
                self._host.save_now()
            if answer.decision != _core.PAUSE:
                break
            if not paused:
                self._note(_core.KIND_PAUSED, True)
                paused = True
            answer = self._leave(self.paused)
        if paused:
            self._note(_core.KIND_RESUMED)
        self._reporter.ask_again_from(answer.ask_from)
        return answer.decision

    def _leave(self, place: dict[int, Left]) -> Reply:
        trial, context = self._reporter.trial, self._host.context
        if context.usage is not None:
            context.usage.leave()
        place[trial] = Left(self._current(), self._reporter.suspend(), context, time.monotonic())
        inner = running_loop()
        try:
            answer: Reply = self._hub.switch()
        finally:
            run_loop(inner)
        if context.usage is not None:
            context.usage.come()
        return answer
