"""Copies of dicts, lists, tuples and sets that share what is in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_ATOMS = {int, float, str, bool, type(None), bytes, complex}


def copy_containers(value: Any) -> Any:
    """The value with its dicts, lists, tuples and sets rebuilt and everything else shared."""
    return _copied(value, {})


def _copied(value: Any, seen: dict[int, Any]) -> Any:
    kind = type(value)
    if kind is dict or kind is list or kind is tuple or kind is set:
        if id(value) in seen:
            return seen[id(value)]
        parts = value.values() if kind is dict else value
        if kind is not set and not _ATOMS.issuperset(map(type, parts)):
            return _COPY[kind](value, seen)
        if kind is tuple:
            return value
        copy = seen[id(value)] = value.copy()  # nothing to rebuild inside: copied at C speed
        return copy
    return value


def _copy_dict(value: dict[Any, Any], seen: dict[int, Any]) -> dict[Any, Any]:
    copy: dict[Any, Any] = {}
    seen[id(value)] = copy
    for key, part in value.items():
        copy[key] = _copied(part, seen)
    return copy


def _copy_list(value: list[Any], seen: dict[int, Any]) -> list[Any]:
    copy: list[Any] = []
    seen[id(value)] = copy
    copy.extend(_copied(part, seen) for part in value)
    return copy


def _copy_tuple(value: tuple[Any, ...], seen: dict[int, Any]) -> tuple[Any, ...]:
    return tuple([_copied(part, seen) for part in value])


_COPY: dict[type, Callable[..., Any]] = {dict: _copy_dict, list: _copy_list, tuple: _copy_tuple}
