"""The configs of many trials of one plan as columns: no config is made, the numbers are drawn as arrays.

Which values a config has may depend on what was chosen (options of a choice that are dicts, or hold domains). Trials that
chose alike have configs of one ``Shape``: the same names, from the same nodes of the plan's tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune import _draws
from fasttune.metric_values import whole_text
from fasttune.result import DELIMITER, flatten
from fasttune.space.nested import Path
from fasttune.space.plan import Plan, sort_key, tag_name, tag_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

SpaceNode = _draws.SpaceNode
CONTAINERS = (SpaceNode.LIST, SpaceNode.TUPLE)
Picked = Mapping[int, int]  # leaf of a choice that branches -> number of the option


class Coded(NamedTuple):
    """A column of few different values."""

    options: NDArray[Any]
    which: Ints  # of them each entry is

    def spread(self) -> NDArray[Any]:
        """An entry for each."""
        return self.options[self.which]


class Piece(NamedTuple):
    """The values of one name for some trials, of float64, int64 or bool where all are floats, ints or bools, else objects."""

    column: NDArray[Any] | Coded
    kinds: frozenset[type]

    @property
    def values(self) -> NDArray[Any]:
        return self.column.spread() if isinstance(self.column, Coded) else self.column

    def __len__(self) -> int:
        return len(self.column.which if isinstance(self.column, Coded) else self.column)


class Shape:
    """Trials whose configs have the same names.

    at      where they are among the trials that were asked for
    names   flat name ("a/b") -> node of the tree that gives its value, or a Constant; in the order of ``flatten``
    """

    def __init__(self, of: PlanColumns, at: Ints, picked: Picked) -> None:
        self._of = of
        self._picked = picked
        self.at = at
        self.names = _layout(of.plan, picked)

    def piece(self, name: str) -> Piece:
        """The values of a name."""
        node = self.names[name]
        if isinstance(node, Constant):
            return repeated(node.value, len(self.at))
        return self._of.piece(node, self.at)

    def tag_parts(self) -> list[tuple[Any, ...]]:
        """What experiment tags say of what was sampled, as parts for ``_core.texts``; empty if nothing was."""
        found = sorted(_sampled(self._of.plan.root, (), self._picked, False), key=lambda item: sort_key(item[0]))
        parts: list[tuple[Any, ...]] = []
        for path, node in found:
            parts.append(("text", f"{',' if parts else ''}{tag_name(path)}="))
            parts.append(self._of.text_part(node, self.at))
        return parts


class Constant(NamedTuple):
    """A value that all trials have."""

    value: Any


class PlanColumns:
    """The numbers of ``trials`` (int64, as the plan numbers them). The plan has no functions."""

    def __init__(self, plan: Plan, trials: Ints) -> None:
        import numpy as np

        self.plan = plan
        self.trials = np.ascontiguousarray(trials, dtype=np.int64)
        drawn = plan.sampler.columns(self.trials)
        self._cells: list[NDArray[Any]] = [
            np.frombuffer(column, np.int64 if leaf.is_whole else np.float64)
            for column, leaf in zip(drawn, plan.leaves, strict=True)
        ]

    @cached_property
    def shapes(self) -> list[Shape]:
        """The trials by what they chose, those of the first trial first."""
        import numpy as np

        n = len(self.trials)
        branches = self.plan.layouts.get("branches")
        if branches is None:
            branches = self.plan.layouts["branches"] = list(_branches(self.plan.root, None))
        if not branches:
            return [Shape(self, np.arange(n), {})] if n else []
        picks: dict[int, Ints] = {}
        for leaf, within in branches:  # a choice comes behind the one that it is in
            cells = self._cells[leaf]
            if within is not None:
                cells = np.where(picks[within[0]] == within[1], cells, -1)
            picks[leaf] = cells
        codes: Any = np.zeros(n, dtype=np.int64)
        for cells in picks.values():
            _, codes = distinct(codes * (int(cells.max(initial=0)) + 2) + cells + 1)
        order = np.argsort(codes, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if n else []
        groups.sort(key=lambda at: int(at[0]))
        return [Shape(self, at, {leaf: int(cells[at[0]]) for leaf, cells in picks.items()}) for at in groups]

    def piece(self, node: SpaceNode, at: Ints) -> Piece:
        """What a node gives to some of the trials; new lists and tuples for each."""
        import numpy as np

        if node.kind == SpaceNode.DRAW:
            cells = self._cells[node.leaf]
            if len(at) < len(cells):  # else it is all of them, in their order
                cells = cells[at]
            return Piece(cells, frozenset([int if cells.dtype == np.int64 else float]))
        if node.kind == SpaceNode.CONST:
            return repeated(node.value, len(at))
        if node.kind == SpaceNode.PICK and node.children is None:
            used, which = distinct(self._cells[node.leaf][at])
            options = piece_of([node.value[number] for number in used.tolist()])
            return Piece(Coded(options.values, which), options.kinds)
        return piece_of(self.plan.sampler.parts(node, np.ascontiguousarray(self.trials[at])))

    def text_part(self, node: SpaceNode, at: Ints) -> tuple[Any, ...]:
        """The value of a node as experiment tags say it, as a part for ``_core.texts``."""
        import numpy as np

        if node.kind == SpaceNode.DRAW:
            cells = np.ascontiguousarray(self._cells[node.leaf][at])
            return ("digits", cells, 0) if cells.dtype == np.int64 else ("fixed", cells)
        if node.kind == SpaceNode.PICK:
            used, which = distinct(self._cells[node.leaf][at])
            texts = [tag_value(self._option(node, number)) for number in used.tolist()]
            return ("option", np.ascontiguousarray(which, dtype=np.int64), texts)
        return ("text", tag_value(self._same_in_all(node)))

    def _option(self, node: SpaceNode, number: int) -> Any:
        return node.value[number] if node.children is None else self._same_in_all(node.children[number])

    def _same_in_all(self, node: SpaceNode) -> Any:
        """The value of a node in which nothing is sampled."""
        return self.plan.sampler.parts(node, self.trials[:1])[0]


def _layout(plan: Plan, picked: Picked) -> dict[str, Any]:
    """The names of configs that chose this, each with its node or a Constant: found once."""
    key = f"{sorted(picked.items())}"
    names: dict[str, Any] | None = plan.layouts.get(key)
    if names is None:
        names = plan.layouts[key] = {}
        _add_names(plan.root, "", picked, names)
    return names


def _add_names(parts: SpaceNode, prefix: str, picked: Picked, names: dict[str, Any]) -> None:
    """As ``flatten`` names the leaves of a config that this dict gives; an empty dict in it is a leaf."""
    for key, child in zip(parts.keys or (), parts.children or (), strict=True):
        _add_name(child, f"{prefix}{key}", picked, names)


def _add_name(node: SpaceNode, name: str, picked: Picked, names: dict[str, Any]) -> None:
    if node.kind == SpaceNode.DICT and node.keys:
        _add_names(node, f"{name}{DELIMITER}", picked, names)
    elif node.kind == SpaceNode.PICK and node.leaf in picked:
        _add_name((node.children or ())[picked[node.leaf]], name, picked, names)
    elif node.kind == SpaceNode.CONST and isinstance(node.value, dict) and node.value:
        names.update((key, Constant(value)) for key, value in flatten(node.value, f"{name}{DELIMITER}").items())
    else:
        names[name] = node


def _branches(node: SpaceNode, within: tuple[int, int] | None) -> Iterator[tuple[int, tuple[int, int] | None]]:
    """(leaf, the option that it is part of: (leaf, number), or None) of each choice on which names or tags depend."""
    if node.kind == SpaceNode.PICK and node.children is not None:
        if node.conditional or any(map(_has_names, node.children)):
            yield node.leaf, within
            for number, child in enumerate(node.children):
                yield from _branches(child, (node.leaf, number))
        return
    for child in node.children or ():
        yield from _branches(child, within)


def _has_names(node: SpaceNode) -> bool:
    """Whether what a node gives has names of its own in a flat config."""
    return node.kind == SpaceNode.DICT or (node.kind == SpaceNode.CONST and isinstance(node.value, dict))


def _sampled(node: SpaceNode, path: Path, picked: Picked, everything: bool) -> Iterator[tuple[Path, SpaceNode]]:
    """Path and node of what was sampled; see ``space.plan``. In an option that holds domains, that is all of it."""
    if node.kind == SpaceNode.DICT and node.keys:
        for key, child in zip(node.keys, node.children or (), strict=True):
            yield from _sampled(child, (*path, key), picked, everything)
    elif node.kind in CONTAINERS and node.children:
        for index, child in enumerate(node.children):
            yield from _sampled(child, (*path, index), picked, everything)
    elif node.kind == SpaceNode.PICK and node.conditional:
        yield from _sampled((node.children or ())[picked[node.leaf]], path, picked, True)
    elif node.leaf >= 0 or everything:
        yield path, node


def distinct(whole: Ints) -> tuple[Ints, Ints]:
    """``numpy.unique`` of integers with its inverse; counted where they are close together, which takes a fifth of
    the time of sorting."""
    import numpy as np

    if not len(whole):
        return whole, np.empty(0, dtype=np.int64)
    least, most = int(whole.min()), int(whole.max())
    if most - least > len(whole) + 1000:
        used, which = np.unique(whole, return_inverse=True)
        return used, which
    there = np.zeros(most - least + 1, dtype=np.bool_)
    there[whole - least] = True
    return np.flatnonzero(there) + least, (np.cumsum(there) - 1)[whole - least]


TYPED = {float: "float64", bool: "bool", int: "int64"}


def repeated(value: Any, n: int) -> Piece:
    """The same value n times."""
    import numpy as np

    one = piece_of([value])
    return Piece(Coded(one.values, np.zeros(n, dtype=np.int64)), one.kinds)


def piece_of(values: list[Any]) -> Piece:
    """An array of the values' own type where they share one that numpy has, of objects otherwise (lists stay lists)."""
    import numpy as np

    kinds = frozenset(map(type, values))
    if len(kinds) == 1:
        dtype = TYPED.get(next(iter(kinds)))
        if dtype is not None:
            try:
                return Piece(np.array(values, dtype=dtype), kinds)
            except OverflowError:  # an int beyond 2^63
                pass
    column = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        column[position] = whole_text(value) if type(value) is str else value
    return Piece(column, kinds)
