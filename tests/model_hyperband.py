"""The slow, obvious twin of ``_rules.HyperBand``: brackets as lists, everything looked for whenever it is asked."""

from __future__ import annotations

import math

from fasttune._core import CONTINUE, PAUSE, STOP

Stage = tuple[int, float]


class SlowBracket:
    def __init__(self, number: int, stages: list[Stage], band: int) -> None:
        self.number, self.stages, self.band = number, stages, band
        self.stage = 0
        self.members: list[int] = []
        self.taken = 0
        self.full = self.done = False
        self.progress = 0.0
        reached = [0.0, *(milestone for _, milestone in stages)]
        self.work = sum(n * (reached[k + 1] - reached[k]) for k, (n, _) in enumerate(stages))

    @property
    def size(self) -> int:
        return self.stages[self.stage][0]

    @property
    def milestone(self) -> float:
        return self.stages[self.stage][1]

    @property
    def last(self) -> bool:
        return self.stage == len(self.stages) - 1


class SlowHyperBand:
    """``held`` are the trials at their bracket's milestone, ``choosable`` those to be run; the others run."""

    def __init__(self, plan: list[list[Stage]], maximise: bool, stop_last_trials: bool, fair: bool) -> None:
        self.plan, self.stop_last_trials, self.fair = plan, stop_last_trials, fair
        self.sign = 1.0 if maximise else -1.0
        self.brackets: list[SlowBracket] = []
        self.home: dict[int, SlowBracket] = {}  # of live trials
        self.time: dict[int, float] = {}
        self.value: dict[int, float] = {}
        self.held: set[int] = set()
        self.choosable: set[int] = set()
        self.ended: list[int] = []
        self.closed = False
        self.num_stopped = self.halvings = 0

    # -- what happens

    def add(self, trial: int) -> int:
        if trial in self.home:
            self.again(trial)
            return self.home[trial].number
        current = self.brackets[-1] if self.brackets else None
        if current is None or current.done or current.taken >= current.size:
            number = len(self.brackets)
            current = SlowBracket(number, self.plan[number % len(self.plan)], number // len(self.plan))
            self.brackets.append(current)
        current.members.append(trial)
        current.taken += 1
        current.full |= current.taken >= current.size
        self.home[trial], self.time[trial], self.value[trial] = current, 0.0, math.nan
        self.choosable.add(trial)
        return current.number

    def again(self, trial: int) -> None:
        if trial in self.home:
            self.held.discard(trial)
            self.choosable.add(trial)

    def started(self, trial: int) -> None:
        self.choosable.discard(trial)

    def report(self, trial: int, time: float, value: float) -> int:
        if trial not in self.home:
            return STOP
        bracket = self.home[trial]
        self.choosable.discard(trial)
        self.held.discard(trial)
        if math.isfinite(time):
            bracket.progress += time - self.time[trial]
            self.time[trial] = time
        self.value[trial] = self.sign * value
        if self.endless(bracket) or not time >= bracket.milestone:
            return CONTINUE
        self.held.add(trial)
        self.process(bracket, trial)
        if trial not in self.home:
            return STOP
        if trial in self.choosable:
            self.choosable.discard(trial)
            return CONTINUE
        return PAUSE

    def remove(self, trial: int, lost: bool) -> None:
        if trial in self.home:
            bracket = self.home[trial]
            self.leave(trial)
            bracket.taken -= lost
            self.process(bracket)

    def close(self) -> None:
        self.closed = True
        if self.brackets:
            self.process(self.brackets[-1])

    def halve_now(self) -> bool:
        if not self.brackets:
            return False
        bracket = self.brackets[-1]
        if bracket.full or not bracket.members or not self.held.issuperset(bracket.members):
            return False
        bracket.full = True
        self.process(bracket)
        return True

    # -- the rule

    def endless(self, bracket: SlowBracket) -> bool:
        return bracket.last and not self.stop_last_trials

    def leave(self, trial: int) -> None:
        self.home.pop(trial).members.remove(trial)
        self.held.discard(trial)
        self.choosable.discard(trial)

    def rank(self, trial: int) -> tuple[bool, float]:
        """NaN below everything else; of equals the one that joined later is better, since sorting is stable."""
        value = self.value[trial]
        return (False, 0.0) if math.isnan(value) else (True, value)

    def process(self, bracket: SlowBracket, asking: int = -1) -> None:
        while bracket.members and self.held.issuperset(bracket.members):
            if bracket.last:
                bad, good = list(bracket.members), []
            elif bracket.full or self.closed:
                bracket.stage += 1
                bracket.full = True
                self.halvings += 1
                ranked = sorted(bracket.members, key=self.rank)
                keep = min(bracket.size, len(ranked))
                bad, good = ranked[: len(ranked) - keep], ranked[len(ranked) - keep :]
                self.num_stopped += len(bad)
            else:
                break
            for trial in bad:
                self.leave(trial)
                if trial != asking:
                    self.ended.append(trial)
            if good:
                bracket.taken = len(good)
            for trial in good:
                if self.endless(bracket) or self.time[trial] < bracket.milestone:
                    self.held.discard(trial)
                    self.choosable.add(trial)
        if not bracket.members:
            newest = bracket is self.brackets[-1]
            bracket.done |= bracket.taken >= bracket.size or self.closed or not newest

    # -- what is asked

    def choose(self) -> int:
        waiting = [b for b in self.brackets if self.choosable.intersection(b.members)]
        if not waiting:
            return -1
        first = min(waiting, key=lambda b: (b.band, min(b.progress / b.work, 1.0), b.number) if self.fair else b.number)
        return next(trial for trial in first.members if trial in self.choosable)

    def take_ended(self) -> list[int]:
        ended, self.ended = self.ended, []
        return ended

    def milestone(self, trial: int) -> float:
        bracket = self.home[trial]
        return math.inf if self.endless(bracket) else bracket.milestone
