"""What the searcher hears of trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from fasttune.search.base import Searcher

if TYPE_CHECKING:
    from fasttune.hook_times import HookTimes


class HearingSource(Protocol):
    """What is looked at of the experiment."""

    def trial_id(self, i: int) -> str: ...
    def is_of_this_space(self, i: int) -> bool: ...


class Hearing:
    """Tells the searcher of the trials that it suggested, in the space that it searches; of their ends once. Where there is no
    searcher nobody is told.

    Attributes:
        of_reports: It learns from reports, not only from ends.
    """

    def __init__(self, searcher: Searcher | None, times: HookTimes, known: HearingSource) -> None:
        self.of_reports = searcher is not None and type(searcher).on_trial_result is not Searcher.on_trial_result
        self._searcher = searcher
        self._times = times
        self._known = known
        self._held_back: set[int] = set()  # paused to wait for others, as it was told
        self._unheard: set[int] = set()  # trials that begin again after they had ended: it knows what it knows

    def _about(self, i: int) -> Searcher | None:
        """The searcher, if it is told of trial i."""
        told = self._searcher is not None and i not in self._unheard and self._known.is_of_this_space(i)
        return self._searcher if told else None

    def reported(self, i: int, flat: dict[str, Any]) -> None:
        """Trial i has reported, and goes on."""
        if (searcher := self._about(i)) is not None:
            self._times.call(searcher.on_trial_result, self._known.trial_id(i), flat)

    def ended(self, i: int, result: Callable[[], dict[str, Any] | None], error: bool = False) -> None:
        """Trial i is over, perhaps because it has failed for good, with this flat result."""
        if (searcher := self._about(i)) is not None:
            self._times.call(searcher.on_trial_complete, self._known.trial_id(i), result(), error=error)

    def again(self, i: int) -> None:
        """Trial i begins again after it had ended: nothing more is told of it."""
        self._unheard.add(i)

    def held_back(self, i: int) -> None:
        """Trial i is paused until others have come as far."""
        if self._searcher is not None:
            self._held_back.add(i)
            self._times.call(self._searcher.on_pause, self._known.trial_id(i))

    def goes_on(self, i: int) -> None:
        """Trial i goes on, perhaps from where it was held back."""
        if i in self._held_back:
            self._held_back.discard(i)
            if self._searcher is not None:
                self._times.call(self._searcher.on_unpause, self._known.trial_id(i))

    def left(self, i: int) -> None:
        """Trial i, or an attempt of it, is over."""
        self._held_back.discard(i)
