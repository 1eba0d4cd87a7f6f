"""What runs in the worker processes, and the light server that forks them.

The server is a fresh interpreter that has imported the core and nothing of the user's, so a fork takes about a
millisecond and never copies threads, CUDA contexts or the driver's memory. It starts workers, collects their exit
status and ends with the driver: when its socket closes, it kills every worker's process group.
"""

from __future__ import annotations

import fcntl
import gc
import mmap
import os
import pickle
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fasttune import _core, nesting
from fasttune.executors import stand_in
from fasttune.executors.base import Job, Reply
from fasttune.executors.ring_file import by_pages
from fasttune.executors.streams import Streams, catch_streams
from fasttune.executors.thread_pools import follow_environment
from fasttune.executors.threads import follow_threads
from fasttune.executors.wire import CANNOT_LOAD, FILE_BYTES, Wire
from fasttune.processes import children_of, family

if TYPE_CHECKING:
    from fasttune.executors.suspension import Suspension

LENGTH = 4  # bytes of a message's length on the control socket
LOOK_S = 1.0  # the server looks this often whether the driver is still there
COUNTED = (_core.KIND_RUN, _core.KIND_RUN_ONE, _core.KIND_CONTINUE)  # orders that occupy the worker


def send(sock: socket.socket, message: Any) -> None:
    """One message over the control socket."""
    data = pickle.dumps(message)
    sock.sendall(len(data).to_bytes(LENGTH, "little") + data)


def receive(sock: socket.socket) -> Any:
    """The next message; None when the other side has gone."""
    head = _read(sock, LENGTH)
    if head is None:
        return None
    data = _read(sock, int.from_bytes(head, "little"))
    return None if data is None else pickle.loads(data)


def send_files(sock: socket.socket, fds: Sequence[int]) -> None:
    """Hand over open files, behind the message that they belong to."""
    socket.send_fds(sock, [b"|"], fds)


def receive_files(sock: socket.socket, n: int) -> list[int]:
    """The ``n`` files that the other side handed over; none if it has gone, or not all could be taken."""
    _, fds, _, _ = socket.recv_fds(sock, 1, n)
    for fd in fds:
        os.set_inheritable(fd, False)
    if len(fds) == n:
        return fds
    for fd in fds:
        os.close(fd)
    return []


def _read(sock: socket.socket, n: int) -> bytes | None:
    data = b""
    while len(data) < n:
        try:
            part = sock.recv(n - len(data))
        except ConnectionError:
            return None
        if not part:
            return None
        data += part
    return data


# -- the server --------------------------------------------------------------------------------------------------------


def serve(control_fd: int, bell_fd: int, rules_fd: int, preload: tuple[str, ...] = ()) -> None:
    """Fork workers as the driver asks, report how they end, for one run after the other; returns when the driver has gone."""
    sock = socket.socket(fileno=control_fd)
    _load(preload)
    gc.enable()  # nothing that is loaded goes again: to look for it took a twelfth of the time until here
    driver = os.getppid()
    wake = _prepare_signals()
    _core.adopt_orphans()
    while (setup := _next_run(sock, driver)) is not None:
        if setup["served"] and not _take_files(sock, rules_fd, setup["streams"]):
            return
        sys.path[:] = setup["path"]
        _go_to(setup["cwd"])
        gc.collect()
        gc.freeze()
        if not _serve_run(sock, setup, wake, bell_fd, rules_fd):
            return
        _let_go_of_streams()
        _tell(sock, ("rested",))


def _prepare_signals() -> int:
    """A pipe from which can be read when a child has ended."""
    wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
    os.set_blocking(wake_w, False)
    os.set_blocking(wake_r, False)
    signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    # ends the driver's run softly, which ends us; a handler, because what trials start would inherit that it is ignored
    signal.signal(signal.SIGUSR1, lambda *_: None)
    return wake_r


def _next_run(sock: socket.socket, driver: int) -> Any:
    """What the next run is; None when there will be none."""
    import select

    while True:
        while not select.select([sock], [], [], LOOK_S)[0]:
            if os.getppid() != driver:
                return None  # killed, while a process that it had forked keeps the socket open
        order = receive(sock)
        if order is None or isinstance(order, dict):
            return order
        _let_go_of_streams()  # the run has ended before it began
        _tell(sock, ("rested",))


def _take_files(sock: socket.socket, rules_fd: int, streams: list[int]) -> bool:
    """The memory of this run's shared rule and its standard streams take the places of those of the run before. Whether they
    have come."""
    fds = receive_files(sock, 1 + len(streams))
    if not fds:
        return False
    for closed in {0, 1, 2}.difference(streams):
        with suppress(OSError):
            os.close(closed)
    for fd, place in zip(fds, [rules_fd, *streams], strict=True):
        os.dup2(fd, place, inheritable=place != rules_fd)
        os.close(fd)
    return True


def _go_to(folder: str) -> None:
    """Be where the driver is: also where that may not be entered any more, if this process is there already."""
    with suppress(OSError):
        if os.getcwd() == folder:
            return
    os.chdir(folder)


def _let_go_of_streams() -> None:
    """Whoever reads what the driver has written into a pipe waits until nobody has that open any more."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        if fd != null:
            os.dup2(null, fd)
    if null > 2:
        os.close(null)


def _serve_run(sock: socket.socket, setup: dict[str, Any], wake: int, bell_fd: int, rules_fd: int) -> bool:
    """Fork and kill until the run is over; whether there may be another one."""
    import select

    alive: set[int] = set()
    sources: list[socket.socket | int] = [sock, wake]
    try:
        while True:
            ready, _, _ = select.select(sources, [], [], LOOK_S)
            if os.getppid() != setup["driver"]:
                return False
            if wake in ready:
                _drain(wake)
                _collect(sock, alive)
            if sock in ready:
                order = receive(sock)
                if order is None or order[0] == "end":
                    return False
                if order[0] == "rest":
                    _end_all(alive)
                    alive.clear()
                    return True
                if order[0] == "fork":
                    pipes = receive_files(sock, setup.get("pipes", 1)) if setup["caught"] else []
                    pid = _fork(sock, order, setup, bell_fd, rules_fd, pipes)
                    for pipe in pipes:
                        os.close(pipe)
                    if pid:
                        alive.add(pid)
                elif order[0] == "kill" and order[1] in alive:
                    _kill_family(order[1])
    finally:
        _end_all(alive)


def _load(names: tuple[str, ...]) -> None:
    """Load here, once, what every worker needs: nothing of the user's, nothing that starts a thread."""
    import faulthandler  # noqa: F401
    import importlib

    import cloudpickle  # noqa: F401

    import fasttune.executors.host
    import fasttune.trainable  # noqa: F401

    for name in names:
        with suppress(ImportError):  # found by what the driver has put on sys.path: workers load it themselves
            importlib.import_module(name)


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        pass


def _tell(sock: socket.socket, told: tuple[Any, ...]) -> None:
    """Tell the driver. One that was killed does not hear it, and its end is seen at the next look."""
    with suppress(OSError):
        send(sock, told)


def _collect(sock: socket.socket, alive: set[int]) -> None:
    """Tell the driver of every worker that has ended; what it had started itself ends with it."""
    while alive:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid not in alive:  # one of an ended worker's own
            continue
        alive.discard(pid)
        _kill_group(pid)
        _tell(sock, ("exit", pid, os.waitstatus_to_exitcode(status)))


def _end_all(alive: set[int]) -> None:
    """Kill the workers and everything they have started, and wait until they have gone: then nobody writes any more.

    What left its worker's process group has become the server's own child when its parent died.
    """
    for pid in alive:
        _kill_group(pid)
    for pid in alive:
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
    while left := children_of(os.getpid()):
        for pid in left:
            _kill_group(pid)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _kill_family(pid: int) -> None:
    """End a worker that does not listen, and all that it has started, also what has left its process group: who ends a trial for
    what it uses does not leave that in use."""
    for one in family(pid):  # which are listed before the first of them is killed
        _kill_group(one)


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _fork(
    sock: socket.socket, order: tuple[Any, ...], setup: dict[str, Any], bell_fd: int, rules_fd: int, pipes: list[int]
) -> int:
    """Fork a worker, and tell the driver its process id, or why there is none (then 0 is returned)."""
    _, source, path, environ, cpus = order
    server = os.getpid()
    _wear(environ)
    try:
        pid = os.fork()
    except OSError as error:  # too many processes, or no memory: the workers that there are go on
        _tell(sock, ("failed", source, error.errno, error.strerror))
        return 0
    if pid:
        _tell(sock, ("forked", source, pid))
        return pid
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.setpgid(0, 0)
        sock.close()
        _core.die_with_parent()
        if cpus:
            with suppress(OSError):  # a cpuset may have changed since
                os.sched_setaffinity(0, cpus)
        if pipes:
            catch_streams(pipes, setup["caught"])
        if os.getppid() == server:
            status = work(path, setup, bell_fd, rules_fd)
    except BaseException:
        _leave_word(path)
    finally:
        _core.leave_process(status)  # whatever it was: coming back into the server's code would end the other workers


_worn: list[dict[str, str]] = []  # the environment of the last worker that was forked


def _wear(environ: dict[str, str]) -> None:
    """Have the environment of the worker that is forked next, which finds it there: to set it costs a worker copies of a hundred
    pages, and most of them have the same."""
    before = _worn.pop() if _worn else dict(os.environ)
    if environ != before:
        for name in before.keys() - environ.keys():
            del os.environ[name]
        for name, value in environ.items():
            if before.get(name) != value:
                os.environ[name] = value
    _worn.append(environ)


def _leave_word(path: str) -> None:
    """Write the exception that ends this process to where the driver looks for a worker's last words."""
    import traceback

    with suppress(BaseException), open(_notes_of(path), "a", encoding="utf-8", errors="backslashreplace") as file:
        traceback.print_exc(file=file)


def _notes_of(path: str) -> str:
    """The file of last words beside a ring."""
    return path.removesuffix(".ring") + ".err"


# -- a worker ----------------------------------------------------------------------------------------------------------


def work(path: str, setup: dict[str, Any], bell_fd: int, rules_fd: int) -> int:
    """Run trials as the ring at ``path`` brings them, until told to exit. Returns the exit status."""
    with open(path, "r+b") as file:
        with suppress(OSError):  # a file system without locks
            # as long as the mapping below: whoever recovers the ring waits for our end
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink == 0:
            return 0  # the driver has died meanwhile, and somebody else has taken over what it left
        wire = Wire(by_pages(mmap.mmap(file.fileno(), FILE_BYTES)), create=False, bell_fd=bell_fd)
    _explain_crashes(_notes_of(path))
    follow_environment()
    streams = Streams(setup["named"], setup["caught"])
    try:
        with nesting.loading():
            stand_in.take_place_of(setup["script"])
            program = _loaded(setup["program"])
    except BaseException:
        _leave_word(path)
        return CANNOT_LOAD
    program.path = setup.get("folder", program.path)
    rule = None
    if program.rule.kind != "none" and not program.asks:
        rule = program.rule.build() if program.judged_elsewhere else program.rule.build(rules_fd, create=False)
    worker_for(program)(wire, program, rule, streams).run()
    return 0


def _loaded(places: list[tuple[Any, ...]]) -> Any:
    """The program, whose pickle is in the first place."""
    if len(places) > 1:
        from functools import partial

        from fasttune.out_of_band import Place, load

        return load([Place(*place) for place in places], partial(stand_in.loads, program=True))
    with open(places[0][0], "rb") as file:  # most programs: nothing is loaded for them, and nothing mapped
        return stand_in.loads(file.read(), program=True)


def worker_for(program: Any) -> type[Worker]:
    """What runs its trials: one after the other, or as the executor has said."""
    if not program.worker:
        return Worker
    from importlib import import_module

    module, _, name = program.worker.partition(":")
    found: type[Worker] = getattr(import_module(module), name)
    return found


def _explain_crashes(path: str) -> None:
    """Where the Python stack goes when the process is killed by a fault of its own."""
    import faulthandler

    faulthandler.enable(open(path, "w", encoding="utf-8"))  # noqa: SIM115 - open as long as the process lives


class Worker:
    """Takes work from the ring down, runs it, reports up.

    ``suspends``: trials that are paused are left inside their report.
    """

    suspends = True

    def __init__(self, wire: Wire, program: Any, rule: Any, streams: Streams) -> None:
        from fasttune.executors.host import Host

        self.wire = wire
        self.reporter = program.reporter(wire.up, rule)
        self._belong()
        self.program = program
        until_stored = self._until_stored if program.durable else None
        self.host = Host(program, self.reporter, self._wait, self._flush, until_stored=until_stored)
        self.host.alone, self.host.gauge = True, wire.gauge
        self._orders: deque[tuple[Any, ...]] = deque()
        self._answers: dict[int, Reply] = {}
        self._judgements: dict[int, int] = {}  # where trials stand that are answered, if their reports were judged elsewhere
        self._exit = False
        self._streams = streams
        self._left: Suspension | None = None
        if program.pauses and self.suspends:
            from fasttune.executors.suspension import Suspension

            self._left = Suspension(self.host)

    def _belong(self) -> None:
        """This process is the trial that runs."""
        self.reporter.bind(True)
        follow_threads()

    def run(self) -> None:
        """Carry out orders; those that start or resume a trial are counted when they are done. The loop is called when
        none is left."""
        up = self.wire.up
        while (message := self._next()) is not None:
            self._carry_out(*message)
            self._streams.mend()
            self._streams.leave_mark(self.reporter.trial)
            if message[0] in COUNTED:
                up.order_done()
            if not self._orders:
                up.call()
        if self._left is not None:
            self._left.drop_all()
        self.host.close()
        self._streams.mend()

    def _carry_out(
        self, kind: int, flags: int, schema: int, trial: int, step: int, time: float, payload: bytes
    ) -> None:
        if kind == _core.KIND_RUN:
            experiment, local = int.from_bytes(payload[:4], "little"), int.from_bytes(payload[4:8], "little")
            self.wire.up.set_span(trial, trial + step)
            self._run_span(experiment, trial - local)
        elif kind == _core.KIND_RUN_ONE:
            self._run(pickle.loads(payload))
        elif self._left is not None and trial in self._left.paused:
            if kind == _core.KIND_DISCARD:
                self._left.drop(trial)
            elif kind == _core.KIND_SAVE:
                self._left.enter(trial, Reply(_core.PAUSE, save=True))
            else:
                self._left.enter(trial, Reply(_core.CONTINUE, step))

    def _run_span(self, experiment: int, shift: int) -> None:
        if not self.program.pauses:
            self.host.run_span(experiment, shift)
            return
        while (trial := self.wire.up.next_trial()) >= 0:
            self._run(Job(trial, experiment, trial - shift))

    def _run(self, job: Job) -> None:
        if self._left is None:
            self.host.run(job, urgent=False)
        else:
            self._left.begin(job)

    # -- waiting -------------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Wait for the loop; its answers and its orders are sorted apart."""
        if not self.wire.down.wait(1.0):
            return
        while (data := self.wire.down.take()) is not None:
            for message in _core.decode(data):
                if message[0] == _core.KIND_ANSWER:
                    flags = message[1]
                    self._answers[message[3]] = Reply(flags & 7, message[4], bool(flags & _core.SAVE))
                    if message[6]:  # it was judged elsewhere
                        self._judgements[message[3]] = int.from_bytes(message[6], "little")
                elif message[0] == _core.KIND_EXIT:
                    self._exit = True
                else:
                    self._orders.append(message)
            del data
        self.wire.down.release()

    def _next(self) -> tuple[Any, ...] | None:
        while not self._orders and not self._exit:
            self._receive()
        return self._orders.popleft() if self._orders and not self._exit else None

    def _wait(self) -> int:
        """Inside a trial's report: block until the loop has answered; a pause leaves the trial here."""
        trial = self.reporter.trial
        while trial not in self._answers:
            if self._exit:
                return _core.STOP
            self._receive()
        answer = self._answers.pop(trial)
        if self._left is not None:
            return self._left.carry_out(answer)
        if answer.save:
            self.host.save_now()
        if trial in self._judgements:
            self.reporter.judged(self._judgements.pop(trial), answer.decision)
        self.reporter.ask_again_from(answer.ask_from)
        return answer.decision

    def _flush(self) -> None:
        """Wait until the loop has made room in the ring."""
        import time

        self.wire.up.call()
        time.sleep(0.0002)

    def _until_stored(self) -> None:
        """Inside a trial's report: wait until the loop has brought it to the disk. It is called at once, and takes with it
        what other workers have reported while the disk was busy."""
        import time

        up = self.wire.up
        position, nap = up.head, 0.0001
        while up.released < position and not self.host.leaving:
            up.call()
            time.sleep(nap)
            nap = min(0.001, 1.5 * nap)
