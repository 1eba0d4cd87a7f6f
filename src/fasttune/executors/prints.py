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

from fasttune.whole_lines import WholeLines, begun_mark, between_marks

PIPE_BYTES = 1 << 18  # that a worker may be ahead; the system has fewer if it likes
READ_BYTES = 1 << 18
MOST_READ = 1 << 20  # bytes of one worker in one turn, so that none keeps the others waiting; more than a pipe holds


class _Source:
    """One worker's pipe: its reading end, the lines, and who runs there."""

    def __init__(self, fd: int, trial: Callable[[], int]) -> None:
        self.fd = fd
        self.lines = WholeLines()
        self.trial: Callable[[], int] | None = trial
        self.last = -1  # trial that lines without a name are of
        self.kept = b""  # read, and not known whose it is


class Prints:
    """The pipes of all workers. ``show(text)`` gets whole lines; ``prefix`` begins the ids of the run's trials; None:
    lines bear no names."""

    def __init__(self, show: Callable[[str], None], prefix: str | None) -> None:
        self._show = show
        self._prefix = prefix
        self._sources: dict[int, _Source] = {}  # by the pipe's descriptor
        self._kept: list[_Source] = []  # those that keep something
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
        kept, self._kept = self._kept, []
        for fd, _ in self._epoll.poll(0):
            self._read(self._sources[fd])
        for source in kept:
            if source.kept:  # nothing has come that says whose it is
                self._take(source, b"", -1, True)

    def read_out(self, reader: int) -> None:
        """A worker has ended: show all that it has printed."""
        source = self._sources.get(reader)
        if source is not None:
            self._read(source, at_once=True)

    def leave(self, reader: int) -> None:
        """Which trial runs at the other end of a pipe is not asked any more; what still comes is shown."""
        source = self._sources.get(reader)
        if source is not None:
            source.trial = None

    def close(self) -> None:
        """Show what is left and let go of every pipe."""
        for source in list(self._sources.values()):
            self._read(source, at_once=True)
            self._drop(source)
        self._epoll.close()

    def _read(self, source: _Source, at_once: bool = False) -> None:
        data, closed = b"", False
        while len(data) < MOST_READ:
            # looked at before it is found that nothing more is there: no mark of an earlier trial's end is still to come
            trial = -1 if source.trial is None else source.trial()
            try:
                piece = os.read(source.fd, READ_BYTES)
            except BlockingIOError:
                break
            if not piece:
                closed = True
                break
            data += piece
        if data or source.kept:
            self._take(source, data, trial, at_once or closed)
        if closed:
            self._drop(source)

    def _take(self, source: _Source, data: bytes, trial: int, at_once: bool) -> None:
        """Show what was read while ``trial`` ran, -1: none. Then it is of one that has just ended, whose mark may be on its
        way: unless ``at_once``, it is kept until the next turn."""
        data, source.kept = source.kept + data, b""
        cut = begun_mark(data)
        if cut >= 0 and not at_once:
            data, source.kept = data[:cut], data[cut:]
        for text, ended in between_marks(data):
            if ended < 0 and trial < 0 and text and not at_once and self._prefix is not None:
                source.kept = text + source.kept
                self._kept.append(source)
                return
            source.last = ended if ended >= 0 else trial if trial >= 0 else source.last
            name = self._name(source)
            if text:
                self._give(source.lines.feed(text, name))
            if ended >= 0:
                self._give(source.lines.end(name))

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
        """What stands in front of a line that bears no name."""
        if self._prefix is None or source.last < 0:
            return b""
        return f"({self._prefix}_{source.last:05d}) ".encode()
