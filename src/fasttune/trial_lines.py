"""The lines that trials print: each bears the name of its trial, and is written in one piece.

    trial      print, logging, warnings, tqdm -> NamedStream: "(ab12c_00003) text"
    whoever    whole_lines.WholeLines: whole lines, the last state of a progress bar, no movements of a cursor
    shows

What does not come through ``sys.stdout`` (a C library, a process that the trial has started) bears no name; whoever shows it
adds that of the trial which runs where it came from. Through a pipe it may be read when that trial is over already, so a
worker that has ended a piece of work leaves a mark there (``mark``): what stands before it is of that work's trial.
"""

from __future__ import annotations

import io
import os
import select
import threading
import weakref
from collections.abc import Callable
from threading import get_ident
from typing import Any

from fasttune._core import current

LONGEST_LINE = 1 << 16  # characters of a line without an end that are kept back
MOST_THREADS = 100  # that have printed, before it is looked which of them are there still
MOST_PARTS = 1 << 10  # in which a line is printed, before they are looked at together

Key = tuple[int, int]  # thread, stream


def name_in_front(reporter: Any) -> str:
    """What the lines of the trial that runs with ``reporter`` begin with; nothing outside of trials."""
    trial_id = None if reporter is None else getattr(reporter.context, "trial_id", None)
    return "" if trial_id is None else f"({trial_id}) "


class _Line:
    """What a thread has printed to a stream of its line, and of which trial that is. It is the thread's for as long as the
    thread lives. Only the thread itself adds parts; whoever takes them puts another list in their place first, so nothing is
    lost without a lock: between finding the list and adding to it no other thread has a chance."""

    __slots__ = ("name", "parts", "reporter", "trial")

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.become(None)

    def become(self, reporter: Any) -> None:
        """From now on it is a line of whichever trial runs with ``reporter``."""
        self.reporter = reporter
        self.trial = -1 if reporter is None else reporter.trial
        self.name = name_in_front(reporter)

    def is_of(self, reporter: Any) -> bool:
        return self.reporter is reporter and (reporter is None or reporter.trial == self.trial)

    def take(self) -> str:
        """What there is of it, and no more."""
        parts, self.parts = self.parts, []
        return "".join(parts)


class LineSink:
    """Where the lines of one or several streams are put, one behind the other: a descriptor, or a function of bytes.

    open  whose line was begun there, because it was flushed, and has no end yet, and the name in front of it
    held  what has been printed of lines, by stream and thread
    """

    def __init__(self, put: Callable[[bytes], None], encoding: str = "utf-8", errors: str = "surrogateescape") -> None:
        self.put = put
        self.encoding = encoding
        self.errors = errors
        self.lock = threading.RLock()
        self.open: tuple[Key, str] | None = None
        self.held: dict[int, dict[int, _Line]] = {1: {}, 2: {}}
        _places.add(self)

    def take(self, number: int, text: str) -> None:
        """This thread prints to a stream."""
        held, me, reporter = self.held[number], get_ident(), current()
        with self.lock:
            line = held.get(me)
            if line is None:
                self._forget_dead(held)
                line = held[me] = _Line()
                line.become(reporter)
            elif not line.is_of(reporter):
                if rest := line.take():  # another trial's, that ended within its line
                    self._write((me, number), line.name, rest + "\n")
                line.become(reporter)
            line.parts.append(text)
            if "\n" not in text and len(line.parts) < MOST_PARTS:
                return
            text = line.take()
            cut = text.rfind("\n") + 1
            if cut:
                self._write((me, number), line.name, text[:cut])
                text = text[cut:]
            if len(text) > LONGEST_LINE:
                self._write((me, number), line.name, text)
            elif text:
                line.parts.append(text)

    def flush(self, number: int) -> None:
        """What this thread has printed of a line is written, and may go on later."""
        me = get_ident()
        line = self.held[number].get(me)
        if line is not None and line.parts:
            with self.lock:
                if text := line.take():
                    self._write((me, number), line.name, text)

    def settle(self) -> None:
        """Every line that was begun has its end now: those who printed it are gone."""
        with self.lock:
            for number, held in self.held.items():
                for thread, line in list(held.items()):
                    if text := line.take():
                        self._write((thread, number), line.name, text + "\n")
                    line.become(None)  # a reporter has the memory of its ring
            if self.open is not None:
                self.open = None
                self.put(b"\n")

    @property
    def settled(self) -> bool:
        """Whether no line is begun."""
        return self.open is None and not any(line.parts for held in self.held.values() for line in list(held.values()))

    @staticmethod
    def _forget_dead(held: dict[int, _Line]) -> None:
        """Lines of threads that have ended, when there are many."""
        if len(held) < MOST_THREADS:
            return
        alive = {thread.ident for thread in threading.enumerate()}
        for thread in [ident for ident, line in held.items() if ident not in alive and not line.parts]:
            del held[thread]

    def _write(self, key: Key, name: str, text: str) -> None:
        goes_on = self.open == (key, name)
        head = "" if self.open is None or goes_on else "\n"
        if self.open is None and text.find("\n") == len(text) - 1 and "\r" not in text:  # one line, as most often
            self.put(self._encoded(name + text))
            return
        if "\r" in text:
            text = text.replace("\r\n", "\n")
            if not goes_on:
                text = text.lstrip("\r")
        ends = text.endswith("\n")
        if name:
            body = text[:-1] if ends else text
            body = body.replace("\n", "\n" + name)
            if "\r" in body:
                body = body.replace("\r", "\r" + name)
            text = ("" if goes_on else name) + body + ("\n" if ends else "")
        self.open = None if ends else (key, name)
        self.put(self._encoded(head + text))

    def _encoded(self, text: str) -> bytes:
        try:
            return text.encode(self.encoding, self.errors)
        except UnicodeEncodeError:
            return text.encode(self.encoding, "backslashreplace")

    def forget(self) -> None:
        """In a forked child: what its parent had begun to print is the parent's."""
        self.lock = threading.RLock()
        self.open = None
        for held in self.held.values():
            held.clear()


_places: weakref.WeakSet[LineSink] = weakref.WeakSet()


def _forget_all() -> None:
    for place in list(_places):
        place.forget()


os.register_at_fork(after_in_child=_forget_all)


class NamedStream(io.TextIOBase):
    """A text stream in place of standard output (``number`` 1) or errors (2), whose lines bear the name of their trial.

    ``fd`` is the descriptor that it stands for: processes that are given the stream write there. ``terminal``: what it answers
    who asks whether it is one.
    """

    def __init__(self, place: LineSink, number: int, fd: int, terminal: bool = False) -> None:
        self.place = place
        self.buffer = _Bytes(self)
        self.name = "<stdout>" if number == 1 else "<stderr>"
        self.mode = "w"
        self.line_buffering = True
        self._number = number
        self._fd = fd
        self._terminal = terminal
        self._held = place.held[number]

    def write(self, text: str, /) -> int:
        # the short way, because `print` writes each of its arguments alone: more of a line that is not whole yet
        line = self._held.get(get_ident())
        if line is not None and "\n" not in text and len(line.parts) < MOST_PARTS:
            reporter = current()
            if line.reporter is reporter and (reporter is None or reporter.trial == line.trial):
                line.parts.append(text)
                return len(text)
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.place.take(self._number, text)
        return len(text)

    def flush(self) -> None:
        self.place.flush(self._number)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.place.encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        return self.place.errors

    def reconfigure(self, **settings: Any) -> None:
        """Asked for by programs that want UTF-8, or lines at once: it has both."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return self._terminal


class _Bytes(io.RawIOBase):
    """``sys.stdout.buffer``."""

    def __init__(self, stream: NamedStream) -> None:
        self._stream = stream

    def write(self, data: Any, /) -> int:
        text = bytes(data)
        self._stream.write(text.decode(self._stream.encoding, "surrogateescape"))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


def mark(trial: int) -> bytes:
    """What is left behind what a trial has printed: nothing that anybody prints by chance."""
    return b"\x1e\x02%d\x03\n" % trial


def write_all(fd: int, data: bytes) -> None:
    """Write to a descriptor, all of it, also to one that somebody has made non-blocking."""
    written = 0
    while written < len(data):
        try:
            written += os.write(fd, data[written:] if written else data)
        except BlockingIOError:
            waiter = select.poll()
            waiter.register(fd, select.POLLOUT)
            waiter.poll()
