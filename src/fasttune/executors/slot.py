"""A worker process, as the executor that has it sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fasttune.executors.wear import NO_LIMITS, Wear, WorkerLimits
from fasttune.executors.wire import Wire


@dataclass
class Slot:
    """A worker and what it has been given."""

    source: int
    pid: int  # 0: the server was asked for it, and has not answered yet
    wire: Wire
    path: str
    placement: Any
    request: Any
    given: list[tuple[int, int]] = field(default_factory=list)  # ranges of trials that may not have begun yet
    job: int = -1  # the single trial it was given, until its end is seen
    suspended: set[int] = field(default_factory=set)
    grant: int = 1
    granted_at: float = 0.0
    orders: int = 0  # given so far
    ending: int = 0  # of these, as many are done or about to be: their trial was answered to pause
    exit_code: int | None = None
    fate: str = ""  # why it died, if it was not for a reason of its own
    pipe: int = -1  # what it prints comes out here
    wear: Wear = field(default_factory=Wear)
    limits: WorkerLimits = NO_LIMITS
    memory: int = 0  # bytes that its trials have asked for; 0: as many as there are
    leaving: list[int] = field(default_factory=list)  # of each paused trial that it was to leave: the orders given until then

    @property
    def lives(self) -> bool:
        """It is known to have been forked, and not to have ended."""
        return self.pid > 0 and self.exit_code is None

    @property
    def open_orders(self) -> int:
        """Orders that it has not carried out yet."""
        return self.orders - max(self.wire.up.orders, self.ending)

    @property
    def busy(self) -> bool:
        return self.open_orders > 0

    @property
    def is_hungry(self) -> bool:
        """It has no more fresh trials, or runs out of them soon."""
        orders = self.open_orders
        return self.job < 0 and (orders == 0 or (self.grant > 1 and orders == 1 and self.wire.up.left <= self.grant // 2))

    @property
    def most_memory(self) -> int:
        """Bytes that it may have: what one trial asked for, and as much for each that is paused in it, whose memory is neither the
        running one's nor to be had back. One that it was to leave has its own until what was ordered before that is done."""
        return self.memory * (1 + len(self.suspended) + len(self.leaving))

    def unstarted(self) -> list[int]:
        """Trials that it was given, and that may not have begun."""
        given = [trial for first, limit in self.given for trial in range(first, limit)]
        return given if self.job < 0 else [*given, self.job]

    def order(self, kind: int, trial: int, step: int = 0, payload: bytes = b"") -> None:
        """Hand an order down that occupies the worker."""
        self.tell(kind, trial, step, payload)
        self.orders += 1

    def tell(self, kind: int, trial: int, step: int = 0, payload: bytes = b"", flags: int = 0) -> None:
        """Hand a message down."""
        if not self.wire.down.write(kind, trial, step, payload, flags):
            raise AssertionError("a worker's ring of orders is full")
