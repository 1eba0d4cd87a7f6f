"""Population based training: the worst copy the best, and change what they have copied.

Jaderberg, Dalibard, Osindero, Czarnecki, Donahue, Razavi, Vinyals, Green, Dunning, Simonyan, Fernando, Kavukcuoglu:
Population Based Training of Neural Networks, arXiv:1711.09846, 2017; exploit is its truncation selection (4.1).
"""

from __future__ import annotations

import heapq
import json
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from fasttune import _rules
from fasttune.argument import checked_count, checked_number, shown
from fasttune.error import TuneError
from fasttune.folder import PBT_GLOBAL, PBT_POLICY
from fasttune.metric_values import with_text_keys
from fasttune.once import warn_in_run
from fasttune.schedulers.base import Change, Order, Save, TrialScheduler
from fasttune.schedulers.equal_times import FARTHEST, EqualTimes
from fasttune.schedulers.explore import Explorer, completed, original_tag, perturbed_tag, takes
from fasttune.schedulers.view import ExperimentView
from fasttune.space.domains import contains_domains, domains_of
from fasttune.space.nested import path_name
from fasttune.trial import Trial

if TYPE_CHECKING:
    from fasttune.config import Mode

WAITING = ("PENDING", "PAUSED")
COMPARE = ("equal_times", "last_scores")
MOST_PLACES = 64  # trials that run at once, of which decisions wait for the next ones
PATIENCE = 10  # copies that a trial may make without getting any further


class PopulationBasedTraining(TrialScheduler):
    """Every ``perturbation_interval`` a trial of the lower quantile goes on from the checkpoint of one of the upper
    quantile, with that trial's config changed a little.

    Decisions are made at perturbations only; between them trials are not asked. With more trials than fit at once they
    take turns: each is paused at its perturbation and the one that has trained least goes on. Trials must be able to go
    on from checkpoints: class Trainables, or functions that report them.

    Args:
        time_attr: result key of the units of the next ones; it must grow.
        metric, mode: what to compare and "min" or "max"; may be left to the run.
        perturbation_interval: time between two perturbations of a trial.
        burn_in_period: no perturbations before.
        hyperparam_mutations: {name: list, tuple, domain, function without arguments, or a dict of those}: see
            :class:`~fasttune.schedulers.explore.Explorer`. What the search space does not name is drawn from here.
        quantile_fraction: size of the quantiles, 0 (no exploitation) to 0.5: of n trials that have a score
            ceil(n * fraction), or floor(n / 2) if that is more than half.
        resample_probability: of drawing a value anew.
        perturbation_factors: numbers are multiplied by one of these otherwise.
        custom_explore_fn: called with the explored config, returns the one to use.
        log_config: write ``pbt_global.txt`` and ``pbt_policy_<trial id>.txt`` into the experiment's folder when the run
            ends: a JSON line per copy [tag, donor's tag, iteration, donor's iteration, donor's config, new config]. A
            trial's file begins with its donor's, so that it tells how its weights were trained.
        require_attrs: a report without time_attr or metric is a RuntimeError at a perturbation; else it is passed over.
        synch: all trials wait at a perturbation for the last one, and are compared then.
        compare: "equal_times": scores of equal training time are compared. A trial that takes turns with others is decided about
            when it may be run next; one that comes early where all run at once by the interval before. "last_scores",
            as in Ray Tune: with the last scores of the others when it comes, which may be an interval older than its own.
        clip: bring perturbed numbers to the nearest value of their domain, bounds and steps included. As in Ray Tune and in
            the paper they may leave it otherwise.
        seed: of the choice of donors and of what is explored.

    A copy goes back to where its donor has saved. When training only makes scores worse, trials could go back to the
    same good checkpoint in turn and never end: a trial that has copied ten times and has not got a perturbation
    interval further since goes on with what it has, and a warning says so once.

    A donor is drawn from the upper quantile; one that was not in it at its own last perturbation has not saved for it,
    and nothing is copied then. Of equal scores the one that came later ranks lower: trials in lock step still exploit.
    """

    takes_searcher = False
    compares = True
    pauses = True
    pauses_to_change = True

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: Mode | None = None,
        perturbation_interval: float = 60.0,
        burn_in_period: float = 0.0,
        hyperparam_mutations: Mapping[str, Any] | None = None,
        quantile_fraction: float = 0.25,
        resample_probability: float = 0.25,
        perturbation_factors: Sequence[float] = (1.2, 0.8),
        custom_explore_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
        *,
        clip: bool = False,
        compare: Literal["equal_times", "last_scores"] = "equal_times",
        seed: int = 0,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        checked_compare(compare)
        if hyperparam_mutations is not None and not isinstance(hyperparam_mutations, Mapping):
            raise TypeError(f"hyperparam_mutations must be a dict, got {shown(hyperparam_mutations)}")
        if custom_explore_fn is not None and not (callable(custom_explore_fn) and takes(custom_explore_fn, 1)):
            raise TypeError(
                f"custom_explore_fn must be a function of the explored config, got {shown(custom_explore_fn)}"
            )
        mutations = dict(hyperparam_mutations or {})
        if not mutations and custom_explore_fn is None:
            raise TuneError(
                f"{type(self).__name__} needs hyperparam_mutations or custom_explore_fn: it would explore nothing"
            )
        self._interval = checked_number("perturbation_interval", perturbation_interval, above=0)
        self._burn_in = checked_number("burn_in_period", burn_in_period, least=0)
        self._quantile_fraction = checked_number("quantile_fraction", quantile_fraction, least=0, most=0.5)
        resample_probability = checked_number("resample_probability", resample_probability, least=0, most=1)
        self.log_config = log_config
        self._time_attr = time_attr
        self._mutations = mutations
        self._explorer = Explorer(mutations, resample_probability, factors_of(perturbation_factors), clip)
        self._custom_explore_fn = custom_explore_fn
        self._require_attrs = require_attrs
        self._synch = synch
        self._seed = checked_count("seed", seed)
        self._next_sync = max(self._interval, self._burn_in)
        self._compare = compare
        self._made: _rules.Population | None = None
        self._ranked: EqualTimes | None = None
        self._orders: list[Order] = []
        self._waiting: list[tuple[float, int]] = []  # heap of (time trained, trial); what has changed since is skipped
        self._turns: list[tuple[float, int]] = []  # the same heap, for who decides about those that may be run next
        self._places = 1  # trials that have run at once
        self._passed: deque[tuple[float, int]] = deque()  # taken from there while they could not be run
        self._live: dict[int, Trial] = {}  # in the order of their adding
        self._behind = 0  # live trials that have not reached the next synchronous perturbation
        self._explored: dict[int, int] = {}  # how often, per trial
        self._laps: dict[int, tuple[int, int]] = {}  # trial -> the last interval in which it copied, copies since then
        self._warned = False
        self._warned_of_circles = False
        self.num_checkpoints = 0
        self.num_perturbations = 0

    # -- before the run -----------------------------------------------------------------------------------------------

    def complete_space(self, space: Mapping[str, Any]) -> dict[str, Any]:
        return completed(space, self._mutations)

    @property
    def population(self) -> _rules.Population:
        """Scores and ranks of the trials."""
        if self._made is None:
            self._made = _rules.Population(self._quantile_fraction, self._interval, self._burn_in, self.mode != "min")
        return self._made

    @property
    def _equal_times(self) -> EqualTimes | None:
        """Who is compared at which time; None: the last scores are compared, those of a synchronous population at one time."""
        if self._ranked is None and self._compare == "equal_times" and not self._synch:
            self._ranked = EqualTimes(self._quantile_fraction, self._interval, self.mode != "min")
        return self._ranked

    # -- trials come and go -------------------------------------------------------------------------------------------

    def reads(self) -> Mapping[str, str]:
        return {self._time_attr: "time_attr"}

    def on_trial_add(self, state: ExperimentView, trial: Trial) -> None:
        self.check_metric()
        i = trial.index
        self._forget(i)
        self._live[i] = trial
        self._behind += 1
        self._wait(i)

    def on_trial_complete(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> None:
        self._leave(trial)

    def on_trial_remove(self, state: ExperimentView, trial: Trial) -> None:
        self._leave(trial)

    def on_trial_error(self, state: ExperimentView, trial: Trial) -> None:
        self._leave(trial)

    def _leave(self, trial: Trial) -> None:
        """The trial is no part of the population any more; the others may have waited for it."""
        i = trial.index
        if i not in self._live:
            return
        del self._live[i]
        self._behind -= self._is_behind(i)
        self._forget(i)
        if self._synch and self._live and self._behind == 0:
            self._synchronise()
        elif self._equal_times is not None and self._equal_times.anybody_waits:
            self._settle_undecided(self._next_to_run())

    def _forget(self, i: int) -> None:
        self.population.forget(i)
        if self._equal_times is not None:
            self._equal_times.forget(i)

    # -- decisions ----------------------------------------------------------------------------------------------------

    def ask_from(self, trial: Trial) -> int:
        return math.ceil(self.population.due(trial.index)) if self._time_attr == "training_iteration" else 0

    def on_trial_result(self, state: ExperimentView, trial: Trial, result: dict[str, Any]) -> str:
        if result.get("done") or trial.is_finished():
            return self.CONTINUE
        time, value = result.get(self._time_attr), result.get(self.metric or "")
        if not isinstance(time, (int, float)) or not isinstance(value, (int, float)):
            return self._missing(trial, result)
        i = trial.index
        was_behind = self._synch and self._is_behind(i)
        if not self.population.reach(i, time, value):
            return self.CONTINUE
        self._reached(trial, time, value)
        if self._equal_times is not None:
            return self._compare_later(state, trial, time, value)
        self._wait(i)
        if self._synch:
            self._behind -= was_behind - self._is_behind(i)
            if self._behind == 0:
                self._synchronise()
            return self.PAUSE
        place = self.population.settle(i, time)
        if place == _rules.UPPER:
            self._save(trial)
        exploited = place == _rules.LOWER and self._exploit(trial)
        return self.PAUSE if exploited or self._others_wait(state) else self.CONTINUE

    def _compare_later(self, state: ExperimentView, trial: Trial, time: float, value: float) -> str:
        """Decide about the trials that may be run next, this one perhaps among them; the others wait for a decision: there will be
        more to compare them with when they have their next turn."""
        ranked, i = self._equal_times, trial.index
        assert ranked is not None
        self.population.settle(i, time)  # whatever is decided: its next perturbation is an interval later
        ranked.enter(i, time, value)
        if self._places < MOST_PLACES:
            self._places = max(self._places, len(state.trials_of("RUNNING", MOST_PLACES)))
        low = min(self._next_to_run(), ranked.number(time))
        self._wait(i)
        changed = self._settle_undecided(low, i)
        return self.PAUSE if i in changed or ranked.is_undecided(i) or self._others_wait(state) else self.CONTINUE

    def _next_to_run(self) -> float:
        """The interval up to which trials may be run next: that of the last of those who get the places, if all come free before
        anybody is chosen. Those that have copied were compared there. Nothing that ``choose_trial_to_run`` changes is looked
        at: a replay does not call it."""
        ranked, turns, found = self._equal_times, self._turns, list[tuple[float, int]]()
        assert ranked is not None
        while turns and len(found) < self._places:
            time, i = heapq.heappop(turns)
            if self._is_known(time, i) and not ranked.is_copy(i) and self._live[i].status in WAITING:
                found.append((time, i))  # who runs has another entry when it comes back
        for entry in found:
            heapq.heappush(turns, entry)
        return math.inf if len(found) < self._places else ranked.number(found[-1][0])

    def _settle_undecided(self, low: float, reporting: int = -1) -> set[int]:
        """Decide about those that came to this interval and no further, or to an earlier one: the best save first, then the
        worst copy them. Which copy. One that has been gone on with all the same, because another one could not be run, is
        decided about at its next perturbation."""
        ranked = self._equal_times
        assert ranked is not None
        places = []
        for i in ranked.undecided(low):
            if i == reporting or self._live[i].status in WAITING:
                places.append((self._live[i], ranked.settle(i, len(self._live))))
        for trial, place in places:
            if place == _rules.UPPER:
                self._save(trial)
        return {trial.index for trial, place in places if place == _rules.LOWER and self._exploit(trial)}

    def _reached(self, trial: Trial, time: float, value: float) -> None:
        """A trial has a new score at its perturbation."""

    def _missing(self, trial: Trial, result: dict[str, Any]) -> str:
        missing = [key for key in (self._time_attr, self.metric or "") if not isinstance(result.get(key), (int, float))]
        text = (
            f"{type(self).__name__} needs {' and '.join(missing)} as a number in every report, and trial "
            f"{trial.trial_id} reported {', '.join(sorted(result)[:10])}"
        )
        if self._require_attrs:
            raise RuntimeError(f"{text}; require_attrs=False passes over such reports")
        if not self._warned:
            self._warned = True
            warn_in_run(f"{text}: there is no perturbation without", stacklevel=2)
        return self.CONTINUE

    def _is_behind(self, i: int) -> bool:
        return self.population.trained(i) < self._next_sync

    def _synchronise(self) -> None:
        """All live trials wait at the perturbation: the best save first, then the worst copy them."""
        population = self.population
        time = max(population.trained(i) for i in self._live)
        places = [(trial, population.settle(i, time)) for i, trial in self._live.items()]
        for trial, place in places:
            if place == _rules.UPPER:
                self._save(trial)
        for trial, place in places:
            if place == _rules.LOWER:
                self._exploit(trial)
        self._next_sync = max(self._next_sync + self._interval, time)
        self._behind = sum(self._is_behind(i) for i in self._live)
        self._passed.clear()
        self._waiting = sorted((population.trained(i), i) for i in self._live)

    def _save(self, trial: Trial) -> None:
        self.num_checkpoints += 1
        self._orders.append(Save(trial))

    def _exploit(self, trial: Trial) -> bool:
        """Order that the trial goes on where one of the upper quantile has saved. Whether there was one."""
        population, i = self.population, trial.index
        if self._goes_in_circles(trial):
            return False
        rng = self._generator(i)
        donor_index = self._donor(i, rng)
        if donor_index is None:
            return False
        self._laps[i] = (self._laps[i][0], self._laps[i][1] + 1)
        donor = self._live[donor_index]
        config = self.new_config(trial, donor, rng)
        tag = perturbed_tag(trial.experiment_tag, config, self._mutations)
        self._orders.append(Change(trial, config=config, donor=donor, tag=tag))
        population.take_over(i, donor_index)
        if self._equal_times is not None:
            self._equal_times.copied(i, donor_index)
        self._wait(i)
        self.num_perturbations += 1
        return True

    def _donor(self, i: int, rng: random.Random) -> int | None:
        """One of the upper quantile, which has saved; None: nothing is copied."""
        if self._equal_times is not None:
            return self._equal_times.donor(i, len(self._live), rng)
        population = self.population
        k = population.quantile_size
        found = population.at(len(population) - k + rng.randrange(k))
        return found if population.was_upper(found) else None

    def _goes_in_circles(self, trial: Trial) -> bool:
        """Whether it has copied too often since it last got further than ever before."""
        lap = math.floor(min(self.population.trained(trial.index) / self._interval, FARTHEST))
        furthest, copies = self._laps.get(trial.index, (lap, 0))
        if lap > furthest:
            furthest, copies = lap, 0
        self._laps[trial.index] = (furthest, copies)
        if copies < PATIENCE:
            return False
        if not self._warned_of_circles:
            self._warned_of_circles = True
            warn_in_run(
                f"{type(self).__name__}: trial {trial.trial_id} copied {copies} times and got no further, because the "
                f"scores ({self.metric}) get worse as training goes on; it goes on now without copying",
                RuntimeWarning,
                stacklevel=2,
            )
        return True

    def _generator(self, i: int) -> random.Random:
        """Random numbers that depend on the seed, the trial and how often it has explored, and on nothing else."""
        n = self._explored[i] = self._explored.get(i, 0) + 1
        return random.Random(self._seed << 64 | i << 32 | n)

    def new_config(self, trial: Trial, donor: Trial, rng: random.Random) -> dict[str, Any]:
        """What a trial that copies ``donor`` gets: the donor's config, explored. Override it to copy less of it."""
        return self._custom(self._explorer.explore(donor.config, rng))

    def _custom(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config as the user's function wants it."""
        if self._custom_explore_fn is None:
            return config
        explored = self._custom_explore_fn(config)
        if not isinstance(explored, dict):
            raise TypeError(f"custom_explore_fn must return the new config, a dict, got {explored!r:.80}")
        if contains_domains(explored):
            path, domain = next(domains_of(explored))
            raise TypeError(
                f"custom_explore_fn must return values, got {domain!r:.80} as {path_name(path)!r}: write .sample() behind it"
            )
        return explored

    # -- turns --------------------------------------------------------------------------------------------------------

    def _wait(self, i: int) -> None:
        """The trial may be chosen when it does not run; also for one that goes on, so that a resumed run knows it."""
        entry = self.population.trained(i), i
        heapq.heappush(self._waiting, entry)
        if self._equal_times is not None:
            heapq.heappush(self._turns, entry)

    def choose_trial_to_run(self, state: ExperimentView) -> Trial | None:
        """The one that has trained least; in a synchronous population only those that have not reached the next
        perturbation."""
        self._reconsider(1)
        trial = self._least_trained()
        if not self._may_run(trial):  # of those that could not be run before, more than one may be able to now
            self._reconsider(len(self._passed))
            trial = self._least_trained()
        return trial if self._may_run(trial) else None

    def _may_run(self, trial: Trial | None) -> bool:
        return trial is not None and not (self._synch and not self._is_behind(trial.index))

    def _least_trained(self) -> Trial | None:
        waiting = self._waiting
        while waiting:
            time, i = waiting[0]
            if self._is_known(time, i):
                trial = self._live[i]
                if trial.status in WAITING:
                    return trial
                self._passed.append((time, i))  # it runs, or cannot be run now: ask again later
            heapq.heappop(waiting)
        return None

    def _reconsider(self, n: int) -> None:
        """Look again at n of those that were passed over. One at a time is enough to forget none of them."""
        for _ in range(min(n, len(self._passed))):
            time, i = self._passed.popleft()
            if not self._is_known(time, i):
                continue
            if self._live[i].status in WAITING:
                heapq.heappush(self._waiting, (time, i))
            else:
                self._passed.append((time, i))

    def _others_wait(self, state: ExperimentView) -> bool:
        """Whether there is somebody to take turns with; mostly it is the next one to be chosen."""
        if self._waiting:
            time, i = self._waiting[0]
            if self._is_known(time, i) and self._live[i].status in WAITING:
                return True
        return bool(state.trials_of("PENDING", 1) or state.trials_of("PAUSED", 1))

    def _is_known(self, time: float, i: int) -> bool:
        """Whether this is how long the trial has trained; it has an entry for each time."""
        return i in self._live and self.population.trained(i) == time

    def orders(self) -> Sequence[Order]:
        orders, self._orders = self._orders, []
        return orders

    # -- looking on ---------------------------------------------------------------------------------------------------

    def debug_string(self) -> str:
        return f"{type(self).__name__}: {self.num_checkpoints} checkpoints, {self.num_perturbations} perturbs"

    def files(self, state: ExperimentView) -> dict[str, str]:
        return policy_files(state) if self.log_config else {}


def policy_files(state: ExperimentView) -> dict[str, str]:
    """The texts of pbt_global.txt and of each trial's pbt_policy_<trial id>.txt, from who copied whom."""
    copies = [copied for copied in state.lineage() if copied.donor is not None]
    configs = {copied.trial: copied.old_config for copied in reversed(copies)}  # as they were at first
    everything: list[str] = []
    stories: dict[int, tuple[str, Any]] = {}  # trial -> (its last line, the story before)
    for copied in copies:
        trial, donor = state.trials[copied.trial], state.trials[copied.donor]
        tags = [original_tag(one.experiment_tag) for one in (trial, donor)]
        copy = configs.setdefault(copied.donor, donor.config)
        told = [*tags, copied.trial_iteration, copied.donor_iteration, copy, copied.new_config]
        line = json.dumps(with_text_keys(told), default=str) + "\n"
        everything.append(line)
        stories[copied.trial] = (line, stories.get(copied.donor, stories.get(copied.trial)))
        configs[copied.trial] = copied.new_config
    files = {PBT_POLICY.format(trial_id=state.trials[i].trial_id): "".join(_told(story)) for i, story in stories.items()}
    return {PBT_GLOBAL: "".join(everything), **files} if everything else {}


def _told(story: Any) -> list[str]:
    lines = []
    while story is not None:
        line, story = story
        lines.append(line)
    return lines[::-1]


def checked_compare(compare: object) -> None:
    if compare not in COMPARE:
        raise ValueError(f"compare must be one of {', '.join(map(repr, COMPARE))}, got {shown(compare)}")


def factors_of(factors: object) -> tuple[float, ...]:
    """perturbation_factors as numbers; at least one."""
    if isinstance(factors, (str, bytes)) or not isinstance(factors, Iterable):
        raise ValueError(f"perturbation_factors must be a list of numbers, got {shown(factors)}")
    made = tuple(checked_number(f"perturbation_factors[{i}]", one, finite=True) for i, one in enumerate(factors))
    if not made:
        raise ValueError(f"perturbation_factors must have at least one factor, got {shown(factors)}")
    return made
