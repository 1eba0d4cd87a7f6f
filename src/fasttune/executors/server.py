"""The driver's end of the worker processes' fork server.

A server is launched as early as anything is known of a run, so that it gets ready while the run is being set up. It
ends when its socket closes, with all of its workers, so the death of this process takes it along. If it dies itself,
its workers die with it; it can be launched again, on the same bell and the same shared memory.

A server whose run is over rests: it has no workers, and waits for the next run of this process, which then need not wait for an
interpreter to start. There is one at most. It is taken if all that it inherited is as it would be inherited now
(:func:`inheritance`), and ends with this process. Of this process's standard streams it holds none while it rests, or who reads
the other end of a pipe would wait for it; the next run hands them over. ``FASTTUNE_KEEP_SERVER=0`` keeps none.
"""

from __future__ import annotations

import atexit
import errno
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fasttune import nesting
from fasttune.devices.cgroups import process_limits
from fasttune.error import TuneError
from fasttune.once import warn_in_run
from fasttune.processes import is_running, standing_of
from fasttune.working_directory import working_directory

SOURCE = (
    "import gc, sys; gc.disable(); sys.path.insert(0, {folder!r}); "
    "from fasttune.executors.worker import serve; serve(3, 4, 5, {preload!r})"
)
MARK = "FASTTUNE_SERVERS"  # environment: the servers, one within the other, that a process comes from
SCARCE = (errno.EAGAIN, errno.ENOMEM)  # the system has no process to give, now
PAUSES_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)  # before each attempt to get a process, when the system has none to give
SILENT_S = 1.0  # how often the server is looked at while it is waited for
KEEP = "FASTTUNE_KEEP_SERVER"  # environment: "0", no server rests
# Variables that are read when they are needed, here or in workers, which are handed their whole environment: a server need not
# have begun with their values. pytest changes one for each test.
READ_LATE = ("FASTTUNE_", "PYTEST_")
STREAMS = (0, 1, 2)
WORKERS_BEGIN_THERE = "worker processes begin in it (executor='thread' and 'inline' have none)"
INHERITED = (b"Umask", b"SigBlk", b"SigIgn", b"Cap", b"Uid", b"Gid", b"Groups", b"NoNewPrivs", b"Seccomp")  # of /proc/self/status
RESTED_S = 2.0  # a server is given so long to end the workers of a run that is over
KILLED_S = 2.0  # what was killed is waited for so long


class ServerGoneError(TuneError):
    """The server has died. The executor launches it again."""


class _Early(threading.local):
    """The server that waits for the run which this thread sets up."""

    server: Server | None = None
    launched_by = -1  # process


_early = _Early()


@contextmanager
def launched_early(preload: tuple[str, ...] = ()) -> Iterator[None]:
    """Have a server for the run that is set up in the block, in this thread; if the run is refused, it is left.

    ``preload`` names modules that the workers of the run will need, to be loaded once for all of them.
    """
    working_directory(WORKERS_BEGIN_THERE)
    _early.server, _early.launched_by = Server.ready(preload), os.getpid()
    try:
        yield
    finally:
        server = _taken_early()
        if server is not None and server.may_rest:
            server.let_go()
        elif server is not None:
            server.end()


_resting: list[Server] = []  # at most one
_at_exit: list[Any] = []  # whether it is ended when this process ends by itself


def end_resting() -> None:
    """End the server that rests, if there is one."""
    while _resting:
        server = _resting.pop()
        if server.launched_by == os.getpid():
            server.end()
        else:
            server.leave()


def inheritance() -> dict[str, Any]:
    """What a process that is started now gets from this one: a server that got other things is not that of the next run."""
    with suppress(OSError):  # a system without /proc
        with open("/proc/self/status", "rb") as file:
            masks = [line for line in file if line.startswith(INHERITED)]
        with open("/proc/self/cgroup", "rb") as file:
            masks += [file.read(), *_contents("/proc/self/oom_score_adj")]
        return {
            "environment": {name: value for name, value in os.environ.items() if not name.startswith(READ_LATE)},
            "python": (sys.executable, sys.flags, tuple(sys.warnoptions)),
            "streams": [(_identity(fd) is not None, os.isatty(fd)) for fd in STREAMS],
            "files": inherited_files(),
            "root": (os.stat("/").st_dev, os.stat("/").st_ino, os.getsid(0)),
            "cpus": os.sched_getaffinity(0),
            "limits": [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")],
            "priority": os.getpriority(os.PRIO_PROCESS, 0),
            "masks": masks,
        }
    return {}


def inherited_files() -> set[tuple[int, Any]]:
    """What a process that is started now gets besides the standard streams."""
    found = set()
    with suppress(OSError):
        for fd in map(int, os.listdir("/proc/self/fd")):
            with suppress(OSError):  # the one by which the folder was read
                if fd not in STREAMS and os.get_inheritable(fd):
                    found.add((fd, _identity(fd)))
    return found


def _contents(path: str) -> list[bytes]:
    with suppress(OSError), open(path, "rb") as file:
        return [file.read()]
    return []


def _identity(fd: int) -> tuple[int, ...] | None:
    """Which file a descriptor stands for; None if it is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_rdev, found.st_mode


_given = inherited_files()  # to this process


def _taken_early() -> Server | None:
    server, _early.server = _early.server, None
    return server if _early.launched_by == os.getpid() else None


class Server:
    """A fork server: its process, its socket, the bell that workers ring, the memory that a shared rule lives in."""

    def __init__(self, preload: tuple[str, ...] = ()) -> None:
        self.preload = preload
        self.launched_by = os.getpid()
        self._inherited: dict[str, Any] = {}
        self._served = False  # another run: the process has its memory, and no streams
        self.pid = 0  # of the process, until it has been collected
        self.mark = os.urandom(8).hex()
        self._look_at = 0.0  # when wait() looks next at what the process does
        self._watched = -1  # what wait() waits for besides the socket and the bell
        self.bell, self._bell_reader = _bell()
        self.rules_fd = anonymous_file("fasttune-rungs")
        try:
            self.launch()
        except BaseException:
            self.close()
            raise

    def launch(self) -> None:
        """Start the process. TuneError if the system has none to give."""
        import fcntl

        ours, theirs = socket.socketpair()
        self._sock = socket.socket(fileno=_behind_streams(ours.detach()))
        fds: list[int] = []
        try:
            for fd in (theirs.fileno(), self.bell, self.rules_fd):
                # above the numbers that they get in the child, so that none is overwritten there
                fds.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10))
            self.pid = self._spawn([(os.POSIX_SPAWN_DUP2, fd, k + 3) for k, fd in enumerate(fds)])
        except BaseException:
            self._sock.close()
            raise
        finally:
            theirs.close()
            for fd in fds:
                os.close(fd)
        self._inherited, self._served = inheritance(), False
        self._poller = select.poll()
        self._poller.register(self._sock.fileno(), select.POLLIN)
        self._both = select.poll()
        self._both.register(self._sock.fileno(), select.POLLIN)
        self._both.register(self._bell_reader, select.POLLIN)
        if self._watched >= 0:
            self._both.register(self._watched, select.POLLIN)

    def watch(self, fd: int) -> None:
        """From now on wait() ends when there is something to read here, too."""
        self._watched = fd
        self._both.register(fd, select.POLLIN)

    def _spawn(self, file_actions: list[tuple[int, int, int]]) -> int:
        folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        command = [sys.executable, "-c", SOURCE.format(folder=folder, preload=self.preload)]
        # what a sitecustomize starts there must not be a run
        environ = {**os.environ, MARK: self.mark_within(os.environ), nesting.DEPTH: nesting.LOADING}
        for pause in PAUSES_S:
            if pause:
                time.sleep(pause)
            try:
                return os.posix_spawn(sys.executable, command, environ, file_actions=file_actions, setpgroup=0)
            except OSError as error:
                if error.errno not in SCARCE:
                    raise
                failure = error
        raise TuneError(
            f"no worker processes can be started: {failure.strerror} ({process_limits()}); "
            "run with executor='inline', or raise the limit"
        ) from failure

    def mark_within(self, environ: Any) -> str:
        """What MARK is in the environment of the server and of its workers."""
        return f"{environ.get(MARK, '')}:{self.mark}".lstrip(":")

    @classmethod
    def take(cls) -> Server:
        """The server that was launched early for the run of this thread, or another one."""
        return _taken_early() or cls.ready(())

    @classmethod
    def ready(cls, preload: tuple[str, ...]) -> Server:
        """The one that rests, if it is what would be launched now, or a new one."""
        if _resting:
            with suppress(IndexError):  # another thread has taken it
                server = _resting.pop()
                if server.launched_by == os.getpid():
                    if server._is_as_new(preload):
                        return server
                    server.end()
                else:
                    server.leave()
        return cls(preload)

    def _is_as_new(self, preload: tuple[str, ...]) -> bool:
        if preload != self.preload or self._inherited != inheritance() or self.has_message(0.0):
            return False  # it has said something, or is gone
        self.quiet_bell()
        self.rules_fd, self._served = anonymous_file("fasttune-rungs"), True
        return True

    def begin(self, setup: dict[str, Any]) -> None:
        """Tell what the run is; ServerGoneError if the server has gone."""
        streams = [fd for fd in STREAMS if _identity(fd) is not None] if self._served else []
        self.tell({**setup, "served": self._served, "streams": streams}, *([self.rules_fd, *streams] if self._served else []))

    @property
    def may_rest(self) -> bool:
        """Somebody wants it to, and it would be found: within a worker, not when that is killed. One that has inherited files which
        this process itself has opened would keep them open, for whoever waits at their other end."""
        wanted = os.environ.get(KEEP) != "0" and MARK not in os.environ
        return wanted and bool(self.pid and self._inherited) and self._inherited["files"] <= _given

    def rest(self) -> bool:
        """End all workers, and what they have started, and keep the process for the next run; False: it is for none."""
        if not self.may_rest:
            return False
        try:
            self.tell(("rest",))
            deadline = time.monotonic() + RESTED_S
            while self.has_message(max(0.0, deadline - time.monotonic())):
                if self.hear()[0] == "rested":
                    break
            else:
                return False
        except TuneError:
            return False
        if self._watched >= 0:
            self._both.unregister(self._watched)
            self._watched = -1
        return True

    def let_go(self) -> None:
        """Its run is over, and it rests: it is for the next one of this process."""
        os.close(self.rules_fd)
        self.rules_fd = -1
        if not _at_exit:
            _at_exit.append(atexit.register(end_resting))
        end_resting()
        _resting.append(self)

    def tell(self, message: Any, *files: int) -> None:
        """Send an order, and the files that belong to it; ServerGoneError if the server has gone."""
        from fasttune.executors.worker import send, send_files

        try:
            send(self._sock, message)
            if files:
                send_files(self._sock, files)
        except OSError as error:
            raise ServerGoneError(f"the server of the worker processes has died ({error})") from error

    def hear(self) -> Any:
        """The server's next message, waiting for it; ServerGoneError if the server has gone."""
        from fasttune.executors.worker import receive

        while not self.has_message(SILENT_S):
            self._continue()
        try:
            message = receive(self._sock)
        except OSError as error:
            raise ServerGoneError(f"the server of the worker processes has died ({error})") from error
        if message is None:
            raise ServerGoneError("the server of the worker processes has died")
        return message

    def _continue(self) -> None:
        """If somebody has stopped the process (SIGSTOP), let it go on: the run would wait for it without a word."""
        if (found := standing_of(self.pid)) is None or found.state != "T":
            return
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGCONT)
        warn_in_run(
            f"process {self.pid}, which starts the workers, had been stopped (SIGSTOP), and was told to go on; to hold a run, stop "
            f"the process that called it ({os.getpid()})",
            RuntimeWarning,
            stacklevel=2,
        )

    def has_message(self, timeout: float) -> bool:
        """Whether hear() would answer at once; waits up to ``timeout`` seconds for that."""
        return bool(self._poller.poll(timeout * 1000))

    def wait(self, timeout: float) -> None:
        """Sleep until a worker rings the bell, the server says something, or the time is over."""
        if not self._both.poll(timeout * 1000) and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + SILENT_S
            self._continue()

    def quiet_bell(self) -> None:
        """Make the bell silent until it is rung again."""
        with suppress(BlockingIOError):
            os.read(self._bell_reader, 4096)

    def hang_up(self, workers: list[int]) -> int | None:
        """End the server, and with it every worker that is left and all that they have started. Returns its exit
        status; None if somebody else has collected it.

        ``workers`` are those that may be left: a server that was killed could not end them.
        """
        if not self.pid:
            return None
        self._sock.close()
        code, self.pid = _reap(self.pid), 0
        if code != 0:
            end_groups(workers)
            end_marked(self.mark)
        return code

    def close(self) -> None:
        """Let go of the bell and of the rule's memory."""
        for fd in {self.bell, self._bell_reader, self.rules_fd} - {-1}:
            os.close(fd)

    def end(self) -> None:
        """End it and let go of everything."""
        self.hang_up([])
        self.close()

    def leave(self) -> None:
        """Let go of everything in a process that was forked from the one that it belongs to."""
        self._sock.close()
        self.close()


def _bell() -> tuple[int, int]:
    """(end to ring, end to wait on): one eventfd where the system has that, else a pipe."""
    if hasattr(os, "eventfd"):
        fd = _behind_streams(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        return fd, fd
    reader, writer = map(_behind_streams, os.pipe())
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return writer, reader


def _reap(pid: int, seconds: float = 2.0) -> int | None:
    """Collect the server, which ends at once, and return its exit status (less than 0: a signal); one that does not is
    killed. None if a SIGCHLD handler of somebody else's collected it."""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.0005)
        os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except (ChildProcessError, ProcessLookupError):
        return None


def end_groups(pids: list[int]) -> None:
    """Kill what is left of these workers and of what is in their process groups, and wait until it has gone."""
    for pid in pids:
        for kill in (os.killpg, os.kill):
            with suppress(ProcessLookupError, PermissionError):
                kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + KILLED_S
    while (pids := [pid for pid in pids if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.001)


def end_marked(mark: str) -> None:
    """Kill whatever comes from the server of this mark, also what has left its worker's process group, and wait until
    it has gone."""
    deadline = time.monotonic() + KILLED_S
    while (pids := marked(mark)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def marked(mark: str) -> list[int]:
    """Processes, but for zombies, whose environment says that they come from the server of this mark."""
    wanted, found = mark.encode(), []
    try:
        names = os.listdir("/proc")
    except OSError:  # a system without it
        return []
    for name in names:
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                environ = file.read().split(b"\0")
        except OSError:  # it has ended meanwhile, or is another user's
            continue
        if any(wanted in entry.split(b":") for entry in _entries(environ)):
            found.append(int(name))
    return found


def _entries(environ: list[bytes]) -> Iterator[bytes]:
    """What MARK holds in an environment."""
    name = f"{MARK}=".encode()
    return (entry[len(name) :] for entry in environ if entry.startswith(name))


def anonymous_file(name: str) -> int:
    """A file without a name, in memory where the system has that."""
    if hasattr(os, "memfd_create"):
        return _behind_streams(os.memfd_create(name))
    import tempfile

    fd, path = tempfile.mkstemp(prefix=name)
    os.unlink(path)
    return _behind_streams(fd)


def _behind_streams(fd: int) -> int:
    """The file under a number that is no standard stream's: where one was closed, somebody may put another into its place."""
    import fcntl

    if fd not in STREAMS:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, len(STREAMS))
    finally:
        os.close(fd)
