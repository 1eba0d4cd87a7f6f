"""A trial's prints, to files of its folder and still to where they would have gone."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TextIO

from fasttune import _core
from fasttune.plain_files import plain_opener
from fasttune.trial_context import TrialContext

_STREAMS = ("stdout", "stderr")
_open: set[int] = set()  # trials of this process that are logged now; some may be left inside their report
# Never let go of while somebody may print: `print` of CPython holds the stream that it writes to by no reference of its own,
# so one that a thread is just writing to would be freed under it (seen as a segmentation fault with 3.11).
_made: deque[Tee] = deque(maxlen=64)
_lock = threading.Lock()  # trials may run in several threads: one puts the streams in their place, the last one takes them away


def _renew_lock() -> None:
    """In a forked child: whoever held it is not there."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


class Tee:
    """A text stream that also writes to the file of whichever trial prints; everything else is the first stream's.

    A trial may keep it beyond its end, as a handler of ``logging`` does: then it goes on for the trials that follow.
    """

    def __init__(self, shown: TextIO, number: int) -> None:
        self._shown = shown
        self._number = number  # 0: standard output, 1: errors

    def write(self, text: str) -> int:
        kept = self._kept()
        if kept is not None:
            with suppress(ValueError):  # closed: the trial of this thread ends just now
                kept.write(text)
        return self._shown.write(text)

    def flush(self) -> None:
        kept = self._kept()
        if kept is not None:
            with suppress(ValueError):
                kept.flush()
        self._shown.flush()

    def _kept(self) -> TextIO | None:
        reporter = _core.current()  # of the trial that this thread belongs to
        logs = None if reporter is None else reporter.context.logs
        return None if logs is None else logs[self._number]

    def __getattr__(self, name: str) -> object:
        return getattr(self._shown, name)


def _tee_of(shown: TextIO, number: int) -> Tee:
    for one in _made:
        if one._shown is shown and one._number == number:
            return one
    _made.append(Tee(shown, number))
    return _made[-1]


@contextmanager
def tee(context: TrialContext, out_name: str, err_name: str) -> Iterator[None]:
    """While the block runs, what the trial of ``context`` prints also goes to these files of its folder, appended."""
    folder = context.trial_dir()
    with ExitStack() as stack:
        out = stack.enter_context(open(os.path.join(folder, out_name), "a", buffering=1, encoding="utf-8", opener=plain_opener))
        err = out if err_name == out_name else stack.enter_context(
            open(os.path.join(folder, err_name), "a", buffering=1, encoding="utf-8", opener=plain_opener)
        )
        context.logs = out, err
        with _lock:
            for number, name in enumerate(_STREAMS):
                shown = getattr(sys, name)
                if not isinstance(shown, Tee):
                    setattr(sys, name, _tee_of(shown, number))
            _open.add(id(context))
        try:
            yield
        finally:
            context.logs = None
            with _lock:
                _open.discard(id(context))
                for name in () if _open else _STREAMS:
                    if isinstance(found := getattr(sys, name), Tee):
                        setattr(sys, name, found._shown)
