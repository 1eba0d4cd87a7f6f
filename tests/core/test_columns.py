"""Every report comes back as columns, whichever names it had and whichever source it came from."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune._core import ReportColumns
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model import report_record, schema_record

NAMES = [("m",), ("loss", "m"), (), ("m", "loss")]

reports = st.lists(
    st.tuples(
        st.integers(0, 2),  # source
        st.integers(0, len(NAMES) - 1),
        st.integers(0, 9),  # trial
        st.lists(st.floats(allow_nan=False), min_size=2, max_size=2),
        st.none() | st.binary(max_size=9),
    ),
    max_size=700,
)


def column(raw: bytes, kind: str) -> list[Any]:
    return memoryview(raw).cast(kind).tolist()


@given(reports=reports, only=st.integers(-1, 3))
@settings(max_examples=rounds(600), deadline=None)
def test_columns_hold_every_report_in_order(reports: list[Any], only: int) -> None:
    columns = ReportColumns()
    expected: dict[tuple[str, ...], list[Any]] = {}
    for source in range(3):
        # each source numbers the names its own way
        told = NAMES[source:] + NAMES[:source]
        columns.add(b"".join(schema_record(k, keys, "f" * len(keys)) for k, keys in enumerate(told)), source)
    for step, (source, name, trial, values, extra) in enumerate(reports):
        keys = NAMES[name]
        columns.add(
            report_record((name - source) % len(NAMES), trial, step, values[: len(keys)], extra), source, only
        )
        if only in (-1, trial):
            expected.setdefault(keys, []).append(
                (trial, step, 100.0 + step, tuple(values[: len(keys)]), extra)
            )
    blocks = columns.blocks()
    assert [block[0] for block in blocks] == NAMES
    for keys, kinds, trial, step, time, values, extras in blocks:
        rows = expected.get(keys, [])
        assert kinds == "f" * len(keys)
        assert column(trial, "i") == [row[0] for row in rows]
        assert column(step, "i") == [row[1] for row in rows]
        assert column(time, "d") == [row[2] for row in rows]
        assert [column(one, "d") for one in values] == [[row[3][j] for row in rows] for j in range(len(keys))]
        assert extras == {k: row[4] for k, row in enumerate(rows) if row[4] is not None}


def test_names_that_were_never_told_are_an_error() -> None:
    columns = ReportColumns()
    with pytest.raises(ValueError, match="metric names 0 were never told"):
        columns.add(report_record(0, 0, 1, [1.0]), 0)
    columns.add(schema_record(0, ("m",), "f"), 0)
    with pytest.raises(ValueError, match="metric names 65535 were never told"):
        columns.add(report_record(65535, 0, 1, [1.0]), 0)
    with pytest.raises(ValueError, match="never told"):
        columns.add(report_record(0, 0, 1, [1.0]), 1)
    with pytest.raises(ValueError, match="schema 3 of source 0 came before schema 1"):
        columns.add(schema_record(3, ("x",), "f"), 0)
    assert columns.blocks()[0][2] == b""


def test_a_damaged_report_adds_no_row() -> None:
    columns = ReportColumns()
    columns.add(schema_record(0, ("m", "x"), "ff"), 0)
    with pytest.raises(ValueError, match="too short for 2 values"):
        columns.add(report_record(0, 0, 1, [1.0]), 0)
    broken = bytearray(report_record(0, 0, 1, [1.0, 2.0], b"abc"))
    struct.pack_into("<I", broken, 40, 10_000)
    with pytest.raises(ValueError, match="longer than the record"):
        columns.add(broken, 0)
    assert column(columns.blocks()[0][2], "i") == []


def test_columns_are_handed_out_once() -> None:
    columns = ReportColumns()
    columns.add(schema_record(0, ("m",), "f") + report_record(0, 1, 1, [2.0]), 0)
    (first,) = columns.blocks()
    columns.add(report_record(0, 2, 5, [3.0], b"{}"), 0)
    (second,) = columns.blocks()
    assert [column(one[2], "i") for one in (first, second)] == [[1], [2]]
    assert [column(one[5][0], "d") for one in (first, second)] == [[2.0], [3.0]]
    assert [one[6] for one in (first, second)] == [{}, {0: b"{}"}]
    assert [column(one[2], "i") for one in columns.blocks()] == [[]]
