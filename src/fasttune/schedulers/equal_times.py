"""Who is among the best and the worst of a population, at equal training time.

Scores change while a population trains, so one that was told an interval later than another is better for that alone. Here each
trial's scores are kept by the perturbation interval in which they came, and trials are ranked within one.
"""

from __future__ import annotations

import math
import random

from fasttune import _rules

FARTHEST = 2.0**53  # perturbation intervals; times may be infinite
TRIES = 32  # donors that are drawn, until one has saved


class EqualTimes:
    """Scores of trials by perturbation interval.

    A trial is ranked in the latest interval that it and more than half of the population have come to, by the scores of that
    interval. A score from before a trial's last copy says nothing of what it is now: such a trial is in neither quantile until it has
    one of its own. The score that it had stays what others are ranked by, until its next one in that interval.

    Trials are numbers. Scores of intervals that all trials have left behind are forgotten.
    """

    def __init__(self, quantile_fraction: float, interval: float, maximise: bool) -> None:
        self._arguments = quantile_fraction, 1.0, 0.0, maximise
        self._interval = interval
        self._ranks: dict[int, _rules.Population] = {}  # of each interval, earliest first as long as nobody goes back
        self._in: dict[int, dict[int, float]] = {}  # the scores of each trial, by interval
        self._at: dict[int, int] = {}  # the interval that each trial is in
        self._many: dict[int, int] = {}  # how many trials are in each interval, and in none later
        self._came: dict[int, int] = {}  # how many have a score in it, those without a rank (NaN) included
        self._copied: dict[int, int] = {}  # the interval up to which a trial's scores are not its own
        self._undecided: dict[int, dict[int, None]] = {}  # trials that wait for a decision, by interval, in order
        self._saved: set[int] = set()  # trials that were UPPER when they were last decided: those have saved

    def number(self, time: float) -> int:
        """Of the interval in which a time lies."""
        return math.floor(min(time / self._interval, FARTHEST))

    # -- what comes ---------------------------------------------------------------------------------------------------

    def enter(self, trial: int, time: float, value: float) -> None:
        """A trial has a score at a perturbation. In intervals that it has jumped over it has the score from before them."""
        now, before = self.number(time), self._at.get(trial)
        self.decided(trial)
        mine = self._in.setdefault(trial, {})
        if before is not None and before in mine:
            for between in [one for one in self._ranks if before < one < now and one not in mine]:
                self._put(trial, between, mine[before])
        self._put(trial, now, value)
        self._move(trial, now)
        self._undecided.setdefault(now, {})[trial] = None

    def _put(self, trial: int, number: int, value: float) -> None:
        if number not in self._ranks:
            self._ranks[number] = _rules.Population(*self._arguments)
            self._came[number] = 0
        self._came[number] += number not in self._in[trial]
        self._in[trial][number] = value
        self._ranks[number].reach(trial, 1.0, value)

    def _move(self, trial: int, number: int | None) -> None:
        before = self._at.pop(trial, None)
        if before is not None:
            self._many[before] -= 1
            if not self._many[before]:
                del self._many[before]
        if number is not None:
            self._at[trial] = number
            self._many[number] = self._many.get(number, 0) + 1
        if before is not None and before != number and before not in self._many:
            self._forget_before(min(self._many, default=0))

    def _forget_before(self, number: int) -> None:
        for old in [one for one in self._ranks if one < number]:
            del self._ranks[old], self._came[old]
            for mine in self._in.values():
                mine.pop(old, None)

    def copied(self, trial: int, donor: int) -> None:
        """The trial, which is decided about, goes on from where the donor was decided last."""
        there = self._at[donor]
        self._move(trial, there)
        self._copied[trial] = there
        self._saved.discard(trial)

    def is_copy(self, trial: int) -> bool:
        """Whether the trial has no score yet since it copied another one."""
        return trial in self._copied and self._copied[trial] == self._at[trial]

    def forget(self, trial: int) -> None:
        """The trial is over, or begins anew."""
        self.decided(trial)
        for number in self._in.pop(trial, {}):
            self._ranks[number].forget(trial)
            self._came[number] -= 1
        self._move(trial, None)
        self._copied.pop(trial, None)
        self._saved.discard(trial)

    # -- who waits for a decision -------------------------------------------------------------------------------------

    @property
    def anybody_waits(self) -> bool:
        return bool(self._undecided)

    def is_undecided(self, trial: int) -> bool:
        return trial in self._undecided.get(self._at.get(trial, -1), ())

    def undecided(self, up_to: float) -> list[int]:
        """Trials that wait for a decision in this interval or an earlier one, in the order of their coming."""
        return [trial for number in sorted(self._undecided) if number <= up_to for trial in self._undecided[number]]

    def decided(self, trial: int) -> None:
        """The trial does not wait for a decision any more."""
        number = self._at.get(trial, -1)
        waiting = self._undecided.get(number, {})
        waiting.pop(trial, None)
        if not waiting:
            self._undecided.pop(number, None)

    # -- who is where -------------------------------------------------------------------------------------------------

    def settle(self, trial: int, population: int) -> int:
        """Decide about a trial of so many that live: LOWER, MIDDLE or UPPER. One that came too early to be compared anywhere may
        turn out to be of the upper ones: it is UPPER, and saves, like them."""
        self.decided(trial)
        number = self._compared_in(trial, population)
        if number is None:
            place = _rules.UPPER if population > 1 else _rules.MIDDLE
        else:
            own = number > self._copied.get(trial, -1)
            place = self._ranks[number].place(trial) if own else _rules.MIDDLE
        if place == _rules.UPPER:
            self._saved.add(trial)
        else:
            self._saved.discard(trial)
        return place

    def donor(self, trial: int, population: int, rng: random.Random) -> int | None:
        """One of the upper quantile where the trial is compared, that has saved where it is now; None where none is found."""
        number = self._compared_in(trial, population)
        if number is None:
            return None
        ranks = self._ranks[number]
        k = ranks.quantile_size
        for _ in range(TRIES if k else 0):
            found = ranks.at(len(ranks) - k + rng.randrange(k))
            if found in self._saved and not self.is_undecided(found):
                return found
        return None

    def _compared_in(self, trial: int, population: int) -> int | None:
        mine = self._in.get(trial, {})
        last = self._at.get(trial, -1)
        return max((one for one in mine if one <= last and 2 * self._came[one] > population), default=None)
