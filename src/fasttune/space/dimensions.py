"""A search space as numbered dimensions: what searchers that model a space, and adapters to libraries, work with.

    space --Plan--> leaves and tree --Dimensions--> dimensions with kind, bounds and condition
    numbers (one per dimension)  <-->  config

Every searcher sees a space through here, so a domain means the same to all of them; what a searcher cannot express is
refused with its name when the searcher is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fasttune.argument import shown
from fasttune.space.calls import Calls, view_of
from fasttune.space.domains import (
    Categorical,
    Domain,
    SearchSpaceError,
    domains_of,
    grid_of,
    is_among,
    lies_in,
    real_number,
)
from fasttune.space.nested import Config, Path, fresh, path_name
from fasttune.space.plan import Plan, SpaceNode, active_calls, draw_inner

FLOAT = "float"
INTEGER = "integer"
CATEGORICAL = "categorical"
NORMAL = "normal"
KINDS = (FLOAT, INTEGER, CATEGORICAL, NORMAL)

Number = float | int | None  # None: the dimension is not part of the config
Numbers = list[Number]

_OUTSIDE = object()


class Dimension(NamedTuple):
    """One thing to be chosen.

    A number of it is the value itself, of a categorical one the index of the option. ``low`` and ``high`` are the least
    and the largest number, both included (of a normal one: minus and plus infinity). It is part of a config only when
    dimension ``parent`` (-1: always) has the number ``option``.
    """

    name: str  # "net/layers/0"
    kind: str
    low: float
    high: float
    log: bool = False
    q: float = 0.0  # floats: multiples of q (0: any); integers: the step from one value to the next
    options: Sequence[Any] = ()  # as the user wrote them
    parent: int = -1
    option: int = -1
    mean: float = 0.0
    sd: float = 1.0
    prior: Number = None  # the number that is thought to be good; None: nobody has said one

    @property
    def size(self) -> float:
        """How many values there are, ``inf`` for a continuous one."""
        if self.kind == CATEGORICAL:
            return len(self.options)
        if self.low == self.high:
            return 1
        if self.kind == INTEGER or (self.q and math.isfinite(self.high)):
            return round((self.high - self.low) / self.q) + 1
        return math.inf

    def value(self, unit: float) -> float | int:
        """The number at ``unit`` in [0, 1): uniform units give numbers of the domain's own distribution."""
        if self.kind == CATEGORICAL:
            return min(int(unit * len(self.options)), len(self.options) - 1)
        if self.kind == INTEGER:
            return self._integer(unit)
        if self.kind == NORMAL:
            from statistics import NormalDist

            unit = min(max(unit, 2.0**-54), 1.0 - 2.0**-53)
            return self.rounded(NormalDist(self.mean, self.sd).inv_cdf(unit))
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return self.rounded(math.exp(low + unit * (high - low)))
        return self.rounded(self.low + unit * (self.high - self.low))

    def _integer(self, unit: float) -> int:
        step = int(self.q)
        first, last = int(self.low) // step, int(self.high) // step
        if not self.log:
            return min(first + int(unit * (last - first + 1)), last) * step
        low, high = math.log(first), math.log(last + 1)
        return min(max(math.floor(math.exp(low + unit * (high - low))), first), last) * step

    def rounded(self, value: float) -> float:
        """The float of this dimension that is nearest."""
        if self.q:
            value = round(value / self.q) * self.q
        return min(max(value, self.low), self.high)

    def unit(self, number: float) -> float:
        """The middle of the units that ``value`` maps to this number."""
        if self.kind == CATEGORICAL:
            return (number + 0.5) / len(self.options)
        if self.kind == NORMAL:
            from statistics import NormalDist

            return NormalDist(self.mean, self.sd).cdf(number)
        if self.kind == INTEGER:
            return self._unit_of_integer(number)
        low, high = self.low, self.high
        if low == high:
            return 0.5
        if self.log:
            low, high, number = math.log(low), math.log(high), math.log(number)
        return min(max((number - low) / (high - low), 0.0), 1.0)

    def _unit_of_integer(self, number: float) -> float:
        first, n = self.low / self.q, number / self.q
        after_last = self.high / self.q + 1
        if self.log:
            low = math.log(first)
            return ((math.log(n) + math.log(n + 1)) / 2 - low) / (math.log(after_last) - low)
        return (n + 0.5 - first) / (after_last - first)


class Dimensions:
    """The dimensions of ``space``, in the order of their sorted paths; a condition's parent comes before its children.

    ``kinds``: those that the searcher can express; another is a SearchSpaceError that names the key. ``searcher`` is
    what the errors call it. ``conditional`` False: options that hold domains of their own are refused too.
    ``sample_from`` is no dimension: it is computed for each config from what it reads.
    """

    def __init__(
        self,
        space: Mapping[str, Any],
        searcher: str = "this searcher",
        kinds: Collection[str] = KINDS,
        conditional: bool = True,
        seed: int = 0,
    ) -> None:
        self.space = dict(space)
        self.plan = Plan(space, seed)
        self._made_from = (dict(space), searcher, tuple(kinds), conditional, seed)
        self._seed = seed
        self._searcher = searcher
        self._leaves: list[int] = []  # of each dimension
        self._casts: list[type[float] | type[int]] = []  # of its numbers
        self.all: list[Dimension] = []
        self._number_of: dict[int, int] = {}  # leaf -> dimension
        self._has_constants = _has_constants(self.plan.root)
        for where in _walk(self.plan.root, (), -1, -1):
            self._take(*where)
        for one in self.all:
            self._check(one, kinds, conditional)

    def __reduce__(self) -> tuple[type[Dimensions], tuple[Any, ...]]:
        return Dimensions, self._made_from

    def __len__(self) -> int:
        return len(self.all)

    def __iter__(self) -> Iterator[Dimension]:
        return iter(self.all)

    def __getitem__(self, k: int) -> Dimension:
        return self.all[k]

    def _take(self, node: SpaceNode, path: Path, parent_leaf: int, option: int) -> None:
        letter, a, b, q = self.plan.leaves[node.leaf].rule
        if letter == "f":
            return
        name = self._free_name(path_name(path), option)
        if letter == "g":
            raise SearchSpaceError(
                f"{self._searcher} cannot walk through the grid_search at {name!r}: grids work with the built-in "
                "random and grid search. Usual cause: write choice([...]) instead."
            )
        parent = self._number_of[parent_leaf] if parent_leaf >= 0 else -1
        common: dict[str, Any] = {"parent": parent, "option": option}
        if node.kind == SpaceNode.PICK:
            options = node.value if node.children is None else self._options(path, int(b))
            made = Dimension(name, CATEGORICAL, 0, int(b) - 1, options=options, **common)
        elif letter == "n":
            made = Dimension(name, NORMAL, -math.inf, math.inf, q=float(q), mean=a, sd=b, **common)
        elif letter in "ij":
            step = int(q)
            made = Dimension(name, INTEGER, int(a) * step, (int(b) - 1) * step, letter == "j", step, **common)
        else:
            high = b if q or a == b or letter == "l" else math.nextafter(b, a)
            made = Dimension(name, FLOAT, a, high, letter == "l", float(q), **common)
        self._number_of[node.leaf] = len(self.all)
        domain = self.plan.domains.get(node.leaf)
        if domain is not None and domain.has_prior:
            place = domain.place_of(domain.prior) if isinstance(domain, Categorical) else domain.prior
            made = made._replace(prior=min(place, made.high))
        self._leaves.append(node.leaf)
        self._casts.append(float if made.kind in (FLOAT, NORMAL) else int)
        self.all.append(made)

    def _free_name(self, name: str, option: int) -> str:
        """Two options may have a key of the same name: the later one is told apart by its option's number."""
        return f"{name}@{option}" if any(one.name == name for one in self.all) else name

    def _options(self, path: Path, n: int) -> Sequence[Any]:
        """The options as the user wrote them; numbers where they stand inside another option."""
        for where, domain in domains_of(self.space):
            if where == path and isinstance(domain, Categorical):
                return domain.categories
        return range(n)

    def _check(self, one: Dimension, kinds: Collection[str], conditional: bool) -> None:
        if one.kind not in kinds:
            what = {NORMAL: "an unbounded normal", CATEGORICAL: "a choice", INTEGER: "an integer", FLOAT: "a float"}
            raise SearchSpaceError(
                f"{self._searcher} cannot search {one.name!r}: {what[one.kind]} domain; it takes "
                f"{', '.join(sorted(kinds))} domains. Usual cause: give it bounds with uniform(lower, upper)."
            )
        if one.parent >= 0 and not conditional:
            raise SearchSpaceError(
                f"{self._searcher} cannot search {one.name!r}, which is there only for one option of "
                f"{self.all[one.parent].name!r}. Use a searcher for conditional spaces (TPE, HyperOptSearch), or move "
                "it out of the choice."
            )

    @property
    def size(self) -> float:
        """How many configs there are, ``inf`` if a dimension is continuous or a function has a say."""
        if self.plan.calls:
            return math.inf
        return self._size_below(-1, -1)

    def _size_below(self, parent: int, option: int) -> float:
        size = 1.0
        for k, one in enumerate(self.all):
            if one.parent == parent and one.option == option:
                inner = [j for j in self.all if j.parent == k]
                size *= sum(self._size_below(k, o) for o in range(len(one.options))) if inner else one.size
        return size

    @property
    def has_priors(self) -> bool:
        """Somebody has said of one which number is thought to be good."""
        return any(one.prior is not None for one in self.all)

    # -- numbers <-> config ---------------------------------------------------------------------------------------------

    def active(self, numbers: Sequence[Number]) -> Numbers:
        """The numbers with None for what is not part of the config that they stand for."""
        out: Numbers = []
        for k, one in enumerate(self.all):
            here = one.parent < 0 or out[one.parent] == one.option
            out.append(numbers[k] if here else None)
        return out

    def from_units(self, units: Sequence[float]) -> Numbers:
        """Numbers at a point of the unit cube."""
        return self.active([one.value(unit) for one, unit in zip(self.all, units, strict=True)])

    def to_units(self, numbers: Sequence[Number]) -> list[float]:
        """The point of the unit cube; 0.5 for what is not part of the config."""
        return [0.5 if n is None else one.unit(n) for one, n in zip(self.all, numbers, strict=True)]

    def draw(self, trial: int) -> Numbers:
        """Random numbers: a pure function of the seed and ``trial``."""
        values = self.plan.sampler.values(trial)
        return [values[leaf] for leaf in self._leaves]

    def config(self, numbers: Sequence[Number], trial: int = 0) -> Config:
        """The whole config, functions included; ``trial`` seeds what they draw."""
        values = self._by_leaf(numbers)
        return self.plan.build(values, self._calls(values, trial))

    def suggestion(self, numbers: Sequence[Number], trial: int = 0) -> Config:
        """The config without the constants of the space: what a searcher suggests."""
        config = self.config(numbers, trial)
        if not self._has_constants:
            return config
        made: Config = _without_constants(self.plan.root, config)
        return made

    def _by_leaf(self, numbers: Sequence[Number]) -> list[Any]:
        values: list[Any] = [None] * len(self.plan.leaves)
        for leaf, number, cast in zip(self._leaves, numbers, self._casts, strict=True):
            if number is not None:
                values[leaf] = cast(number)
        return values

    def _calls(self, values: list[Any], trial: int) -> dict[int, Any]:
        if not self.plan.calls:
            return {}
        calls = Calls(self.plan.calls, trial, self._seed, draw_inner)
        whole = [0 if value is None else value for value in values]
        seen = view_of(self.plan.sampler.build(whole, calls.by_number))
        for path, domain, leaf in active_calls(self.plan.root, (), whole):
            calls.by_number[leaf].prepare(path, domain, seen)
        return {leaf: fresh(value) for leaf, value in calls.values().items()}

    def numbers(self, config: Mapping[str, Any], missing: int | None = None) -> Numbers:
        """The numbers of a config, nested or flat. ValueError names what lies outside of its domain.

        A key that is not there is a KeyError, unless ``missing`` is given: then it is drawn for that trial.
        """
        found: dict[int, Any] = {}
        _match(self.plan.root, (), _nested(config), found, self)
        drawn = self.draw(missing) if missing is not None else []
        out: Numbers = []
        for k, (leaf, one) in enumerate(zip(self._leaves, self.all, strict=True)):
            if one.parent >= 0 and out[one.parent] != one.option:
                out.append(None)
            elif leaf in found:
                out.append(found[leaf])
            elif missing is None:
                raise KeyError(f"the config has no {one.name!r}; it has {', '.join(map(str, config)) or 'nothing'}")
            else:
                number = drawn[k]
                out.append(one.value(0.5) if number is None else number)
        return out

    def strangers(self, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """What a config, nested or flat, names and this space cannot give it, each with the reason."""
        yield from _strangers(self.plan.root, (), _nested(config))

    def number_in(self, leaf: int, value: Any) -> Any:
        """The number that a value is in its domain."""
        one = self.all[self._number_of[leaf]]
        number = real_number(value)
        if number is None or not lies_in(self.plan.domains[leaf], value):
            return self._outside(one, value)
        # the upper bound itself counts as inside, and is the number below it to a searcher
        return int(number) if one.kind == INTEGER else min(float(number), one.high)

    def _outside(self, one: Dimension, value: Any) -> Any:
        what = f"one of {list(one.options)[:10]}" if one.kind == CATEGORICAL else f"from {one.low:g} to {one.high:g}"
        step = f" in steps of {one.q}" if one.q and one.kind != CATEGORICAL else ""
        raise ValueError(f"{one.name!r} must be {what}{step}, got {value!r}")

    def number_of(self, k: int, value: Any) -> Number:
        """The number that a value is in dimension k; None if it is no value of it."""
        one, leaf = self.all[k], self._leaves[k]
        if one.kind == CATEGORICAL:
            domain = self.plan.domains.get(leaf)
            place = domain.place_of(value) if isinstance(domain, Categorical) else -1
            return place if place >= 0 else None
        try:
            found: Number = self.number_in(leaf, value)
        except ValueError:
            return None
        return found

    def no_option(self, leaf: int, value: Any) -> Any:
        """A value that no option of a choice is."""
        return self._outside(self.all[self._number_of[leaf]], value)


def _walk(
    node: SpaceNode, path: Path, parent: int, option: int
) -> Iterator[tuple[SpaceNode, Path, int, int]]:
    """Every node that is sampled, with its path and the choice that it depends on; parents first."""
    if node.leaf >= 0:
        yield node, path, parent, option
    if node.kind == SpaceNode.PICK:
        for index, child in enumerate(node.children or () if node.conditional else ()):
            yield from _walk(child, path, node.leaf, index)
    else:
        keys = node.keys if node.kind == SpaceNode.DICT else range(len(node.children or ()))
        for key, child in sorted(zip(keys or (), node.children or (), strict=True), key=lambda p: str(p[0])):
            yield from _walk(child, (*path, key), parent, option)


def _without_constants(node: SpaceNode, value: Any) -> Any:
    if node.kind != SpaceNode.DICT:
        return value
    return {
        key: _without_constants(child, value[key])
        for key, child in zip(node.keys or (), node.children or (), strict=True)
        if _is_sampled(child)
    }


def _has_constants(node: SpaceNode) -> bool:
    """Whether ``_without_constants`` would leave something out."""
    children = node.children or () if node.kind == SpaceNode.DICT else ()
    return not all(map(_is_sampled, children)) or any(map(_has_constants, children))


def _is_sampled(node: SpaceNode) -> bool:
    return node.leaf >= 0 or any(map(_is_sampled, node.children or ()))


def _nested(config: Mapping[str, Any]) -> dict[Any, Any]:
    """Flat keys "a/b" opened up."""
    out: dict[Any, Any] = {}
    for key, value in config.items():
        if isinstance(key, str) and "/" in key:
            first, rest = key.split("/", 1)
            inner = out.setdefault(first, {})
            if isinstance(inner, dict):
                inner.update(_nested({rest: value}))
        elif isinstance(value, Mapping) and isinstance(out.get(key), dict):
            out[key].update(_nested(value))
        else:
            out[key] = _nested(value) if isinstance(value, Mapping) else value
    return out


def _match(node: SpaceNode, path: Path, value: Any, found: dict[int, Any], dims: Dimensions) -> None:
    """Note the number of every leaf that the value tells."""
    if node.kind == SpaceNode.DRAW:
        found[node.leaf] = dims.number_in(node.leaf, value)
    elif node.kind == SpaceNode.PICK:
        _match_pick(node, path, value, found, dims)
    elif node.kind in (SpaceNode.DICT, SpaceNode.LIST, SpaceNode.TUPLE):
        keys = node.keys if node.kind == SpaceNode.DICT else range(len(node.children or ()))
        for key, child in zip(keys or (), node.children or (), strict=True):
            part = _part(value, key)
            if part is not _OUTSIDE:
                _match(child, (*path, key), part, found, dims)


def _strangers(node: SpaceNode, path: Path, value: Any) -> Iterator[tuple[str, str]]:
    if node.kind == SpaceNode.CONST:
        if not is_among(value, [node.value]):
            yield path_name(path), f"which is {shown(node.value)} in the space and not searched, got {shown(value)}"
    elif node.kind == SpaceNode.DICT and isinstance(value, Mapping):
        parts = {str(key): child for key, child in zip(node.keys or (), node.children or (), strict=True)}
        for key, part in value.items():
            if str(key) not in parts:
                has = ", ".join(sorted(parts)[:10]) or "nothing"
                yield path_name((*path, key)), f"which the space does not have; it has {has}"
            else:
                yield from _strangers(parts[str(key)], (*path, key), part)
    elif node.kind in (SpaceNode.LIST, SpaceNode.TUPLE):
        children = node.children or ()
        if isinstance(value, Mapping):
            pairs = list(value.items())
        elif isinstance(value, (list, tuple)) and len(value) == len(children):
            pairs = list(enumerate(value))
        else:
            yield path_name(path), f"which is a list of {len(children)} in the space, got {shown(value)}"
            return
        for key, part in pairs:
            if not str(key).isdigit() or int(key) >= len(children):
                yield path_name((*path, key)), f"which the space does not have: {path_name(path)!r} has {len(children)} elements"
            else:
                yield from _strangers(children[int(key)], (*path, int(key)), part)


def _part(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get(key, value.get(str(key), _OUTSIDE))
    if isinstance(value, (list, tuple)) and isinstance(key, int) and key < len(value):
        return value[key]
    return _OUTSIDE


def _match_pick(node: SpaceNode, path: Path, value: Any, found: dict[int, Any], dims: Dimensions) -> None:
    options = node.value if node.children is None else None
    if options is not None:
        index = place_of(value, options)
        if index is not None:
            found[node.leaf] = index
            return
    else:
        for index, child in enumerate(node.children or ()):
            inner: dict[int, Any] = {}
            try:
                _match(child, path, value, inner, dims)
            except ValueError:
                continue
            if _fits(child, value):
                found.update(inner)
                found[node.leaf] = index
                return
    dims.no_option(node.leaf, value)


def place_of(value: Any, options: Sequence[Any]) -> int | None:
    """Which option a value is: the very one, one of its type that equals it, one that equals it, or one whose text it
    is, as journals have it."""
    tests: tuple[Callable[[Any], bool], ...] = (
        lambda option: option is value,
        lambda option: type(option) is type(value) and is_among(value, [option]),
        lambda option: is_among(value, [option]),
        lambda option: isinstance(value, str) and value == str(option),
    )
    return next((k for test in tests for k, option in enumerate(options) if test(option)), None)


def _fits(node: SpaceNode, value: Any) -> bool:
    """Whether the value has the shape and the constants of this option."""
    if node.kind == SpaceNode.CONST:
        return is_among(value, [node.value])
    if node.kind == SpaceNode.DICT:
        keys = node.keys or ()
        return (
            isinstance(value, Mapping)
            and set(value) == set(keys)
            and all(_fits(child, value[key]) for key, child in zip(keys, node.children or (), strict=True))
        )
    if node.kind in (SpaceNode.LIST, SpaceNode.TUPLE):
        children = node.children or ()
        return (
            isinstance(value, (list, tuple))
            and len(value) == len(children)
            and all(map(_fits, children, value))
        )
    return True


def has_grid(space: Mapping[str, Any]) -> bool:
    """Whether a grid stands in the space."""
    return any(grid_of(domain) is not None for _, domain in domains_of(space))


__all__ = [
    "CATEGORICAL",
    "FLOAT",
    "INTEGER",
    "KINDS",
    "NORMAL",
    "Dimension",
    "Dimensions",
    "Domain",
    "Number",
    "Numbers",
    "has_grid",
]
