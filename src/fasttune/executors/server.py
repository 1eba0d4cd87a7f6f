"""The driver's end of the worker processes' fork server.

A server is launched as early as anything is known of a run, so that it gets ready while the run is being set up. It
ends when its socket closes, with all of its workers, so the death of this process takes it along.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fasttune.error import TuneError

SOURCE = (
    "import sys; sys.path.insert(0, {folder!r}); "
    "from fasttune.executors.worker import serve; serve(3, 4, 5, {preload!r})"
)
GONE = "the server of the worker processes has died{}; what it printed is above"


class _Early(threading.local):
    """The server that waits for the run which this thread sets up."""

    server: Server | None = None
    launched_by = -1  # process


_early = _Early()


@contextmanager
def launched_early(preload: tuple[str, ...] = ()) -> Iterator[None]:
    """Launch a server for the run that is set up in the block, in this thread; if the run is refused, the server ends.

    ``preload`` names modules that the workers of the run will need, to be loaded once for all of them.
    """
    _early.server, _early.launched_by = Server(preload), os.getpid()
    try:
        yield
    finally:
        server = _taken_early()
        if server is not None:
            server.end()


def _taken_early() -> Server | None:
    server, _early.server = _early.server, None
    return server if _early.launched_by == os.getpid() else None


class Server:
    """A fork server: its process, its socket, the bell that workers ring, the memory that a shared rule lives in."""

    def __init__(self, preload: tuple[str, ...] = ()) -> None:
        import fcntl

        self._sock, theirs = socket.socketpair()
        self.bell, self._bell_reader = _bell()
        self.rules_fd = anonymous_file("fasttune-rungs")
        # above the numbers that they get in the child, so that none is overwritten there
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (theirs.fileno(), self.bell, self.rules_fd)]
        folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-c", SOURCE.format(folder=folder, preload=preload)],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, k + 3) for k, fd in enumerate(fds)],
                setpgroup=0,
            )
        finally:
            theirs.close()
            for fd in fds:
                os.close(fd)
        self._poller = select.poll()
        self._poller.register(self._sock.fileno(), select.POLLIN)
        self._both = select.poll()
        self._both.register(self._sock.fileno(), select.POLLIN)
        self._both.register(self._bell_reader, select.POLLIN)

    @classmethod
    def take(cls) -> Server:
        """The server that was launched early for the run of this thread, or a new one."""
        return _taken_early() or cls()

    def tell(self, message: Any) -> None:
        """Send an order; TuneError if the server has gone."""
        from fasttune.executors.worker import send

        try:
            send(self._sock, message)
        except OSError as error:
            raise TuneError(GONE.format(f" ({error})")) from error

    def hear(self) -> Any:
        """The server's next message, waiting for it; TuneError if the server has gone."""
        from fasttune.executors.worker import receive

        message = receive(self._sock)
        if message is None:
            raise TuneError(GONE.format(""))
        return message

    def has_message(self, timeout: float) -> bool:
        """Whether hear() would answer at once; waits up to ``timeout`` seconds for that."""
        return bool(self._poller.poll(timeout * 1000))

    def wait(self, timeout: float) -> None:
        """Sleep until a worker rings the bell, the server says something, or the time is over."""
        self._both.poll(timeout * 1000)

    def quiet_bell(self) -> None:
        """Make the bell silent until it is rung again."""
        with suppress(BlockingIOError):
            os.read(self._bell_reader, 4096)

    def hang_up(self) -> None:
        """End the server, and with it every worker that is left."""
        self._sock.close()
        _reap(self.pid)

    def close(self) -> None:
        """Let go of the bell and of the rule's memory."""
        for fd in {self.bell, self._bell_reader, self.rules_fd}:
            os.close(fd)

    def end(self) -> None:
        """End it and let go of everything."""
        self.hang_up()
        self.close()


def _bell() -> tuple[int, int]:
    """(end to ring, end to wait on): one eventfd where the system has that, else a pipe."""
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return fd, fd
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return writer, reader


def _reap(pid: int, seconds: float = 2.0) -> None:
    """Collect the server, which ends at once; one that does not is killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            done, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # somebody else's SIGCHLD handler collected it
            return
        if done:
            return
        time.sleep(0.0005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def anonymous_file(name: str) -> int:
    """A file without a name, in memory where the system has that."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    import tempfile

    fd, path = tempfile.mkstemp(prefix=name)
    os.unlink(path)
    return fd
