"""The standard streams of a worker, which its trials share one after the other."""

from __future__ import annotations

import fcntl
import io
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from fasttune import _core
from fasttune.trial_lines import LineSink, NamedStream, mark, write_all

ABOVE = 10  # copies of descriptors are kept out of the way of those that a trial opens
MARK_S = 0.005  # at least so long after the last mark
_NAMES = {1: "stdout", 2: "stderr"}


def catch_streams(pipes: list[int], streams: tuple[int, ...]) -> None:
    """What this process and those that it starts write to these streams (1, 2) goes into a pipe, or one for each. They are closed."""
    for place, fd in enumerate(streams):
        os.dup2(pipes[min(place, len(pipes) - 1)], fd)
    for pipe in pipes:
        os.close(pipe)


class Streams:
    """Standard output and errors as the worker began with them. A trial that closes them, or leaves something in their
    place that raises, does not do so for the trials that come after it.

    What is printed is written at the end of each line, so that little is lost when the process is killed. With ``named``
    each line bears the name of its trial, and is written in one piece, so that lines of several workers do not mix.
    ``caught``: the streams that go into a pipe of this worker's.
    """

    def __init__(self, named: bool = False, caught: tuple[int, ...] = ()) -> None:
        self._marked = caught[0] if named and caught else 0  # the descriptor of the pipe, 0: there is none
        self._marked_at = 0.0
        _core.write_stdio_by_lines()
        self._places: list[LineSink] = []
        self._kept = [_Kept(name, fd) for fd, name in _NAMES.items()]
        if named:
            for one in self._kept:
                one.replace(self._named_stream)

    def mend(self) -> None:
        """Put back what cannot be written to any more; what was replaced by something that works stays. A line without an
        end gets one."""
        for place in self._places:
            if not place.settled:
                place.settle()
        for one in self._kept:
            one.mend()

    def leave_mark(self, trial: int) -> None:
        """What was written until now, by whomever, is of this trial, or of one before it. Said now and then only: trials
        that follow each other at once are not worth it."""
        if self._marked and time.monotonic() - self._marked_at >= MARK_S:
            write_all(self._marked, mark(trial))
            self._marked_at = time.monotonic()

    def _named_stream(self, fd: int, like: TextIO) -> TextIO:
        if fd == 1 or not self._places or not _same_file(1, 2):
            errors = like.errors if like.errors != "strict" else "surrogateescape"
            self._places.append(LineSink(lambda data: write_all(fd, data), like.encoding, errors or "backslashreplace"))
        return NamedStream(self._places[-1], fd, fd, os.isatty(fd))  # type: ignore[return-value]


def _plain_stream(fd: int, like: TextIO) -> TextIO:
    return open(fd, "w", encoding=like.encoding, errors=like.errors, closefd=False, buffering=1)


def _same_file(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False


class _Kept:
    """One stream: its name in ``sys``, its descriptor, the stream itself and a copy of the descriptor (-1: none)."""

    def __init__(self, name: str, fd: int) -> None:
        self._name = name
        self._fd = fd
        self._make: Callable[[int, TextIO], TextIO] = _plain_stream
        self._stream: TextIO | None = getattr(sys, name)
        self._copy = -1
        with suppress(OSError):  # a driver without that stream
            self._copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, ABOVE)
        if isinstance(self._stream, io.TextIOWrapper):
            # not in pieces of lines either, as with PYTHONUNBUFFERED: those of several workers would mix
            self._stream.reconfigure(line_buffering=True, write_through=False)

    def replace(self, make: Callable[[int, TextIO], TextIO]) -> None:
        """Put a stream that ``make(fd, like)`` makes in its place."""
        if self._copy < 0 or self._stream is None:
            return
        self._make = make
        self._stream = make(self._fd, self._stream)
        setattr(sys, self._name, self._stream)

    def mend(self) -> None:
        if self._copy < 0 or self._stream is None:
            return
        try:
            os.fstat(self._fd)
        except OSError:
            os.dup2(self._copy, self._fd)
        try:
            found = getattr(sys, self._name)
            if getattr(found, "closed", False):  # io.StringIO flushes all the same
                raise ValueError("closed")
            found.flush()
        except BaseException:  # whatever a stream of the user's raises
            if self._stream.closed:
                self._stream = self._make(self._fd, self._stream)
            setattr(sys, self._name, self._stream)
