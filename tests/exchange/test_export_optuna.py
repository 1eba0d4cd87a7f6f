"""``export`` to Optuna: the study that Optuna itself loads is the experiment."""

from __future__ import annotations

import math
import pickle
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

import fasttune as tune
from fasttune.analysis.exchange import optuna as ours


def load(path: Path, name: str = "mixed") -> optuna.Study:
    if path.suffix == ".log":
        backend = optuna.storages.journal.JournalFileBackend(str(path))
        return optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(backend))
    return optuna.load_study(study_name=name, storage=f"sqlite:///{path}")


def ends_of(study: optuna.Study) -> list[Any]:
    trials = study.get_trials(deepcopy=True)
    for trial in trials:
        trial._trial_id = 0
    return trials


@pytest.mark.parametrize("file", ["study.db", "study.log"])
def test_a_study_has_every_trial_with_state_values_and_times(
    analysis: tune.ExperimentAnalysis, tmp_path: Path, file: str
) -> None:
    assert analysis.export(tmp_path / file, "optuna") == str(tmp_path / file)
    study = load(tmp_path / file)
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert study.metric_names == ["loss"]
    assert study.user_attrs == {"dataset": "v3", "scope": "last"}
    assert len(study.trials) == len(analysis.trials)
    states = {TrialState.COMPLETE: 0, TrialState.PRUNED: 0, TrialState.FAIL: 0}
    table = analysis._source.table  # type: ignore[attr-defined]
    for told, trial in zip(study.trials, analysis.trials, strict=True):
        states[told.state] += 1
        assert told.user_attrs["trial_id"] == trial.trial_id
        assert told.user_attrs["host"] == "h1"
        assert told.datetime_start == datetime.fromtimestamp(table.export("started")[trial.index])
        assert told.datetime_complete == datetime.fromtimestamp(table.export("ended")[trial.index])
        history = analysis.trial_dataframes[trial.trial_id]
        if trial.status == "ERROR":
            assert told.state == TrialState.FAIL
            assert told.values is None
            assert told.user_attrs["error"] == "ValueError: no luck"
            continue
        assert told.state == (TrialState.COMPLETE if len(history) == 9 else TrialState.PRUNED)
        assert told.value == trial.last_result["loss"]
        assert told.user_attrs["acc"] == trial.last_result["acc"]
        assert told.intermediate_values == dict(zip(history["training_iteration"], history["loss"], strict=True))
        assert {**told.params, "twice": told.user_attrs["twice"], "layers": 0} == {**trial.evaluated_params, "layers": 0}
        assert told.params["layers"] == str(trial.evaluated_params["layers"])
    assert all(states.values()), "the experiment has trials of every kind"
    complete = [trial for trial in analysis.trials if analysis.trial_dataframes[trial.trial_id].shape[0] == 9]
    assert study.best_trial.user_attrs["trial_id"] == min(complete, key=lambda one: one.last_result["loss"]).trial_id


def test_both_storages_hold_the_same_as_adding_trials_one_by_one(
    analysis: tune.ExperimentAnalysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis.export(tmp_path / "fast.db", "optuna")
    analysis.export(tmp_path / "fast.log", "optuna")
    monkeypatch.setattr(ours, "known_tables", lambda path: False)  # as of a version that has others
    analysis.export(tmp_path / "slow.db", "optuna")
    expected = ends_of(load(tmp_path / "slow.db"))
    assert ends_of(load(tmp_path / "fast.db")) == expected
    assert ends_of(load(tmp_path / "fast.log")) == expected


def test_the_tables_of_the_installed_optuna_are_known(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    analysis.export(tmp_path / "study.db", "optuna")
    assert ours.known_tables(str(tmp_path / "study.db"))


def test_distributions_are_those_of_the_space(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    analysis.export(tmp_path / "study.db", "optuna")
    found: dict[str, Any] = {}
    for trial in load(tmp_path / "study.db").trials:
        found |= trial.distributions
    assert found["lr"] == FloatDistribution(1e-4, 1e-1, log=True)
    assert found["momentum"] == FloatDistribution(0.0, 1.0, step=0.1)
    assert found["width"] == IntDistribution(2, 10, step=2)
    assert found["act"] == CategoricalDistribution(("relu", None, 3))
    assert found["layers"] == CategoricalDistribution(("[1]", "[2, 3]"))
    assert set(found["solver/name"].choices) == {"sgd", "adam", "bad"}
    assert found["solver/nesterov"] == CategoricalDistribution((True, False))
    assert "twice" not in found, "it is computed"
    assert "epochs" not in found


def test_optuna_goes_on_with_the_study(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    analysis.export(tmp_path / "study.db", "optuna", study_name="next")
    study = load(tmp_path / "study.db", "next")
    study.sampler = optuna.samplers.TPESampler(seed=0)
    trial = study.ask(dict(study.best_trial.distributions))
    assert 1e-4 <= trial.params["lr"] <= 1e-1
    study.tell(trial, 0.5)
    assert study.trials[-1].number == len(analysis.trials)


def test_several_objectives(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    analysis.export(tmp_path / "study.log", "optuna", metrics={"loss": "min", "acc": "max"})
    study = load(tmp_path / "study.log")
    assert study.metric_names == ["loss", "acc"]
    done = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    ids = {trial.trial_id: trial for trial in analysis.trials}
    for trial in done:
        last = ids[trial.user_attrs["trial_id"]].last_result
        assert trial.values == [last["loss"], last["acc"]]
        assert trial.intermediate_values == {}
    assert study.best_trials


def two_that_are_held(config: dict[str, Any]) -> None:
    x = config["x"]
    tune.report(loss=x, gain=x * (1 - x), constraints={"low": 0.2 - x, "high": x - 0.9})


def test_objectives_and_constraints_of_the_run_are_those_of_the_study(tmp_path: Path) -> None:
    found = tune.run(
        two_that_are_held, config={"x": tune.uniform(0, 1)}, num_samples=30, metric=["loss", "gain"], mode=["min", "max"], seed=1,
        executor="inline", verbose=0,
    )  # fmt: skip
    found.export(tmp_path / "two.db", "optuna", study_name="two")
    study = load(tmp_path / "two.db", "two")
    assert [one.name for one in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert sorted(trial.params["x"] for trial in study.best_trials) == sorted(trial.config["x"] for trial in found.best_trials)


def test_what_has_not_begun_waits_for_whoever_goes_on(tmp_path: Path) -> None:
    with tune.open_experiment({"x": tune.uniform(0, 1)}, name="open", metric="loss", mode="min", search_alg="random",
                              storage_path=tmp_path, seed=3) as experiment:  # fmt: skip
        first, second = experiment.ask(), experiment.ask()
        assert first is not None
        assert second is not None
        experiment.tell(first.trial_id, {"loss": 0.25})
        experiment.analysis.export(tmp_path / "study.log", "optuna")
    study = load(tmp_path / "study.log", "open")
    assert study.trials[0].state == TrialState.COMPLETE
    assert study.trials[0].params == first.config
    assert study.trials[1].state in (TrialState.RUNNING, TrialState.WAITING)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_finite_numbers(tmp_path: Path, value: float) -> None:
    def train(config: dict[str, float]) -> None:
        tune.report({"loss": 1.0})
        tune.report({"loss": value})

    made = tune.run(
        train, name="odd", config={"x": 1.0}, metric="loss", mode="min", executor="inline", verbose=0, storage_path=str(tmp_path)
    )
    for file in ("study.db", "study.log"):
        made.export(tmp_path / file, "optuna")
        (trial,) = load(tmp_path / file, "odd").trials
        if math.isnan(value):
            assert trial.state == TrialState.FAIL
            assert trial.intermediate_values == {1: 1.0}
        else:
            assert trial.value == value
            assert trial.intermediate_values == {1: 1.0, 2: value}


def test_values_outside_the_space_widen_it(tmp_path: Path) -> None:
    def train(config: dict[str, float]) -> None:
        tune.report({"loss": config["x"]})

    space = {"x": tune.uniform(0, 1), "k": tune.choice([True, 1, "a"]), "n": tune.randn(0, 1)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = tune.run(
            train, name="wide", config=space, num_samples=9, metric="loss", mode="min", executor="inline", verbose=0, seed=1,
            storage_path=str(tmp_path), search_alg=tune.search.BasicVariantGenerator(points_to_evaluate=[{"x": 2.5}]),
        )  # fmt: skip
    made.export(tmp_path / "study.db", "optuna")
    trials = load(tmp_path / "study.db", "wide").trials
    assert trials[0].params["x"] == 2.5
    assert trials[0].distributions["x"] == FloatDistribution(0.0, 2.5)
    assert set(trials[0].distributions["k"].choices) == {"True", "1", "a"}
    drawn = [trial.params["n"] for trial in trials]
    assert trials[0].distributions["n"] == FloatDistribution(min(drawn), max(drawn))


@pytest.mark.parametrize("file", ["study.db", "study.log"])
def test_values_of_numpy_are_numbers_and_options_as_pythons_own(tmp_path: Path, file: str) -> None:
    drawn = [(np.float32(0.5), np.int64(3), np.bool_(True)), (np.float32(0.25), np.int64(4), np.bool_(False))]
    space = {
        "rate": tune.grid_search([one[0] for one in drawn]),
        "layers": tune.grid_search([one[1] for one in drawn]),
        "deep": tune.choice([one[2] for one in drawn]),
        "wide": tune.sample_from(lambda spec: np.int64(2) * spec.config.layers),
    }
    made = tune.run(
        lambda config: {"loss": 1.0}, config=space, metric="loss", mode="min", executor="inline", verbose=0, seed=1,
        name="mixed", storage_path=str(tmp_path), user_attrs={"seen": np.int64(5)},
    )  # fmt: skip
    made.export(tmp_path / file, "optuna")
    study = load(tmp_path / file)
    assert [trial.params["rate"] for trial in study.trials] == [trial.config["rate"] for trial in made.trials]
    assert {type(value) for trial in study.trials for value in trial.params.values()} == {float, int, bool}
    assert [trial.user_attrs["wide"] for trial in study.trials] == [2 * trial.params["layers"] for trial in study.trials]
    assert study.user_attrs["seen"] == 5


def test_a_folder_that_is_not_there_is_named(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    for path, form in (("study.db", "optuna"), ("study.log", "optuna"), ("a.csv", None), ("a.sqlite", None)):
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            analysis.export(tmp_path / "nowhere" / path, form)


def test_an_analysis_that_was_pickled_says_what_it_does_not_know(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    again = pickle.loads(pickle.dumps(analysis))
    with pytest.warns(UserWarning, match="holds no journal"):
        again.export(tmp_path / "study.log", "optuna")
    states = [trial.state for trial in load(tmp_path / "study.log").trials]
    assert states == [TrialState.FAIL if trial.status == "ERROR" else TrialState.COMPLETE for trial in analysis.trials]


def test_what_cannot_be_is_said(analysis: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    analysis.export(tmp_path / "study.db", "optuna")
    with pytest.raises(ValueError, match="has a study named 'mixed' already: give another study_name="):
        analysis.export(tmp_path / "study.db", "optuna")
    with pytest.raises(ValueError, match="an Optuna storage is a file that ends with"):
        analysis.export(tmp_path / "study", "optuna")
    with pytest.raises(ValueError, match="metric 'lose' was never reported; reported were: loss"):
        analysis.export(tmp_path / "study.db", "optuna", metrics={"lose": "min"})
    blind = tune.ExperimentAnalysis(analysis.experiment_path)
    blind.default_metric = None
    with pytest.raises(ValueError, match="no metric is the study's objective"):
        blind.export(tmp_path / "other.db", "optuna")
