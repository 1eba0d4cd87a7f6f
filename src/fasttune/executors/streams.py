"""The standard streams of a worker, which its trials share one after the other."""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import suppress
from typing import TextIO

ABOVE = 10  # copies of descriptors are kept out of the way of those that a trial opens


class Streams:
    """Standard output and errors as the worker began with them. A trial that closes them, or leaves something in their
    place that raises, does not do so for the trials that come after it."""

    def __init__(self) -> None:
        self._kept = [_Kept("stdout", 1), _Kept("stderr", 2)]

    def mend(self) -> None:
        """Put back what cannot be written to any more; what was replaced by something that works stays."""
        for one in self._kept:
            one.mend()


class _Kept:
    """One stream: its name in ``sys``, its descriptor, the stream itself and a copy of the descriptor (-1: none)."""

    def __init__(self, name: str, fd: int) -> None:
        self._name = name
        self._fd = fd
        self._stream: TextIO | None = getattr(sys, name)
        self._copy = -1
        with suppress(OSError):  # a driver without that stream
            self._copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, ABOVE)

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
                kept = self._stream
                self._stream = open(  # noqa: SIM115 - open as long as the process lives
                    self._fd, "w", encoding=kept.encoding, errors=kept.errors, closefd=False
                )
            setattr(sys, self._name, self._stream)
