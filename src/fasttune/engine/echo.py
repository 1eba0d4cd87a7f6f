"""The records of a trial whose result is known already, because another one had the same config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fasttune import _core
from fasttune.constraints import Constraints
from fasttune.metric_values import split_metrics, steer_by, to_json

if TYPE_CHECKING:
    from fasttune.engine.instructions import Start

RING_BYTES = 1 << 16


class Echo:
    """Writes what a worker would have written: the trial began, reported once, and ended. ``source`` is its number among
    those that write records, ``metric`` the run's, as are ``constraints``. Rules and limits have no say: nothing was trained."""

    def __init__(self, source: int, metric: str | None = None, constraints: Constraints | None = None) -> None:
        self._source = source
        self._metric = metric
        self._constraints = Constraints() if constraints is None else constraints
        self.written = 0  # trials
        self._ring: Any = None
        self._reporter: Any = None

    def records(self, start: Start, now: float, metrics: Mapping[str, Any], iteration: int, seconds: float) -> Any:
        """(source, position, records) of the trial at ``now``: ``metrics`` as the report of ``iteration``, after so many
        ``seconds`` of training."""
        ring, reporter = self._open()
        ring.hold(now)
        reporter.begin(
            start.trial, iteration - 1, seconds, start.rung, _core.NEVER_ASK, 0, start.changes, *start.standing
        )
        numbers, extra = split_metrics(metrics)
        steer_by(self._metric, numbers, extra)
        numbers = self._constraints.add_score(numbers)
        reporter.report_extra(numbers, extra, to_json(extra) if extra else b"")
        reporter.end(0)
        self.written += 1
        data = bytes(ring.take())
        ring.release()
        return self._source, ring.position, data

    def _open(self) -> tuple[Any, Any]:
        if self._ring is None:
            self._ring = _core.Ring(bytearray(_core.Ring.HEADER + RING_BYTES), create=True)
            self._reporter = _core.Reporter(self._ring)
        return self._ring, self._reporter
