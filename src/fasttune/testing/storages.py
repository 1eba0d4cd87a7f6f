"""What every storage has to keep: see :mod:`fasttune.storage.base`."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from fasttune.storage.base import Storage
from fasttune.storage.memory import MemoryStorage

Row = tuple[int, int, bytes]


class StorageContract(ABC):
    """Derive from it and give :meth:`make`. ``persistent`` says whether entries are there when it is made again.

    ``make(folder)`` opens the storage of ``folder``, which exists; the same folder gives the same entries.
    """

    persistent: bool = True

    @abstractmethod
    def make(self, folder: str) -> Storage:
        """The storage of a folder."""

    def test_an_empty_storage_has_no_entries(self, tmp_path: Path) -> None:
        storage = self.make(str(tmp_path))
        assert list(storage.read()) == []
        assert storage.positions() == {}
        storage.append([])
        assert list(storage.read()) == []
        storage.close()

    def test_entries_come_back_in_their_order(self, tmp_path: Path) -> None:
        storage = self.make(str(tmp_path))
        rows = entries(seed=1, n=200)
        for first in range(0, len(rows), 7):
            storage.append(rows[first : first + 7])
        assert list(storage.read()) == rows
        storage.close()

    def test_reading_leaves_out_the_first_ones(self, tmp_path: Path) -> None:
        storage = self.make(str(tmp_path))
        rows = entries(seed=2, n=20)
        storage.append(rows)
        for after in (0, 1, 19, 20, 21):
            assert list(storage.read(after)) == rows[after:]
        storage.close()

    def test_positions_are_those_of_the_last_entries(self, tmp_path: Path) -> None:
        storage = self.make(str(tmp_path))
        storage.append([(1, 64, b"a"), (2, 32, b"b")])
        storage.append([(1, 128, b"c"), (0, 0, b"d")])
        assert storage.positions() == {1: 128, 2: 32, 0: 0}
        storage.close()

    def test_checkpoints_are_kept_until_they_are_dropped(self, tmp_path: Path) -> None:
        storage = self.make(str(tmp_path))
        assert (storage.checkpoint(0, 1), storage.checkpoint_keys()) == (None, set())
        storage.append([(1, 8, b"a")], [(0, 1, b"one"), (7, 3, b"")])
        storage.append([], [(0, 2, bytes(100_000))], [(7, 3), (5, 5)])
        assert storage.checkpoint(0, 1) == b"one"
        assert storage.checkpoint(0, 2) == bytes(100_000)
        assert storage.checkpoint_keys() == {(0, 1), (0, 2)}
        storage.append([], [(0, 1, b"another")])
        assert storage.checkpoint(0, 1) == b"another"
        assert [row[:2] for row in storage.read()] == [(1, 8)]
        storage.close()

    def test_data_is_copied(self, tmp_path: Path) -> None:
        """The loop hands in views of rings whose space is used again after the commit."""
        storage = self.make(str(tmp_path))
        ring = bytearray(b"first record")
        storage.append([(1, 12, memoryview(ring))])
        ring[:] = b"overwritten!"
        assert list(storage.read()) == [(1, 12, b"first record")]
        storage.close()

    def test_a_failed_append_leaves_nothing_behind(self, tmp_path: Path) -> None:
        storage = self.make(str(tmp_path))
        storage.append([(1, 8, b"kept")])
        unusable: Any = object()
        try:
            storage.append([(1, 16, b"half"), (1, 24, unusable)])
        except Exception:
            pass
        else:
            raise AssertionError("append() took an entry whose data is not bytes")
        assert list(storage.read()) == [(1, 8, b"kept")]
        assert storage.positions() == {1: 8}
        storage.append([(1, 32, b"after")])
        assert list(storage.read()) == [(1, 8, b"kept"), (1, 32, b"after")]
        storage.close()

    def test_entries_may_be_large(self, tmp_path: Path) -> None:
        storage = self.make(str(tmp_path))
        large = bytes(range(256)) * (1 << 14)  # 4 MiB, as much as a ring holds
        storage.append([(3, len(large), large)])
        assert [data for _, _, data in storage.read()] == [large]
        storage.close()

    def test_two_readers_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        storage = self.make(str(tmp_path))
        rows = entries(seed=3, n=10)
        storage.append(rows)
        one, other = iter(storage.read()), iter(storage.read())
        assert [row for pair in zip(one, other, strict=True) for row in pair] == [r for r in rows for _ in "12"]
        storage.close()

    def test_it_can_be_opened_again(self, tmp_path: Path) -> None:
        rows = entries(seed=4, n=10)
        storage = self.make(str(tmp_path))
        storage.append(rows)
        storage.close()
        again = self.make(str(tmp_path))
        assert list(again.read()) == (rows if self.persistent else [])
        again.close()

    def test_closing_twice_is_safe(self, tmp_path: Path) -> None:
        storage = self.make(str(tmp_path))
        storage.append([(1, 8, b"x")])
        storage.flush_to_disk()
        storage.close()
        storage.close()

    def test_flushing_changes_nothing_that_is_read(self, tmp_path: Path) -> None:
        storage = self.make(str(tmp_path))
        rows = entries(seed=5, n=30)
        for first in range(0, len(rows), 3):
            storage.append(rows[first : first + 3], [(0, first, b"kept")])
            storage.flush_if_due()
            storage.flush_to_disk()
        assert list(storage.read()) == rows
        assert storage.checkpoint_keys() == {(0, first) for first in range(0, len(rows), 3)}
        storage.close()

    def test_it_is_where_it_belongs_until_its_folder_goes(self, tmp_path: Path) -> None:
        """A storage that says so can be read all the same, and copied."""
        folder = tmp_path / "experiment"
        folder.mkdir()
        storage = self.make(str(folder))
        rows = entries(seed=6, n=10)
        storage.append(rows, [(3, 1, b"a checkpoint")])
        assert storage.gone() is None
        folder.rename(tmp_path / "elsewhere")
        why = storage.gone()  # None of one that does not look, or that needs no folder
        if why is not None:
            assert str(folder) in why
            copy = MemoryStorage.copy_of(storage)
            assert list(copy.read()) == list(storage.read()) == rows
            assert copy.checkpoint(3, 1) == storage.checkpoint(3, 1) == b"a checkpoint"
        storage.close()

    def test_the_table_for_people_is_replaced_as_a_whole(self, tmp_path: Path) -> None:
        storage = self.make(str(tmp_path))
        rows = [(1, 8, b"x")]
        storage.append(rows)
        storage.write_table(["trial", "config/lr", "Config/LR"], iter([(0, 0.1, "a"), (1, None, "b")]))
        storage.write_table(["trial"], iter([(0,)]))
        assert list(storage.read()) == rows  # it is made of the journal, not part of it
        storage.close()


def entries(seed: int, n: int) -> list[Row]:
    """Random entries of three sources, whose positions only grow."""
    random_ = random.Random(seed)
    positions = {0: 0, 1: 0, 2: 0}
    rows: list[Row] = []
    for _ in range(n):
        source = random_.choice([0, 1, 2])
        data = random_.randbytes(random_.choice([1, 24, 40, 1000]))
        positions[source] += len(data) if source else 0
        rows.append((source, positions[source], data))
    return rows
