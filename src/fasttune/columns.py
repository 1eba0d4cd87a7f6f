"""Every report of an experiment as numpy columns, made once from its report blocks.

100,000 trials with a million reports take a fraction of a second, because nothing is done per trial in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.metric_values import whole_text
from fasttune.result import AUTO_KEYS, Timing, date_text, number

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
        self._order = _counting_rows(trial, step, time)  # row of the blocks laid end to end, per entry
        self.trial: Ints = trial[self._order]
        self.step: Ints = step[self._order]
        self.time: Floats = time[self._order]
        self.starts, self.counts = _segments(self.trial)  # per trial that reported: its first entry, how many
        self._metrics: dict[str, tuple[Floats, Bools]] = {}
        self._extras: dict[str, dict[int, Any]] | None = None

    def __len__(self) -> int:
        return len(self._order)

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

        used = np.unique(np.searchsorted(self._offsets, self._order[rows], side="right") - 1).tolist()
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

    def _gather(self, name: str) -> tuple[Floats, Bools]:
        import numpy as np

        values = np.full(self._offsets[-1], np.nan)
        present = np.zeros(len(values), dtype=np.bool_)
        for which, at in self._places.get(name, ()):
            offset, column = self._offsets[which], np.frombuffer(self._blocks[which].values[at], np.float64)
            values[offset : offset + len(column)] = column
            present[offset : offset + len(column)] = True
        values, present = values[self._order], present[self._order]
        for position, value in self.extra(name).items():
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

    def _gather_extras(self, found: dict[str, dict[int, Any]]) -> None:
        import numpy as np

        place = np.full(self._offsets[-1], -1)
        place[self._order] = np.arange(len(self))
        for offset, block in zip(self._offsets, self._blocks, strict=False):
            for row, extra in block.extras.items():
                position = int(place[offset + row])
                if position >= 0:
                    for name, value in extra.items():
                        found.setdefault(name, {})[position] = value

    def scores(self, metric: str, mode: str, scope: str) -> Scores:
        """Each trial's score: its last value, its best one ("all"), or a mean of all or the last 5 or 10.

        Only reports that have the metric count. The best value leaves NaN out; a mean does not.
        """
        import numpy as np

        values, present = self.metric(metric)
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

    def last_rows(self) -> Ints:
        """Position of each trial's last report, for every trial that reported."""
        return self.starts + self.counts - 1

    def best_rows(self, metric: str, mode: str) -> Ints:
        """Position of each trial's best report (the first one of equals), for every trial that has a best."""
        import numpy as np

        values, present = self.metric(metric)
        usable = np.flatnonzero(present & ~np.isnan(values))
        trial, values = self.trial[usable], values[usable]
        # stable, so that of equal values the earliest report comes first
        order = np.lexsort((-values if mode == "max" else values, trial))
        starts, _ = _segments(trial[order])
        best: Ints = usable[order[starts]]
        return best

    def rows_of(self, trial: int) -> slice:
        """Where one trial's reports stand."""
        import numpy as np

        first, last = np.searchsorted(self.trial, [trial, trial + 1])
        return slice(int(first), int(last))


def _joined(buffers: Sequence[Any], dtype: Any) -> NDArray[Any]:
    import numpy as np

    if not buffers:
        return np.empty(0, dtype)
    return np.concatenate([np.frombuffer(buffer, dtype) for buffer in buffers])


def _segments(trial: NDArray[Any]) -> tuple[Ints, Ints]:
    """(first position, length) of each run of equal entries."""
    import numpy as np

    starts = np.flatnonzero(np.diff(trial, prepend=-1))
    return starts, np.diff(starts, append=len(trial))


def _counting_rows(trial: NDArray[Any], step: NDArray[Any], time: Floats) -> Ints:
    """Rows that count, sorted by trial and step: ``result.history`` for all trials at once."""
    import numpy as np

    key = (trial.astype(np.int64) << 32) | step
    order = np.argsort(key, kind="stable")
    again = np.diff(key[order], prepend=-1) == 0
    if not again.any():
        return order
    begun_again = np.zeros(int(trial.max()) + 1, dtype=np.bool_)
    begun_again[trial[order[again]]] = True
    rows = np.flatnonzero(begun_again[trial])
    rows = rows[np.lexsort((time[rows], trial[rows]))]
    # backwards, trials descend, so the smallest key so far starts anew with each trial
    lowest = np.minimum.accumulate(key[rows][::-1])
    counts = np.diff(lowest, prepend=np.iinfo(np.int64).max) < 0
    order = np.concatenate([order[~begun_again[trial[order]]], rows[::-1][counts]])
    return order[np.argsort(key[order], kind="stable")]


# ---- the auto-filled keys, which no block holds


def auto_columns(columns: Columns, rows: Ints) -> dict[str, Any]:
    """The 13 keys of ``make_result`` (without config) as columns; the same rules as ``result.results_of``."""
    import numpy as np

    lasts, which = _last_results(columns, rows)
    step, time = columns.step[rows], columns.time[rows]
    segment = np.searchsorted(columns.trial[columns.starts], columns.trial[rows])
    start, final = columns.starts[segment], columns.last_rows()[segment]

    timings = [Timing.read(last, 0.0) for last in lasts]
    started = np.array([timing.started for timing in timings])[which] + columns.time[final]
    restored_time = np.array([timing.restored_time for timing in timings])[which]
    restored_step = np.array([timing.restored_step for timing in timings], dtype=np.int64)[which]
    earlier = time < started  # reports from before the last restore
    began = np.where(earlier, np.minimum(started, columns.time[start]), started)
    previous = np.where(rows == start, began, np.maximum(columns.time[rows - 1], began))
    elapsed = time - began

    def constant(key: str) -> Any:
        return column_of([last.get(key) for last in lasts])[which]

    second, places = np.unique(time.astype(np.int64), return_inverse=True)
    made: dict[str, Any] = {
        "done": np.array([bool(last.get("done")) for last in lasts], dtype=np.bool_)[which] & (rows == final),
        "training_iteration": step.astype(np.int64),
        "trial_id": constant("trial_id"),
        "date": column_of([date_text(s) for s in second.tolist()])[places],
        "timestamp": time.astype(np.int64),
        "time_this_iter_s": time - previous,
        "time_total_s": elapsed + np.where(earlier, 0.0, restored_time),
        "pid": constant("pid"),
        "hostname": constant("hostname"),
        "node_ip": constant("node_ip"),
        "time_since_restore": elapsed,
        "iterations_since_restore": step - np.where(earlier, 0, restored_step),
    }
    table = {key: made[key] for key in AUTO_KEYS if key in made}
    if any("experiment_tag" in last for last in lasts):
        table["experiment_tag"] = constant("experiment_tag")
    return table


def _last_results(columns: Columns, rows: Ints) -> tuple[list[dict[str, Any]], Ints]:
    """(the last results of the trials of these rows, which of them belongs to each row)."""
    import numpy as np

    trials, which = np.unique(columns.trial[rows], return_inverse=True)
    return [columns.source.last_result(i) for i in trials.tolist()], which


def _derived(key: str) -> Callable[[Columns], tuple[Floats, Bools]]:
    def values(columns: Columns) -> tuple[Floats, Bools]:
        import numpy as np

        every = np.arange(len(columns))
        return auto_columns(columns, every)[key].astype(np.float64), np.ones(len(every), dtype=np.bool_)

    return values


DERIVED = {key: _derived(key) for key in ("training_iteration", "time_this_iter_s", "time_total_s")}


def column_of(values: Sequence[Any]) -> NDArray[Any]:
    """An array of the values' own type where they share one, of objects otherwise (lists stay lists)."""
    import numpy as np

    kinds = set(map(type, values))
    for kind, dtype in ((float, np.float64), (bool, np.bool_), (int, np.int64)):
        if kinds == {kind}:
            with suppress(OverflowError):  # an int beyond 2^63
                return np.array(values, dtype=dtype)
    column = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        column[position] = whole_text(value) if type(value) is str else value
    return column
