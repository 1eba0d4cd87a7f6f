"""What was folded and is not stored yet: group commit, and what a commit lets go."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fasttune.checkpoint import memory_key

if TYPE_CHECKING:
    from fasttune.engine.facts import Unfit
    from fasttune.engine.state import ExperimentState
    from fasttune.storage.base import Entry, Held, Key, Storage

COMMIT_S = 0.02  # a report is in the database at most this much later (in its ring it is at once)
COMMIT_BYTES = 1 << 18
IDLE_S = 0.1  # longest sleep of a turn


class Journaling:
    """Entries on their way to the storage.

    Args:
        storage: Where they go.
        every_turn: All that is there is stored in each turn, because reports wait for it.

    Attributes:
        owes: An entry of the state's own is not stored yet: nobody may build on it before it is.
    """

    def __init__(self, storage: Storage, every_turn: bool = False) -> None:
        self.owes = False
        self._storage = storage
        self._every_turn = every_turn
        self._entries: list[Entry] = []
        self._aside: list[Unfit] = []  # records that did not fit, and are not stored yet
        self._bytes = 0
        self._committed_at = time.monotonic()

    @property
    def waits(self) -> bool:
        """There is something to be stored."""
        return bool(self._entries)

    def take(self, source: int, position: int, data: Any, size: int) -> None:
        """What fits of a source's records; ``size`` is what all of them take in its ring."""
        self._entries.append((source, position, data))
        self._bytes += size

    def add(self, entries: Iterable[Entry]) -> None:
        """Entries that nothing builds on."""
        self._entries.extend(entries)

    def keep_own(self, state: ExperimentState) -> None:
        """What the state has written itself."""
        own = state.out.take_entries()
        if own:
            self._entries.extend(own)
            self.owes = True

    def put_aside(self, unfit: list[Unfit]) -> bool:
        """Records that do not fit are kept apart. Whether they are the first ones since the last commit."""
        first = not self._aside
        self._aside += unfit
        return first

    def is_due(self, got: bool) -> bool:
        """A commit is, after a turn that brought (``got``) or did not bring anything."""
        due = self._every_turn or time.monotonic() - self._committed_at >= COMMIT_S
        return due or self._bytes >= COMMIT_BYTES or not got

    def rest_s(self, progressed: bool) -> float:
        """How long the next look for records may sleep."""
        if self._entries:
            return max(0.0, self._committed_at + COMMIT_S - time.monotonic())
        return COMMIT_S if progressed else IDLE_S

    def commit(self, state: ExperimentState) -> list[str]:
        """Store all of it. The directories of checkpoints that are to be deleted now."""
        surplus = state.kept.take_surplus()
        directories, dropped = sorted_out(surplus, state.saves.unsaved) if surplus else ([], [])
        self._store_aside()
        if self._entries or dropped:
            self._storage.append(self._entries, held_in_memory(state), dropped)
            self._entries = []
            state.saves.unsaved.clear()
        self.owes = False
        self._bytes = 0
        self._committed_at = time.monotonic()
        return directories

    def _store_aside(self) -> None:
        if self._aside:
            self._storage.set_aside([(one.source, one.why, one.data) for one in self._aside])
            self._aside = []

    def give_up(self) -> list[Entry]:
        """What is there goes to somebody else."""
        entries, self._entries = self._entries, []
        return entries

    def store_at_last(self, entries: list[Entry], state: ExperimentState) -> None:
        """These, outside of all turns."""
        self._store_aside()
        self._storage.append(entries, held_in_memory(state))


def sorted_out(surplus: Iterable[str], unsaved: dict[str, bytes]) -> tuple[list[str], list[Key]]:
    """Surplus checkpoints: directories to delete, and those in memory to delete from the storage. What has come since the
    last commit never reaches it, and leaves ``unsaved``."""
    directories: list[str] = []
    dropped: list[Key] = []
    for name in surplus:
        key = memory_key(name)
        if key is None:
            directories.append(name)
        elif unsaved.pop(name, None) is None:
            dropped.append(key)
    return directories, dropped


def held_in_memory(state: ExperimentState) -> list[Held]:
    """Checkpoints in memory that have come since the last commit and are kept."""
    return [(*key, data) for name, data in state.saves.unsaved.items() if (key := memory_key(name)) is not None]
