"""The trials of an experiment as a data frame, one line each: state, last report, config, error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasttune.failure import read_reason

if TYPE_CHECKING:
    import pandas as pd

    from fasttune.analysis import ExperimentAnalysis
    from fasttune.records import ExperimentRecords

FIRST = ("trial_id", "status", "training_iteration")
LOOKED_AT = 50  # trials whose parameters are the columns of a table: conditional ones are not in every trial
WHOLE = ("training_iteration", "timestamp", "pid", "iterations_since_restore")  # of what every report has


def trials_of(source: ExperimentRecords) -> pd.DataFrame:
    """One line for each trial, in their order. Before its first report a trial has its config only."""
    import numpy as np
    import pandas as pd

    from fasttune import _core
    from fasttune.analysis import ExperimentAnalysis

    if not len(source):
        return pd.DataFrame({name: [] for name in FIRST})
    analysis = ExperimentAnalysis(source)
    frame = analysis.results_df.reset_index().drop(columns="done", errors="ignore")
    codes = np.frombuffer(source.table.export("status"), np.uint8)
    frame.insert(1, "status", np.array(_core.STATUSES, dtype=object)[codes])
    if "training_iteration" not in frame:
        frame["training_iteration"] = 0
    frame["training_iteration"] = frame["training_iteration"].fillna(0)
    whole_numbers(frame, analysis)
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


def whole_numbers(frame: pd.DataFrame, analysis: ExperimentAnalysis) -> None:
    """Integers stay integers where a trial has none: beside an empty cell a column of them is one of floats."""
    reported = {name for name, kinds in analysis._columns.names.items() if kinds == "i"}
    for name in {*reported, *WHOLE} & set(frame.columns):
        column: Any = frame[name]
        if column.dtype.kind == "f" and (column.dropna() % 1 == 0).all():
            frame[name] = column.astype("Int64")


def own_metrics(frame: pd.DataFrame, steered: str | None) -> list[str]:
    """Metrics that the trials reported themselves, what the run is steered by first."""
    from fasttune.result import AUTO_RESULT_KEYS

    known = {*FIRST, *AUTO_RESULT_KEYS, "error"}
    own = [name for name in frame.columns if name not in known and not name.startswith("config/")]
    return sorted(own, key=lambda name: name != steered)


def shown_columns(frame: pd.DataFrame, source: ExperimentRecords) -> list[str]:
    """What a table of trials shows unless it is told: the state, metrics, sampled parameters, the error."""
    params = dict.fromkeys(name for i in range(min(LOOKED_AT, len(source))) for name in source.evaluated_params(i))
    return [*FIRST, *own_metrics(frame, source.metric), *(f"config/{name}" for name in params), "error"]
