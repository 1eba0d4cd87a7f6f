"""The driver's end of what workers print while a display must not be written over: a pipe for each worker.

    worker     its standard output and errors are the pipe, so C libraries and processes that a trial starts go there, too
    driver     reads the pipes in each turn, when there is something, and hands whole lines to whoever shows them

A pipe that nothing comes through costs one descriptor. A worker that prints faster than is shown waits, as for a terminal.
"""

from __future__ import annotations

import fcntl
import os
import select
from collections.abc import Callable
from contextlib import suppress

from fasttune.trial_lines import WholeLines

PIPE_BYTES = 1 << 18  # that a worker may be ahead; the system has fewer if it likes
READ_BYTES = 1 << 18
MOST_READ = 1 << 20  # bytes of one worker in one turn, so that none keeps the others waiting


class _Source:
    """One worker's pipe: its reading end, the lines, and who runs there."""

    def __init__(self, fd: int, trial: Callable[[], int]) -> None:
        self.fd = fd
        self.lines = WholeLines()
        self.trial: Callable[[], int] | None = trial
        self.last = -1  # trial that was seen to run there last


class Prints:
    """The pipes of all workers. ``show(text)`` gets whole lines; ``prefix`` begins the ids of the run's trials."""

    def __init__(self, show: Callable[[str], None], prefix: str) -> None:
        self._show = show
        self._prefix = prefix
        self._sources: dict[int, _Source] = {}  # by the pipe's descriptor
        self._epoll = select.epoll()

    def fileno(self) -> int:
        """What can be waited on: it is readable when somebody has printed."""
        return self._epoll.fileno()

    def pipe(self) -> tuple[int, int]:
        """A new pipe: (its reading end, its writing end for the worker)."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        with suppress(OSError, AttributeError):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return reader, writer

    def add(self, reader: int, trial: Callable[[], int]) -> None:
        """From now on what comes through a pipe is shown; ``trial()`` says which trial runs at its other end, -1: none."""
        self._sources[reader] = _Source(reader, trial)
        self._epoll.register(reader, select.EPOLLIN)

    def read(self) -> None:
        """Show what has come."""
        for fd, _ in self._epoll.poll(0):
            self._read(self._sources[fd], MOST_READ)

    def read_out(self, reader: int) -> None:
        """A worker has ended: show all that it has printed."""
        source = self._sources.get(reader)
        if source is not None:
            self._read(source, None)

    def leave(self, reader: int) -> None:
        """Which trial runs at the other end of a pipe is not asked any more; what still comes is shown."""
        source = self._sources.get(reader)
        if source is not None:
            self._name(source)
            source.trial = None

    def close(self) -> None:
        """Show what is left and let go of every pipe."""
        for source in list(self._sources.values()):
            self._read(source, None)
            self._drop(source)
        self._epoll.close()

    def _read(self, source: _Source, most: int | None) -> None:
        taken = 0
        while most is None or taken < most:
            try:
                data = os.read(source.fd, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._drop(source)
                return
            taken += len(data)
            self._give(source.lines.feed(data, self._name(source)))

    def _drop(self, source: _Source) -> None:
        if self._sources.pop(source.fd, None) is None:
            return
        self._epoll.unregister(source.fd)
        os.close(source.fd)
        self._give(source.lines.end(self._name(source)))

    def _give(self, lines: bytes) -> None:
        if lines:
            self._show(lines.decode("utf-8", "replace"))

    def _name(self, source: _Source) -> bytes:
        """What stands in front of a line that bears no name: the trial that runs there, or that has run there last."""
        trial = -1 if source.trial is None else source.trial()
        if trial >= 0:
            source.last = trial
        return b"" if source.last < 0 else f"({self._prefix}_{source.last:05d}) ".encode()
