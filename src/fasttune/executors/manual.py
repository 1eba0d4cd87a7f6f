"""Trials that somebody else runs: they are handed out when they are asked for, and what came of them is told by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fasttune import _core
from fasttune.executors.base import Batch, Death, Executor, Job, Program, Suspended
from fasttune.metric_values import split_metrics, steer_by, to_json

RING_BYTES = 1 << 20


class Taken(NamedTuple):
    """A trial that was handed out."""

    trial: int
    config: dict[str, Any]


class ManualExecutor(Executor):
    """``want()`` makes room for one trial, which is in ``taken`` when it was started. ``report``, ``end`` and ``fail``
    write what its worker would have written; ``decisions`` has what the scheduler answered to the last report of a trial
    that waited for it."""

    name = "manual"

    def __init__(self, source: int) -> None:
        self.taken: Taken | None = None
        self.decisions: dict[int, int] = {}
        self._source = source
        self._wanted = False
        self._out: dict[int, Suspended] = {}  # trial -> the reporter's counters while others report
        self._ask_from: dict[int, int] = {}
        self._paused: dict[int, dict[str, Any]] = {}  # trial -> its config
        self._configs: dict[int, dict[str, Any]] = {}

    def open(
        self, program: Program, epoch: float, rule: Any, drain: Callable[[], None], turn: Callable[[], None]
    ) -> None:
        self._program = program
        self._ring = _core.Ring(bytearray(_core.Ring.HEADER + RING_BYTES), create=True, epoch=epoch)
        self._reporter = program.reporter(self._ring, rule)

    # -- handing out --------------------------------------------------------------------------------------------------

    def want(self) -> None:
        """The next trial that is to be started, or gone on with, is wanted now."""
        self.taken, self._wanted = None, True

    def unwant(self) -> None:
        self._wanted = False

    def room(self) -> int:
        return int(self._wanted)

    def run_span(self, experiment: int, first: int, n: int, local: int) -> None:
        raise AssertionError("trials are handed out one by one")

    def start(self, job: Job) -> bool:
        config = job.config
        if config is None:
            config = self._program.trainables[job.experiment].variants.config(job.local)
        ask_from = job.ask_from
        if ask_from is None:
            ask_from = 0 if self._program.asks else _core.NEVER_ASK
        self._reporter.begin(
            job.trial, job.iteration, job.base_total, job.rung, ask_from, 0, job.changes, *job.standing
        )
        self._keep(job.trial, ask_from)
        self._hand(job.trial, config)
        return True

    def resume(self, trial: int, ask_from: int = 0) -> bool:
        self._ask_from[trial] = ask_from
        self._turn_to(trial)
        self._note(_core.KIND_RESUMED)
        self._keep(trial, ask_from)
        self._hand(trial, self._paused.pop(trial))
        return True

    def _hand(self, trial: int, config: dict[str, Any]) -> None:
        self._wanted = False
        self._configs[trial] = config
        self.taken = Taken(trial, config)

    # -- what is told -------------------------------------------------------------------------------------------------

    def runs(self, trial: int) -> bool:
        """Whether the trial is out: handed out, and neither over nor paused."""
        return trial in self._out and trial not in self._paused

    def report(self, trial: int, metrics: Mapping[str, Any], last: bool = False) -> None:
        """The trial has these results; about the ``last`` ones nobody is asked any more.

        TypeError or ValueError for what cannot be stored, or lacks the run's metric.
        """
        numbers, extra = split_metrics(metrics)
        steer_by(self._program.metric, numbers, extra)
        numbers = self._program.constraints.whole(numbers, extra)
        if last:
            self._ask_from[trial] = _core.NEVER_ASK
        self._turn_to(trial)
        text = to_json(extra) if extra else b""
        code = self._reporter.report_extra(numbers, extra, text)
        if code == _core.MISSING:
            raise ValueError(
                f"the experiment is steered by metric {self._program.metric!r}, and the result has "
                f"{', '.join(map(repr, metrics)) or 'nothing'}: is it misspelt?"
            )
        if code < 0:
            raise TypeError(f"the result of trial {trial} cannot be stored: {dict(metrics)!r:.200}")
        self._keep(trial, self._ask_from[trial])
        self.decisions.pop(trial, None)
        if code == _core.STOP:
            self.end(trial, _core.STOP)
            self.decisions[trial] = _core.STOP
        elif code != _core.WAIT:
            self.decisions[trial] = _core.CONTINUE

    def answer(self, trial: int, decision: int, ask_from: int = 0, save: bool = False) -> None:
        if trial not in self._out:
            return
        self.decisions[trial] = decision
        if decision == _core.CONTINUE:
            self._ask_from[trial] = ask_from
        elif decision == _core.PAUSE:
            self._turn_to(trial)
            self._note(_core.KIND_PAUSED)
            self._keep(trial, ask_from)
            self._paused[trial] = self._configs[trial]
        else:
            self.end(trial, _core.STOP)

    def end(self, trial: int, flags: int = 0) -> None:
        """The trial is over."""
        if trial in self._out:
            self._turn_to(trial)
            self._reporter.end(flags)
            self._forget(trial)

    def fail(self, trial: int, text: str) -> None:
        """The trial has failed."""
        self._turn_to(trial)
        self._note(_core.KIND_ERROR, text.encode("utf-8", "backslashreplace"))
        self._forget(trial)

    def attach(self, trial: int, attributes: bytes) -> None:
        """What is told of a trial beside its results."""
        if trial not in self._out:
            raise LookupError(f"trial {trial} is not out: it is over, or was never asked for")
        self._turn_to(trial)
        self._note(_core.KIND_TOLD, attributes)
        self._keep(trial, self._ask_from[trial])

    def _turn_to(self, trial: int) -> None:
        self._reporter.resume(*self._out[trial], self._ask_from[trial])

    def _keep(self, trial: int, ask_from: int) -> None:
        self._ask_from[trial] = ask_from
        self._out[trial] = self._reporter.suspend()

    def _note(self, kind: int, payload: bytes = b"") -> None:
        self._reporter.note(kind, payload)

    def _forget(self, trial: int) -> None:
        for known in (self._out, self._ask_from, self._paused, self._configs):
            known.pop(trial, None)

    # -- the rest of the contract -------------------------------------------------------------------------------------

    def save(self, trial: int) -> None:
        """There is nothing to save: what a trial has learnt is with whoever runs it."""

    def discard(self, trial: int) -> None:
        self._forget(trial)

    def stop(self, trial: int) -> None:
        self.end(trial, _core.STOP)

    def kill(self, trial: int) -> None:
        self.end(trial, _core.STOP)

    def poll(self, timeout: float) -> list[Batch]:
        return self.drain_now()

    def drain_now(self) -> list[Batch]:
        batches = []
        while (data := self._ring.take()) is not None:
            batches.append(Batch(self._source, self._ring.position, memoryview(bytes(data))))
        self._ring.release()
        return batches

    def release(self) -> None:
        """Batches are copies: nothing waits for being released."""

    def deaths(self) -> list[Death]:
        return []

    def close(self) -> None:
        """What is out stays out: whoever opens the experiment next is given it again."""

    @property
    def usage(self) -> str:
        return f"{len(self._out) - len(self._paused)} trials out"

    @property
    def idle(self) -> bool:
        return len(self._out) == len(self._paused)
