"""What is seen of lines that come in pieces: whole ones, of progress bars the last state, and nothing that moves a cursor."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from fasttune.trial_lines import LONGEST_LINE

STATE_S = 5.0  # a line that is written over and over, as progress bars do, is shown at most so often before it is done
_CONTROLS = bytes([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])  # but for tabs and ends of lines
# what would leave the line (movements, erasures, other screens); colours may stay
_MOVES = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-ln-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[()#][0-9A-Za-z]|[0-9=>A-Z])"
    rb"|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]"
)
_UP = b"\x1b[A"  # what progress bars write that stand below another one
_MARK = re.compile(rb"\x1e\x02(\d{1,10})\x03\n")  # see trial_lines.mark
_BEGUN = re.compile(rb"\x1e(\x02(\d{0,10}\x03?)?)?")
_NAME = re.compile(rb"\([0-9a-z]+_\d{5,}\) ")


def between_marks(data: bytes) -> list[tuple[bytes, int]]:
    """(text, trial that the mark behind it is of; -1: there is none behind it) of all that was read."""
    if b"\x1e" not in data:
        return [(data, -1)]
    parts = _MARK.split(data)
    return [*zip(parts[:-1:2], map(int, parts[1::2]), strict=True), (parts[-1], -1)]


def begun_mark(data: bytes) -> int:
    """Where a mark begins whose end is still to be read; -1: there is none. What is longer than a mark is none."""
    cut = data.rfind(b"\x1e")
    return cut if cut >= 0 and len(data) - cut < 16 and _BEGUN.fullmatch(data, cut) else -1


class WholeLines:
    """Makes whole lines of what comes in pieces from one place; ``name`` is put in front of those that bear none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rest = b""
        self._shown_at = 0.0  # when the line that is written over and over was begun, or shown last
        self._shown = b""
        self._state = b""  # of one of several progress bars, not given yet
        self._state_at = clock()  # when one was given last

    def feed(self, data: bytes, name: bytes = b"") -> bytes:
        """Take a piece, and give the lines that are whole now. Of a line that is written over and over the last state
        counts; now and then it is given while the line goes on."""
        goes_on = bool(self._rest)
        data = self._rest + data
        cut = data.rfind(b"\n") + 1
        self._rest = data[cut:]
        lines = b""
        if cut:
            moved = self._state or _UP in data[:cut]
            lines = self._without_states(data[:cut], name) if moved else _lines(data[:cut], name)
        if cut or not goes_on:
            self._shown_at = self._clock()
        elif b"\r" in self._rest:
            state = _last_state(self._rest)
            back = b"\r" if self._rest.endswith(b"\r") else b""  # what comes next takes its place
            self._rest = (state + _UP if _UP in self._rest and _UP not in state else state) + back
            now = self._clock()
            if now - self._shown_at >= STATE_S and _says_something(state) and state != self._shown:
                self._shown_at, self._shown = now, state
                lines += _lines(state + b"\n", name)
        elif len(self._rest) > LONGEST_LINE:
            lines += self.end(name)
        return lines

    def end(self, name: bytes = b"") -> bytes:
        """What is left of a line that will not go on."""
        rest, self._rest = self._rest, b""
        state, self._state = self._state, b""
        lines = _lines(state + b"\n", name) if state else b""
        if not rest or rest.rstrip(b"\r") == self._shown or not _says_something(rest):
            return lines
        return lines + _lines(rest + b"\n", name)

    def _without_states(self, data: bytes, name: bytes) -> bytes:
        """Lines of several progress bars, which go down a line and up again: those are states, of which one is given now and
        then, and the last one when another line comes."""
        lines = b""
        for line in data[:-1].split(b"\n"):
            if _UP in line:
                state = _MOVES.sub(b"", _last_state(line.replace(_UP, b"")))
                if _says_something(state):
                    self._state = state
                if self._state and self._clock() - self._state_at < STATE_S:
                    continue
                line = b""
            if self._state:
                lines += _lines(self._state + b"\n", name)
                self._state, self._state_at = b"", self._clock()
            if line:
                lines += _lines(line + b"\n", name)
        return lines


def _lines(data: bytes, name: bytes) -> bytes:
    """Whole lines, each with a name in front, nothing in them that moves the cursor."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
        data = b"\n".join(_last_state(line) for line in data.split(b"\n")) if b"\r" in data else data
    if len(data.translate(None, _CONTROLS)) != len(data):
        pairs = [(line, _MOVES.sub(b"", line)) for line in data.split(b"\n")]
        # a line that only moved the cursor is none
        data = b"\n".join(clean for line, clean in pairs if clean == line or _says_something(clean))
    if not name:
        return data
    lines = data.split(b"\n")
    end = lines.pop()
    return b"\n".join([line if _NAME.match(line) else name + line for line in lines] + [end])


def _last_state(line: bytes) -> bytes:
    """What is seen of a line in which the cursor has gone back to its beginning: the last that was written there."""
    states = line.split(b"\r")
    while len(states) > 1 and not _says_something(states[-1]):
        states.pop()
    return states[-1]


def _says_something(line: bytes) -> bool:
    found = _NAME.match(line)
    return bool(line[found.end() :].strip() if found else line.strip())
