"""What a run is told once, however often it happens in it; another run of the same process is told it again."""

from __future__ import annotations

import warnings
from collections.abc import Hashable

_told: set[Hashable | type] = set()  # subjects


def warn_anew() -> None:
    """A run begins here: what was said of another one is said again."""
    _told.clear()


def warn_once(subject: Hashable | type, text: str, category: type[Warning] = UserWarning, stacklevel: int = 2) -> None:
    """``stacklevel`` as in ``warnings.warn``: 2 is the caller of whoever calls this."""
    if subject not in _told:
        _told.add(subject)
        warnings.warn(text, category, stacklevel=stacklevel + 1)
