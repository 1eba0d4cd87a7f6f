"""MLflow's own client finds what ``export(format="mlflow")`` has written (`make test-exchange`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune

pytestmark = pytest.mark.exchange


@pytest.fixture(scope="module")
def store(analysis: tune.ExperimentAnalysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the experiment in it."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    assert analysis.export(path, "mlflow") == str(path)
    return path


def client(store: Path) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{store}")


def test_a_run_for_each_trial(analysis: tune.ExperimentAnalysis, store: Path) -> None:
    found = client(store)
    experiment = found.get_experiment_by_name("mixed")
    assert experiment.tags["fasttune.goal"] == "loss (min)"
    assert experiment.tags["dataset"] == "v3"
    runs = {run.info.run_name: run for run in found.search_runs([experiment.experiment_id])}
    assert runs.keys() == {trial.trial_id for trial in analysis.trials}
    table = analysis._source.table  # type: ignore[attr-defined]
    for trial in analysis.trials:
        run = runs[trial.trial_id]
        assert run.data.params == {name: str(value) for name, value in trial.evaluated_params.items()}
        assert run.data.tags["host"] == "h1"
        assert run.info.start_time == round(1000 * table.export("started")[trial.index])
        assert run.info.end_time == round(1000 * table.export("ended")[trial.index])
        if trial.status == "ERROR":
            assert run.info.status == "FAILED"
            assert run.data.tags["error"] == "ValueError: no luck"
            assert run.data.metrics == {}
            continue
        assert run.info.status == "FINISHED"
        last = trial.last_result
        assert run.data.metrics == {"loss": last["loss"], "acc": last["acc"], "time/gpu": last["time"]["gpu"]}
        whole = last["training_iteration"] == 9
        assert run.data.tags["fasttune.outcome"] == ("finished" if whole else "stopped early")


def test_the_history_of_a_metric(analysis: tune.ExperimentAnalysis, store: Path) -> None:
    found = client(store)
    runs = found.search_runs([found.get_experiment_by_name("mixed").experiment_id])
    run = next(run for run in runs if run.info.run_name == analysis.best_trial.trial_id)
    history = sorted(found.get_metric_history(run.info.run_id, "loss"), key=lambda metric: metric.step)
    frame = analysis.reports(["loss"])
    frame = frame[frame["trial_id"] == analysis.best_trial.trial_id]
    assert [metric.step for metric in history] == frame["training_iteration"].tolist()
    assert [metric.value for metric in history] == frame["loss"].tolist()
    assert [metric.timestamp for metric in history] == [round(1000 * time) for time in frame["time"]]


def test_names_and_numbers_that_mlflow_does_not_have(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(700):  # more than one request takes
            tune.report({"a@1": float(step), "a#1": -float(step), "n": float("nan") if step else 1.0})

    space = {f"p{k}": tune.uniform(0, 1) for k in range(150)} | {"lr!": tune.choice(["x" * 9000])}
    asked: dict[str, Any] = {"metric": "a@1", "mode": "max", "executor": "inline", "verbose": 0}
    made = tune.run(train, name="odd", config=space, storage_path=str(tmp_path), **asked)
    made.export(tmp_path / "odd.sqlite", "mlflow", experiment_name="other")
    found = client(tmp_path / "odd.sqlite")
    (run,) = found.search_runs([found.get_experiment_by_name("other").experiment_id])
    assert run.data.metrics == {"a_1": 699.0, "a_1_2": -699.0, "n": 1.0}
    assert len(found.get_metric_history(run.info.run_id, "a_1")) == 700
    assert len(run.data.params) == 151
    assert run.data.params["lr_"] == "x" * 5000


def test_what_cannot_be_is_said(analysis: tune.ExperimentAnalysis, store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has an experiment named 'mixed' already: give another experiment_name="):
        analysis.export(store, "mlflow")
    with pytest.raises(ValueError, match="an MLflow store is a file that ends with"):
        analysis.export(tmp_path / "mlruns", "mlflow")
