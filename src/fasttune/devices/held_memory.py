"""What is given out of a GPU is really there: its memory is free again, no stranger holds it, and the device is not lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from fasttune.devices.gpu_choice import WHOLE, GpuTaken
from fasttune.devices.gpu_state import GpuState, driver_open, gpu_state
from fasttune.devices.resources import PlacementGroupFactory, Supply, check_possible
from fasttune.error import TuneError
from fasttune.once import warn_in_run
from fasttune.processes import descends_from, is_running

if TYPE_CHECKING:
    from fasttune.devices.gpu import Gpu
    from fasttune.devices.gpu_links import Distances
    from fasttune.devices.machine import Machine
    from fasttune.devices.resources import Placement, _Demand

PATIENCE_S = 10.0  # then it is given out all the same
SLACK = 64 << 20  # bytes above what was used before the run: a driver's own books move that much
LOOK_S = 0.02  # how often the driver is asked whether memory came back
STATE_S = 0.05  # ... and what is free
SAY_S = 2.0  # that others hold memory is said when it has kept a trial waiting for so long
HEALTH_S = 1.0  # how often it is asked whether devices are still there
SHORT_S = 0.5  # a refusal is news for so long: whoever waits asks again sooner


class Returned(NamedTuple):
    """A placement that came back, and is not given out yet."""

    placement: Placement
    pid: int  # of its process, which may still be about to end; 0: it is not known
    until: float
    gpus: tuple[Gpu, ...]


class PatientSupply(Supply):
    """A Supply for trials in processes of their own, which end or are killed.

    A GPU that one of them had alone waits until no more of its memory is used than before the run, for ten seconds at most.
    Memory that is asked for by the byte is promised if it is really free: what our trials were promised is theirs, whether
    they have taken it yet or not, and what the driver counts beyond is held by others. A device that is lost is not given again.

    Args:
        machine, policy, distances: as of a Supply.
        look: what the driver says of a device, and of the memory of these processes there.
        clock: seconds that never jump.
        runs: whether there is a process of that number.
    """

    def __init__(
        self,
        machine: Machine,
        policy: str = "pack",
        distances: Callable[[Sequence[Gpu]], Distances] | None = None,
        look: Callable[[Gpu, Collection[int]], GpuState] = gpu_state,
        clock: Callable[[], float] = time.monotonic,
        runs: Callable[[int], bool] = is_running,
    ) -> None:
        super().__init__(machine, policy, distances)
        self._driver = look
        self._workers: Callable[[], Collection[int]] = tuple
        self._clock = clock
        self._runs = runs
        self._at = {gpu.uuid: at for at, gpu in enumerate(machine.gpus)}
        self._before: dict[str, int | None] = {}  # uuid -> bytes that were used when it was given out first
        self._held: list[Returned] = []
        self._next = 0.0  # when the driver is asked again
        self._states: dict[int, tuple[float, GpuState]] = {}  # position -> when, and what it said
        self._strangers: dict[int, int] = {}  # position -> bytes that others hold, at most, where the driver names no process
        self._short_since: float | None = None  # since when others hold what a trial waits for
        self._short_at = -SHORT_S
        self._said: set[int] = set()  # positions
        self._lost: dict[int, str] = {}  # position -> why
        self._buried = [0] * len(machine.gpus)  # units that nobody gets any more
        self._health_at = clock() + HEALTH_S

    @property
    def returning(self) -> bool:
        """Something came back and is not given out yet."""
        return bool(self._held)

    @property
    def waits(self) -> bool:
        """Something came back and is not given out yet, or others hold memory that a trial waits for."""
        return bool(self._held) or self._clock() - self._short_at < SHORT_S

    def has_workers(self, pids: Callable[[], Collection[int]]) -> None:
        self._workers = pids

    def acquire(self, request: PlacementGroupFactory) -> Placement | None:
        self._look()
        wants_gpus = bool(request._demand.devices or request._demand.chosen)
        if wants_gpus:
            self._look_for_lost()
        placement = super().acquire(request)
        if placement is None:
            if wants_gpus:
                self._check_what_is_left(request)
            return None
        for gpu, _ in placement.gpus:
            if gpu.uuid not in self._before:
                self._before[gpu.uuid] = self._used(gpu)
        return placement

    def give_back(self, placement: Placement, pid: int = 0) -> None:
        alone = tuple(gpu for gpu, units in placement.gpus if units == WHOLE)
        one = Returned(placement, pid, self._clock() + PATIENCE_S, alone)
        if self._still_has(one) or not all(map(self._is_free, alone)):
            self._held.append(one)
        else:
            self.release(placement)

    def release(self, placement: Placement) -> None:
        super().release(placement)
        for at, _ in placement.promised:
            self._states.pop(at, None)  # what was used before it ended says nothing any more
        for at in self._lost:
            self._bury(at)

    # -- what came back

    def _look(self) -> None:
        """Give back what is free by now, or was waited for long enough."""
        now = self._clock()
        if not self._held or now < self._next:
            return
        self._next = now + LOOK_S
        held, self._held = self._held, []
        for one in held:
            taken = [gpu for gpu in one.gpus if not self._is_free(gpu)]
            if now < one.until and (taken or self._still_has(one)):
                self._held.append(one)
                continue
            for gpu in taken:
                self._give_up(gpu)
            self.release(one.placement)

    def _still_has(self, one: Returned) -> bool:
        """Its process is about to end. What it was promised is its own so long: others of ours that have not taken theirs yet cannot
        be told from it."""
        return bool(one.pid and one.placement.promised) and self._runs(one.pid)

    def _used(self, gpu: Gpu) -> int | None:
        return self._driver(gpu, ()).used

    def _is_free(self, gpu: Gpu) -> bool:
        before = self._before.get(gpu.uuid)
        now = None if before is None else self._used(gpu)
        return before is None or now is None or now <= before + SLACK

    def _give_up(self, gpu: Gpu) -> None:
        now, before = self._used(gpu), self._before.get(gpu.uuid)
        if now is None or before is None:
            return
        self._before[gpu.uuid] = now  # it is said once, and not waited for again
        warn_in_run(
            f"{gpu.name} {gpu.uuid} uses {(now - before) >> 20:,} MiB more than before the run, {PATIENCE_S:g} s after its process "
            "has ended: another program has come, or what the trial has started lives on. It is given out all the same",
            RuntimeWarning,
            stacklevel=2,
        )

    # -- memory by the byte

    def _state(self, at: int) -> GpuState:
        """What the driver said of a device, a moment ago at most."""
        now = self._clock()
        seen = self._states.get(at)
        if seen is None or now - seen[0] >= STATE_S:
            seen = self._states[at] = now, self._driver(self.machine.gpus[at], self._workers())
        return seen[1]

    def _memory_free(self, at: int) -> int:
        state = self._state(at)
        left = self._memory_left(at)
        if state.used is None:
            return left
        return min(left - self._held_by_others(at, state.used, state.ours), self.machine.gpus[at].memory_bytes - state.used)

    def _held_by_others(self, at: int, used: int, ours: int | None) -> int:
        """Bytes that nobody of ours was promised. Where the driver does not say whose they are: what was used when nothing of ours
        was there, or less if less is used by now; and in any case what is used beyond all promises."""
        if self._left_units(at) == WHOLE:
            self._strangers[at] = used
        self._strangers[at] = min(used, self._strangers.get(at, used))
        others = self._strangers[at] if ours is None else used - ours
        return max(others, used - self._promised[at])

    def _left_units(self, at: int) -> int:
        return round(self._ledger.gpu_shares()[at][1] * WHOLE)

    def _acquire_chosen(self, demand: _Demand) -> Placement | None:
        devices = self._choose(demand, self._memory_left)
        if devices is None or self._ledger.missing(demand.cpu, 0.0, demand.memory, demand.custom):
            self._short_since = None  # by the books it has to wait for trials of ours: the driver is not asked
            return None
        with driver_open():
            placement = super()._acquire_chosen(demand)
            if placement is None:
                self._wait_for_others(devices)
            else:
                self._short_since = None
        return placement

    def _wait_for_others(self, devices: Sequence[GpuTaken]) -> None:
        """By the books a trial could have these. Says once whose memory it waits for."""
        now = self._short_at = self._clock()
        self._short_since = now if self._short_since is None else self._short_since
        short = [one for one in devices if one.memory > self._memory_free(one.device) and one.device not in self._said]
        if now - self._short_since >= SAY_S:
            for one in short:
                self._said.add(one.device)
                self._say_others(one.device, one.memory)

    def _say_others(self, at: int, asked: int) -> None:
        gpu, state = self.machine.gpus[at], self._state(at)
        others = self._held_by_others(at, state.used or 0, state.ours)
        workers = self._workers()
        who = [str(pid) for pid in state.processes or () if not descends_from(pid, workers)]
        names = f" (processes {', '.join(who)})" if who else ""
        # a driver keeps some for itself, and never lets go of it
        rest = "; no process is known there: if it is the driver's own, ask for less" if state.processes == () else ""
        warn_in_run(
            f"a trial waits for {asked >> 20:,} MiB of {gpu.name} {gpu.uuid}: of its {gpu.memory_bytes >> 20:,} MiB others hold "
            f"{others >> 20:,}{names}. It begins when they are free{rest}",
            RuntimeWarning,
            stacklevel=2,
        )

    # -- lost devices

    def why_lost(self, placement: Placement) -> str:
        if not placement.gpus:
            return ""
        self._look_for_lost()
        return "; ".join(self._lost[at] for gpu, _ in placement.gpus if (at := self._at[gpu.uuid]) in self._lost)

    def _look_for_lost(self) -> None:
        now = self._clock()
        if now < self._health_at:
            return
        self._health_at = now + HEALTH_S
        with driver_open():
            found = {at: self._driver(gpu, ()).lost for at, gpu in enumerate(self.machine.gpus) if at not in self._lost}
        for at, why in found.items():
            if why:
                self._lost[at] = why
                self._bury(at)
                warn_in_run(f"{why}. It is not given to trials any more", RuntimeWarning, stacklevel=2)

    def _bury(self, at: int) -> None:
        """Nobody gets what is left of a device that is lost."""
        units = self._left_units(at)
        if units:
            self._ledger.acquire(0.0, devices=((at, units),))
            self._buried[at] += units

    def _check_what_is_left(self, request: PlacementGroupFactory) -> None:
        """TuneError if no device is left that could ever hold the request: it would wait for ever."""
        if not self._lost or any(self._buried[at] < WHOLE for at in self._lost):
            return  # what ran there has still to fail
        gpus = tuple(gpu for at, gpu in enumerate(self.machine.gpus) if at not in self._lost)
        try:
            check_possible(replace(self.machine, gpus=gpus, gpu_reason="; ".join(self._lost.values())), request)
        except ValueError as error:
            raise TuneError(str(error)) from None
