"""Which checkpoints of a trial stay on disk.

``surplus`` is the rule; ``Retention`` applies it as checkpoints and reports come in, in the order of the journal, so
that a resumed run goes on where the first one was. Neither touches a file: the loop deletes what they name when the
journal holds the checkpoint that replaces it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.result import number

if TYPE_CHECKING:
    from fasttune.config import CheckpointConfig


class Kept(NamedTuple):
    """A checkpoint on disk. ``score`` is None when its report has no number there, or has not come."""

    path: str
    score: float | None = None


def surplus(kept: Sequence[Kept], most: int, order: str | None = None, in_use: Collection[str] = ()) -> list[Kept]:
    """The checkpoints, given oldest first, that are neither among the ``most`` best nor the latest nor in use.

    ``order`` "max" or "min" says which scores are better; None: the newest are. NaN is worse than any number, no score
    at all worse still, and of equals the later one is better.
    """
    ranked = sorted(range(len(kept)), key=lambda k: (*_rank(kept[k].score, order), k), reverse=True)
    stays = {*ranked[:most], len(kept) - 1}
    return [one for k, one in enumerate(kept) if k not in stays and one.path not in in_use]


def _rank(score: float | None, order: str | None) -> tuple[int, float]:
    if order is None:
        return 0, 0.0
    if score is None or math.isnan(score):
        return -1 if score is not None else -2, 0.0
    return 0, score if order == "max" else -score


class Retention:
    """Follows the checkpoints of all trials under a CheckpointConfig with ``num_to_keep``."""

    def __init__(self, config: CheckpointConfig) -> None:
        if config.num_to_keep is None:
            raise ValueError("num_to_keep is None: every checkpoint stays")
        self._most = config.num_to_keep
        self.attribute = config.checkpoint_score_attribute
        self._order = config.checkpoint_score_order if self.attribute is not None else None
        self._kept: dict[int, list[Kept]] = {}
        self._last: dict[int, tuple[int, float | None]] = {}  # trial -> step and score of its last report
        self._waits: dict[int, int] = {}  # trial -> step of the report that its newest checkpoint belongs to
        self._in_use: dict[int, str] = {}  # trial -> checkpoint that it was started from

    def started(self, trial: int, path: str | None) -> None:
        """The trial is told to go on from this checkpoint, perhaps another trial's."""
        if path is not None:
            self._in_use[trial] = path

    def saved(self, trial: int, step: int, path: str) -> list[str]:
        """A checkpoint has been written; the paths of those that are to go."""
        known = self._last.get(trial)
        score = known[1] if known is not None and known[0] == step else None
        kept = self._kept.setdefault(trial, [])
        if not kept or kept[-1].path != path:
            kept.append(Kept(path, score))
        self._in_use.pop(trial, None)
        if self.attribute is not None and (known is None or known[0] != step):
            self._waits[trial] = step
            return []
        return self._drop(trial)

    def reported(self, trial: int, step: int, metrics: Mapping[str, Any]) -> list[str]:
        """A report with these flattened metrics has come; the paths of checkpoints that are to go."""
        score = number(metrics.get(self.attribute)) if self.attribute is not None else None
        self._last[trial] = step, score
        if self._waits.pop(trial, None) != step:
            return []
        kept = self._kept[trial]
        kept[-1] = Kept(kept[-1].path, score)
        return self._drop(trial)

    def ended(self, trial: int) -> list[str]:
        """The trial is over, or this attempt of it; what only it held on to may go."""
        self._last.pop(trial, None)
        held = self._in_use.pop(trial, None)
        if held is None:
            return []
        owner = next((i for i, kept in self._kept.items() if any(one.path == held for one in kept)), None)
        return self._drop(owner) if owner is not None else []

    def _drop(self, trial: int) -> list[str]:
        kept = self._kept[trial]
        gone = surplus(kept, self._most, self._order, set(self._in_use.values()))
        if gone:
            self._kept[trial] = [one for one in kept if one not in gone]
        return [one.path for one in gone]


def delete(path: str) -> None:
    """Remove a checkpoint's directory. It is renamed first: what bears a checkpoint's name is whole."""
    import shutil

    folder, name = os.path.split(path)
    dropped = os.path.join(folder, f".dropped_{name}")
    with suppress(OSError):  # it is gone already, or a killed run was just deleting it
        os.rename(path, dropped)
    shutil.rmtree(dropped, ignore_errors=True)
