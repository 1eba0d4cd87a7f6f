"""The storage contract, bound to every storage of ours and to one written outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fasttune import storage
from fasttune.storage import MemoryStorage, SqliteStorage, Storage
from fasttune.storage.base import Entry, Held, Key
from fasttune.testing import StorageContract


class TestMemory(StorageContract):
    persistent = False

    def make(self, folder: str) -> Storage:
        return MemoryStorage()


class TestSqlite(StorageContract):
    def make(self, folder: str) -> Storage:
        return SqliteStorage(folder)


class LineStorage(Storage):
    """As somebody outside might write one: a text file, a line for each entry, whole appends only."""

    def __init__(self, folder: str) -> None:
        self.file = open(Path(folder) / "journal.txt", "a+", encoding="ascii")  # noqa: SIM115
        self.folder = Path(folder)

    def append(self, entries: Sequence[Entry], checkpoints: Sequence[Held] = (), dropped: Sequence[Key] = ()) -> None:
        lines = [f"{source} {position} {bytes(memoryview(data)).hex()}\n" for source, position, data in entries]
        for trial, step in dropped:
            (self.folder / f"{trial}_{step}.checkpoint").unlink(missing_ok=True)
        for trial, step, data in checkpoints:
            (self.folder / f"{trial}_{step}.checkpoint").write_bytes(data)
        self.file.write("".join(lines))
        self.file.flush()

    def checkpoint(self, trial: int, step: int) -> bytes | None:
        path = self.folder / f"{trial}_{step}.checkpoint"
        return path.read_bytes() if path.exists() else None

    def checkpoint_keys(self) -> set[Key]:
        names = [path.stem.split("_") for path in self.folder.glob("*.checkpoint")]
        return {(int(trial), int(step)) for trial, step in names}

    def read(self, after: int = 0) -> Iterator[tuple[int, int, bytes]]:
        with open(self.file.name, encoding="ascii") as file:
            for line in list(file)[after:]:
                source, position, *data = line.split()
                yield int(source), int(position), bytes.fromhex("".join(data))

    def positions(self) -> dict[int, int]:
        return {source: position for source, position, _ in self.read()}

    def close(self) -> None:
        self.file.close()


class TestOneFromOutside(StorageContract):
    def make(self, folder: str) -> Storage:
        return LineStorage(folder)


def test_every_storage_of_ours_is_bound() -> None:
    ours = {getattr(storage, name) for name in storage.__all__} - {Storage}
    bound: set[Any] = {MemoryStorage, SqliteStorage}
    assert ours == bound
