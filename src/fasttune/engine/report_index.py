"""The reports of one trial, found without a look at those of all others: one sorting of the columns serves every trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fasttune.result import Report, ReportBlock, effective, report_at, results_of


class Places(NamedTuple):
    """Where the reports of one trial that count are, in their order: arrays of equal length."""

    block: Any
    row: Any
    step: Any  # grows


class ReportIndex:
    """Where in ``blocks`` the reports of each trial are.

    rows    per block the numbers of its rows, sorted by trial, in the order of reporting within one
    trials  per block the trials of these rows
    """

    def __init__(self, blocks: Sequence[ReportBlock]) -> None:
        import numpy as np

        self._np = np
        self._blocks = blocks
        self._steps = [np.frombuffer(block.step, dtype=np.int32) for block in blocks]
        self._times = [np.frombuffer(block.time, dtype=np.float64) for block in blocks]
        trials = [np.frombuffer(block.trial, dtype=np.int32) for block in blocks]
        self._rows = [np.argsort(one, kind="stable") for one in trials]
        self._trials = [one[rows] for one, rows in zip(trials, self._rows, strict=True)]

    def reports(self, trial: int) -> list[Report]:
        """The reports of a trial that count, in their order."""
        places = self._places(trial)
        return [self._report(places, k) for k in range(len(places.step))]

    def results_at(self, trial: int, steps: Iterable[int], last_result: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
        """The results of a trial at some steps, as far as reports count that have them; only these are made."""
        places = self._places(trial)
        found: dict[int, dict[str, Any]] = {}
        for step in steps:
            k = int(self._np.searchsorted(places.step, step))
            if k == len(places.step) or places.step[k] != step:
                continue
            needed = sorted(
                {0, max(0, k - 1), k, len(places.step) - 1}
            )  # times count from the first, the last, the one before
            told = [self._report(places, j) for j in needed]
            found[step] = results_of(told, last_result)[needed.index(k)]
        return found

    def _report(self, places: Places, k: int) -> Report:
        return report_at(self._blocks[places.block[k]], int(places.row[k]))

    def _places(self, trial: int) -> Places:
        """See ``result.history`` for which reports count."""
        np = self._np
        wanted = np.array([trial, trial + 1], dtype=np.int32)  # another type would have the whole column converted
        rows = []
        for trials, order in zip(self._trials, self._rows, strict=True):
            first, end = np.searchsorted(trials, wanted)
            rows.append(order[first:end])
        block = np.repeat(np.arange(len(rows)), [len(one) for one in rows])
        if not len(block):
            return Places(block, block, block)
        row = np.concatenate(rows)
        step = np.concatenate([steps[one] for steps, one in zip(self._steps, rows, strict=True)])
        kept = np.argsort(step, kind="stable")
        if (np.diff(step[kept]) == 0).any():  # it has begun again
            time = np.concatenate([times[one] for times, one in zip(self._times, rows, strict=True)])
            by_time = np.argsort(time, kind="stable")
            kept = by_time[effective(step[by_time].tolist())]
        return Places(block[kept], row[kept], step[kept])
