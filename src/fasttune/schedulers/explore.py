"""Explore: how population based training changes the config that a trial has copied.

Jaderberg et al.: Population Based Training of Neural Networks, 2017, section 4.1 and appendix A.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.argument import shown
from fasttune.once import warn_in_run
from fasttune.space.domains import Categorical, Domain, Float, Function, Integer, grid_of, lies_in
from fasttune.space.functions import choice, sample_from
from fasttune.space.nested import Config, fresh


class Explorer:
    """Changes the values that ``mutations`` names, each by itself.

    A dict is gone into. A list, tuple or ``choice`` moves to a neighbour, or to any of its values with
    ``resample_probability`` and when the value is not among them. From any other domain, or a function without
    arguments, a value is drawn with ``resample_probability``; else the old one is multiplied by one of ``factors``:
    ints are rounded, bools stay bools, and what is no number is drawn anew. ``clip`` brings what comes out of that to the
    nearest value of its domain (``Domain.nearest``).
    """

    def __init__(
        self, mutations: Mapping[str, Any], resample_probability: float, factors: Sequence[float], clip: bool
    ) -> None:
        check_mutations(mutations)
        self.mutations = mutations
        self.resample_probability = resample_probability
        self.factors = factors
        self.clip = clip
        self._warned = False

    def explore(self, config: Mapping[str, Any], rng: random.Random) -> Config:
        """A new config; everything random comes from ``rng`` (except what users' functions draw themselves)."""
        return self._explore(config, self.mutations, rng, "")

    def _explore(self, config: Mapping[str, Any], mutations: Mapping[str, Any], rng: random.Random, at: str) -> Config:
        new: Config = fresh(dict(config))
        for key, mutation in mutations.items():
            old, name = new.get(key), f"{at}{key}"
            if isinstance(mutation, Mapping):
                if old is None or isinstance(old, Mapping):  # an option of a choice may have another shape
                    new[key] = self._explore(old or {}, mutation, rng, f"{name}/")
            elif isinstance(mutation, (list, tuple, Categorical)):
                new[key] = self._neighbour(old, mutation, rng)
            elif key not in new or rng.random() < self.resample_probability:
                new[key] = drawn(name, mutation, rng)
            else:
                new[key] = self._perturbed(name, old, mutation, rng)
        return new

    def _neighbour(self, old: Any, options: Sequence[Any] | Categorical, rng: random.Random) -> Any:
        values = options.categories if isinstance(options, Categorical) else options
        at = next((i for i, value in enumerate(values) if lies_in(value, old)), None)
        if rng.random() < self.resample_probability or at is None:
            return settled(rng.choice(values), rng)
        return settled(values[min(max(at + rng.choice((-1, 1)), 0), len(values) - 1)], rng)

    def _perturbed(self, name: str, old: Any, mutation: Any, rng: random.Random) -> Any:
        if isinstance(old, bool):
            return old
        if not isinstance(old, (int, float)) and not hasattr(old, "__float__"):
            return drawn(name, mutation, rng)
        new = old * rng.choice(self.factors)
        if (isinstance(old, int) or isinstance(mutation, Integer)) and math.isfinite(new):
            new = round(new)
        if not isinstance(mutation, (Float, Integer)) or mutation.is_valid(new):
            return new
        if self.clip:
            return mutation.nearest(new)
        if not self._warned:
            self._warned = True
            warn_in_run(
                f"population based training explored {name}={new!r}, outside of {mutation!r}: perturbed values are not "
                "kept inside their domain, unless the scheduler is made with clip=True",
                stacklevel=2,
            )
        return new


def check_mutations(mutations: Mapping[str, Any], at: str = "") -> None:
    """ValueError or TypeError for what cannot be explored."""
    for key, mutation in mutations.items():
        name = f"hyperparam_mutations[{at}{key!r}]"
        if isinstance(mutation, Function):
            raise ValueError(
                f"{name} is a sample_from, which may depend on a config that does not exist "
                "here: give the function itself, without arguments"
            )
        if isinstance(mutation, Mapping):
            check_mutations(mutation, f"{at}{key!r}][")
        elif not isinstance(mutation, (list, tuple, Domain)):
            check_function(name, mutation)
        elif isinstance(mutation, (list, tuple)) and not mutation:
            raise ValueError(f"{name} must have at least one value, got {mutation!r}")


def check_function(name: str, mutation: Any) -> None:
    """TypeError unless it can be called as it will be: without arguments."""
    if not callable(mutation):
        raise TypeError(
            f"{name} must be a list, a tuple, a domain, a function without arguments or "
            f"a dict of those, got {type(mutation).__name__}: {mutation!r:.80}"
        )
    if not takes(mutation, 0):
        raise TypeError(
            f"{name} must be a function without arguments, got {shown(mutation)}. Usual cause: it was written for "
            "sample_from, which hands over the config; here there is none"
        )


def takes(function: Any, n: int) -> bool:
    """Whether a function can be called with so many arguments; also if it does not tell, as some compiled ones."""
    import inspect

    try:
        inspect.signature(function).bind(*[None] * n)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def completed(space: Mapping[str, Any], mutations: Mapping[str, Any], at: str = "") -> Config:
    """The space with a domain for everything that is explored and has no value in it. ValueError for a mutation of what
    lies in a dict where the space has none."""
    whole = dict(space)
    for key, mutation in mutations.items():
        if isinstance(mutation, Mapping):
            inner = whole.get(key, {})
            if not isinstance(inner, (Mapping, Domain)):
                raise ValueError(
                    f"hyperparam_mutations names {at}{key}/{next(iter(mutation), '')}, but {at}{key} is no dict in the "
                    f"search space: it is {shown(inner)}"
                )
            if isinstance(inner, Mapping) and grid_of(inner) is None:
                whole[key] = completed(inner, mutation, f"{at}{key}/")
        elif key not in whole:
            whole[key] = as_domain(mutation)
    return whole


def as_domain(mutation: Any) -> Domain:
    """The domain that values of a mutation are drawn from."""
    if isinstance(mutation, Domain):
        return mutation
    return choice(mutation) if isinstance(mutation, (list, tuple)) else sample_from(mutation)


def drawn(name: str, mutation: Any, rng: random.Random) -> Any:
    """A value of a domain, or of a function; what the function raises says which one it was."""
    if isinstance(mutation, Domain):
        return settled(mutation, rng)
    try:
        value = mutation()
    except Exception as error:
        error.add_note(f"while hyperparam_mutations drew {name!r} from {shown(mutation)}")
        raise
    return settled(value, rng)


def settled(value: Any, rng: random.Random) -> Any:
    """The value, with one drawn for each domain and grid in it: none of them is ever given to a trial."""
    if isinstance(value, Domain) and not value.is_grid():
        return settled(value.sample(random_state=rng), rng)
    grid = grid_of(value)
    if grid is not None:
        return settled(rng.choice(grid), rng)
    kind = type(value)
    if kind is dict:
        return {key: settled(part, rng) for key, part in value.items()}
    if kind is list or kind is tuple:
        return kind([settled(part, rng) for part in value])
    return value


def perturbed_tag(tag: str, config: Mapping[str, Any], mutations: Mapping[str, Any]) -> str:
    """ "<original tag>@perturbed[a=0.1000,b=x]" of the names that are explored, outermost only."""
    told = [f"{key}={tag_text(config.get(key))}" for key in mutations]
    return f"{original_tag(tag)}@perturbed[{','.join(told)}]"


def original_tag(tag: str) -> str:
    """The tag that a trial had before it was ever changed."""
    return tag.partition("@perturbed[")[0]


def tag_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return re.sub("[^a-zA-Z0-9_-]+", "_", str(value)).strip("_")
