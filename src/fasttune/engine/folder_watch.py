"""Whether the folder of a run is still the one that it writes to, and who says so while the loop cannot look."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fasttune.error import FolderGoneError
from fasttune.once import warn_in_run

WATCH_S = 1.0  # so often it is looked
LATE_S = 0.25  # a loop that has not looked this long after it was due is held up: another thread looks
WAKE_S = 0.5  # with these three somebody has looked 1.75 s after the folder went


class FolderWatch:
    """The loop looks in its turns. A trial in its process that reports nothing for minutes, or a hook that does not come
    back, keeps it from that: then a thread looks, and says what it found. It ends nothing, for the code that runs is the
    user's; the loop ends the run when it is back.

    Args:
        gone: Why what is written does not come into the folder any more, None while it does. Called in any thread.
    """

    def __init__(self, gone: Callable[[], str | None]) -> None:
        self._gone = gone
        self._due = 0.0

    def look(self, now: bool = False) -> bool:
        """Look if it is due, or ``now``. Whether it was looked. FolderGoneError, with the reason, when the folder has gone."""
        if not now and time.monotonic() < self._due:
            return False
        why = self._gone()
        if why is not None:
            raise FolderGoneError(why)
        self._due = time.monotonic() + WATCH_S
        return True

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Within this, it is said in time although the loop is held up."""
        self._due = time.monotonic() + WATCH_S
        over = threading.Event()
        thread = threading.Thread(target=self._stand_in, args=(over,), name="fasttune folder watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _stand_in(self, over: threading.Event) -> None:
        while not over.wait(WAKE_S):
            late = time.monotonic() - self._due > LATE_S
            why = self._gone() if late else None
            if why is not None and not over.is_set():
                warn_in_run(
                    f"{why}. The run ends as soon as what runs in this process comes back to it (a trial: at its next report); "
                    "what was reported is kept in memory",
                    RuntimeWarning,
                    stacklevel=1,  # nobody's line: a thread of ours
                )
                return
