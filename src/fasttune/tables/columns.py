"""Every report of an experiment as numpy columns, made once from its report blocks.

100,000 trials with a million reports take a fraction of a second, because nothing is done per trial in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune import _core
from fasttune.constraints import PREFIX, scores
from fasttune.result import number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttune.trial import TrialSource

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]


class Scores(NamedTuple):
    """One number per trial that ever reported the metric as a number."""

    trial: Ints  # ascending
    score: Floats


class Columns:
    """The reports that count (see ``result.effective``), sorted by trial, then step.

    ``trial``, ``step`` and ``time`` are arrays with one entry per report; ``metric(name)`` gives another.
    """

    def __init__(self, source: TrialSource) -> None:
        import numpy as np

        self.source = source
        self._blocks = list(source.report_blocks())
        trial = _joined([block.trial for block in self._blocks], np.int32)
        step = _joined([block.step for block in self._blocks], np.int32)
        time = _joined([block.time for block in self._blocks], np.float64)
        lengths = (memoryview(block.trial).nbytes // trial.itemsize for block in self._blocks)
        self._offsets: list[int] = list(accumulate(lengths, initial=0))
        # row of the blocks laid end to end, per entry; None: as they lie, and nothing is copied
        self._order = _counting_rows(trial, step, time)
        self.trial: Ints = self._in_order(trial)
        self.step: Ints = self._in_order(step)
        self.time: Floats = self._in_order(time)
        self.starts, self.counts = _segments(self.trial)  # per trial that reported: its first entry, how many
        self._metrics: dict[str, tuple[Floats, Bools]] = {}
        self._extras: dict[str, dict[int, Any]] | None = None

    def __len__(self) -> int:
        return len(self.trial)

    def _in_order(self, rows: NDArray[Any]) -> NDArray[Any]:
        return rows if self._order is None else rows[self._order]

    @cached_property
    def names(self) -> dict[str, str]:
        """Every metric name, in the order of first sight, and the letters of its kinds (see ReportBlock).

        The letter "x" says that some values are not plain numbers.
        """
        found: dict[str, set[str]] = {}
        for block in self._blocks:
            for key, kind in zip(block.keys, block.kinds, strict=True):
                found.setdefault(key, set()).add(kind)
            for extra in block.extras.values():
                for key in extra:
                    found.setdefault(key, set()).add("x")
        return {key: "".join(sorted(kinds)) for key, kinds in found.items()}

    @cached_property
    def _places(self) -> dict[str, list[tuple[int, int]]]:
        """Name -> (block, column in it) wherever it was reported as a number. Looking names up block by block cost 40 s
        for 10^5 names."""
        places: dict[str, list[tuple[int, int]]] = {}
        for which, block in enumerate(self._blocks):
            for column, key in enumerate(block.keys):
                places.setdefault(key, []).append((which, column))
        return places

    def names_in(self, rows: Ints) -> dict[str, str]:
        """``names``, without those that none of the blocks of these reports has. What a trial's frame costs depends on
        what the trial reported, not on what all others did."""
        import numpy as np

        if len(self._blocks) == 1 and len(rows):
            return self.names
        places = rows if self._order is None else self._order[rows]
        used = np.unique(np.searchsorted(self._offsets, places, side="right") - 1).tolist()
        if len(used) == len(self._blocks):
            return self.names
        found: set[str] = set()
        for which in used:
            found.update(self._blocks[which].keys)
            for extra in self._blocks[which].extras.values():
                found.update(extra)
        if 2 * len(found) > len(self.names):
            return {name: kinds for name, kinds in self.names.items() if name in found}
        return {name: self.names[name] for name in sorted(found, key=self._rank.__getitem__)}

    @cached_property
    def _rank(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def metric(self, name: str) -> tuple[Floats, Bools]:
        """(values, present): the metric of each report, NaN where it was not reported as a number."""
        if name not in self._metrics:
            derived = DERIVED.get(name) if name not in self.names else None
            self._metrics[name] = derived(self) if derived else self._gather(name)
        return self._metrics[name]

    @cached_property
    def violation(self) -> Floats | None:
        """By how much each report breaks its constraints; None where no report has any."""
        import numpy as np

        found = None
        for name in self.names:
            if name.startswith(PREFIX):
                values, present = self.metric(name)
                broken = np.where(present, np.where(np.isnan(values), np.inf, np.maximum(values, 0.0)), 0.0)
                found = broken if found is None else found + broken
        return found if found is not None and found.any() else None

    def compared(self, name: str, mode: str) -> tuple[Floats, Bools]:
        """As :meth:`metric`, with scores (see ``constraints``) in the place of values where a constraint is broken."""
        values, present = self.metric(name)
        return (values if self.violation is None else scores(values, self.violation, mode)), present

    def _gather(self, name: str) -> tuple[Floats, Bools]:
        import numpy as np

        places = self._places.get(name, [])
        extra = self.extra(name)
        if len(self._blocks) == 1 and len(places) == 1 and not extra:
            values = self._in_order(np.frombuffer(self._blocks[0].values[places[0][1]], np.float64))
            return values, np.ones(len(values), dtype=np.bool_)
        values = np.full(self._offsets[-1], np.nan)
        present = np.zeros(len(values), dtype=np.bool_)
        for which, at in places:
            offset, column = self._offsets[which], np.frombuffer(self._blocks[which].values[at], np.float64)
            values[offset : offset + len(column)] = column
            present[offset : offset + len(column)] = True
        values, present = self._in_order(values), self._in_order(present)
        for position, value in extra.items():
            known = number(value)  # an int beyond 2^53, say
            if known is not None:
                values[position], present[position] = known, True
        return values, present

    def extra(self, name: str) -> dict[int, Any]:
        """Report (position in the columns) -> value, of a metric's values that are not plain numbers."""
        if self._extras is None:
            self._extras = {}
            if any(block.extras for block in self._blocks):
                self._gather_extras(self._extras)
        return self._extras.get(name, {})

    @cached_property
    def _positions(self) -> Ints:
        """Row of the blocks laid end to end -> position in the columns; -1: it does not count."""
        import numpy as np

        place = np.full(self._offsets[-1], -1)
        place[slice(None) if self._order is None else self._order] = np.arange(len(self))
        return place

    def _gather_extras(self, found: dict[str, dict[int, Any]]) -> None:
        place = self._positions
        for offset, block in zip(self._offsets, self._blocks, strict=False):
            for row, extra in block.extras.items():
                position = int(place[offset + row])
                if position >= 0:
                    for name, value in extra.items():
                        found.setdefault(name, {})[position] = value

    def where(self, name: str) -> tuple[Ints, Floats]:
        """(positions of the reports that have the metric as a number, its values there): of a name that few reports have, without
        an array that is as long as all of them."""
        import numpy as np

        found, values = [np.empty(0, np.int64)], [np.empty(0, np.float64)]
        for which, at in self._places.get(name, []):
            column = np.frombuffer(self._blocks[which].values[at], np.float64)
            found.append(self._positions[self._offsets[which] : self._offsets[which] + len(column)])
            values.append(column)
        others = {position: known for position, value in self.extra(name).items() if (known := number(value)) is not None}
        positions = np.concatenate([*found, np.fromiter(others, np.int64)])
        together = np.concatenate([*values, np.fromiter(others.values(), np.float64)])
        order = np.argsort(positions, kind="stable")
        order = order[np.searchsorted(positions, 0, sorter=order) :]
        return positions[order], together[order]

    def scores(self, metric: str, mode: str, scope: str, feasible_first: bool = True) -> Scores:
        """Each trial's score: its last value, its best one ("all"), or a mean of all or the last 5 or 10.

        Only reports that have the metric count. The best value leaves NaN out; a mean does not. A report that breaks a constraint
        counts as beyond all values, unless ``feasible_first`` is false.
        """
        import numpy as np

        values, present = self.compared(metric, mode) if feasible_first else self.metric(metric)
        trial, values = self.trial[present], values[present]
        starts, counts = _segments(trial)
        if not len(starts):
            return Scores(trial.astype(np.int64), values)
        if scope == "last":
            score = values[starts + counts - 1]
        elif scope == "all":
            # fmax and fmin prefer a number to NaN
            score = (np.fmax if mode == "max" else np.fmin).reduceat(values, starts)
        else:
            latest = {"avg": len(values), "last-5-avg": 5, "last-10-avg": 10}[scope]
            used = np.minimum(counts, latest)
            from_end = np.repeat(starts + counts, counts) - np.arange(len(values))
            recent = values[from_end <= latest]
            with np.errstate(invalid="ignore"):  # inf - inf
                score = np.add.reduceat(recent, np.cumsum(used) - used) / used
        return Scores(trial[starts].astype(np.int64), score)

    def said_done(self) -> Ints:
        """The trials whose last report said that it is done. Such a report ends its trial as a stop criterion does, with the
        same flag at its END: nobody else has stopped the trial."""
        import numpy as np

        if "done" not in self.names:
            return np.empty(0, dtype=np.int64)
        values, present = self.metric("done")
        last = self.last_rows()
        found: Ints = self.trial[last[present[last] & (values[last] != 0)]].astype(np.int64)
        return found

    def last_rows(self) -> Ints:
        """Position of each trial's last report, for every trial that reported."""
        return self.starts + self.counts - 1

    def best_rows(self, metric: str, mode: str) -> Ints:
        """Position of each trial's best report (the first one of equals), for every trial that has a best."""
        import numpy as np

        values, present = self.compared(metric, mode)
        usable = np.flatnonzero(present & ~np.isnan(values))
        trial, values = self.trial[usable], values[usable]
        starts, counts = _segments(trial)
        if not len(starts):
            return usable
        best = (np.maximum if mode == "max" else np.minimum).reduceat(values, starts)
        places = np.flatnonzero(values == np.repeat(best, counts))
        first, _ = _segments(trial[places])
        found: Ints = usable[places[first]]
        return found

    def rows_of(self, trial: int) -> slice:
        """Where one trial's reports stand."""
        import numpy as np

        first, last = np.searchsorted(self.trial, [trial, trial + 1])
        return slice(int(first), int(last))


def counting_reports(source: TrialSource) -> int:
    """How many reports count: those that a trial took back, because it went on from an earlier checkpoint, do not. As many as
    there are rows in ``Columns`` and in frames; where no trial has begun twice nothing is read for it."""
    table: Any = getattr(source, "table", None)
    if table is not None and (not len(table) or max(table.export("attempt")) <= 1):
        return int(table.reports)
    return len(Columns(source))


def _joined(buffers: Sequence[Any], dtype: Any) -> NDArray[Any]:
    import numpy as np

    if not buffers:
        return np.empty(0, dtype)
    arrays = [np.frombuffer(buffer, dtype) for buffer in buffers]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _segments(trial: NDArray[Any]) -> tuple[Ints, Ints]:
    """(first position, length) of each run of equal entries."""
    import numpy as np

    begins = np.empty(len(trial), dtype=np.bool_)
    begins[:1] = True
    np.not_equal(trial[1:], trial[:-1], out=begins[1:])
    starts = np.flatnonzero(begins)
    return starts, np.diff(starts, append=len(trial))


def _counting_rows(trial: NDArray[Any], step: NDArray[Any], time: Floats) -> Ints | None:
    """Rows that count, sorted by trial and step: ``result.history`` for all trials at once. None: all of them, as they
    lie."""
    import numpy as np

    if not len(trial):
        return None
    trials = int(trial.max()) + 1
    found, uneven = _core.rows_in_order(trial, step, trials)
    order = None if found is None else np.frombuffer(found, np.int64)
    if not uneven:
        return order
    order = np.arange(len(trial)) if order is None else order
    begun_again = np.zeros(trials, dtype=np.bool_)
    begun_again[uneven] = True
    among = begun_again[trial[order]]
    again = order[among]
    again = again[_rows_of_uneven(trial[again], step[again], time[again])]
    order = np.concatenate([order[~among], again])
    found, _ = _core.rows_in_order(trial[order], step[order], trials)
    return order if found is None else order[np.frombuffer(found, np.int64)]


def _rows_of_uneven(trial: NDArray[Any], step: NDArray[Any], time: Floats) -> Ints:
    """The same of trials whose steps do not grow, of rows that are sorted by trial; sorted."""
    import numpy as np

    key = (trial.astype(np.int64) << 32) | step
    order = np.argsort(key, kind="stable")
    again = np.diff(key[order], prepend=-1) == 0
    begun_again = np.zeros(int(trial.max()) + 1, dtype=np.bool_)
    begun_again[trial[order[again]]] = True
    rows = np.flatnonzero(begun_again[trial])
    rows = rows[np.lexsort((time[rows], trial[rows]))]
    # backwards, trials descend, so the smallest key so far starts anew with each trial
    lowest = np.minimum.accumulate(key[rows][::-1])
    counts = np.diff(lowest, prepend=np.iinfo(np.int64).max) < 0
    order = np.concatenate([order[~begun_again[trial[order]]], rows[::-1][counts]])
    return order[np.argsort(key[order], kind="stable")]


def _derived(key: str) -> Callable[[Columns], tuple[Floats, Bools]]:
    def values(columns: Columns) -> tuple[Floats, Bools]:
        import numpy as np

        from fasttune.tables.auto_columns import AutoColumns

        every = np.arange(len(columns))
        return AutoColumns(columns, every).column(key).astype(np.float64), np.ones(len(every), dtype=np.bool_)

    return values


DERIVED = {key: _derived(key) for key in ("training_iteration", "time_this_iter_s", "time_total_s")}
