"""PB2: population based training that explores by a bandit instead of by chance.

Parker-Holder, Nguyen, Roberts: Provably Efficient Online Hyperparameter Optimization with Population-Based Bandits,
NeurIPS 2020.
"""

from __future__ import annotations

import importlib.util
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fasttune.argument import shown
from fasttune.error import TuneError
from fasttune.schedulers.pbt import PopulationBasedTraining
from fasttune.space.domains import Categorical, Domain, Float, Integer, grid_of, real_number
from fasttune.space.nested import fresh
from fasttune.trial import Trial

if TYPE_CHECKING:
    from fasttune.config import Mode

Place = tuple[str, ...]


class Seen(NamedTuple):
    """Where a trial stood: its parameters, when, and its score (larger is better)."""

    point: tuple[float, ...]
    time: float
    score: float


class PB2(PopulationBasedTraining):
    """Population based training whose new configs maximise the upper confidence bound of a Gaussian process.

    The process is fitted to how much the score changed per time under which parameters (and at which time and score),
    with a kernel that forgets: see :mod:`fasttune.schedulers.bandit`. New values always lie within their bounds, in the steps
    of their domain in the search space; ints stay ints. As long as fewer than two such changes are known, values are drawn
    uniformly.

    Args:
        hyperparam_bounds: {name: [lowest, highest]}, or a dict of those. What the search space does not name is drawn
            uniformly from there.

    The other arguments are those of :class:`PopulationBasedTraining`. Needs ``pip install 'fasttune[scipy]'`` (scipy).
    """

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: Mode | None = None,
        perturbation_interval: float = 60.0,
        hyperparam_bounds: Mapping[str, Any] | None = None,
        quantile_fraction: float = 0.25,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
        custom_explore_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        *,
        burn_in_period: float = 0.0,
        compare: Literal["equal_times", "last_scores"] = "equal_times",
        seed: int = 0,
    ) -> None:
        if not hyperparam_bounds:
            raise TuneError("PB2 needs hyperparam_bounds, e.g. {'lr': [1e-4, 1e-1]}: it would explore nothing")
        self._bounds = dict(bounds_of(hyperparam_bounds))
        if importlib.util.find_spec("scipy") is None:
            raise ImportError("PB2 needs scipy: pip install 'fasttune[scipy]'")
        super().__init__(
            time_attr=time_attr,
            metric=metric,
            mode=mode,
            perturbation_interval=perturbation_interval,
            burn_in_period=burn_in_period,
            hyperparam_mutations=domains_within(hyperparam_bounds),
            quantile_fraction=quantile_fraction,
            resample_probability=0.0,
            custom_explore_fn=custom_explore_fn,
            log_config=log_config,
            require_attrs=require_attrs,
            synch=synch,
            compare=compare,
            seed=seed,
        )
        self._domains: dict[Place, Float | Integer] = {}  # of places where the search space has a domain of numbers
        self._seen: dict[int, Seen] = {}  # where each trial stood at its last perturbation
        self._changes: list[tuple[float, ...]] = []  # (time, score before, *point, change of the score per time)
        self._round: tuple[float, list[tuple[float, ...]]] = (-math.inf, [])  # points chosen at one time

    def complete_space(self, space: Mapping[str, Any]) -> dict[str, Any]:
        whole = super().complete_space(space)
        for place, (low, high) in self._bounds.items():
            domain = bounded(place, at(whole, place), low, high)
            if domain is not None:
                self._domains[place] = domain
        return whole

    def _reached(self, trial: Trial, time: float, value: float) -> None:
        """Learn how the score has changed since the last perturbation, if the parameters are the same."""
        score = value if self.mode == "max" else -value
        now = Seen(self._point(trial.config), time, score)
        before = self._seen.get(trial.index)
        if before is not None and before.point == now.point and time > before.time:
            change = (score - before.score) / (time - before.time)
            if abs(change) < HUGE and abs(before.score) < HUGE:
                self._changes.append((time, before.score, *now.point, change))
                del self._changes[:-LONGEST]
        self._seen[trial.index] = now

    def _leave(self, trial: Trial) -> None:
        self._seen.pop(trial.index, None)
        super()._leave(trial)

    def new_config(self, trial: Trial, donor: Trial, rng: random.Random) -> dict[str, Any]:
        donor_seen = self._seen[donor.index]
        now = max(seen.time for seen in self._seen.values())
        if now > self._round[0]:
            self._round = (now, [])
        point = self._choose(now, donor_seen.score, rng)
        self._round[1].append(point)
        config: dict[str, Any] = fresh(donor.config)
        for (place, (low, high)), value in zip(self._bounds.items(), point, strict=True):
            put(config, place, value, self._domains.get(place) or Float(low, high))
        config = self._custom(config)
        self._seen[trial.index] = Seen(self._point(config), donor_seen.time, donor_seen.score)
        return config

    def _choose(self, now: float, score: float, rng: random.Random) -> tuple[float, ...]:
        """The next point, in the units of the bounds."""
        if len(self._changes) < 2 or not abs(score) < HUGE:
            return tuple([rng.uniform(low, high) for low, high in self._bounds.values()])
        from fasttune.schedulers.bandit import next_point

        return next_point(
            self._changes, list(self._bounds.values()), self._round[1], now, score, self._interval, rng.getrandbits(63)
        )

    def _point(self, config: Mapping[str, Any]) -> tuple[float, ...]:
        return tuple([float(at(config, place)) for place in self._bounds])


LONGEST = 1000  # changes that are kept
HUGE = 1e100  # scores and changes beyond it (or NaN) are not learnt from: their squares are no numbers


def bounds_of(bounds: Mapping[str, Any], above: Place = ()) -> Iterator[tuple[Place, tuple[float, float]]]:
    """(place, (lowest, highest)) of everything that is explored. ValueError for bounds that cannot be."""
    for key, pair in bounds.items():
        if isinstance(pair, Mapping):
            yield from bounds_of(pair, (*above, key))
            continue
        name = "/".join((*above, key))
        numbers = isinstance(pair, (list, tuple)) and all(
            isinstance(bound, (int, float)) and math.isfinite(bound) for bound in pair
        )
        if not numbers or len(pair) != 2 or pair[0] > pair[1]:
            raise ValueError(f"hyperparam_bounds of {name!r} must be [lowest, highest], got {pair!r}")
        yield (*above, key), (float(pair[0]), float(pair[1]))


def domains_within(bounds: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: domains_within(pair) if isinstance(pair, Mapping) else Float(pair[0], pair[1]).uniform()
        for key, pair in bounds.items()
    }


def bounded(place: Place, node: Any, low: float, high: float) -> Float | Integer | None:
    """The values from ``low`` to ``high`` of the kind, and in the steps, that a domain of the search space has; None where
    there is no domain of numbers. ValueError where a trial's value could not be a number."""
    name = "/".join(place)
    step = node.step if isinstance(node, (Float, Integer)) else 0
    if isinstance(node, Integer):
        last = node.largest if high == node.upper else math.floor(high)  # the same bounds mean the same values
        multiple = int(step) or 1
        if math.ceil(low / multiple) <= last // multiple:
            return Integer(math.ceil(low), last if step > 1 else last + 1).quantized(multiple)
    elif isinstance(node, Float):
        first, last_float = (math.ceil(low / step) * step, math.floor(high / step) * step) if step else (low, high)
        if first <= last_float:
            made = Float(first, last_float).uniform()
            return made.quantized(step) if step else made
    else:
        options = node.categories if isinstance(node, Categorical) else grid_of(node) or [node]
        odd = next((one for one in options if real_number(one) is None and not isinstance(one, Domain)), None)
        if odd is not None or node is None:
            raise ValueError(
                f"PB2 explores numbers, and {name!r} of hyperparam_bounds may be {shown(odd)} in the search space"
            )
        return None
    raise ValueError(f"hyperparam_bounds of {name!r}, from {low:g} to {high:g}, hold no value of {node!r}")


def at(config: Mapping[str, Any], place: Sequence[str]) -> Any:
    value: Any = config
    for key in place:
        value = value[key]
    return value


def put(config: dict[str, Any], place: Place, value: float, domain: Float | Integer) -> None:
    """Write the value of a domain that is nearest into a config, in the type of the old one."""
    inner = at(config, place[:-1])
    old = inner[place[-1]]
    if isinstance(domain, Float) and isinstance(old, int) and not isinstance(old, bool):
        domain = Integer(math.ceil(domain.lower), math.floor(domain.upper) + 1)
    inner[place[-1]] = domain.nearest(value)
