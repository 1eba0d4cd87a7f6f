"""Which checkpoints stay.

``surplus`` is the rule; ``Retention`` applies it as checkpoints and reports come in, in the order of the journal, so
that a resumed run goes on where the first one was. Neither touches a file: the loop deletes what they name when the
journal holds the checkpoint that replaces it. A checkpoint goes by its directory or, in memory, by its name.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fasttune.checkpoint import WRITING, memory_key
from fasttune.once import warn_in_run
from fasttune.plain_files import is_own_path

if TYPE_CHECKING:
    from fasttune.config import CheckpointConfig


class Kept(NamedTuple):
    """A checkpoint that is there. ``score`` is None when its report has no number there, or has not come."""

    path: str
    score: float | None = None


def surplus(
    kept: Sequence[Kept],
    most: int,
    order: str | None = None,
    in_use: Collection[str] = (),
    latest: Collection[str] | None = None,
) -> list[Kept]:
    """The checkpoints, given oldest first, that are neither among the ``most`` best nor the latest nor in use.

    ``order`` "max" or "min" says which scores are better; None: the newest are. NaN is worse than any number, no score
    at all worse still, and of equals the later one is better. ``latest`` are the paths of the latest of each trial
    that is not over; None: the last one given is the only one.
    """
    ranked = sorted(range(len(kept)), key=lambda k: (*_rank(kept[k].score, order), k), reverse=True)
    stays = {kept[k].path for k in ranked[:most]}
    stays |= {kept[-1].path} if latest is None and kept else set(latest or ())
    return [one for one in kept if one.path not in stays and one.path not in in_use]


def _rank(score: float | None, order: str | None) -> tuple[int, float]:
    if order is None:
        return 0, 0.0
    if score is None or math.isnan(score):
        return -1 if score is not None else -2, 0.0
    return 0, score if order == "max" else -score


class Group(Protocol):
    """Checkpoints that are compared with each other. ``most`` of them stay for being good."""

    def add(self, trial: int, one: Kept) -> list[str]:
        """A checkpoint with its score; the paths that lose their place for it."""

    def over(self, trial: int) -> list[str]:
        """The trial is over: the paths that only its going on had kept."""

    def remove(self, trial: int, path: str) -> None:
        """It is gone, for another reason than the rule's."""

    def wants(self, path: str) -> bool:
        """Whether it has a place."""


class OfOneTrial:
    """The best of one trial, and its latest, also when it is over."""

    def __init__(self, most: int, order: str | None) -> None:
        self._most, self._order = most, order
        self._kept: list[Kept] = []

    def add(self, trial: int, one: Kept) -> list[str]:
        known = [*self._kept, one]
        gone = surplus(known, self._most, self._order)
        self._kept = [kept for kept in known if kept not in gone] if gone else known
        return [kept.path for kept in gone]

    def over(self, trial: int) -> list[str]:
        return []

    def remove(self, trial: int, path: str) -> None:
        self._kept = [one for one in self._kept if one.path != path]

    def wants(self, path: str) -> bool:
        return any(one.path == path for one in self._kept)


class OfTheRun:
    """The best of all trials, and the latest of each trial that is not over. O(log n + most) a checkpoint."""

    def __init__(self, most: int, order: str | None) -> None:
        self._most, self._order = most, order
        self._number = 0
        self._ranks: dict[str, tuple[tuple[int, float], int]] = {}  # of all that have a place
        self._best: list[tuple[tuple[tuple[int, float], int], str]] = []  # worst first
        self._latest: dict[int, str] = {}
        self._latest_paths: set[str] = set()

    def add(self, trial: int, one: Kept) -> list[str]:
        self._number += 1
        self._ranks[one.path] = rank = _rank(one.score, self._order), self._number
        insort(self._best, (rank, one.path))
        moved = [self._best.pop(0)[1]] if len(self._best) > self._most else []
        before = self._latest.get(trial)
        self._latest[trial] = one.path
        self._latest_paths.add(one.path)
        if before is not None:
            self._latest_paths.discard(before)
            moved.append(before)
        return self._let_go(moved)

    def over(self, trial: int) -> list[str]:
        last = self._latest.pop(trial, None)
        if last is None:
            return []
        self._latest_paths.discard(last)
        return self._let_go([last])

    def remove(self, trial: int, path: str) -> None:
        rank = self._ranks.pop(path, None)
        if rank is None:
            return
        if self._latest.get(trial) == path:
            del self._latest[trial]
            self._latest_paths.discard(path)
        at = bisect_left(self._best, (rank, path))
        if self._best[at : at + 1] == [(rank, path)]:  # its place goes to the best of the others
            self._best = sorted((rank, path) for path, rank in self._ranks.items())[-self._most :]

    def wants(self, path: str) -> bool:
        return path in self._ranks

    def _let_go(self, paths: Iterable[str]) -> list[str]:
        """Those of ``paths`` that have no place any more."""
        gone = []
        for path in paths:
            rank = self._ranks.get(path)
            if rank is None or path in self._latest_paths or self._best[0] <= (rank, path):
                continue
            del self._ranks[path]
            gone.append(path)
        return gone


class Retention:
    """Follows the checkpoints of all trials under a CheckpointConfig.

    Without ``num_to_keep`` every directory stays, and of a trial's checkpoints in memory the newest and the best, by
    the run's metric. A checkpoint that a trial goes on from stays until that trial has one of its own; or is over, if it
    was the trial's own, or all trials share one number. Until the first score comes all stay: the attribute may be
    misspelt, and then the best would go.
    """

    def __init__(self, config: CheckpointConfig, metric: str | None = None, mode: str | None = None) -> None:
        self._all_directories = config.num_to_keep is None
        self.attribute = config.checkpoint_score_attribute
        order: str | None = config.checkpoint_score_order
        if self._all_directories and self.attribute is None:
            self.attribute, order = metric, mode or "max"
        self._most = config.num_to_keep or 1
        self._order = order if self.attribute is not None else None
        self._run = OfTheRun(self._most, self._order) if config.scope == "experiment" else None
        self._groups: dict[int, OfOneTrial] = {}
        self._owner: dict[str, int] = {}  # of all that stay
        self._of: dict[int, set[str]] = {}  # the same by trial
        self._waits: dict[int, Kept] = {}  # trial -> its newest, whose report has not come
        self._waits_for: dict[int, int] = {}  # trial -> the step of that report
        self._unranked: dict[str, int] = {}  # path -> trial of those whose report has come while no score has yet
        self._over_unranked: set[int] = set()  # trials of theirs that are over
        self._scores_come = self._order is None
        self._in_use: dict[int, str] = {}  # trial -> checkpoint that it was started from
        self._users: Counter[str] = Counter()

    @property
    def kept(self) -> Collection[str]:
        """All that stay and are subject to the rule."""
        return self._owner.keys()

    def started(self, trial: int, path: str) -> list[str]:
        """The trial is told to go on from this checkpoint, perhaps another trial's; the paths that are to go."""
        self._users[path] += 1
        self._over_unranked.discard(trial)
        gone = self._release(trial)
        self._in_use[trial] = path
        return gone

    def hold(self, path: str) -> None:
        """Somebody is about to be started from this checkpoint. It is no part of the journal: a session that ends
        before that has no use for it."""
        self._users[path] += 1

    def let_go(self, path: str) -> list[str]:
        """The end of one ``hold``; the paths that are to go."""
        self._users[path] -= 1
        return self._free([path])

    def saved(self, trial: int, step: int, path: str) -> list[str]:
        """A checkpoint has been written; the paths of those that are to go."""
        gone = self._settle(trial, None)
        if not (self._all_directories and memory_key(path) is None):
            if path in self._owner:  # written anew under the same name
                self._forget(path)
            self._owner[path] = trial
            self._of.setdefault(trial, set()).add(path)
            self._waits[trial], self._waits_for[trial] = Kept(path), step
            if self.attribute is None:
                gone += self._settle(trial, None)
        return gone + self._release(trial)

    def waits_for(self, trial: int, step: int) -> bool:
        """Whether the report of this step scores a checkpoint."""
        return self._waits_for.get(trial) == step

    def reported(self, trial: int, step: int, score: float | None) -> list[str]:
        """The report of this step has come, with this score; the paths of checkpoints that are to go."""
        return self._settle(trial, score) if self.waits_for(trial, step) else []

    def ended(self, trial: int, over: bool = True) -> list[str]:
        """The trial is over, or (``over=False``) this attempt of it: then the next goes on from the same checkpoint, be
        it in a later session. What only it held on to may go."""
        gone = self._settle(trial, None)
        if over:
            gone += [] if self._is_its_latest(trial) else self._release(trial)
            gone += self._free(self._run.over(trial)) if self._run is not None else []
            if not self._scores_come:
                self._over_unranked.add(trial)
        return gone

    def _is_its_latest(self, trial: int) -> bool:
        """What the trial was started from is another trial's, and it has none of its own since: a later session that goes on
        with it has nothing else. Where all trials share a number, the latest of one that is over does not count."""
        held = self._in_use.get(trial)
        return held is not None and self._run is None and self._owner.get(held, trial) != trial

    def forget(self, trial: int) -> list[str]:
        """The trial begins anew, without its checkpoints: their paths, but for those that others go on from."""
        self._waits.pop(trial, None)
        self._waits_for.pop(trial, None)
        mine = sorted(self._of.get(trial, ()))
        for path in mine:
            self._unranked.pop(path, None)
            self._group(trial).remove(trial, path)
        return self._release(trial) + self._free(mine)

    def keep_only(self, exists: Callable[[str], bool]) -> None:
        """Forget what is not there, as after a run with other rules."""
        for path in [path for path in self._owner if not exists(path)]:
            self._forget(path)

    def _group(self, trial: int) -> Group:
        if self._run is not None:
            return self._run
        return self._groups.setdefault(trial, OfOneTrial(self._most, self._order))

    def _settle(self, trial: int, score: float | None) -> list[str]:
        """Give the newest checkpoint of a trial its place, now that its score is known, or will never be."""
        waiting = self._waits.pop(trial, None)
        if waiting is None:
            return []
        del self._waits_for[trial]
        if score is None and not self._scores_come:
            self._unranked[waiting.path] = trial
            return []
        gone = [] if self._scores_come else self._rank_all()
        return gone + self._free(self._group(trial).add(trial, Kept(waiting.path, score)))

    def _rank_all(self) -> list[str]:
        """The first score has come: what was kept without one is ranked below it."""
        self._scores_come = True
        gone = []
        unranked, self._unranked = self._unranked, {}
        for path, trial in unranked.items():
            gone += self._group(trial).add(trial, Kept(path))
        if self._run is not None:
            gone += [path for trial in self._over_unranked for path in self._run.over(trial)]
        self._over_unranked.clear()
        return self._free(gone)

    def _release(self, trial: int) -> list[str]:
        """The trial does not need any more what it was started from."""
        held = self._in_use.pop(trial, None)
        if held is None:
            return []
        self._users[held] -= 1
        return self._free([held])

    def _free(self, paths: Iterable[str]) -> list[str]:
        """Those of ``paths`` that nothing keeps any more."""
        gone = []
        for path in paths:
            owner = self._owner.get(path)
            if owner is None or self._users[path] > 0 or self._is_wanted(owner, path):
                continue
            del self._owner[path], self._users[path]
            self._of[owner].discard(path)
            gone.append(path)
        return gone

    def _is_wanted(self, owner: int, path: str) -> bool:
        waiting = self._waits.get(owner)
        if path in self._unranked or (waiting is not None and waiting.path == path):
            return True
        return self._group(owner).wants(path)

    def _forget(self, path: str) -> None:
        owner = self._owner.pop(path)
        self._of[owner].discard(path)
        self._unranked.pop(path, None)
        self._group(owner).remove(owner, path)
        waiting = self._waits.get(owner)
        if waiting is not None and waiting.path == path:
            del self._waits[owner], self._waits_for[owner]


def delete(path: str, experiment: str) -> None:
    """Remove a checkpoint's directory. It is renamed first: what bears a checkpoint's name is whole.

    It is moved to where the experiment's unfinished things are, so that nothing stays if we are killed here. Only what
    really lies in a trial's folder of the experiment is touched: the path comes from the journal, and a folder on the
    way may have become a link.
    """
    import shutil

    folder, name = os.path.split(path)
    staging = os.path.join(experiment, WRITING)
    if not is_own_path(os.path.relpath(path, experiment)) or os.path.islink(folder) or os.path.islink(staging):
        warn_in_run(
            f"the checkpoint {path} is not deleted: it is no directory of a trial in {experiment}",
            RuntimeWarning,
            stacklevel=2,
        )
        return
    dropped = os.path.join(staging, f"dropped_{os.path.basename(folder)}_{name}")
    os.makedirs(staging, exist_ok=True)
    with suppress(OSError):  # it is gone already, or a killed run was just deleting it
        os.rename(path, dropped)
    if os.path.islink(dropped):
        os.unlink(dropped)
    shutil.rmtree(dropped, ignore_errors=True)
