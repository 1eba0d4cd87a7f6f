"""The search space: what a value is drawn from (``space/functions.py`` has the functions that users write).

A search space is a dict. Anything in it, at any depth of dicts, lists and tuples, may be a domain:

    space = {
        "lr": loguniform(1e-4, 1e-1),
        "layers": [choice([32, 64]), choice([32, 64])],
        "act": grid_search(["a", "b"]),
    }

Exactly dicts, lists and tuples are searched for domains and made anew for every trial; every other value
(also an instance of one of their subclasses that holds no domain) reaches the trial as the object it is.
``space/plan.py`` compiles a space; values are drawn in ``_core``, so neither needs numpy.
"""

from __future__ import annotations

import copy
import math
import operator
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from fasttune import _draws
from fasttune.argument import check_called, shown
from fasttune.error import TuneError
from fasttune.space.nested import Path, path_name
from fasttune.space.seeds import seed_from

Rule: TypeAlias = tuple[str, float, float, float]  # what _draws.Sampler draws by: (letter, a, b, q)


class SearchSpaceError(TuneError, ValueError):
    """A search space, or a point of it, that cannot be used as written."""


class RecursiveDependencyError(SearchSpaceError):
    """``sample_from`` functions need each other's values."""


class Sampler:
    """How values of a domain are drawn.

    A subclass gives ``rule`` (drawn in C), or overrides ``sample`` with any Python code (asked once per
    trial).
    """

    def rule(self, domain: Domain) -> Rule | None:
        """The compiled rule for this domain, None if there is none and ``sample`` has to be asked."""
        return None

    def sample(self, domain: Domain, config: Any = None, size: int = 1, random_state: Any = None) -> Any:
        """One value (``size`` 1) or ``size`` values of the domain."""
        rule = self.rule(domain)
        if rule is None:
            raise NotImplementedError(
                f"{type(self).__name__} has neither a rule nor a sample() for {domain!r}"
            )
        numbers = _draws.Sampler([rule], seed_from(random_state))
        if size == 1:
            return domain.value_of(numbers.values(0)[0])
        values = [domain.value_of(numbers.values(i)[0]) for i in range(size)]
        if not isinstance(domain, (Float, Integer)):
            return values
        import numpy as np

        return np.array(values)

    def __repr__(self) -> str:
        return type(self).__name__


class Uniform(Sampler):
    """All values are equally likely."""

    def rule(self, domain: Domain) -> Rule:
        if isinstance(domain, Categorical):
            return ("i", 0, len(domain.categories), 1)
        low, high = _bounds(domain, "Uniform")
        return ("u", low, high, 0) if isinstance(domain, Float) else ("i", low, high, 1)


class LogUniform(Sampler):
    """The logarithms of the values are equally likely. ``base`` does not change that and is ignored."""

    def __init__(self, base: float | None = None) -> None:
        if base is not None:
            warnings.warn(
                "base has no effect: log-uniform values are spread alike in every base", stacklevel=3
            )

    def rule(self, domain: Domain) -> Rule:
        low, high = _bounds(domain, "LogUniform")
        return ("l", low, high, 0) if isinstance(domain, Float) else ("j", low, high, 1)


class Normal(Sampler):
    """Normally distributed values, unbounded."""

    def __init__(self, mean: float = 0.0, sd: float = 1.0) -> None:
        self.mean = _finite("mean", mean)
        self.sd = _finite("sd", sd)
        if self.sd <= 0:
            raise ValueError(f"sd, the standard deviation, must be > 0, got {sd!r}")

    def rule(self, domain: Domain) -> Rule:
        return ("n", self.mean, self.sd, 0)

    def __repr__(self) -> str:
        return f"Normal({self.mean!r}, {self.sd!r})"


class Grid(Sampler):
    """Every value in turn, as ``grid_search`` does. Sampling it by itself is not possible."""

    def sample(self, domain: Domain, config: Any = None, size: int = 1, random_state: Any = None) -> Any:
        raise SearchSpaceError(f"a grid is walked through, not sampled: {domain!r}")


class Quantized(Sampler):
    """The values of another sampler, as multiples of ``q``."""

    def __init__(self, sampler: Sampler, q: float) -> None:
        if isinstance(sampler, Quantized):
            raise ValueError("a domain can be quantized once only")
        if not _finite("q", q) > 0:
            raise ValueError(f"q must be > 0, got {q!r}")
        self.sampler = sampler
        self.q = q

    def rule(self, domain: Domain) -> Rule | None:
        rule = self.sampler.rule(domain)
        if rule is None or isinstance(domain, Float):
            return rule and (rule[0], rule[1], rule[2], self.q)
        letter, low, high, _ = rule
        if self.q == 1:
            return rule
        step = int(self.q)
        return (letter, -(-int(low) // step), int(high) // step + 1, step)

    def __repr__(self) -> str:
        return f"Quantized({self.sampler!r}, {self.q!r})"


def _finite(name: str, value: Any) -> float:
    number = _as_float(name, value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {shown(value)}")
    return number


def _bounds(domain: Domain, sampler: str) -> tuple[float, float]:
    """The bounds of a number domain, checked for what this sampler needs."""
    if not isinstance(domain, (Float, Integer)):
        raise ValueError(f"{sampler} needs a domain of numbers or categories, got {domain!r}")
    low, high = domain.lower, domain.upper
    for name, bound in (("lower", low), ("upper", high)):
        if not math.isfinite(bound):
            raise ValueError(f"{sampler} requires a finite {name} bound, got {bound}")
    if sampler == "LogUniform" and low <= 0:
        raise ValueError(
            f"LogUniform requires a lower bound greater than 0, got {low}. "
            f"Usual cause: the bounds are exponents already; write 10**{low} instead of {low}."
        )
    if not math.isfinite(high - low):
        raise ValueError(f"upper - lower must be finite, got {high} - {low}")
    return low, high


# --- domains ------------------------------------------------------------------------------------------------


class Domain:
    """A set of values and the way to draw from it. Never changed after it was made: the methods return new
    domains."""

    sampler: Sampler | None = None
    default_sampler: type[Sampler] | None = None
    prior: Any = None  # a value that is thought to be good, where ``has_prior``

    def cast(self, value: Any) -> Any:
        """``value`` as a value of this domain."""
        return value

    def value_of(self, number: float) -> Any:
        """The value that a drawn number stands for."""
        return self.cast(number)

    def set_sampler(self, sampler: Sampler, allow_override: bool = False) -> None:
        """Draw by ``sampler`` from now on. A second one is a ValueError unless ``allow_override``."""
        if self.sampler is not None and not allow_override:
            raise ValueError(
                f"{type(self).__name__} has a sampler already ({self.sampler!r}), got {sampler!r}"
            )
        self.sampler = sampler

    def get_sampler(self) -> Sampler:
        """The sampler, or the default one of this kind of domain."""
        if self.sampler is not None:
            return self.sampler
        if self.default_sampler is None:
            raise ValueError(f"{type(self).__name__} has no sampler and no default for it")
        return self.default_sampler()

    def with_sampler(self, sampler: Sampler) -> Any:
        """A copy of this domain that draws by ``sampler``."""
        domain = copy.copy(self)
        domain.set_sampler(sampler, allow_override=isinstance(sampler, Quantized))
        return domain

    @property
    def has_prior(self) -> bool:
        """Whether somebody has said which value is thought to be good."""
        return "prior" in vars(self)

    def with_prior(self, value: Any) -> Any:
        """A copy of this domain in which ``value`` is thought to be good: searchers begin near it, and leave it as results come
        (``search/prior.py``). ValueError if it does not lie in the domain."""
        if not self._is_one(value):
            raise ValueError(
                f"prior must be a value of the domain, {self.domain_str}{f' in steps of {self.step:g}' if self.step else ''}, "
                f"got {shown(value)}"
            )
        domain = copy.copy(self)
        domain.prior = value
        return domain

    def _is_one(self, value: Any) -> bool:
        return lies_in(self, value)

    def rule(self) -> Rule | None:
        """The compiled rule that draws from this domain, None if ``sample`` has to be asked."""
        own_code = (
            type(self).sample is not Domain.sample or type(self.get_sampler()).sample is not Sampler.sample
        )
        return None if own_code else self.get_sampler().rule(self)

    def sample(self, config: Any = None, size: int = 1, random_state: Any = None) -> Any:
        """A value, or an array (numbers) or list of ``size`` values. See ``seed_from`` for
        ``random_state``."""
        return self.get_sampler().sample(self, config=config, size=size, random_state=random_state)

    def is_grid(self) -> bool:
        """Whether all values are tried in turn."""
        return isinstance(self.sampler, Grid)

    def is_function(self) -> bool:
        """Whether values come from a user's function."""
        return False

    def is_valid(self, value: Any) -> bool:
        """Whether ``value`` lies in this domain. Whoever wants to know asks this, through :func:`lies_in`."""
        raise NotImplementedError(f"{type(self).__name__} does not say which values are valid")

    def nearest(self, value: Any) -> Any:
        """The value of this domain that is nearest to ``value``. ValueError where nothing is near."""
        if lies_in(self, value):
            return value
        raise ValueError(f"nothing in {self!r} is near {shown(value)}")

    @property
    def step(self) -> float:
        """All values are multiples of it; 0: they need not be."""
        return self.sampler.q if isinstance(self.sampler, Quantized) else 0

    @property
    def domain_str(self) -> str:
        """The set of values, for people."""
        return "(unknown)"

    def __repr__(self) -> str:
        sampler = f", {self.sampler!r}" if self.sampler is not None else ""
        prior = f", prior={self.prior!r}" if self.has_prior else ""
        return f"{type(self).__name__}({self.domain_str}{sampler}{prior})"


class Float(Domain):
    """Real numbers between ``lower`` and ``upper`` (None: unbounded)."""

    default_sampler = Uniform

    def __init__(self, lower: float | None = None, upper: float | None = None) -> None:
        self.lower = -math.inf if lower is None else _bound("lower", lower)
        self.upper = math.inf if upper is None else _bound("upper", upper)
        if self.lower > self.upper:
            raise ValueError(f"lower must be <= upper, got {lower!r} and {upper!r}")

    def cast(self, value: Any) -> float:
        return float(value)

    def uniform(self) -> Float:
        """The same values, all equally likely in [lower, upper)."""
        _bounds(self, "Uniform")
        return self.with_sampler(Uniform())  # type: ignore[no-any-return]

    def loguniform(self, base: float | None = None) -> Float:
        """The same values, log-uniform. ``base`` has no effect."""
        _bounds(self, "LogUniform")
        return self.with_sampler(LogUniform(base))  # type: ignore[no-any-return]

    def normal(self, mean: float = 0.0, sd: float = 1.0) -> Float:
        """Normally distributed values; only for an unbounded domain."""
        if (self.lower, self.upper) != (-math.inf, math.inf):
            raise ValueError(f"normal values are unbounded, but this domain has the bounds {self.domain_str}")
        return self.with_sampler(Normal(mean, sd))  # type: ignore[no-any-return]

    def quantized(self, q: float) -> Float:
        """The same distribution rounded to multiples of ``q``, of which both bounds must be some."""
        quantized = Quantized(self.get_sampler(), q)
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            if math.isfinite(bound) and not _is_multiple(bound, q):
                raise ValueError(
                    f"the {name} bound must be a multiple of q ({q}) in a quantized domain, got {bound}"
                )
        return self.with_sampler(quantized)  # type: ignore[no-any-return]

    def is_valid(self, value: Any) -> bool:
        """A finite number, from ``lower`` to ``upper`` with both, and a multiple of the step if there is one."""
        number = real_number(value)
        if number is None or not self.lower <= number <= self.upper or not _is_finite(number):
            return False
        return not self.step or _is_near_multiple(number, self.step)

    def nearest(self, value: Any) -> float:
        number = _asked_number(self, value)
        kept = float(min(max(number, self.lower, -sys.float_info.max), self.upper, sys.float_info.max))
        if self.step and math.isfinite(kept / self.step):
            kept = min(max(round(kept / self.step) * self.step, self.lower), self.upper)
        return kept

    @property
    def domain_str(self) -> str:
        return f"({self.lower}, {self.upper})"


class Integer(Domain):
    """Whole numbers from ``lower`` up to, and without, ``upper``; in steps (:meth:`quantized`) with ``upper``."""

    default_sampler = Uniform

    def __init__(self, lower: int, upper: int) -> None:
        self.lower = _whole("lower", lower)
        self.upper = _whole("upper", upper)
        if self.lower > self.upper:
            raise ValueError(f"lower must be <= upper, got {lower!r} and {upper!r}")

    def cast(self, value: Any) -> int:
        return int(value)

    def uniform(self) -> Integer:
        """The same values, all equally likely."""
        return self.with_sampler(Uniform())  # type: ignore[no-any-return]

    def loguniform(self, base: float | None = None) -> Integer:
        """The same values: the floor of a log-uniform number. ``base`` has no effect."""
        _bounds(self, "LogUniform")
        return self.with_sampler(LogUniform(base))  # type: ignore[no-any-return]

    def quantized(self, q: int) -> Integer:
        """The multiples of ``q`` in [lower, upper], with the upper bound; q = 1 leaves everything as it
        is."""
        step = _whole("q", q)
        quantized = Quantized(self.get_sampler(), step)
        if -(-self.lower // step) > self.upper // step:
            raise ValueError(f"no multiple of q ({q}) lies in {self.domain_str}")
        return self.with_sampler(quantized)  # type: ignore[no-any-return]

    def rule(self) -> Rule | None:
        rule = super().rule()
        if rule is not None and rule[1] >= rule[2]:
            raise ValueError(f"no integer is >= {self.lower} and < {self.upper}: the upper bound is excluded")
        return rule

    @property
    def largest(self) -> int:
        """The largest whole number that may be in this domain."""
        return self.upper if self.step > 1 else self.upper - 1

    def is_valid(self, value: Any) -> bool:
        """A whole number (2.0 is one), of which ``upper`` is none but in steps, and a multiple of the step."""
        number = real_number(value)
        if number is None or not self.lower <= number <= self.largest:
            return False
        return number % (int(self.step) or 1) == 0

    def nearest(self, value: Any) -> int:
        number, step = _asked_number(self, value), int(self.step) or 1
        number = min(max(number, self.lower), self.largest)
        steps = round(number / step) if isinstance(number, float) else (2 * number + step) // (2 * step)
        return min(max(steps, -(-self.lower // step)), self.largest // step) * step

    @property
    def domain_str(self) -> str:
        return f"({self.lower}, {self.upper})"


class Categorical(Domain):
    """One of a list of options, which may be anything, also spaces with domains of their own."""

    default_sampler = Uniform

    def __init__(self, categories: Sequence[Any]) -> None:
        if isinstance(categories, (str, bytes, Mapping)) or not isinstance(categories, Iterable):
            raise TypeError(
                f"the options must be a list, got {categories!r}. Usual cause: brackets are missing."
            )
        self.categories = list(categories)
        if not self.categories:
            raise ValueError("the list of options must not be empty")

    def value_of(self, number: float) -> Any:
        return self.categories[int(number)]

    def uniform(self) -> Categorical:
        """The same options, all equally likely."""
        return self.with_sampler(Uniform())  # type: ignore[no-any-return]

    def grid(self) -> Categorical:
        """The same options, each in turn, as by ``grid_search``."""
        return self.with_sampler(Grid())  # type: ignore[no-any-return]

    def is_valid(self, value: Any) -> bool:
        """One of the options, or what lies in one that holds domains of its own."""
        return _lies_in_one(self.categories, value)

    def _is_one(self, value: Any) -> bool:
        return self.place_of(value) >= 0

    def place_of(self, value: Any) -> int:
        """The position of an option as it was written, or of the first that is equal; -1: it is none."""
        same = (k for k, option in enumerate(self.categories) if option is value)
        equal = (k for k, option in enumerate(self.categories) if not contains_domains(option) and is_among(value, [option]))
        return next(same, next(equal, -1))

    @property
    def domain_str(self) -> str:
        return f"{self.categories}"

    def __len__(self) -> int:
        return len(self.categories)

    def __getitem__(self, index: int) -> Any:
        return self.categories[index]


class Function(Domain):
    """Values that a function computes, from nothing or from the rest of the config.

    The function is called once per trial, after everything it reads has its value. Its argument reads as the
    config (``config["x"]``) and as a spec (``spec.config.x``).
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        if not callable(func):
            raise TypeError(f"sample_from takes a function, got {func!r}")
        check_called("the function of sample_from", func)
        self.func = func
        self.takes_config = _takes_config(func)

    def call(self, spec: Any) -> Any:
        """The function's value for this view of the config (see ``space/plan.py``)."""
        return self.func(spec) if self.takes_config else self.func()

    def sample(self, config: Any = None, size: int = 1, random_state: Any = None) -> Any:
        values = [self.call(config) for _ in range(size)]
        return values[0] if size == 1 else values

    def rule(self) -> Rule | None:
        return None

    def is_function(self) -> bool:
        return True

    def is_valid(self, value: Any) -> bool:
        return True

    @property
    def domain_str(self) -> str:
        return f"{getattr(self.func, '__name__', repr(self.func))}()"


def _takes_config(func: Callable[..., Any]) -> bool:
    """Whether a function is called with the config; a ValueError if it can be called with neither one nor
    none."""
    import inspect

    try:
        signature = inspect.signature(func)
    except (
        ValueError
    ):  # some compiled functions do not tell; those in use are generators' methods without arguments
        return False
    for arguments in ((None,), ()):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return bool(arguments)
    raise ValueError(f"a sample_from function must take 0 or 1 arguments, got {func!r} with {signature}")


def _bound(name: str, value: Any) -> float:
    number = _as_float(name, value)
    if math.isnan(number):
        raise ValueError(f"{name} must be a number, got nan")
    return number


def _as_float(name: str, value: Any) -> float:
    """The value as a float; infinite if it is an int beyond what a float holds."""
    if not isinstance(value, (int, float)) and not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _whole(name: str, value: Any) -> int:
    """``value`` as an int of 64 bits; 1e3 counts as one, 1.5 does not."""
    try:
        number = operator.index(value)
    except TypeError:
        if not isinstance(value, float) or not value.is_integer():
            raise TypeError(f"{name} must be an integer, got {shown(value)}") from None
        number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{name} must fit into 64 bits, got {shown(number)}")
    return number


def real_number(value: Any) -> float | int | None:
    """The number that a value is, whatever its type; None if it is none. A bool, a text, an array is none."""
    if type(value) is float or type(value) is int:
        return value
    if isinstance(value, (bool, str, bytes)) or not hasattr(value, "__float__"):
        return None
    if hasattr(value, "__len__") and getattr(value, "ndim", 1) != 0:
        return None
    if getattr(getattr(value, "dtype", None), "kind", "f") not in "iuf":  # numpy's bools and complex numbers
        return None
    try:
        return operator.index(value) if hasattr(value, "__index__") else float(value)
    except (TypeError, ValueError, OverflowError):
        return _float_or_none(value)


def _float_or_none(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _is_finite(number: float | int) -> bool:
    return isinstance(number, int) or math.isfinite(number)


def _asked_number(domain: Domain, value: Any) -> float | int:
    """The number whose nearest value is asked for; ValueError if it is none."""
    number = real_number(value)
    if number is None or number != number:
        raise ValueError(f"nothing in {domain!r} is near {shown(value)}, which is no number")
    return number


def _is_near_multiple(value: float, q: float) -> bool:
    """Whether a value is a multiple of ``q`` but for what rounding it, perhaps to 32 bits, has taken away."""
    ratio = value / q
    if not math.isfinite(ratio):
        return True  # where floats are far apart
    return abs(ratio - round(ratio)) <= max(1e-6, 4e-16 * abs(ratio))


def _is_multiple(value: float, q: float) -> bool:
    ratio = value / q
    return math.isclose(ratio, round(ratio), rel_tol=1e-9, abs_tol=1e-8)


def is_among(value: Any, options: Sequence[Any]) -> bool:
    """Whether ``value`` is one of ``options``; so are equal arrays, and NaN is NaN. What cannot be compared counts by identity."""
    for option in options:
        if option is value:
            return True
        try:
            if bool(option == value) or (option != option and value != value and type(option) is type(value)):
                return True
        except (TypeError, ValueError):
            if _are_equal_arrays(option, value):
                return True
    return False


def _are_equal_arrays(one: Any, other: Any) -> bool:
    try:
        return type(one) is type(other) and one.shape == other.shape and bool((one == other).all())
    except Exception:  # it is none, or of a library with rules of its own
        return False


def lies_in(space: Any, value: Any) -> bool:
    """Whether a trial could be given this value, or config, by a space, or by a part of one: the one rule of what lies
    inside.

    Every key there and no other, numbers within bounds and steps, options and constants equal. A domain that does not say
    what is valid may give anything, as a function may.
    """
    if isinstance(space, Domain):
        return type(space).is_valid is Domain.is_valid or space.is_valid(value)
    grid = grid_of(space)
    if grid is not None:
        return _lies_in_one(grid, value)
    if not contains_domains(space):
        return is_among(value, [space])
    if isinstance(space, Mapping):
        return (
            isinstance(value, Mapping)
            and space.keys() == value.keys()
            and all(lies_in(part, value[key]) for key, part in space.items())
        )
    return (
        isinstance(value, (list, tuple))
        and len(space) == len(value)
        and all(lies_in(part, one) for part, one in zip(space, value, strict=True))
    )


def _lies_in_one(options: Sequence[Any], value: Any) -> bool:
    if type(options) is range:
        return is_among(value, options)
    return any(lies_in(one, value) if contains_domains(one) else is_among(value, [one]) for one in options)


# --- what users write ---------------------------------------------------------------------------------------

def grid_values(values: Any, place: str = "grid_search") -> Sequence[Any]:
    """The values of a grid as a tuple or range; SearchSpaceError if they are not some."""
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__"):
        raise SearchSpaceError(f"{place} expected a list of values, got {values!r}")
    if len(values) == 0:
        raise SearchSpaceError(f"{place} needs at least one value, got {values!r}")
    return values if type(values) is range else tuple(values)


# --- looking into a space -----------------------------------------------------------------------------------


def grid_of(node: Any) -> Sequence[Any] | None:
    """The values if this is a grid (``grid_search`` or ``Categorical(..).grid()``), else None."""
    if isinstance(node, Categorical) and node.is_grid():
        return node.categories
    if isinstance(node, dict) and len(node) == 1 and "grid_search" in node:
        return grid_values(node["grid_search"])
    return None


def domains_of(space: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every domain and grid with its path, outermost only: what options hold inside is theirs."""
    if isinstance(space, Domain) or grid_of(space) is not None:
        yield path, space
    elif isinstance(space, Mapping):
        for key, part in space.items():
            yield from domains_of(part, (*path, key))
    elif isinstance(space, (list, tuple)):
        for index, part in enumerate(space):
            yield from domains_of(part, (*path, index))


def contains_domains(space: Any) -> bool:
    """Whether anything is left to be sampled."""
    return any(True for _ in domains_of(space))


def refuse_equal_names(space: Mapping[Any, Any]) -> None:
    """SearchSpaceError if two values of a space would be told under the same flat name: ``{"a/b": 1, "a": {"b": 2}}``.
    What lies in lists, or in the options of a choice, is left to itself.
    """
    known: dict[str, Path] = {}
    for path in _places(space, ()):
        name = path_name(path)
        other = known.setdefault(name, path)
        if other is not path:
            raise SearchSpaceError(
                f"two values of the search space have the name {name!r}: {_brackets(other)} and {_brackets(path)}. Names with "
                "/ stand for keys of dicts in dicts, in results, tables and points_to_evaluate: rename one of them"
            )


def _places(space: Mapping[Any, Any], path: Path) -> Iterator[Path]:
    for key, value in space.items():
        if isinstance(value, Mapping) and value and grid_of(value) is None:
            yield from _places(value, (*path, key))
        else:
            yield (*path, key)


def _brackets(path: Path) -> str:
    return "config" + "".join(f"[{key!r}]" for key in path)
