"""What an actor of :mod:`fasttune.executors.ray` is: an outpost on its node, between a worker process there and the driver.

A worker is the same as on the driver's machine (:mod:`fasttune.executors.worker`): forked by a light server, fed through two rings
in memory. The outpost carries what is in them to the driver and back, in batches: what trials wrote, what they print, how workers
end. So a trial runs in the main thread of a process of its own, a report costs what it costs anywhere, and one that crashes ends
neither the actor nor what Ray has placed.

    greet    what the run is; where this is, and whether the driver's folder is here, too
    tell     messages of the driver, in the order of their numbers: orders for the worker, another worker, an end
    listen   returns when there is something to tell, or when nothing was for a while

Nothing here needs Ray. Methods are called in threads of their own: one listens, others tell.
"""

from __future__ import annotations

import io
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple

from fasttune import _core, nesting
from fasttune.checkpoint import rename_over
from fasttune.devices.cgroups import MemoryKills
from fasttune.executors.prints import Prints
from fasttune.executors.program_file import ProgramFile
from fasttune.executors.ring_file import map_file, remove_ring
from fasttune.executors.server import MARK, Server
from fasttune.executors.wear import LOOK_S as MEMORY_LOOK_S
from fasttune.executors.wear import own_memory
from fasttune.executors.wire import FILE_BYTES, Wire
from fasttune.extras import installed
from fasttune.processes import is_running

RESTS_S = 0.5  # how often an outpost without one looks around; it is called when there is something
LISTEN_S = 10.0  # a driver that has heard nothing for so long asks again
LEAVES_S = 2.0  # a worker that is told to leave, and has nothing to do, has so long
PREFIX = "fasttune-ray-"  # of the folders in which outposts keep their rings
PAST_WORDS = 8000  # bytes of what a worker left to be read when it died


class Briefing(NamedTuple):
    """What a driver says to an outpost first."""

    version: str  # of fasttune
    boot: str  # which machine the driver's is, since when
    epoch: float  # unix time less the monotonic clock, there
    now: float  # unix time there
    path: str  # the experiment's folder there
    token: str  # the name of a file in it
    durable: bool
    named: bool  # lines that trials print bear the trial's name
    prefix: str  # of the ids of trials
    script: dict[str, Any]
    sys_path: list[str]
    cwd: str
    environ: dict[str, str]  # what the environment of workers has besides that of the actor
    watches_memory: bool


class Greeting(NamedTuple):
    """What it answers."""

    pid: int
    host: str
    folder: str  # of the experiment, here
    shared: bool  # that is the driver's


class Dispatch(NamedTuple):
    """What has happened in one worker, and around it."""

    source: int = -1
    position: int = 0  # of the ring, behind the records
    orders: int = 0  # that it has carried out
    left: int = 0  # trials of its span that it has not begun
    busy: int = -1  # the trial that runs
    memory: int = 0  # bytes of its own, where somebody asked
    records: bytes = b""
    files: tuple[tuple[str, bytes], ...] = ()  # checkpoints that the records name, as (path in the experiment's folder, archive)
    prints: str = ""  # what trials have written to their standard output
    errors: str = ""  # and to standard errors
    events: tuple[tuple[Any, ...], ...] = ()  # ("forked", source, pid), ("failed", ...), ("exit", ...), ("taken", ...)


def boot_id() -> str:
    """Which machine this is, since it was started: there the monotonic clock is the same for all processes."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{socket.gethostname()} {file.read().strip()}"
    except OSError:
        return f"{socket.gethostname()} {os.getpid()}"  # nobody else's


# -- checkpoints on their way --------------------------------------------------------------------------------------------


def packed_directory(path: str) -> bytes:
    """A directory with all that is in it, as one piece. Links are followed."""
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", dereference=True) as archive:
        archive.add(path, arcname=".")
    return out.getvalue()


def unpack_directory(data: bytes, target: str, staging: str) -> None:
    """Make ``target`` of what ``packed_directory`` made: all of it, or nothing. ``staging`` is a folder of the same file system."""
    import shutil
    import tarfile

    os.makedirs(staging, exist_ok=True)
    unfinished = tempfile.mkdtemp(prefix="arrived_", dir=staging)
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.extractall(unfinished, filter="data")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        rename_over(unfinished, target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def directories_in(records: bytes) -> list[tuple[int, str]]:
    """(trial, path in the experiment's folder) of the checkpoints that are directories and that these records name."""
    if b"checkpoint_" not in records:
        return []
    return [
        (trial, payload.rstrip(b"\0").decode())
        for kind, flags, _, trial, _, _, payload in _core.decode(records)
        if kind == _core.KIND_CHECKPOINT and not flags & _core.HELD
    ]


# -- one worker ----------------------------------------------------------------------------------------------------------


class Post:
    """A worker process here: its rings, its pipe, and how far it is."""

    def __init__(self, source: int, folder: str, epoch: float, bell: int, prints: tuple[Prints, ...]) -> None:
        self.source = source
        self.path = os.path.join(folder, f"{source}.ring")
        os.makedirs(folder, exist_ok=True)  # it goes with the last ring
        self.pid = 0
        self.over = threading.Event()
        self.acked = 0  # the driver's journal has the ring up to here
        self.orders_told = 0
        self.memory = 0
        self.memory_at = 0.0
        self.lock = threading.Lock()  # of the ring's reading end
        self.wire = Wire(map_file(self.path, FILE_BYTES), create=True, epoch=epoch, bell_fd=bell)
        up = self.up = self.wire.up
        self.down = self.wire.down
        up.bell_fd = -1
        self.pipes, self.writers = zip(*(one.pipe() for one in prints), strict=True)
        for one, pipe in zip(prints, self.pipes, strict=True):
            one.add(pipe, lambda: up.busy_trial)

    def take(self, durable: bool) -> bytes:
        """The records that were not taken yet. Their room is free again at once, unless they are to be stored first."""
        pieces = []
        with self.lock:
            while (data := self.up.take()) is not None:
                pieces.append(bytes(data))
                del data
            if not durable:
                self.up.release()
        return b"".join(pieces)

    def release(self, position: int) -> None:
        """The journal has all up to there."""
        with self.lock:
            self.acked = max(self.acked, position)
            if self.acked == self.up.position:
                self.up.release()

    def order(self, kind: int, trial: int, step: int, payload: bytes, flags: int) -> None:
        """Hand a message down, as soon as there is room for it."""
        while not self.down.write(kind, trial, step, payload, flags) and not self.over.is_set():
            time.sleep(0.0005)

    def own_memory(self) -> int:
        """Bytes that are the worker's own, looked at now and then."""
        if self.pid and (now := time.monotonic()) - self.memory_at >= MEMORY_LOOK_S:
            self.memory, self.memory_at = own_memory(self.pid), now
        return self.memory

    def last_words(self) -> str:
        try:
            with open(self.path.removesuffix(".ring") + ".err", encoding="utf-8", errors="replace") as file:
                return file.read()[-PAST_WORDS:]
        except OSError:
            return ""

    def remove(self) -> None:
        remove_ring(self.path, whole=True)


class Outpost:
    """An actor: one worker at a time, on behalf of a driver."""

    def __init__(self) -> None:
        self._server: Server | None = None
        self._post: Post | None = None
        self._told = threading.Condition()
        self._waiting: dict[int, list[tuple[Any, ...]]] = {}  # messages that were not carried out yet
        self._failure: BaseException | None = None  # of what was to be carried out: a mistake of ours, or a full disk
        self._events: list[tuple[Any, ...]] = []
        self._printed: tuple[list[str], list[str]] = [], []  # on standard output and errors, and not told yet
        self._prints: tuple[Prints, ...] = ()
        self._memory_kills = MemoryKills()
        self._kept: dict[int, list[str]] = {}  # trial -> its directories here, which the driver has, too
        self._home = ""
        self._left = False

    # -- the run -------------------------------------------------------------------------------------------------------

    def greet(self, said: Briefing, program: tuple[bytes, list[Any]]) -> Greeting:
        """Get ready for workers of this run. RuntimeError if fasttune here is another one than the driver's."""
        if (version := installed("fasttune") or "") != said.version:
            raise RuntimeError(
                f"fasttune {version} is installed on {socket.gethostname()}, and {said.version} where the run was "
                "started: their records are not the same. Install the same one on all nodes"
            )
        self._said = said
        remove_homes_of_the_dead()
        self._home = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")
        shared = is_file_of(said.path, said.token)
        self._folder = said.path if shared else os.path.join(self._home, os.path.basename(said.path))
        self._shared = shared
        os.makedirs(self._folder, exist_ok=True)
        # On another machine the monotonic clock is another one: what time the driver has is known to the length of this call.
        self._epoch = said.epoch if said.boot == boot_id() else said.now - time.monotonic()
        prefix = said.prefix if said.named else None
        self._prints = tuple(Prints(printed.append, prefix) for printed in self._printed)
        head, self._large = program  # arrays that lie in Ray's memory as long as they are held here
        self._program = ProgramFile(head, [memoryview(piece) for piece in self._large], self._home)
        self._server = server = Server()
        for prints in self._prints:
            server.watch(prints.fileno())
        server.begin({
            "path": [*sys.path, *(path for path in said.sys_path if path not in sys.path)],
            "program": self._program.places,
            "driver": os.getpid(),
            "cwd": said.cwd if os.path.isdir(said.cwd) else os.getcwd(),
            "script": said.script,
            "named": said.named,
            "caught": (1, 2),
            "pipes": 2,
            "folder": self._folder,
        })
        threading.Thread(target=self._carry_out, name="fasttune-outpost", daemon=True).start()
        return Greeting(os.getpid(), socket.gethostname(), self._folder, shared)

    def leave(self) -> None:
        """The run is over: end everything, and remove what lies here."""
        import shutil

        with self._told:
            self._left = True
            self._told.notify()
        if self._server is not None:
            self._server.end()
            self._server = None
        if self._home:
            shutil.rmtree(self._home, ignore_errors=True)

    # -- what the driver says ------------------------------------------------------------------------------------------

    def tell(self, number: int, messages: list[tuple[Any, ...]]) -> None:
        """Have messages carried out, behind all earlier ones: calls may come in another order than they were made in, so
        ``number`` counts them, from 0 on."""
        with self._told:
            self._waiting[number] = messages
            self._told.notify()

    def _carry_out(self) -> None:
        """In a thread of its own, so that nobody who tells waits for a ring that is full, or a worker that leaves."""
        number = 0
        while True:
            with self._told:
                self._told.wait_for(lambda: self._left or number in self._waiting)  # noqa: B023 - called before it counts on
                if self._left:
                    return
                messages = self._waiting.pop(number)
            number += 1
            try:
                for what, *told in messages:
                    self._hears[what](self, *told)
            except BaseException as error:
                self._failure = error
            self._call()

    def _call(self) -> None:
        """Who listens may rest for long."""
        if (server := self._server) is not None:
            with suppress(BlockingIOError):
                os.write(server.bell, (1).to_bytes(8, sys.byteorder))

    def _hear_begin(self, source: int) -> None:
        """Another worker, as soon as the one before has ended."""
        assert self._server is not None, "it was greeted"
        before = self._post
        if before is not None and not before.over.wait(LEAVES_S) and before.pid:
            self._server.tell(("kill", before.pid))
            before.over.wait(LEAVES_S)
        environ = {**os.environ, **self._said.environ}
        environ = {**environ, MARK: self._server.mark_within(environ), nesting.DEPTH: nesting.depth_within(environ)}
        post = Post(source, os.path.join(self._home, "rings"), self._epoch, self._server.bell, self._prints)
        self._post = post
        try:
            self._server.tell(("fork", source, post.path, environ, ()), *post.writers)
        finally:
            for writer in post.writers:
                os.close(writer)

    def _hear_order(self, source: int, kind: int, trial: int, step: int, payload: bytes, flags: int) -> None:
        if (post := self._of(source)) is not None:
            if kind == _core.KIND_RUN:
                post.up.set_low_water(step // 2)
            post.order(kind, trial, step, payload, flags)

    def _hear_stop(self, source: int, trial: int) -> None:
        if (post := self._of(source)) is not None and post.up.busy_trial == trial:
            post.up.ask_stop(trial)

    def _hear_kill(self, source: int, trial: int) -> None:
        """End the worker, if this trial runs in it; -1: whatever does."""
        post = self._of(source)
        if post is not None and post.pid and trial in (-1, post.up.busy_trial) and self._server is not None:
            self._server.tell(("kill", post.pid))

    def _hear_released(self, source: int, position: int) -> None:
        if (post := self._of(source)) is not None:
            post.release(position)

    def _hear_take_back(self, source: int, everything: bool) -> None:
        """Trials of its span that have not begun: half of them are for others, or all of them for nobody."""
        post = self._of(source)
        taken = None if post is None else post.up.take_back()
        while everything and taken is not None and post is not None:
            taken = post.up.take_back()
        if not everything:
            self._events.append(("taken", source, taken))

    def _hear_files(self, trial: int, path: str, archive: bytes) -> None:
        """A checkpoint that a trial is to go on from here. It goes when the trial has a newer one."""
        unpack_directory(archive, os.path.join(self._folder, path), os.path.join(self._home, "arrived"))
        self._kept.setdefault(trial, []).append(path)

    _hears: ClassVar[dict[str, Callable[..., None]]] = {
        "begin": _hear_begin,
        "order": _hear_order,
        "stop": _hear_stop,
        "kill": _hear_kill,
        "released": _hear_released,
        "take_back": _hear_take_back,
        "files": _hear_files,
    }

    def _of(self, source: int) -> Post | None:
        """The worker that is meant, if it is still there."""
        post = self._post
        return post if post is not None and post.source == source and not post.over.is_set() else None

    # -- what it says --------------------------------------------------------------------------------------------------

    def listen(self, gather_s: float) -> Dispatch:
        """What has happened since the last call, as soon as something has that somebody waits for: an order that is done, a report
        that wants an answer. All else is gathered for so many seconds, while a trial runs."""
        deadline = time.monotonic() + LISTEN_S
        while not self._left:
            self._sleep(gather_s)
            if self._failure is not None:
                raise self._failure
            told = self._look()
            if told is not None or time.monotonic() >= deadline:
                return told or Dispatch()
        return Dispatch()

    def _sleep(self, gather_s: float) -> None:
        server, post = self._server, self._post
        if server is None or self._events:
            return
        if post is None or post.over.is_set():
            server.wait(RESTS_S)
        else:
            if post.up.sleep_begin():
                server.wait(gather_s if post.up.busy_trial >= 0 else RESTS_S)
            post.up.sleep_end()
        server.quiet_bell()

    def _look(self) -> Dispatch | None:
        """What there is to tell; None: nothing."""
        post = self._post
        told = Dispatch()
        if post is not None and not post.over.is_set():
            told = self._look_at(post)
        self._hear_server()
        for prints in self._prints:
            prints.read()
        events, self._events = tuple(self._events), []
        if events and post is not None and any(event[:2] == ("exit", post.source) for event in events):
            told = self._bury(post, told)
        printed, errors = map("".join, self._printed)
        for one in self._printed:
            one.clear()
        if not (told.records or events or printed or errors or (post is not None and told.orders != post.orders_told)):
            return None
        if post is not None:
            post.orders_told = told.orders
        return told._replace(events=events, prints=printed, errors=errors)

    def _look_at(self, post: Post) -> Dispatch:
        """Words first: what they say of the records is true of those that are taken behind them, or of fewer."""
        up = post.up
        orders, left, busy = up.orders, up.left, up.busy_trial
        records = post.take(self._said.durable)
        memory = post.own_memory() if self._said.watches_memory else 0
        return Dispatch(post.source, up.position, orders, left, busy, memory, records, self._ship(records))

    def _bury(self, post: Post, before: Dispatch) -> Dispatch:
        """It has ended: what it has written since, and printed, is taken, and what lies here removed."""
        rest = self._look_at(post)
        for prints, pipe in zip(self._prints, post.pipes, strict=True):
            prints.read_out(pipe)
            prints.leave(pipe)
        post.over.set()
        post.remove()
        return rest._replace(records=before.records + rest.records, files=before.files + rest.files)

    def _hear_server(self) -> None:
        from fasttune.executors.worker_ends import reason

        server, post = self._server, self._post
        while server is not None and server.has_message(0.0):
            kind, who, *what = server.hear()
            if kind == "forked" and post is not None:
                post.pid = what[0]
                self._events.append(("forked", who, what[0]))
            elif kind == "failed":
                self._events.append(("failed", who, *what))
                if post is not None:
                    post.over.set()
            elif kind == "exit" and post is not None and who == post.pid:
                words = post.last_words()
                self._events.append(("exit", post.source, what[0], words, reason(what[0], words, self._memory_kills)))

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def _ship(self, records: bytes) -> tuple[tuple[str, bytes], ...]:
        """The directories that these records name, for a driver that cannot see them. Of each trial the newest one stays here: it
        may go on from it."""
        if self._shared:
            return ()
        import shutil

        found = directories_in(records)
        files = tuple((path, packed_directory(os.path.join(self._folder, path))) for _, path in found)
        for trial, path in found:
            kept = self._kept.setdefault(trial, [])
            while kept and kept[0] != path:
                shutil.rmtree(os.path.join(self._folder, kept.pop(0)), ignore_errors=True)
            kept[:] = [path]
        return files


def is_file_of(folder: str, token: str) -> bool:
    """Whether the driver's folder is here, too: there is a file of that name in it."""
    return bool(token) and os.path.isfile(os.path.join(folder, token))


def remove_homes_of_the_dead() -> None:
    """Remove what outposts that were killed on this machine have left."""
    import shutil

    above = tempfile.gettempdir()
    for name in os.listdir(above):
        pid = name.removeprefix(PREFIX).partition("-")[0]
        if name.startswith(PREFIX) and pid.isdecimal() and not is_running(int(pid)):
            shutil.rmtree(os.path.join(above, name), ignore_errors=True)
