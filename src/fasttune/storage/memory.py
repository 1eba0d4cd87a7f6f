"""A journal in memory: nothing survives the process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from fasttune.error import JournalError
from fasttune.storage.base import Entry, Held, Key, Storage


class MemoryStorage(Storage):
    """Keeps the entries in a list; for tests and simulations."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, bytes]] = []
        self._checkpoints: dict[Key, bytes] = {}

    @classmethod
    def copy_of(cls, other: Storage) -> MemoryStorage:
        """All that can be read of another storage."""
        made = cls()
        made._entries = list(other.read())
        for key in other.checkpoint_keys():
            with suppress(JournalError):  # a damaged one
                found = other.checkpoint(*key)
                if found is not None:
                    made._checkpoints[key] = found
        return made

    @property
    def last_entry(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    def append(self, entries: Sequence[Entry], checkpoints: Sequence[Held] = (), dropped: Sequence[Key] = ()) -> None:
        self._entries += [(source, position, bytes(memoryview(data))) for source, position, data in entries]
        for key in dropped:
            self._checkpoints.pop(key, None)
        self._checkpoints.update({(trial, step): bytes(data) for trial, step, data in checkpoints})

    def checkpoint(self, trial: int, step: int) -> bytes | None:
        return self._checkpoints.get((trial, step))

    def checkpoint_keys(self) -> set[Key]:
        return set(self._checkpoints)

    def read(self, after: int = 0) -> Iterator[tuple[int, int, bytes]]:
        return iter(self._entries[after:])

    def positions(self) -> dict[int, int]:
        return {source: position for source, position, _ in self._entries}

    def close(self) -> None:
        pass
