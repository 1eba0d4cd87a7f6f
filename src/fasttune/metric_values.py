"""What a report may hold beside plain numbers, and what is kept of it: numbers, or what JSON can hold.

No trial fails for a value that nobody steers by. What JSON cannot hold is kept as the nearest that it can, and where
nothing is near, as text; that is said once for each type.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

_EXACT_INT = 2**53  # integers up to here are float64 values without loss
_LONGEST_TEXT = 1000  # characters that are kept of what is kept as text
_told: set[type] = set()  # types that it was said of that they are not kept as they are


def split_metrics(metrics: Mapping[str, Any]) -> tuple[dict[str, float | int | bool], dict[str, Any]]:
    """Flattened metrics ("a/b") as numbers that a float64 holds, and as JSON values for all the rest."""
    numbers: dict[str, float | int | bool] = {}
    extra: dict[str, Any] = {}
    for name, value in _leaves(metrics, ""):
        plain = value if type(value) is float else plain_value(name, value)
        if name in numbers or name in extra:
            raise ValueError(f"metric {name!r} is reported twice: once nested and once as a name with '/'")
        if isinstance(plain, float) or (isinstance(plain, int) and -_EXACT_INT <= plain <= _EXACT_INT):
            numbers[name] = plain
        else:
            extra[name] = plain
    return numbers, extra


def _leaves(metrics: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in metrics.items():
        name = prefix + str(key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, name + "/")
        else:
            yield name, value


def plain_value(name: str, value: Any) -> Any:
    """The value as JSON can hold it, equal to what is read back. ValueError for a torch tensor."""
    if value is None or isinstance(value, bool):
        return value
    for base in (int, float, str):  # subclasses (enums, numpy.float64) lose their class: JSON has none
        if isinstance(value, base):
            return base(value) if base is not str else str.__str__(value)
    if isinstance(value, (list, tuple)):
        return [plain_value(name, part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): plain_value(f"{name}/{key}", part) for key, part in value.items()}
    return _of_a_library(name, value)


def _of_a_library(name: str, value: Any) -> Any:
    """Known by what they offer, so that none of them has to be imported."""
    if _is_torch(value):
        raise ValueError(
            f"metric {name!r} is a torch tensor, which would keep its graph and device memory alive; "
            "convert it with .item() or .tolist()"
        )
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # numpy, jax, cupy: arrays, scalars and 0-d arrays
        return plain_value(name, _untyped(value))
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        import base64

        return base64.b64encode(value).decode("ascii")
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return _nearest(name, value)


def _untyped(value: Any) -> Any:
    kind = getattr(value.dtype, "kind", "")
    if kind == "M":  # moments, of which tolist() makes bare numbers where they are finer than a microsecond
        return value.astype(str).tolist()
    if kind == "m":  # durations
        return (value.astype("timedelta64[ns]").astype("float64") / 1e9).tolist()
    plain = value.tolist()
    if kind == "f" and type(plain) is type(value):  # numpy.longdouble gives itself
        return float(plain)
    if kind == "f" and isinstance(plain, list) and value.dtype.itemsize > 8:
        return value.astype("float64").tolist()
    return plain


def _nearest(name: str, value: Any) -> Any:
    """Of a type that JSON does not have: a number for a duration or a decimal fraction, a list for a set, a dict for a
    dataclass, else text."""
    kept: Any
    if hasattr(value, "total_seconds"):
        kept, said = float(value.total_seconds()), "as seconds"
    elif isinstance(value, (set, frozenset)):
        kept, said = [plain_value(name, part) for part in _in_order(value)], "as a list"
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        parts = {field: getattr(value, field) for field in value.__dataclass_fields__ if hasattr(value, field)}
        kept, said = plain_value(name, parts), "as a dict"
    elif hasattr(value, "__float__") and hasattr(value, "as_integer_ratio"):  # decimal.Decimal, fractions.Fraction
        kept, said = float(value), "as a number of 64 bits"
    else:
        kept, said = _text_of(value), "as text"
    if type(value) not in _told:
        _told.add(type(value))
        warnings.warn(
            f"metric {name!r} has the type {type_name(value)}, which is not stored as it is: it is kept {said}",
            stacklevel=2,
        )
    return kept


def _in_order(values: Any) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=repr)


def _text_of(value: Any) -> str:
    try:
        text = str(value)
    except Exception:
        text = object.__repr__(value)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."


def is_number(value: Any) -> bool:
    """A number, or what a library uses as one (numpy scalar, 0-d array).

    A torch tensor counts: it gets an error of its own.
    """
    if isinstance(value, (int, float)):
        return True
    if _is_torch(value):
        return True
    return (
        hasattr(value, "dtype")
        and getattr(value, "ndim", None) == 0
        and getattr(value.dtype, "kind", "f") in "biuf"
    )


def _is_torch(value: Any) -> bool:
    return hasattr(value, "detach") and any(
        base.__module__.split(".")[0] == "torch" for base in type(value).__mro__
    )


def type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def to_json(extra: dict[str, Any]) -> bytes:
    import json

    return json.dumps(extra, separators=(",", ":")).encode("ascii")
