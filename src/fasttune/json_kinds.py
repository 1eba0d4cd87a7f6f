"""Values that JSON has no form for and that come back as they were: bytes, sets, paths, moments, exact fractions, numpy's.

``encoded`` gives such a value's form, an object whose key "~" names its kind, and ``decoded`` the value of a form. Nothing is
pickled, and a form that somebody has made up costs no more than its own size to read.
"""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import PurePath

Coder = Callable[[Any], Any]
Form = dict[str, Any]

LONGEST_INT = 13_000  # bits; Python writes 4,300 decimal digits
LARGEST_ARRAY = 1 << 20  # bytes of an array that are kept with a config
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
_SCALAR = r"(bool|u?int(8|16|32|64)|float(16|32|64)|longdouble|str|(datetime64|timedelta64)(\[[0-9A-Za-z]{1,12}\])?)"


def encoded(value: Any, encode: Coder) -> Form | None:
    """The form of a value of one of these types, not of a subclass; None if it is of none. ``encode`` makes the forms of its
    parts."""
    kind = type(value)
    writer = _WRITERS.get(kind)
    if writer is None and kind.__module__ != "builtins":
        writer = _NAMED.get((kind.__module__.partition(".")[0], kind.__name__))
    if writer is not None:
        return writer(value, encode)
    if kind.__module__ == "numpy" and hasattr(value, "dtype"):
        return _numpy(value)
    return None


def decoded(form: Form, decode: Coder) -> Any:
    """The value of a form. KeyError for a kind that there is not."""
    return _READERS[form["~"]](form, decode)


def is_kind(name: Any) -> bool:
    return isinstance(name, str) and name in _READERS


# -- Python's own ------------------------------------------------------------------------------------------------------


def _b64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode("ascii")


def _of_b64(text: str) -> bytes:
    import base64

    return base64.b64decode(text, validate=True)


def _int(value: int, encode: Coder) -> Form | None:
    return {"~": "int", "hex": hex(value)} if value.bit_length() > LONGEST_INT else None


def _set(value: Any, encode: Coder) -> Form:
    try:
        parts = sorted(value)
    except TypeError:
        parts = sorted(value, key=repr)
    return {"~": type(value).__name__, "items": [encode(part) for part in parts]}


def _path(value: PurePath, encode: Coder) -> Form:
    return {"~": "path", "kind": type(value).__name__, "text": str(value)}


def _read_path(form: Form, decode: Coder) -> PurePath:
    kind = form["kind"]
    ours = "WindowsPath" if sys.platform == "win32" else "PosixPath"
    if kind in ("PosixPath", "WindowsPath") and kind != ours:
        kind = f"Pure{kind}"  # of another system
    if kind not in _PATHS:
        raise ValueError(f"no path is a {kind!r:.80}")
    import pathlib

    made: PurePath = getattr(pathlib, kind)(form["text"])
    return made


def _read_decimal(form: Form, decode: Coder) -> Any:
    from decimal import Decimal

    return Decimal(form["text"])


def _read_fraction(form: Form, decode: Coder) -> Any:
    from fractions import Fraction

    return Fraction(*map(decode, form["parts"]))


def _moment(value: Any, encode: Coder) -> Form | None:
    if getattr(value, "tzinfo", None) not in (None, datetime.UTC):
        return None  # zones are objects
    return {"~": type(value).__name__, "text": value.isoformat()}


def _duration(value: datetime.timedelta, encode: Coder) -> Form:
    return {"~": "timedelta", "parts": [value.days, value.seconds, value.microseconds]}


_WRITERS: dict[type, Callable[[Any, Coder], Form | None]] = {
    int: _int,
    bytes: lambda value, encode: {"~": "bytes", "data": _b64(value)},
    set: _set,
    frozenset: _set,
    complex: lambda value, encode: {"~": "complex", "parts": [repr(value.real), repr(value.imag)]},
    datetime.date: _moment,
    datetime.time: _moment,
    datetime.datetime: _moment,
    datetime.timedelta: _duration,
}
# By module and name: theirs are loaded when somebody has such a value.
_NAMED: dict[tuple[str, str], Callable[[Any, Coder], Form | None]] = {
    ("decimal", "Decimal"): lambda value, encode: {"~": "Decimal", "text": str(value)},
    ("fractions", "Fraction"): lambda value, encode: {
        "~": "Fraction",
        "parts": [encode(value.numerator), encode(value.denominator)],
    },
    **{("pathlib", name): _path for name in _PATHS},
}
_READERS: dict[str, Callable[[Form, Coder], Any]] = {
    "int": lambda form, decode: int(form["hex"], 16),
    "bytes": lambda form, decode: _of_b64(form["data"]),
    "set": lambda form, decode: {decode(part) for part in form["items"]},
    "frozenset": lambda form, decode: frozenset(decode(part) for part in form["items"]),
    "complex": lambda form, decode: complex(*map(float, form["parts"])),
    "Decimal": _read_decimal,
    "Fraction": _read_fraction,
    "date": lambda form, decode: datetime.date.fromisoformat(form["text"]),
    "time": lambda form, decode: datetime.time.fromisoformat(form["text"]),
    "datetime": lambda form, decode: datetime.datetime.fromisoformat(form["text"]),
    "timedelta": lambda form, decode: datetime.timedelta(*form["parts"]),
    "path": _read_path,
    "numpy": lambda form, decode: _read_scalar(form),
    "array": lambda form, decode: _read_array(form),
}


# -- numpy's -------------------------------------------------------------------------------------------------------------


def _numpy(value: Any) -> Form | None:
    """A scalar by its value, an array by its bytes; None for what holds objects or fields, and for arrays that are too
    large."""
    import numpy as np

    dtype = value.dtype
    if type(value) is np.ndarray:
        if dtype.kind not in "biufcmMSU" or value.nbytes > LARGEST_ARRAY:
            return None
        return {"~": "array", "dtype": dtype.str, "shape": list(value.shape), "data": _b64(value.tobytes())}
    if not isinstance(value, np.generic):
        return None
    name = "longdouble" if dtype.type is np.longdouble else "str" if dtype.kind == "U" else dtype.name
    if not re.fullmatch(_SCALAR, name):
        return None
    if dtype.kind == "m":
        return {"~": "numpy", "dtype": name, "value": int(value.astype(np.int64))}
    exact = dtype.kind in "biU" or (dtype.kind == "u")
    return {"~": "numpy", "dtype": name, "value": value.item() if exact else str(value)}


def _read_scalar(form: Form) -> Any:
    name, value = form["dtype"], form["value"]
    if not isinstance(name, str) or not re.fullmatch(_SCALAR, name):
        raise ValueError(f"no scalar of numpy is a {name!r:.80}")
    try:
        import numpy as np
    except ImportError:  # whoever looks at the experiment may do without
        return float(value) if name.startswith(("float", "long")) else value
    if name == "str":
        return np.str_(value)
    if name.startswith(("datetime64", "timedelta64")):
        return np.array(value).astype(name)[()]
    return np.dtype(name).type(value)


def _read_array(form: Form) -> Any:
    import math

    import numpy as np

    dtype, shape, data = np.dtype(form["dtype"]), form["shape"], _of_b64(form["data"])
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of {shape!r:.80} values of {dtype} is said to have {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape).copy()
