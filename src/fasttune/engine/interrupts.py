"""Signals that ask a run to end."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any, Protocol

LAST_INTERRUPT = 5  # this many Ctrl-C end a process whose trial swallows them
# The same signal again so soon is the last one that counted: `timeout` sends it to the process and to its group, and who presses a
# key until something happens shall not tear what brings the results home.
ONE_SIGNAL_S = 1.0
_caught: list[Interrupts] = []  # the runs of this process that hold its signals, the innermost last


class Interruptible(Protocol):
    """A loop that is asked to end."""

    interrupts: int  # signals that have asked it
    turning: bool  # it is in its turns: results are not brought home yet

    @property
    def in_trial(self) -> bool: ...
    def interrupts_trial(self) -> None: ...


def has_no_handler(number: int) -> bool:
    """Whether a signal does what it does by default: no handler of Python's, and none of C code (``faulthandler``)."""
    if signal.getsignal(number) is not signal.SIG_DFL:
        return False
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            caught = next((line for line in file if line.startswith("SigCgt:")), "SigCgt: 0")
        return not int(caught.partition(":")[2], 16) >> (number - 1) & 1
    except (OSError, ValueError):  # no such file system here
        return True


def _restore_in_child() -> None:
    while _caught:
        _caught[-1].restore()


os.register_at_fork(after_in_child=_restore_in_child)


class Interrupts:
    """Ctrl-C or SIGUSR1 ends the run and keeps its results; a second one is a KeyboardInterrupt for the caller, too. SIGTERM
    ends the run in the same way and then the process, as it would have without us. Only in the main thread, and the latter
    two only where nobody else handles them.

    The loop is never torn out of its own work: the first signal is only noted, unless a trial runs in this process;
    the second one gets the loop out of a callback or searcher that does not come back; the third out of everything. A
    trial in this process that swallows KeyboardInterrupt for ever is ended with the process, by the fifth (its reports
    survive). A child that a trial or a hook forks has the handlers of before the run: a pool ends its processes by
    SIGTERM, and the run is the parent's.
    """

    def __init__(self, loop: Interruptible) -> None:
        self._loop = loop
        self._before: dict[int, Any] = {}
        self._terminated = False
        self._last = 0, 0.0  # the last signal that counted, and when it came

    def catch(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if not os.environ.get("TUNE_DISABLE_SIGINT_HANDLER"):
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._on_signal)
        for number in (signal.SIGTERM, signal.SIGUSR1):
            if has_no_handler(number):
                self._before[number] = signal.signal(number, self._on_signal)
        _caught.append(self)

    def _on_signal(self, number: int, frame: Any) -> None:
        loop = self._loop
        now = time.monotonic()
        if number == self._last[0] and now - self._last[1] < ONE_SIGNAL_S:
            return
        self._last = number, now
        loop.interrupts += 1
        in_trial = loop.in_trial
        if in_trial and (loop.interrupts >= LAST_INTERRUPT or (self._terminated and number == signal.SIGTERM)):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._terminated = self._terminated or number == signal.SIGTERM
        enough = 2 if loop.turning else 3  # while results are brought home, one more
        if in_trial:
            loop.interrupts_trial()
        if loop.interrupts >= enough or in_trial:
            raise KeyboardInterrupt

    def restore(self) -> None:
        """The handlers as they were."""
        if self in _caught:
            _caught.remove(self)
        while self._before:
            signal.signal(*self._before.popitem())

    def pass_on(self) -> None:
        """What the caller, or the system, shall see of it besides the results."""
        if self._terminated:
            os.kill(os.getpid(), signal.SIGTERM)
        if self._loop.interrupts > 1:
            raise KeyboardInterrupt
