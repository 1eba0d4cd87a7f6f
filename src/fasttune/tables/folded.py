"""What a source that folds a journal knows of many trials at once, so that columns are made without a look at each of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from fasttune.trial import TrialSource

if TYPE_CHECKING:
    from fasttune.space.variants import Variants


class FoldedSource(TrialSource, Protocol):
    """A TrialSource with the table of trials in C behind it. ``engine.records.ExperimentRecords`` is one."""

    meta: dict[str, Any]  # what its journal says of the experiment
    table: Any  # TrialTable

    def singular_trials(self) -> Iterable[int]:
        """The trials that are not all that their variants say: changed, named by a user's function, suggested."""
        ...

    def stretches(self) -> Iterable[tuple[int, int, int, int, Variants]]:
        """First trial, end, number of the first among its experiment's variants, experiment, variants."""
        ...


def is_folded(source: TrialSource) -> TypeGuard[FoldedSource]:
    """Whether a source is one: a snapshot of trials, as an analysis is pickled with, is not."""
    return hasattr(source, "singular_trials")
