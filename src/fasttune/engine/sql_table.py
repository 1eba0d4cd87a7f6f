"""The SQL table ``trials``, for people and SQL tools: it is made of what the journal says, and nothing reads it here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fasttune import _core
from fasttune.metric_values import whole_int, whole_text

if TYPE_CHECKING:
    from fasttune.engine.records import ExperimentRecords


def table_rows(records: ExperimentRecords) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """Columns and rows of the SQL table ``trials``: one column per sampled parameter, the metric's last value."""
    params = [records.evaluated_params(i) for i in range(len(records))]
    names = list(dict.fromkeys(name for row in params for name in row))
    head = ["trial", "trial_id", "status", "iterations", "started", "ended", "failures", records.metric or "metric"]
    status, iterations = records.table.export("status"), records.table.export("iteration")
    started, ended = records.table.export("started"), records.table.export("ended")
    failures, values = records.table.export("failures"), records.table.export("value")

    def rows() -> Iterator[tuple[Any, ...]]:
        for i, row in enumerate(params):
            yield (
                i,
                records.trial_id(i),
                _core.STATUSES[status[i]],
                iterations[i],
                started[i] or None,
                ended[i] or None,
                failures[i],
                values[i],
                *(sql_value(row.get(name)) for name in names),
            )

    return head + [whole_text(f"config/{name}") for name in names], rows()


def sql_value(value: Any) -> Any:
    """A value as SQL keeps it: numbers, text and None as they are, anything else as JSON or text."""
    if type(value) is str:
        return whole_text(value)
    if value is None or isinstance(value, (int, float)):
        return value if not isinstance(value, int) or -(2**63) <= value < 2**63 else whole_int(value)
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return whole_text(str(value))
