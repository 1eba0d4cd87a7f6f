"""The configs of many trials as columns: what a function gets that evaluates them in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fasttune.result import DELIMITER, flatten
from fasttune.space.domains import Categorical, domains_of, grid_of, path_name, unflatten_dict
from fasttune.space.plan_columns import PlanColumns, piece_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttune.space.variants import Variants

    Ints = NDArray[np.int64]

NUMBERS = ({float}, {int}, {bool}, {int, float})
Column = Any  # an array of floats, ints or bools; a list of anything else


class ConfigColumns:
    """A column for each name "a/b" of the configs of ``n`` trials."""

    def __init__(self, flat: Mapping[str, Column], n: int) -> None:
        self.flat = flat
        self.n = n

    def nested(self) -> dict[str, Any]:
        """In the shape of a config, with a column in each value's place."""
        return unflatten_dict(self.flat)

    def take(self, index: Ints) -> ConfigColumns:
        """Those of some of the trials, in this order."""
        flat = {name: column[index] if is_array(column) else [column[i] for i in index] for name, column in self.flat.items()}
        return ConfigColumns(flat, len(index))


def is_array(column: Column) -> bool:
    return not isinstance(column, list)


def loose_names(space: Mapping[str, Any]) -> frozenset[str]:
    """Names whose columns are lists, whatever the values of some trials are: choices among what are not all numbers of a kind. What
    options hold has names below theirs."""
    found = set()
    for path, node in domains_of(space):
        options = node.categories if isinstance(node, Categorical) else grid_of(node)
        if options is not None and {type(option) for option in options} not in NUMBERS:
            found.add(path_name(tuple(key for key in path if not isinstance(key, int))))
    return frozenset(found)


def drawn(variants: Variants, first: int, n: int, loose: frozenset[str] = frozenset()) -> ConfigColumns:
    """Those of the configs first .. first+n-1 of a space, lists where names are ``loose``; no config is made where all of them
    have the same names and come behind those of points."""
    import numpy as np

    start, plan = variants.body
    if first >= start and not plan.calls:
        shapes = PlanColumns(plan, np.arange(first, first + n, dtype=np.int64)).shapes
        if len(shapes) == 1:
            (shape,) = shapes
            columns = {name: shape.piece(name).values for name in shape.names}
            return ConfigColumns({name: _column_of(values, _is_in(name, loose)) for name, values in columns.items()}, n)
    return gathered([variants.config(i) for i in range(first, first + n)], loose)


def gathered(configs: Sequence[Mapping[str, Any]], loose: frozenset[str] = frozenset()) -> ConfigColumns:
    """Those of configs that there are, lists where names are ``loose``. A name that some of them do not have is None there."""
    rows = [flatten(config) for config in configs]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    return ConfigColumns(
        {name: values if _is_in(name, loose) else column_of(values) for name, values in columns.items()}, len(rows)
    )


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
    for name in dict.fromkeys(name for part in parts for name in part.flat):
        columns = [part.flat.get(name, [None] * part.n) for part in parts]
        kinds = {column.dtype if is_array(column) else None for column in columns}
        if None not in kinds and len(kinds) == 1:
            flat[name] = np.concatenate(columns)
        else:
            flat[name] = column_of([value for column in columns for value in _values(column)])
    return ConfigColumns(flat, n)


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
