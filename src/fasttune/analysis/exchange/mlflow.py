"""An experiment as runs of MLflow, through its own client."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasttune.analysis.exchange.outcomes import COMPLETE, FAIL, PRUNED, RUNNING, WAITING, Outcome, Outcomes
from fasttune.extras import optional
from fasttune.logger.mlflow_names import Names

if TYPE_CHECKING:
    from fasttune.analysis.experiment_analysis import ExperimentAnalysis

DATABASES = (".db", ".sqlite", ".sqlite3")
STATUS = {COMPLETE: "FINISHED", PRUNED: "FINISHED", FAIL: "FAILED", RUNNING: "RUNNING", WAITING: "SCHEDULED"}
WORDS = {COMPLETE: "finished", PRUNED: "stopped early", FAIL: "failed", RUNNING: "running", WAITING: "waiting"}
MOST_METRICS, MOST_PARAMS = 1000, 100  # that MLflow takes in one request; all together no more than the former
LONGEST_VALUE = 5000  # characters


def write(
    analysis: ExperimentAnalysis,
    path: str,
    *,
    experiment_name: str | None = None,
    metrics: Mapping[str, str] | None = None,
    scope: str | None = None,
) -> str:
    """Make an experiment in an MLflow store, with a run for each trial: what was sampled are its params, all numbers that it
    reported its metrics, by step, and how it ended its status and the tag ``fasttune.outcome``.

    Args:
        path: "mlflow.db" is an SQLite store, made if it is not there; anything with "://" a tracking URI.
        experiment_name: by default the experiment's name.
        metrics, scope: what says whether a trial has a value; one without is a failed run. None: the experiment's.

    Raises:
        ValueError: the store has an experiment of that name, or the path is no store.
    """
    optional("mlflow", "mlflow", "export to mlflow")
    tracking: Any = optional("mlflow.tracking", "mlflow", "export to mlflow")
    entities: Any = optional("mlflow.entities", "mlflow", "export to mlflow")
    outcomes = Outcomes(analysis, metrics, scope)
    uri = uri_of(path)
    name = experiment_name or analysis._source.name
    with unsynchronised(uri):
        client = tracking.MlflowClient(tracking_uri=uri)
        if client.get_experiment_by_name(name) is not None:
            raise ValueError(f"the store has an experiment named {name!r} already: give another experiment_name=")
        beside = Path(os.path.abspath(path)).with_name("mlartifacts").as_uri() if "://" not in path else None
        made = client.create_experiment(name, artifact_location=beside, tags=experiment_tags(outcomes))
        names = Names()
        for told in outcomes:
            write_run(client, entities, made, told, names)
    return path


def uri_of(path: str) -> str:
    """The tracking URI of a store. ValueError for a path that is none."""
    if "://" in path:
        return path
    if os.path.splitext(path)[1].lower() in DATABASES:
        return f"sqlite:///{os.path.abspath(path)}"
    raise ValueError(
        f"an MLflow store is a file that ends with {', '.join(DATABASES)}, or a tracking URI like http://localhost:5000, got "
        f"{path!r}"
    )


def experiment_tags(outcomes: Outcomes) -> dict[str, str]:
    goals = ", ".join(f"{metric} ({mode})" for metric, mode in outcomes.goals.items())
    told = {"fasttune.goal": goals, "fasttune.scope": outcomes.scope} if goals else {}
    return {**told, **{name: str(value)[:LONGEST_VALUE] for name, value in outcomes.analysis.user_attrs.items()}}


def write_run(client: Any, entities: Any, experiment: str, told: Outcome, names: Names) -> None:
    """One trial: as few requests as its metrics need."""
    tags = {"fasttune.trial_id": told.trial_id, "fasttune.outcome": WORDS[told.state]}
    tags |= {names(name): str(value)[:LONGEST_VALUE] for name, value in told.attributes.items()}
    start = milliseconds(told.began)
    run = client.create_run(experiment, start_time=start, tags=tags, run_name=told.trial_id).info.run_id
    params = [entities.Param(names(name), str(value)[:LONGEST_VALUE]) for name, value in told.params.items()]
    metrics = [
        entities.Metric(names(name), value, milliseconds(time), step)
        for name, values in told.reports.items()
        for value, step, time in zip(values, told.steps, told.times, strict=True)
        if not math.isnan(value)
    ]
    for some_metrics, some_params in batches(metrics, params):
        client.log_batch(run, metrics=some_metrics, params=some_params, synchronous=True)
    if told.state in (COMPLETE, PRUNED, FAIL):
        client.set_terminated(run, status=STATUS[told.state], end_time=milliseconds(told.ended or told.began))
    elif told.state == WAITING:
        client.update_run(run, status=STATUS[WAITING])


def batches(metrics: Sequence[Any], params: Sequence[Any]) -> Iterator[tuple[list[Any], list[Any]]]:
    """Both in pieces that MLflow takes at once."""
    left, more = list(metrics), list(params)
    while left or more:
        some, more = more[:MOST_PARAMS], more[MOST_PARAMS:]
        room = MOST_METRICS - len(some)
        yield left[:room], some
        left = left[room:]


def milliseconds(time: float | None) -> int:
    return round(1000 * (time or 0.0))


@contextmanager
def unsynchronised(uri: str) -> Iterator[None]:
    """SQLite does not wait for the disk while runs are written: MLflow commits several times for each, and a power cut costs
    an export that can be made again."""
    if not uri.startswith("sqlite:"):
        yield
        return
    sqlalchemy: Any = optional("sqlalchemy", "mlflow", "export to mlflow")

    def connected(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", connected)
    try:
        yield
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", connected)
