"""A Ray cluster as :mod:`fasttune.executors.ray` sees it: what it is asked for, what comes back, and wires that end on another node.

    connected()      Ray, by whichever way there is to it
    actor_options()  a request as Ray takes it
    Mail             answers of actors, which wake the loop
    Actor            one of them: messages to it are gathered, and go in one call
    FarWire          the two rings of a worker that is there
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fasttune.devices.gpu import Gpu
from fasttune.devices.machine import Machine
from fasttune.devices.resources import PlacementGroupFactory
from fasttune.executors.ray_actor import Dispatch, Greeting
from fasttune.executors.slot import Slot
from fasttune.extras import optional

THREADS = 4  # of an actor: one listens, others are told


def connected() -> Any:
    """The ``ray`` module, connected: to the cluster that this program has connected to already, else to that of ``RAY_ADDRESS``, else
    to a new one on this machine, which ends with this program. ImportError if Ray is not installed, or too old."""
    ray = optional("ray", "ray", "executor='ray'")
    if not ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            ray.init(address="auto", log_to_driver=False)
        else:
            ray.init(address="local", include_dashboard=False, log_to_driver=False)
    return ray


# -- what Ray is asked for -------------------------------------------------------------------------------------------------


def amounts(request: PlacementGroupFactory) -> dict[str, float]:
    """What one trial needs, by Ray's names of resources. An actor is on one node, so it is the sum of the bundles."""
    return dict(request.required_resources)


def actor_options(request: PlacementGroupFactory) -> dict[str, Any]:
    """How an actor is asked for that has what one trial needs. ValueError for what Ray does not give."""
    needed = amounts(request)
    gpus = needed.pop("GPU", 0.0)
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(
            f"executor='ray' gives out whole GPUs or a part of one, and this trial asks for {gpus:g} in all: ask for "
            f"{int(gpus) + 1}, or for less than one"
        )
    options: dict[str, Any] = {"num_cpus": needed.pop("CPU", 0.0), "num_gpus": gpus, "max_concurrency": THREADS, "max_restarts": 0}
    if memory := needed.pop("memory", 0.0):
        options["memory"] = memory
    return {**options, "resources": needed} if needed else options


def how_many_fit(nodes: list[dict[str, Any]], request: PlacementGroupFactory) -> int:
    """How many trials of this request the nodes that there are hold at once."""
    needed = amounts(request)
    if not needed:
        return sys.maxsize
    return sum(
        int(min((node["Resources"].get(name, 0.0) + 1e-6) // amount for name, amount in needed.items()))
        for node in nodes
        if node["Alive"]
    )


def largest_node(nodes: list[dict[str, Any]]) -> Machine:
    """The most of each resource that one of the nodes has."""
    most: dict[str, float] = {}
    for resources in (node["Resources"] for node in nodes if node["Alive"]):
        for name, amount in resources.items():
            if not name.startswith("node:"):
                most[name] = max(most.get(name, 0.0), amount)
    gpus = tuple(Gpu(f"ray:{at}", "GPU of a Ray node", at) for at in range(int(most.pop("GPU", 0))))
    cpus, memory = int(most.pop("CPU", 0)), int(most.pop("memory", 0))
    most.pop("object_store_memory", None)
    called, kinds_by = "the largest node of the Ray cluster", "ray start --resources"
    return Machine(tuple(range(cpus)), gpus, memory, most, bind_cpus=False, called=called, kinds_by=kinds_by)


# -- an actor, from here ---------------------------------------------------------------------------------------------------


class Mail:
    """What actors have answered, in the order in which it came; a bell that wakes the loop. Answers come from threads of Ray's."""

    def __init__(self) -> None:
        self._letters: deque[tuple[Any, ...]] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        self._closed = False
        self._closing = threading.Lock()  # else the bell's number may be another file's when it is rung

    def expect(self, kind: str, actor: Actor, answer: Any) -> None:
        """An answer (a reference of Ray's) is to come here, as (kind, actor, what it is or the exception)."""

        def arrived(future: Any) -> None:
            error = future.exception()
            self._letters.append((kind, actor, future.result() if error is None else error))
            with self._closing:
                if not self._closed:
                    os.eventfd_write(self._bell, 1)

        answer.future().add_done_callback(arrived)

    def has_message(self, timeout: float) -> bool:
        if not self._letters and timeout > 0:
            self.wait(timeout)
        return bool(self._letters)

    def hear(self) -> Any:
        return self._letters.popleft()

    def wait(self, timeout: float) -> None:
        if not self._letters:
            self._poll.poll(timeout * 1000)

    def quiet_bell(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell)

    def close(self) -> None:
        with self._closing:
            if not self._closed:
                self._closed = True
                os.close(self._bell)


@dataclass(eq=False)
class Actor:
    """An outpost, or one that Ray was asked for.

    greeting  what it answered first; None: it has not been placed yet
    gone      why it is no more; "": it is there
    outgoing  messages to it that wait for the end of the turn; ``outbox`` has those that have some
    """

    handle: Any
    request: PlacementGroupFactory
    asked_at: float
    outbox: list[Actor]
    greeting: Greeting | None = None
    gone: str = ""
    outgoing: list[tuple[Any, ...]] = field(default_factory=list)
    told: int = 0

    def send(self, *message: Any) -> None:
        """With all others of this turn, in one call."""
        if not self.outgoing:
            self.outbox.append(self)
        self.outgoing.append(message)

    def post(self) -> None:
        if self.outgoing and not self.gone:
            self.handle.tell.remote(self.told, self.outgoing)
            self.told += 1
        self.outgoing = []


class FarEnd:
    """The ring up of a worker on another node, as far as it has come: pieces of records, and its words when they were sent."""

    def __init__(self, actor: Actor, source: int, durable: bool) -> None:
        self._actor = actor
        self._source = source
        self._durable = durable
        self._pieces: deque[tuple[int, bytes]] = deque()
        self.head = self.position = self.released = 0
        self.orders = self.left = self.memory = 0
        self.busy_trial = -1
        self.bell_fd = -1

    def arrived(self, told: Dispatch, records: bytes) -> None:
        if records:
            self.head = told.position
            self._pieces.append((told.position, records))
        self.orders, self.left, self.busy_trial, self.memory = told.orders, told.left, told.busy, told.memory

    def take(self) -> memoryview | None:
        if not self._pieces:
            return None
        self.position, records = self._pieces.popleft()
        return memoryview(records)

    def release(self) -> None:
        if self._durable and self.released != self.position:
            self._actor.send("released", self._source, self.position)
        self.released = self.position

    def set_low_water(self, n: int) -> None:
        """The outpost does that."""

    def sleep_begin(self) -> bool:
        return True

    def sleep_end(self) -> None:
        """Nobody sleeps on it."""


class NearEnd:
    """The ring down: what is written goes with the next call."""

    def __init__(self, actor: Actor, source: int) -> None:
        self._actor = actor
        self._source = source

    def write(self, kind: int, trial: int = 0, step: int = 0, payload: bytes = b"", flags: int = 0) -> bool:
        self._actor.send("order", self._source, kind, trial, step, payload, flags)
        return True


class FarWire:
    """Both, as :class:`~fasttune.executors.wire.Wire` has them."""

    def __init__(self, actor: Actor, source: int, durable: bool) -> None:
        self.up = FarEnd(actor, source, durable)
        self.down = NearEnd(actor, source)

    def close(self) -> None:
        """There is nothing here to let go of."""


@dataclass
class RaySlot(Slot):
    """A worker process in an actor.

    words     what it left to be read when it died
    kill_at   when it was told to be ended; 0.0: it was not
    shares    half of what it has not begun was asked back
    """

    words: str = ""
    why: str = ""
    kill_at: float = 0.0
    shares: bool = False

    def may_have(self, trial: int) -> bool:
        """The trial runs in it, as far as is known here."""
        return trial in (self.job, self.wire.up.busy_trial) or any(first <= trial < limit for first, limit in self.given)
