"""Small things around trainables, under the name that Ray Tune has them under. Each lives where its subject is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fasttune.devices.free_gpu import wait_for_gpu as wait_for_gpu
from fasttune.space.nested import flatten_dict as flatten_dict
from fasttune.space.nested import merge
from fasttune.space.nested import unflatten_dict as unflatten_dict
from fasttune.trainable import validate_save_restore as validate_save_restore
from fasttune.unpicklable import diagnose_serialization as diagnose_serialization

__all__ = [
    "deep_update",
    "diagnose_serialization",
    "flatten_dict",
    "merge_dicts",
    "unflatten_dict",
    "validate_save_restore",
    "wait_for_gpu",
]


def merge_dicts(d1: Mapping[str, Any], d2: Mapping[str, Any]) -> dict[str, Any]:
    """A new dict: ``d1`` with what ``d2`` has, dict by dict."""
    return merge(d1, d2)


def deep_update(
    original: dict[str, Any],
    new_dict: Mapping[str, Any],
    new_keys_allowed: bool = False,
    allow_new_subkey_list: list[str] | None = None,
    override_all_if_type_changes: list[str] | None = None,
) -> dict[str, Any]:
    """``original`` itself, changed to what ``new_dict`` has, dict by dict.

    Args:
        new_keys_allowed: a key that ``original`` does not have is taken; else it is a KeyError, so that a misspelt name
            does not become a setting that nobody reads.
        allow_new_subkey_list: names of dicts that may get new keys all the same.
        override_all_if_type_changes: names of dicts that are replaced as a whole when their entry "type" changes.
    """
    open_ones, whole_ones = allow_new_subkey_list or [], override_all_if_type_changes or []
    for key, value in new_dict.items():
        if key not in original and not new_keys_allowed:
            raise KeyError(f"unknown key {key!r}; there are: {', '.join(map(repr, original))}")
        old = original.get(key)
        if not (isinstance(old, dict) and isinstance(value, Mapping)):
            original[key] = value
        elif key in whole_ones and "type" in value and value["type"] != old.get("type"):
            original[key] = dict(value)
        else:
            deep_update(old, value, new_keys_allowed or key in open_ones)
    return original
