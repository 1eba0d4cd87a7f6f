"""What an experiment must show, in plain lines: a list of what has happened, and its fold into a row per trial."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fasttune import _core

sys.path.insert(0, str(Path(__file__).parents[1]))
from model import LEGAL, may_say

OF_A_TRIAL = {kind for kind, _ in LEGAL} | {
    _core.KIND_CHECKPOINT, _core.KIND_EXCEPTION, _core.KIND_CHANGED, _core.KIND_CHOSEN,
}  # fmt: skip
LEGAL = {**LEGAL, (_core.KIND_CHANGED, "PENDING"): "PENDING", (_core.KIND_CHANGED, "PAUSED"): "PENDING"}
OVER = ("TERMINATED", "ERROR")
ONE_TRIAL = 8  # flag of a DECISION
DECISIONS = (_core.CONTINUE, _core.STOP, _core.PAUSE)  # what the scheduler answers to a report of a score from 0, 1, 2 on


@dataclass
class Row:
    status: str = "PENDING"
    step: int = 0  # of the last report, or where it began behind it
    failures: int = 0
    attempts: int = 0
    changes: int = 0  # how often it was requeued
    saved: int = 0  # step of its newest checkpoint
    source: int = -1  # the ring that it began in
    decided: int | None = None  # of its last report that waited, until it is paused or over


class SlowExperiment:
    """``log`` holds (source, records) in the order in which they count; source 0 is the run itself. ``stored`` of them are in
    the journal: the rest is lost when the run is killed, but for what still lies in a ring."""

    def __init__(self, trials: int, max_failures: int) -> None:
        self.trials, self.max_failures = trials, max_failures
        self.log: list[tuple[int, list[bytes]]] = []
        self.stored = 0
        self.begin()
        self.begin_session()

    def begin_session(self) -> None:
        self.wanted: dict[int, bool] = {}  # who was asked to stop in it; whether at once
        self.due: dict[int, bool] = {}  # those of them that were not told yet
        self.pressing: set[int] = set()  # those that run and are told to end at once in the turn that follows
        self.pressed: set[int] = set()  # and those that were told

    def begin(self) -> None:
        self.rows = [Row() for _ in range(self.trials)]
        self.told: set[int] = set()  # sources that have told the names of their metrics
        self.asked: set[int] = set()  # trials that somebody outside wants to end

    def one(self, source: int, record: bytes) -> tuple[bool, int, int]:
        """Fold one record: whether it fits, its kind, and its trial or -1."""
        kind, flags, schema, trial, step, _, payload = _core.decode(record)[0]
        if kind == _core.KIND_SCHEMA:
            self.told.add(source)
        if kind == _core.KIND_DECISION and not source and flags & ONE_TRIAL:
            self.asked.add(trial)
            return True, kind, -1
        if kind not in OF_A_TRIAL:
            return kind == _core.KIND_SCHEMA, kind, -1
        if trial >= self.trials:
            return False, kind, trial
        row = self.rows[trial]
        if not may_say(source, kind, row.status, row.source):
            return False, kind, trial
        if kind == _core.KIND_START and struct.unpack_from("<I", payload, 4)[0] != row.changes:
            return False, kind, trial
        if kind == _core.KIND_CHECKPOINT:
            row.saved = step
        if kind in (_core.KIND_CHECKPOINT, _core.KIND_EXCEPTION):
            return True, kind, trial
        then = LEGAL.get((kind, row.status))
        if then is None or (kind == _core.KIND_REPORT and (row.source != source or source not in self.told or schema)):
            return False, kind, trial
        row.status = then
        if kind == _core.KIND_START:
            row.step, row.source, row.attempts = step, source, row.attempts + 1
        elif kind == _core.KIND_REPORT:
            row.step = step
            if flags & 7 == _core.WAIT:
                row.decided = DECISIONS[int(struct.unpack_from("<d", payload)[0])]
        elif kind != _core.KIND_RESUMED:
            row.decided = None
        row.failures += kind == _core.KIND_ERROR
        row.changes += kind in (_core.KIND_REQUEUED, _core.KIND_CHANGED)
        if kind == _core.KIND_REQUEUED:
            self.asked.discard(trial)
        if kind == _core.KIND_CHANGED:
            change = json.loads(payload.rstrip(b"\0"))
            row.saved = row.saved if change["checkpoint"] is None else change["iteration"]
        return True, kind, trial

    # -- while it runs ------------------------------------------------------------------------------------------------

    def take(self, source: int, records: list[bytes]) -> None:
        """What a worker has written has come, in one piece."""
        self.log.append((source, records))
        seen = [self.one(source, record) for record in records]
        for fits, _, trial in seen:  # costs the trial that it is about, if that runs there
            if not fits and 0 <= trial < self.trials and self.runs_in(source, trial):
                self.fail(trial)
        for fits, kind, trial in seen:
            if fits and kind == _core.KIND_ERROR:
                self.try_again(trial)

    def runs_in(self, source: int, trial: int) -> bool:
        return self.rows[trial].status == "RUNNING" and self.rows[trial].source == source

    def died(self, source: int) -> None:
        """A worker has died; all that it had written has come. Who was to end at once has ended."""
        for trial in range(self.trials):
            if self.runs_in(source, trial) and trial in self.pressed:
                self.own(_core.KIND_END, trial)
            elif self.runs_in(source, trial):
                self.fail(trial)

    def own(self, kind: int, trial: int, flags: int = 0) -> None:
        self.add(_core.encode(kind, trial, flags=flags))

    def add(self, record: bytes) -> None:
        """The run has written this itself."""
        self.log.append((0, [record]))
        assert self.one(0, record)[0]

    def fail(self, trial: int) -> None:
        self.own(_core.KIND_ERROR, trial)
        self.try_again(trial)

    def try_again(self, trial: int) -> None:
        again = self.rows[trial].failures <= self.max_failures and trial not in self.asked
        if self.rows[trial].status == "ERROR" and again:
            self.own(_core.KIND_REQUEUED, trial)

    # -- what somebody wants -------------------------------------------------------------------------------------------

    def ask_to_stop(self, trial: int, at_once: bool, handed: Container[int]) -> None:
        """Somebody outside wants the trial to end."""
        row = self.rows[trial]
        if row.status in OVER or (trial in self.wanted and (self.wanted[trial] or not at_once)):
            return
        if trial not in self.wanted:
            self.own(_core.KIND_DECISION, trial, ONE_TRIAL)
        self.wanted[trial] = self.due[trial] = at_once
        self.tell_stops(handed)

    def tell_stops(self, handed: Container[int]) -> None:
        """Who runs is told; who waits is over; who is on the way to the one or the other is left for the next time."""
        for trial, at_once in list(self.due.items()):
            row = self.rows[trial]
            if row.status not in OVER and (trial in handed or row.decided == _core.PAUSE):
                continue
            del self.due[trial]
            if row.status == "RUNNING" and at_once:
                self.pressing.add(trial)
            elif row.status in ("PENDING", "PAUSED"):
                self.own(_core.KIND_END, trial)

    def end_turn(self) -> None:
        """All that was to be told was told, behind the deaths that were seen."""
        self.pressed |= self.pressing
        self.pressing.clear()

    def follow(self, record: bytes, ordered: Container[int]) -> None:
        """The run has written what it does of its scheduler's orders, to end trials (``ordered``) or to change them: when, it
        knows better; whether that can be, is held against what is known."""
        kind, flags, _, trial, *_ = _core.decode(record)[0]
        ends = kind == _core.KIND_END and flags & _core.REMOVED and trial in ordered and self.rows[trial].status not in OVER
        if ends or kind == _core.KIND_CHANGED:
            self.add(record)

    # -- after it was killed ------------------------------------------------------------------------------------------

    def look(self, left: Iterable[tuple[int, list[bytes]]]) -> None:
        """What the journal says, and behind it what is left in rings. There a record that does not fit takes those of its
        trial with it, until that begins again."""
        del self.log[self.stored :]
        self.begin()
        for source, records in self.log:
            for record in records:
                self.one(source, record)
        for source, records in left:
            astray: set[int] = set()
            for record in records:
                kind, _, _, trial, *_ = _core.decode(record)[0]
                if trial in astray and kind in OF_A_TRIAL and kind != _core.KIND_START:
                    continue
                fits, kind, trial = self.one(source, record)
                if fits:
                    self.log.append((source, [record]))
                    astray -= {trial} if kind == _core.KIND_START else set()
                else:
                    astray.add(trial)

    def go_on(self, left: Iterable[tuple[int, list[bytes]]], keeps_paused: bool) -> None:
        """The run goes on: what was decided is done, what ran waits again."""
        self.look(left)
        self.begin_session()
        for trial in sorted(self.asked):
            if self.rows[trial].status not in OVER:
                self.own(_core.KIND_END, trial)
        for trial, row in enumerate(self.rows):
            if row.status == "RUNNING" and row.decided == _core.STOP:
                self.own(_core.KIND_END, trial)
            elif row.status == "RUNNING" and row.decided == _core.PAUSE:
                self.own(_core.KIND_PAUSED, trial)
            if row.status == "RUNNING" or (row.status == "PAUSED" and not keeps_paused):
                self.own(_core.KIND_REQUEUED, trial)
            else:
                self.try_again(trial)  # as the killed run would have


def shown(rows: Iterable[Row]) -> list[Any]:
    """What is compared."""
    return [(row.status, row.step, row.failures, row.attempts, row.changes) for row in rows]
