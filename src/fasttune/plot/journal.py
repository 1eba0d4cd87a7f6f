"""What pictures read out of a journal's records: who ran when, who waited, who was judged, when a run was ended.

Each function takes the entries of a journal, (source, position, bytes), and goes through them once.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Any

from fasttune import _core
from fasttune.engine.facts import ONE_TRIAL

Entries = Iterable[tuple[int, int, Any]]
Row = tuple[int, int, float, float]  # trial, lane, start, end

BEGINS = (_core.KIND_START, _core.KIND_RESUMED)
ENDS = (_core.KIND_END, _core.KIND_ERROR, _core.KIND_PAUSED, _core.KIND_REQUEUED, _core.KIND_CHANGED)


def _told(entries: Entries, *kinds: int) -> Iterable[tuple[int, tuple[Any, ...]]]:
    """(source, record) of all records of these kinds; records that do not fit are left out, as everywhere."""
    table = _core.TrialTable(None)
    watch = sum(1 << kind for kind in kinds)
    for source, _, data in entries:
        for record in table.apply(data, source, watch, [], True):
            if record[0] in kinds:
                yield source, record


def stretches(entries: Entries, now: float) -> list[Row]:
    """When trials ran, by their beginnings; a lane is a source of records. One that has not ended is drawn to ``now`` at least;
    one that a later session took up again, to the end of its own: the last that is told of that."""
    lanes: dict[int, int] = {}
    began: dict[int, tuple[float, int]] = {}
    rows: list[Row] = []
    before = 0.0  # the latest time of a record that is no REQUEUED, which later sessions begin with
    for source, (kind, trial, _, _, time, *_) in _told(entries, *BEGINS, *ENDS, _core.KIND_DECISION):
        now = max(now, time)
        if kind != _core.KIND_DECISION and trial in began:
            since, lane = began.pop(trial)
            rows.append((trial, lane, since, max(before if kind == _core.KIND_REQUEUED else time, since)))
        before = max(before, time) if kind != _core.KIND_REQUEUED else before
        if kind in BEGINS:
            began[trial] = time, lanes.setdefault(source, len(lanes))
    rows += [(trial, lane, since, max(now, since)) for trial, (since, lane) in began.items()]
    return sorted(rows, key=lambda row: row[2])


def side_by_side(rows: list[Row]) -> list[Row]:
    """Rows by start, with lanes numbered anew so that no two rows of a lane overlap.

    A worker process runs one trial at a time. What has one lane for several trials at once, as a simulation, gets more.
    """
    free_from: dict[int, list[tuple[float, int]]] = {}  # lane -> (end, number) of its numbers, the earliest end first
    numbers, made = 0, []
    for trial, lane, start, end in rows:
        heap = free_from.setdefault(lane, [])
        if heap and heap[0][0] <= start:
            number = heappop(heap)[1]
        else:
            number, numbers = numbers, numbers + 1
        heappush(heap, (end, number))
        made.append((trial, number, start, end))
    return made


def first_pauses(entries: Entries) -> dict[int, int]:
    """Trial -> the step at which it was first left waiting by the scheduler."""
    found: dict[int, int] = {}
    for _, (_, trial, _, step, *_) in _told(entries, _core.KIND_PAUSED):
        found.setdefault(trial, step)
    return found


def first_judgements(entries: Entries) -> dict[int, int]:
    """Trial -> the number of the lowest rung at which a compiled rule judged it."""
    found: dict[int, int] = {}
    names: dict[int, list[Any]] = {}
    for source, _, data in entries:
        for _, trial, rung, *_ in _core.judgements(data, names.setdefault(source, [])):
            found[trial] = min(rung, found.get(trial, rung))
    return found


def ends(entries: Entries) -> tuple[list[float], set[int]]:
    """(unix times at which sessions of a run were ended from outside, trials that alone were ended so)."""
    moments: list[float] = []
    alone: set[int] = set()
    for _, (_, trial, flags, _, time, *_) in _told(entries, _core.KIND_DECISION):
        if flags & ONE_TRIAL:
            alone.add(trial)
        else:
            moments.append(time)
    return moments, alone
