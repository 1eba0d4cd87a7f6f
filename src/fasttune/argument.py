"""What users give as arguments, and what their own methods take: one check, one wording, wherever it is given.

A number is what says that it is one: Python's and numpy's scalars, fractions and decimals. Text is none ("5" would be a
typo that counts), nor is a bool, nor NaN. What does not fit is a ValueError that names the argument, the rule and the value.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

LONGEST = 80  # characters of a value that an error shows
LARGEST_COUNT = 2**63 - 1  # what the core can count


def checked_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    finite: bool = False,
    rule: str | None = None,
) -> float:
    """The value as a float within the bounds. ``rule`` says them in other words: "<name> must be <rule>, got <value>"."""
    number = as_number(value)
    if (
        number is None
        or math.isnan(number)
        or (finite and math.isinf(number))
        or (above is not None and not number > above)
        or (least is not None and not number >= least)
        or (below is not None and not number < below)
        or (most is not None and not number <= most)
    ):
        kind = "a finite number" if finite else "a number"
        raise ValueError(f"{name} must be {rule or kind + bounds_text(above, least, below, most)}, got {shown(value)}")
    return number


def checked_count(name: str, value: Any, *, least: int = 0, most: int | None = None, rule: str | None = None) -> int:
    """The value as an int from ``least`` to ``most``."""
    count = as_count(value)
    if count is None or count < least or count > (LARGEST_COUNT if most is None else most):
        too_large = most is None and count is not None and count > LARGEST_COUNT
        words = "an integer" + bounds_text(None, least, None, most) + (" and < 2**63" if too_large else "")
        raise ValueError(f"{name} must be {rule or words}, got {shown(value)}")
    return count


def checked_size(name: str, value: Any) -> int:
    """A size in bytes: a number of them, or a text like "2GB", "500 MB" or "1.5GiB"."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B\s*", value, re.IGNORECASE) if isinstance(value, str) else None
    if match is not None:
        base = 1024 if match[3] else 1000
        value = int(float(match[1]) * base ** " KMGT".index(match[2].upper() or " "))
    return checked_count(name, value, least=1, rule='a number of bytes, or a text like "2GB" or "1.5GiB"')


def other_unit(size: float) -> str:
    """The usual cause of a size that is too small for what it is of: it was meant in GiB."""
    number = f"{size:g}" if 0 < size < 10_000 else "4"
    return f'a number is bytes, and {number} GiB are {number} * 2**30, or "{number}GiB"'


def as_number(value: Any) -> float | None:
    """The value as a float; None if it is no number, or one beyond what a float holds."""
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):  # numpy's answers to float() too
        return None
    if not (hasattr(type(value), "__float__") or hasattr(type(value), "__index__")):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def as_count(value: Any) -> int | None:
    """The value as an int; None if it is no integer: 4.0 is none."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        return None
    try:
        return operator.index(value)
    except TypeError:  # an array
        return None


def bounds_text(above: float | None, least: float | None, below: float | None, most: float | None) -> str:
    """ " > 0 and < 1", " from 0 to 0.5", "" without bounds."""
    if least is not None and most is not None:
        return f" from {least} to {most}"
    signs = ((">", above), (">=", least), ("<", below), ("<=", most))
    told = [f"{sign} {bound}" for sign, bound in signs if bound is not None]
    return f" {' and '.join(told)}" if told else ""


def shown(value: object) -> str:
    """The value for an error, at most so long; a number of thousands of digits has no text at all."""
    try:
        text = repr(value)
    except Exception as error:  # whatever a stranger's __repr__ raises
        if isinstance(value, int):
            return f"an integer of {value.bit_length()} bits"
        return f"a {type(value).__name__} whose repr() raises {type(error).__name__}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 20]}... ({len(text)} characters)"


def taken_by(method: Callable[..., Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the keywords that the method takes: a user's class may have been written without the newer ones.

    Of a method that does not say what it takes (a compiled one) it is all.
    """
    import inspect

    try:
        parameters = inspect.signature(method).parameters
    except (TypeError, ValueError):
        return dict(keywords)
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return dict(keywords)
    by_name = {name for name, one in parameters.items() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    return {name: value for name, value in keywords.items() if name in by_name}


ASYNC = 0x80 | 0x200  # of a code object: a coroutine, an async generator (inspect.CO_...)
GENERATOR = 0x20


def check_called(what: str, function: Any) -> None:
    """Refuses a function that is to be called for its answer and gives none: an async one, of which nothing would run, or a generator.
    What it gives would count as an answer, and a true one.

    Raises:
        TypeError: names it (``what``) and says what to write.
    """
    kind = "an async function" if _has_flags(function, ASYNC) else "a generator" if _has_flags(function, GENERATOR) else None
    if kind is not None:
        raise TypeError(
            f"{what} is {kind}, and it is called for its answer, not awaited: nothing of it would run. Write a plain function that "
            "returns it; what has to be awaited there can be run by asyncio.run(...) in a thread"
        )


def check_called_methods(thing: Any, base: type) -> None:
    """The same of the methods with which an object overrides those of its base class, as far as they are async. TypeError."""
    for name in dir(base):
        if (name == "__call__" or not name.startswith("_")) and _has_flags(getattr(type(thing), name, None), ASYNC):
            check_called(f"{type(thing).__name__}.{name}()", getattr(type(thing), name))


def is_async(function: Any) -> bool:
    """What a call of it gives has to be awaited, or iterated over with ``async for``."""
    return _has_flags(function, ASYNC)


def _has_flags(function: Any, flags: int) -> bool:
    while hasattr(function, "func") and not hasattr(function, "__code__"):  # a functools.partial
        function = function.func
    if not hasattr(function, "__code__"):
        function = getattr(function, "__func__", None) or getattr(type(function), "__call__", None)  # noqa: B004
    return bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & flags)
