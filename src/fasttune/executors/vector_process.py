"""Vectors in worker processes: each worker, with its placement (CPUs, a GPU), evaluates calls of its own.

As in :mod:`fasttune.executors.process`, from which all about processes comes, but that a worker has many trials. Orders are counted
in trials; trials are shared out evenly among as many workers as there can be. What a trial asks of the machine, here a call
does.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from fasttune import _core
from fasttune.error import TuneError
from fasttune.executors.base import Batch, Job, Program
from fasttune.executors.process import LARGEST_CONFIG, ProcessExecutor
from fasttune.executors.slot import Slot
from fasttune.executors.vector import check
from fasttune.executors.vector_host import HOW_TO_YIELD
from fasttune.executors.vector_worker import GO, WHOEVER, VectorWorker
from fasttune.executors.wire import pack, pack_config
from fasttune.trainable import takes_state, vector_of

MOST_WORKERS = 1024
DEAF_S = 10.0  # a call is ended with its worker when a trial in it was to end for so long: all others in it end with that
HEARS_S = 30.0  # a worker that takes no message for so long is stuck


@dataclass
class VectorSlot(Slot):
    """A worker, and what was told it.

    alone      trials that it was given one by one, and that may not have begun or gone on
    sent       messages, but for GO
    owes_go    it may stand still, and is to go on when the loop has heard all that came of what it was told
    gathers    its next call has not begun: fresh trials may be in it
    crowded    it could not be given a trial, because its ring was full
    news       it has told something since the last turn
    """

    alone: dict[int, None] = field(default_factory=dict)
    sent: int = 0
    owes_go: bool = False
    gathers: bool = True
    crowded: bool = False
    news: bool = False

    @property
    def most_memory(self) -> int:
        """A call has what it asked for, however many rows wait."""
        return self.memory

    def unstarted(self) -> list[int]:
        return [*super().unstarted(), *self.alone]

    def tell(self, kind: int, trial: int, step: int = 0, payload: bytes = b"", flags: int = 0) -> None:
        """A worker takes what comes between two steps; until then there may be no room."""
        deadline = time.monotonic() + HEARS_S
        while not self.wire.down.write(kind, trial, step, payload, flags):
            if self.exit_code is not None:
                return
            if time.monotonic() > deadline:
                raise TuneError(f"the worker process {self.pid} takes no messages: one step of its function lasts very long")
            time.sleep(0.0005)
        self.sent += not (kind == GO and trial == WHOEVER)
        self.owes_go = self.owes_go or kind != GO or trial != WHOEVER

    @property
    def has_heeded_all(self) -> bool:
        up = self.wire.up
        return bool(up.left == self.sent & WHOEVER and up.head == up.position)


class VectorProcessExecutor(ProcessExecutor):
    """Evaluates trials in calls, in worker processes. ``limit``: the most trials at once, in all workers."""

    evaluates_together = True
    measures = False  # many trials share a worker
    slot_class: ClassVar[type[Slot]] = VectorSlot

    def __init__(self, folder: str, *, limit: int, **more: Any) -> None:
        super().__init__(folder, limit=limit, **more)
        self._row_limit = limit

    def open(
        self, program: Program, epoch: float, rule: Any, drain: Callable[[], None], turn: Callable[[], None]
    ) -> None:
        check(program, self._row_limit, alone=False)
        if any(one.resources != self._request for one in program.trainables):
            raise TuneError(
                "vectors in worker processes share what the run asks for: resources_per_trial is what one call needs, and cannot be a "
                "function of the config of one of its trials, or another request for each function"
            )
        self._limit = min(self._limit, MOST_WORKERS)
        self._takes_state = [takes_state(one.trainable) for one in program.trainables]
        size = max(vector_of(one.trainable).size for one in program.trainables)
        self._refills = any(vector_of(one.trainable).refill for one in program.trainables)
        workers = self._possible_workers()
        most = min(program.total or self._row_limit, self._row_limit)
        self._rows = max(1, min(size, -(-most // workers)))
        self._suggested = program.trainables[0].variants is None
        self._asks = program.asks
        self._where: dict[int, int] = {}  # trial that was started alone -> source of its worker
        self._ranges: list[tuple[int, int, int]] = []  # first, limit, source, of spans
        self._deaf: dict[int, float] = {}  # since when a trial is to be killed
        worker = f"{VectorWorker.__module__}:{VectorWorker.__name__}"
        super().open(replace(program, rows=self._rows, worker=worker), epoch, rule, drain, turn)

    def _possible_workers(self) -> int:
        """As many as can be placed at once."""
        taken: list[Any] = []
        while len(taken) < self._limit and (placement := self._place(self._request)) is not None:
            taken.append(placement)
            if not self._request.required_resources:
                break
        for placement in taken:
            self._free(placement)
        return max(1, len(taken))

    # -- work ----------------------------------------------------------------------------------------------------------

    def room(self) -> int:
        free = sum(self._free_rows(slot) for slot in self._living())
        if self._could_start():
            free += self._rows
        return max(0, min(free, self._row_limit - sum(slot.open_orders for slot in self._living())))

    def _living(self) -> list[VectorSlot]:
        return [slot for slot in self._slots.values() if slot.exit_code is None]  # type: ignore[misc]

    def _free_rows(self, slot: VectorSlot, goes_on: bool | None = None) -> int:
        """For how many trials more the worker has a place; None: of either kind, fresh ones or such that go on."""
        if slot.crowded:
            return 0
        free = self._rows - slot.open_orders
        if goes_on or slot.gathers or self._refills:
            return max(0, free)
        if not self._program.pauses and not self._suggested:
            return max(0, free + self._rows)  # for the call behind the one that goes on
        return max(0, free) if goes_on is None and slot.suspended else 0

    def _freest(self, goes_on: bool) -> VectorSlot | None:
        """The worker to give a trial to, perhaps a new one."""
        best = max(self._living(), key=lambda slot: self._free_rows(slot, goes_on), default=None)
        if best is not None and (best.open_orders == 0 or not self._could_start()):
            return best if self._free_rows(best, goes_on) else None
        new = self._new_slot(self._request)
        if new is None:
            return best if best is not None and self._free_rows(best, goes_on) else None
        assert isinstance(new, VectorSlot)
        return new

    def run_span(self, experiment: int, first: int, n: int, local: int) -> None:
        while n:
            slot = self._freest(False)
            if slot is None:  # the worker that there was room for could not be had: the next one that is free takes the span
                self._unplaced.append((experiment, first, n, local))
                return
            part = min(n, max(1, min(self._free_rows(slot, False), self._rows)))
            payload = experiment.to_bytes(4, "little") + local.to_bytes(4, "little")
            slot.given.append((first, first + part))
            self._ranges.append((first, first + part, slot.source))
            slot.order(_core.KIND_RUN, first, part, payload)
            slot.orders += part - 1
            first, n, local = first + part, n - part, local + part

    def start(self, job: Job) -> bool:
        goes_on = job.checkpoint is not None
        if goes_on and not self._takes_state[job.experiment]:
            raise TuneError(
                f"{self._program.trainables[job.experiment].name} has no state, so its trials cannot go on from a checkpoint: "
                f"leave restore= out, or {HOW_TO_YIELD}"
            )
        slot = self._freest(goes_on)
        if slot is None:
            return False
        if job.config is not None:
            job = job._replace(config=None, packed=pack_config(job.config, job.trial, LARGEST_CONFIG))
        payload = pack(job)
        if not slot.wire.down.write(_core.KIND_RUN_ONE, job.trial, 0, payload):
            slot.crowded = True
            return False
        slot.sent += 1
        slot.orders += 1
        slot.owes_go = True
        before = self._slots.get(self._where.get(job.trial, -1))
        if isinstance(before, VectorSlot):  # of an earlier attempt
            before.alone.pop(job.trial, None)
        slot.alone[job.trial] = None
        self._where[job.trial] = slot.source
        return True

    def rebalance(self) -> bool:
        return False

    def withdraw(self) -> list[int]:
        self._unplaced.clear()
        for slot in self._living():
            if slot.busy:
                slot.tell(_core.KIND_DISCARD, WHOEVER)
        return []

    def _slot_with(self, trial: int) -> VectorSlot | None:
        """The worker that has a trial."""
        source = self._where.get(trial)
        if source is None:
            at = bisect_right(self._ranges, (trial, WHOEVER << 1, 0)) - 1
            source = self._ranges[at][2] if at >= 0 and trial < self._ranges[at][1] else -1
        found = self._slots.get(source)
        assert found is None or isinstance(found, VectorSlot)
        return found

    def resume(self, trial: int, ask_from: int = 0) -> bool:
        slot = self._slot_with(trial)
        if slot is None or trial not in slot.suspended:
            raise TuneError(f"trial {trial} is not paused in any worker")
        if self._free_rows(slot, True) <= 0:
            return False
        slot.suspended.discard(trial)
        slot.alone[trial] = None
        slot.order(_core.KIND_CONTINUE, trial, ask_from)
        return True

    def answer(self, trial: int, decision: int, ask_from: int = 0, save: bool = False) -> None:
        slot = self._slot_with(trial)
        if slot is None:
            return
        if decision == _core.PAUSE:
            slot.suspended.add(trial)
            slot.alone.pop(trial, None)
        slot.tell(_core.KIND_ANSWER, trial, ask_from, flags=decision | (_core.SAVE if save else 0))

    def save(self, trial: int) -> None:
        slot = self._slot_with(trial)
        if slot is not None:
            slot.tell(_core.KIND_SAVE, trial)

    def discard(self, trial: int) -> None:
        slot = self._slot_with(trial)
        if slot is not None and trial in slot.suspended:
            slot.suspended.discard(trial)
            slot.tell(_core.KIND_DISCARD, trial)

    def stop(self, trial: int) -> None:
        slot = self._slot_with(trial)
        if slot is not None:
            slot.tell(_core.KIND_ANSWER, trial, flags=_core.STOP)

    def kill(self, trial: int) -> None:
        """Its worker has many trials, and a step may last: it is ended when the trial was to end for long."""
        slot = self._slot_with(trial)
        if slot is None or slot.exit_code is not None:
            return
        if time.monotonic() - self._deaf.setdefault(trial, time.monotonic()) < DEAF_S:
            return
        self._kill(slot)

    # -- the turn ------------------------------------------------------------------------------------------------------

    def poll(self, timeout: float) -> list[Batch]:
        while self._unplaced and self._freest(False) is not None:
            self.run_span(*self._unplaced.popleft())
        for slot in self._living():
            self._let_go_on(slot)
        batches = super().poll(timeout)
        told = {batch.source for batch in batches}
        for slot in self._living():
            slot.news = slot.source in told
            if not slot.busy and not slot.owes_go:
                slot.given.clear()
                slot.alone.clear()
                slot.gathers = True
        return batches

    def _let_go_on(self, slot: VectorSlot) -> None:
        """The loop has said all that it had to say, as far as the worker has told what came of it."""
        if slot.crowded:  # it is given the rest first
            slot.crowded = False
            return
        if not slot.owes_go or slot.news or (self._asks and not slot.has_heeded_all):
            return
        slot.tell(GO, WHOEVER)
        slot.owes_go = slot.gathers = False

    @property
    def idle(self) -> bool:
        return super().idle and not any(slot.news or slot.owes_go for slot in self._living())


