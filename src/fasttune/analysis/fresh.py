"""Schedulers and searchers that a caller keeps: what decides again is a copy."""

from __future__ import annotations

import copy
from typing import Any


def copied(given: Any) -> Any:
    """A copy of a scheduler, searcher or stopper, so that the caller's can be given again."""
    try:
        return copy.deepcopy(given)
    except TypeError as error:
        raise ValueError(
            f"this {type(given).__name__} cannot be copied, because it holds what a run has left in it ({error}): "
            "give a fresh one"
        ) from error
