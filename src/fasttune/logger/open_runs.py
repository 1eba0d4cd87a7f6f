"""The runs of a library that are open: one for each trial that is logged just now."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

R = TypeVar("R")

MOST = 64  # each has a file, a thread or a connection, and thousands of trials may be paused


class OpenRuns(Generic[R]):
    """Opens a trial's run when it is asked for, and closes that which was not asked for longest when there are many.

    Args:
        make: opens the run of a trial, which may have been open before.
        put_away: closes one whose trial is not over.
    """

    def __init__(self, make: Callable[[Any], R], put_away: Callable[[R], None], most: int = MOST) -> None:
        self._make = make
        self._put_away = put_away
        self._most = most
        self._runs: OrderedDict[str, R] = OrderedDict()  # by trial id, the one asked for last at the end

    def of(self, trial: Any) -> R:
        """The run of a trial."""
        name = trial.trial_id
        if name not in self._runs:
            while len(self._runs) >= self._most:
                self._put_away(self._runs.popitem(last=False)[1])
            self._runs[name] = self._make(trial)
        self._runs.move_to_end(name)
        return self._runs[name]

    def take(self, trial: Any) -> R:
        """The run of a trial that is over; whoever takes it closes it."""
        run = self.of(trial)
        del self._runs[trial.trial_id]
        return run

    def __iter__(self) -> Iterator[R]:
        return iter(self._runs.values())

    def put_all_away(self) -> None:
        """Close those that are left."""
        while self._runs:
            self._put_away(self._runs.popitem()[1])
