"""Vectors in threads of this process: as many calls at once as there are places, on one memory.

A thread runs the user's function and nothing else, one step at a time. All else is done in the loop's thread, by a
:class:`~fasttune.executors.vector_host.VectorHost` for each place, while its function stands still: so nothing here is
shared but the function's own data, and nothing is locked.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Self

from fasttune import _core
from fasttune.error import TuneError
from fasttune.executors.base import Batch, Death, Executor, ExecutorSite, Job, Program
from fasttune.executors.host import Host
from fasttune.executors.ring_file import map_file, remove_ring, taken
from fasttune.executors.threads import TrialThread
from fasttune.executors.vector import RING_BYTES, SLICE_S, check
from fasttune.executors.vector_host import VectorHost
from fasttune.folder import RINGS
from fasttune.once import warn_in_run
from fasttune.trainable import vector_of

MOST_THREADS = 256
PATIENCE_S = 2.0  # so long the end of a run waits for steps that go on


class VectorLane:
    """A place, its vector, and the thread in which its function runs."""

    def __init__(self, path: str, source: int, placement: Any) -> None:
        self.path = path
        self.source = source
        self.placement = placement
        self.vectors: VectorHost
        self.host: Host
        self.ring: _core.Ring
        self.runs = False  # the function is in its thread
        self.to_save: set[int] = set()  # trials that save behind the step that goes on
        self._steps: SimpleQueue[VectorHost | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin_step(self, done: Callable[[VectorLane], None]) -> None:
        """The function's next step, in the thread; ``done`` is called from there behind it."""
        if self._thread is None:
            self._thread = TrialThread(target=self._work, args=(done,), name=f"fasttune-vector-{self.source}", daemon=True)
            self._thread.start()
        self.runs = True
        self._steps.put(self.vectors)

    def _work(self, done: Callable[[VectorLane], None]) -> None:
        while (vectors := self._steps.get()) is not None:
            vectors.speak()
            del vectors
            done(self)

    @property
    def has_news(self) -> bool:
        """Something was written that the loop has not taken."""
        return self.ring.head != self.ring.position

    def leave(self) -> None:
        self._steps.put(None)


class VectorThreadExecutor(Executor):
    """Evaluates calls in threads. ``limit``: the most trials at once, in all of them."""

    name = "thread"
    same_process = True
    evaluates_together = True

    @classmethod
    def at(cls, place: ExecutorSite) -> Self:
        return cls(place)

    def __init__(self, place: ExecutorSite) -> None:
        self._folder = os.path.join(place.folder, RINGS)
        self._place = place
        self._lanes: list[VectorLane] = []
        self._said: SimpleQueue[VectorLane] = SimpleQueue()  # whose function has said something
        self._broken: BaseException | None = None  # raised by the loop within a call
        self._halted = self._leaves_files = False

    def open(
        self, program: Program, epoch: float, rule: Any, drain: Callable[[], None], turn: Callable[[], None]
    ) -> None:
        placements: list[Any] = []
        place = self._place
        if place.request.required_resources.keys() & {"GPU", "gpu_memory"}:
            raise TuneError(
                "threads of one process see the same GPUs, so a call cannot have one of its own there: use executor='process', or "
                "executor='vector' and no GPU in resources_per_trial"
            )
        while len(placements) < min(MOST_THREADS, place.limit):
            if (placement := place.supply.acquire(place.request)) is None:
                break
            placements.append(placement)
            if not place.request.required_resources:
                break
        size = max(vector_of(one.trainable).size for one in program.trainables)
        most = min(program.total or place.limit, place.limit)
        self._rows = max(1, min(size, -(-most // max(1, len(placements)))))
        try:
            check(program, self._rows, alone=len(placements) < 2)
        except BaseException:
            for placement in placements:
                place.supply.release(placement)
            raise
        self._asks = program.asks
        self._drain = drain
        os.makedirs(self._folder, exist_ok=True)
        for k, placement in enumerate(placements or [None]):
            lane = VectorLane(os.path.join(self._folder, f"{place.first_source + k}.ring"), place.first_source + k, placement)
            self._lanes.append(lane)
            lane.ring = _core.Ring(map_file(lane.path, _core.Ring.nbytes(RING_BYTES)), create=True, epoch=epoch)
            lane.host = Host(program, program.reporter(lane.ring, rule), lambda: _core.STOP, self._flush)
            lane.vectors = VectorHost(lane.host, self._rows, self._flush)
            lane.vectors.in_loop = False
            lane.vectors.is_broken = lambda: self._broken is not None

    def _flush(self) -> None:
        """What goes wrong in the loop is no fault of the trials that it is called from."""
        try:
            self._drain()
        except BaseException as error:
            self._broken = error
            raise
        finally:
            self.in_trial = False  # none of the user's code is in this thread

    def find_configs(self, place_of: Callable[[int], tuple[int, int]]) -> None:
        for lane in self._lanes:
            lane.vectors.place_of = place_of

    # -- work ----------------------------------------------------------------------------------------------------------

    def room(self) -> int:
        return sum(lane.vectors.room() for lane in self._lanes)

    def _by_room(self) -> list[VectorLane]:
        return sorted(self._lanes, key=lambda lane: -lane.vectors.room())

    def run_span(self, experiment: int, first: int, n: int, local: int) -> None:
        for lane in self._by_room():
            part = min(n, lane.vectors.room())
            if part > 0:
                lane.vectors.add_span(experiment, first, part, local)
                first, n, local = first + part, n - part, local + part
        if n:
            self._lanes[0].vectors.add_span(experiment, first, n, local)

    def start(self, job: Job) -> bool:
        lanes = self._by_room()
        if job.checkpoint is not None:  # best where the row is that it copies
            lanes.sort(key=lambda lane: lane.vectors.call is None or job.checkpoint not in lane.vectors.call.saved)
        return any(lane.vectors.start(job) for lane in lanes)

    def withdraw(self) -> list[int]:
        return [trial for lane in self._lanes for trial in lane.vectors.withdraw()]

    def resume(self, trial: int, ask_from: int = 0) -> bool:
        for lane in self._lanes:
            if lane.vectors.has_paused(trial):
                return lane.vectors.resume(trial, ask_from)
        raise TuneError(f"trial {trial} is not paused in any thread")

    def answer(self, trial: int, decision: int, ask_from: int = 0, save: bool = False) -> None:
        for lane in self._lanes:
            if lane.vectors.owes(trial):
                lane.vectors.answer(trial, decision, ask_from, save)
                return

    def save(self, trial: int) -> None:
        for lane in self._lanes:
            if not lane.runs or trial in lane.vectors.held:
                lane.vectors.save(trial)
            else:
                lane.to_save.add(trial)

    def discard(self, trial: int) -> None:
        for lane in self._lanes:
            lane.vectors.discard(trial)

    def stop(self, trial: int) -> None:
        for lane in self._lanes:
            lane.vectors.stop(trial)

    def kill(self, trial: int) -> None:
        """A thread cannot be ended."""

    # -- the turn ------------------------------------------------------------------------------------------------------

    def poll(self, timeout: float) -> list[Batch]:
        if self._asks and (batches := self.drain_now()):
            return batches  # what follows on answers: others may be about to come
        began = time.monotonic()
        self._hear(0.0)
        while self._go_on() and time.monotonic() - began < SLICE_S:
            self._hear(0.0)
        if timeout > 0 and any(lane.runs for lane in self._lanes) and not any(lane.has_news for lane in self._lanes):
            self._hear(timeout)
        return self.drain_now()

    def _go_on(self) -> bool:
        """Have each vector that can go on do so. Whether any did."""
        went = False
        for lane in self._lanes:
            if lane.runs or lane.ring.filled > 0.5:
                continue
            went = lane.vectors.prepare() > 0 or went
            if lane.vectors.speaks:
                lane.begin_step(self._said.put)
        return went

    def _hear(self, seconds: float) -> None:
        """What functions have said by now, or within so many seconds."""
        from queue import Empty

        try:
            lane = self._said.get(timeout=seconds) if seconds > 0 else self._said.get_nowait()
            while True:
                lane.runs = False
                lane.vectors.hear()
                while lane.to_save:
                    lane.vectors.save(lane.to_save.pop())
                lane = self._said.get_nowait()
        except Empty:
            return

    def drain_now(self) -> list[Batch]:
        return [batch for lane in self._lanes for batch in taken(lane.ring, lane.source)]

    def release(self) -> None:
        for lane in self._lanes:
            lane.ring.release()

    def deaths(self) -> list[Death]:
        return []

    @property
    def usage(self) -> str:
        return self._place.usage()

    @property
    def idle(self) -> bool:
        return not any(lane.runs or lane.vectors.call is not None or lane.vectors.queued for lane in self._lanes)

    def halt(self) -> None:
        """Steps that go on are waited for, and not heard: a generator can only be left where it stands still."""
        from queue import Empty

        if self._halted:
            return
        self._halted = True
        deadline = time.monotonic() + PATIENCE_S
        while any(lane.runs for lane in self._lanes) and (left := deadline - time.monotonic()) > 0:
            with suppress(Empty):
                self._said.get(timeout=left).runs = False
        held = [lane for lane in self._lanes if lane.runs]
        for lane in self._lanes:
            lane.leave()
            if not lane.runs:
                lane.vectors.halt()
        if held:
            warn_in_run(
                f"the functions of {len(held)} vectors do not come to their next step, which would end them, and a thread cannot be "
                "ended from outside. The run ends without them; what is computed there goes on until then, or until this process ends",
                RuntimeWarning,
                stacklevel=2,
            )

    def leave_files(self) -> None:
        self._leaves_files = True

    def close(self) -> None:
        if not self._lanes:
            return
        self.halt()
        for lane in self._lanes:
            whole = lane.ring.released == lane.ring.head
            lane.host.let_go()
            if lane.placement is not None:
                self._place.supply.release(lane.placement)
            if not self._leaves_files:
                remove_ring(lane.path, whole)
        self._lanes.clear()
