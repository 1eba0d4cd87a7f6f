"""Trials in worker processes: pre-forked from a clean server, reused, fed through shared memory.

One slot is one worker with a placement (CPUs, GPUs) and two rings. Short trials are handed out as spans of numbers
that grow until a span lasts about ten milliseconds; what a worker has not begun can be taken back. A worker that dies
is told by the server (its exit status), by nothing that has to time out.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Self

from fasttune import _core, nesting, script
from fasttune.devices.cgroups import MemoryKills, process_limits
from fasttune.error import TuneError
from fasttune.executors.base import Batch, Death, Executor, ExecutorSite, Job, Program
from fasttune.executors.program_file import ProgramFile
from fasttune.executors.program_pickle import shared_program
from fasttune.executors.ring_file import map_file, remove_ring
from fasttune.executors.server import MARK, PAUSES_S, WORKERS_BEGIN_THERE, Server, ServerGoneError
from fasttune.executors.slot import Slot
from fasttune.executors.wear import NO_LIMITS, WorkerLimits
from fasttune.executors.wire import CANNOT_LOAD, DOWN_BYTES, FILE_BYTES, Wire, pack, pack_config
from fasttune.executors.worker_ends import ForkError, cannot_be_started, reason, signal_hint
from fasttune.folder import RINGS
from fasttune.once import warn_in_run
from fasttune.working_directory import working_directory

if TYPE_CHECKING:
    from fasttune.executors.gpu_meter import GpuMeter
    from fasttune.executors.memory_watch import MemoryWatch
    from fasttune.executors.prints import Prints

LARGEST_CONFIG = DOWN_BYTES // 2 - 80_000  # bytes; an order also has room for a checkpoint in memory
LONGEST_SPAN = 8192
SPAN_S = 0.01  # how long a span should last
SPARE_FILES = 24  # open files that the journal, the server's start and callbacks may need
MOST_STILLBORN = 5  # workers in a row that may end before they begin a trial
MOST_SERVERS = 3  # servers in a row that may die before a trial begins
DEVICES_S = 0.5  # how often it is looked whether devices are still there
PRINTS_S = 0.01  # what workers print is looked at so often while they end
FEWER_S = 1.0  # after a worker could not be started no other one is tried for so long, then twice as long, ...
LONGEST_FEWER_S = 60.0


class ProcessExecutor(Executor):
    """Runs trials in worker processes.

    ``place(request)`` reserves resources and returns a placement, or None; ``free`` gives one back, ``give_back`` one that a worker
    had; ``returning``: something was given back and cannot be had yet; ``why_lost``: why nothing can run any more on the devices of
    a placement. ``environ_of`` and ``cpus_of`` are environment and CPUs of a worker with that placement. ``limit`` is the most
    workers at once. ``first_source`` numbers the rings; every worker gets a new number.
    """

    name = "process"
    holds_memory = pins = measures = True
    span_s: ClassVar[float] = SPAN_S
    slot_class: ClassVar[type[Slot]] = Slot

    @classmethod
    def at(cls, place: ExecutorSite) -> Self:
        made = cls(
            place.folder,
            place=place.supply.acquire,
            free=place.supply.release,
            give_back=place.supply.give_back,
            returning=lambda: place.supply.returning,
            why_lost=place.supply.why_lost,
            environ_of=place.environ_of,
            cpus_of=place.cpus_of,
            request=place.request,
            limit=place.limit,
            usage=place.usage,
            first_source=place.first_source,
            worker_limits=place.worker_limits,
            measures_gpus=place.measures,
        )
        place.supply.has_workers(lambda: made.pids)
        return made

    def __init__(
        self,
        folder: str,
        *,
        place: Callable[[Any], Any],
        free: Callable[[Any], None],
        give_back: Callable[[Any, int], None],
        returning: Callable[[], bool],
        why_lost: Callable[[Any], str],
        environ_of: Callable[[Any], dict[str, str]],
        cpus_of: Callable[[Any], tuple[int, ...]],
        request: Any,
        limit: int,
        usage: Callable[[], str],
        first_source: int = 1,
        worker_limits: WorkerLimits = NO_LIMITS,
        measures_gpus: bool = False,
    ) -> None:
        self._folder = folder
        self._worker_limits = worker_limits
        self._measures_gpus = measures_gpus
        self._gpu_meter: GpuMeter | None = None  # as soon as a trial has a GPU, if that is measured
        self._place = place
        self._free = free
        self._give_back = give_back
        self._devices_return = returning
        self._why_lost = why_lost
        self._devices_looked_at = 0.0
        self._environ_of = environ_of
        self._cpus_of = cpus_of
        self._request = request
        self._limit = min(limit, workers_by_open_files())
        self._usage = usage
        self._next_source = first_source
        self._slots: dict[int, Slot] = {}
        self._deaths: list[Death] = []
        self._server = self._take_server()
        self._program_file: ProgramFile | None = None
        self._setup: dict[str, Any] = {}
        self._rule: _core.Asha | None = None  # on memory that the workers share
        self._servers_lost = 0  # in a row, before a trial began
        self._left_over: list[Slot] = []
        self._halted = self._closed = False
        self._rests = False  # the server goes on without workers, for another run
        self._leaves_files = False
        self._next_slot: Slot | None = None  # the worker that room() was asked for
        self._stillborn = 0  # workers in a row that ended before they began a trial
        self._memory_kills = MemoryKills()
        self._memory_watch: MemoryWatch | None = None  # as soon as a trial has asked for memory
        self._unplaced: deque[tuple[int, int, int, int]] = deque()  # spans that were taken, for which no worker came
        self._fewer = limit  # workers there were when another one could not be started: no more than these ...
        self._fewer_until = 0.0  # ... until then
        self._fewer_s = FEWER_S
        self._named = False  # lines that trials print bear their name
        self._caught: tuple[int, ...] = ()  # streams of workers that go through pipes
        self._show: Callable[[str], None] | None = None
        self._prints: Prints | None = None

    def pass_prints(self, caught: tuple[int, ...], show: Callable[[str], None], named: bool) -> None:
        self._named = named
        if caught:
            self._caught, self._show = caught, show
            self._limit = max(1, min(self._limit, workers_by_open_files() // 2))

    # -- the server ----------------------------------------------------------------------------------------------------

    def _take_server(self) -> Server:
        return Server.take()

    def open(
        self, program: Program, epoch: float, rule: Any, drain: Callable[[], None], turn: Callable[[], None]
    ) -> None:
        self._program = program
        self._epoch = epoch
        self._varied = any(one.resources != self._request for one in program.trainables)
        self._program_file = shared_program(program, self._folder)
        os.makedirs(os.path.join(self._folder, RINGS), exist_ok=True)
        places = [tuple(place) for place in self._program_file.places]
        self._setup = {"path": sys.path, "program": places, "driver": os.getpid()}
        self._setup["cwd"] = working_directory(WORKERS_BEGIN_THERE)
        self._setup["script"] = script.described()
        self._setup["named"], self._setup["caught"] = self._named, self._caught
        if self._show is not None:
            from fasttune.executors.prints import Prints

            self._prints = Prints(self._show, program.prefix if self._named else None)
            self._server.watch(self._prints.fileno())
        try:
            self._server.begin(self._setup)
        except ServerGoneError:
            self._launch_again()

    def _launch_again(self) -> None:
        """The server has died, and its workers with it: end what they had started, and launch another one. Trials end, or
        are given out anew, as when a worker dies. TuneError if servers die again and again before any trial begins."""
        while True:
            living = [slot for slot in self._slots.values() if slot.exit_code is None]
            code = self._server.hang_up([slot.pid for slot in living if slot.lives])
            for slot in living:
                slot.exit_code = -signal.SIGKILL
            why = "has died of an unknown cause" if code is None else self._cause(code)
            self._servers_lost = 0 if any(slot.wire.up.head for slot in living) else self._servers_lost + 1
            if self._servers_lost >= MOST_SERVERS:
                raise TuneError(
                    f"the server of the worker processes has died {MOST_SERVERS} times in a row before a trial began; the "
                    f"last one {why}. What it printed, if anything, is above"
                )
            for slot in living:
                slot.fate = f"The worker process of this trial ended with the server of all workers, which {why}."
            warn_in_run(
                f"the server of the worker processes {why}. Trials that were running are treated as when their own worker "
                "dies, all others are run by new workers",
                RuntimeWarning,
                stacklevel=2,
            )
            self._server.launch()
            try:
                self._server.begin(self._setup)
            except ServerGoneError:
                continue
            return

    def shared_rule(self, program: Program) -> Any:
        self._rule = program.rule.build(self._server.rules_fd)
        return self._rule

    # -- slots ---------------------------------------------------------------------------------------------------------

    def _new_slot(self, request: Any) -> Slot | None:
        """Another worker, if there is room for what it needs and the system can have one more. Raises if the system cannot
        have a single one."""
        if len(self._slots) >= self._most() and not self._retire(request):
            return None
        while (placement := self._place(request)) is None:
            if self._devices_return() or not self._retire(request):
                return None
        try:
            slot = self._started(request, placement)
        except BaseException:
            self._free(placement)
            raise
        if slot is None:
            self._free(placement)
        return slot

    def _most(self) -> int:
        """How many workers there may be now."""
        if self._fewer_until and time.monotonic() < self._fewer_until:
            return max(1, min(self._limit, self._fewer))
        return self._limit

    def _started(self, request: Any, placement: Any) -> Slot | None:
        """A new worker with this placement. None if it cannot be had and the run goes on with those that there are. Where there
        is one already, nobody waits for the server's answer: it forks one worker while the next one is asked for."""
        source, lost = self._next_source, OSError()
        self._next_source += 1
        for pause in PAUSES_S:
            if pause:  # to sleep for no time is to let all others go first: milliseconds for each worker on a busy machine
                time.sleep(pause)
            try:
                slot = self._start_worker(source, request, placement)
                if not any(other.lives for other in self._slots.values()):
                    self._await_worker(slot)
            except ServerGoneError:
                self._launch_again()
                continue
            except OSError as error:
                lost = error
            else:
                self._slots[source] = slot
                return slot
            self._hear_answers()
            if any(other.lives for other in self._slots.values()):
                self._make_do(cannot_be_started(lost))
                return None
            if not isinstance(lost, ForkError):
                raise lost
        raise TuneError(
            f"no worker process can be started: {lost.strerror} ({process_limits()}); "
            "raise the limit, or run with executor='inline'"
        ) from lost

    def _start_worker(self, source: int, request: Any, placement: Any) -> Slot:
        path = os.path.join(self._folder, RINGS, f"{source}.ring")
        with suppress(FileExistsError):  # it goes with the last ring, when all workers have died
            os.mkdir(os.path.dirname(path))  # not the experiment's folder: if that has gone, the run is over
        self._measure_gpus(source, placement)
        environ = self._environ_of(placement)
        environ = {
            **environ,
            MARK: self._server.mark_within(environ),
            nesting.DEPTH: nesting.depth_within(environ),
        }
        wire, reader, writer = None, -1, -1
        try:
            wire = Wire(map_file(path, FILE_BYTES), create=True, epoch=self._epoch, bell_fd=self._server.bell)
            if self._prints is not None:
                reader, writer = self._prints.pipe()
            self._server.tell(("fork", source, path, environ, self._cpus_of(placement)), *([writer] if writer >= 0 else []))
        except BaseException:
            if wire is not None:
                wire.close()
            with suppress(OSError):
                remove_ring(path, whole=True)
            if reader >= 0:
                os.close(reader)
            raise
        finally:
            if writer >= 0:
                os.close(writer)
        slot = self.slot_class(source, 0, wire, path, placement, request, pipe=reader, limits=self._worker_limits)
        self._hold_to_memory(slot, placement.memory)
        slot.wire.up.bell_fd = -1  # the reader's copy of the fd is never written
        if self._prints is not None:
            up = slot.wire.up
            self._prints.add(reader, lambda: up.busy_trial)
        return slot

    def _hold_to_memory(self, slot: Slot, memory: int) -> None:
        """It is ended when it has more than that, and replaced between two trials when it keeps more than half of it: what a
        trial leaves behind is not the next one's."""
        if not memory:
            return
        slot.memory = memory
        slot.limits = slot.limits._replace(memory=min(memory // 2, slot.limits.memory or memory))
        if self._memory_watch is None:
            from fasttune.devices.memory_groups import open_groups
            from fasttune.executors.memory_watch import MemoryWatch

            self._memory_watch = MemoryWatch(groups=open_groups())

    def _begins(self, slot: Slot, pid: int) -> None:
        slot.pid = pid
        self._hold_now(slot)

    def _hold_now(self, slot: Slot) -> None:
        """What it may have has changed: the kernel has to know at once."""
        if self._memory_watch is not None:
            self._memory_watch.hold(slot)

    def _measure_gpus(self, source: int, placement: Any) -> None:
        """What the worker of this number will use of GPUs is measured, if that was asked for."""
        if not self._measures_gpus or not placement.gpus:
            return
        if self._gpu_meter is None:
            from fasttune.executors.gpu_meter import GpuMeter

            self._gpu_meter = GpuMeter()
        self._gpu_meter.expect(source, placement)

    def _await_worker(self, slot: Slot) -> None:
        """Wait until the server has forked it. ForkError if it could not."""
        try:
            while (message := self._server.hear())[:2] != ("forked", slot.source):
                if message[:2] == ("failed", slot.source):
                    raise ForkError(*message[2:])
                self._note(message)
            self._begins(slot, message[2])
        except BaseException:
            self._let_go(slot)
            slot.wire.close()
            with suppress(OSError):
                remove_ring(slot.path, whole=True)
            raise

    def _hear_answers(self) -> None:
        """Wait until it is known which of the workers that were asked for there are."""
        while any(slot.pid == 0 and slot.exit_code is None for slot in self._slots.values()):
            try:
                self._note(self._server.hear())
            except ServerGoneError:
                self._launch_again()

    def _make_do(self, why: str) -> None:
        """Go on with the workers that there are, for a while. Of those that were asked for together, the first one that cannot
        be had says so."""
        lasting = time.monotonic() < self._fewer_until
        self._fewer = sum(slot.lives for slot in self._slots.values())
        if lasting:
            return
        self._fewer_until = time.monotonic() + self._fewer_s
        if self._fewer_s == FEWER_S:
            warn_in_run(
                f"the run goes on with {self._fewer} worker process{'es' * (self._fewer > 1)}: {why}",
                RuntimeWarning,
                stacklevel=2,
            )
        self._fewer_s = min(2 * self._fewer_s, LONGEST_FEWER_S)

    def _retire(self, request: Any) -> bool:
        """End an idle worker whose placement is of another kind, to make room. True if there was one."""
        for slot in list(self._slots.values()):
            if not slot.busy and not slot.suspended and slot.job < 0 and slot.request != request:
                self._end_slot(slot)
                return True
        return False

    def _end_slot(self, slot: Slot) -> None:
        slot.wire.down.write(_core.KIND_EXIT)
        slot.exit_code = 0
        self._forget(slot)

    def _forget(self, slot: Slot) -> None:
        """Its placement is free; its ring is still read and released before the file goes."""
        del self._slots[slot.source]
        if self._gpu_meter is not None:
            self._gpu_meter.forget(slot.source)
        if self._memory_watch is not None:
            self._memory_watch.forget(slot)
        self._let_go(slot)
        self._give_back(slot.placement, slot.pid)
        self._left_over.append(slot)

    def _let_go(self, slot: Slot) -> None:
        """Nobody reads any more what it prints."""
        if self._prints is not None:
            self._prints.leave(slot.pipe)

    def _idle_slot(self, request: Any) -> Slot | None:
        for slot in self._slots.values():
            if slot.job < 0 and not slot.busy and slot.request == request and not self._is_worn(slot):
                return slot
        return self._new_slot(request)

    # -- work ----------------------------------------------------------------------------------------------------------

    def room(self) -> int:
        if self._worker_limits.are_some or self._memory_watch is not None:
            self._replace_worn()
        if self._varied:  # whether there is room depends on the trial: start() finds out
            idle = any(slot.job < 0 and not slot.busy and not self._is_worn(slot) for slot in self._slots.values())
            return 1 if idle or len(self._slots) < self._most() else 0
        self._next_slot = slot = self._hungriest()
        while self._unplaced and (slot is not None or self._could_start()):
            self.run_span(*self._unplaced.popleft())
            self._next_slot = slot = self._hungriest()
        if slot is None:
            return 1 if self._could_start() else 0
        return self._fitting_grant(slot)

    def _replace_worn(self) -> None:
        """Workers that have done enough end as soon as they have nothing to do; others come in their place."""
        for slot in list(self._slots.values()):
            if slot.lives and slot.job < 0 and not slot.busy and self._is_worn(slot):
                self._end_slot(slot)
                if slot.memory and self._memory_watch is not None:
                    self._memory_watch.was_replaced(slot)

    def _is_worn(self, slot: Slot) -> bool:
        """It has done enough. One in which paused trials live goes on: it lives as long as they do."""
        return slot.limits.are_some and not slot.suspended and slot.wear.is_over(slot.limits, slot.pid)

    def _could_start(self) -> bool:
        """Whether there is room for another worker, as far as is known."""
        if len(self._slots) >= self._most():
            return False
        placement = self._place(self._request)
        if placement is None:
            return False
        self._free(placement)
        return True

    def _hungriest(self) -> Slot | None:
        """The worker that will run dry first, if any needs more."""
        best: Slot | None = None
        for slot in self._perhaps_hungry():
            if not slot.is_hungry or slot.request != self._request or slot.exit_code is not None:
                continue
            if (best is None or slot.wire.up.left < best.wire.up.left) and not self._is_worn(slot):
                best = slot
                if best.wire.up.left == 0:  # nobody has less
                    break
        return best

    def _perhaps_hungry(self) -> Iterable[Slot]:
        """The workers that may be: all but those of which it is known that they are not."""
        return self._slots.values()

    def _fitting_grant(self, slot: Slot) -> int:
        """How many trials keep it busy for about ``span_s``."""
        now = time.monotonic()
        if slot.granted_at:
            elapsed = now - slot.granted_at
            if elapsed < self.span_s / 2:
                slot.grant = min(LONGEST_SPAN, slot.grant * 4)
            elif elapsed > 2 * self.span_s:
                slot.grant = max(1, min(slot.grant // 2, int(slot.grant * self.span_s / elapsed)))
        return slot.wear.left(slot.limits, slot.grant)

    def run_span(self, experiment: int, first: int, n: int, local: int) -> None:
        slot = self._next_slot or self._new_slot(self._request)
        self._next_slot = None
        if slot is None:  # the worker that there was room for could not be had: the next one that is free takes the span
            self._unplaced.append((experiment, first, n, local))
            return
        slot.granted_at = time.monotonic()
        slot.wear.trials += n
        slot.given = [*slot.given[-2:], (first, first + n)]
        slot.wire.up.set_low_water(n // 2)
        payload = experiment.to_bytes(4, "little") + local.to_bytes(4, "little")
        slot.order(_core.KIND_RUN, first, n, payload)

    def rebalance(self) -> bool:  # from the worker that has most to one that has none
        hungry = self._hungriest()
        if hungry is None or hungry.wire.up.left or hungry.busy:
            return False
        rich = max(self._slots.values(), key=lambda slot: slot.wire.up.left, default=None)
        if rich is None or not rich.given:
            return False
        taken = rich.wire.up.take_back()
        if taken is None:
            return False
        first, limit = taken
        chunk = self._chunk_of(first)
        rich.given = [(a, min(b, first)) if a <= first < b else (a, b) for a, b in rich.given]
        self._next_slot = hungry
        self.run_span(chunk[0], first, limit - first, chunk[1])
        return True

    def withdraw(self) -> list[int]:
        self._unplaced.clear()
        for slot in self._slots.values():
            while slot.wire.up.take_back() is not None:
                pass
        return []

    def find_configs(self, place_of: Callable[[int], tuple[int, int]]) -> None:
        self._chunk_of = place_of

    def start(self, job: Job) -> bool:
        request = self._program.request_of(job)
        self._varied = self._varied or request != self._request
        slot = self._idle_slot(request)
        if slot is None:
            return False
        if job.config is not None:
            job = job._replace(config=None, packed=pack_config(job.config, job.trial, LARGEST_CONFIG))
        payload = pack(self._as_found_by(slot, job))
        for other in self._slots.values():
            if other.job == job.trial:  # an earlier attempt failed there; that worker still clears up behind it
                other.job = -1
        slot.order(_core.KIND_RUN_ONE, job.trial, 0, payload)
        slot.wear.trials += 1
        slot.job = job.trial
        return True

    def _as_found_by(self, slot: Slot, job: Job) -> Job:
        """The job as this worker has to be told it."""
        return job

    def resume(self, trial: int, ask_from: int = 0) -> bool:
        slot = self._slot_of(trial)
        if slot is None:
            raise TuneError(f"trial {trial} is not paused in any worker")
        if slot.busy or slot.job >= 0:
            return False
        slot.suspended.discard(trial)
        slot.job = trial
        slot.order(_core.KIND_CONTINUE, trial, ask_from)
        return True

    def _slot_of(self, trial: int) -> Slot | None:
        """The worker that a paused trial lives in."""
        return next((slot for slot in self._slots.values() if trial in slot.suspended), None)

    def answer(self, trial: int, decision: int, ask_from: int = 0, save: bool = False) -> None:
        slot = self._running(trial)
        if slot is None:
            return
        if decision == _core.PAUSE:
            slot.suspended.add(trial)
            slot.job = -1
            slot.ending = slot.orders
            self._hold_now(slot)
        slot.tell(_core.KIND_ANSWER, trial, ask_from, flags=decision | (_core.SAVE if save else 0))

    def _running(self, trial: int) -> Slot | None:
        """The worker that a trial runs in; one that only saves there, or is left, may have been there before."""
        slots = self._slots.values()
        job = next((slot for slot in slots if slot.job == trial), None)
        return job or next((slot for slot in slots if slot.wire.up.busy_trial == trial), None)

    def save(self, trial: int) -> None:
        slot = self._slot_of(trial)
        if slot is not None:
            slot.tell(_core.KIND_SAVE, trial)

    def discard(self, trial: int) -> None:
        slot = self._slot_of(trial)
        if slot is not None:
            slot.suspended.discard(trial)
            if slot.memory:
                slot.leaving.append(slot.orders)
            slot.tell(_core.KIND_DISCARD, trial)

    def stop(self, trial: int) -> None:
        for slot in self._slots.values():
            if slot.wire.up.busy_trial == trial:
                slot.wire.up.ask_stop(trial)

    def kill(self, trial: int) -> None:
        self._hear_all()  # which process it is
        for slot in self._slots.values():
            if slot.wire.up.busy_trial == trial:
                self._kill(slot)

    def _kill(self, slot: Slot) -> None:
        """End the worker, and all that it has started: it is its death like any other."""
        if not slot.lives:
            return
        try:
            self._server.tell(("kill", slot.pid))
        except ServerGoneError:
            self._launch_again()

    # -- the turn ------------------------------------------------------------------------------------------------------

    def poll(self, timeout: float) -> list[Batch]:
        watch, meter = self._memory_watch, self._gpu_meter
        if timeout > 0:
            rest = timeout if watch is None else watch.rest(timeout)
            self._sleep(rest if meter is None else meter.rest(rest))
        self._hear_all()
        if watch is not None:
            self._end_too_large(watch)
        if meter is not None:
            meter.look(self._slots.values())
        if self._prints is not None:
            self._prints.read()
        batches: list[Batch] = []
        for slot in list(self._slots.values()):
            self._take(slot, batches)
            if slot.job >= 0 and not slot.busy:
                slot.job = -1
        for slot in self._left_over:
            self._take(slot, batches)
        self._end_on_lost_devices()
        self._bury(batches)
        return batches

    def _end_on_lost_devices(self) -> None:
        """Whoever runs on a device that is lost would fail again and again, or wait for it for ever."""
        now = time.monotonic()
        if now < self._devices_looked_at + DEVICES_S:
            return
        self._devices_looked_at = now
        for slot in self._slots.values():
            if slot.lives and not slot.fate and (why := self._why_lost(slot.placement)):
                slot.fate = f"The worker process of this trial was ended: {why}."
                self._kill(slot)

    def _end_too_large(self, watch: MemoryWatch) -> None:
        """End the workers that have more memory than their trials asked for."""
        for slot, why in watch.look(self._slots.values(), self._server.pid):
            slot.fate = why
            self._kill(slot)

    def _take(self, slot: Slot, batches: list[Batch]) -> None:
        up = slot.wire.up
        while (data := up.take()) is not None:
            batches.append(Batch(slot.source, up.position, data))

    def _sleep(self, timeout: float) -> None:
        """Sleep until a worker calls, the server says something, or the time is over."""
        rings = [slot.wire.up for slot in self._slots.values()]
        if all([ring.sleep_begin() for ring in rings]):  # noqa: C419 - every one of them has to be told
            self._server.wait(timeout)
        for ring in rings:
            ring.sleep_end()
        self._server.quiet_bell()

    def _hear_all(self) -> None:
        while self._server.has_message(0.0):
            try:
                message = self._server.hear()
            except ServerGoneError:
                self._launch_again()
                return
            self._note(message)

    def _note(self, message: tuple[Any, ...]) -> None:
        """What the server says of a worker: it was forked, it could not be, it has ended."""
        kind, who, *what = message
        if kind == "forked":
            if who in self._slots:
                self._begins(self._slots[who], what[0])
        elif kind == "failed":
            self._note_failed(who, ForkError(*what))
        elif kind == "exit":
            for slot in self._slots.values():
                if slot.pid == who:
                    slot.exit_code = what[0]
        else:
            raise AssertionError(f"unexpected message {message!r}")

    def _note_failed(self, source: int, error: ForkError) -> None:
        """A worker that was asked for cannot be had: what it was given already is for others."""
        slot = self._slots.get(source)
        if slot is None:
            return
        slot.exit_code, slot.fate = 1, "The worker process of this trial could not be started."
        if any(other.lives for other in self._slots.values()):
            self._make_do(cannot_be_started(error))

    def _bury(self, batches: list[Batch]) -> None:
        """Tell of the workers that have ended; everything they wrote has just been taken."""
        for slot in list(self._slots.values()):
            if slot.exit_code is None:
                continue
            if slot.wire.up.head != slot.wire.up.position:  # written between the last take and its end
                self._take(slot, batches)
            if self._prints is not None:
                self._prints.read_out(slot.pipe)
            text = self._last_words(slot)
            why = slot.fate or self._too_large(slot) or self._reason(slot, text)
            self._check_stillborn(slot, text, why)
            trial = slot.wire.up.busy_trial
            self._deaths.append(Death(slot.source, trial, slot.unstarted(), sorted(slot.suspended), why))
            self._forget(slot)

    def _too_large(self, slot: Slot) -> str:
        """Why the kernel has ended it, if that was for its memory."""
        return "" if self._memory_watch is None else self._memory_watch.forget(slot)

    def _reason(self, slot: Slot, text: str) -> str:
        """Why a worker ended, in words; ``text`` are its last ones."""
        assert slot.exit_code is not None
        return reason(slot.exit_code, text, self._memory_kills)

    def _check_stillborn(self, slot: Slot, text: str, why: str) -> None:
        """A worker that cannot even begin would be replaced for ever. While others work, the run goes on with them."""
        if slot.wire.up.head:
            self._stillborn = self._servers_lost = 0
            return
        if slot.fate:
            return
        self._stillborn += 1
        cannot_load = slot.exit_code == CANNOT_LOAD
        if any(other.wire.up.head and other.exit_code is None for other in self._slots.values()):
            said = f"it could not load the trainable:\n{text}" if cannot_load else why
            self._make_do(f"another one ended before it began a trial. {said}")
            return
        if cannot_load:
            raise TuneError(f"a worker process could not load the trainable:\n{text}")
        if self._stillborn >= MOST_STILLBORN:
            raise TuneError(
                f"{self._stillborn} worker processes in a row ended before they began a trial: does an import of the "
                f"trainable crash, or is there no memory? {why}"
            )

    def _cause(self, code: int) -> str:
        """How the server ended, in words."""
        if code >= 0:
            return f"has ended with status {code}"
        name, hint = signal_hint(code, self._memory_kills)
        return f"was killed by {name} ({hint})"

    def _last_words(self, slot: Slot) -> str:
        try:
            with open(slot.path.removesuffix(".ring") + ".err", encoding="utf-8", errors="replace") as file:
                return file.read()[-8000:]
        except OSError:
            return ""

    def release(self) -> None:
        for slot in self._slots.values():
            slot.wire.up.release()
        self._release_left_over()

    def _release_left_over(self) -> None:
        """Of workers that are no more: what the journal has all of goes."""
        over, self._left_over = self._left_over, []
        for slot in over:
            up = slot.wire.up
            up.release()
            if up.released == up.head:
                self._remove(slot)
            else:  # it was let go behind the poll whose records are released here, and has said something since
                self._left_over.append(slot)

    def _remove(self, slot: Slot) -> None:
        whole = slot.wire.up.released == slot.wire.up.head
        slot.wire.close()
        if not self._leaves_files:
            remove_ring(slot.path, whole)

    def deaths(self) -> list[Death]:
        deaths, self._deaths = self._deaths, []
        return deaths

    @property
    def usage(self) -> str:
        return self._usage()

    @property
    def idle(self) -> bool:
        return not self._unplaced and not any(
            slot.busy or slot.job >= 0 or slot.exit_code is not None for slot in self._slots.values()
        )

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [slot.pid for slot in self._slots.values() if slot.pid]

    # -- the end -------------------------------------------------------------------------------------------------------

    def halt(self) -> None:
        if self._halted:
            return
        for slot in self._slots.values():
            if not slot.busy:
                slot.wire.down.write(_core.KIND_EXIT)
        self._wait_for_idle_workers()
        self._halted = True
        self._rests = self._server.rest()
        if not self._rests:  # it kills what is left, collects it and ends
            self._server.hang_up([slot.pid for slot in self._slots.values() if slot.lives])
        if self._prints is not None:
            self._prints.close()
            self._prints = None

    def drain_now(self) -> list[Batch]:
        batches: list[Batch] = []
        for slot in (*self._slots.values(), *self._left_over):
            self._take(slot, batches)
        return batches

    def leave_files(self) -> None:
        self._leaves_files = True

    def close(self) -> None:
        self.halt()
        if self._closed:
            return
        self._closed = True
        for slot in list(self._slots.values()):
            self._forget(slot)
        for slot in self._left_over:
            self._remove(slot)
        self._left_over.clear()
        if self._gpu_meter is not None:
            self._gpu_meter.close()
        if self._memory_watch is not None:
            self._memory_watch.close()
        if not self._leaves_files:
            with suppress(OSError):  # it holds something; without a worker there was no ring to go with
                os.rmdir(os.path.join(self._folder, RINGS))
        if self._rule is not None:  # a scheduler that is kept has it, and would keep the file
            self._rule.let_go()
        if self._rests:
            self._server.let_go()
        else:
            self._server.close()
        if self._program_file is not None:
            self._program_file.close()

    def _wait_for_idle_workers(self, seconds: float = 1.0) -> None:
        """Workers that have nothing to do clean up and end by themselves."""
        idle = [slot for slot in self._slots.values() if not slot.busy]
        deadline = time.monotonic() + seconds
        try:
            while any(slot.exit_code is None for slot in idle) and (left := deadline - time.monotonic()) > 0:
                if self._prints is not None:  # a worker whose pipe is full does not end
                    self._prints.read()
                    left = min(left, PRINTS_S)
                if self._server.has_message(left):
                    self._note(self._server.hear())
        except TuneError:
            return


def workers_by_open_files() -> int:
    """How many workers the limit on open files allows (each costs one in this process). TuneError when it is none."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 32
    room = limit - used - SPARE_FILES
    if room < 1:
        raise TuneError(
            f"this process may have {limit} open files and has {used}: too few to run worker processes; raise the limit"
            " (ulimit -n), or run with executor='inline'"
        )
    return room
