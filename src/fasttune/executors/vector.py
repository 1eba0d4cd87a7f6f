"""Many trials in one call, in this process: for functions made by ``tune.vectorized``.

The calls are those of a :class:`~fasttune.executors.vector_host.VectorHost`. What rows report at a step is one record
(``_core.RowReporter``), decided there where the scheduler's rule is compiled; where the loop has to be asked, the call waits until
all rows that were asked about have their answers, and what followed on these is done: the next step comes with a poll
that has nothing to tell.

The ring is a memory-mapped file of the experiment's folder, as a worker's: reports survive this process as well.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from fasttune import _core
from fasttune.error import StopTrial, TuneError
from fasttune.executors.base import Batch, Death, Executor, ExecutorSite, Job, Program
from fasttune.executors.host import Host
from fasttune.executors.ring_file import map_file, remove_ring, taken
from fasttune.executors.vector_host import HOW_TO_YIELD, VectorHost
from fasttune.folder import RINGS
from fasttune.trainable import takes_state, vector_of

RING_BYTES = 1 << 24
SLICE_S = 0.02  # how long calls go on before the loop gets its turn


class VectorExecutor(Executor):
    """Evaluates up to ``limit`` trials at once in this process."""

    name = "vector"
    here = True
    same_process = True
    evaluates_together = True

    @classmethod
    def at(cls, place: ExecutorSite) -> Self:
        return cls(place.folder, place.limit, place.usage(), place.first_source)

    def __init__(self, folder: str, limit: int, usage: str, source: int = 1) -> None:
        self._path = os.path.join(folder, RINGS, f"{source}.ring")
        self._source = source
        self._limit = limit
        self._usage = usage
        self._asked = False  # for trials
        self._broken: BaseException | None = None  # raised by the loop within a call
        self._leaves_files = False
        self._memory: mmap.mmap | None = None

    def open(
        self, program: Program, epoch: float, rule: object, drain: Callable[[], None], turn: Callable[[], None]
    ) -> None:
        check(program, self._limit)
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        self._memory = map_file(self._path, _core.Ring.nbytes(RING_BYTES))
        self.ring = _core.Ring(self._memory, create=True, epoch=epoch)
        self._drain = drain
        self._asks = program.asks
        self.host = Host(program, program.reporter(self.ring, rule), lambda: _core.STOP, self._flush)
        self.vectors = VectorHost(self.host, self._limit, self._flush)
        self.vectors.is_broken = lambda: self._broken is not None

    def find_configs(self, place_of: Callable[[int], tuple[int, int]]) -> None:
        self.vectors.place_of = place_of

    # -- work ----------------------------------------------------------------------------------------------------------

    def room(self) -> int:
        self._asked = True
        return self.vectors.room()

    def run_span(self, experiment: int, first: int, n: int, local: int) -> None:
        self.vectors.add_span(experiment, first, n, local)

    def start(self, job: Job) -> bool:
        return self.vectors.start(job)

    def withdraw(self) -> list[int]:
        return self.vectors.withdraw()

    def resume(self, trial: int, ask_from: int = 0) -> bool:
        return self.vectors.resume(trial, ask_from)

    def answer(self, trial: int, decision: int, ask_from: int = 0, save: bool = False) -> None:
        self.vectors.answer(trial, decision, ask_from, save)

    def save(self, trial: int) -> None:
        self.vectors.save(trial)

    def discard(self, trial: int) -> None:
        self.vectors.discard(trial)

    def stop(self, trial: int) -> None:
        self.vectors.stop(trial)

    def kill(self, trial: int) -> None:
        """Nothing can end a call in this process but its function."""

    # -- the turn ------------------------------------------------------------------------------------------------------

    def poll(self, timeout: float) -> list[Batch]:
        began = time.monotonic()
        vectors = self.vectors
        vectors.hungry = False
        vectors.dry = self._asked and not vectors.queued
        self._asked = False
        if self._asks and (batches := taken(self.ring, self._source)):
            return batches  # what follows on answers: others may be about to come
        done = 0
        self.in_trial = True
        try:
            with outside_of_trials():
                while not (self._broken or vectors.hungry or time.monotonic() - began > SLICE_S or self.ring.filled > 0.5):
                    n = vectors.advance()
                    if n == 0:
                        break
                    done += n
        except StopTrial:
            if self._broken is None:
                raise
        finally:
            self.in_trial = False
        if self._broken is not None:
            raise self._broken
        if vectors.call is None:
            elapsed = time.monotonic() - began
            vectors.spare = max(1, min(1 << 16, int(done / max(elapsed, 1e-4) * SLICE_S)))
        return taken(self.ring, self._source)

    def _flush(self) -> None:
        """What goes wrong in the loop is no fault of the trials that it is called from: it is raised behind them."""
        if not self.in_trial:  # the loop itself gives an order, and finds the ring full
            try:
                self._drain()
            finally:
                self.in_trial = False
            return
        try:
            self._drain()
        except BaseException as error:
            self._broken = error
            if isinstance(error, KeyboardInterrupt):
                raise
            raise StopTrial from error

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
        return self.vectors.call is None and not self.vectors.queued

    def halt(self) -> None:
        if self._memory is not None:
            self.vectors.halt()

    def leave_files(self) -> None:
        self._leaves_files = True

    def close(self) -> None:
        if self._memory is None:
            return
        self.halt()
        whole = self.ring.released == self.ring.head
        self.host.let_go()
        del self.vectors, self.host, self.ring, self._drain
        self._memory = None  # unmapped when the last view of it has gone
        if not self._leaves_files:
            remove_ring(self._path, whole)


def check(program: Program, limit: int, alone: bool = True) -> None:
    """TuneError for what trials of a vector cannot do, which is ``alone`` in its process, or one of several workers."""
    if program.log_to_file:
        raise TuneError("log_to_file has no effect on trials that are evaluated in one call: leave it out")
    for one in program.trainables:
        if takes_state(one.trainable):
            continue
        if program.checkpoint_frequency or program.checkpoint_at_end:
            raise TuneError(f"{one.name} has no state that could be saved: {HOW_TO_YIELD}, or leave checkpoint_config= out")
        if not program.scheduler_pauses:
            continue
        size = min(vector_of(one.trainable).size, limit)
        if not (program.only_to_change and alone):
            raise TuneError(
                f"{program.scheduler_pauses} leaves trials paused while others of their call go on, and {one.name} says not what its "
                f"trials go on from: {HOW_TO_YIELD}, or take a scheduler that stops trials (ASHAScheduler, FIFOScheduler)"
            )
        if program.total is None or program.total > size or vector_of(one.trainable).refill or len(program.trainables) > 1:
            raise TuneError(
                f"{program.scheduler_pauses} lets {'open' if program.total is None else program.total} trials take turns in the "
                f"{size} rows of a call, and {one.name} says not what its trials go on from: {HOW_TO_YIELD}, or let all trials be "
                "rows of one call (size=, without refill)"
            )


@contextmanager
def outside_of_trials() -> Iterator[None]:
    """In the block this thread belongs to no trial, though a run may have been started within one."""
    outer = _core.binding()
    _core.rebind(None)
    try:
        yield
    finally:
        _core.rebind(outer)
