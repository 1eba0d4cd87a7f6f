"""Slow, obvious twins of the core: what it must do, in plain lines that need no proof of their own."""

from __future__ import annotations

import json
import math
import struct
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fasttune import _core

HEADER = struct.Struct("<IBBHIId")
JUDGED, EXTRA = 0x08, 0x10


class SlowRung:
    """All numbers in a list; numpy's percentile whenever somebody asks."""

    def __init__(self, percentile: float) -> None:
        self.percentile = percentile
        self.values: list[float] = []

    def push(self, value: float) -> None:
        if not math.isnan(value):
            self.values.append(value)

    def cutoff(self) -> float | None:
        if not self.values:
            return None
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(np.nanpercentile(self.values, self.percentile))


class SlowAsha:
    """The stopping rule on dicts; ``bracket_of`` says which bracket a trial was drawn into."""

    def __init__(
        self, max_t: float, grace: float, factor: float, maximise: bool, stop_last: bool, bracket_of: Any
    ) -> None:
        self.max_t, self.factor, self.stop_last, self.bracket_of = max_t, factor, stop_last, bracket_of
        self.sign = 1.0 if maximise else -1.0
        self.milestones = [m for k in range(64) if (m := grace * factor**k) <= max_t]
        self.rungs: dict[tuple[int, int], SlowRung] = {}
        self.highest: dict[int, int] = {}

    def reached(self, trial: int, t: float) -> int | None:
        """The highest milestone of the bracket that t has reached, if it is above those recorded before."""
        reached = [k for k, m in enumerate(self.milestones) if m <= t and k >= self.bracket_of(trial)]
        return reached[-1] if reached and reached[-1] > self.highest.get(trial, -1) else None

    def rung(self, trial: int, k: int) -> SlowRung:
        return self.rungs.setdefault((self.bracket_of(trial), k), SlowRung((1 - 1 / self.factor) * 100))

    def judge(self, trial: int, t: float, value: float) -> bool:
        """True to stop."""
        if t >= self.max_t and self.stop_last:
            return True
        k = self.reached(trial, t)
        if k is None:
            return False
        cutoff = self.rung(trial, k).cutoff()
        self.record(trial, k, value)
        return cutoff is not None and self.sign * value < cutoff

    def complete(self, trial: int, t: float, value: float) -> None:
        k = self.reached(trial, t)
        if k is not None:
            self.record(trial, k, value)

    def record(self, trial: int, k: int, value: float) -> None:
        self.rung(trial, k).push(self.sign * value)
        self.highest[trial] = k


class SlowRing:
    """Records in a list, and the arithmetic of a ring that never splits one."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.head = self.read = self.released = 0
        self.records: list[tuple[int, bytes]] = []  # where each ends, payload

    def write(self, payload: bytes) -> bool:
        size = (24 + len(payload) + 7) // 8 * 8
        tail = self.capacity - self.head % self.capacity
        need = size if tail >= size else size + tail
        if self.head + need - self.released > self.capacity:
            return False
        self.head += need
        self.records.append((self.head, payload))
        return True

    def take(self) -> list[bytes]:
        """What is whole and lies before the ring's end."""
        end = min(self.head, (self.read // self.capacity + 1) * self.capacity)
        taken = [payload for at, payload in self.records if self.read < at <= end]
        self.read = end
        return taken


class Row(NamedTuple):
    status: str = "PENDING"
    iteration: int = 0
    failures: int = 0
    attempt: int = 0
    rung: int = -1
    last: tuple[tuple[str, ...], tuple[float, ...], bytes | None] | None = None
    value: float = math.nan
    source: int = -1  # the ring that it began in
    changes: int = 0  # how often it was put back


LEGAL = {
    **{(_core.KIND_START, status): "RUNNING" for status in ("PENDING", "PAUSED")},
    **{(_core.KIND_PAUSED, "RUNNING"): "PAUSED"},
    **{(_core.KIND_RESUMED, "PAUSED"): "RUNNING", (_core.KIND_REPORT, "RUNNING"): "RUNNING"},
    **{(_core.KIND_END, status): "TERMINATED" for status in ("PENDING", "RUNNING", "PAUSED")},
    **{(_core.KIND_ERROR, status): "ERROR" for status in ("PENDING", "RUNNING", "PAUSED")},
    **{(_core.KIND_REQUEUED, status): "PENDING" for status in ("PENDING", "RUNNING", "PAUSED", "ERROR")},
}


OF_THE_RUN = {  # what no trial says; source 0 is the run itself
    _core.KIND_CONFIGS, _core.KIND_CONFIG, _core.KIND_META, _core.KIND_REQUEUED, _core.KIND_CHANGED, _core.KIND_CHOSEN,
    _core.KIND_DECISION,
}  # fmt: skip
OF_AN_ATTEMPT = {  # what a ring says of a trial that has begun there, and is not over
    _core.KIND_REPORT, _core.KIND_END, _core.KIND_ERROR, _core.KIND_EXCEPTION, _core.KIND_CHECKPOINT, _core.KIND_PAUSED,
    _core.KIND_RESUMED,
}  # fmt: skip


def may_say(source: int, kind: int, status: str, begun_in: int) -> bool:
    """Whether a ring may say this of a trial of such a status, which began last in the ring ``begun_in``."""
    if not source:
        return True
    if kind in OF_AN_ATTEMPT:
        late = kind == _core.KIND_CHECKPOINT and status == "TERMINATED"  # told to save while it was paused, and ended meanwhile
        return source == begun_in and (status in ("RUNNING", "PAUSED") or late)
    return kind not in OF_THE_RUN


class SlowTable:
    """Trials as rows of a list; records one by one."""

    def __init__(self, metric: str | None) -> None:
        self.metric = metric
        self.rows: list[Row] = []
        self.names: dict[int, list[tuple[str, ...]]] = {}

    def apply(self, data: bytes, source: int) -> None:
        for record in _core.decode(data):
            self.one(source, *record)

    def one(
        self,
        source: int,
        kind: int,
        flags: int,
        schema: int,
        trial: int,
        step: int,
        time: float,
        payload: bytes,
    ) -> None:
        if kind == _core.KIND_CONFIGS:
            self.rows += [Row()] * step
        elif kind == _core.KIND_CONFIG:
            self.rows.append(Row())
        elif kind == _core.KIND_SCHEMA:
            self.names.setdefault(source, []).append(tuple(json.loads(payload.rstrip(b"\0"))["keys"]))
        elif kind in {kind for kind, _ in LEGAL}:
            self.check(source, kind, trial, payload)
            row = self.rows[trial]._replace(status=LEGAL[kind, self.rows[trial].status])
            self.rows[trial] = self.changed(row, source, kind, flags, schema, step, payload)

    def check(self, source: int, kind: int, trial: int, payload: bytes) -> None:
        """ValueError unless the record fits."""
        row = self.rows[trial]
        changed = struct.unpack_from("<I", payload, 4)[0] if kind == _core.KIND_START and payload else row.changes
        if (source and kind in OF_THE_RUN) or changed != row.changes:
            raise ValueError
        says = source and kind in OF_AN_ATTEMPT and kind != _core.KIND_REPORT
        if says and row.status in ("RUNNING", "PAUSED") and row.source != source:
            raise ValueError
        if (kind, row.status) not in LEGAL or (says and row.status not in ("RUNNING", "PAUSED")):
            raise _core.IllegalTransition(trial, row.status, kind)
        if kind == _core.KIND_REPORT and row.source != source:
            raise ValueError

    def changed(
        self, row: Row, source: int, kind: int, flags: int, schema: int, step: int, payload: bytes
    ) -> Row:
        if kind == _core.KIND_START:
            return row._replace(iteration=step, attempt=row.attempt + 1, source=source)
        if kind == _core.KIND_REQUEUED:
            return row._replace(changes=row.changes + 1)
        if kind == _core.KIND_ERROR:
            return row._replace(failures=row.failures + 1)
        if kind == _core.KIND_END and flags & JUDGED:
            return row._replace(rung=payload[8])
        if kind != _core.KIND_REPORT:
            return row
        keys = self.names[source][schema]
        values = struct.unpack_from(f"<{len(keys)}d", payload)
        rest = payload[8 * len(keys) :]
        if flags & JUDGED:
            row, rest = row._replace(rung=rest[0]), rest[8:]
        extra = rest[4 : 4 + int.from_bytes(rest[:4], "little")] if flags & EXTRA else None
        value = values[keys.index(self.metric)] if self.metric in keys else row.value
        return row._replace(iteration=step, last=(keys, values, extra), value=value)

    def count(self, statuses: Iterable[str]) -> dict[str, int]:
        return {status: sum(row.status == status for row in self.rows) for status in statuses}


def report_record(
    schema: int, trial: int, step: int, values: Iterable[float], extra: bytes | None = None
) -> bytes:
    """One report as the bytes that a reporter writes."""
    payload = b"".join(struct.pack("<d", value) for value in values)
    if extra is not None:
        text = struct.pack("<I", len(extra)) + extra
        payload += text + b"\0" * (-len(text) % 8)
    flags = 0 if extra is None else EXTRA
    head = HEADER.pack(
        HEADER.size + len(payload), _core.KIND_REPORT, flags, schema, trial, step, 100.0 + step
    )
    return head + payload


def schema_record(number: int, keys: Iterable[str], kinds: str) -> bytes:
    """What tells the names of metrics."""
    payload = json.dumps({"keys": list(keys), "kinds": kinds}).encode()
    payload += b"\0" * (-len(payload) % 8)
    return HEADER.pack(HEADER.size + len(payload), _core.KIND_SCHEMA, 0, number, 0, 0, 0.0) + payload
