"""How fast a run goes now, and how long it will go on."""

from __future__ import annotations

from typing import NamedTuple

MOST_LOOKS = 64  # that are kept
FEWEST_ENDS = 16  # trials that have ended since the look that is compared with, if there were so many
LATELY_S = 10.0  # that look is at least so long ago, or a quarter of the run


class Look(NamedTuple):
    """How a run stood at one moment."""

    at: float  # seconds since its start
    finished: int
    reports: int


class Rates(NamedTuple):
    """How fast it goes, and how long it will go on; None: nobody knows."""

    trials_per_s: float
    reports_per_s: float
    left_s: float | None


class Pace:
    """Told now and then how the run stands, it compares that with an earlier moment.

    The moment is far enough back for several trials to have ended at each place where one runs, because the first to end are
    the short ones; and it is no older, because trials get shorter (stopped early) or longer (the good ones) as a run goes on.

    Args: how the run stands when it begins; one that goes on has trials that ended earlier.
    """

    def __init__(self, at: float = 0.0, finished: int = 0, reports: int = 0) -> None:
        self._looks = [Look(at, finished, reports)]
        self._step = 0.0  # seconds between two that are kept

    def see(
        self, at: float, finished: int, running: int, reports: int, total: int | None, done: bool = False
    ) -> Rates:
        """The run stands so: what it has done, what runs, how many trials there will be. ``done``: it is over, and its rates
        are those of all of it."""
        now = Look(at, finished, reports)
        since = self._looks[0] if done else self._earlier(now, max(FEWEST_ENDS, 2 * running))
        took, ended = at - since.at, finished - since.finished
        if took <= 0:
            return Rates(0.0, 0.0, None)
        left = None
        if total is not None and ended and not done:
            # what runs is half done, on average
            left = max(0.0, total - finished - running / 2) * took / ended
        if not done:
            self._keep(now)
        return Rates(ended / took, (reports - since.reports) / took, left)

    def _earlier(self, now: Look, ends: int) -> Look:
        """The latest look since which so many trials have ended, and which is not of a moment ago; else the first."""
        first = self._looks[0]
        ago = min(LATELY_S, (now.at - first.at) / 4)
        for look in reversed(self._looks):
            if now.finished - look.finished >= ends and now.at - look.at >= ago:
                return look
        return first

    def _keep(self, now: Look) -> None:
        if now.at - self._looks[-1].at < self._step:
            return
        self._looks.append(now)
        if len(self._looks) > MOST_LOOKS:  # every other one, from then on twice as far apart; the first one stays
            self._looks = self._looks[::2]
            self._step = max(2 * self._step, (now.at - self._looks[0].at) / MOST_LOOKS)
