"""Dicts in dicts: copies of them, their flat names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Config: TypeAlias = dict[str, Any]
Path: TypeAlias = tuple[Any, ...]


def fresh(value: Any) -> Any:
    """``value`` with new dicts, lists and tuples all the way down; everything else stays the object it is."""
    kind = type(value)
    if kind is dict:
        return {key: fresh(part) for key, part in value.items()}
    if kind is list:
        return [fresh(part) for part in value]
    if kind is tuple:
        return tuple([fresh(part) for part in value])
    return value


def merge(constants: Mapping[str, Any], update: Mapping[str, Any]) -> Config:
    """A new config: ``constants`` overridden by ``update``, dict by dict."""
    merged: Config = fresh(dict(constants))
    for key, value in update.items():
        old = merged.get(key)
        merged[key] = (
            merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else fresh(value)
        )
    return merged


def path_name(path: Path) -> str:
    """The flat name of a place in a config: "a/b/0"."""
    return "/".join([str(part) for part in path])


def flatten_dict(nested: Mapping[Any, Any], delimiter: str = "/", prevent_delimiter: bool = False) -> Config:
    """A new dict with one key "a/b" per innermost value. Empty dicts stay, as values.

    With ``prevent_delimiter`` a key that holds the delimiter already is a ValueError.
    """
    flat: Config = {}
    for key, value in nested.items():
        if prevent_delimiter and isinstance(key, str) and delimiter in key:
            raise ValueError(f"a key must not contain {delimiter!r} here, got {key!r}")
        if isinstance(value, Mapping) and value:
            for inner, part in flatten_dict(value, delimiter, prevent_delimiter).items():
                flat[f"{key}{delimiter}{inner}"] = part
        else:
            flat[key] = value
    return flat


def unflatten_dict(flat: Mapping[str, Any], delimiter: str = "/") -> Config:
    """The nested dict of which ``flatten_dict`` makes ``flat``."""
    nested: Config = {}
    for name, value in flat.items():
        *outer, last = name.split(delimiter) if isinstance(name, str) else [name]
        place = nested
        for key in outer:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise ValueError(f"{name!r} asks for a dict where {key!r} has a value of its own: {place!r}")
        place[last] = value
    return nested
