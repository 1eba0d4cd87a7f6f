"""Data frames of an experiment, made of its columns: one look at each trial's last result and config, no more."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fasttune.metric_values import whole_text
from fasttune.result import column_of_metric, flatten
from fasttune.space.plan_columns import Coded, piece_of
from fasttune.tables.auto_columns import AutoColumns
from fasttune.tables.columns import Columns
from fasttune.tables.kinds import of_kind_where
from fasttune.tables.trial_columns import TrialColumns

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from fasttune.trial import TrialSource

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]


def reports_frame(columns: Columns, rows: Ints, *, folders: bool = False) -> pd.DataFrame:
    """One line per given report: metrics, auto-filled keys, config/<name>, user_attrs/<name>; ``folders`` adds logdir."""
    import pandas as pd

    table = _metric_columns(columns, rows)
    filled_in = AutoColumns(columns, rows)
    for key in filled_in.keys() if len(rows) else ():
        if key not in table:
            table[key] = _held(filled_in.column(key))
    trials = filled_in.trials
    for name, pieces in trials.config_names().items():
        table[whole_text(f"config/{name}")] = _held(filled_in.spread(trials.column(pieces)))
    for name, attributes in _attributes(columns.source, trials.trials).items():
        table[name] = _held(filled_in.spread(attributes))
    if folders:
        table["logdir"] = _held(filled_in.spread(trials.folders))
    return pd.DataFrame(table, copy=False)  # each column was made for this frame


def trials_frame(columns: Columns, trials: Sequence[int]) -> pd.DataFrame:
    """One line per trial, by trial_id: its last result, flattened. Without a report there is its config."""
    import numpy as np
    import pandas as pd

    wanted = np.asarray(trials, dtype=np.int64)
    is_wanted = np.zeros(max(wanted.max(initial=-1), columns.trial.max(initial=-1)) + 1, dtype=np.bool_)
    is_wanted[wanted] = True
    last = columns.last_rows()
    rows = last[is_wanted[columns.trial[last]]]
    frame = reports_frame(columns, rows)
    shown = columns.trial[rows].astype(np.int64)
    is_wanted[shown] = False
    silent = np.flatnonzero(is_wanted)
    if len(silent):
        of_silent = TrialColumns(columns.source, silent)
        configs = of_silent.config_names().items()
        table = {whole_text(f"config/{name}"): _held(of_silent.column(pieces)) for name, pieces in configs}
        table |= {name: _held(column) for name, column in _attributes(columns.source, silent).items()}
        empty = pd.DataFrame({"trial_id": of_silent.ids, **table})
        frame = _stacked(frame, empty) if len(shown) else empty
        shown = np.concatenate([shown, silent])
    if "trial_id" not in frame:
        return frame
    if not np.array_equal(shown, wanted):
        line = np.empty(int(shown.max()) + 1, dtype=np.int64)
        line[shown] = np.arange(len(shown))
        frame = frame.iloc[line[wanted]]
    return frame.set_index("trial_id")


def _stacked(above: pd.DataFrame, below: pd.DataFrame) -> pd.DataFrame:
    """One under the other. A cell that is None stays None, and one that is not there is NaN.

    pandas before 3 makes all cells of an object column that has only empty ones what the first one in its block is.
    """
    import numpy as np
    import pandas as pd

    frame = pd.concat([above, below], ignore_index=True)
    if int(pd.__version__.split(".")[0]) >= 3:
        return frame
    for name in [name for name in frame.columns if pd.api.types.is_object_dtype(frame[name].dtype)]:
        parts = [
            part[name].to_numpy(object) if name in part else np.full(len(part), np.nan, dtype=object) for part in (above, below)
        ]
        frame[name] = pd.Series(np.concatenate(parts), dtype=object)
    return frame


def _attributes(source: TrialSource, trials: Ints) -> dict[str, NDArray[Any]]:
    """user_attrs/<name> -> what users have attached to these trials, NaN where that was not."""
    import numpy as np

    found: dict[str, NDArray[Any]] = {}
    attached = np.asarray(source.attributed() if hasattr(source, "attributed") else [], dtype=np.int64)
    at = np.flatnonzero(np.isin(trials, attached)).tolist() if len(attached) else []
    attributes_of: Any = getattr(source, "attributes_of", None)
    for place in at:
        for name, value in flatten(attributes_of(int(trials[place]))).items():
            column = found.setdefault(whole_text(f"user_attrs/{name}"), np.full(len(trials), np.nan, dtype=object))
            column[place] = value
    return {name: piece_of(_as_floats(column.tolist())).values for name, column in found.items()}


def _as_floats(values: list[Any]) -> list[Any]:
    """Whole numbers beside floats as floats, as what is missing is one."""
    if set(map(type, values)) != {int, float}:
        return values
    try:
        return [float(value) for value in values]
    except OverflowError:
        return values


def _held(column: NDArray[Any] | Coded) -> Any:
    """A column as a frame holds it. Texts are converted now, so that those of all columns are never there at once, and of few
    different ones each is converted once."""
    import pandas as pd

    objects = column.options if isinstance(column, Coded) else column
    if objects.dtype != object:
        return column.spread() if isinstance(column, Coded) else column
    try:
        held = pd.Series(objects, copy=False)
    except OverflowError:  # pandas 3.0 looks for a type of numbers in which an int beyond 10^308 does not fit
        spread = column.spread() if isinstance(column, Coded) else column
        return pd.Series(spread, dtype=object, copy=False)
    if held.dtype == object:
        return column.spread() if isinstance(column, Coded) else column
    return held.array.take(column.which) if isinstance(column, Coded) else held.array


def long_frame(columns: Columns, trials: Sequence[int] | None = None, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """One line per report that counts: trial_id (categorical), training_iteration, time, and the metrics.

    ``trials``: of these only, in their order; ``metrics``: these only, in their order. ValueError for a metric that was
    never reported although something was.
    """
    import numpy as np
    import pandas as pd

    rows: Any = slice(None)
    reported = columns.trial[columns.starts].astype(np.int64)
    of_trial = np.repeat(np.arange(len(reported), dtype=np.int32), columns.counts)
    if trials is not None:
        places = [columns.rows_of(i) for i in trials]
        rows = np.concatenate([np.arange(at.start, at.stop) for at in places] or [np.empty(0, dtype=np.int64)])
    unknown = [] if metrics is None or not len(columns) else [name for name in metrics if name not in columns.names]
    if unknown:
        raise ValueError(
            f"metrics must have been reported, got {unknown[0]!r}; reported were: {', '.join(list(columns.names)[:20])}"
        )
    ids = TrialColumns(columns.source, reported).ids
    table: dict[str, Any] = {
        "trial_id": pd.Categorical.from_codes(of_trial[rows], pd.Index(ids, dtype=None if len(ids) else object)),
        "training_iteration": columns.step[rows].astype(np.int64),
        "time": _own(columns.time[rows], columns.time),
    }
    table.update(_metric_columns(columns, rows, metrics))
    return pd.DataFrame(table, copy=False)  # each column was made for this frame


def trial_frame(columns: Columns, trial: int) -> pd.DataFrame:
    """One line per report of this trial that counts."""
    import numpy as np

    at = columns.rows_of(trial)
    return reports_frame(columns, np.arange(at.start, at.stop))


def _metric_columns(columns: Columns, rows: Any, wanted: Sequence[str] | None = None) -> dict[str, Any]:
    """The metrics of some rows (positions, or a slice of all); those that are ``wanted``."""
    table: dict[str, Any] = {}
    names = columns.names if isinstance(rows, slice) else columns.names_in(rows)
    for name in names if wanted is None else wanted:
        kinds = names.get(name, "")
        values, present = columns.metric(name)
        here = values[rows]
        column: Any = of_kind_where(here, present[rows], kinds.replace("x", "")) if present[rows].any() else None
        column = _own(here, values) if column is here else column
        if "x" in kinds:
            column = _with_extras(column, columns.extra(name), rows, len(present[rows]))
        if column is not None:
            table[whole_text(_column_name(name))] = _held(column)
    return table


def _column_name(metric: str) -> str:
    """The column of a metric; that it is called otherwise is said."""
    name = column_of_metric(metric)
    if name != metric:
        warnings.warn(
            f"metric {metric!r} has a name that tables keep for configs and attributes: its column is {name!r}", stacklevel=2
        )
    return name


def _own(column: NDArray[Any], of: NDArray[Any]) -> NDArray[Any]:
    """The column, or a copy where it shares the memory of what it was taken from."""
    return column.copy() if column.base is not None and column.ctypes.data == of.ctypes.data else column


def _with_extras(column: Any, extras: Mapping[int, Any], rows: Any, n: int) -> Any:
    """``column`` with the values that are no plain numbers, of n rows (positions, or a slice of all)."""
    import numpy as np

    told = np.fromiter(extras, dtype=np.int64, count=len(extras))
    lines = np.sort(told) if isinstance(rows, slice) else np.flatnonzero(np.isin(rows, told))
    if not len(lines):
        return column
    mixed = np.full(n, np.nan, dtype=object)
    if column is not None:
        mixed[:] = column
    for line, row in zip(lines.tolist(), (lines if isinstance(rows, slice) else rows[lines]).tolist(), strict=True):
        value = extras[row]
        mixed[line] = whole_text(value) if type(value) is str else value
    return mixed


class TrialFrames(Mapping[str, Any]):
    """Trial id -> data frame of the trial's reports. A frame is made when it is first asked for."""

    def __init__(self, columns: Columns, trials: Sequence[int]) -> None:
        self._columns = columns
        self._index = {columns.source.trial_id(i): i for i in trials}
        self._frames: dict[str, pd.DataFrame] = {}

    def __getitem__(self, trial_id: str) -> pd.DataFrame:
        if trial_id not in self._frames:
            self._frames[trial_id] = trial_frame(self._columns, self._index[trial_id])
        return self._frames[trial_id]

    def __contains__(self, trial_id: object) -> bool:
        return trial_id in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"<data frames of {len(self)} trials, by trial id>"
