"""What a run is told once, however often it happens in it; another run of the same process is told it again."""

from __future__ import annotations

import warnings
from collections.abc import Hashable

_told: set[Hashable | type] = set()  # subjects


def warn_anew() -> None:
    """A run begins here: what was said of another one is said again."""
    _told.clear()


def warn_once(
    subject: Hashable | type, text: str, category: type[Warning] = UserWarning, stacklevel: int = 2, in_run: bool = False
) -> None:
    """``stacklevel`` as in ``warnings.warn``: 2 is the caller of whoever calls this. ``in_run``: see :func:`warn_in_run`."""
    if subject not in _told:
        _told.add(subject)
        (warn_in_run if in_run else warnings.warn)(text, category, stacklevel=stacklevel + 1)


def warn_in_run(text: str, category: type[Warning] = UserWarning, stacklevel: int = 1) -> None:
    """``warnings.warn`` of a run that is under way. Where somebody has made errors of warnings (``python -W error``) it is logged in
    place of that: an error would cost all that the run has found."""
    try:
        warnings.warn(text, category, stacklevel=stacklevel + 1)
    except Warning:
        import logging

        logging.getLogger("fasttune").error("%s: %s", category.__name__, text)
