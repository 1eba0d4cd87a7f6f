"""Data frames of an experiment, made of its columns: one look at each trial's last result and config, no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fasttune.columns import Columns, auto_columns, column_of
from fasttune.metric_values import whole_text
from fasttune.result import flatten
from fasttune.trial import trial_folder

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]


def reports_frame(columns: Columns, rows: Ints, *, folders: bool = False) -> pd.DataFrame:
    """One line per given report: metrics, auto-filled keys, config/<name>; ``folders`` adds logdir."""
    import numpy as np
    import pandas as pd

    trials, which = np.unique(columns.trial[rows], return_inverse=True)
    table = _metric_columns(columns, rows)
    if len(rows):
        for name, values in auto_columns(columns, rows).items():
            table.setdefault(name, values)
    table.update(_config_columns([columns.source.config(i) for i in trials.tolist()], which))
    if folders:
        table["logdir"] = column_of([trial_folder(columns.source, i) for i in trials.tolist()])[which]
    return pd.DataFrame(table)


def trials_frame(columns: Columns, trials: Sequence[int]) -> pd.DataFrame:
    """One line per trial, by trial_id: its last result, flattened. Without a report there is its config."""
    import numpy as np
    import pandas as pd

    source, last = columns.source, columns.last_rows()
    rows = last[np.isin(columns.trial[last], np.asarray(trials, dtype=np.int64))]
    reported = columns.trial[rows].tolist()
    frame = reports_frame(columns, rows)
    silent = sorted(set(trials) - set(reported))
    if silent:
        ids = column_of([source.trial_id(i) for i in silent])
        configs = _config_columns([source.config(i) for i in silent], np.arange(len(silent)))
        empty = pd.DataFrame({"trial_id": ids, **configs})
        frame = pd.concat([frame, empty], ignore_index=True) if reported else empty
    if "trial_id" not in frame:
        return frame
    at = {i: line for line, i in enumerate([*reported, *silent])}
    return frame.iloc[[at[i] for i in trials]].set_index("trial_id")


def trial_frame(columns: Columns, trial: int) -> pd.DataFrame:
    """One line per report of this trial that counts."""
    import numpy as np

    at = columns.rows_of(trial)
    return reports_frame(columns, np.arange(at.start, at.stop))


def _metric_columns(columns: Columns, rows: Ints) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, kinds in columns.names_in(rows).items():
        values, present = columns.metric(name)
        column = _typed(values[rows], present[rows], kinds.replace("x", ""))
        if "x" in kinds:
            column = _with_extras(column, columns.extra(name), rows)
        if column is not None:
            table[whole_text(name)] = column
    return table


def _typed(values: Floats, present: Bools, kinds: str) -> Any:
    """A column of the kind that was reported; ints become floats and bools objects where some are missing."""
    import numpy as np

    if not present.any():
        return None
    if kinds == "i" and present.all() and np.isfinite(values).all():
        return values.astype(np.int64)
    if kinds == "b":
        if present.all():
            return values.astype(np.bool_)
        column = values.astype(object)
        column[present] = values[present].astype(np.bool_)
        return column
    return values


def _with_extras(column: Any, extras: dict[int, Any], rows: Ints) -> Any:
    import numpy as np

    chosen = [(line, extras[row]) for line, row in enumerate(rows.tolist()) if row in extras]
    if not chosen:
        return column
    mixed = np.full(len(rows), np.nan, dtype=object)
    if column is not None:
        mixed[:] = column
    for line, value in chosen:
        mixed[line] = whole_text(value) if type(value) is str else value
    return mixed


def _config_columns(configs: Sequence[Mapping[str, Any]], which: Ints) -> dict[str, Any]:
    """config/<name> columns of the configs' leaves; ``which`` config belongs to each line."""
    import numpy as np

    flat = [flatten(config) for config in configs]
    names = dict.fromkeys(name for config in flat for name in config)
    return {
        whole_text(f"config/{name}"): column_of([config.get(name, np.nan) for config in flat])[which] for name in names
    }


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
