"""A search space, compiled: the leaves that are sampled, and the tree that puts a config together from them.

    space --compile--> leaves (path, rule)  --_draws.Sampler, key (seed, trial)-->  numbers  --tree-->  config

Leaves are numbered in the order of their sorted paths; options of a ``choice`` that hold domains have leaves
of their own, which are part of a config only when that option was picked.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fasttune import _draws
from fasttune.metric_values import whole_int
from fasttune.space.calls import Calls, view_of
from fasttune.space.domains import (
    Categorical,
    Domain,
    Rule,
    SearchSpaceError,
    contains_domains,
    domains_of,
    grid_of,
    grid_values,
    refuse_equal_names,
)
from fasttune.space.nested import Config, Path, fresh, path_name

SpaceNode = _draws.SpaceNode
LARGEST_GRID = 2**62
EXACT_IN_FLOAT = 2**53


class Leaf(NamedTuple):
    """Something that is sampled."""

    path: Path
    rule: Rule

    @property
    def is_call(self) -> bool:
        return self.rule[0] == "f"

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are integers: values, or indices of options."""
        return self.rule[0] in "ijg"


class Plan:
    """One compiled space.

    Args:
        space: a dict with domains in it.
        seed: with the trial's number, all that the random values depend on.
        offset: number of the plan's first trial.
        constant: the trials that walk through the grid of one sample share their random values.
    """

    def __init__(self, space: Mapping[str, Any], seed: int, offset: int = 0, constant: bool = False) -> None:
        refuse_equal_names(space)
        compiler = _Compiler()
        self.root = compiler.node(dict(space), ())
        self.leaves: list[Leaf] = compiler.leaves
        self.domains = compiler.domains
        self.grid = compiler.number_grids()
        self.calls = [(number, leaf) for number, leaf in enumerate(self.leaves) if leaf.is_call]
        self._seed = seed
        self._called: dict[int, dict[int, Any]] = {}
        self._known: dict[int, dict[int, Any]] = {}  # trial -> values of functions, of which not all are known
        self.sampler = _draws.Sampler(
            [leaf.rule for leaf in self.leaves],
            seed,
            self.root,
            offset=offset,
            grid=self.grid,
            constant=constant,
            conditional=compiler.conditional,
        )
        self.layouts: dict[str, Any] = {}  # what `plan_columns` has found out about the tree
        self.columnar = not self.calls and all(_fits_float(leaf.rule) for leaf in self.leaves)

    def config(self, trial: int) -> Config:
        """A new config for this trial. Functions are called the first time only; their values are
        remembered."""
        made: Config = self.sampler.config(trial, self.call_values(trial) if self.calls else None)
        return made

    def build(self, values: Sequence[Any], calls: dict[int, Any]) -> Config:
        """The config of known numbers and known values of functions."""
        made: Config = self.sampler.build(values, calls)
        return made

    def params(self, values: Sequence[Any], config: Config) -> Config:
        """What was sampled for this config, by flat name, in the order of the sorted paths."""
        found: list[tuple[Path, Any]] = []
        _collect(self.root, (), config, values, False, found)
        found.sort(key=lambda item: sort_key(item[0]))
        return {path_name(path): value for path, value in found}

    def tag(self, values: Sequence[Any], config: Config) -> str:
        """What was sampled, short enough for a directory name: "a=0.1000,b=x"."""
        found: list[tuple[Path, Any]] = []
        _collect(self.root, (), config, values, False, found)
        found.sort(key=lambda item: sort_key(item[0]))
        return ",".join([f"{tag_name(path)}={tag_value(value)}" for path, value in found])

    def call_values(self, trial: int, view: Any = None) -> dict[int, Any]:
        """The values of the functions of this trial's config, by number of the leaf; new containers every
        time."""
        known = self._called.get(trial)
        if known is None:
            known = self._called[trial] = self._call(trial, view)
        return {number: fresh(value) for number, value in known.items()}

    def remember(self, trial: int, calls: dict[int, Any]) -> None:
        """Take these as the functions' values of this trial instead of calling them."""
        self._called[trial] = calls

    def forget(self, trial: int, numbers: Sequence[int]) -> None:
        """The values of these functions of the trial are not known after all; the others are."""
        if numbers:
            known = self._called.pop(trial, {})
            self._known[trial] = {number: value for number, value in known.items() if number not in numbers}

    def _call(self, trial: int, view: Any) -> dict[int, Any]:
        numbers = self.sampler.values(trial)
        calls = Calls(self.calls, trial, self._seed, draw_inner)
        for number, value in self._known.pop(trial, {}).items():
            calls.by_number[number].settle(value)
        seen = view_of(self.sampler.build(numbers, calls.by_number)) if view is None else view
        for path, domain, number in active_calls(self.root, (), numbers):
            calls.by_number[number].prepare(path, domain, seen)
        return calls.values()


def draw_inner(space: Any, seed: int, trial: int, view: Any) -> Any:
    """What a function returned, with the domains in it drawn."""
    plan = Plan({"value": space}, seed)
    if plan.grid != 1:
        raise SearchSpaceError(
            "a sample_from function returned a grid_search; put the grid into the space instead"
        )
    return plan.build(plan.sampler.values(trial), plan.call_values(trial, view))["value"]


def draw_config(space: Mapping[str, Any], seed: int, trial: int = 0) -> Config:
    """One config of a space without grids: for what a searcher's suggestion leaves open."""
    plan = Plan(space, seed)
    if plan.grid != 1:
        raise SearchSpaceError(
            "grid_search works with the built-in grid and random search only, not with a searcher"
        )
    return plan.config(trial)


def _fits_float(rule: Rule) -> bool:
    letter, _, b, q = rule
    if letter not in "ij":
        return True
    return max(abs(rule[1]), abs(b)) * q <= EXACT_IN_FLOAT


# --- compiling ----------------------------------------------------------------------------------------------


class _Compiler:
    """Walks a space in the order of its sorted paths; numbers leaves as it meets them."""

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.domains: dict[int, Domain] = {}  # of each leaf that one is
        self.conditional = False
        self._inside_choice = 0

    def node(self, part: Any, path: Path) -> SpaceNode:
        grid = grid_of(part)
        if grid is not None:
            return self._grid(grid, path)
        if isinstance(part, Domain):
            return self._domain(part, path)
        kind = type(part)
        if kind is dict or (isinstance(part, dict) and contains_domains(part)):
            return self._dict(part, path)
        if kind is list or kind is tuple or (isinstance(part, list) and contains_domains(part)):
            children = tuple([self.node(item, (*path, index)) for index, item in enumerate(part)])
            return SpaceNode(SpaceNode.TUPLE if kind is tuple else SpaceNode.LIST, children=children)
        if isinstance(part, tuple) and contains_domains(part):
            raise SearchSpaceError(
                f"domains may stand in dicts, lists and plain tuples, not in the {kind.__name__} at "
                f"{path_name(path)!r}"
            )
        return SpaceNode(SpaceNode.CONST, value=part)

    def _dict(self, part: dict[Any, Any], path: Path) -> SpaceNode:
        if len(part) == 1 and isinstance(part.get("eval"), str):
            raise SearchSpaceError(
                f"{{'eval': ..}} strings are not evaluated, got {part!r} at {path_name(path)!r}. "
                "Write sample_from(lambda config: ..) instead."
            )
        made = {key: self.node(part[key], (*path, key)) for key in sorted(part, key=_key_order)}
        return SpaceNode(SpaceNode.DICT, keys=tuple(part), children=tuple([made[key] for key in part]))

    def _domain(self, domain: Domain, path: Path) -> SpaceNode:
        rule = domain.rule()
        if rule is None:
            return SpaceNode(SpaceNode.CALL, leaf=self._leaf(path, ("f", 0, 0, 0)), value=domain)
        number = self._leaf(path, rule)
        self.domains[number] = domain
        if not isinstance(domain, Categorical):
            return SpaceNode(SpaceNode.DRAW, leaf=number)
        self._inside_choice += 1
        node = self._pick(domain.categories, path, number)
        self._inside_choice -= 1
        return node

    def _grid(self, values: Sequence[Any], path: Path) -> SpaceNode:
        if self._inside_choice:
            raise SearchSpaceError(
                f"grid_search inside an option of a choice, at {path_name(path)!r}: the number of trials "
                "would depend on chance. Put the grid outside, or use choice."
            )
        expanded = _without_inner_grids(values)
        return self._pick(expanded, path, self._leaf(path, ("g", 1, len(expanded), 0)))

    def _pick(self, options: Sequence[Any], path: Path, number: int) -> SpaceNode:
        """Options that are passed on as they are stay in one tuple (a range stays a range)."""
        if type(options) is range or not any(_is_rebuilt(option) for option in options):
            return SpaceNode(
                SpaceNode.PICK, leaf=number, value=options if type(options) is range else tuple(options)
            )
        before = len(self.leaves)
        children = tuple([self.node(option, path) for option in options])
        inner = len(self.leaves) > before
        self.conditional |= inner
        return SpaceNode(SpaceNode.PICK, leaf=number, children=children, conditional=inner)

    def _leaf(self, path: Path, rule: Rule) -> int:
        self.leaves.append(Leaf(path, rule))
        return len(self.leaves) - 1

    def number_grids(self) -> int:
        """Let the first grid vary fastest, the next one after it ..; gives the number of points of all of
        them."""
        points = 1
        for number, (path, (letter, _, size, _)) in enumerate(self.leaves):
            if letter == "g":
                self.leaves[number] = Leaf(path, ("g", points, size, 0))
                points *= int(size)
        if points > LARGEST_GRID:
            raise SearchSpaceError(f"the grid must have at most 2**62 points, got {points}")
        return points


def _is_rebuilt(option: Any) -> bool:
    return isinstance(option, (dict, list, tuple, Domain))


def _key_order(key: Any) -> tuple[int, Any]:
    return (0, key) if isinstance(key, int) else (1, str(key))


def sort_key(path: Path) -> list[tuple[int, Any]]:
    """Paths in the order that Python would sort them in, indices before names."""
    return [_key_order(part) for part in path]


def _without_inner_grids(values: Sequence[Any]) -> Sequence[Any]:
    """A grid whose values hold grids again is the grid of all of their combinations."""
    if type(values) is range or not any(_is_rebuilt(value) and _holds_grid(value) for value in values):
        return values
    return [combination for value in values for combination in _expanded(value)]


def _holds_grid(part: Any) -> bool:
    return any(grid_of(domain) is not None for _, domain in domains_of(part))


def _expanded(part: Any) -> list[Any]:
    grid = grid_of(part)
    if grid is not None:
        return list(_without_inner_grids(grid_values(grid)))
    if not isinstance(part, (dict, list, tuple)) or not _holds_grid(part):
        return [part]
    # itertools.product varies its last argument fastest; ours is the first in the order of the paths
    keys = sorted(part, key=_key_order, reverse=True) if isinstance(part, dict) else range(len(part))[::-1]
    made: list[Any] = []
    for combination in itertools.product(*[_expanded(part[key]) for key in keys]):
        chosen = dict(zip(keys, combination, strict=True))
        if isinstance(part, dict):
            made.append({key: chosen[key] for key in part})
        else:
            made.append((list if isinstance(part, list) else tuple)([chosen[k] for k in range(len(part))]))
    return made


# --- what was sampled ---------------------------------------------------------------------------------------


def _collect(
    node: SpaceNode,
    path: Path,
    value: Any,
    numbers: Sequence[Any],
    everything: bool,
    found: list[tuple[Path, Any]],
) -> None:
    """Walk a config beside its tree and note what was sampled. In an option that holds domains, that is all
    of it."""
    if node.kind == SpaceNode.DICT and node.keys:
        for key, child in zip(node.keys, node.children or (), strict=True):
            _collect(child, (*path, key), value[key], numbers, everything, found)
    elif node.kind in (SpaceNode.LIST, SpaceNode.TUPLE) and node.children:
        for index, child in enumerate(node.children):
            _collect(child, (*path, index), value[index], numbers, everything, found)
    elif node.kind == SpaceNode.PICK and node.conditional:
        _collect((node.children or ())[numbers[node.leaf]], path, value, numbers, True, found)
    elif node.leaf >= 0 or everything:
        found.append((path, value))


def active_calls(node: SpaceNode, path: Path, numbers: Sequence[Any]) -> Iterator[tuple[Path, Domain, int]]:
    """The functions that this config needs."""
    if node.kind == SpaceNode.CALL:
        yield path, node.value, node.leaf
    elif node.kind == SpaceNode.PICK:
        if node.conditional and node.children:
            yield from active_calls(node.children[numbers[node.leaf]], path, numbers)
    else:
        keys = node.keys if node.kind == SpaceNode.DICT else range(len(node.children or ()))
        for key, child in zip(keys or (), node.children or (), strict=True):
            yield from active_calls(child, (*path, key), numbers)


def tag_name(path: Path) -> str:
    """The last name of a path, with the indices that follow it: ("net", "layers", 0) is "layers_0"."""
    names = [index for index, part in enumerate(path) if not isinstance(part, int)]
    parts = path[names[-1] :] if names else path
    return _clean("_".join([str(part) for part in parts]))


def tag_value(value: Any) -> str:
    """Floats with four decimals, everything else as text of letters, digits, "_" and "-"."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _clean(whole_int(value))
    return f"{value:.4f}" if isinstance(value, float) else _clean(str(value))


_UNCLEAN = re.compile("[^a-zA-Z0-9_-]+")


def _clean(text: str) -> str:
    return _UNCLEAN.sub("_", text).strip("_")
