"""The standard streams of this process while trials print there from several threads: whole lines, with their trial's name."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from typing import TextIO

from fasttune.trial_lines import LineSink, NamedStream

_NAMES = {1: "stdout", 2: "stderr"}
# Never let go of, as those of tee.py: `print` of CPython holds the stream that it writes to by no reference.
_made: deque[_Stream] = deque(maxlen=64)


class _Stream(NamedStream):
    """In the place of ``real``. It stays good when the run is over: a handler of ``logging`` may have kept it."""

    def __init__(self, real: TextIO, number: int) -> None:
        encoding, errors = getattr(real, "encoding", None) or "utf-8", getattr(real, "errors", None) or "strict"
        lenient = "surrogateescape" if errors == "strict" else errors
        super().__init__(LineSink(self._put, encoding, lenient), number, -1)
        self.real = real
        self.number = number

    def _put(self, data: bytes) -> None:
        self.real.write(data.decode(self.place.encoding, self.place.errors))

    def flush(self) -> None:
        super().flush()
        self.real.flush()

    def fileno(self) -> int:
        return self.real.fileno()

    def isatty(self) -> bool:
        return self.real.isatty()


class NamedStreams:
    """Puts streams that name trials in the place of those of ``numbers`` (1: standard output, 2: errors). What is printed
    outside of trials passes as it is."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._streams: list[_Stream] = []
        for number in numbers:
            real = getattr(sys, _NAMES[number])
            if real is None or isinstance(real, NamedStream):  # somebody names them already
                continue
            stream = _Stream(real, number)
            _made.append(stream)
            setattr(sys, _NAMES[number], stream)
            self._streams.append(stream)

    def stop(self) -> None:
        """The streams as they were, unless somebody has put others there meanwhile. A line that was begun gets its end."""
        for number, name in _NAMES.items():
            for stream in self._streams:
                if stream.number == number and getattr(sys, name) is stream:
                    setattr(sys, name, stream.real)
        while self._streams:
            self._streams.pop().place.settle()
