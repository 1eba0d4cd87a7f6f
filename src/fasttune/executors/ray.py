"""Trials on a Ray cluster: the same loop, decisions and journal here, the same worker processes there.

One slot is one actor: Ray finds it a node with the CPUs, GPUs and custom resources of a request, and it stays for the run. In it
(:mod:`fasttune.executors.ray_actor`) a worker process runs many trials, and orders and records go to and fro in batches; so a trial
costs no call of Ray's. What worker a trial is given to, and what is done with the rest of its span, is what
:class:`~fasttune.executors.process.ProcessExecutor` does; here is what comes between: actors in the place of placements, and wires
that end on another node.

A compiled rule has its rungs here. A report that reaches one is judged when it comes (``_core.judge_records``), in the order in
which reports come, so the journal is that of a run in one place. An actor or node that is lost costs the trials that ran there: they
end as with their worker. Checkpoints that are directories come as archives where the experiment's folder is not on the actor's
node; what is known of them is known here.

Actors are not detached: they end with the driver, however that ends.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TextIO, cast

from fasttune import _core, script
from fasttune.devices.machine import Machine
from fasttune.devices.resources import PlacementGroupFactory
from fasttune.devices.trial_process import THREAD_VARIABLES
from fasttune.error import TuneError
from fasttune.executors.base import Batch, ExecutorSite, Job, Program
from fasttune.executors.process import ProcessExecutor
from fasttune.executors.program_pickle import pickled_program
from fasttune.executors.ray_actor import Briefing, Dispatch, Outpost, boot_id, packed_directory, unpack_directory
from fasttune.executors.ray_wire import (
    Actor,
    FarEnd,
    FarWire,
    Mail,
    RaySlot,
    actor_options,
    amounts,
    connected,
    how_many_fit,
    largest_node,
)
from fasttune.executors.slot import Slot
from fasttune.extras import installed
from fasttune.folder import WRITING
from fasttune.once import warn_in_run
from fasttune.out_of_band import Buffers
from fasttune.trial_checkpoints import index_of
from fasttune.working_directory import working_directory

if TYPE_CHECKING:
    from fasttune.executors.server import Server

MOST_ASKED_FOR = 8  # actors that Ray has been asked for, and has not placed yet
GATHER_S = 0.01  # reports that nobody waits for are gathered so long where they are made
MOST_CALLS = 400.0  # and longer, so that there are not more calls in a second for them
ASK_AGAIN_S = 0.05  # how often it is looked whether there may be more actors
NODES_S = 2.0  # how often it is looked at what nodes there are
STARVED_S = 1.0  # an idle actor of another kind makes room for one that has not been placed for so long
SPAN_S = 0.2  # how long a span should last: a message takes some milliseconds
DEAF_S = 2.0  # an actor that was told to end a worker, and has not for so long, is ended itself
LEAVES_S = 2.0  # the end of a run waits so long for workers that end
SENT = ".sent"  # folder, in that of an experiment on another node, of what trials are to go on from
MOST_LOST = 5  # actors in a row that may be lost before one of them has answered


class RayExecutor(ProcessExecutor):
    """Runs trials in worker processes on the nodes of a Ray cluster."""

    name = "ray"
    holds_memory = pins = measures = False
    elsewhere = True
    span_s: ClassVar[float] = SPAN_S
    slot_class: ClassVar[type[Slot]] = RaySlot

    @classmethod
    def machine(cls) -> Machine:
        return largest_node(connected().nodes())

    @classmethod
    def at(cls, place: ExecutorSite) -> Self:
        return cls(
            place.folder,
            place=lambda request: None,
            free=lambda actor: None,
            give_back=lambda actor, pid: None,
            returning=bool,
            why_lost=lambda actor: "",
            environ_of=lambda actor: {},
            cpus_of=lambda actor: (),
            request=place.request,
            limit=place.limit,
            usage=place.usage,
            first_source=place.first_source,
            worker_limits=place.worker_limits,
        )

    def __init__(self, folder: str, **more: Any) -> None:
        super().__init__(folder, **more)
        self._place, self._free, self._give_back = self._taken, self._given_back, self._given_back
        self._usage = self._in_use
        self._limit = more["limit"]  # a worker costs no open file here
        self._ray: Any = None
        self._actors: list[Actor] = []
        self._idle: list[Actor] = []
        self._ends: dict[int, FarEnd] = {}  # by source, as long as something may come
        self._nodes: list[dict[str, Any]] = []
        self._nodes_at = 0.0
        self._lost_in_a_row = 0
        self._ended = False  # a worker has
        self._sent = 0  # checkpoints
        self._outbox: list[Actor] = []
        self._news: list[int] = []  # sources that have told something since the last turn
        self._perhaps: dict[int, None] = {}  # sources that may be hungry, as far as is known since they last told something
        self._took: list[FarEnd] = []  # what was taken from them is to be released
        self._asked_for_at: tuple[Any, float] = (None, 0.0)  # a request for which actors were asked for, and when
        self._starts = False  # a trial is to begin
        self._refused = False  # a trial was to begin, and there was no place: who waits for one is not idle
        self._token = ""
        self._show: Callable[[str], None] | None = None

    def _take_server(self) -> Server:
        # What is inherited asks it for messages, waits for them and quiets its bell: so much of a Server is here.
        self._mail = Mail()
        return cast("Server", self._mail)

    def pass_prints(self, caught: tuple[int, ...], show: Callable[[str], None], named: bool) -> None:
        self._named = named
        self._caught, self._show = caught, show

    def open(
        self, program: Program, epoch: float, rule: Any, drain: Callable[[], None], turn: Callable[[], None]
    ) -> None:
        self._ray = connected()
        self._outposts = self._ray.remote(Outpost)
        self._varied = any(one.resources != self._request for one in program.trainables)
        self._program = program = replace(program, judged_elsewhere=self._rule is not None)
        for one in program.trainables:
            if isinstance(one.resources, PlacementGroupFactory):
                actor_options(one.resources)
        self._epoch = epoch
        self._total = program.total
        self._begun = 0  # trials that were given to workers
        from numpy import frombuffer, uint8

        buffers = Buffers()
        head = pickled_program(program, buffers)
        pickled = self._ray.put((head, [frombuffer(piece, uint8) for piece in buffers.kept]))
        self._token = self._leave_token()
        environ = {"TUNE_ORIG_WORKING_DIR": working_directory("trials are told it")}
        self._briefing = Briefing(
            version=installed("fasttune") or "",
            boot=boot_id(),
            epoch=epoch,
            now=0.0,
            path=os.path.abspath(self._folder),
            token=self._token,
            durable=program.durable,
            named=self._named,
            prefix=program.prefix,
            script=script.described(),
            sys_path=list(sys.path),
            cwd=environ["TUNE_ORIG_WORKING_DIR"],
            environ=environ,
            watches_memory=self._worker_limits.memory is not None,
        )
        self._pickled = pickled
        if not self._varied:
            self._ask_for(self._request, MOST_ASKED_FOR)

    def _leave_token(self) -> str:
        """By this file outposts know whether the folder that they see is this one."""
        name = f".ray-{os.urandom(8).hex()}"
        with open(os.path.join(self._folder, name), "xb"):
            pass
        return name

    def shared_rule(self, program: Program) -> Any:
        self._rule = program.rule.build()
        return self._rule

    # -- actors --------------------------------------------------------------------------------------------------------

    def _taken(self, request: Any) -> Actor | None:
        """An idle actor that has what the request asks for; None: one is asked for, if there may be another one."""
        for actor in self._idle:
            if actor.request == request:
                self._idle.remove(actor)
                return actor
        now = time.monotonic()
        asked, at = self._asked_for_at
        if (request is not asked or now - at > ASK_AGAIN_S) and self._wants_more():
            self._asked_for_at = request, now
            self._ask_for(request, MOST_ASKED_FOR)
        return None

    def _given_back(self, actor: Any, pid: int = 0) -> None:
        if not actor.gone:
            self._idle.append(actor)

    def _wants_more(self) -> bool:
        """There are trials for another one."""
        if self._starts or self._total is None or self._begun < self._total or self._unplaced:
            return True
        return all(slot.exit_code is not None for slot in self._slots.values())  # nobody is left to try a trial again

    def _living(self) -> list[Slot]:
        return [slot for slot in self._slots.values() if slot.exit_code is None]

    def _waiting(self) -> list[Actor]:
        return [actor for actor in self._actors if actor.greeting is None]

    def _ask_for(self, request: PlacementGroupFactory, n: int) -> None:
        """Ask Ray for more actors, ``n`` at most, as long as the nodes could hold them."""
        waiting = self._waiting()
        self._make_room(request, waiting)
        same = sum(actor.request == request for actor in self._actors)
        most = min(how_many_fit(self._look_at_nodes(), request), self._limit)
        if self._total is not None:
            most = min(most, self._total)
        room = min(n, MOST_ASKED_FOR - len(waiting), most - same, self._limit - len(self._actors))
        for _ in range(room):
            self._actors.append(self._asked_for(request))

    def _make_room(self, request: PlacementGroupFactory, waiting: list[Actor]) -> None:
        """An actor that has been waited for for long may wait for what idle ones of other kinds have; and there may be no more."""
        now = time.monotonic()
        starves = any(actor.request == request and now - actor.asked_at > STARVED_S for actor in waiting)
        if starves or len(self._actors) >= self._limit:
            for other in [other for other in self._idle if other.request != request]:
                self._idle.remove(other)
                self._dismiss(other)

    def _look_at_nodes(self) -> list[dict[str, Any]]:
        now = time.monotonic()
        if not self._nodes or now - self._nodes_at > NODES_S:
            self._nodes, self._nodes_at = self._ray.nodes(), now
        return self._nodes

    def _asked_for(self, request: PlacementGroupFactory) -> Actor:
        handle = self._outposts.options(**actor_options(request)).remote()
        actor = Actor(handle, request, time.monotonic(), self._outbox)
        cpus = str(max(1, int(amounts(request).get("CPU", 0.0))))
        environ = {**{name: cpus for name in THREAD_VARIABLES if name not in os.environ}, **self._briefing.environ}
        orders = self._briefing._replace(environ=environ, now=time.time())
        self._mail.expect("greeted", actor, handle.greet.remote(orders, self._pickled))
        return actor

    def _dismiss(self, actor: Actor) -> None:
        """It is not needed any more."""
        actor.gone = "it was not needed any more"
        self._actors.remove(actor)
        with suppress(Exception):  # it may have gone already
            self._ray.kill(actor.handle)

    def _lose(self, actor: Actor, why: str) -> None:
        """It is gone, or of no use: its worker's trials end with it."""
        if actor.gone:
            return
        self._dismiss(actor)
        actor.gone = why
        if actor in self._idle:
            self._idle.remove(actor)
        for slot in self._slots.values():
            if slot.placement is actor and slot.exit_code is None:
                self._ended = True
                self._stillborn += not slot.wire.up.head
                self._begun -= slot.busy  # what ran there may be tried again
                slot.exit_code = -signal.SIGKILL
                slot.fate = f"The Ray actor of this trial, or its node, was lost: {why}"
        if self._stillborn >= MOST_LOST:  # their trials would be given out for ever
            raise TuneError(
                f"{self._stillborn} Ray actors in a row were lost before it was heard of a trial in them that it had begun; the last "
                f"one: {why}. Does a trial end its parent processes, or its node?"
            )

    # -- slots ---------------------------------------------------------------------------------------------------------

    def _start_worker(self, source: int, request: Any, placement: Any) -> Slot:
        actor: Actor = placement
        actor.send("begin", source)
        wire = FarWire(actor, source, self._program.durable)
        self._ends[source] = wire.up
        self._perhaps[source] = None
        return RaySlot(source, 0, cast(Any, wire), "", actor, request)

    def _await_worker(self, slot: Slot) -> None:
        """It is told when it is there; what it is given goes behind it."""

    def _is_worn(self, slot: Slot) -> bool:
        limits = self._worker_limits
        if not limits.are_some or slot.suspended:
            return False
        if limits.memory is not None and slot.wire.up.memory > limits.memory:  # type: ignore[attr-defined]
            return True
        return limits.trials is not None and slot.wear.trials >= limits.trials

    def _remove(self, slot: Slot) -> None:
        self._ends.pop(slot.source, None)

    def _last_words(self, slot: Slot) -> str:
        assert isinstance(slot, RaySlot)
        return slot.words

    def _reason(self, slot: Slot, text: str) -> str:
        assert isinstance(slot, RaySlot)
        return slot.why

    # -- work ----------------------------------------------------------------------------------------------------------

    def run_span(self, experiment: int, first: int, n: int, local: int) -> None:
        super().run_span(experiment, first, n, local)
        self._begun += n

    def room(self) -> int:
        self._place_waiting()
        room = super().room()
        if room == 0 and len(self._unplaced) < len(self._waiting()):
            return 1  # it is begun as soon as Ray has a place
        return room

    def _place_waiting(self) -> None:
        """Spans that were taken before there was a worker for them."""
        while self._unplaced and ((slot := self._hungriest()) is not None or self._could_start()):
            self._next_slot = slot
            super().run_span(*self._unplaced.popleft())

    def start(self, job: Job) -> bool:
        self._starts = True
        try:
            started = super().start(job)
        finally:
            self._starts = False
        self._begun += started
        self._refused = not started
        return started

    def _as_found_by(self, slot: Slot, job: Job) -> Job:
        """Where the experiment's folder is another one, the checkpoint that it goes on from is sent ahead."""
        actor: Actor = slot.placement
        assert actor.greeting is not None, "a slot is in an actor that has answered"
        if actor.greeting.shared:
            return job
        if job.attempt or job.checkpoint is not None:
            job = job._replace(next_checkpoint=self._next_checkpoint(job))
        if not isinstance(job.checkpoint, str):
            return job
        self._sent += 1
        path = os.path.join(SENT, str(self._sent), os.path.basename(job.checkpoint))
        actor.send("files", job.trial, path, packed_directory(job.checkpoint))
        return job._replace(checkpoint=os.path.join(actor.greeting.folder, path))

    def _next_checkpoint(self, job: Job) -> int:
        """One after the last one that this trial has here. The folder there has only what was made there."""
        names: set[str] = set()
        for one in os.scandir(self._folder):
            if one.is_dir() and (one.name == job.dirname or f"_{self._program.prefix}_{job.trial:05d}" in one.name):
                names.update(os.listdir(one.path))
        return max((index_of(name, -1) for name in names), default=-1) + 1

    def rebalance(self) -> bool:
        """Ask the worker that has most for half of it; it goes to whoever is free when it comes."""
        hungry = self._hungriest()
        if hungry is None or hungry.busy:
            return False
        rich = max((slot for slot in self._slots.values() if isinstance(slot, RaySlot) and not slot.shares and slot is not hungry),
                   key=lambda slot: slot.wire.up.left, default=None)  # fmt: skip
        if rich is not None and rich.wire.up.left > 0:
            rich.shares = True
            rich.placement.send("take_back", rich.source, False)
        return False

    def withdraw(self) -> list[int]:
        self._unplaced.clear()
        for slot in self._slots.values():
            slot.placement.send("take_back", slot.source, True)
        return []

    def stop(self, trial: int) -> None:
        for slot in self._slots.values():
            if isinstance(slot, RaySlot) and slot.may_have(trial):
                slot.placement.send("stop", slot.source, trial)

    def kill(self, trial: int) -> None:
        now = time.monotonic()
        for slot in list(self._slots.values()):
            if not isinstance(slot, RaySlot) or not slot.may_have(trial) or slot.exit_code is not None:
                continue
            if not slot.kill_at:
                slot.kill_at = now
            if now - slot.kill_at > DEAF_S:
                self._lose(slot.placement, "it was told to end the worker, and did not")
            else:
                slot.placement.send("kill", slot.source, trial)

    # -- the turn ------------------------------------------------------------------------------------------------------

    def poll(self, timeout: float) -> list[Batch]:
        """As inherited, but that nothing is asked of workers that have told nothing: there may be a thousand."""
        self._post_all()
        if timeout > 0:
            self._mail.wait(timeout)
        self._mail.quiet_bell()
        self._hear_all()
        batches: list[Batch] = []
        news, self._news = self._news, []
        for source in news:
            slot = self._slots.get(source)
            if slot is not None:
                self._take_from(slot, batches)
                if slot.job >= 0 and not slot.busy:
                    slot.job = -1
        for slot in self._left_over:
            self._take_from(slot, batches)
        if self._ended:
            self._ended = False
            self._bury(batches)
        self._place_waiting()
        self._post_all()
        return batches

    def _take_from(self, slot: Slot, batches: list[Batch]) -> None:
        before = len(batches)
        self._take(slot, batches)
        if len(batches) > before:
            self._took.append(self._ends[slot.source])

    def release(self) -> None:
        for end in self._took:
            end.release()
        self._took.clear()
        self._release_left_over()

    def _perhaps_hungry(self) -> Iterable[Slot]:
        for source in tuple(self._perhaps):
            slot = self._slots.get(source)
            if slot is not None and slot.is_hungry:
                yield slot
            else:  # until it tells something
                del self._perhaps[source]

    def _post_all(self) -> None:
        for actor in self._outbox:
            actor.post()
        self._outbox.clear()

    def _hear_all(self) -> None:
        while self._mail.has_message(0.0):
            self._note(self._mail.hear())

    def _note(self, message: tuple[Any, ...]) -> None:
        kind, actor, what = message
        if actor.gone:
            return
        if isinstance(what, BaseException):
            self._note_lost(actor, what)
        elif kind == "greeted":
            self._lost_in_a_row = 0
            self._refused = False
            actor.greeting = what
            self._idle.append(actor)
            self._listen_to(actor)
        else:
            self._note_told(actor, what)
            if not actor.gone and not self._halted:
                self._listen_to(actor)

    def _listen_to(self, actor: Actor) -> None:
        """A call costs this process most of a millisecond (`benchmarks/cluster_loop.py --ray`): many actors gather longer, each."""
        gather_s = max(GATHER_S, len(self._actors) / MOST_CALLS)
        self._mail.expect("told", actor, actor.handle.listen.remote(gather_s))

    def _note_lost(self, actor: Actor, error: BaseException) -> None:
        why = " ".join(str(getattr(error, "cause", None) or error).split())
        never_answered = actor.greeting is None
        self._nodes_at = 0.0  # there may be fewer nodes
        self._lose(actor, why[:1000])
        if not never_answered or self._halted:
            return
        self._lost_in_a_row += 1
        ours = isinstance(error, getattr(self._ray.exceptions, "RayTaskError", ()))  # raised by what we run there
        if (ours and not self._idle and not self._living()) or self._lost_in_a_row >= MOST_LOST:
            raise TuneError(
                f"no Ray actor could begin to run trials: {why[:2000]}. Is fasttune installed on all nodes, with what the script "
                "imports?"
            )
        warn_in_run(
            f"a Ray actor could not begin to run trials, another one is asked for: {why[:300]}", RuntimeWarning, stacklevel=2
        )

    def _note_told(self, actor: Actor, told: Dispatch) -> None:
        for number, text in ((1, told.prints), (2, told.errors)):
            if text and self._show is not None and number in self._caught:
                self._show(text)
            elif text:
                _print(text, sys.stdout if number == 1 else sys.stderr)
        end = self._ends.get(told.source)
        if end is not None:
            for path, archive in told.files:
                self._keep(path, archive)
            records = told.records
            self._stillborn = 0 if records else self._stillborn
            if records and self._rule is not None:
                records, answers = _core.judge_records(self._rule, records)
                for trial, decision, judgement in answers:
                    tag = judgement.to_bytes(8, "little")
                    actor.send("order", told.source, _core.KIND_ANSWER, trial, _core.NEVER_ASK, tag, decision)
            end.arrived(told, records)
            self._news.append(told.source)
            self._perhaps[told.source] = None
        for event in told.events:
            self._note_event(actor, *event)

    def _note_event(self, actor: Actor, kind: str, source: int, *what: Any) -> None:
        slot = self._slots.get(source)
        if not isinstance(slot, RaySlot):
            return
        if kind == "forked":
            slot.pid = what[0]
        elif kind == "taken":
            slot.shares = False
            if what[0] is not None:
                first, limit = what[0]
                slot.given = [(a, min(b, first)) if a <= first < b else (a, b) for a, b in slot.given]
                experiment, local = self._chunk_of(first)
                self._unplaced.append((experiment, first, limit - first, local))
        elif kind == "exit":
            self._ended = True
            slot.exit_code, slot.words, why = what
            host = "" if actor.greeting is None else f"(on {actor.greeting.host}) "
            slot.why = why.replace(" of this trial ", f" of this trial {host}", 1)
        else:
            self._lose(actor, f"no worker process could be started there: {what[-1]}")

    def _keep(self, path: str, archive: bytes) -> None:
        """A checkpoint that was saved on another node comes into the experiment's folder before its record is seen."""
        from fasttune.checkpoint import flush_directory
        from fasttune.plain_files import is_own_path

        if not is_own_path(path):
            raise TuneError(f"an actor sends a checkpoint that would lie outside of the experiment's folder: {path!r}")
        target = os.path.join(self._folder, path)
        unpack_directory(archive, target, os.path.join(self._folder, WRITING))
        if self._program.durable:
            flush_directory(target, self._folder)

    def _in_use(self) -> str:
        busy = sum(slot.busy or slot.job >= 0 for slot in self._slots.values())
        waiting = len(self._waiting())
        asked = f", {waiting} asked for" if waiting else ""
        return f"{busy}/{len(self._actors) - waiting} Ray actors busy{asked}"

    @property
    def idle(self) -> bool:
        return super().idle and not (self._refused and self._waiting())

    # -- the end -------------------------------------------------------------------------------------------------------

    def halt(self) -> None:
        if self._halted:
            return
        for slot in self._slots.values():
            if slot.busy:
                slot.placement.send("kill", slot.source, -1)
            else:
                slot.wire.down.write(_core.KIND_EXIT)
        self._post_all()
        deadline = time.monotonic() + LEAVES_S
        while self._living() and (left := deadline - time.monotonic()) > 0:
            if self._mail.has_message(left):
                self._note(self._mail.hear())
                self._post_all()
        self._halted = True

    def close(self) -> None:
        self.halt()
        if self._closed:
            return
        self._closed = True
        for slot in list(self._slots.values()):
            self._forget(slot)
        self._left_over.clear()
        self._ends.clear()
        if self._ray is not None:
            self._dismiss_all()
        if self._token and not self._leaves_files:
            with suppress(OSError):
                os.unlink(os.path.join(self._folder, self._token))
        self._mail.close()

    def _dismiss_all(self) -> None:
        """They remove what lies with them, if they answer; then they end."""
        leaving = [actor.handle.leave.remote() for actor in self._actors if actor.greeting is not None]
        with suppress(Exception):  # lost just now, or by a Ctrl-C
            self._ray.wait(leaving, num_returns=len(leaving), timeout=LEAVES_S)
        for actor in list(self._actors):
            self._dismiss(actor)


def _print(text: str, stream: TextIO | None) -> None:
    """Where this process's own goes, if it has such a stream."""
    if stream is not None:
        stream.write(text)
        stream.flush()
