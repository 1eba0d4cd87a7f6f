"""The rows of ``fasttune ls``: a row is made when it is shown, what rows are chosen and sorted by comes as columns."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from fasttune import _core
from fasttune.cli.listing import Row
from fasttune.failure import read_reason
from fasttune.result import AUTO_KEYS, DELIMITER, EXPERIMENT_TAG, column_of_metric, flatten
from fasttune.tables.kinds import of_kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttune.engine.records import ExperimentRecords
    from fasttune.tables.trial_columns import TrialColumns

ATTACHED = f"user_attrs{DELIMITER}"  # what the columns of users' attributes are called, as in frames
FIRST = ("trial_id", "status", "training_iteration")
FILLED_IN = {*AUTO_KEYS, EXPERIMENT_TAG, *FIRST, "error"}
ERROR = _core.STATUSES.index("ERROR")


def trial_row(source: ExperimentRecords, i: int) -> Row:
    """The flattened last result of a trial; before its first report it has its config only."""
    row: Row = {"trial_id": source.trial_id(i), "status": source.shown_status(i), "training_iteration": 0}
    row |= flatten(source.last_result(i))
    row.pop("done", None)
    renamed = [(name, value) for name, value in (source.metrics(i) or {}).items() if column_of_metric(name) != name]
    for name, value in renamed:
        row.pop(name, None)
        row[column_of_metric(name)] = value
    if renamed or not any(name.startswith("config/") for name in row):
        row |= flatten({"config": source.config(i)})
    row |= {f"{ATTACHED}{name}": value for name, value in flatten(source.attributes_of(i)).items()}
    if row["status"] == "ERROR":
        row["error"] = reason(source, i)
    return row


def reason(source: ExperimentRecords, i: int) -> str:
    """Why a trial failed, in a line."""
    failure = source.failure(i)
    return read_reason(failure.text).what if failure is not None else ""


def _is_peculiar(metric: str) -> bool:
    """A metric that has, or looks as if it had, the name of something that is not reported."""
    first = metric.split(DELIMITER)[0]
    return first in FILLED_IN or not first or column_of_metric(metric) != metric


def _fits_float(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**1000)


class TrialRows:
    """A row per trial.

    Rows of the same names belong to trials whose last report had the same metrics and whose configs have the same names. A
    row that says more (values that are no numbers, checkpoints, what callbacks added), or whose metrics take the names of
    what is filled in, is made to see what it says.
    """

    def __init__(self, source: ExperimentRecords) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def row(self, place: int) -> Row:
        found = self._peculiar.get(place)
        return found if found is not None else trial_row(self._source, place)

    @cached_property
    def names(self) -> list[str]:
        """What any row has, in the order of first sight."""
        import numpy as np

        kinds = self._schemas.astype(np.int64) + 1
        for drawn in self._trials.drawn:
            for number, shape in enumerate(drawn.plan.shapes):
                kinds[drawn.at[shape.at]] += (len(self._source.table.schemas) + 1) * (number + len(drawn.plan.shapes))
        kinds = 2 * kinds + (self._status == ERROR)
        kinds[list(self._peculiar)] = -1  # these are all looked at
        _, first = np.unique(kinds, return_index=True)
        looked_at = sorted({*self._peculiar, *first.tolist()})
        return list(dict.fromkeys([*(name for place in looked_at for name in self.row(place)), *self._attributes]))

    def column(self, name: str) -> list[Any]:
        """What each row has of this name, None where it has nothing."""
        import numpy as np

        pieces = self._pieces(name)
        if pieces is None:
            return [self.row(place).get(name) for place in range(len(self))]
        column = np.full(len(self), None, dtype=object)
        for at, values in pieces:
            column[at] = values.astype(object)
        for place, row in self._peculiar.items():
            column[place] = row.get(name)
        found: list[Any] = column.tolist()
        return found

    def numbers(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | None:
        """(values, present), if all that rows have of this name are numbers, and none of them has to be made to tell."""
        import numpy as np

        pieces = self._pieces(name)
        told = {place: row[name] for place, row in self._peculiar.items() if row.get(name) is not None}
        if (
            pieces is None
            or not all(map(_fits_float, told.values()))
            or any(values.dtype.kind not in "fib" for _, values in pieces)
        ):
            return None
        column, present = np.full(len(self), np.nan), np.zeros(len(self), dtype=np.bool_)
        for at, values in pieces:
            column[at], present[at] = values, True
        for place in self._peculiar:
            column[place], present[place] = told.get(place, np.nan), place in told
        return column, present

    # ---- columns of the rows that are not looked at

    def _pieces(self, name: str) -> list[tuple[Any, NDArray[Any]]] | None:
        """(places, values) of a name; None when only the rows tell. Those of peculiar rows do not count."""
        import numpy as np

        if name == "training_iteration":
            steps = np.array(self._source.table.export("iteration"), dtype=np.int64)
            return [(slice(None), np.where(self._schemas < 0, 0, steps))]
        if name == "status":
            return [(slice(None), np.array(self._source.shown_statuses(), dtype=object)[self._status])]
        if name == "trial_id":
            return [(slice(None), self._trials.ids)]
        if name.startswith(f"config{DELIMITER}"):
            found = self._trials.config_names().get(name.removeprefix(f"config{DELIMITER}"), [])
            return [(at, give().values) for at, give in found]
        if name.startswith(ATTACHED):
            from fasttune.space.plan_columns import piece_of

            at, attached = self._attributes.get(name, ([], []))
            values = piece_of(attached).values
            return [(np.array(at, dtype=np.int64), values)]
        if name == "error":
            failed = np.flatnonzero(self._status == ERROR)
            return [(failed, np.array([reason(self._source, i) for i in failed.tolist()], dtype=object))]
        if name == "time_total_s":
            reported = np.flatnonzero(self._schemas >= 0)
            return [(reported, (self._field("base_total") + (self._field("time") - self._field("began")))[reported])]
        if name in FILLED_IN:
            return None
        return self._metric(name)

    @cached_property
    def _attributes(self) -> dict[str, tuple[list[int], list[Any]]]:
        """Column of users' attributes -> the trials that have one, and what they have."""
        found: dict[str, tuple[list[int], list[Any]]] = {}
        for place in self._source.attributed():
            for name, value in flatten(self._source.attributes_of(place)).items():
                at, values = found.setdefault(f"{ATTACHED}{name}", ([], []))
                at.append(place)
                values.append(value)
        return found

    def _field(self, name: Any) -> NDArray[np.float64]:
        import numpy as np

        return np.array(self._source.table.export(name), dtype=np.float64)

    def _metric(self, name: str) -> list[tuple[Any, NDArray[Any]]]:
        import numpy as np

        pieces: list[tuple[Any, NDArray[Any]]] = []
        for schema in self._source.table.schemas:
            if name not in schema.keys:
                continue
            at = schema.keys.index(name)
            trials, columns = self._source.table.lasts(schema.number)
            values = np.frombuffer(columns[at], np.float64)
            pieces.append((np.frombuffer(trials, np.int32), of_kind(values, chr(schema.kinds[at]))))
        return pieces

    @cached_property
    def _trials(self) -> TrialColumns:
        import numpy as np

        from fasttune.tables.trial_columns import TrialColumns

        return TrialColumns(self._source, np.arange(len(self)))

    @cached_property
    def _status(self) -> NDArray[np.uint8]:
        import numpy as np

        return np.array(self._source.table.export("status"), dtype=np.uint8)

    @cached_property
    def _schemas(self) -> NDArray[np.int32]:
        import numpy as np

        return np.array(self._source.table.export("schema"), dtype=np.int32)

    @cached_property
    def _peculiar(self) -> dict[int, Row]:
        """The rows that say what columns do not."""
        import numpy as np

        table = self._source.table
        apart = {*self._source.told_more(), *table.with_extras(), *self._trials.trials[self._trials.odd].tolist()}
        begun = np.array(table.export("attempt"), dtype=np.int64) > 0
        apart.update(np.flatnonzero(begun & (self._schemas < 0)).tolist())
        for schema in table.schemas:
            if any(_is_peculiar(name) for name in schema.keys):
                apart.update(np.flatnonzero(self._schemas == schema.number).tolist())
        return {place: trial_row(self._source, place) for place in sorted(apart)}
