"""ASHA that finds out from which rung on it can believe what it sees.

Promotions are those of Li et al. 2020 (A System for Massively Parallel Hyperparameter Tuning, Algorithm 2). The lowest rung is chosen
by how well the ranks of rungs agree with later ones, as Hyper-Tune (Li et al. 2022, section 4.1) weighs its brackets.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from fasttune.agreement import StepValues
from fasttune.argument import checked_number
from fasttune.result import is_real
from fasttune.schedulers.asha_promotion import ASHAPromotionScheduler
from fasttune.schedulers.base import TrialScheduler
from fasttune.schedulers.view import ExperimentView
from fasttune.stopper import resolve_stop
from fasttune.trial import Trial

if TYPE_CHECKING:
    from fasttune.config import Mode

PROBES = 0.1  # of the training, which goes to trials that begin at other rungs than the one that is thought best
FAR = 1e15  # where trials of a run end that does not say it: never
BEFORE_THE_END = 0.8  # of max_t, at which trials that are trained to the end are looked at once more
AHEAD = 1.15  # times as promising as a lower rung must a higher one be: without, chance makes trials longer than they need be
FIRST_BUDGET = 10.0  # trainings to the end that a run is thought to be good for, at least
_NORMAL = NormalDist()


class AutoScheduler(ASHAPromotionScheduler):
    """The scheduler to take when nothing is known: ``scheduler="auto"``.

    Pauses trials at rungs and goes on with the best third, as :class:`ASHAPromotionScheduler` does; a free worker never waits. It
    watches how well the ranks of trials at a rung agree with their ranks at later ones. Where early rungs say nothing, trials
    begin with a longer run, to the rung that promises most for the training that it costs, at the worst to the end. A tenth
    of the training goes to trials that begin at other rungs, so that the answer is always looked at again.

    Args:
        time_attr: result key that counts the training resource; must grow. Units of max_t and grace_period.
        metric, mode: what to compare and "min" or "max"; may be left to the run.
        max_t: trials end here, or earlier by themselves. None: where the run's ``stop`` says so
            (``stop={"training_iteration": 81}``), else where they end by themselves.
        grace_period: the lowest rung.
        reduction_factor: one in this many is promoted; rungs lie as many times apart.

    Raises:
        ValueError: an argument is out of range, or there is no metric when trials are added.
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: Mode | None = None,
        max_t: float | None = None,
        grace_period: float = 1,
        reduction_factor: float = 3,
    ) -> None:
        self._open = max_t is None
        if max_t is None:
            checked_number("grace_period", grace_period, above=0, finite=True)
            checked_number("reduction_factor", reduction_factor, above=1, finite=True)
            max_t = max(FAR, grace_period)
        super().__init__(time_attr, metric, mode, max_t, grace_period, reduction_factor)
        self._values = StepValues()
        self._unchosen: set[int] = set()  # trials that run on from a rung without having been chosen for it
        self._spent = 0.0  # time that trials trained, up to rungs
        self._last = 0.0  # that any trial came to
        self._has_ended = False  # a trial was trained to its end
        self._base = 0
        self._shares: list[float] = []
        self._judged = 0
        self._lay_rungs(max_t)

    def _lay_rungs(self, max_t: float) -> None:
        _, grace_period, reduction_factor = self._arguments
        self._arguments = float(max_t), min(grace_period, float(max_t)), reduction_factor
        self._made = None
        self._times = self.milestones
        self._came = [0] * len(self._times)  # to each rung, without having been chosen
        self._ran_on = [0] * len(self._times)  # from there

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take the run's metric and mode over, and from its ``stop`` where trials end, unless that was said here. False if the
        scheduler already has its own."""
        end = resolve_stop(spec.get("stop")).thresholds.get(self._time_attr)
        if self._open and is_real(end) and 0 < end < math.inf:
            self._open = False
            self._lay_rungs(float(end))
        return super().set_search_properties(metric, mode, **spec)

    # -- deciding -----------------------------------------------------------------------------------------------------

    def on_trial_result(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> str:
        rule = self._rule()
        before = rule.rung(trial.index)
        self._note_before_the_end(trial, before, result)
        decision = super().on_trial_result(state, trial, result)
        rung = rule.rung(trial.index)
        if rung == before:
            return decision
        self._note(trial, rung, before, float(result[self.metric or ""]))
        if decision != TrialScheduler.PAUSE or not self._runs_on(trial, rung):
            self._unchosen.discard(trial.index)
            return decision
        rule.promote(trial.index)
        return TrialScheduler.CONTINUE

    def ask_from(self, trial: Trial) -> int:
        """The next rung; on the way to the last one once before it."""
        found = super().ask_from(trial)
        near = self._before_the_end
        if found == 0 or near is None or self._rule().rung(trial.index) < len(self._times) - 2:
            return found
        came = (trial.last_result or {}).get("training_iteration", 0)
        return math.ceil(near) if came < near else found

    @property
    def _before_the_end(self) -> float | None:
        """A time just before the end: how well ranks there agree with those at the end is what noise leaves of any agreement."""
        if self._open or len(self._times) < 2:
            return None
        near = BEFORE_THE_END * self._times[-1]
        return near if near > self._times[-2] else None

    def _note_before_the_end(self, trial: Trial, rung: int, result: dict[str, Any]) -> None:
        near = self._before_the_end
        time, value = result.get(self._time_attr), result.get(self.metric or "")
        if near is None or rung != len(self._times) - 2 or not is_real(time) or not is_real(value) or math.isnan(value):
            return
        if near <= time < self._times[-1]:
            self._values.enter(trial.index, near, -value if self.mode == "max" else value)

    def _note(self, trial: Trial, rung: int, before: int, value: float) -> None:
        """A trial came to a rung."""
        time = self._times[rung]
        self._spent += time - (self._times[before] if before >= 0 else 0.0)
        self._last = max(self._last, time)
        if not math.isnan(value):
            self._values.enter(trial.index, time, -value if self.mode == "max" else value)

    def _runs_on(self, trial: Trial, rung: int) -> bool:
        """Whether a trial that nobody has chosen yet goes on, so that it begins at a later rung. Whatever its value is: who runs
        on tells what a rung is worth."""
        if rung > 0 and trial.index not in self._unchosen:
            return False
        self._came[rung] += 1
        if self._ran_on[rung] + 0.5 >= self._share(rung) * self._came[rung]:
            return False
        self._ran_on[rung] += 1
        self._unchosen.add(trial.index)
        return True

    def on_trial_complete(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> None:
        super().on_trial_complete(state, trial, result)
        time, value = result.get(self._time_attr), result.get(self.metric or "")
        self._has_ended = self._has_ended or self._open or (is_real(time) and time >= self._last)
        if not (is_real(time) and is_real(value) and time >= self._last) or math.isnan(value):
            return
        self._last = float(time)
        if self._open or time < self._times[-1]:  # it ended by itself, before max_t: it comes no nearer to the end
            end = self._last if self._open else self._times[-1]
            self._values.enter(trial.index, end, -value if self.mode == "max" else value)

    def _over(self, trial: Trial) -> None:
        super()._over(trial)
        self._unchosen.discard(trial.index)

    # -- which rung to begin at ---------------------------------------------------------------------------------------

    @property
    def first_rung(self) -> float:
        """The time to which trials are trained, for now, before they are compared."""
        return self._times[self._base]

    @property
    def _end(self) -> float:
        """Where trials end, as far as that is known."""
        return self._last if self._open else self._times[-1]

    def trust(self) -> list[float]:
        """How well ranks at each rung are thought to agree with those at the end, from 0 to 1."""
        return [self._values.trust(time, self._end) for time in self._times[: self._highest() + 1]]

    def _highest(self) -> int:
        """The number of the rung at which trials end."""
        if not self._open:
            return len(self._times) - 1
        return next((k for k, time in enumerate(self._times) if time >= self._last), len(self._times) - 1)

    def _share(self, rung: int) -> float:
        """Of the trials that come to a rung unchosen, those that run on. Looked at again when a tenth more have come."""
        if sum(self._came) >= self._judged + max(1, self._judged // 10):
            self._judged = sum(self._came)
            self._plan()
        return self._shares[rung] if rung < len(self._shares) else 0.0

    def _plan(self) -> None:
        """The rung that promises most: the expected best of as many trials as could begin there, as far as the rung can tell.
        The root of its agreement, since rungs above it choose once more."""
        highest = self._highest()
        factor = self._arguments[2]
        costs = [time * (1.0 + (1.0 - 1.0 / factor) * (highest - k)) for k, time in enumerate(self._times[: highest + 1])]
        budget = max(FIRST_BUDGET * self._end, 2.0 * self._spent)
        worth = [
            math.sqrt(trust) * expected_best(budget / cost) for trust, cost in zip(self.trust(), costs, strict=True)
        ]
        self._base = 0
        for k in range(1, highest + 1):
            if worth[k] > AHEAD * worth[self._base]:
                self._base = k
        others = PROBES / max(1, highest)
        many = [(1.0 - PROBES if k == self._base else others) / cost for k, cost in enumerate(costs)]
        self._shares = [sum(many[k + 1 :]) / sum(many[k:]) for k in range(highest + 1)]

    def choose_trial_to_run(self, state: ExperimentView) -> Trial | None:
        """Where nothing else can begin and nothing runs, the most promising trial goes on, until one was trained to its end: of a
        run with few trials none would have been."""
        found = super().choose_trial_to_run(state)
        if found is not None or self._has_ended or state.total is None or len(state.trials) < state.total:
            return found
        paused = state.trials_of("PAUSED")
        if not paused or state.trials_of("RUNNING", 1):
            return None
        rung = self._rule().rung
        best = min(paused, key=lambda one: (-rung(one.index), self._loss(one), one.index))
        self._promised[best.index] = rung(best.index)
        self._rule().promote(best.index)
        return best

    def _loss(self, trial: Trial) -> float:
        value = (trial.last_result or {}).get(self.metric or "")
        if not is_real(value) or math.isnan(value):
            return math.inf
        return -float(value) if self.mode == "max" else float(value)

    def _may_promote(self, state: ExperimentView, rung: int) -> bool:
        """Nobody is promoted from rungs that are not trusted, as long as other trials can begin."""
        return rung >= self._base or not state.trials_of("PENDING", 1)

    def debug_string(self) -> str:
        sizes = self._rule().rung_sizes()
        told = " | ".join(
            f"Iter {self._times[k]:g}: {sizes[k]}, trusted {trust:.2f}" for k, trust in reversed(list(enumerate(self.trust())))
        )
        return f"Using {type(self).__name__}: trials begin with {self.first_rung:g}; trials at rungs: {told}"


def expected_best(n: float) -> float:
    """Of n draws from the normal distribution, about (Blom 1958); never below that of two."""
    n = max(n, 2.0)
    return _NORMAL.inv_cdf((n - 0.375) / (n + 0.25))
