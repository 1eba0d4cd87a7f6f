"""The trials of an experiment as a data frame, one line each: state, last report, config, error."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fasttune.cli.trial_rows import ATTACHED, TrialRows
from fasttune.failure import read_reason
from fasttune.result import flatten

if TYPE_CHECKING:
    import pandas as pd

    from fasttune.analysis import ExperimentAnalysis
    from fasttune.engine.records import ExperimentRecords

FIRST = ("trial_id", "status", "training_iteration")
MANY = 20  # times as many rows are made as columns in the time of one that is made alone
LOOKED_AT = 50  # trials whose parameters are the columns of a table: conditional ones are not in every trial
WHOLE = ("training_iteration", "timestamp", "pid", "iterations_since_restore")  # of what every report has


def trials_of(source: ExperimentRecords) -> pd.DataFrame:
    """One line for each trial, in their order. Before its first report a trial has its config only."""
    import numpy as np
    import pandas as pd

    from fasttune.analysis import ExperimentAnalysis

    if not len(source):
        return pd.DataFrame({name: [] for name in FIRST})
    analysis = ExperimentAnalysis(source)
    frame = analysis.results_df.reset_index().drop(columns="done", errors="ignore")
    codes = np.frombuffer(source.table.export("status"), np.uint8)
    frame.insert(1, "status", np.array(source.shown_statuses(), dtype=object)[codes])
    if "training_iteration" not in frame:
        frame["training_iteration"] = 0
    frame["training_iteration"] = frame["training_iteration"].fillna(0)
    whole_numbers(frame, analysis, source)
    if source.metric is not None and source.metric not in frame:
        frame[source.metric] = np.nan  # nobody has reported it yet
    failed = source.table.of_status("ERROR")
    if failed:
        errors: list[str | None] = [None] * len(source)
        for i in failed:
            failure = source.failure(i)
            errors[i] = read_reason(failure.text).what if failure is not None else ""
        frame["error"] = errors
    return frame


def whole_numbers(frame: pd.DataFrame, analysis: ExperimentAnalysis, source: ExperimentRecords) -> None:
    """Integers stay integers where a trial has none: beside an empty cell a column of them is one of floats."""
    reported = {name for name, kinds in analysis._columns.names.items() if kinds == "i"}
    attached: dict[str, set[type]] = {}
    for i in source.attributed():
        for name, value in flatten(source.attributes_of(i)).items():
            attached.setdefault(f"{ATTACHED}{name}", set()).add(type(value))
    whole = {name for name, kinds in attached.items() if kinds == {int}}
    for name in {*reported, *WHOLE, *whole} & set(frame.columns):
        column: Any = frame[name]
        if column.dtype.kind == "f" and (column.dropna() % 1 == 0).all():
            frame[name] = column.astype("Int64")


class TrialTable:
    """The same for listings: what rows are chosen and sorted by comes as columns, and a row is made when it is shown."""

    def __init__(self, source: ExperimentRecords) -> None:
        self._source = source
        self._rows = TrialRows(source)

    @cached_property
    def names(self) -> list[str]:
        own = [name for name in self._rows.names if name not in FIRST]
        metric = self._source.metric  # a column of it is there before anybody has reported it
        awaited = [metric] if metric is not None and metric not in own and len(self) else []
        return [*FIRST, *own, *awaited]

    @property
    def texts(self) -> Sequence[str]:
        return [name for name in self.names if name in ("trial_id", "status", "error") or name.startswith("config/")]

    def __len__(self) -> int:
        return len(self._source)

    def columns(self, names: Sequence[str]) -> pd.DataFrame:
        import numpy as np
        import pandas as pd

        made: dict[str, Any] = {}
        for name in names:
            found = self._rows.numbers(name)
            if found is None:
                made[name] = pd.Series(self._rows.column(name), dtype=object)
            else:
                made[name] = np.where(found[1], found[0], np.nan)
        return pd.DataFrame(made, index=range(len(self)))

    def take(self, places: Sequence[int]) -> pd.DataFrame:
        import pandas as pd

        if MANY * len(places) > len(self):
            return trials_of(self._source).reindex(columns=self.names).iloc[list(places)]
        rows = [self._rows.row(place) for place in places]
        return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in self.names})


def own_metrics(names: Sequence[str], steered: str | None) -> list[str]:
    """Metrics that the trials reported themselves, what the run is steered by first."""
    from fasttune.result import AUTO_RESULT_KEYS

    known = {*FIRST, *AUTO_RESULT_KEYS, "error"}
    own = [name for name in names if name not in known and not name.startswith("config/")]
    return sorted(own, key=lambda name: name != steered)


def shown_columns(names: Sequence[str], source: ExperimentRecords) -> list[str]:
    """What a table of trials shows unless it is told: the state, metrics, sampled parameters, the error."""
    params = dict.fromkeys(name for i in range(min(LOOKED_AT, len(source))) for name in source.evaluated_params(i))
    return [*FIRST, *own_metrics(names, source.metric), *(f"config/{name}" for name in params), "error"]
