"""The judgements of a compiled rule, gathered from the records that bear them, in the order in which they were made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fasttune import _core
from fasttune.constraints import column_compared_by

Judgement = tuple[int, int, float, int, bool]  # trial, rung, value, sequence number, whether the trial was stopped


class Judgements:
    """Told of entries of a journal, in its order; iterated over, gives what was judged, by sequence numbers.

    ``metric`` is what the rule judges by, ``smooth`` as the rule has it: the best value so far is judged.
    """

    def __init__(self, metric: str | None, smooth: int) -> None:
        self._metric = metric
        self._smooth = smooth
        self._found: list[tuple[int, int, int, float, bool]] = []
        self._learnt: dict[int, list[Any]] = {}  # schemas of each source
        self._so_far: dict[int, float] = {}  # best values of trials

    def add(self, source: int, data: Any) -> None:
        """One entry."""
        names = self._learnt.setdefault(source, [])
        for sequence, trial, rung, schema, raw, decided in _core.judgements(
            data, names, self._metric, self._smooth, self._so_far
        ):
            values = memoryview(raw).cast("d")
            value = values[0] if schema is None else values[column_compared_by(schema[0], self._metric)]
            self._found.append((sequence, trial, rung, value, decided == _core.STOP))

    def __iter__(self) -> Iterator[Judgement]:
        for sequence, trial, rung, value, stopped in sorted(self._found):
            yield trial, rung, value, sequence, stopped
