"""Which checkpoints of a run are kept, and which are to be deleted once the journal holds what was folded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from fasttune.checkpoint import memory_key, memory_name
from fasttune.engine.retention import Retention

if TYPE_CHECKING:
    from fasttune.config import CheckpointConfig
    from fasttune.storage.base import Key


class KeptCheckpoints:
    """The rule that the run was asked for, what it let go, and whose that was.

    Args:
        config: The rule. Without ``num_to_keep`` directories are all kept, and nothing is known of them here.
        metric, mode: Which way is better, for a rule that ranks by the run's metric.
        unlist: Called with a trial and the path of a checkpoint of it that is not kept any more.
    """

    def __init__(
        self, config: CheckpointConfig, metric: str | None, mode: str | None, unlist: Callable[[int, str], None]
    ) -> None:
        self._config = config
        self._ranked_by = metric, mode
        self._unlist = unlist
        self._rule = Retention(config) if config.num_to_keep is not None else None
        self._surplus: dict[str, None] = {}
        self._saved_by: dict[str, int] = {}  # trial of each checkpoint that the rule knows

    @property
    def ruled(self) -> bool:
        """There is a rule."""
        return self._rule is not None

    @property
    def attribute(self) -> str:
        """What checkpoints are ranked by; "" by nothing."""
        return (self._rule.attribute if self._rule is not None else None) or ""

    def rule_those_in_memory(self) -> bool:
        """There is always a rule for checkpoints in memory. Whether there was none so far."""
        if self._rule is not None:
            return False
        self._rule = Retention(self._config, *self._ranked_by)
        return True

    def take_surplus(self) -> list[str]:
        """Directories and names in memory of the checkpoints that are to be deleted."""
        surplus, self._surplus = self._surplus, {}
        return list(surplus)

    # -- what happens to trials -------------------------------------------------------------------------------------

    def saved(self, i: int, step: int, path: str) -> None:
        """Trial i has saved at a step."""
        if self._rule is not None:
            self._surplus.pop(path, None)  # written anew
            self._saved_by[path] = i
            self._drop(self._rule.saved(i, step, path))

    def wants_score(self, i: int, step: int) -> bool:
        """Whether the report of this step ranks a checkpoint."""
        return self._rule is not None and self._rule.waits_for(i, step)

    def scored(self, i: int, step: int, score: float | None) -> None:
        """The report has come that a checkpoint belongs to."""
        if self._rule is not None:
            self._drop(self._rule.reported(i, step, score))

    def started(self, i: int, path: str) -> None:
        """Trial i goes on from this checkpoint."""
        if self._rule is not None:
            self._drop(self._rule.started(i, path))

    def ended(self, i: int, over: bool = True) -> None:
        """Trial i is over, or (``over=False``) this attempt of it."""
        if self._rule is not None:
            self._drop(self._rule.ended(i, over))

    def forget(self, i: int) -> None:
        """Trial i starts over: nothing of what it saved counts."""
        if self._rule is not None:
            self._drop(self._rule.forget(i))

    def hold(self, path: str) -> None:
        """A trial is going to be changed to go on from this checkpoint: it stays until ``let_go``."""
        if self._rule is not None:
            self._rule.hold(path)

    def let_go(self, path: str) -> None:
        """What ``hold`` kept may go, if nothing else keeps it."""
        if self._rule is not None:
            self._drop(self._rule.let_go(path))

    def _drop(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._surplus[path] = None
            self._unlist(self._saved_by.pop(path), path)

    # -- a run that goes on -------------------------------------------------------------------------------------------

    def delete(self, path: str) -> None:
        """A checkpoint that is of no use, whatever the rule says."""
        self._surplus[path] = None

    def spare(self, path: str) -> None:
        """One that is of use after all."""
        self._surplus.pop(path, None)

    def compare_with(self, stored: Collection[Key], is_there: Callable[[str], bool]) -> None:
        """Bring what the rule keeps, and the replay says was dropped, together with what is there: the earlier session may
        have had another rule, or was killed before it had deleted. ``stored`` are those in memory."""
        kept = set(self._rule.kept) if self._rule is not None else set()
        self._surplus = {path: None for path in self._surplus if is_there(path)}
        self._surplus |= {name: None for key in stored if (name := memory_name(*key)) not in kept}
        if self._rule is not None:
            self._rule.keep_only(is_there)
        for path in [path for path in kept if memory_key(path) and not is_there(path)]:
            self._unlist(self._saved_by.pop(path), path)
