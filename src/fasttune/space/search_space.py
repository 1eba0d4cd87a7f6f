"""A search space that can be asked about itself: what lies in it, how large it is, samples of it, and its JSON."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fasttune.space.as_json import from_json_value, to_json_value
from fasttune.space.dimensions import Dimensions
from fasttune.space.domains import (
    Categorical,
    Domain,
    SearchSpaceError,
    contains_domains,
    grid_of,
    grid_values,
    lies_in,
)
from fasttune.space.nested import Config, fresh
from fasttune.space.variants import Variants

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SearchSpace(Mapping[str, Any]):
    """A search space with questions to ask. It is a mapping like the dict that it was made of: give it to ``tune.run``, a
    ``Tuner`` or a searcher.

    Args:
        space: domains, constants, grids and nested dicts, lists and tuples of them. SearchSpaceError if it is none.
    """

    def __init__(self, space: Mapping[str, Any]) -> None:
        self._space = dict(space)
        self._size: float = 0
        Variants(self._space, 1, seed=0)  # refuses what is no space, naming the key

    def __getitem__(self, key: str) -> Any:
        return self._space[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._space)

    def __len__(self) -> int:
        return len(self._space)

    def __repr__(self) -> str:
        return f"SearchSpace({self._space!r})"

    def contains(self, config: Any) -> bool:
        """Whether a trial could be given this config: every key there and no other, every value in its domain (steps of q
        included), constants equal. What ``sample_from`` computes may be anything."""
        return lies_in(self._space, config)

    def size(self) -> int | float:
        """How many configs there are: an int, or ``math.inf`` if a domain is continuous or a function has a say. Options
        that are named twice count twice."""
        size = self._size = self._size or _size(self._space)
        return size if size == math.inf else int(size)

    def all_configs(self) -> Iterator[Config]:
        """Every config of a finite space, one after the other; the last key changes quickest. ValueError if it has no end."""
        if self.size() == math.inf:
            raise ValueError("the space has no end: it holds a continuous domain or a function")
        yield from (dict(config) for config in _every(self._space))

    def configs(self, n: int, seed: int = 0) -> list[Config]:
        """The first n configs of a random search with this seed (of its grid, if there is one: the first n samples)."""
        variants = Variants(self._space, n, seed=seed)
        return [variants.config(i) for i in range(len(variants))]

    def columns(self, n: int, seed: int = 0) -> dict[str, NDArray[Any]]:
        """The same configs as :meth:`configs`, as one array for each thing that is sampled, by its name "a/b": float64,
        int64, or the options of a choice (an object array unless they are all numbers or all texts). Numbers that are not
        part of a config are NaN (floats and integers then come as float64), options None. A choice whose options hold
        domains has their number in the list.

        SearchSpaceError if ``sample_from`` or integers beyond 2**53 are in the space: those come as configs only.
        """
        import numpy as np

        variants = Variants(self._space, n, seed=seed)
        plan = variants._body
        if not plan.columnar:
            raise SearchSpaceError(
                "a space with sample_from or with integers beyond 2**53 has no columns of numbers: use configs()"
            )
        count = len(variants)
        cells = np.frombuffer(plan.sampler.block(0, count), dtype=np.float64).reshape(len(plan.leaves), count)
        found: dict[str, NDArray[Any]] = {}
        for name, leaf, column in zip(variants.columns, plan.leaves, cells, strict=True):
            options = _options_at(self._space, leaf.path)
            free = name if name not in found else f"{name}@{len(found)}"
            found[free] = _column(column, leaf.is_whole, options)
        return found

    def to_json(self) -> str:
        """The space as JSON, from which :meth:`from_json` makes an equal one.

        SearchSpaceError if it holds what JSON cannot hold: functions, and objects other than numbers, texts, bools, None and
        containers of those.
        """
        form, exact = to_json_value(self._space)
        if not exact:
            raise SearchSpaceError(
                f"the space holds what JSON cannot: {_inexact(self._space, ())}. Name the object in a choice of texts, and "
                "look it up in the trainable"
            )
        return json.dumps(form)

    @classmethod
    def from_json(cls, text: str) -> SearchSpace:
        """The space that :meth:`to_json` wrote."""
        space = from_json_value(json.loads(text))
        if not isinstance(space, dict):
            raise SearchSpaceError(f"this JSON is not a search space: {text!r:.80}")
        return cls(space)


def _size(node: Any) -> float:
    if isinstance(node, Categorical):
        return _sum(node.categories)
    if isinstance(node, Domain):
        dimensions = Dimensions({"x": node})  # none, if code of its own draws from it
        return dimensions[0].size if len(dimensions) else math.inf
    grid = grid_of(node)
    if grid is not None:
        return len(grid_values(grid)) if isinstance(grid, range) else _sum(grid_values(grid))
    if not contains_domains(node):
        return 1
    size: float = 1
    for part in node.values() if isinstance(node, Mapping) else node:
        size *= _size(part)
    return size


def _every(node: Any) -> Iterator[Any]:
    """Every value of a finite part of a space; containers are new."""
    if isinstance(node, Categorical):
        options: Any = node.categories
    elif isinstance(node, Domain):
        one = Dimensions({"x": node})[0]
        step = one.q or 1
        first = round(one.low / step)
        for k in range(int(one.size)):
            yield node.cast(one.low if one.low == one.high else (first + k) * step)
        return
    else:
        options = grid_of(node)
    if options is not None:
        for option in options:
            yield from _every(option)
    elif not contains_domains(node):
        yield fresh(node)
    elif isinstance(node, Mapping):
        for values in itertools.product(*(list(_every(part)) for part in node.values())):
            yield dict(zip(node, values, strict=True))
    else:
        for values in itertools.product(*(list(_every(part)) for part in node)):
            yield type(node)(values)


def _sum(options: Any) -> float:
    return sum(map(_size, options))


def _options_at(space: Any, path: tuple[Any, ...]) -> Any:
    """The options of the choice or grid at a path, None if there is another thing, or they hold domains themselves."""
    node = space
    for key in path:
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            return None
    options = node.categories if isinstance(node, Categorical) else grid_of(node)
    return None if options is None or contains_domains(list(options)) else options


def _column(cells: NDArray[np.float64], whole: bool, options: Any) -> NDArray[Any]:
    import numpy as np

    absent = np.isnan(cells)
    if options is not None:
        plain = all(type(one) in (int, float) for one in options) or all(type(one) is str for one in options)
        if plain and not absent.any():
            return np.asarray(list(options))[cells.astype(np.int64)]
        table = np.empty(len(options) + 1, dtype=object)
        table[:-1] = [*options]
        return table[np.where(absent, -1, cells).astype(np.int64)]
    return cells.astype(np.int64) if whole and not absent.any() else cells


def _inexact(node: Any, path: tuple[Any, ...]) -> str:
    """Where the first thing is that JSON cannot hold."""
    parts: Any = ()
    if isinstance(node, Mapping):
        parts = node.items()
    elif isinstance(node, (list, tuple)):
        parts = enumerate(node)
    elif isinstance(node, Categorical):
        parts = enumerate(node.categories)
    for key, part in parts:
        if not to_json_value(part)[1]:
            return _inexact(part, (*path, key))
    return f"{'/'.join(map(str, path)) or 'the space'} = {node!r:.80}"
