"""What callbacks want to keep across sessions: a file in the experiment's folder, written now and then and at the end.

Each state is pickled by itself: one that cannot be costs no other. A killed run loses at most what its callbacks have
done since the file was written last.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fasttune.callback import CallbackList
from fasttune.folder import CALLBACKS_FILE, UNFINISHED
from fasttune.once import warn_in_run
from fasttune.plain_files import check_owner, plain_opener, write_whole
from fasttune.script import dumps

EVERY_S = 5.0  # so often it is written while the run goes on,
SHARE = 0.01  # but no more than this share of the time is spent on that


class CallbackStates:
    """The states of ``callbacks`` in the folder of an experiment. Nobody who keeps none costs anything."""

    def __init__(self, callbacks: CallbackList, folder: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._callbacks = callbacks
        self._path = os.path.join(folder, CALLBACKS_FILE)
        self._clock = clock
        self._due = clock() + EVERY_S
        self.wanted = callbacks.keeps_state

    def restore(self, trust: bool) -> None:
        """Give the callbacks what those of the session before have left. ForeignFileError for somebody else's file."""
        found: dict[str, Any] = {}
        with suppress(FileNotFoundError):
            if not trust:
                check_owner(self._path, os.lstat(self._path), "unpickled")
            with open(self._path, "rb", opener=plain_opener) as file:
                data = file.read()
            try:
                found = {name: pickle.loads(kept) for name, kept in pickle.loads(data).items()}
            except Exception as error:  # what a pickle raises is anything; the run itself is whole
                self._say(f"the states of callbacks in {self._path} cannot be read ({type(error).__name__}: {error})")
        homeless = self._callbacks.set_state(found)
        if homeless:
            self._say(f"no callback of this run is in the place of those that had left a state: {', '.join(homeless)}")

    def save_if_due(self) -> None:
        """Write them when that is long enough ago."""
        if self.wanted and self._clock() >= self._due:
            self.save()

    def save(self) -> None:
        """Write them now."""
        if not self.wanted:
            return
        began = self._clock()
        kept: dict[str, bytes] = {}
        for name, state in self._callbacks.get_state().items():
            try:
                kept[name] = dumps(state)
            except Exception as error:
                self._say(
                    f"the state of callback {name} cannot be pickled, and is not kept ({type(error).__name__}: {error})"
                )
        try:
            write_whole(self._path, pickle.dumps(kept), UNFINISHED)
        except OSError as error:  # the journal is whole: the run is not lost for it
            self._say(f"the states of callbacks are not kept: {error}")
        ended = self._clock()
        self._due = ended + max(EVERY_S, (ended - began) / SHARE)

    @staticmethod
    def _say(text: str) -> None:
        warn_in_run(text, RuntimeWarning, stacklevel=3)
