"""What runs in a worker process whose trials are rows: a vector, fed through the worker's rings.

Messages are carried out in their order, between two steps. The loop lets a vector that stands still go on (GO: a call begins, or a
column that was asked about is followed by the next step) when it has nothing more to say about what it heard; so it must
know how many of its messages were heeded. That number stands where other workers have their span.
"""

from __future__ import annotations

import pickle
from typing import Any

from fasttune import _core
from fasttune.executors.streams import Streams
from fasttune.executors.vector_host import VectorHost
from fasttune.executors.wire import Wire
from fasttune.executors.worker import Worker

WHOEVER = 0xFFFFFFFF  # in the place of a trial: not one of them, but all
GO = _core.KIND_CONTINUE  # of whoever stands still
WAIT_S = 1.0


class VectorWorker(Worker):
    """Evaluates trials in calls, on the rings of a worker.

    An order is one trial that it was given; it is done when that has left: ended, failed or paused.
    """

    suspends = False

    def __init__(self, wire: Wire, program: Any, rule: Any, streams: Streams) -> None:
        super().__init__(wire, program, rule, streams)
        self.vectors = VectorHost(self.host, program.rows or WHOEVER, self._flush)
        self.vectors.in_loop = False
        self.vectors.place_of = self._place_of
        if program.durable:
            self.vectors.until_stored = self._until_stored
        self._asks = program.asks
        self._go = False
        self._heeded = 0
        self._given = 0  # trials, of which so many ...
        self._told_done = 0  # ... were told as done
        self._spans: list[tuple[int, int, int]] = []  # first, experiment, shift

    def _belong(self) -> None:
        """No trial runs in this thread by itself."""

    def run(self) -> None:
        up, vectors = self.wire.up, self.vectors
        while not self._exit:
            self._hear(0.0 if self._may_go_on else WAIT_S)
            if self._exit:
                break
            if self._may_go_on:
                vectors.advance()
                if vectors.waits or (vectors.call is None and not vectors.queued):
                    self._go = False
            self._tell_done()
            if not self._may_go_on:
                self._streams.mend()
                up.call()
        vectors.halt()
        self.host.close()
        self._streams.mend()

    @property
    def _may_go_on(self) -> bool:
        vectors = self.vectors
        if vectors.call is None:
            return self._go and vectors.queued > 0
        return not vectors.waits and (self._go or not self._asks)

    # -- what comes down -----------------------------------------------------------------------------------------------

    def _hear(self, seconds: float) -> None:
        down = self.wire.down
        if seconds > 0 and not down.wait(seconds):
            return
        heeded = False
        while (data := down.take()) is not None:
            for kind, flags, _, trial, step, _, payload in _core.decode(data):
                self._heed(kind, flags, trial, step, bytes(payload or b""))
                heeded = True
            del data
            down.release()
        if heeded:
            self._tell_done()
            self.wire.up.set_span(0, self._heeded & WHOEVER)  # behind all that was written for it
            if not self._may_go_on:
                self.wire.up.call()

    def _heed(self, kind: int, flags: int, trial: int, step: int, payload: bytes) -> None:
        vectors = self.vectors
        if kind == GO and trial == WHOEVER:
            self._go = self._go or not vectors.waits  # it was sent before the column that waits was heard of
            return
        self._heeded += 1
        if kind == _core.KIND_RUN:
            experiment, local = int.from_bytes(payload[:4], "little"), int.from_bytes(payload[4:8], "little")
            self._spans.append((trial, experiment, trial - local))
            self._given += step
            vectors.add_span(experiment, trial, step, local)
        elif kind == _core.KIND_RUN_ONE:
            self._given += 1
            vectors.take(pickle.loads(payload))
        elif kind == _core.KIND_CONTINUE:
            self._given += 1
            vectors.resume(trial, step, forced=True)
        elif kind == _core.KIND_ANSWER:
            if vectors.owes(trial):
                vectors.answer(trial, flags & 7, step, bool(flags & _core.SAVE))
            else:
                vectors.stop(trial)
        elif kind == _core.KIND_SAVE:
            vectors.save(trial)
        elif kind == _core.KIND_DISCARD:
            if trial == WHOEVER:
                vectors.withdraw_spans()
            else:
                vectors.discard(trial)
        elif kind == _core.KIND_EXIT:
            self._exit = True

    def _tell_done(self) -> None:
        present = self.vectors.present
        if not present and self.vectors.owes_ends:
            present = 1  # of a worker with no orders nobody waits for a record
        done = self._given - present
        for _ in range(done - self._told_done):
            self.wire.up.order_done()
        self._told_done = max(done, self._told_done)

    def _place_of(self, trial: int) -> tuple[int, int]:
        from bisect import bisect_right

        _, experiment, shift = self._spans[bisect_right(self._spans, (trial, WHOEVER, 0)) - 1]
        return experiment, trial - shift
