"""Frames and tables of very many keys: what they cost grows with the keys, not with their square.

Counted, not timed: keys are texts that count how often one is compared with another.
"""

from __future__ import annotations

import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_source import FakeSource, FakeTrial

from fasttune.analysis.frames import TrialFrames, trial_frame, trials_frame
from fasttune.result import ReportBlock, flatten
from fasttune.storage.sqlite import SqliteStorage, unique_names
from fasttune.tables.columns import Columns


class Counted(str):
    """A key that counts comparisons. Finding it in a dict takes none, or nearly none; in a tuple, one for each before it."""

    __slots__ = ()
    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


class WideSource(FakeSource):
    """One report of each trial, with the given keys."""

    def __init__(self, keys_of: list[list[str]]) -> None:
        super().__init__([FakeTrial([{"loss": 1.0}]) for _ in keys_of])
        self._keys_of = keys_of

    def report_blocks(self) -> list[ReportBlock]:
        blocks = []
        for i, keys in enumerate(self._keys_of):
            values = [array.array("d", [float(k)]) for k in range(len(keys))]
            one = array.array("i", [i]), array.array("i", [1]), array.array("d", [self.time(i, 0)])
            blocks.append(ReportBlock(tuple(Counted(key) for key in keys), "f" * len(keys), *one, values, {}))
        return blocks


def compared(work: Callable[[], object]) -> int:
    Counted.comparisons = 0
    work()
    return Counted.comparisons


@pytest.mark.parametrize("frame", [lambda c: trials_frame(c, [0]), lambda c: trial_frame(c, 0)])
def test_a_frame_looks_for_each_key_once(frame: Callable[[Columns], Any]) -> None:
    def cost(n: int) -> int:
        columns = Columns(WideSource([[f"k{i}" for i in range(n)]]))
        return compared(lambda: frame(columns))

    small, large = cost(500), cost(2000)
    assert large <= 8 * max(small, 500)  # 4 times the keys; the square would be 16 times, and 2,000,000


def test_a_trials_frame_does_not_look_at_the_keys_of_all_others() -> None:
    asked = []

    class Watched(Columns):
        def metric(self, name: str) -> tuple[Any, Any]:
            asked.append(name)
            return super().metric(name)

    columns = Watched(WideSource([[f"k{i}_{k}" for k in range(20)] for i in range(100)]))
    frames = TrialFrames(columns, range(100))
    assert list(frames["ab12c_00007"].columns[:2]) == ["k7_0", "k7_1"]
    assert sorted(asked) == sorted(f"k7_{k}" for k in range(20))


def test_the_order_of_columns_is_that_of_first_sight_for_every_trial() -> None:
    columns = Columns(WideSource([["a", "b", "c"], ["c", "x", "a"], ["y", "b"]]))
    every = list(columns.names)
    assert every == ["a", "b", "c", "x", "y"]
    for trial in range(3):
        shown = [name for name in trial_frame(columns, trial).columns if name in every]
        assert shown == sorted(shown, key=every.index)
    assert trial_frame(columns, 1).loc[0, ["c", "x", "a"]].tolist() == [0.0, 1.0, 2.0]


def test_flatten_copies_each_leaf_once() -> None:
    """However deep it lies: with a dict for each level a leaf was copied as often as it lies deep."""
    deep: dict[str, Any] = {"leaf": 1}
    for _ in range(200):
        deep = {"d": deep}
    assert flatten(deep) == {"d/" * 200 + "leaf": 1}
    assert flatten({"a": {"b": {}, "c": {"d": 2}}, "e": 3}) == {"a/b": {}, "a/c/d": 2, "e": 3}


def test_names_of_sql_columns_are_told_apart() -> None:
    assert unique_names(["trial", "loss", "Loss", "LOSS"]) == ["trial", "loss", "Loss_2", "LOSS_3"]
    assert unique_names(["a", "A", "A_1"]) == ["a", "A_2", "A_1"]  # A_1 is taken
    lowered = [name.lower() for name in unique_names(["x", "X", "x_1", "X_1", "x_1_2", "x"])]
    assert len(set(lowered)) == 6
    many = unique_names([Counted(f"k{i}") for i in range(2000)])
    assert compared(lambda: unique_names([Counted(f"k{i}") for i in range(2000)])) <= 2000 * 8
    assert many[-1] == "k1999"


def test_the_table_is_written_for_parameters_that_differ_in_case_only(tmp_path: Path) -> None:
    storage = SqliteStorage(str(tmp_path))
    storage.write_table(["trial", "a", "A", "A_1"], [(0, 1, 2, 3)])
    assert storage.connection.execute("SELECT * FROM trials").fetchall() == [(0, 1, 2, 3)]
    storage.close()
