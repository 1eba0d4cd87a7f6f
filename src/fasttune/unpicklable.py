"""Which part of a function or an object cannot be sent to a worker process."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Literal

DEEPEST = 5


def diagnose_serialization(trainable: Any) -> Literal[True] | set[str]:
    """True if the trainable can be sent to worker processes; else what it uses that cannot, by name: the variables of its
    closure, its globals and its attributes, each as near to the cause as it can be told ("model.lock").
    """
    if _can_be_sent(trainable):
        return True
    found = set(_culprits(trainable, "", DEEPEST, set()))
    return found or {_name_of(trainable)}


def _culprits(value: Any, name: str, depth: int, seen: set[int]) -> Iterator[str]:
    if id(value) in seen:
        return
    seen.add(id(value))
    inner = [
        one
        for part_name, part in _parts_of(value)
        if not _can_be_sent(part)
        for one in (_culprits(part, f"{name}.{part_name}" if name else part_name, depth - 1, seen) if depth else ())
    ]
    if inner or not name:
        yield from inner
    else:
        yield name


def _parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    """What travels with a value, by name."""
    if inspect.ismethod(value):
        yield "self", value.__self__
    elif inspect.isfunction(value):
        used = inspect.getclosurevars(value)
        yield from used.nonlocals.items()
        yield from used.globals.items()
        defaults = value.__defaults__ or ()
        names = value.__code__.co_varnames[: value.__code__.co_argcount]
        yield from zip(names[len(names) - len(defaults) :], defaults, strict=True)
        yield from (value.__kwdefaults__ or {}).items()
    elif isinstance(value, dict):
        yield from ((str(key), part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set)):
        yield from ((str(place), part) for place, part in enumerate(value))
    elif isinstance(value, type):
        yield from (
            (key, part) for key, part in vars(value).items() if not key.startswith("__") or inspect.isfunction(part)
        )
    else:
        yield from getattr(value, "__dict__", {}).items()


def _can_be_sent(value: Any) -> bool:
    from fasttune.script import by_value

    try:
        by_value(value)
    except Exception:
        return False
    return True


def _name_of(value: Any) -> str:
    return str(getattr(value, "__qualname__", None) or type(value).__qualname__)
