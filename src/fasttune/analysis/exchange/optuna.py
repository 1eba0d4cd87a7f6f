"""An experiment as a study of Optuna (Akiba et al. 2019, Optuna, KDD), in a storage that its dashboard opens."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.analysis.exchange.outcomes import COMPLETE, FAIL, PLAIN, PRUNED, WAITING, Outcome, Outcomes, plain
from fasttune.constraints import PREFIX
from fasttune.extras import optional
from fasttune.tables.cells import of_python

if TYPE_CHECKING:
    from fasttune.analysis.experiment_analysis import ExperimentAnalysis
    from fasttune.plot.parameters import SpaceLine

JOURNALS = (".log", ".journal")
DATABASES = (".db", ".sqlite", ".sqlite3")
RDB, JOURNAL = "optuna.storages._rdb.storage", "optuna.storages.journal._storage"  # loggers that announce a study


def write(
    analysis: ExperimentAnalysis,
    path: str,
    *,
    study_name: str | None = None,
    metrics: Mapping[str, str] | None = None,
    scope: str | None = None,
) -> str:
    """Add the experiment as a study to an Optuna storage, which is made if it is not there.

    A trial that a scheduler or somebody stopped is PRUNED; one that failed, or has no value, is FAIL; one that has not begun
    is WAITING, so that whoever goes on with the study runs it. The intermediate values are those of the metric at each
    ``training_iteration``; last values of the other metrics are user attributes, as is what a function of the space computed.

    Args:
        path: "study.db" is an SQLite storage, "study.log" a journal of Optuna's, "mysql://..." the URL of a database.
        study_name: by default the experiment's name.
        metrics: "min" or "max" for each objective, e.g. ``{"loss": "min", "seconds": "min"}``; None: the experiment's metric.
        scope: which value of a trial is its value, as for ``get_best_trial``.

    Raises:
        ValueError: no metric is known, the storage has a study of that name, or the path says no kind of storage.
    """
    optuna: Any = optional("optuna", "optuna", "export to optuna")
    outcomes = Outcomes(analysis, metrics, scope)
    if not outcomes.goals:
        raise ValueError('no metric is the study\'s objective: say which, e.g. metrics={"loss": "min"}')
    name = study_name or analysis._source.name
    made = StudyTrials(optuna, outcomes)
    kind = storage_kind(path)
    if kind == "journal":
        write_journal(optuna, path, name, made)
    elif kind == "database":
        write_database(optuna, path, name, made)
    else:
        new_study(optuna, optuna.storages.get_storage(path), name, made).add_trials(map(made.frozen, made))
    return path


def storage_kind(path: str) -> str:
    """ "journal", "database" (a file of SQLite) or "url"."""
    if "://" in path:
        return "url"
    ending = os.path.splitext(path)[1].lower()
    if ending in JOURNALS:
        return "journal"
    if ending in DATABASES:
        return "database"
    raise ValueError(
        f"an Optuna storage is a file that ends with {', '.join(DATABASES)} (SQLite) or {', '.join(JOURNALS)} (a journal), or "
        f'the URL of a database ("mysql://..."), got {path!r}'
    )


class OptunaParameter(NamedTuple):
    """One parameter as Optuna has it."""

    distribution: Any
    texts: bool  # its options are the texts of the values

    def external(self, value: Any) -> Any:
        return str(value) if self.texts else value


class StudyTrials:
    """The trials of an experiment, with the distributions that hold all their values."""

    def __init__(self, optuna: Any, outcomes: Outcomes) -> None:
        self._optuna = optuna
        self.outcomes = outcomes
        # what a function computes from other parameters is nothing that a sampler could choose
        self.computed = {line.name for line in outcomes.space if line.kind == "computed"}
        searched = [{name: row[name] for name in row if name not in self.computed} for row in outcomes.params]
        self.parameters = parameters_of(optuna.distributions, outcomes.space, searched)

    @property
    def directions(self) -> list[str]:
        return ["maximize" if mode == "max" else "minimize" for mode in self.outcomes.goals.values()]

    @property
    def metric_names(self) -> list[str]:
        return list(self.outcomes.goals)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def params(self, told: Outcome) -> dict[str, Any]:
        """Flat name -> the value as Optuna has it."""
        return {
            name: self.parameters[name].external(value) for name, value in told.params.items() if name not in self.computed
        }

    def intermediate(self, told: Outcome) -> dict[int, float]:
        """Step -> value of the one objective; {} of several, for which Optuna has no intermediate values."""
        if len(self.outcomes.goals) != 1 or not told.steps:
            return {}
        values = told.reports.get(self.metric_names[0], ())
        return {step: value for step, value in zip(told.steps, values, strict=False) if value == value}

    def values(self, told: Outcome) -> list[float] | None:
        """What the study knows of a trial's worth: a pruned one has its last value, if it reported it."""
        if told.state not in (COMPLETE, PRUNED) or any(map(math.isnan, told.values)):
            return None
        return list(told.values)

    def attributes(self, told: Outcome) -> dict[str, Any]:
        """The user attributes: the other metrics, what was computed, what the user has attached, and whose trial it is."""
        last = {name: values[-1] for name, values in told.reports.items() if name not in self.outcomes.goals}
        numbers = {name: value for name, value in last.items() if math.isfinite(value)}
        computed = {name: plain(value) for name, value in told.params.items() if name in self.computed}
        return {**numbers, **computed, **told.attributes, "trial_id": told.trial_id}

    def system_attributes(self, told: Outcome) -> dict[str, Any]:
        if told.state == WAITING:
            return {"fixed_params": self.params(told)}
        held = [values[-1] for name, values in told.reports.items() if name.startswith(PREFIX) and values]
        return {"constraints": held} if held and all(map(math.isfinite, held)) else {}

    def times(self, told: Outcome) -> tuple[datetime | None, datetime | None]:
        """(start, end) in local time, as Optuna keeps them."""
        if told.state == WAITING:
            return None, None
        began = told.began if told.began is not None else told.ended or 0.0
        start = datetime.fromtimestamp(began)
        if told.state not in (COMPLETE, PRUNED, FAIL):
            return start, None
        return start, start if told.ended is None else datetime.fromtimestamp(max(told.ended, began))

    def frozen(self, told: Outcome) -> Any:
        """The trial as Optuna's own."""
        start, complete = self.times(told)
        waits = told.state == WAITING
        params = {} if waits else self.params(told)
        return self._optuna.trial.FrozenTrial(
            number=-1,
            trial_id=-1,
            state=self._optuna.trial.TrialState[told.state],
            value=None,
            values=self.values(told),
            datetime_start=start,
            datetime_complete=complete,
            params=params,
            distributions={name: self.parameters[name].distribution for name in params},
            user_attrs=self.attributes(told),
            system_attrs=self.system_attributes(told),
            intermediate_values=self.intermediate(told),
        )


# ---- distributions


def parameters_of(
    kinds: Any, space: Sequence[SpaceLine], params: Sequence[Mapping[str, Any]]
) -> dict[str, OptunaParameter]:
    """The distribution of every parameter: that of the space, widened to the values that trials had besides."""
    found: dict[str, list[Any]] = {}
    for row in params:
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    lines = {line.name: line for line in space}
    return {name: parameter_of(kinds, values, lines.get(name)) for name, values in found.items()}


def parameter_of(kinds: Any, values: Sequence[Any], line: SpaceLine | None) -> OptunaParameter:
    """The distribution of one parameter."""
    types = set(map(type, values))
    chosen = line is not None and line.kind == "choice"
    if not chosen and types <= {int, float} and all(map(math.isfinite, values)):
        whole = types == {int} and (line is None or line.kind != "float")
        return OptunaParameter((whole_numbers if whole else numbers)(kinds, values, line), False)
    choices = [of_python(one) for one in line.options] if line else []
    options = dict.fromkeys((type(one), one) for one in (*choices, *values) if isinstance(one, PLAIN))
    offered = [one for _, one in options]
    # to Optuna True and 1 are one option, and only plain values can be stored
    fits = types <= set(PLAIN) and len(offered) == len(set(offered)) and not any(one != one for one in offered)
    if not fits:
        offered = list(dict.fromkeys(map(str, (*choices, *values))))
    return OptunaParameter(kinds.CategoricalDistribution(offered), not fits)


def numbers(kinds: Any, values: Sequence[float], line: SpaceLine | None) -> Any:
    """A distribution of floats."""
    low, high, log, step = bounds_of(values, line)
    steps = step is not None and all(abs((value - low) / step - round((value - low) / step)) < 1e-8 for value in (*values, high))
    return kinds.FloatDistribution(low, high, log=log, step=step if steps and not log else None)


def whole_numbers(kinds: Any, values: Sequence[int], line: SpaceLine | None) -> Any:
    """A distribution of integers."""
    low, high, log, step = bounds_of(values, line)
    steps = step is not None and all((value - low) % step == 0 for value in (*values, high))
    return kinds.IntDistribution(int(low), int(high), log=log, step=int(step) if steps and step and not log else 1)


def bounds_of(values: Sequence[float], line: SpaceLine | None) -> tuple[float, float, bool, float | None]:
    """(low, high, whether logarithmic, step)."""
    low, high = min(values), max(values)
    if line is None or line.low is None or line.high is None:
        return low, high, False, None
    low, high = min(low, line.low), max(high, line.high)
    return low, high, line.log and low > 0, line.step


# ---- storages


def new_study(optuna: Any, storage: Any, name: str, made: StudyTrials) -> Any:
    """A study without trials; ValueError if there is one of that name."""
    from fasttune.search.optuna import without_announcement

    try:
        with without_announcement(RDB), without_announcement(JOURNAL):
            study = optuna.create_study(storage=storage, study_name=name, directions=made.directions)
    except optuna.exceptions.DuplicatedStudyError:
        raise ValueError(f"the storage has a study named {name!r} already: give another study_name=") from None
    storage.set_study_system_attr(study._study_id, "study:metric_names", made.metric_names)
    for attribute, value in made.outcomes.analysis.user_attrs.items():
        study.set_user_attr(attribute, plain(value))
    study.set_user_attr("scope", made.outcomes.scope)
    return study


def write_journal(optuna: Any, path: str, name: str, made: StudyTrials) -> None:
    """Through Optuna's own storage, which writes its lines into memory first: a file that is synchronised for each trial
    would cost milliseconds for each."""
    journal = optuna.storages.journal
    file = journal.JournalFileBackend(path)
    collected = _Collected(list(file.read_logs(0)))
    known = len(collected.logs)
    backend: Any = type("CollectingBackend", (_Collected, journal.BaseJournalBackend), {})(collected.logs)
    new_study(optuna, optuna.storages.JournalStorage(backend), name, made).add_trials(map(made.frozen, made))
    file.append_logs(backend.logs[known:])


class _Collected:
    """A backend of Optuna's journal that keeps its lines in memory."""

    def __init__(self, logs: list[dict[str, Any]]) -> None:
        self.logs = logs

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return iter(self.logs[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.logs += json.loads(json.dumps(logs))  # as they would come back from a file


# The columns of Optuna's tables that hold trials, as its schema 12 (since Optuna 3.2) has them.
COLUMNS = {
    "trials": ("trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete"),
    "trial_params": ("param_id", "trial_id", "param_name", "param_value", "distribution_json"),
    "trial_values": ("trial_value_id", "trial_id", "objective", "value", "value_type"),
    "trial_intermediate_values": (
        "trial_intermediate_value_id",
        "trial_id",
        "step",
        "intermediate_value",
        "intermediate_value_type",
    ),
    "trial_user_attributes": ("trial_user_attribute_id", "trial_id", "key", "value_json"),
    "trial_system_attributes": ("trial_system_attribute_id", "trial_id", "key", "value_json"),
}


def write_database(optuna: Any, path: str, name: str, made: StudyTrials) -> None:
    """Into an SQLite file. Optuna makes the tables and the study; the trials are then put into its tables at once, where it
    adds one by one, each later one more slowly."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        study = new_study(optuna, storage, name, made)
        if not known_tables(path):  # another version's: slow, and right
            study.add_trials(map(made.frozen, made))
            return
    finally:
        storage.remove_session()
        storage.engine.dispose()
    import sqlite3

    connection = sqlite3.connect(path)
    try:
        with connection:
            insert_trials(optuna, connection, study._study_id, made)
    finally:
        connection.close()


def known_tables(path: str) -> bool:
    """Whether the tables of a database are those that are known here."""
    import sqlite3

    connection = sqlite3.connect(path)
    try:
        told = {table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for table in COLUMNS}
    finally:
        connection.close()
    return all(sorted(told[table]) == sorted(names) for table, names in COLUMNS.items())


AT_ONCE = 5_000  # trials whose rows are held at once


def insert_trials(optuna: Any, connection: Any, study: int, made: StudyTrials) -> None:
    """The rows of all trials."""
    to_json = optuna.distributions.distribution_to_json
    texts = {name: to_json(one.distribution) for name, one in made.parameters.items()}
    (first,) = connection.execute("SELECT coalesce(max(trial_id), 0) + 1 FROM trials").fetchone()
    rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in COLUMNS}
    for number, told in enumerate(made):
        trial = first + number
        start, complete = made.times(told)
        rows["trials"].append((trial, number, study, told.state, _moment(start), _moment(complete)))
        if told.state != WAITING:
            for name, value in made.params(told).items():
                inside = made.parameters[name].distribution.to_internal_repr(value)
                rows["trial_params"].append((None, trial, name, float(inside), texts[name]))
        for objective, value in enumerate(made.values(told) or ()):
            rows["trial_values"].append((None, trial, objective, *_number(value)))
        for step, value in made.intermediate(told).items():
            rows["trial_intermediate_values"].append((None, trial, step, *_number(value)))
        rows["trial_user_attributes"] += [(None, trial, *pair) for pair in _attributes(made.attributes(told))]
        rows["trial_system_attributes"] += [(None, trial, *pair) for pair in _attributes(made.system_attributes(told))]
        if len(rows["trials"]) >= AT_ONCE:
            _insert(connection, rows)
    _insert(connection, rows)


def _insert(connection: Any, rows: dict[str, list[tuple[Any, ...]]]) -> None:
    for table, lines in rows.items():
        names = COLUMNS[table]
        connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", lines)
        lines.clear()


def _moment(time: datetime | None) -> str | None:
    return None if time is None else time.strftime("%Y-%m-%d %H:%M:%S.%f")


def _number(value: float) -> tuple[float | None, str]:
    if math.isfinite(value):
        return value, "FINITE"
    return None, "INF_POS" if value > 0 else "INF_NEG"


def _attributes(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in told.items():
        yield name, json.dumps(value)
