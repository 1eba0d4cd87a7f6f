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
_LONGEST_INT = 13_000  # bits; Python writes 4,300 decimal digits
_DEEPEST = 90  # lists and dicts in each other; those who read take 100
_MOST_PARTS = 1_000_000
_told: set[type] = set()  # types that it was said of that they are not kept as they are


class _TensorError(ValueError):
    """A value that is refused."""


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


def _leaves(metrics: Mapping[Any, Any], prefix: str, within: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    for key, value in metrics.items():
        name = prefix + _key(key)
        if isinstance(value, Mapping) and value and id(value) not in within and len(within) < _DEEPEST:
            yield from _leaves(value, name + "/", (*within, id(value)))
        else:
            yield name, value


def plain_value(name: str, value: Any) -> Any:
    """The value as JSON can hold it, equal to what is read back. ValueError for a torch tensor; for nothing else."""
    return _Plain().value(name, value)


class _Plain:
    """One value on its way to JSON: how deep it is in lists and dicts, which of them it is in, how many parts it has had."""

    def __init__(self) -> None:
        self._within: set[int] = set()
        self._parts = 0

    def value(self, name: str, value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return value
        try:
            for base in (int, float, str):  # subclasses (enums, numpy.float64) lose their class: JSON has none
                if isinstance(value, base):
                    return _scalar(base(value) if base is not str else str.__str__(value))
            if isinstance(value, (list, tuple, Mapping)):
                return self._container(name, value)
            if not isinstance(value, type):
                return self._of_a_library(name, value)
        except _TensorError:
            raise
        except Exception:  # whatever a method of the user's raises: nobody steers by this
            pass
        return _said(name, value, _text_of(value), "as text")

    def _container(self, name: str, value: Any) -> Any:
        self._parts += len(value)
        if id(value) in self._within or len(self._within) >= _DEEPEST or self._parts > _MOST_PARTS:
            why = "in itself" if id(value) in self._within else "too deep or too large for a report"
            return _said(name, value, _text_of(value), f"as text: it is {why}")
        self._within.add(id(value))
        try:
            if not isinstance(value, Mapping):
                return [self.value(name, part) for part in value]
            return {_key(key): self.value(f"{name}/{_key(key)}", part) for key, part in value.items()}
        finally:
            self._within.discard(id(value))

    def _of_a_library(self, name: str, value: Any) -> Any:
        """Known by what they offer, so that none of them has to be imported."""
        if _is_torch(value):
            raise _TensorError(
                f"metric {name!r} is a torch tensor, which would keep its graph and device memory alive; "
                "convert it with .item() or .tolist()"
            )
        if hasattr(value, "tolist") and hasattr(value, "dtype"):  # numpy, jax, cupy: arrays, scalars and 0-d arrays
            plain = _untyped(value)
            return self._nearest(name, value) if type(plain) is type(value) else self.value(name, plain)
        if hasattr(value, "isoformat") and isinstance(text := value.isoformat(), str):
            return _scalar(text)
        if isinstance(value, (bytes, bytearray)):
            import base64

            return base64.b64encode(value).decode("ascii")
        if isinstance(value, os.PathLike) and isinstance(text := os.fspath(value), str):
            return _scalar(text)
        return self._nearest(name, value)

    def _nearest(self, name: str, value: Any) -> Any:
        """Of a type that JSON does not have: a number for a duration or a decimal fraction, a list for a set, a dict for a
        dataclass, else text."""
        if hasattr(value, "total_seconds"):
            return _said(name, value, float(value.total_seconds()), "as seconds")
        if isinstance(value, (set, frozenset)):
            return _said(name, value, self._container(name, _in_order(value)), "as a list")
        if isinstance(getattr(value, "__dataclass_fields__", None), dict):
            if id(value) in self._within:
                return _text_of(value)
            self._within.add(id(value))
            parts = {field: getattr(value, field) for field in value.__dataclass_fields__ if hasattr(value, field)}
            try:
                return _said(name, value, self._container(name, parts), "as a dict")
            finally:
                self._within.discard(id(value))
        if hasattr(value, "__float__") and hasattr(value, "as_integer_ratio"):  # decimal.Decimal, fractions.Fraction
            return _said(name, value, float(value), "as a number of 64 bits")
        return _said(name, value, _text_of(value), "as text")


def _scalar(value: Any) -> Any:
    """A number or a text as JSON gives it back."""
    if isinstance(value, int) and value.bit_length() > _LONGEST_INT:
        return _shortened(hex(value))  # JSON's decimal digits are limited, by `sys.set_int_max_str_digits`
    return value


def _key(key: Any) -> str:
    try:
        return str(key)
    except Exception:
        return _text_of(key)


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


def _said(name: str, value: Any, kept: Any, how: str) -> Any:
    """What is kept of a value; said once for each type."""
    if type(value) not in _told:
        _told.add(type(value))
        warnings.warn(
            f"metric {name!r} has the type {type_name(value)}, which is not stored as it is: it is kept {how}",
            stacklevel=2,
        )
    return kept


def _in_order(values: Any) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=_text_of)


def _text_of(value: Any) -> str:
    try:
        text = str(value)
    except Exception:
        text = object.__repr__(value)
    return _shortened(text)


def _shortened(text: str) -> str:
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
    return hasattr(type(value), "detach") and any(
        str(base.__module__).split(".")[0] == "torch" for base in type(value).__mro__
    )


def type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def to_json(extra: dict[str, Any]) -> bytes:
    import json

    return json.dumps(extra, separators=(",", ":")).encode("ascii")
