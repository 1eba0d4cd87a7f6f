"""MLflow: a run for each trial. Metrics are sent in batches, so a report costs a place in a list."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from fasttune.extras import optional, require
from fasttune.logger.behind import JournalLogger, LoggedExperiment
from fasttune.logger.mlflow_names import Names
from fasttune.logger.numbers import numbers_of
from fasttune.logger.open_runs import OpenRuns
from fasttune.logger.options import whole_place
from fasttune.result import flatten

TRIAL_TAG = "fasttune_trial"  # by which the run of a trial is found again
AT_ONCE = 1000  # metrics, and 100 parameters: what a server takes in one request
PARAMS_AT_ONCE = 100
LONGEST_PARAM = 6000


class MLflowRun:
    """The run of one trial, and its metrics that were not sent yet."""

    def __init__(self, client: Any, run_id: str, names: Names) -> None:
        from mlflow.entities import Metric, Param

        self._client = client
        self.run_id = run_id
        self._names = names
        self._metric, self._param = Metric, Param
        self._waiting: list[Any] = []

    def add(self, values: Mapping[str, float], step: int, when: int) -> None:
        """Numbers of a report, at unix milliseconds."""
        self._waiting += [self._metric(self._names(name), value, when, step) for name, value in values.items()]
        if len(self._waiting) >= AT_ONCE:
            self.send()

    def send(self) -> None:
        """Send what waits."""
        while self._waiting:
            self._client.log_batch(self.run_id, metrics=self._waiting[:AT_ONCE])
            del self._waiting[:AT_ONCE]

    def add_params(self, config: Mapping[str, Any]) -> None:
        """A flattened config. MLflow takes each name once."""
        params = [self._param(self._names(name), str(value)[:LONGEST_PARAM]) for name, value in config.items()]
        for first in range(0, len(params), PARAMS_AT_ONCE):
            self._client.log_batch(self.run_id, params=params[first : first + PARAMS_AT_ONCE])

    def end(self, status: str, when: int | None = None) -> None:
        """Send what waits, and end the run."""
        self.send()
        self._client.set_terminated(self.run_id, status, when)


class MLflowLoggerCallback(JournalLogger):
    """Logs each trial as a run of an MLflow experiment: its config as parameters, the numbers of its reports as metrics by
    ``training_iteration``, its attributes as tags. A trial that failed is a run that failed; one that was left unfinished was
    killed, and runs again when it is gone on with.

    Args:
        tracking_uri: where to: a server, "sqlite:///mlflow.db" or a folder; None: what MLflow takes itself ($MLFLOW_TRACKING_URI).
        registry_uri: as MLflow's.
        experiment_name: of MLflow's experiment, which is made if it is not there. None: $MLFLOW_EXPERIMENT_NAME, or the name of
            this one.
        tags: of each run.
        tracking_token: what a server wants to see; put into $MLFLOW_TRACKING_TOKEN.
        save_artifact: the trial's folder is saved as the run's artifacts when the trial is over.
        log_params_on_trial_end: parameters are logged when a trial is over, as they are by then: for schedulers that change them.
        max_trials, best_trials: see :class:`JournalLogger`.
    """

    title = "MLflow"
    key = "mlflow"
    secrets = ("_token",)
    _token: str | None = None

    def __init__(
        self,
        tracking_uri: str | None = None,
        *,
        registry_uri: str | None = None,
        experiment_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        tracking_token: str | None = None,
        save_artifact: bool = False,
        log_params_on_trial_end: bool = False,
        max_trials: int | None = 500,
        best_trials: int = 10,
    ) -> None:
        require("mlflow", "mlflow", type(self).__name__)
        super().__init__(max_trials=max_trials, best_trials=best_trials)
        self.tracking_uri = None if tracking_uri is None else whole_place(tracking_uri)
        self.registry_uri = registry_uri
        self.experiment_name = experiment_name
        self.tags = dict(tags or {})
        self._token = tracking_token
        self.save_artifact = save_artifact
        self.log_params_on_trial_end = log_params_on_trial_end

    def log_destination(self) -> str:
        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
        name = self.experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME", "")
        return f"{uri} {name}".strip()

    def setup(self, *arguments: Any, **told: Any) -> None:
        """Start the process that logs. The server's token is in its environment."""
        self._give_token()
        super().setup(*arguments, **told)

    def _give_token(self) -> None:
        if self._token:
            os.environ["MLFLOW_TRACKING_TOKEN"] = self._token

    def log_begin(self, experiment: LoggedExperiment) -> None:
        self._give_token()
        optional("mlflow", "mlflow", type(self).__name__)
        from mlflow import MlflowClient

        self._client = MlflowClient(self.tracking_uri, self.registry_uri)
        self._about = experiment
        name = self.experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME") or experiment.name
        found = self._client.get_experiment_by_name(name)
        self._home = found.experiment_id if found is not None else self._client.create_experiment(name)
        self._names = Names()
        self._opened: set[str] = set()  # trials whose runs this process has made
        self._runs: OpenRuns[MLflowRun] = OpenRuns(self._open, MLflowRun.send, most=1000)

    def log_trial_start(self, trial: Any) -> None:
        self._runs.of(trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        self._runs.of(trial).add(numbers_of(result), iteration, int(result.get("timestamp", 0) * 1000))

    def log_trial_attributes(self, trial: Any, attributes: Mapping[str, Any]) -> None:
        run = self._runs.of(trial)
        for name, value in attributes.items():
            self._client.set_tag(run.run_id, self._names(name), value if isinstance(value, str) else json.dumps(value, default=str))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        run = self._runs.take(trial)
        if self.log_params_on_trial_end:
            run.add_params(flatten(trial.config))
        if self.save_artifact:
            run.send()
            self._client.log_artifacts(run.run_id, trial.path)
        run.end("FAILED" if failed else "FINISHED")

    def log_flush(self) -> None:
        for run in self._runs:
            run.send()

    def log_end(self, finished: bool) -> None:
        for run in self._runs:
            run.end("KILLED")

    def _open(self, trial: Any) -> MLflowRun:
        """The trial's run: the one that it has already, or a new one."""
        if self._about.goes_on or trial.trial_id in self._opened:
            for found in self._client.search_runs([self._home], f"tags.{TRIAL_TAG} = '{trial.trial_id}'", max_results=1):
                self._client.update_run(found.info.run_id, status="RUNNING")
                return MLflowRun(self._client, found.info.run_id, self._names)
        self._opened.add(trial.trial_id)
        tags = {**self.tags, "trial_name": str(trial), TRIAL_TAG: trial.trial_id, "fasttune_experiment": self._about.path}
        run_id = self._client.create_run(self._home, tags=tags, run_name=str(trial)).info.run_id
        run = MLflowRun(self._client, run_id, self._names)
        if not self.log_params_on_trial_end:
            run.add_params(flatten(trial.config))
        return run


def setup_mlflow(
    config: Mapping[str, Any] | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    experiment_id: str | None = None,
    experiment_name: str | None = None,
    tracking_token: str | None = None,
    artifact_location: str | None = None,
    run_name: str | None = None,
    create_experiment_if_not_exists: bool = False,
    tags: Mapping[str, Any] | None = None,
    rank_zero_only: bool = True,
) -> Any:
    """Begin an MLflow run for the trial that runs here, with its config as parameters, and return the module ``mlflow``.

    For trials that log by themselves, ``mlflow.log_metric(...)``. The run of the trial before, in the same process, is ended.

    Args:
        config: the trial's. Its key "mlflow", a dict, may hold the arguments that follow.
        experiment_id, experiment_name: of an MLflow experiment that is there, unless ``create_experiment_if_not_exists``.
        artifact_location: of an experiment that is made.
        run_name: default: the trial's name.
        rank_zero_only: means nothing here: a trial is one process.

    Raises:
        ValueError: there is no such experiment.
    """
    mlflow: Any = optional("mlflow", "mlflow", "setup_mlflow")
    from fasttune.session import get_context

    told = dict(config or {})
    asked: dict[str, Any] = {
        "tracking_uri": tracking_uri,
        "registry_uri": registry_uri,
        "experiment_id": experiment_id,
        "experiment_name": experiment_name,
        "tracking_token": tracking_token,
        **(told.pop("mlflow", None) or {}),
    }
    unknown = set(asked) - {"tracking_uri", "registry_uri", "experiment_id", "experiment_name", "tracking_token"}
    if unknown:
        raise ValueError(f"config['mlflow'] has {sorted(unknown)}, which setup_mlflow does not know")
    if asked["tracking_token"]:
        os.environ["MLFLOW_TRACKING_TOKEN"] = asked["tracking_token"]
    mlflow.set_tracking_uri(asked["tracking_uri"])
    mlflow.set_registry_uri(asked["registry_uri"])
    if asked["experiment_id"] is not None or asked["experiment_name"] is not None:
        home = _experiment(mlflow, asked, artifact_location if create_experiment_if_not_exists else None,
                           create_experiment_if_not_exists)  # fmt: skip
        mlflow.set_experiment(experiment_id=home)
    context = get_context()
    if mlflow.active_run() is not None:
        mlflow.end_run()
    own = {} if context.get_trial_id() is None else {TRIAL_TAG: context.get_trial_id(), "trial_name": context.get_trial_name()}
    mlflow.start_run(run_name=run_name or context.get_trial_name(), tags={**own, **(tags or {})})
    names = Names()
    mlflow.log_params({names(name): str(value)[:LONGEST_PARAM] for name, value in flatten(told).items()})
    return mlflow


def _experiment(mlflow: Any, asked: Mapping[str, Any], artifacts: str | None, make: bool) -> str:
    """The id of the MLflow experiment that was asked for."""
    number, name = asked["experiment_id"], asked["experiment_name"]
    found: Any = None
    if number is not None:
        try:
            found = mlflow.get_experiment(number)
        except mlflow.exceptions.MlflowException:
            found = None
    elif name is not None:
        found = mlflow.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    if make and name is not None:
        return str(mlflow.create_experiment(name, artifact_location=artifacts))
    raise ValueError(
        f"there is no MLflow experiment {name if number is None else number!r} in {mlflow.get_tracking_uri()}; "
        "create_experiment_if_not_exists=True makes one of a name"
    )
