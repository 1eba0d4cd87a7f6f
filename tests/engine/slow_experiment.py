"""What an experiment must show, in plain lines: a list of what has happened, and its fold into a row per trial."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fasttune import _core

sys.path.insert(0, str(Path(__file__).parents[1]))
from model import LEGAL, may_say

OF_A_TRIAL = {kind for kind, _ in LEGAL} | {
    _core.KIND_CHECKPOINT, _core.KIND_EXCEPTION, _core.KIND_CHANGED, _core.KIND_CHOSEN,
}  # fmt: skip
DECISIONS = {0.0: _core.CONTINUE, 1.0: _core.STOP, 2.0: _core.PAUSE}  # what the scheduler answers to a report of this score


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

    def begin(self) -> None:
        self.rows = [Row() for _ in range(self.trials)]
        self.told: set[int] = set()  # sources that have told the names of their metrics

    def one(self, source: int, record: bytes) -> tuple[bool, int, int]:
        """Fold one record: whether it fits, its kind, and its trial or -1."""
        kind, flags, schema, trial, step, _, payload = _core.decode(record)[0]
        if kind == _core.KIND_SCHEMA:
            self.told.add(source)
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
                row.decided = DECISIONS[struct.unpack_from("<d", payload)[0]]
        elif kind != _core.KIND_RESUMED:
            row.decided = None
        row.failures += kind == _core.KIND_ERROR
        row.changes += kind == _core.KIND_REQUEUED
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
        """A worker has died; all that it had written has come."""
        for trial in range(self.trials):
            if self.runs_in(source, trial):
                self.fail(trial)

    def own(self, kind: int, trial: int) -> None:
        record = _core.encode(kind, trial)
        self.log.append((0, [record]))
        assert self.one(0, record)[0]

    def fail(self, trial: int) -> None:
        self.own(_core.KIND_ERROR, trial)
        self.try_again(trial)

    def try_again(self, trial: int) -> None:
        if self.rows[trial].status == "ERROR" and self.rows[trial].failures <= self.max_failures:
            self.own(_core.KIND_REQUEUED, trial)

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
