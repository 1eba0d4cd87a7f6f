"""Trees of arrays whose first axis are rows: dicts, lists, tuples and named tuples of whatever takes ``[index]`` (numpy, PyTorch,
JAX, pandas); None stays None.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fasttune.error import TuneError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def taken(tree: Any, index: NDArray[np.int64]) -> Any:
    """These rows of a tree. TypeError for what has no rows, as a list of texts: it is a tree, and texts are its leaves."""
    if tree is None:
        return None
    if isinstance(tree, Mapping):
        return _mapping_like(tree, {key: taken(part, index) for key, part in tree.items()})
    if isinstance(tree, (list, tuple)):
        return _sequence_like(tree, [taken(part, index) for part in tree])
    if isinstance(tree, (str, bytes, int, float, complex)):
        raise TypeError(
            f"Rows.take takes rows of arrays, and {tree!r:.60} has none: a column of single values is to be an array "
            "(numpy.array(values, dtype=object)), one of configs is in rows.configs"
        )
    return getattr(tree, "iloc", tree)[index]  # of pandas by number: its labels are those of earlier steps


def joined(trees: Sequence[Any], where: str = "") -> Any:
    """The rows of trees of one shape, behind each other; arrays are of the libraries of the first. ValueError names the place
    where one is of another shape."""
    first, others = trees[0], trees[1:]
    if not others:
        return first
    if first is None:
        if any(other is not None for other in others):
            raise _other_shape(where, first, next(other for other in others if other is not None))
        return None
    if isinstance(first, Mapping):
        for other in others:
            if not isinstance(other, Mapping) or other.keys() != first.keys():
                raise _other_shape(where, first, other)
        return _mapping_like(first, {key: joined([one[key] for one in trees], f"{where}[{key!r}]") for key in first})
    if isinstance(first, (list, tuple)):
        for other in others:
            if not isinstance(other, (list, tuple)) or len(other) != len(first):
                raise _other_shape(where, first, other)
        return _sequence_like(first, [joined([one[k] for one in trees], f"{where}[{k}]") for k in range(len(first))])
    for other in others:
        if isinstance(other, Mapping):
            raise _other_shape(where, first, other)
    try:
        return _behind_each_other(first, others)
    except (TypeError, ValueError, RuntimeError) as error:
        shapes = ", ".join(str(tuple(getattr(one, "shape", ()))) for one in trees)
        raise ValueError(
            f"rows of the shapes {shapes} cannot stand behind each other{_at(where)}: {error}. But for the first axis the arrays of "
            "a state have the same shape in every call"
        ) from error


def check_rows(tree: Any, n: int) -> None:
    """TuneError, with place and shape, for a state whose leaves have not n rows each."""
    for place, leaf in _leaves(tree, ""):
        shape = getattr(leaf, "shape", None)
        rows = None if isinstance(leaf, (str, bytes)) else shape[0] if shape else len(leaf) if hasattr(leaf, "__len__") else None
        if rows != n or not hasattr(leaf, "__getitem__"):
            told = f"{type(leaf).__name__}" + ("" if shape is None else f" of the shape {tuple(shape)}")
            raise TuneError(
                f"state{place} is a {told}, and this step has {n} trials: a state is a tree (dicts, lists, tuples) of arrays whose "
                "first axis are the trials, in their order" + (
                    " (rows that have ended are to be left out: rows.take)" if rows is not None and rows > n else ""
                )
            )  # fmt: skip


def _leaves(tree: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, part in tree.items():
            yield from _leaves(part, f"{place}[{key!r}]")
    elif isinstance(tree, (list, tuple)):
        for k, part in enumerate(tree):
            yield from _leaves(part, f"{place}[{k}]")
    elif tree is not None:
        yield place, tree


def _mapping_like(tree: Mapping[Any, Any], made: dict[Any, Any]) -> Any:
    if type(tree) is dict:
        return made
    if not isinstance(tree, dict):
        return type(tree)(made)  # type: ignore[call-arg]
    same = copy(tree)
    same.update(made)
    return same


def _sequence_like(tree: list[Any] | tuple[Any, ...], parts: list[Any]) -> Any:
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*parts)
    return parts if isinstance(tree, list) else tuple(parts)


def _behind_each_other(one: Any, others: Sequence[Any]) -> Any:
    """Arrays as one, along the first axis."""
    library = type(one).__module__.partition(".")[0]
    if library == "torch":
        torch: Any = sys.modules["torch"]
        return torch.cat([one, *(torch.as_tensor(other, device=one.device) for other in others)])
    if library in ("jax", "jaxlib"):
        jax_numpy: Any = import_module("jax.numpy")
        return jax_numpy.concatenate([one, *others])
    if library == "pandas":
        pandas: Any = sys.modules["pandas"]
        return pandas.concat([one, *(other if hasattr(other, "iloc") else type(one)(other) for other in others)])
    import numpy as np

    return np.concatenate([one, *others])


def _at(where: str) -> str:
    return f" at {where}" if where else ""


def _other_shape(where: str, one: Any, other: Any) -> ValueError:
    return ValueError(
        f"trees of rows that are to stand behind each other are of one shape, and{_at(where)} one is {_kind(one)}, another "
        f"{_kind(other)}: what rows.take takes is the state that was yielded, and fresh= a tree of the same shape"
    )


def _kind(tree: Any) -> str:
    if isinstance(tree, Mapping):
        return f"a dict of {', '.join(map(repr, tree)) or 'nothing'}"
    return f"a {type(tree).__name__} of {len(tree)}" if isinstance(tree, (list, tuple)) else f"a {type(tree).__name__}"
