"""While a block stands on the terminal, what this process prints passes above it: of trials in this process, of callbacks,
warnings and logging. ``input()`` and debuggers have the terminal to themselves while they ask.
"""

from __future__ import annotations

import builtins
import os
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

from fasttune.reporter.screen import Screen
from fasttune.trial_lines import LineSink, NamedStream
from fasttune.whole_lines import WholeLines

# Never let go of, as those of executors/tee.py: `print` of CPython holds the stream that it writes to by no reference.
_made: deque[_PassingStream] = deque(maxlen=64)


class _PassingStream:
    """The stream in place of ``real``. It stays good when the run is over: a handler of ``logging`` may have kept it."""

    def __init__(self, real: TextIO, number: int) -> None:
        self.real = real
        self.number = number
        self.screen: Screen | None = None
        self._lines = WholeLines()
        self.place = LineSink(self._put)
        self.text = NamedStream(self.place, number, real.fileno())
        self._pid = os.getpid()

    def _put(self, data: bytes) -> None:
        if os.getpid() != self._pid:  # a child that a trial or a callback has forked: the block is its parent's
            self.real.write(data.decode("utf-8", "replace"))
            self.real.flush()
        elif lines := self._lines.feed(data):
            self._print(lines)

    def settle(self) -> None:
        """Print what is left of a line."""
        self.place.settle()
        if rest := self._lines.end():
            self._print(rest)

    def _print(self, lines: bytes) -> None:
        text = lines.decode("utf-8", "replace")
        if self.screen is not None:
            self.screen.pass_by(text)
        else:
            self.real.write(text)
            self.real.flush()


class Passing:
    """Puts streams that pass ``screen`` in the place of those of ``numbers`` (1: standard output, 2: errors)."""

    def __init__(self, screen: Screen, numbers: tuple[int, ...]) -> None:
        self._screen = screen
        self._pid = os.getpid()
        self._streams: list[_PassingStream] = []
        for number in numbers:
            real = getattr(sys, _NAMES[number])
            stream = _stream_for(real, number)
            if stream is None:
                continue
            stream.screen = screen
            setattr(sys, _NAMES[number], stream.text)
            self._streams.append(stream)
            _move_handlers(stream.real, stream.text)
        self._asks: Callable[..., Any] = builtins.input
        builtins.input = self._own = self._ask

    def settle(self) -> None:
        """Print what is left of lines."""
        for stream in self._streams:
            stream.settle()

    def stop(self) -> None:
        """The streams as they were, unless somebody has put others there meanwhile."""
        if builtins.input == self._own:
            builtins.input = self._asks
        while self._streams:
            stream = self._streams.pop()
            stream.settle()
            stream.screen = None
            _move_handlers(stream.text, stream.real)
            if getattr(sys, _NAMES[stream.number]) is stream.text:
                setattr(sys, _NAMES[stream.number], stream.real)

    def _ask(self, prompt: object = "", /) -> str:
        """``input()``, at the terminal itself."""
        if os.getpid() != self._pid:
            return self._asks(prompt)  # type: ignore[no-any-return]
        found = sys.stdout, sys.stderr
        self.settle()
        with self._screen.kept_free():
            for stream in self._streams:
                if getattr(sys, _NAMES[stream.number]) is stream.text:
                    setattr(sys, _NAMES[stream.number], stream.real)
            try:
                return self._asks(prompt)  # type: ignore[no-any-return]
            finally:
                sys.stdout, sys.stderr = found


_NAMES = {1: "stdout", 2: "stderr"}


def _move_handlers(before: Any, now: Any) -> None:
    """Handlers of ``logging`` that write to one stream write to another: they keep the one that there was when they were
    made."""
    logging = sys.modules.get("logging")
    if logging is None:  # not loaded: there are none
        return
    loggers = [logging.getLogger(), *logging.getLogger().manager.loggerDict.values()]
    for handler in {handler for logger in loggers for handler in getattr(logger, "handlers", ())}:
        if getattr(handler, "stream", None) is before and isinstance(handler, logging.StreamHandler):
            handler.setStream(now)


def _stream_for(real: Any, number: int) -> _PassingStream | None:
    """The stream that stands for a real one; None if it is no terminal's."""
    try:
        if not real.isatty():
            return None
        for one in _made:
            if one.real is real and one.number == number:
                return one
        _made.append(_PassingStream(real, number))
    except (AttributeError, ValueError, OSError):  # none at all, closed, or without a descriptor
        return None
    return _made[-1]
