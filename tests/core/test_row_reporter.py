"""Trials that report together leave what they would have left one by one: the table, the columns, the judgements, the rungs."""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune import _core
from fasttune._core import Asha, ReportColumns, Reporter, Ring, RowReporter, TrialTable
from rounds import rounds

CONTINUE, STOP, WAIT = 0, 1, 2
FIELDS = ("status", "iteration", "failures", "attempt", "value", "schema", "base_iteration", "pid", "base_total")
PID = 77


class Side:
    """One way of running trials, and all that is folded from what it writes."""

    def __init__(self, trials: int, rule: Asha | None, capacity: int = 1 << 16, **told: Any) -> None:
        self.ring = Ring(bytearray(Ring.nbytes(capacity)), create=True, epoch=0.0)
        self.ring.hold(1000.0)
        self.reporter = Reporter(self.ring, metric="loss", rule=rule, **told)
        self.rule = rule
        self.table, self.unwatched = TrialTable("loss"), TrialTable("loss")
        for table in (self.table, self.unwatched):
            table.apply(_core.encode(_core.KIND_CONFIGS, 0, trials), 0)
        self.columns = ReportColumns()
        self.judged: list[Any] = []
        self.events: list[Any] = []
        self.records: list[Any] = []
        self._names: list[Any] = []
        self.nbytes = 0

    def drain(self) -> None:
        watch = sum(1 << kind for kind in (_core.KIND_START, _core.KIND_REPORT, _core.KIND_END))
        while (view := self.ring.take()) is not None:
            data = bytes(view)
            self.nbytes += len(data)
            self.events += self.table.apply(data, 1, watch)
            self.unwatched.apply(data, 1)
            self.columns.add(data, 1)
            self.judged += _core.judgements(data, self._names, "loss")
            self.records += _core.decode(data)
        self.ring.release()

    def folded(self) -> dict[str, Any]:
        self.drain()
        found = seen_in(self.table)
        assert repr(seen_in(self.unwatched)) == repr(found)  # what nobody watches is folded all at once; NaN is NaN
        return found

    def frames(self) -> list[Any]:
        found = []
        for keys, kinds, trial, step, time, values, _ in self.columns.blocks():
            rows = zip(
                np.frombuffer(trial, np.int32).tolist(),
                np.frombuffer(step, np.int32).tolist(),
                np.frombuffer(time).tolist(),
                *[np.frombuffer(one).tolist() for one in values],
                strict=True,
            )
            found.append((keys, kinds, sorted(rows, key=str)))
        return found


def seen_in(table: TrialTable) -> dict[str, Any]:
    """All that a table says of its trials."""
    numbers = range(len(table))
    return {field: table.export(field).tolist() for field in FIELDS} | {
        "counts": table.counts(),
        "numbers": {status: table.of_status(status) for status in _core.STATUSES},
        "last": [table.last(i) for i in numbers],
        "lasts": [(bytes(trials), [bytes(one) for one in values]) for trials, values in map(table.lasts, range(len(table.schemas)))],
        "rungs": [(table.rung(i), table.strikes(i)) for i in numbers],
        "extremes": [table.extremes(i) for i in numbers],
        "times": [table.times(i)[0] > 0 for i in numbers],
        "stopped": [table.was_stopped(i) for i in numbers],
        "best": (table.best(True), table.best(False)),
        "reports": table.reports,
        "judgements": table.judgements,
    }


def rule_of(told: dict[str, Any] | None) -> Asha | None:
    return None if told is None else Asha(27, 1, 3, told["brackets"], told["maximise"], rank=told["rank"], patience=told["patience"])


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)  # NaN is NaN, and 0.0 is not -0.0


class Together:
    """Rows, with the answers of a loop that goes on with all it is asked about, or stops them."""

    def __init__(self, side: Side, size: int) -> None:
        self.side = side
        self.rows = RowReporter(side.reporter, size, PID)
        self.alive: list[int] = []

    def _until(self, call: Any, n: int) -> None:
        done = call(0)
        while done < n:
            self.side.drain()
            done = call(done)

    def begin(self, first: int, n: int, ask_from: int, said: bool) -> None:
        self.rows.begin(first, n, ask_from)
        self.alive += range(first, first + n)
        if said:
            self._until(self.rows.tell_begun, len(self.rows))

    def report(self, values: list[list[float]], kinds: bytes, answers: dict[int, bool], last: bool) -> list[int]:
        keys = ("loss", "other")[: len(values)]
        decisions = np.zeros(len(self.rows), dtype=np.int8)
        columns = [np.array(column, dtype=np.float64) for column in values]
        self._until(lambda at: self.rows.report(keys, kinds, columns, decisions, at, last), len(self.rows))
        ends = np.array([answers[trial] and d == WAIT for trial, d in zip(self.alive, decisions, strict=True)], dtype=np.int8)
        self._until(lambda at: self.rows.end(ends, at), len(self.rows))
        kept = np.flatnonzero((decisions != STOP) & (ends == 0) & ((decisions != CONTINUE) | (not last)))
        told = decisions.tolist()
        self.rows.keep(kept)
        self.alive = [self.alive[k] for k in kept]
        return told

    def end(self) -> None:
        self._until(lambda at: self.rows.end(np.full(len(self.rows), 2, dtype=np.int8), at), len(self.rows))


class OneByOne:
    """The same by a Reporter, which every trial has for the length of its report."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.alive: list[int] = []
        self.left: dict[int, Any] = {}
        self.ask_from: dict[int, int] = {}
        self.last: dict[int, dict[str, Any]] = {}

    def _write(self, call: Any) -> Any:
        while (got := call()) in (False, _core.FULL) and got is not CONTINUE:
            self.side.drain()
        return got

    def begin(self, first: int, n: int, ask_from: int, said: bool) -> None:
        for trial in range(first, first + n):
            assert self._write(lambda trial=trial: self.side.reporter.begin(trial, ask_from=ask_from, pid=PID)) is True
            self.left[trial], self.ask_from[trial] = self.side.reporter.suspend(), ask_from
        self.alive += range(first, first + n)

    def report(self, values: list[list[float]], kinds: bytes, answers: dict[int, bool], last: bool) -> list[int]:
        of, told, alive = self.side.reporter, [], []
        for row, trial in enumerate(self.alive):
            of.resume(*self.left[trial], self.ask_from[trial])
            kind = {ord("f"): float, ord("i"): int, ord("b"): bool}
            metrics = {
                key: kind[k](column[row]) for key, k, column in zip(("loss", "other"), kinds, values, strict=False)
            }
            code = of.report(metrics)
            while code == _core.FULL:
                self.side.drain()
                code = of.report(metrics)
            told.append(code)
            if code == STOP or (code == WAIT and answers[trial]):
                self._write(lambda: of.end(STOP))
            elif code == CONTINUE and last:
                self._write(of.end)
            else:
                self.last[trial] = metrics
                self.left[trial] = of.suspend()
                alive.append(trial)
        self.alive = alive
        return told

    def end(self) -> None:
        for trial in self.alive:
            self.side.reporter.resume(*self.left[trial], self.ask_from[trial])
            self._write(self.side.reporter.end)


numbers = st.one_of(st.floats(-10, 10), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0]))


@st.composite
def traces(draw: Any) -> dict[str, Any]:
    asks = draw(st.booleans())
    rule = None if asks else draw(
        st.none() | st.fixed_dictionaries({"brackets": st.integers(1, 2), "maximise": st.booleans(), "rank": st.booleans(),
                                           "patience": st.integers(1, 2)})
    )  # fmt: skip
    steps, trial = [], 0
    for _ in range(draw(st.integers(1, 8))):
        n = draw(st.integers(0, 5))
        kinds = draw(st.sampled_from([b"f", b"fi", b"fb", b"ff"]))
        steps.append((n, draw(st.booleans()), kinds, draw(st.randoms(use_true_random=False))))
        trial += n
    return {
        "trials": trial,
        "rule": rule,
        "ask_from": draw(st.sampled_from([0, 2, 3])) if asks else _core.NEVER_ASK,
        "limits": draw(st.sampled_from([{}, {"training_iteration": 3.0}, {"loss": 8.0}])),
        "steps": steps,
        "capacity": draw(st.sampled_from([1 << 12, 1 << 16])),
    }


def told_numbers(random: Any, kinds: bytes, n: int) -> list[list[float]]:
    special = [math.nan, math.inf, -math.inf, 0.0, -0.0]
    make = {
        ord("f"): lambda: random.choice(special) if random.random() < 0.1 else random.uniform(-10, 10),
        ord("i"): lambda: float(random.randint(-5, 5)),
        ord("b"): lambda: float(random.random() < 0.5),
    }
    return [[make[kind]() for _ in range(n)] for kind in kinds]


@settings(max_examples=rounds(1500), deadline=None)
@given(traces())
def test_together_as_one_by_one(trace: dict[str, Any]) -> None:
    sides = [Side(trace["trials"], rule_of(trace["rule"]), trace["capacity"], limits=trace["limits"]) for _ in range(2)]
    together, single = Together(sides[0], max(1, trace["trials"])), OneByOne(sides[1])
    trial = 0
    for now, (n, said, kinds, random) in enumerate(trace["steps"]):
        for side in sides:
            side.ring.hold(1000.0 + now)
        for one in (together, single):
            one.begin(trial, n, trace["ask_from"], said)
        trial += n
        assert together.alive == single.alive
        if not single.alive:
            continue
        values = told_numbers(random, kinds, len(single.alive))
        answers = {one: random.random() < 0.3 for one in range(trace["trials"])}
        last = random.random() < 0.15
        assert together.report(values, kinds, answers, last) == single.report(values, kinds, answers, last)
    for one in (together, single):
        one.end()
    first, second = (side.folded() for side in sides)
    assert same(first, second), (first, second)
    assert same(sides[0].frames(), sides[1].frames())
    by_number = [sorted(side.judged, key=lambda one: one[0]) for side in sides]
    assert same(by_number[0], by_number[1])
    if sides[0].rule is not None and sides[1].rule is not None:
        assert same(sides[0].rule.state()["rungs"], sides[1].rule.state()["rungs"])
    one_event = {(kind, trial, step, flags) for kind, trial, flags, step, *_ in sides[0].events}
    assert one_event == {(kind, trial, step, flags) for kind, trial, flags, step, *_ in sides[1].events}
    assert sorted(r[:2] + r[3:5] for r in sides[0].records if r[0] != _core.KIND_SCHEMA) == sorted(
        r[:2] + r[3:5] for r in sides[1].records if r[0] != _core.KIND_SCHEMA
    )


def small(n: int = 8, **told: Any) -> tuple[Side, RowReporter]:
    side = Side(n, None, **told)
    rows = RowReporter(side.reporter, n, PID)
    rows.begin(0, n)
    return side, rows


def told(rows: RowReporter, *columns: Any, keys: tuple[str, ...] = ("loss",), kinds: bytes = b"f") -> int:
    return rows.report(keys, kinds, list(columns), np.zeros(len(rows), dtype=np.int8))


def test_a_row_is_nine_bytes_where_three_records_are_a_hundred() -> None:
    side, rows = small(4096, capacity=1 << 20)
    told(rows, np.zeros(4096))
    rows.end(np.full(4096, 2, dtype=np.int8))
    side.drain()
    assert side.table.counts()["TERMINATED"] == 4096
    assert side.nbytes < 11 * 4096


@settings(max_examples=rounds(40), deadline=None)
@given(data=st.data())
def test_many_that_do_the_same_are_told_as_each(data: st.DataObject) -> None:
    """Blocks of trials that share a row, and come apart: each record folded as it is, and as the records that it stands for."""
    n = 3000
    ring = Ring(bytearray(Ring.nbytes(1 << 20)), create=True)
    rows = RowReporter(Reporter(ring, metric="loss"), n, PID)
    whole, single = TrialTable("loss"), TrialTable("loss")
    for table in (whole, single):
        table.apply(_core.encode(_core.KIND_CONFIGS, 0, n), 0)
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    begun = 0
    for _ in range(data.draw(st.integers(1, 6))):
        more = data.draw(st.sampled_from([0, 1, 200, 256, 700]))
        rows.begin(begun, more := min(more, n - begun))
        begun += more
        keys = data.draw(st.sampled_from([("loss",), ("loss", "other"), ("other",)]))
        last = data.draw(st.booleans())
        columns = [draw.random(len(rows)) for _ in keys]
        rows.report(keys, b"f" * len(keys), columns, np.zeros(len(rows), dtype=np.int8), 0, last)
        rows.keep(np.empty(0, dtype=np.int64) if last else np.flatnonzero(draw.random(len(rows)) < 0.9))
        fold_both_ways(ring, whole, single)
        assert repr(seen_in(whole)) == repr(seen_in(single))
    if begun:  # one of a block does something else
        again = _core.encode(_core.KIND_REQUEUED, data.draw(st.integers(0, begun - 1)), flags=_core.AGAIN)
        for table in (whole, single):
            table.apply(again, 0)
        assert repr(seen_in(whole)) == repr(seen_in(single))


def fold_both_ways(ring: Ring, whole: TrialTable, single: TrialTable) -> None:
    """What was told, as it is, and as the records that it stands for."""
    while (view := ring.take()) is not None:
        records = bytes(view)
        whole.apply(records, 1)
        for kind, flags, schema, trial, step, time, payload in _core.decode(records):
            header = struct.pack("<IBBHIId", 24 + len(payload), kind, flags, schema, trial, step, time)
            single.apply(header + payload, 1)
    ring.release()


def test_what_does_not_fit_changes_nothing() -> None:
    side, rows = small(4)
    told(rows, np.arange(4.0))
    data = bytes(side.ring.take())
    before = TrialTable("loss")
    before.apply(_core.encode(_core.KIND_CONFIGS, 0, 4), 0)
    before.apply(data, 1)
    with pytest.raises(_core.IllegalTransition):  # they have begun
        before.apply(data, 1)
    assert before.counts()["RUNNING"] == 4
    assert before.reports == 4


@pytest.mark.parametrize("at", range(0, 200, 4))
def test_damage_is_said_or_harmless(at: int) -> None:
    """A word of the record is another one: the table says so, or folds what it then says; it never reads beside it."""
    side, rows = small(6)
    told(rows, np.arange(6.0), np.ones(6), keys=("loss", "other"), kinds=b"ff")
    data = bytearray(side.ring.take())
    if at + 4 > len(data):
        return
    for word in (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\7\0\0\0"):
        damaged = bytes(data[:at] + word + data[at + 4 :])
        table, columns = TrialTable("loss"), ReportColumns()
        table.apply(_core.encode(_core.KIND_CONFIGS, 0, 6), 0)
        unfit: list[Any] = []
        table.apply(damaged, 1, 0, unfit)
        assert sum(table.counts().values()) == 6
        for read in (partial(columns.add, damaged, 1), partial(_core.decode, damaged), partial(_core.judgements, damaged)):
            with suppress(ValueError):
                read()


def test_wrong_columns_are_refused() -> None:
    side, rows = small(3)
    with pytest.raises(ValueError, match="a column of 2 numbers for 3 rows"):
        told(rows, np.zeros(2))
    with pytest.raises(ValueError, match="1 columns for 2 metrics"):
        told(rows, np.zeros(3), keys=("loss", "other"), kinds=b"ff")
    with pytest.raises(ValueError, match="8 bytes"):
        told(rows, np.zeros(3, dtype=np.float32))
    assert side.ring.take() is None


def test_no_row_is_begun_that_is_not_free() -> None:
    _, rows = small(3)
    with pytest.raises(ValueError, match="0 rows are free"):
        rows.begin(3, 1)
    with pytest.raises(ValueError, match="all 3 rows are taken"):
        rows.begin_again(3)
    with pytest.raises(ValueError, match="rows must grow"):
        rows.keep(np.array([1, 1]))
    with pytest.raises(IndexError):
        rows.ask_stop(3)


def test_a_row_that_is_told_to_stop_ends_with_its_next_report() -> None:
    side, rows = small(3)
    rows.ask_stop(1)
    decisions = np.zeros(3, dtype=np.int8)
    assert rows.report(("loss",), b"f", [np.zeros(3)], decisions) == 3
    assert decisions.tolist() == [0, 1, 0]
    side.drain()
    assert [side.table.status(i) for i in range(3)] == ["RUNNING", "TERMINATED", "RUNNING"]


def test_a_report_without_the_metric_is_refused() -> None:
    side, rows = small(2, strict=True)
    assert told(rows, np.zeros(2), keys=("other",)) == _core.MISSING
    side.drain()
    assert side.table.reports == 0


def test_trials_that_begin_again_come_with_their_steps() -> None:
    side, rows = small(4)
    rows.keep(np.array([], dtype=np.int64))
    assert rows.begin_again(3, iteration=5, base_total=2.5)
    assert rows.begin_again(1)
    rows.begin(0, 1)
    assert told(rows, np.array([1.0, 2.0, 3.0])) == 3
    side.drain()
    assert [side.table.iteration(i) for i in range(4)] == [1, 1, 0, 6]
    assert side.table.times(3)[4] == 2.5
    assert np.frombuffer(rows.numbers("trial"), np.uint32).tolist() == [3, 1, 0]
    assert rows.told(0) == (3, 6)


def test_a_paused_row_goes_on_with_what_it_had() -> None:
    """In its place or as the last row: steps, and the time that was its own."""
    side, rows = small(3)
    assert told(rows, np.zeros(3)) == 3
    life = rows.life(1)
    for trial in (0, 1):
        assert side.ring.write(_core.KIND_PAUSED, trial, 1)
    rows.keep(np.array([0, 2]))
    side.drain()
    assert [side.table.status(i) for i in range(3)] == ["PAUSED", "PAUSED", "RUNNING"]
    side.ring.hold(1010.0)
    assert rows.go_on(0, 10.0, 7)
    assert rows.put_back(life, 10.0, 2)
    assert np.frombuffer(rows.numbers("trial"), np.uint32).tolist() == [0, 2, 1]
    assert np.frombuffer(rows.numbers("step"), np.uint32).tolist() == [1, 1, 1]
    decisions = np.zeros(3, dtype=np.int8)
    assert rows.report(("loss",), b"f", [np.zeros(3)], decisions) == 3
    assert decisions.tolist() == [CONTINUE, CONTINUE, WAIT]  # the last one is asked about from its second report on
    side.drain()
    assert [side.table.status(i) for i in range(3)] == ["RUNNING"] * 3
    assert [side.table.iteration(i) for i in range(3)] == [2, 2, 2]
    assert [kind for kind, *_ in side.records if kind in (_core.KIND_PAUSED, _core.KIND_RESUMED)] == [
        _core.KIND_PAUSED, _core.KIND_PAUSED, _core.KIND_RESUMED, _core.KIND_RESUMED,
    ]  # fmt: skip


def test_what_cannot_go_on_is_refused() -> None:
    _, rows = small(2)
    with pytest.raises(ValueError, match="all 2 rows are taken"):
        rows.put_back(rows.life(0), 0.0, 0)
    rows.keep(np.array([0]))
    with pytest.raises(ValueError, match=r"a row's life has .* bytes, got 3"):
        rows.put_back(b"abc", 0.0, 0)
    with pytest.raises(IndexError, match="row 1 of 1"):
        rows.life(1)
    with pytest.raises(IndexError, match="row 1 of 1"):
        rows.go_on(1, 0.0, 0)
