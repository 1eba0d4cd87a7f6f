"""The table folds records as a list of rows would, refuses what cannot be, and survives damaged bytes."""

from __future__ import annotations

import math
import struct
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune import _core
from fasttune._core import IllegalTransition, TrialTable, encode
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model import HEADER, JUDGED, LEGAL, OF_AN_ATTEMPT, OF_THE_RUN, SlowTable, may_say, report_record, schema_record

TRIALS = 5
NAMES = [("m",), ("loss", "m"), ("a", "b", "c"), ()]
FOLDED = [kind for kind, _ in LEGAL]


Told = tuple[int, bytes]  # a record, and the ring that it comes from; 0: the run itself


def names() -> bytes:
    return b"".join([schema_record(k, keys, "f" * len(keys)) for k, keys in enumerate(NAMES)])


def told() -> bytes:
    """The trials and the names of their metrics."""
    return encode(_core.KIND_CONFIGS, 0, TRIALS, b"\0" * 8) + names()


def told_everywhere() -> list[Told]:
    """Likewise, the names in the rings, too, that ``records`` come from."""
    return [(0, told()), (3, names()), (4, names())]


def same(left: Any, right: Any) -> bool:
    return repr(left) == repr(right)


def check(table: TrialTable, slow: SlowTable) -> None:
    assert len(table) == len(slow.rows)
    assert table.counts() == slow.count(_core.STATUSES)
    for i, row in enumerate(slow.rows):
        assert (table.status(i), table.iteration(i), table.failures(i)) == (
            row.status,
            row.iteration,
            row.failures,
        )
        assert (table.attempt(i), table.rung(i)) == (row.attempt, row.rung)
        assert same(table.value(i), row.value)
        last = table.last(i)
        assert same(None if last is None else (table.schemas[last[0]].keys, *last[1:]), row.last)
    for status in _core.STATUSES:
        assert table.of_status(status) == [i for i, row in enumerate(slow.rows) if row.status == status]


@st.composite
def records(draw: st.DrawFn) -> Told:
    """A record, mostly of who writes such."""
    record = draw(single_records())
    usual = [0] if record[4] in OF_THE_RUN else [3, 3, 4]
    return draw(st.sampled_from(usual * 4 + [0, 3, 4])), record


@st.composite
def single_records(draw: st.DrawFn) -> bytes:
    kind, trial, step = (
        draw(st.sampled_from(FOLDED)),
        draw(st.integers(0, TRIALS - 1)),
        draw(st.integers(0, 50)),
    )
    if kind == _core.KIND_REPORT:
        schema = draw(st.integers(0, len(NAMES) - 1))
        values = [draw(st.floats()) for _ in NAMES[schema]]
        return report_record(schema, trial, step, values, draw(st.none() | st.binary(max_size=20)))
    if kind == _core.KIND_START:
        return encode(kind, trial, step, struct.pack("<IId", 77, draw(st.sampled_from([0, 0, 0, 1, 2])), 2.5), 0, 50.0)
    if kind == _core.KIND_END and draw(st.booleans()):
        return encode(kind, trial, step, struct.pack("<dQ", 1.0, 9 << 8 | draw(st.integers(0, 3))), JUDGED)
    return encode(kind, trial, step, b"text" if kind == _core.KIND_ERROR else b"", draw(st.integers(0, 1)))


@given(trace=st.lists(records(), max_size=60))
@settings(max_examples=rounds(300), deadline=None)
def test_folding_is_what_the_slow_table_does(trace: list[Told]) -> None:
    table, slow = TrialTable("m"), SlowTable("m")
    for source, record in told_everywhere():
        table.apply(record, source)
        slow.apply(record, source)
    for source, record in trace:
        try:
            slow.apply(record, source)
        except ValueError as error:
            with pytest.raises(type(error)) as raised:
                table.apply(record, source)
            found = raised.value
            assert (type(found), vars(found)) == (type(error), vars(error))  # noqa: PT017 - the slow table's is expected
        else:
            table.apply(record, source)
        check(table, slow)


MOVES = st.one_of(
    records(),
    st.tuples(st.just("show"), st.integers(0, TRIALS - 1), st.none() | st.sampled_from(_core.STATUSES)),
    st.tuples(st.just("more"), st.sampled_from([1, 70])),
)


@given(trace=st.lists(MOVES, max_size=60))
@settings(max_examples=rounds(300), deadline=None)
def test_trials_are_shown_where_somebody_said_whatever_becomes_of_them(trace: list[Any]) -> None:
    table, slow = TrialTable("m"), SlowTable("m")
    for source, record in told_everywhere():
        table.apply(record, source)
        slow.apply(record, source)
    shown: dict[int, str] = {}
    for move in trace:
        if move[0] == "show":
            _, trial, status = move
            table.show(trial, status)
            shown.pop(trial, None)
            shown.update({trial: status} if status is not None else {})
        else:
            source, record = (0, encode(_core.KIND_CONFIGS, len(table), move[1], b"\0" * 8)) if move[0] == "more" else move
            with suppress(ValueError):
                slow.apply(record, source)
                table.apply(record, source)
        expected = [shown.get(i, row.status) for i, row in enumerate(slow.rows)]
        for status in _core.STATUSES:
            found = [i for i, one in enumerate(expected) if one == status]
            assert table.shown_in(status) == found
            assert table.shown_in(status, 2) == found[:2]
        check(table, slow)


def test_only_a_trial_that_there_is_can_be_shown_and_in_a_status_that_there_is() -> None:
    table = TrialTable("m")
    table.apply(told(), 0)
    table.show(TRIALS - 1, None)
    with pytest.raises(IndexError, match=f"trial {TRIALS} of {TRIALS}"):
        table.show(TRIALS, "RUNNING")
    with pytest.raises(ValueError, match="not in tuple"):
        table.show(0, "SLEEPING")
    assert table.shown_in("PENDING") == list(range(TRIALS))


@given(trace=st.lists(records(), max_size=40), cuts=st.lists(st.integers(0, 40), max_size=5))
@settings(max_examples=rounds(1000), deadline=None)
def test_in_what_pieces_records_come_does_not_matter(trace: list[Told], cuts: list[int]) -> None:
    slow, table = SlowTable("m"), TrialTable("m")
    for source, record in told_everywhere():
        slow.apply(record, source)
        table.apply(record, source)
    legal = []
    for _, record in trace:
        with suppress(ValueError):
            slow.apply(record, 0)
            legal.append(record)
    pieces = [0, *sorted(cut for cut in cuts if cut <= len(legal)), len(legal)]
    for first, last in pairwise(pieces):
        table.apply(b"".join(legal[first:last]), 0)
    check(table, slow)


def test_sources_number_their_names_apart() -> None:
    table = TrialTable("m")
    table.apply(encode(_core.KIND_CONFIGS, 0, 2), 0)
    for source, keys, trial in ((1, ("m", "x"), 0), (2, ("x", "m"), 1)):
        table.apply(schema_record(0, keys, "ff") + encode(_core.KIND_START, trial), source)
        table.apply(report_record(0, trial, 1, [1.0, 2.0]), source)
    assert [table.value(0), table.value(1)] == [1.0, 2.0]
    table.apply(encode(_core.KIND_END, 0), 1)
    with pytest.raises(ValueError, match="is TERMINATED"):
        table.apply(encode(_core.KIND_REQUEUED, 0), 0)
    table.apply(encode(_core.KIND_ERROR, 1), 2)
    table.apply(encode(_core.KIND_REQUEUED, 1), 0)
    table.apply(encode(_core.KIND_START, 1), 3)
    table.apply(schema_record(0, ("m", "x"), "ff") + report_record(0, 1, 1, [7.0, 0.0]), 3)
    assert len(table.schemas) == 2  # the same names are the same schema, whoever tells them
    assert table.value(1) == 7.0
    with pytest.raises(ValueError, match="trial 1 runs in ring 3, not in 2"):
        table.apply(report_record(0, 1, 2, [8.0, 0.0]), 2)
    assert table.iteration(1) == 1


def test_a_record_that_does_not_fit_is_left_out_and_costs_no_other() -> None:
    table = TrialTable("m")
    table.apply(encode(_core.KIND_CONFIGS, 0, 3), 0)
    good = [
        schema_record(0, ("m",), "f"),
        *[encode(_core.KIND_START, i) for i in range(3)],
        *[report_record(0, i, k, [float(k)]) for k in (1, 2) for i in range(3)],
        encode(_core.KIND_END, 0),
    ]
    bad = [
        report_record(0, 7, 1, [0.0]),  # no such trial
        report_record(9, 1, 1, [0.0]),  # no such names
        encode(_core.KIND_START, 1),  # it runs already
        encode(_core.KIND_CONFIGS, 3, 1),  # for the run to write
        encode(_core.KIND_SCHEMA, payload=b"no JSON"),
        encode(31),
    ]
    data = b"".join(good[:-1])
    for record in bad:
        data += record + report_record(0, 2, 3, [3.0])
    data += good[-1] + report_record(0, 0, 3, [9.0])  # the last one is of a trial that is over
    unfit: list[tuple[int, int, int, str]] = []
    table.apply(data, 1, 0, unfit)
    assert [data[at : at + size] for at, size, _, _ in unfit] == [*bad, report_record(0, 0, 3, [9.0])]
    assert [trial for _, _, trial, _ in unfit] == [7, 1, 1, -1, -1, -1, 0]
    assert [table.status(i) for i in range(3)] == ["TERMINATED", "RUNNING", "RUNNING"]
    assert table.reports == 6 + len(bad)
    cut: list[tuple[int, int, int, str]] = []
    table.apply(report_record(0, 1, 3, [3.0]) + report_record(0, 1, 4, [4.0])[:20], 1, 0, cut)
    assert [(at, size, trial) for at, size, trial, _ in cut] == [(32, 20, -1)]
    assert table.iteration(1) == 3
    announced: list[tuple[int, int, int, str]] = []
    more = [encode(_core.KIND_CONFIGS, 99, 3), encode(_core.KIND_CONFIGS, 3, 20_000_000)]  # out of order; more than it holds
    table.apply(b"".join(more), 0, 0, announced)
    assert len(announced) == 2
    assert len(table) == 3


def begun(trial: int, changes: int = 0, step: int = 0) -> bytes:
    return encode(_core.KIND_START, trial, step, struct.pack("<IId", 1, changes, 0.0))


def said(kind: int, trial: int) -> bytes:
    """A record that would fit if it came from who may say it."""
    return report_record(0, trial, 9, [9.0]) if kind == _core.KIND_REPORT else encode(kind, trial, 9, b"a/b\0\0\0\0\0")


# how trial 0, which ring 3 had begun, is by now: what the run and other rings have told since
SINCE: dict[str, list[Told]] = {
    "it waits": [(0, encode(_core.KIND_ERROR, 0)), (0, encode(_core.KIND_REQUEUED, 0))],
    "it runs elsewhere": [(0, encode(_core.KIND_ERROR, 0)), (0, encode(_core.KIND_REQUEUED, 0)), (4, begun(0, 1))],
    "it is paused elsewhere": [
        (0, encode(_core.KIND_REQUEUED, 0)), (4, begun(0, 1)), (4, encode(_core.KIND_PAUSED, 0)),
    ],
    "it has ended": [(3, encode(_core.KIND_END, 0))],
    "it has ended elsewhere": [(0, encode(_core.KIND_REQUEUED, 0)), (4, begun(0, 1)), (4, encode(_core.KIND_END, 0))],
    "it was ended while it was paused": [(3, encode(_core.KIND_PAUSED, 0)), (0, encode(_core.KIND_END, 0))],
    "it has failed": [(3, encode(_core.KIND_ERROR, 0))],
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted({*OF_AN_ATTEMPT, _core.KIND_START}))
@pytest.mark.parametrize("since", SINCE)
def test_what_a_ring_says_of_an_attempt_that_is_over_does_not_fit(since: str, kind: int) -> None:
    """A worker was given up and goes on writing, or writes what it wrote before."""
    table = TrialTable("m")
    table.apply(encode(_core.KIND_CONFIGS, 0, 2), 0)
    table.apply(names() + begun(0) + report_record(0, 0, 1, [1.0]), 3)
    for source, record in SINCE[since]:
        table.apply(record, source)
    before = [(table.status(i), table.iteration(i), table.attempt(i), table.source(i)) for i in range(2)]
    late = begun(0) if kind == _core.KIND_START else said(kind, 0)
    unfit: list[tuple[int, int, int, str]] = []
    events = table.apply(late, 3, 1 << kind, unfit)
    counts = kind != _core.KIND_START and may_say(3, kind, table.status(0), table.source(0))
    assert counts == (kind == _core.KIND_CHECKPOINT and since in ("it has ended", "it was ended while it was paused"))
    assert (len(unfit), len(events)) == ((0, 1) if counts else (1, 0))
    assert [(table.status(i), table.iteration(i), table.attempt(i), table.source(i)) for i in range(2)] == before


@pytest.mark.parametrize("kind", sorted(OF_THE_RUN))
@pytest.mark.parametrize("began", [True, False])
def test_what_the_run_alone_writes_does_not_fit_when_a_ring_says_it(kind: int, began: bool) -> None:
    table = TrialTable("m")
    table.apply(encode(_core.KIND_CONFIGS, 0, 1), 0)
    if began:
        table.apply(begun(0), 3)
    trial, step = {_core.KIND_CONFIGS: (1, 1), _core.KIND_CONFIG: (1, 0)}.get(kind, (0, 0))
    record = encode(kind, trial, step, b"{}" + b" " * 62)
    unfit: list[tuple[int, int, int, str]] = []
    asked: list[Any] = []
    assert table.apply(record, 3, (1 << 64) - 1, unfit, False, lambda *told: asked.append(told)) == []
    assert [why for *_, why in unfit] == [f"damaged record before byte {len(record)}: one of kind {kind} is the run's to write, "
                                          "and came from ring 3"]
    assert not asked
    assert (len(table), table.status(0), table.changes(0)) == (1, "RUNNING" if began else "PENDING", 0)


def test_what_began_on_lost_records_does_not_fit_when_it_is_recovered() -> None:
    """A ring whose journal has lost its end: START says how often its trial had been changed."""
    table = TrialTable("m")
    table.apply(encode(_core.KIND_CONFIGS, 0, 1), 0)
    unfit: list[tuple[int, int, int, str]] = []
    table.apply(begun(0, 1), 1, 0, unfit, True)
    assert [why for *_, why in unfit] == ["trial 0 began on what is not in the journal"]
    table.apply(begun(0) + encode(_core.KIND_ERROR, 0), 1)
    table.apply(encode(_core.KIND_REQUEUED, 0), 0)
    assert table.changes(0) == 1
    table.apply(begun(0, 1), 2, 0, None, True)
    assert table.status(0) == "RUNNING"


def test_what_goes_on_from_a_record_that_does_not_fit_is_left_out_with_it() -> None:
    """In one ring: an attempt of which the journal knows, then one that began on what it has lost, then another trial."""
    table = TrialTable("m")
    table.apply(encode(_core.KIND_CONFIGS, 0, 2), 0)
    table.apply(schema_record(0, ("m",), "f") + begun(0, 0) + report_record(0, 0, 1, [1.0]), 1)
    lost = [begun(0, 1, 6), report_record(0, 0, 7, [7.0]), encode(_core.KIND_PAUSED, 0, 7), encode(_core.KIND_END, 0, 7)]
    unfit: list[tuple[int, int, int, str]] = []
    more = begun(1, 0) + report_record(0, 1, 1, [2.0])
    data = report_record(0, 0, 2, [1.0]) + b"".join(lost) + more
    table.apply(data, 1, 0, unfit, True)
    assert [data[at : at + size] for at, size, _, _ in unfit] == lost
    assert [(table.status(i), table.iteration(i)) for i in (0, 1)] == [("RUNNING", 2), ("RUNNING", 1)]

    # Where it begins again on what is known, it is shown again.
    table.apply(encode(_core.KIND_REQUEUED, 0), 0)
    table.apply(begun(0, 1, 2) + report_record(0, 0, 3, [3.0]), 1, 0, None, True)
    assert (table.status(0), table.iteration(0)) == ("RUNNING", 3)


def test_a_paused_trial_does_not_begin_behind_what_is_known_of_it() -> None:
    table = TrialTable("m")
    table.apply(encode(_core.KIND_CONFIGS, 0, 1), 0)
    begun = encode(_core.KIND_START, 0, 0, struct.pack("<IId", 1, 0, 0.0))
    table.apply(schema_record(0, ("m",), "f") + begun + report_record(0, 0, 1, [1.0]) + encode(_core.KIND_PAUSED, 0, 1), 1)
    unfit: list[tuple[int, int, int, str]] = []
    ahead = encode(_core.KIND_START, 0, 4, struct.pack("<IId", 1, 0, 0.0))
    table.apply(schema_record(0, ("m",), "f") + ahead + report_record(0, 0, 5, [5.0]), 2, 0, unfit, True)
    assert [why for *_, why in unfit] == [
        "trial 0 began at step 4, but only 1 are known",
        "it goes on from a record of trial 0 that does not fit",
    ]
    table.apply(encode(_core.KIND_START, 0, 1, struct.pack("<IId", 1, 0, 0.0)), 2, 0, None, True)
    assert table.status(0) == "RUNNING"


def test_names_that_alternate_need_no_more_room() -> None:
    """A trial that reports two sets of names in turn keeps one place for its last values."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    table = TrialTable("m")
    wide = tuple(f"k{j}" for j in range(200))
    table.apply(encode(_core.KIND_CONFIGS, 0, 1) + encode(_core.KIND_START), 0)
    table.apply(schema_record(0, ("m",), "f") + schema_record(1, wide, "f" * 200), 0)
    pair = report_record(0, 0, 1, [1.0]) + report_record(1, 0, 2, [2.0] * 200)
    pairs = pair * 100
    table.apply(pairs, 0)
    before = resident()
    for _ in range(200):
        table.apply(pairs, 0)  # 32 MB if each took a place of its own
    assert resident() - before < 16_000_000
    assert table.last(0)[1] == (2.0,) * 200


def test_what_is_watched_and_what_is_always_told() -> None:
    table = TrialTable("m")
    data = told() + b"".join([
        encode(_core.KIND_START, 0),
        report_record(0, 0, 1, [1.0]),
        encode(_core.KIND_CHECKPOINT, 0, 1, b"checkpoint_000000"),
        encode(_core.KIND_ERROR, 0, 1, "Fehler: \u00e4".encode()),
        encode(_core.KIND_REQUEUED, 0, 1, b""),
        encode(_core.KIND_END, 1),
    ])  # fmt: skip
    assert [event[0] for event in TrialTable("m").apply(data, 0)] == [
        _core.KIND_CONFIGS, _core.KIND_CHECKPOINT, _core.KIND_ERROR, _core.KIND_REQUEUED,
    ]  # fmt: skip
    events = table.apply(data, 0, 1 << _core.KIND_REPORT | 1 << _core.KIND_END | 1 << _core.KIND_START)
    assert [event[0] for event in events] == [10, 1, 2, 7, 5, 12, 4]
    assert events[2] == (_core.KIND_REPORT, 0, 0, 1, 101.0, (0, (1.0,), None))
    assert [event[5] for event in events[3:5]] == ["checkpoint_000000", "Fehler: \u00e4"]


def test_columns_of_the_table() -> None:
    table = TrialTable("m")
    table.apply(told(), 0)
    table.apply(encode(_core.KIND_START, 1, 4, struct.pack("<IId", 9, 0, 7.0), 0, 100.0), 0)
    table.apply(report_record(1, 1, 5, [0.5, 3.0]), 0)
    table.apply(encode(_core.KIND_END, 1, 5, b"", _core.STOP, 111.0), 0)
    assert table.export("status").tolist() == [0, 3, 0, 0, 0]
    assert table.export("iteration").tolist() == [0, 5, 0, 0, 0]
    assert table.export("attempt", 1, 2).tolist() == [1, 0]
    assert table.export("started", 1, 1).tolist() == [100.0]
    assert table.export("ended", 1, 1).tolist() == [111.0]
    assert table.export("total", 1, 1).tolist() == [12.0]
    assert table.export("failures").tolist() == [0] * 5
    assert same(table.export("value").tolist(), [math.nan, 3.0, math.nan, math.nan, math.nan])
    assert table.times(1) == (100.0, 111.0, 105.0, 100.0, 7.0, 4)
    assert (table.pid(1), table.source(1), table.was_stopped(1), table.finished) == (9, 0, True, 1)
    with pytest.raises(ValueError, match="unknown column 'speed'"):
        table.export("speed")
    for first, n in ((0, 6), (-1, 1), (6, 0)):
        with pytest.raises(IndexError):
            table.export("status", first, n)
    for i in (-1, 5, 2**40):
        with pytest.raises(IndexError, match=f"trial {i} of 5"):
            table.status(i)
    assert table.of_status("PENDING", 2) == [0, 2]
    assert table.of_status("PENDING", -1, 3) == [3, 4]
    assert table.of_status("PENDING", -1, -3) == [0, 2, 3, 4]
    assert table.of_status("PENDING", 0) == []


@given(values=st.lists(st.floats(), max_size=5), maximise=st.booleans())
def test_best_is_the_first_of_the_finite_ones(values: list[float], maximise: bool) -> None:
    table = TrialTable("m")
    table.apply(told(), 0)
    for i, value in enumerate(values):
        table.apply(encode(_core.KIND_START, i) + report_record(0, i, 1, [value]), 0)
    finite = [(value if maximise else -value, -i) for i, value in enumerate(values) if math.isfinite(value)]
    assert table.best(maximise) == (-max(finite)[1] if finite else -1)


# -- damage ------------------------------------------------------------------------------------------------


def damaged_examples() -> list[tuple[bytes, bytes]]:
    """(whole records before, the last record)."""
    before = told() + encode(_core.KIND_START, 0) + report_record(1, 0, 1, [1.0, 2.0])
    judged = bytearray(report_record(0, 0, 2, [1.0, 2.0])[:40])
    struct.pack_into("<I", judged, 0, 40)
    judged[5] |= JUDGED
    ends = encode(_core.KIND_END, 0, 1, struct.pack("<dQ", 1.0, 1 << 8), JUDGED)
    return [
        (before, report_record(1, 0, 2, [3.0, 4.0])),
        (before, report_record(0, 0, 2, [3.0], b'{"text":"abc"}')),
        (before, bytes(judged)),
        (before, ends),
        (before, encode(_core.KIND_ERROR, 0, 2, b"Traceback")),
        (before, encode(_core.KIND_CHECKPOINT, 0, 2, b"checkpoint_000001")),
        (before, encode(_core.KIND_START, 1, 0, struct.pack("<IId", 1, 0, 0.0))),
        (before, schema_record(4, ("n\u00e4me", "x"), "fi")),
        (before, encode(_core.KIND_CONFIG, TRIALS, 0, b'{"config":{}}')),
    ]


def names_its_place(data: bytes) -> bool:
    """True if the data can be folded, or is refused with the byte or the trial that is wrong."""
    try:
        TrialTable("m").apply(data, 0)
    except IllegalTransition:
        return True
    except ValueError as error:
        return "byte" in str(error)
    return True


@pytest.mark.parametrize("example", range(9))
def test_flipped_bytes_never_do_more_than_raise(example: int) -> None:
    before, record = damaged_examples()[example]
    for at in range(len(record)):
        for bits in (0x01, 0x08, 0x10, 0x80, 0xFF):
            broken = bytearray(record)
            broken[at] ^= bits
            if broken[4] == _core.KIND_CONFIGS:
                continue  # their number is the record's: any number of trials is as good as another
            assert names_its_place(before + bytes(broken))
            for fold in (lambda data: _core.ReportColumns().add(data, 0), _core.judgements):
                with suppress(ValueError):
                    fold(before + bytes(broken))


@pytest.mark.parametrize("example", range(9))
def test_truncated_records_raise_with_their_place(example: int) -> None:
    before, record = damaged_examples()[example]
    for cut in range(1, len(record)):
        table = TrialTable("m")
        with pytest.raises(ValueError, match=f"damaged record at byte {len(before)} of {len(before) + cut}"):
            table.apply(before + record[:cut], 0)
        assert (table.status(0), table.iteration(0)) == ("RUNNING", 1)  # everything before it was folded
        for size in range(24, len(record), 8):
            if size == cut:
                shorter = struct.pack("<I", size) + record[4:size]
                assert names_its_place(before + shorter)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (report_record(9, 0, 1, []), "metric names 9 were never told"),
        (report_record(1, 0, 1, [1.0]), "too short for 2 values"),
        (report_record(0, 7, 1, [1.0]), "trial 7 of 5"),
        (report_record(0, 2**32 - 1, 1, [1.0]), "trial 4294967295 of 5"),
        (encode(_core.KIND_CHECKPOINT, 5, 1, b"x"), "trial 5 of 5"),
        (encode(_core.KIND_CONFIGS, 3, 4), "configs of trials from 3 on came when there were 5"),
        (encode(_core.KIND_CONFIG, 6), "config of trial 6 came when there were 5"),
        (encode(99), "there is no kind 99"),
        (encode(_core.KIND_RUN), "there is no kind 32"),
        (schema_record(6, ("a",), "f"), "schema 6 of source 0 came before schema 4"),
        (schema_record(4, ("a",), "ff"), "tells no names"),
        (schema_record(4, ("a",), "x"), "tells no names"),
        (encode(_core.KIND_SCHEMA, payload=b'{"keys":[["a"]],"kinds":"f"}'), "tells no names"),
        (encode(_core.KIND_SCHEMA, payload=b"[]"), "tells no names"),
        (encode(_core.KIND_SCHEMA, payload=b"\xff\xfe"), "tells no names"),
    ],
)
def test_records_that_cannot_be_are_named(record: bytes, message: str) -> None:
    table = TrialTable("m")
    table.apply(told() + encode(_core.KIND_START, 0), 0)
    counts = table.counts()
    with pytest.raises(ValueError, match=message):
        table.apply(record, 0)
    assert (table.counts(), table.last(0)) == (counts, None)


def test_a_damaged_report_changes_nothing() -> None:
    good = report_record(0, 0, 2, [9.0], b"text")
    for at, value in ((32, 1000), (32, 2**32 - 1), (0, 32)):
        broken = bytearray(good)
        struct.pack_into("<I", broken, at, value)
        table = TrialTable("m")
        table.apply(told() + encode(_core.KIND_START, 0) + report_record(0, 0, 1, [1.0]), 0)
        with pytest.raises(ValueError, match="longer than the record"):
            table.apply(bytes(broken[: HEADER.unpack_from(broken)[0]]), 0)
        assert (table.iteration(0), table.value(0), table.reports) == (1, 1.0, 1)


def test_columns_of_the_last_reports() -> None:
    table = TrialTable("m")
    table.apply(told(), 0)
    for trial, record in ((1, report_record(1, 1, 5, [0.5, 3.0])), (3, report_record(1, 3, 5, [0.25, 4.0], b'{"a": 1}'))):
        table.apply(encode(_core.KIND_START, trial, 4, struct.pack("<IId", 9, 0, 7.0), 0, 100.0), 0)
        table.apply(record, 0)
    table.apply(encode(_core.KIND_START, 4, 0, struct.pack("<IId", 8, 0, 0.0), 0, 101.0), 0)
    trials, columns = table.lasts(1)
    assert memoryview(trials).cast("i").tolist() == [1, 3]
    assert [memoryview(column).cast("d").tolist() for column in columns] == [[0.5, 0.25], [3.0, 4.0]]
    assert table.lasts(0) == (bytearray(), [bytearray()])
    assert table.with_extras() == [3]
    assert table.export("schema").tolist() == [-1, 1, -1, 1, -1]
    with pytest.raises(ValueError, match="unknown column 'rung'"):
        table.export("rung")  # type: ignore[arg-type]


@given(trace=st.lists(records(), max_size=60))
@settings(max_examples=rounds(100), deadline=None)
def test_exported_fields_are_those_of_each_trial(trace: list[Told]) -> None:
    table = TrialTable("m")
    for source, record in [*told_everywhere(), *trace]:
        table.apply(record, source, unfit=[])
    fields = ("iteration", "began", "time", "previous", "base_total", "base_iteration", "pid")
    columns = [table.export(name).tolist() for name in fields]  # type: ignore[arg-type]
    assert same([*zip(*columns, strict=True)], [table.reported(i) for i in range(TRIALS)])
    assert table.export("time", 2, 2).tolist() == columns[2][2:4]
    assert table.export("schema").tolist() == [-1 if table.last(i) is None else table.last(i)[0] for i in range(TRIALS)]
    for schema in range(len(table.schemas)):
        trials, _ = table.lasts(schema)
        shown = [i for i in range(TRIALS) if table.last(i) is not None and table.last(i)[0] == schema]
        assert memoryview(trials).cast("i").tolist() == shown
