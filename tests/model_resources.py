"""Slow and obvious twins of the compiled ledger and event queue: the same promises in plain lists."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

WHOLE = 10_000


def units(amount: float) -> int:
    # A half goes away from zero, as C's llround has it; Python's round takes the even neighbour.
    return math.floor(amount * WHOLE + 0.5)


@dataclass
class ModelGrant:
    gpus: list[tuple[int, int]]
    cpu: int
    memory: int
    custom: dict[str, int]


@dataclass
class ModelLedger:
    """CPUs are one sum; each GPU is one number. Says who gets which GPU, and whether a request fits."""

    cpus: int
    gpus: int
    memory: int = 0
    custom: dict[str, float] = field(default_factory=dict)
    policy: str = "pack"
    alone: frozenset[int] = frozenset()  # GPUs that are never one of several

    def __post_init__(self) -> None:
        self.cpu = self.cpus * WHOLE
        self.gpu = [WHOLE] * self.gpus
        self.amounts = {name: units(amount) for name, amount in self.custom.items()}

    def acquire(
        self, cpu: float, gpu: float, memory: int, custom: dict[str, float], joined: bool = False
    ) -> ModelGrant | None:
        asked = {name: units(amount) for name, amount in custom.items()}
        devices = self.choose(units(gpu), self.alone if joined or units(gpu) > WHOLE else frozenset())
        if (
            devices is None
            or units(cpu) > self.cpu
            or memory > self.memory
            or any(amount > self.amounts.get(name, 0) for name, amount in asked.items())
        ):
            return None
        grant = ModelGrant(devices, units(cpu), memory, asked)
        self.book(grant, -1)
        return grant

    def acquire_devices(self, devices: tuple[tuple[int, int], ...]) -> ModelGrant | None:
        """GPUs that were chosen elsewhere."""
        if any(self.gpu[device] < share for device, share in devices):
            return None
        grant = ModelGrant(list(devices), 0, 0, {})
        self.book(grant, -1)
        return grant

    def release(self, grant: ModelGrant) -> None:
        self.book(grant, 1)

    def book(self, grant: ModelGrant, sign: int) -> None:
        self.cpu += sign * grant.cpu
        self.memory += sign * grant.memory
        for device, share in grant.gpus:
            self.gpu[device] += sign * share
        for name, amount in grant.custom.items():
            if amount:
                self.amounts[name] += sign * amount

    def choose(self, gpu: int, passed_over: frozenset[int]) -> list[tuple[int, int]] | None:
        if gpu >= WHOLE:
            return self.choose_whole(gpu // WHOLE, passed_over)
        if gpu == 0:
            return []
        fitting = [device for device, free in enumerate(self.gpu) if free >= gpu and device not in passed_over]
        if not fitting:
            return None
        sign = 1 if self.policy == "pack" else -1
        return [(min(fitting, key=lambda device: (sign * (self.gpu[device] * 63 // WHOLE), device)), gpu)]

    def choose_whole(self, count: int, passed_over: frozenset[int]) -> list[tuple[int, int]] | None:
        """The shortest run of free neighbours that is long enough, or else the first free devices."""
        free = [device for device, share in enumerate(self.gpu) if share == WHOLE and device not in passed_over]
        if len(free) < count:
            return None
        if count == 1:
            return [(free[0], WHOLE)]
        runs: list[list[int]] = []
        for device in free:
            if runs and runs[-1][-1] == device - 1:
                runs[-1].append(device)
            else:
                runs.append([device])
        long_enough = [run for run in runs if len(run) >= count]
        chosen = min(long_enough, key=len) if long_enough else free
        return [(device, WHOLE) for device in chosen[:count]]


class ModelQueue:
    """Two lists, searched from end to end."""

    def __init__(self) -> None:
        self.ready: list[int] = []
        self.timed: list[tuple[float, int, int]] = []
        self.arrivals = 0

    def push(self, item: int) -> None:
        self.ready.append(item)

    def push_front(self, item: int) -> None:
        self.ready.insert(0, item)

    def pop(self) -> int:
        return self.ready.pop(0) if self.ready else -1

    def push_at(self, time: float, item: int) -> None:
        self.arrivals += 1
        self.timed.append((time, self.arrivals, item))

    def pop_due(self, now: float) -> int:
        if not self.timed or min(self.timed)[0] > now:
            return -1
        first = min(self.timed)
        self.timed.remove(first)
        return first[2]

    def next_time(self) -> float:
        return min(self.timed)[0] if self.timed else math.inf

    def cancel(self, item: int) -> int:
        before = len(self)
        self.ready = [other for other in self.ready if other != item]
        self.timed = [entry for entry in self.timed if entry[2] != item]
        return before - len(self)

    def __len__(self) -> int:
        return len(self.ready) + len(self.timed)

    def __contains__(self, item: int) -> bool:
        return item in self.ready or any(entry[2] == item for entry in self.timed)
