"""What scikit-learn's users write as parameters, as a search space.

    lists and arrays             one of their values (``choice``)
    scipy's frozen distributions uniform, loguniform, randint and norm as the domains that searchers know; any other is drawn from
    fasttune's domains           as they are
    a list of dicts              one of the dicts, then its values

``params_of`` gives back what an estimator's ``set_params`` takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fasttune.argument import shown
from fasttune.space.domains import Domain, contains_domains, grid_of
from fasttune.space.functions import choice, grid_search, loguniform, randint, randn, uniform
from fasttune.space.nested import Config

SEVERAL = "params"  # key of the space where one of several dicts is chosen


class DrawnFrom(Domain):
    """Values that an object with ``rvs(random_state=...)`` draws, seeded by the trial: searchers learn nothing of them."""

    def __init__(self, distribution: Any) -> None:
        self.distribution = distribution

    def sample(self, config: Any = None, size: int = 1, random_state: Any = None) -> Any:
        import numpy as np

        from fasttune.space.seeds import seed_from

        state = np.random.RandomState(seed_from(random_state) % 2**32)
        values = [_plain(self.distribution.rvs(random_state=state)) for _ in range(size)]
        return values[0] if size == 1 else values

    @property
    def domain_str(self) -> str:
        return _name_of(self.distribution)


def distribution_space(given: Any) -> Config:
    """The space of ``TuneSearchCV(param_distributions=given)``. ValueError names the parameter that is none."""
    dicts = _as_dicts(given, "param_distributions")
    spaces = [{name: _domain(name, value) for name, value in sorted(one.items())} for one in dicts]
    return {SEVERAL: choice(spaces)} if isinstance(given, (list, tuple)) else spaces[0]


def grid_space(given: Any) -> Config:
    """The space of ``TuneGridSearchCV(param_grid=given)``."""
    grids = [
        {name: _grid(name, value) for name, value in sorted(one.items())} for one in _as_dicts(given, "param_grid")
    ]
    return {SEVERAL: grid_search(grids)} if isinstance(given, (list, tuple)) else grids[0]


def grid_places(space: Config) -> list[int]:
    """Where each trial of a space of ``grid_space`` stands in scikit-learn's ParameterGrid: of the sorted names the last one
    changes quickest there, the first one here."""
    import numpy as np

    several = grid_of(space.get(SEVERAL)) if list(space) == [SEVERAL] else None  # else it is a parameter of that name
    grids = several if several is not None and all(isinstance(one, Mapping) for one in several) else None
    places: list[int] = []
    for one in [space] if grids is None else grids:
        sizes = [len(grid_of(value) or ()) for value in one.values()]
        numbers = np.arange(np.prod(sizes, dtype=np.int64)).reshape(sizes)
        places += (numbers.ravel(order="F") + len(places)).tolist()
    return places


def params_of(config: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """The parameters that a config of the space of ``given`` stands for, by name."""
    chosen = config[SEVERAL] if isinstance(given, (list, tuple)) else config
    return {name: chosen[name] for name in sorted(chosen)}


def _as_dicts(given: Any, argument: str) -> list[Mapping[str, Any]]:
    dicts = list(given) if isinstance(given, (list, tuple)) else [given]
    if not dicts:
        raise ValueError(f"{argument} must not be empty: there is nothing to search")
    for one in dicts:
        if not isinstance(one, Mapping):
            raise TypeError(f"{argument} must be a dict, or a list of dicts, got {type(one).__name__}: {shown(one)}")
        for name in one:
            if not isinstance(name, str):
                raise TypeError(f"{argument} must have names of parameters as its keys, got {shown(name)}")
    return dicts


def _domain(name: str, value: Any) -> Any:
    if grid_of(value) is not None:
        raise ValueError(
            f"param_distributions[{name!r}] must be a list of values, a distribution or a domain, got a grid_search, of which "
            "n_trials would be the number of times that all of it is tried: give the list for a choice, or use TuneGridSearchCV"
        )
    if isinstance(value, Domain):
        return value
    if hasattr(value, "rvs"):
        return _of_distribution(value)
    if isinstance(value, tuple):
        raise ValueError(
            f"param_distributions[{name!r}] must be a list of values, a distribution or a domain, got the tuple {shown(value)}: "
            "write tune.uniform(low, high) or tune.loguniform(low, high) for a range, and a list for a choice"
        )
    return choice(_values(f"param_distributions[{name!r}]", value))


def _grid(name: str, value: Any) -> Any:
    if grid_of(value) is not None:
        return value
    if isinstance(value, Domain) or hasattr(value, "rvs"):
        raise ValueError(
            f"param_grid[{name!r}] must be a list of values, got {shown(value)}: a distribution has no grid; TuneSearchCV "
            "samples from it"
        )
    values = _values(f"param_grid[{name!r}]", value)
    if contains_domains(values):
        raise ValueError(f"param_grid[{name!r}] must not hold domains, got {shown(value)}: TuneSearchCV samples from them")
    return grid_search(values)


def _values(what: str, value: Any) -> list[Any]:
    """The options as a list, numpy's numbers as Python's."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, (Sequence, Iterable)):
        raise TypeError(f"{what} must be a list of values, a distribution or a domain, got {shown(value)}: write [{shown(value)}]")
    if getattr(value, "ndim", 1) != 1:
        raise ValueError(f"{what} must have one dimension, got an array of shape {value.shape}")  # type: ignore[attr-defined]
    values = [_plain(one) for one in value]
    if not values:
        raise ValueError(f"{what} must not be empty, got {shown(value)}")
    return values


def _plain(value: Any) -> Any:
    """numpy's scalars as Python's: what is compared, shown and stored as numbers."""
    import numpy as np

    return value.item() if isinstance(value, np.generic) else value


def _of_distribution(distribution: Any) -> Any:
    """The domain of ours that is the same as a frozen distribution of scipy's; one that draws from it if there is none."""
    low, high = map(_plain, distribution.support()) if hasattr(distribution, "support") else (math.nan, math.nan)
    kind = _name_of(distribution)
    if kind == "norm":
        return randn(float(distribution.mean()), float(distribution.std()))
    if not (math.isfinite(low) and math.isfinite(high)):
        return DrawnFrom(distribution)
    if low == high:
        return choice([low])
    if kind == "uniform":
        return uniform(float(low), float(high))
    if kind in ("loguniform", "reciprocal") and _is_not_moved(distribution):
        return loguniform(float(low), float(high))
    if kind == "randint":
        return randint(int(low), int(high) + 1)
    return DrawnFrom(distribution)


def _is_not_moved(distribution: Any) -> bool:
    """Whether loguniform(a, b, loc, scale) has no loc: else its logarithm is not uniform."""
    places = distribution.args[2:]
    return not (places and places[0]) and not distribution.kwds.get("loc", 0)


def _name_of(distribution: Any) -> str:
    name = getattr(getattr(distribution, "dist", None), "name", None)
    return str(name or type(distribution).__name__)
