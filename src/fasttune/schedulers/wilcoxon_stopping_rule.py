"""The racing of averages: a trial ends where a signed-rank test finds it worse than the best one on the same parts.

Wilcoxon 1945, Individual Comparisons by Ranking Methods (Biometrics Bulletin 1, 80-83). Racing of configurations over instances by
tests in blocks: Birattari, Stuetzle, Paquete, Varrentrapp 2002, A Racing Algorithm for Configuring Metaheuristics (GECCO).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fasttune.argument import checked_count, checked_number, shown
from fasttune.result import is_real
from fasttune.schedulers.base import TrialScheduler
from fasttune.schedulers.view import ExperimentView
from fasttune.trial import Trial

if TYPE_CHECKING:
    from fasttune.config import Mode

MOST_EXACT = 25  # differences, of which every assignment of signs is counted; of more, the sum of ranks is taken for normal
LARGEST = 1e300  # values beyond it are as good as infinite: sums of them are no numbers
Parts = dict[float, float]  # part of the average -> the trial's value


class WilcoxonStoppingRule(TrialScheduler):
    """Stops a trial whose average will hardly become the best: for trials that report one value for each fold, data set or seed.

    Each report is the value of one part (``time_attr`` says of which), and what a trial is worth is the mean of them. A trial is held
    against the best one that has ended, part by part: what makes a fold hard is the same for both, so a few folds tell more than
    two means do. It ends when its mean is worse on the parts that both have, and the one-sided signed-rank test says with
    ``p_threshold`` that it is not by chance. The best one is that of the least (or, with "max",
    the largest) mean among those that have the most parts; whom this rule stopped is never the best.

    Parts are compared whatever order each trial takes them in. In the same order for all, one where the folds that come first
    resemble all of them, trials end the soonest. Equal values tell nothing; what is not finite, or
    beyond 1e300, is compared with nothing.

    Args:
        time_attr: result key that says which part a report is of: a number.
        value_attr: result key of a part's value, where the run's metric is another one, such as the mean so far; None: the metric.
        metric, mode: what to compare and "min" or "max"; may be left to the run.
        p_threshold: how probable it may be that a trial as good as the best one looks as bad as one that is stopped does, above 0 and
            below 1. It is asked at every report, so over all parts it is more than that.
        grace_period: a trial has at least as many parts in common with the best one before it is stopped. With fewer than 4, no test
            can be as sure as 0.1, with fewer than 5 as 0.05.

    Raises:
        ValueError: for a p_threshold outside of its range, or a mode that is none.
    """

    compares = True

    def __init__(
        self,
        time_attr: str = "training_iteration",
        value_attr: str | None = None,
        metric: str | None = None,
        mode: Mode | None = None,
        *,
        p_threshold: float = 0.1,
        grace_period: int = 4,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        for name, key in {"time_attr": time_attr, "value_attr": value_attr}.items():
            if not (isinstance(key, str) and key) and not (key is None and name == "value_attr"):
                raise TypeError(f"{name} must be the name of a reported value, got {shown(key)}")
        self._time_attr = time_attr
        self._value_attr = value_attr
        self._p_threshold = checked_number("p_threshold", p_threshold, above=0, below=1)
        self._grace_period = checked_count("grace_period", grace_period, least=1)
        self._parts: dict[int, Parts] = {}  # of the trials that run, or have failed and may go on from a checkpoint
        self._stopped: set[int] = set()
        self._best: Parts = {}  # of the best trial that has ended

    def reads(self) -> Mapping[str, str]:
        named = {self._time_attr: "time_attr"}
        return named if self._value_attr is None else {**named, self._value_attr: "value_attr"}

    def on_trial_add(self, state: ExperimentView, trial: Trial) -> None:
        self.check_metric()
        self._stopped.discard(trial.index)  # one that is tried again goes on from a checkpoint: the parts before it are not told again

    def on_trial_result(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> str:
        parts = self._heard(trial, result)
        if not self._is_hopeless(parts):
            return self.CONTINUE
        self._stopped.add(trial.index)
        return self.STOP

    def on_trial_complete(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> None:
        parts = self._heard(trial, result)
        if trial.index not in self._stopped and self._is_better(parts):
            self._best = parts
        self._forget(trial)

    def on_trial_remove(self, state: ExperimentView, trial: Trial) -> None:
        self._forget(trial)

    def _heard(self, trial: Trial, result: dict[str, Any]) -> Parts:
        """What is known of a trial with this report, which may be shown once more. Values are losses."""
        parts = self._parts.setdefault(trial.index, {})
        part, value = result.get(self._time_attr), result.get(self._value_attr or self.metric or "")
        if is_real(part) and is_real(value) and abs(value) <= LARGEST:
            parts[part] = -value if self.mode == "max" else value
        return parts

    def _is_better(self, parts: Parts) -> bool:
        """Than the best one, of which all parts are known, too."""
        if not parts or len(parts) < len(self._best):
            return False
        return len(parts) > len(self._best) or _mean(parts.values()) < _mean(self._best.values())

    def _is_hopeless(self, parts: Parts) -> bool:
        differences = [value - self._best[part] for part, value in parts.items() if part in self._best]
        if len(differences) < self._grace_period or math.fsum(differences) <= 0.0:
            return False
        return signed_rank_p(differences) <= self._p_threshold

    def _forget(self, trial: Trial) -> None:
        self._parts.pop(trial.index, None)
        self._stopped.discard(trial.index)

    def debug_string(self) -> str:
        against = f"against a mean of {len(self._best)} parts" if self._best else "no trial has ended yet"
        return f"Using WilcoxonStoppingRule: {against}."


def signed_rank_p(differences: Sequence[float]) -> float:
    """The probability that the ranks of the positive differences have a sum as large as here, if either sign is as likely.

    Differences of 0 are left out; equal ones share their rank, and up to 25 the probability is that of all assignments of signs to
    the ranks that there are.
    """
    left = sorted((one for one in differences if one != 0.0), key=abs)
    n = len(left)
    if n == 0:
        return 1.0
    doubled = _doubled_ranks([abs(one) for one in left])
    seen = sum(rank for rank, one in zip(doubled, left, strict=True) if one > 0.0)
    if n > MOST_EXACT:  # the variance is that of a sum of ranks that each are there or not
        deviation = 0.5 * math.sqrt(sum(rank * rank for rank in doubled))
        return 0.5 * math.erfc((seen - 1 - sum(doubled) / 2) / deviation / math.sqrt(2.0))  # half of a rank for continuity
    ways = [1] + [0] * sum(doubled)  # in how many ways the positive ones have a sum
    for rank in doubled:
        for total in range(len(ways) - 1, rank - 1, -1):
            ways[total] += ways[total - rank]
    return sum(ways[seen:]) / (1 << n)


def _doubled_ranks(ordered: Sequence[float]) -> list[int]:
    """Twice the ranks of numbers in their order; equal ones have the mean of theirs, which is half of a whole number."""
    ranks: list[int] = []
    while len(ranks) < len(ordered):
        first = len(ranks)
        end = first + 1
        while end < len(ordered) and ordered[end] == ordered[first]:
            end += 1
        ranks += [first + 1 + end] * (end - first)
    return ranks


def _mean(values: Collection[float]) -> float:
    return math.fsum(values) / len(values)
