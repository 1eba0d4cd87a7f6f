"""What searchers are told by earlier runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Heard(NamedTuple):
    """What a searcher was told of one trial of an earlier run, from its suggestion to its end."""

    trial_id: str
    suggestion: dict[str, Any]
    results: Sequence[Mapping[str, Any]]  # flattened, in their order; the last one came with its end
    error: bool
