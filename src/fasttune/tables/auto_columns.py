"""The keys that are filled into every result, as columns: the rules of ``result.results_of``, for many reports at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.result import AUTO_KEYS, DELIMITER, EXPERIMENT_TAG, Timing, date_text
from fasttune.space.plan_columns import Coded, distinct, piece_of, repeated
from fasttune.tables.folded import FoldedSource, is_folded
from fasttune.tables.trial_columns import FEW, TrialColumns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttune.tables.columns import Columns

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

TERMINATED = 3  # as the table of trials exports it
FILLED_IN = frozenset((*AUTO_KEYS, EXPERIMENT_TAG))


class Lasts(NamedTuple):
    """What the last results of some trials say, an entry per trial."""

    started: Floats  # when it began, or began again after its last restore, before its last report: <= 0
    restored_time: Floats
    restored_step: Ints
    done: Bools
    constants: Mapping[str, Callable[[], NDArray[Any] | Coded]]  # key -> the column of what all results of a trial share


class AutoColumns:
    """Columns of the keys of ``make_result`` (without config) for some rows of ``columns``.

    ``trials`` are the trials of these rows, ascending; ``which`` of them belongs to each row, None: each to its own.
    """

    def __init__(self, columns: Columns, rows: Ints) -> None:
        import numpy as np

        self._columns = columns
        self._rows = rows
        trial = columns.trial[rows]
        self.which: Ints | None = None
        if len(trial) > 1 and not (trial[1:] > trial[:-1]).all():
            trial, self.which = np.unique(trial, return_inverse=True)
        self.trials = TrialColumns(columns.source, trial.astype(np.int64))

    def spread(self, of_trials: Any) -> Any:
        """A column of the rows, an array or Coded, made of one of their trials."""
        if self.which is None:
            return of_trials
        if isinstance(of_trials, Coded):
            return Coded(of_trials.options, of_trials.which[self.which])
        return of_trials[self.which]

    def keys(self) -> list[str]:
        """The keys that there are columns of, in their order."""
        keys = [key for key in AUTO_KEYS if key != "config"]
        return [*keys, EXPERIMENT_TAG] if EXPERIMENT_TAG in self._lasts.constants else keys

    def column(self, key: str) -> Any:
        """The column of one key: an array, or Coded where it is of texts."""
        constant = self._lasts.constants.get(key)
        return self.spread(constant()) if constant is not None else self._of_reports[key]()

    @property
    def _of_reports(self) -> dict[str, Callable[[], NDArray[Any] | Coded]]:
        return {
            "done": lambda: self.spread(self._lasts.done) & (self._rows == self._final),
            "training_iteration": lambda: self._step.astype("int64"),
            "date": self._date,
            "timestamp": lambda: self._time.astype("int64"),
            "time_this_iter_s": self._time_this_iter,
            "time_total_s": self._time_total,
            "time_since_restore": lambda: self._time - self._began,
            "iterations_since_restore": self._iterations,
        }

    # ---- times

    @cached_property
    def _step(self) -> NDArray[Any]:
        return self._columns.step[self._rows]

    @cached_property
    def _time(self) -> Floats:
        return self._columns.time[self._rows]

    @cached_property
    def _segment(self) -> Ints:
        """Which of the trials that reported each row is of."""
        import numpy as np

        columns = self._columns
        if len(self._rows) == len(columns.starts) and self.which is None:  # one row of each of them
            return np.arange(len(columns.starts))
        return np.searchsorted(columns.trial[columns.starts], columns.trial[self._rows])

    @cached_property
    def _start(self) -> Ints:
        return self._columns.starts[self._segment]

    @cached_property
    def _final(self) -> Ints:
        return self._columns.last_rows()[self._segment]

    @cached_property
    def _started(self) -> Floats:
        started: Floats = self.spread(self._lasts.started) + self._columns.time[self._final]
        return started

    @cached_property
    def _earlier(self) -> Bools:
        """Reports from before the last restore."""
        return self._time < self._started

    @cached_property
    def _began(self) -> Floats:
        import numpy as np

        return np.where(self._earlier, np.minimum(self._started, self._columns.time[self._start]), self._started)

    def _time_this_iter(self) -> Floats:
        import numpy as np

        before = np.maximum(self._columns.time[self._rows - 1], self._began)
        return self._time - np.where(self._rows == self._start, self._began, before)

    def _time_total(self) -> Floats:
        import numpy as np

        return (self._time - self._began) + np.where(self._earlier, 0.0, self.spread(self._lasts.restored_time))

    def _iterations(self) -> NDArray[Any]:
        import numpy as np

        return self._step - np.where(self._earlier, 0, self.spread(self._lasts.restored_step))

    def _date(self) -> Coded:
        import numpy as np

        second, places = distinct(self._time.astype(np.int64))
        return Coded(piece_of([date_text(s) for s in second.tolist()]).values, places)

    # ---- what the last results say

    @cached_property
    def _lasts(self) -> Lasts:
        trials, source = self.trials, self._columns.source
        found = None
        if is_folded(source) and len(trials.trials) > FEW and not self._are_named():
            found = self._from_table(source, trials)
        return found or _from_results([source.last_result(i) for i in trials.trials.tolist()])

    def _are_named(self) -> bool:
        """Whether metrics have names of what is filled in: they win."""
        return any(name.split(DELIMITER)[0] in FILLED_IN for name in self._columns.names)

    def _from_table(self, source: FoldedSource, trials: TrialColumns) -> Lasts | None:
        """From the table of trials; None where one of them has no last result."""
        import numpy as np

        def field(name: Any, dtype: type) -> NDArray[Any]:
            exported = source.table.export(name)
            column = np.frombuffer(exported, exported.typecode)
            if len(column) > len(trials.trials):
                column = column[trials.trials]
            return column.astype(dtype, copy=False)

        sample = source.last_result(int(trials.trials[0]))
        pid = field("pid", np.int64)
        pid[pid == 0] = source.meta.get("pid", 0)
        if (field("schema", np.int32) < 0).any() or not sample:
            return None
        elapsed = field("time", np.float64) - field("began", np.float64)
        before = (field("base_total", np.float64) + elapsed) - elapsed
        n = len(trials.trials)

        constants: dict[str, Callable[[], NDArray[Any] | Coded]] = {
            "trial_id": lambda: trials.ids,
            "pid": lambda: pid,
            "hostname": lambda: repeated(sample["hostname"], n).column,
            "node_ip": lambda: repeated(sample["node_ip"], n).column,
            EXPERIMENT_TAG: lambda: trials.tags,
        }
        return Lasts(
            started=0.0 - elapsed,
            restored_time=np.where(before > 0.0, before, 0.0),
            restored_step=field("base_iteration", np.int64),
            done=field("status", np.uint8) == TERMINATED,
            constants=constants,
        )


def _from_results(lasts: list[dict[str, Any]]) -> Lasts:
    """From the last results themselves, in which metrics may have taken the place of what is filled in."""
    import numpy as np

    timings = [Timing.read(last, 0.0) for last in lasts]

    def constant(key: str) -> Callable[[], NDArray[Any]]:
        return lambda: piece_of([last.get(key) for last in lasts]).values

    shared = ["trial_id", "pid", "hostname", "node_ip"]
    if any(EXPERIMENT_TAG in last for last in lasts):
        shared.append(EXPERIMENT_TAG)
    return Lasts(
        started=np.array([timing.started for timing in timings], dtype=np.float64),
        restored_time=np.array([timing.restored_time for timing in timings], dtype=np.float64),
        restored_step=np.array([timing.restored_step for timing in timings], dtype=np.int64),
        done=np.array([bool(last.get("done")) for last in lasts], dtype=np.bool_),
        constants={key: constant(key) for key in shared},
    )
