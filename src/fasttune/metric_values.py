"""What a report may hold beside plain numbers, and what is kept of it: numbers, or what JSON can hold.

No trial fails for a value that nobody steers by. What JSON cannot hold is kept as the nearest that it can, and where
nothing is near, as text; a run is told that once for each type.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from fasttune.once import warn_once

EXACT_INT = 2**53  # integers up to here are float64 values without loss
_LONGEST_TEXT = 1000  # characters that are kept of what is kept as text
_LONGEST_INT = 13_000  # bits; Python writes 4,300 decimal digits
_DEEPEST = 90  # lists and dicts in each other; those who read take 100
_DEEPEST_AS_IT_IS = 25  # tuples, and dicts whose keys are no texts, are written as three within each other
_MOST_PARTS = 1_000_000
_KEYS = (str, int, float, bool, type(None))


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
        if isinstance(plain, float) or (isinstance(plain, int) and -EXACT_INT <= plain <= EXACT_INT):
            numbers[name] = plain
        else:
            extra[name] = plain
    return numbers, extra


def steer_by(metric: str | None, numbers: dict[str, Any], extra: Mapping[str, Any]) -> None:
    """An int beyond 2**53 that is the run's metric is kept exactly, and steered by as what float64 makes of it."""
    value = extra.get(metric) if metric is not None else None
    if metric is not None and isinstance(value, int):
        with suppress(OverflowError):
            numbers[metric] = float(value)


def _leaves(metrics: Mapping[Any, Any], prefix: str, within: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    for key, value in _named(prefix, metrics):
        name = prefix + key
        if isinstance(value, Mapping) and value and id(value) not in within and len(within) < _DEEPEST:
            yield from _leaves(value, name + "/", (*within, id(value)))
        else:
            yield name, value


def plain_value(name: str, value: Any) -> Any:
    """The value as JSON can hold it, equal to what is read back. ValueError for a torch tensor; for nothing else."""
    return _Plain().value(name, value)


def kept_value(name: str, value: Any, noun: str = "metric") -> Any:
    """As :func:`plain_value`, of what nobody has to be told of: what that refuses is kept as text. ``noun``: what it is, for the
    warning that says how it is kept."""
    try:
        return _Plain(noun).value(name, value)
    except ValueError:
        return str(value)


class _Plain:
    """One value on its way to JSON: how deep it is in lists and dicts, which of them it is in, how many parts it has had."""

    def __init__(self, noun: str = "metric") -> None:
        self._noun = noun
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
        return _said(f"{self._noun} {name!r}", value, _text_of(value), "as text")

    def _container(self, name: str, value: Any) -> Any:
        self._parts += len(value)
        if id(value) in self._within or len(self._within) >= _DEEPEST or self._parts > _MOST_PARTS:
            why = "in itself" if id(value) in self._within else "too deep or too large for a report"
            return _said(f"{self._noun} {name!r}", value, _text_of(value), f"as text: it is {why}")
        self._within.add(id(value))
        try:
            as_it_is = len(self._within) < _DEEPEST_AS_IT_IS
            if not isinstance(value, Mapping):
                parts = [self.value(name, part) for part in value]
                return tuple(parts) if as_it_is and type(value) is tuple else parts
            if as_it_is and all(type(key) in _KEYS for key in value):
                return {_part(key): self.value(f"{name}/{_key(key)}", part) for key, part in value.items()}
            return {key: self.value(f"{name}/{key}", part) for key, part in _named(f"{name}/", value)}
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
            return _said(f"{self._noun} {name!r}", value, float(value.total_seconds()), "as seconds")
        if isinstance(value, (set, frozenset)):
            return _said(f"{self._noun} {name!r}", value, self._container(name, _in_order(value)), "as a list")
        if isinstance(getattr(value, "__dataclass_fields__", None), dict):
            if id(value) in self._within:
                return _text_of(value)
            self._within.add(id(value))
            parts = {field: getattr(value, field) for field in value.__dataclass_fields__ if hasattr(value, field)}
            try:
                return _said(f"{self._noun} {name!r}", value, self._container(name, parts), "as a dict")
            finally:
                self._within.discard(id(value))
        if hasattr(value, "__float__") and hasattr(value, "as_integer_ratio"):  # decimal.Decimal, fractions.Fraction
            return _said(f"{self._noun} {name!r}", value, float(value), "as a number of 64 bits")
        return _said(f"{self._noun} {name!r}", value, _text_of(value), "as text")


def _scalar(value: Any) -> Any:
    """A number or a text as JSON gives it back."""
    if isinstance(value, int) and value.bit_length() > _LONGEST_INT:
        return _shortened(hex(value))  # JSON's decimal digits are limited, by `sys.set_int_max_str_digits`
    return whole_text(value) if isinstance(value, str) else value


def whole_text(text: str) -> str:
    """The text as UTF-8 can hold it: one half of a pair of surrogates is written as Python writes it, \\ud800. Files, SQL,
    data frames and screens would fail over it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def with_text_keys(value: Any) -> Any:
    """The value with texts as the keys of all dicts in it, which is all that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): with_text_keys(part) for key, part in value.items()}
    return [with_text_keys(part) for part in value] if isinstance(value, (list, tuple)) else value


def whole_int(value: int) -> str:
    """Its decimal digits, or those of base 16 where there are more than Python writes."""
    return hex(value) if isinstance(value, int) and value.bit_length() > _LONGEST_INT else str(value)


def _named(prefix: str, values: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The values of a dict by their keys as texts, which are told apart where they would be the same: 1 and "1"."""
    taken: set[str] = set()
    for key, value in values.items():
        name = _key(key)
        while name in taken or (type(key) is not str and name in values):
            name = f"{name} ({type(key).__name__})"
            _say_renamed(f"{prefix}{name}")
        taken.add(name)
        yield name, value


def _say_renamed(name: str) -> None:
    warn_once(dict, f"two keys of a report are the same text; one of them is kept as {name!r} (said once)")


def _part(key: Any) -> Any:
    return whole_text(key) if type(key) is str else key


def _key(key: Any) -> str:
    try:
        return whole_text(str(key))
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


def _said(what: str, value: Any, kept: Any, how: str) -> Any:
    """What is kept of a value; said once for each type."""
    warn_once(type(value), f"{what} has the type {type_name(value)}, which is not stored as it is: it is kept {how}")
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
    text = whole_text(text)
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
    """What ``split_metrics`` has put aside, as ``from_json`` gives it back."""
    import json

    return json.dumps({name: _form(value) for name, value in extra.items()}, separators=(",", ":")).encode("ascii")


def _form(value: Any) -> Any:
    """A value in JSON: tuples, and dicts whose keys are no texts, have forms of their own."""
    if type(value) is tuple:
        return {"~": "tuple", "items": [_form(part) for part in value]}
    if type(value) is list:
        return [_form(part) for part in value]
    if type(value) is not dict:
        return value
    if "~" in value or not all(type(key) is str for key in value):
        return {"~": "dict", "items": [[key, _form(part)] for key, part in value.items()]}
    return {key: _form(part) for key, part in value.items()}


def from_json(text: bytes) -> Any:
    """What ``to_json`` was given. ValueError, TypeError or KeyError if it is nothing of the kind."""
    import json

    told = json.loads(text)
    return {name: _of_form(form) for name, form in told.items()} if b'"~"' in text and type(told) is dict else told


def _of_form(form: Any) -> Any:
    if isinstance(form, list):
        return [_of_form(part) for part in form]
    if not isinstance(form, dict):
        return form
    if "~" not in form:
        return {key: _of_form(part) for key, part in form.items()}
    if form["~"] == "tuple":
        return tuple([_of_form(part) for part in form["items"]])
    return {key: _of_form(part) for key, part in form["items"]}
