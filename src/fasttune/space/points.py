"""``points_to_evaluate``: a search space with some of its values given."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from fasttune.space.domains import Domain, grid_of, lies_in
from fasttune.space.nested import Path, path_name


def with_point(space: Any, point: Any, path: Path = ()) -> Any:
    """The space with the values of ``point`` in place of its domains: grids of one value, so they count as
    sampled.

    A key that the space does not have is a KeyError; a value outside its domain only warns.
    """
    if isinstance(point, dict) and isinstance(space, dict) and grid_of(space) is None:
        made = dict(space)
        for key, value in point.items():
            if key not in made and isinstance(key, str) and "/" in key:
                key, rest = key.split("/", 1)
                value = {rest: value}
            if key not in made:
                raise KeyError(
                    f"points_to_evaluate names {path_name((*path, key))!r}, which the space does not have"
                )
            made[key] = with_point(made[key], value, (*path, key))
        return made
    if isinstance(space, (list, tuple)):
        pairs = _positions(space, point, path)
        if pairs is not None:
            parts = list(space)
            for index, value in pairs:
                parts[index] = with_point(parts[index], value, (*path, index))
            return type(space)(parts) if type(space) in (list, tuple) else parts
    _warn_if_outside(space, point, path)
    return {"grid_search": (point,)}


def _positions(space: Sequence[Any], point: Any, path: Path) -> list[tuple[int, Any]] | None:
    """Which elements of a list a point sets: all of them, or those that it names ("layers/0")."""
    if isinstance(point, (list, tuple)) and len(point) == len(space):
        return list(enumerate(point))
    if not isinstance(point, dict) or not all(str(key).split("/")[0].isdigit() for key in point):
        return None
    pairs: list[tuple[int, Any]] = []
    for key, value in point.items():
        index, _, rest = str(key).partition("/")
        if int(index) >= len(space):
            raise KeyError(
                f"points_to_evaluate names {path_name((*path, index))!r}, which the space does not have"
            )
        pairs.append((int(index), {rest: value} if rest else value))
    return pairs


def _warn_if_outside(space: Any, value: Any, path: Path) -> None:
    grid = grid_of(space)
    if not lies_in(space, value):
        allowed = space.domain_str if isinstance(space, Domain) else repr(space if grid is None else list(grid[:10]))
        warnings.warn(
            f"points_to_evaluate sets {path_name(path)!r} to {value!r}, outside of its domain {allowed}",
            stacklevel=4,
        )
