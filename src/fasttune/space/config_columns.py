"""The configs of many trials as columns: what a function gets that evaluates them in one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.result import DELIMITER
from fasttune.space.domains import Categorical, domains_of, grid_of
from fasttune.space.nested import Path, path_name
from fasttune.space.plan_columns import PlanColumns, piece_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttune.space.variants import Variants

    Ints = NDArray[np.int64]

NUMBERS = ({float}, {int}, {bool}, {int, float})
Column = Any  # an array of floats, ints or bools; a list of anything else


class ColumnNames(NamedTuple):
    """What the space says of names, whatever the configs of some trials are.

    loose  their columns are lists: choices among what are not all numbers of a kind. What options hold has names below theirs
    whole  some options have a value there, and others names below it: a list of what each config has in that place
    odd    name -> keys, where a key is no text or holds the "/" that stands between keys
    """

    loose: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    odd: Mapping[str, tuple[Any, ...]] = {}


NOTHING_KNOWN = ColumnNames()


class ConfigColumns:
    """A column for each name "a/b" of the configs of ``n`` trials."""

    def __init__(self, flat: Mapping[str, Column], n: int, odd: Mapping[str, tuple[Any, ...]] = NOTHING_KNOWN.odd) -> None:
        self.flat = flat
        self.n = n
        self.odd = odd

    def nested(self) -> dict[str, Any]:
        """In the shape of a config, with a column in each value's place."""
        nested: dict[Any, Any] = {}
        for name, column in self.flat.items():
            *outer, last = self.odd.get(name) or name.split(DELIMITER)
            place = nested
            for key in outer:
                place = place.setdefault(key, {})
            place[last] = column
        return nested

    def take(self, index: Ints) -> ConfigColumns:
        """Those of some of the trials, in this order."""
        flat = {name: column[index] if is_array(column) else [column[i] for i in index] for name, column in self.flat.items()}
        return ConfigColumns(flat, len(index), self.odd)


def is_array(column: Column) -> bool:
    return not isinstance(column, list)


def names_of(space: Mapping[str, Any]) -> ColumnNames:
    """What a space says of the names of its columns."""
    loose = set()
    for path, node in domains_of(space):
        options = _options_of(node)
        if options is not None and {type(option) for option in options} not in NUMBERS:
            loose.add(path_name(tuple(key for key in path if not isinstance(key, int))))
    values: set[str] = set()
    holders: set[str] = set()
    odd: dict[str, tuple[Any, ...]] = {}
    for path, is_value in _places(space, ()):
        name = path_name(path)
        (values if is_value else holders).add(name)
        if any(type(key) is not str or DELIMITER in key for key in path):
            odd[name] = path
    return ColumnNames(frozenset(loose), frozenset(values & holders), odd)


def _options_of(node: Any) -> Sequence[Any] | None:
    return node.categories if isinstance(node, Categorical) else grid_of(node)


def _places(node: Any, path: Path) -> Iterator[tuple[Path, bool]]:
    """Where configs of a space have values (True), and dicts that hold such (False)."""
    options = _options_of(node)
    if options is not None:
        for option in options:
            yield from _places(option, path)
    elif isinstance(node, dict) and node:
        if path:
            yield path, False
        for key, value in node.items():
            yield from _places(value, (*path, key))
    else:
        yield path, True


def drawn(variants: Variants, first: int, n: int, names: ColumnNames = NOTHING_KNOWN) -> ConfigColumns:
    """Those of the configs first .. first+n-1 of a space; no config is made where all of them have the same names and come behind
    those of points."""
    import numpy as np

    start, plan = variants.body
    if first >= start and not plan.calls and not names.whole:
        shapes = PlanColumns(plan, np.arange(first, first + n, dtype=np.int64)).shapes
        if len(shapes) == 1:
            (shape,) = shapes
            columns = {name: shape.piece(name).values for name in shape.names}
            flat = {name: _column_of(values, _is_in(name, names.loose)) for name, values in columns.items()}
            return ConfigColumns(flat, n, names.odd)
    return gathered([variants.config(i) for i in range(first, first + n)], names)


def gathered(configs: Sequence[Mapping[str, Any]], names: ColumnNames = NOTHING_KNOWN) -> ConfigColumns:
    """Those of configs that there are. A name that some of them do not have is None there."""
    rows = [_flat(config, names.whole) for config in configs]
    found = dict.fromkeys(name for row in rows for name in row)
    if both := _both(found, names.odd):  # a function of the space has returned a dict for some, and another value for others
        rows = [_flat(config, names.whole | both) for config in configs]
        found = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in found}
    lists = names.loose | names.whole | both
    flat = {name: values if _is_in(name, lists) else column_of(values) for name, values in columns.items()}
    return ConfigColumns(flat, len(rows), names.odd)


def _flat(config: Mapping[Any, Any], whole: frozenset[str], prefix: str = "") -> dict[str, Any]:
    """As ``result.flatten``, but for names that are ``whole``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value and name not in whole:
            flat.update(_flat(value, whole, name + DELIMITER))
        else:
            flat[name] = value
    return flat


def _both(names: Mapping[str, Any], odd: Mapping[str, Any]) -> frozenset[str]:
    """Of these names those below which there are others."""
    found = set()
    for name in names:
        at = -1 if name in odd else name.find(DELIMITER)
        while at >= 0:
            if name[:at] in names:
                found.add(name[:at])
            at = name.find(DELIMITER, at + 1)
    return frozenset(found)


def _is_in(name: str, loose: frozenset[str]) -> bool:
    """The name is one of these, or below one."""
    return bool(loose) and any(name == one or name.startswith(one + DELIMITER) for one in loose)


def joined(parts: Sequence[ConfigColumns]) -> ConfigColumns:
    """All trials of these, one part behind the other."""
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    n = sum(part.n for part in parts)
    flat: dict[str, Column] = {}
    odd = parts[0].odd
    if both := _both(dict.fromkeys(name for part in parts for name in part.flat), odd):
        parts = [_with_whole(part, both) for part in parts]
    for name in dict.fromkeys(name for part in parts for name in part.flat):
        columns = [part.flat.get(name, [None] * part.n) for part in parts]
        kinds = {column.dtype if is_array(column) else None for column in columns}
        if None not in kinds and len(kinds) == 1:
            flat[name] = np.concatenate(columns)
        else:
            flat[name] = column_of([value for column in columns for value in _values(column)])
    return ConfigColumns(flat, n, odd)


def _with_whole(part: ConfigColumns, whole: frozenset[str]) -> ConfigColumns:
    """With one column of dicts in the place of all that are below such a name."""
    flat: dict[str, Column] = {}
    for name, column in part.flat.items():
        outer = next((one for one in whole if name.startswith(one + DELIMITER)), None)
        if outer is None:
            flat[name] = column
            continue
        held = flat.setdefault(outer, [{} for _ in range(part.n)])
        for place, value in zip(held, _values(column), strict=True):
            *between, last = name[len(outer) + 1 :].split(DELIMITER)
            for key in between:
                place = place.setdefault(key, {})
            place[last] = value
    return ConfigColumns(flat, part.n, part.odd)


def column_of(values: list[Any]) -> Column:
    """An array of the values' own type where they share one that numpy has (floats where ints are among floats)."""
    import numpy as np

    if {type(value) for value in values} == {int, float}:
        return np.array(values, dtype=np.float64)
    return _column_of(piece_of(values).values)


def _column_of(values: Any, as_list: bool = False) -> Column:
    return values.tolist() if as_list or values.dtype == object else values


def _values(column: Column) -> list[Any]:
    values: list[Any] = column.tolist() if is_array(column) else column
    return values
