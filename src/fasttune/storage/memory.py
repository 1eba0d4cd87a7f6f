"""A journal in memory: nothing survives the process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fasttune.storage.base import Entry, Storage


class MemoryStorage(Storage):
    """Keeps the entries in a list; for tests and simulations."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, bytes]] = []

    def append(self, entries: Sequence[Entry]) -> None:
        self._entries += [(source, position, bytes(memoryview(data))) for source, position, data in entries]

    def read(self, after: int = 0) -> Iterator[tuple[int, int, bytes]]:
        return iter(self._entries[after:])

    def positions(self) -> dict[int, int]:
        return {source: position for source, position, _ in self._entries}

    def close(self) -> None:
        pass
