"""The functions that users write search spaces with.

``prior`` of a domain is a value that is thought to be good: searchers begin near it, and leave it as results come
(docs/concepts/search_spaces.md). A ValueError says that it does not lie in the domain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fasttune.space.domains import Categorical, Float, Function, Integer, grid_values

_T = TypeVar("_T", Float, Integer)


def uniform(lower: float, upper: float, *, prior: float | None = None) -> Float:
    """A float, uniform in [lower, upper)."""
    return _with_prior(Float(lower, upper).uniform(), prior)


def quniform(lower: float, upper: float, q: float, *, prior: float | None = None) -> Float:
    """A uniform float rounded to a multiple of ``q``; the bounds are included and half as likely as the
    others."""
    return _with_prior(Float(lower, upper).uniform().quantized(q), prior)


def loguniform(lower: float, upper: float, base: float | None = None, *, prior: float | None = None) -> Float:
    """A float whose logarithm is uniform. ``base`` has no effect."""
    return _with_prior(Float(lower, upper).loguniform(base), prior)


def qloguniform(lower: float, upper: float, q: float, base: float | None = None, *, prior: float | None = None) -> Float:
    """A log-uniform float rounded to a multiple of ``q``. ``base`` has no effect."""
    return _with_prior(Float(lower, upper).loguniform(base).quantized(q), prior)


def randn(mean: float = 0.0, sd: float = 1.0) -> Float:
    """A normally distributed float."""
    return Float(None, None).normal(mean, sd)


def qrandn(mean: float, sd: float, q: float) -> Float:
    """A normally distributed float rounded to a multiple of ``q``."""
    return Float(None, None).normal(mean, sd).quantized(q)


def randint(lower: int, upper: int, *, prior: int | None = None) -> Integer:
    """An int, uniform in [lower, upper): the upper bound is excluded."""
    return _with_prior(_checked(Integer(lower, upper).uniform()), prior)


def qrandint(lower: int, upper: int, q: int = 1, *, prior: int | None = None) -> Integer:
    """A uniform multiple of ``q`` in [lower, upper]. The upper bound is included, except when q is 1."""
    return _with_prior(_checked(Integer(lower, upper).uniform().quantized(q)), prior)


def lograndint(lower: int, upper: int, base: float | None = None, *, prior: int | None = None) -> Integer:
    """An int, the floor of a log-uniform float: the upper bound is excluded. ``base`` has no effect."""
    return _with_prior(_checked(Integer(lower, upper).loguniform(base)), prior)


def qlograndint(lower: int, upper: int, q: int, base: float | None = None, *, prior: int | None = None) -> Integer:
    """A log-uniform multiple of ``q`` in [lower, upper]. The upper bound is included, except when q is 1."""
    return _with_prior(_checked(Integer(lower, upper).loguniform(base).quantized(q)), prior)


def choice(categories: Sequence[Any], *more: Any, prior: Any = ...) -> Categorical:
    """One of the options, all equally likely; the element itself, so types survive.

    Args:
        categories: the options, in one list.
        more: nothing; whoever gives options one by one is told of the list.
        prior: the option that is thought to be good.

    Raises:
        TypeError: the options are not in one list, or are a text or a mapping.
        ValueError: there is none, or ``prior`` is none of them.
    """
    if more:
        raise TypeError(f"choice takes its options in one list, got {1 + len(more)} arguments: choice({[categories, *more]!r})")
    domain = Categorical(categories).uniform()
    return domain if prior is ... else domain.with_prior(prior)


def sample_from(func: Callable[..., Any]) -> Function:
    """What ``func`` returns; it takes nothing, or the config: ``config["x"]`` and ``spec.config.x`` both
    work."""
    return Function(func)


def grid_search(values: Sequence[Any]) -> dict[str, Sequence[Any]]:
    """Every value in turn, crossed with all other grids of the space; the whole grid is run ``num_samples``
    times."""
    grid_values(values)
    return {"grid_search": values}


def _with_prior(domain: _T, prior: float | None) -> _T:
    item = getattr(prior, "item", None)  # numpy's numbers are shown and stored as Python's
    return domain if prior is None else domain.with_prior(prior if item is None else item())


def _checked(domain: Integer) -> Integer:
    domain.rule()
    return domain
