"""What a page asks: the parameters of a request, checked; and the error that is its answer when they are wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST = 4096  # characters of one parameter


class NotAnswered(Exception):
    """A request that gets no answer, and why, in words for whoever looks at the page. ``status`` is that of HTTP."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Question:
    """The parameters of one request. Each has to be read: ``check_all_known`` refuses those that nobody has read."""

    def __init__(self, given: Sequence[tuple[str, str]]) -> None:
        self._given: dict[str, list[str]] = {}
        for name, value in given:
            self._given.setdefault(name, []).append(value)
        self._read: set[str] = set()
        for name, values in self._given.items():
            if max(map(len, values)) > LONGEST:
                raise NotAnswered(400, f"the parameter {name[:40]!r} is longer than {LONGEST} characters")

    def text(self, name: str, default: str = "") -> str:
        """The value of a parameter that is given once at most."""
        values = self.texts(name)
        if len(values) > 1:
            raise NotAnswered(400, f"the parameter {name!r} is given {len(values)} times, and may be given once")
        return values[0] if values else default

    def needed(self, name: str) -> str:
        """The same of one that has to be given."""
        if name not in self._given:
            raise NotAnswered(400, f"the parameter {name!r} is missing")
        return self.text(name)

    def texts(self, name: str) -> list[str]:
        """All values of a parameter."""
        self._read.add(name)
        return self._given.get(name, [])

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number between two bounds."""
        text = self.text(name)
        if not text:
            return default
        if not text.isascii() or not text.isdecimal() or not least <= int(text[:20]) <= most:
            raise NotAnswered(400, f"{name} must be a whole number from {least} to {most}, got {text[:40]!r}")
        return int(text)

    def truth(self, name: str) -> bool:
        """Yes or no, "1" or "0"."""
        return self.one_of(name, ("0", "1"), "0") == "1"

    def one_of(self, name: str, known: Sequence[str], default: str) -> str:
        """One of some words."""
        text = self.text(name) or default
        if text not in known:
            raise NotAnswered(400, f"{name} must be one of {', '.join(known)}, got {text[:40]!r}")
        return text

    def check_all_known(self) -> None:
        """NotAnswered if something was asked that means nothing: a typing error must not become a default."""
        unknown = sorted(set(self._given) - self._read)
        if unknown:
            raise NotAnswered(400, f"there is no parameter {unknown[0][:40]!r}; there are {', '.join(sorted(self._read))}")


def plain(value: Any) -> Any:
    """The same as JSON that every browser reads: a number that is none is None, an object is its text."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value)
