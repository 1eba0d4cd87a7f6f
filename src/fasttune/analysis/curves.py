"""Learning curves for virtual time: of a function, of a table, or of an experiment that was run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fasttune import _draws
from fasttune.error import TrialFailedError
from fasttune.result import READ, flatten
from fasttune.search.base import Searcher
from fasttune.trainable import is_vectorized

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttune.tables.columns import Columns
    from fasttune.trial import TrialSource

Cost = float | str | Callable[[dict[str, Any], int], float]
STEPS = 100  # of a curve(config, step) that says no end
RECORDED_COST = "time_this_iter_s"
_IDS = ("trial_id", "trial", "config_id", "config")
_STEPS = ("training_iteration", "step", "epoch")


class Curves(Protocol):
    """A source of curves."""

    @property
    def configs(self) -> list[dict[str, Any]] | None:
        """All configs that have a curve, in order; None: any config has one."""

    def curve(self, trial: int, config: dict[str, Any], attempt: int) -> Any: ...


# -------- functions


class FunctionCurves:
    """``function(config, step)`` gives a report (a dict, or a number: the metric), None after the last one; or
    ``function(config)`` is a generator of them."""

    configs: list[dict[str, Any]] | None = None

    def __init__(
        self, function: Callable[..., Any], cost: Cost, steps: int | None, metric: str | None, failures: float, seed: int
    ) -> None:
        import inspect

        self._generator = inspect.isgeneratorfunction(function)
        self._function = function
        self._steps = steps if steps is not None or self._generator else STEPS
        self._cost = cost
        self._metric = metric or "_metric"
        self._failures = failures
        self._key = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF

    def curve(self, trial: int, config: dict[str, Any], attempt: int) -> FunctionCurve:
        return FunctionCurve(self, config, (trial, attempt))

    def made(self, value: Any) -> dict[str, Any] | None:
        """A report as the reporter takes it: flat names, plain numbers."""
        if type(value) is dict:
            for one in value.values():
                if type(one) is not float and type(one) is not int:
                    return {key: plain(key, part) for key, part in flatten(value).items()}
            return value
        return None if value is None else {self._metric: plain(self._metric, value)}

    def fails(self, place: tuple[int, int], step: int) -> bool:
        """Whether this step of this attempt fails: drawn from (seed, trial, attempt, step)."""
        drawn: int = _draws.philox4x32((*place, step, 0), self._key)[0]
        return drawn < self._failures * 2.0**32


class FunctionCurve:
    """One trial's curve by a function."""

    truncated = False

    def __init__(self, source: FunctionCurves, config: dict[str, Any], place: tuple[int, int]) -> None:
        self._source = source
        self._config = config
        self._place = place
        self._values: Iterator[Any] | None = source._function(config) if source._generator else None
        self._taken = 0

    def at(self, step: int) -> dict[str, Any] | None:
        source = self._source
        if source._steps is not None and step > source._steps:
            return None
        if source._failures and source.fails(self._place, step):
            raise TrialFailedError(f"step {step} failed, as failures={source._failures:g} asks for")
        if self._values is None:
            return source.made(source._function(self._config, step))
        value = None
        while self._taken < step:  # a trial that goes on from a later step passes over what comes before
            value = next(self._values, None)
            self._taken += 1
        return source.made(value)

    def cost(self, step: int, metrics: Mapping[str, Any]) -> float:
        cost = self._source._cost
        if isinstance(cost, str):
            return seconds(metrics[cost])
        return seconds(cost(self._config, step) if callable(cost) else cost)


# -------- recorded


class RecordedCurves:
    """Curves as they were recorded, one per config. ``columns`` holds, per metric, the values of all steps end to end;
    curve i is the slice ``bounds[i]``. ``truncated`` are those that might have gone on; ``failed`` those that ended with
    an error, and its text."""

    def __init__(
        self,
        configs: list[dict[str, Any]],
        columns: Mapping[str, Sequence[float]],
        bounds: Sequence[tuple[int, int]],
        cost: Cost,
        truncated: frozenset[int] = frozenset(),
        failed: Mapping[int, str] | None = None,
    ) -> None:
        self.configs = configs
        self.bounds = bounds
        self.truncated = truncated
        self.failed = failed or {}
        self.cost = cost
        if isinstance(cost, str) and cost not in columns:
            raise ValueError(f"cost={cost!r} must be one of the columns {', '.join(columns)}, or a number or a function")
        self.costs = columns[cost] if isinstance(cost, str) else None
        self.metrics = {name: values for name, values in columns.items() if name not in (cost, *_STEPS)}

    def curve(self, trial: int, config: dict[str, Any], attempt: int) -> RecordedCurve:
        if config != self.configs[trial]:
            raise ValueError(
                f"trial {trial} is to go on with the config {config!r:.200}, of which no curve was recorded "
                f"(it was {self.configs[trial]!r:.200}): schedulers that change configs need curves by a function"
            )
        return RecordedCurve(self, trial, config)


class RecordedCurve:
    """One trial's curve as it was."""

    def __init__(self, source: RecordedCurves, i: int, config: dict[str, Any]) -> None:
        self._source = source
        self._first, self._end = source.bounds[i]
        self._config = config
        self._error = source.failed.get(i)
        self.truncated = i in source.truncated

    def at(self, step: int) -> dict[str, Any] | None:
        row = self._first + step - 1
        if row < self._end:
            found = {name: values[row] for name, values in self._source.metrics.items()}
            return {name: value for name, value in found.items() if value is not None}
        if self._error is not None:
            raise TrialFailedError(self._error)
        return None

    def cost(self, step: int, metrics: Mapping[str, Any]) -> float:
        cost, costs = self._source.cost, self._source.costs
        if costs is not None:
            return seconds(costs[self._first + step - 1])
        assert not isinstance(cost, str)
        return seconds(cost(self._config, step) if callable(cost) else cost)


class Listed(Searcher):
    """Suggests these configs, in their order."""

    def __init__(self, configs: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self._configs = configs
        self._given = 0

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._given == len(self._configs):
            return Searcher.FINISHED
        self._given += 1
        return self._configs[self._given - 1]

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing is learnt."""


def of_experiment(source: TrialSource, columns: Columns, trials: Sequence[int], cost: Cost | None) -> RecordedCurves:
    """What these trials of an experiment reported; a step costs the seconds that it took, unless ``cost`` says otherwise."""
    table = getattr(source, "table", None)
    if table is None:
        raise ValueError(
            "this analysis was pickled and holds no journal: open the experiment's folder, ExperimentAnalysis(path)"
        )
    names = [name for name in columns.names if "x" not in columns.names[name]]
    cost = RECORDED_COST if cost is None else cost
    if isinstance(cost, str) and cost not in names:
        names.append(cost)
    reported, starts = columns.trial[columns.starts].tolist(), columns.starts.tolist()
    rows = {i: (at, at + n) for i, at, n in zip(reported, starts, columns.counts.tolist(), strict=True)}
    status = [table.status(i) for i in trials]
    failed = {k: "as it did when it was recorded" for k, how in enumerate(status) if how == "ERROR"}
    done = set(columns.said_done().tolist())
    over = {k for k, how in enumerate(status) if how == "TERMINATED" and (trials[k] in done or not table.was_stopped(trials[k]))}
    return RecordedCurves(
        [source.config(i) for i in trials],
        {name: _values(*columns.metric(name), columns.names.get(name, "f")) for name in names},
        [rows.get(i, (0, 0)) for i in trials],
        cost,
        frozenset(range(len(trials))) - over - failed.keys(),
        failed,
    )


def _values(values: NDArray[np.float64], present: NDArray[np.bool_], kinds: str) -> list[Any]:
    """A column as Python numbers of the kind that was reported; None where it was not."""
    read: Any = READ.get(kinds, float)
    known = present if read is float else present & (values == values)
    return [read(value) if there else None for value, there in zip(values.tolist(), known.tolist(), strict=True)]


def of_table(table: Any, cost: Cost, configs: Sequence[dict[str, Any]] | None) -> RecordedCurves:
    """A data frame with a line per config and step, or a dict of arrays (configs x steps); NaN ends a curve."""
    return _of_arrays(table, cost, configs) if isinstance(table, Mapping) else _of_frame(table, cost)


def _of_arrays(table: Mapping[str, Any], cost: Cost, configs: Sequence[dict[str, Any]] | None) -> RecordedCurves:
    import numpy as np

    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in table.items()}
    shapes = {values.shape for values in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        told = ", ".join(f"{name}: {values.shape}" for name, values in arrays.items())
        raise ValueError(f"a table of curves is a dict of arrays of one shape (configs, steps), got {told or 'nothing'}")
    n, width = next(iter(shapes))
    if configs is not None and len(configs) != n:
        raise ValueError(f"the table has {n} rows, and config names {len(configs)} configs")
    known = np.logical_or.reduce([~np.isnan(values) for values in arrays.values()])
    lengths = np.where(known.any(axis=1), width - known[:, ::-1].argmax(axis=1), 0).tolist()
    return RecordedCurves(
        [{"config": i} for i in range(n)] if configs is None else [dict(one) for one in configs],
        {name: values.ravel().tolist() for name, values in arrays.items()},
        [(i * width, i * width + length) for i, length in enumerate(lengths)],
        cost,
    )


def _of_frame(frame: Any, cost: Cost) -> RecordedCurves:
    names = [str(name) for name in frame.columns]
    ids = next((name for name in _IDS if name in names), None)
    step = next((name for name in _STEPS if name in names), None)
    if ids is None or step is None:
        raise ValueError(
            f"a table of curves has a column {' or '.join(_IDS)} and a column {' or '.join(_STEPS)}; "
            f"this one has {', '.join(names)}"
        )
    ordered = frame.sort_values([ids, step], kind="stable")
    params = [name for name in names if name.startswith("config/")]
    numbers = ordered.select_dtypes(["number", "bool"]).columns
    columns = {str(n): ordered[n].tolist() for n in numbers if str(n) not in (ids, *params)}
    bounds: list[tuple[int, int]] = []
    configs: list[dict[str, Any]] = []
    at = 0
    for key, part in ordered.groupby(ids, sort=False):
        bounds.append((at, at + len(part)))
        at += len(part)
        first = part.iloc[0]
        configs.append({n.removeprefix("config/"): plain(n, first[n]) for n in params} or {ids: plain(ids, key)})
    return RecordedCurves(configs, columns, bounds, cost)


# -------- values


def plain(name: str, value: Any) -> Any:
    """The value as a Python number (or text, of a config)."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a curve holds numbers, got {name}={value!r:.80} ({type(value).__name__})")


def seconds(value: Any) -> float:
    """A cost: a number of seconds, 0 or more."""
    cost = float(value)
    if not 0.0 <= cost < float("inf"):
        raise ValueError(f"a step's cost must be a finite number of seconds >= 0, got {value!r}")
    return cost


def curves_of(
    given: Any,
    cost: Cost | None,
    steps: int | None,
    config: Any,
    metric: str | None,
    failures: float,
    seed: int,
) -> Curves:
    """The curves that ``simulate`` was given, whatever their form."""
    from fasttune.analysis.experiment_analysis import ExperimentAnalysis

    if isinstance(given, (str, os.PathLike)):
        given = ExperimentAnalysis(given)
    if isinstance(given, ExperimentAnalysis):
        return of_experiment(given._source, given._columns, given._indices, cost)
    if isinstance(given, RecordedCurves):
        return given
    if isinstance(given, Mapping) or hasattr(given, "groupby"):
        return of_table(given, 1.0 if cost is None else cost, config)
    if is_vectorized(given):
        from fasttune.analysis.vector_curves import one_by_one

        space = config if isinstance(config, Mapping) else None
        return FunctionCurves(one_by_one(given, space), 1.0 if cost is None else cost, steps, metric, failures, seed)
    if callable(given):
        return FunctionCurves(given, 1.0 if cost is None else cost, steps, metric, failures, seed)
    raise TypeError(
        "curves must be a function(config, step), a table (a data frame or a dict of arrays), an ExperimentAnalysis or "
        f"the path of an experiment, got {type(given).__name__}"
    )
