"""What a logger was made with, as a command line has it."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fasttune.logger.behind import JournalLogger

PLAIN = (str, int, float, bool, type(None))
EMPTY: tuple[Any, ...] = ((), [], {})  # what a logger makes of an argument that was left out


def named(kind: type[JournalLogger]) -> str:
    """What `fasttune log --to` calls a class: ours by its key, others by where they are defined."""
    place = kind.__module__
    if place.startswith("fasttune."):
        return kind.key
    return f"{getattr(sys.modules.get(place), '__file__', place) if place == '__main__' else place}:{kind.__qualname__}"


def as_option(value: Any) -> str:
    """A value as `fasttune log --option` reads it: JSON, and a text as it is where that is no JSON."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value)


def is_plain(value: Any) -> bool:
    """Whether a value can be written as an option."""
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(one) for key, one in value.items())
    return isinstance(value, PLAIN)


def options_of(logger: JournalLogger) -> dict[str, Any]:
    """The plain arguments that a logger was made with, where they are not the defaults: kept as attributes of their names."""
    import inspect

    found: dict[str, Any] = {}
    for name, one in inspect.signature(type(logger).__init__).parameters.items():
        value = getattr(logger, name, one.default)
        if one.kind is one.VAR_KEYWORD and isinstance(value, dict):
            found.update({key: each for key, each in value.items() if is_plain(each)})
        elif one.default is not one.empty and value != one.default and is_plain(value) and value not in EMPTY:
            found[name] = value
    return found


def whole_place(place: str) -> str:
    """A folder, or an SQLite file as SQLAlchemy writes it, by its whole path; the address of a service as it is. A logger that
    goes on later, from another folder, writes to the same place."""
    sqlite, found, file = place.partition("sqlite:///")
    if found and not sqlite:
        return found + os.path.abspath(file) if file else place
    return place if "://" in place or not place or place == "databricks" else os.path.abspath(os.path.expanduser(place))
