"""The status in a terminal: one block that is updated in place, below all that is printed meanwhile.

A run that is over within half a second shows its last block only: rich is not loaded before there is
something to watch.
"""

from __future__ import annotations

import math
import os
import sys
import time as _time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from .base import DRAWING_SHARE, ProgressReporter, StatusSnapshot

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from fasttune.trial import Trial

    from .passing import Passing
    from .screen import Screen

FIRST_DRAWING_S = 0.5
INTERVAL_S = 0.25


class TerminalReporter(ProgressReporter):
    """Draws one block: a bar with what is done, counts by status, the best so far, and the trials at work. What trials
    and this process print meanwhile passes above it, in whole lines, those of trials with the trial's id in front."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = _time.monotonic,
    ) -> None:
        self._stream = stream
        self._console = console
        self._clock = clock
        self._screen: Screen | None = None
        self._passing: Passing | None = None
        self._real: TextIO | None = None  # where the block is drawn, while something else is sys.stdout
        self._next_time = math.inf
        self._total: int | None = None

    def catches(self) -> tuple[int, ...]:
        file = self._file()
        return tuple(number for number in (1, 2) if _is_terminal_of(file, number))

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **more: Any,
    ) -> None:
        from .screen import Screen

        self.leave()
        self._total = total_samples
        self.metric, self.mode = metric, mode
        caught = self.catches()
        self._real = self._file()
        self._screen = Screen(self._real, self._width, clock=self._clock)
        if caught:
            from .passing import Passing

            self._passing = Passing(self._screen, caught)
        self._next_time = self._clock() + FIRST_DRAWING_S

    def should_report(self, trials: Sequence[Trial], done: bool = False) -> bool:
        return done or self._clock() >= self._next_time

    def report(self, trials: Sequence[Trial], done: bool, *sys_info: Any) -> None:
        from .screen import Screen

        began = self._clock()
        console = self._console or self._new_console()
        screen = self._screen = self._screen or Screen(console.file, self._width, clock=self._clock)  # type: ignore[arg-type]
        if console.is_terminal and not console.is_dumb_terminal:
            if done and self._passing is not None:
                self._passing.settle()
            screen.draw(self._lines(console, self.block(sys_info[0], done), done))
        elif done:
            console.print(self.block(sys_info[0], done), crop=False)
        if done:
            screen.end()
            self.leave()
        self._next_time = self._clock() + max(INTERVAL_S, DRAWING_SHARE * (self._clock() - began))

    def show_prints(self, lines: str) -> None:
        if self._screen is not None:
            self._screen.pass_by(lines)

    def leave(self) -> None:
        if self._passing is not None:
            self._passing.stop()
            self._passing = None
        if self._screen is not None:
            self._screen.erase()  # of a run that an error ended: it stands where the error's text will
            self._screen = self._real = None

    def block(self, snapshot: StatusSnapshot, done: bool) -> RenderableType:
        """What is drawn for this status."""
        from .block import block

        return block(snapshot, done, self._total, self.metric, self._width())

    def _new_console(self) -> Console:
        """Made for each drawing, because it keeps what the environment and the stream were when it was made."""
        from rich.console import Console

        return Console(file=self._file(), highlight=False)

    def _file(self) -> TextIO:
        if self._console is not None:
            return self._console.file  # type: ignore[return-value]
        return self._real or self._stream or sys.stdout

    def _width(self) -> int:
        return (self._console or self._new_console()).width

    @staticmethod
    def _lines(console: Console, block: RenderableType, done: bool) -> list[str]:
        """The block as lines with colours; while it will be drawn again, no more than the terminal has beside that of the
        cursor, and none longer than it is wide."""
        with console.capture() as captured:
            console.print(block, crop=not done)
        lines = captured.get().split("\n")[:-1]
        return lines if done else lines[: max(1, console.height - 1)]


def _is_terminal_of(file: TextIO, number: int) -> bool:
    """Whether the stream 1 or 2 of this process, and of those that it starts, is the terminal that ``file`` writes to."""
    try:
        return os.isatty(number) and os.fstat(number).st_rdev == os.fstat(file.fileno()).st_rdev
    except (AttributeError, OSError, ValueError):  # no descriptor of its own, or none any more
        return False
