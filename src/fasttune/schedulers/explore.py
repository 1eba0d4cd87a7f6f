"""Explore: how population based training changes the config that a trial has copied.

Jaderberg et al.: Population Based Training of Neural Networks, 2017, section 4.1 and appendix A.
"""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.space import (
    Categorical,
    Config,
    Domain,
    Float,
    Function,
    Integer,
    Quantized,
    choice,
    fresh,
    is_among,
    sample_from,
)


class Explorer:
    """Changes the values that ``mutations`` names, each by itself.

    A dict is gone into. A list, tuple or ``choice`` moves to a neighbour, or to any of its values with
    ``resample_probability`` and when the value is not among them. From any other domain, or a function without
    arguments, a value is drawn with ``resample_probability``; else the old one is multiplied by one of ``factors``:
    ints are rounded, bools stay bools. ``clip`` keeps what comes out of that inside its domain.
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
                new[key] = self._explore(old or {}, mutation, rng, f"{name}/")
            elif isinstance(mutation, (list, tuple, Categorical)):
                new[key] = self._neighbour(old, mutation, rng)
            elif key not in new or rng.random() < self.resample_probability:
                new[key] = drawn(mutation, rng)
            else:
                new[key] = self._perturbed(name, old, mutation, rng)
        return new

    def _neighbour(self, old: Any, options: Sequence[Any] | Categorical, rng: random.Random) -> Any:
        values = options.categories if isinstance(options, Categorical) else options
        if rng.random() < self.resample_probability or not is_among(old, values):
            return fresh(rng.choice(values))
        at = next(i for i, value in enumerate(values) if is_among(old, [value]))
        return fresh(values[min(max(at + rng.choice((-1, 1)), 0), len(values) - 1)])

    def _perturbed(self, name: str, old: Any, mutation: Any, rng: random.Random) -> Any:
        if isinstance(old, bool):
            return old
        if not isinstance(old, (int, float)) and not hasattr(old, "__float__"):
            raise ValueError(
                f"{name} is {old!r}, which cannot be multiplied by a perturbation factor; "
                "give hyperparam_mutations a list of its values instead"
            )
        new = old * rng.choice(self.factors)
        if isinstance(old, int) or isinstance(mutation, Integer):
            new = round(new)
        if not isinstance(mutation, (Float, Integer)) or mutation.is_valid(new):
            return new
        if self.clip:
            return nearest(new, mutation)
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"population based training explored {name}={new!r}, outside of {mutation!r}: perturbed values are not "
                "kept inside their domain, unless the scheduler is made with clip=True",
                stacklevel=2,
            )
        return new


def check_mutations(mutations: Mapping[str, Any], at: str = "") -> None:
    """ValueError or TypeError for what cannot be explored."""
    for key, mutation in mutations.items():
        if isinstance(mutation, Function):
            raise ValueError(
                f"hyperparam_mutations[{at}{key!r}] is a sample_from, which may depend on a config that does not exist "
                "here: give the function itself, without arguments"
            )
        if isinstance(mutation, Mapping):
            check_mutations(mutation, f"{at}{key!r}][")
        elif not isinstance(mutation, (list, tuple, Domain)) and not callable(mutation):
            raise TypeError(
                f"hyperparam_mutations[{at}{key!r}] must be a list, a tuple, a domain, a function without arguments or "
                f"a dict of those, got {type(mutation).__name__}: {mutation!r:.80}"
            )
        elif isinstance(mutation, (list, tuple)) and not mutation:
            raise ValueError(f"hyperparam_mutations[{at}{key!r}] must have at least one value, got {mutation!r}")


def completed(space: Mapping[str, Any], mutations: Mapping[str, Any]) -> Config:
    """The space with a domain for everything that is explored and has no value in it."""
    whole = dict(space)
    for key, mutation in mutations.items():
        if isinstance(mutation, Mapping):
            inner = whole.get(key, {})
            whole[key] = completed(inner, mutation) if isinstance(inner, Mapping) else inner
        elif key not in whole:
            whole[key] = as_domain(mutation)
    return whole


def as_domain(mutation: Any) -> Domain:
    """The domain that values of a mutation are drawn from."""
    if isinstance(mutation, Domain):
        return mutation
    return choice(mutation) if isinstance(mutation, (list, tuple)) else sample_from(mutation)


def drawn(mutation: Any, rng: random.Random) -> Any:
    """A value of a domain, or of a function."""
    return mutation.sample(random_state=rng) if isinstance(mutation, Domain) else mutation()


def nearest(value: float, domain: Float | Integer) -> float:
    """The value of a domain that is nearest to this one, as far as bounds and multiples are concerned."""
    sampler = domain.sampler
    step = sampler.q if isinstance(sampler, Quantized) else 0
    if step:
        value = round(value / step) * step
    # the upper bound of an Integer is excluded, except in multiples
    upper = domain.upper - 1 if isinstance(domain, Integer) and step <= 1 else domain.upper
    kept: float = domain.cast(min(max(value, domain.lower), upper))
    return kept


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
