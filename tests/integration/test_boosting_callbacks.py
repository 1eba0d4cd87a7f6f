"""The callbacks of XGBoost and LightGBM one by one: names, checkpoints, cross-validation, the scikit-learn classes, errors."""

from __future__ import annotations

from typing import Any

import boosters
import pytest

import fasttune as tune


def run(function: Any, **more: Any) -> tune.ExperimentAnalysis:
    return tune.run(function, **{"verbose": 0, "executor": "inline", **more})


def reported(analysis: tune.ExperimentAnalysis) -> Any:
    (frame,) = analysis.trial_dataframes.values()
    return frame


def saved_at(analysis: tune.ExperimentAnalysis) -> list[int]:
    return [step for _, step in analysis.get_trial_checkpoints_paths(analysis.trials[0], "training_iteration")]


def xgboost_with(rounds: int, *callbacks: Any) -> None:
    boosters.xgboost_direct(0.3, rounds, callbacks)


def lightgbm_with(rounds: int, *callbacks: Any) -> None:
    boosters.lightgbm_direct(0.3, rounds, callbacks)


WITH = {"xgboost": xgboost_with, "lightgbm": lightgbm_with}
OWN_NAME = {"xgboost": "valid-logloss", "lightgbm": "valid-binary_logloss"}
LIBRARIES = ["xgboost", "lightgbm"]


def callbacks_of(library: str) -> Any:
    import importlib

    return importlib.import_module(f"fasttune.integration.{library}")


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({}, [7]),
        ({"frequency": 3}, [3, 6, 7]),
        ({"frequency": 3, "checkpoint_at_end": False}, [3, 6]),
        ({"frequency": 7}, [7]),
        ({"checkpoint_at_end": False}, []),
    ],
    ids=["at the end", "every third", "every third only", "both at once", "never"],
)
def test_models_are_saved_as_often_as_asked(library: str, arguments: dict[str, Any], steps: list[int]) -> None:
    def train(config: dict[str, Any]) -> None:
        WITH[library](7, callbacks_of(library).TuneReportCheckpointCallback(**arguments))

    analysis = run(train)
    assert saved_at(analysis) == steps
    assert list(reported(analysis)["training_iteration"]) == list(range(1, 8))


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_model_of_a_checkpoint_is_that_of_its_round(library: str) -> None:
    callback = callbacks_of(library).TuneReportCheckpointCallback

    def train(config: dict[str, Any]) -> None:
        WITH[library](7, callback(OWN_NAME[library], filename="tree.json", frequency=3))

    analysis = run(train, metric=OWN_NAME[library], mode="min")
    path, _ = analysis.get_trial_checkpoints_paths(analysis.trials[0], "training_iteration")[0]
    model = callback.get_model(tune.Checkpoint(path), filename="tree.json")
    assert (model.num_boosted_rounds() if library == "xgboost" else model.current_iteration()) == 3
    with pytest.raises(FileNotFoundError, match=r"it has tree\.json"):
        callback.get_model(tune.Checkpoint(path))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_metric_that_never_comes_is_said_in_the_first_round(library: str) -> None:
    def train(config: dict[str, Any]) -> None:
        WITH[library](7, callbacks_of(library).TuneReportCallback({"accuracy": "valid-acc"}))

    analysis = run(train, raise_on_failed_trial=False)
    assert f"it brings '{OWN_NAME[library]}'" in str(analysis.trials[0].get_error())
    assert reported(analysis).empty


def test_xgboost_cross_validation_has_its_own_names() -> None:
    import xgboost

    x, _, y, _ = boosters.data()
    seen: list[Any] = []

    def train(config: dict[str, Any]) -> None:
        from fasttune.integration.xgboost import TuneReportCallback

        parameters = {"objective": "binary:logistic", "nthread": 1}
        matrix = xgboost.DMatrix(x, y, nthread=1)
        seen.append(xgboost.cv(parameters, matrix, 4, nfold=3, seed=0, callbacks=[TuneReportCallback()]))

    frame = reported(run(train))
    assert list(frame["test-logloss-mean"]) == pytest.approx(list(seen[0]["test-logloss-mean"]))
    assert list(frame["test-logloss-std"]) == pytest.approx(list(seen[0]["test-logloss-std"]))


def test_lightgbm_cross_validation_has_its_own_names() -> None:
    import lightgbm

    x, _, y, _ = boosters.data()
    seen: list[Any] = []

    def train(config: dict[str, Any]) -> None:
        from fasttune.integration.lightgbm import TuneReportCallback

        parameters = {"objective": "binary", "num_threads": 1, "verbosity": -1}
        seen.append(lightgbm.cv(parameters, lightgbm.Dataset(x, y), 4, nfold=3, seed=0, callbacks=[TuneReportCallback()]))

    frame = reported(run(train))
    assert list(frame["valid-binary_logloss-mean"]) == pytest.approx(list(seen[0]["valid binary_logloss-mean"]))
    assert list(frame["valid-binary_logloss-stdv"]) == pytest.approx(list(seen[0]["valid binary_logloss-stdv"]))


@pytest.mark.parametrize("library", LIBRARIES)
def test_cross_validation_has_no_model_to_save(library: str) -> None:
    def train(config: dict[str, Any]) -> None:
        callback = callbacks_of(library).TuneReportCheckpointCallback(frequency=1)
        x, _, y, _ = boosters.data()
        if library == "xgboost":
            import xgboost

            xgboost.cv({"nthread": 1}, xgboost.DMatrix(x, y, nthread=1), 2, nfold=2, callbacks=[callback])
        else:
            import lightgbm

            parameters = {"num_threads": 1, "verbosity": -1}
            lightgbm.cv(parameters, lightgbm.Dataset(x, y), 2, nfold=2, stratified=False, callbacks=[callback])

    analysis = run(train, raise_on_failed_trial=False)
    assert f"{library}.cv has a model for each fold" in str(analysis.trials[0].get_error())


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_scikit_learn_classes_report_too(library: str) -> None:
    def train(config: dict[str, Any]) -> None:
        x, x_valid, y, y_valid = boosters.data()
        callback = callbacks_of(library).TuneReportCallback()
        if library == "xgboost":
            import xgboost

            model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1, eval_metric="auc", callbacks=[callback])
            model.fit(x, y, eval_set=[(x_valid, y_valid)], verbose=False)
        else:
            import lightgbm

            model = lightgbm.LGBMClassifier(n_estimators=3, n_jobs=1, verbosity=-1)
            model.fit(x, y, eval_set=[(x_valid, y_valid)], eval_metric="auc", callbacks=[callback])

    frame = reported(run(train))
    assert len(frame["validation_0-auc" if library == "xgboost" else "valid_0-auc"]) == 3


def train_as_it_comes(config: dict[str, Any]) -> None:
    """Both libraries with as many threads as they like."""
    import os

    import xgboost

    x, _, y, _ = boosters.data()
    xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, y), num_boost_round=2)
    after_xgboost = len(os.listdir("/proc/self/task"))
    import lightgbm

    lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(x, y), num_boost_round=2)
    tune.report(own=os.environ["OMP_NUM_THREADS"], xgboost=after_xgboost, lightgbm=len(os.listdir("/proc/self/task")))


def test_a_trial_of_one_cpu_starts_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # what the user has set stays
    analysis = run(train_as_it_comes, executor="process", resources_per_trial={"cpu": 1})
    (trial,) = analysis.trials
    assert trial.last_result["own"] == "1"
    assert trial.last_result["lightgbm"] == trial.last_result["xgboost"]
    two = run(train_as_it_comes, executor="process", resources_per_trial={"cpu": 2}).trials[0]
    assert two.last_result["xgboost"] > trial.last_result["xgboost"]
