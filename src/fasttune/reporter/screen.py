"""The block at the end of a terminal, and what passes above it.

The cursor always rests at the beginning of the line below the block. Whatever is to be seen is one write: what stands there
is erased, the lines that pass are printed, and the block is drawn below them.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

AGAIN_S = 0.1  # while more comes, the block is drawn again below it so often
FEW = 5  # prints in a row behind each of which the block is drawn at once
_STYLES = re.compile(r"\x1b\[[0-9;]*m")


class Screen:
    """A block on a terminal's ``file``. ``width()`` says how many columns there are now. Threads may print at once."""

    def __init__(
        self, file: TextIO, width: Callable[[], int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = file
        self._width = width
        self._clock = clock
        self._block: Sequence[str] = ()  # its lines as they were drawn last
        self._shown: Sequence[str] = ()  # those that stand there now; none while something passes
        self._drawn_at = self._passed_at = -AGAIN_S
        self._in_a_row = 0  # prints that came shortly behind each other
        self._gone = False
        self._kept = False  # somebody types: nothing is drawn below it
        self._lock = threading.RLock()

    def draw(self, lines: Sequence[str]) -> None:
        """Draw the block, of lines no longer than the terminal is wide, in place of the one that is there."""
        with self._lock:
            self._block = lines
            if not self._kept and lines != self._shown:
                width = max(1, self._width())  # a line that breaks would leave what stands below it
                broken = any(len(_STYLES.sub("", line)) > width for line in lines)
                self._write(self._up() + ("\x1b[J" if broken else "") + self._drawn(lines))
                self._shown, self._drawn_at = lines, self._clock()

    def pass_by(self, text: str) -> None:
        """Print whole lines above the block."""
        with self._lock:
            out = self._erased() + text
            now = self._clock()
            self._in_a_row = self._in_a_row + 1 if now - self._passed_at < AGAIN_S else 0
            self._passed_at = now
            seldom = self._in_a_row < FEW or now - self._drawn_at >= AGAIN_S  # else the block would be most of what is written
            again = self._block and not self._kept and seldom
            self._write(out + self._drawn(self._block) if again else out)
            if again:
                self._drawn_at = self._clock()
            self._shown = self._block if again else ()

    def end(self) -> None:
        """What stands there stays; no block belongs to the screen any more."""
        with self._lock:
            self._block = self._shown = ()

    def erase(self) -> None:
        """Take the block away for good."""
        with self._lock:
            if self._shown:
                self._write(self._erased())
            self._block = self._shown = ()

    @contextmanager
    def kept_free(self) -> Iterator[None]:
        """In the block of code the terminal is the user's: nothing is drawn until it is left."""
        with self._lock:
            if self._shown:
                self._write(self._erased())
            self._shown, self._kept = (), True
        try:
            yield
        finally:
            self._kept = False

    def _up(self) -> str:
        """To the beginning of what stands there."""
        rows = self._rows()
        return f"\x1b[{rows}A\r" if rows else ""

    def _erased(self) -> str:
        return f"{self._up()}\x1b[J" if self._shown else ""

    def _rows(self) -> int:
        """Rows that the block takes now; a window that has become narrower since has broken its lines."""
        width = max(1, self._width())
        lengths = (len(_STYLES.sub("", line)) for line in self._shown)
        return sum(max(1, -(-length // width)) for length in lengths)

    @staticmethod
    def _drawn(lines: Sequence[str]) -> str:
        """The lines over whatever stands there, and nothing below them. Each row is erased before it is written: behind a
        line of full width the cursor still stands on its last character."""
        return "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[J"

    def _write(self, text: str) -> None:
        if self._gone:
            return
        try:
            try:
                self._file.write(text)
            except UnicodeEncodeError:
                encoding = self._file.encoding or "ascii"
                self._file.write(text.encode(encoding, "replace").decode(encoding))
            self._file.flush()
        except (OSError, ValueError):  # the terminal has been closed: the run goes on, and nobody sees it
            self._gone = True
