"""A result as text for people: YAML, which needs no library to be written."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fasttune.logger.json import plain

LEFT_OUT = frozenset(["config", "hist_stats"])
PLAIN_TEXT = re.compile(r"[A-Za-z_/][\w ./()=,+-]*(?<! )")  # everything else is quoted: a date, "1e3", "a: b"
WORDS = frozenset(["true", "false", "null", "yes", "no", "on", "off", "y", "n"])


def pretty_print(result: Mapping[str, Any], exclude: Collection[str] | None = None) -> str:
    """The result as YAML, its keys sorted, without the config, without what is None and what ``exclude`` names."""
    left_out = LEFT_OUT | set(exclude or ())
    shown = {key: value for key, value in result.items() if value is not None and key not in left_out}
    told = json.loads(json.dumps(shown, default=plain))
    return "".join(f"{line}\n" for line in (_mapping(told, "") if told else ["{}"]))


def _mapping(value: dict[str, Any], indent: str) -> Iterator[str]:
    for key in sorted(value):
        yield from _entry(f"{indent}{_scalar(key)}:", value[key], indent)


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield head
        yield from _mapping(value, f"{indent}  ")
    elif isinstance(value, list) and value:
        yield head
        yield from _items(value, indent)
    else:
        yield f"{head} {_scalar(value)}"


def _items(value: list[Any], indent: str) -> Iterator[str]:
    for item in value:
        if isinstance(item, (dict, list)) and item:
            first, *rest = _mapping(item, f"{indent}  ") if isinstance(item, dict) else _items(item, f"{indent}  ")
            yield f"{indent}- {first[len(indent) + 2 :]}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(item)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and PLAIN_TEXT.fullmatch(value) and value.lower() not in WORDS:
        return value
    if isinstance(value, float) and value - value != 0:  # what JSON has no number for
        return ".nan" if value != value else ".inf" if value > 0 else "-.inf"
    return json.dumps(value, ensure_ascii=False)
