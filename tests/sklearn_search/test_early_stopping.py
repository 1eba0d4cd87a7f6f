"""Candidates that are stopped early: between folds, and between steps of training; and what is refitted then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import SGDClassifier

import fasttune as tune
from fasttune import schedulers
from fasttune.schedulers import ASHAScheduler, MedianStoppingRule, PopulationBasedTraining
from fasttune.sklearn import TuneGridSearchCV, TuneSearchCV
from fasttune.sklearn.results import ranks

X, Y = make_classification(90, 5, random_state=0)
ALPHAS = {"alpha": tune.loguniform(1e-6, 10)}
SGD = SGDClassifier(random_state=0)


class Curve(ClassifierMixin, BaseEstimator):
    """A score that its level and its fold decide: ``level`` + ``slope`` times its passes over the data."""

    def __init__(self, level: float = 0.0, slope: float = 0.0, broken_at: int = 0) -> None:
        self.level, self.slope, self.broken_at = level, slope, broken_at

    def fit(self, X: Any, y: Any) -> Curve:
        return self.partial_fit(X, y)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Curve:
        self.passes_ = getattr(self, "passes_", 0) + 1
        if self.passes_ == self.broken_at:
            raise ValueError("broken")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])

    def score(self, X: Any, y: Any) -> float:
        return float(self.level + self.slope * self.passes_)


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name in schedulers._NAMES
        if name not in ("pbt", "pb2", "pbt_replay", "resource_changing")  # cannot be made without being told more
    ),
)
@pytest.mark.parametrize("max_iters", [1, 4])
def test_every_scheduler_by_its_name(name: str, max_iters: int) -> None:
    search = TuneSearchCV(
        Curve(),
        {"level": tune.uniform(0, 1)},
        n_trials=6,
        cv=3,
        early_stopping=name,
        max_iters=max_iters,
        random_state=0,
        search_optimization="bohb" if name == "hb_bohb" else "random",
    ).fit(X, Y)
    results = search.cv_results_
    most = 3 if max_iters == 1 else 4
    # PASHA and promotion open longer rungs only if need be: then nobody gets to the end. A signed-rank test of four is no proof.
    assert 1 <= results["training_iteration"].max() <= most
    ends_none = name in ("fifo", "pasha", "asha_promotion", "auto") or name.startswith("wilcoxon")
    assert ends_none or results["training_iteration"].min() < most
    assert search.best_estimator_.passes_ == (1 if max_iters == 1 else results["training_iteration"][search.best_index_])
    levels = [params["level"] for params in results["params"]]
    assert len(levels) == 6
    np.testing.assert_allclose(results["mean_test_score"], levels)


@pytest.mark.parametrize("name", ["ASHAScheduler", "asynchyperbandscheduler", "MedianStoppingRule", True])
def test_class_names_and_true_are_schedulers_too(name: Any) -> None:
    search = TuneGridSearchCV(Curve(), {"level": [0.9, 0.8, 0.3, 0.2, 0.1]}, cv=3, early_stopping=name).fit(X, Y)
    assert search.cv_results_["training_iteration"].tolist()[0] == 3
    assert search.cv_results_["training_iteration"].min() < 3


def test_folds_that_were_not_scored_are_nan_and_the_candidate_comes_behind() -> None:
    search = TuneGridSearchCV(
        Curve(), {"level": [0.5, 0.4, 0.9]}, cv=3, early_stopping=ASHAScheduler(max_t=3, grace_period=1, reduction_factor=2)
    ).fit(X, Y)
    results = search.cv_results_
    assert results["training_iteration"].tolist() == [3, 1, 3]
    assert results["split0_test_score"].tolist() == [0.5, 0.4, 0.9]
    assert np.isnan(results["split1_test_score"]).tolist() == [False, True, False]
    assert results["mean_test_score"].tolist() == pytest.approx([0.5, 0.4, 0.9])
    assert results["std_test_score"].tolist() == pytest.approx([0.0, 0.0, 0.0])
    assert results["rank_test_score"].tolist() == [2, 3, 1]


@pytest.mark.parametrize(
    ("means", "reached", "mode", "expected"),
    [
        ([0.9, 0.5, 0.7], [1, 3, 3], "max", [3, 2, 1]),
        ([0.9, 0.5, 0.7], [0, 0, 0], "max", [1, 3, 2]),
        ([0.9, 0.5, 0.5, np.nan], [0, 0, 0, 0], "min", [3, 1, 1, 4]),
        ([np.nan, np.nan], [0, 0], "max", [1, 1]),
    ],
)
def test_ranks(means: list[float], reached: list[int], mode: str, expected: list[int]) -> None:
    assert ranks(np.array(means), np.array(reached), mode).tolist() == expected


def test_the_best_is_refitted_with_as_many_steps_as_it_had() -> None:
    search = TuneGridSearchCV(Curve(), {"slope": [0.1, 0.3, 0.2]}, cv=2, max_iters=6, stopper={"training_iteration": 4}).fit(X, Y)
    assert search.best_params_ == {"slope": 0.3}
    assert search.best_estimator_.passes_ == 4
    assert search.best_score_ == pytest.approx(1.2)
    results = search.cv_results_
    assert results["training_iteration"].tolist() == [4, 4, 4]
    assert results["rank_test_score"].tolist() == [3, 1, 2]
    history = search.analysis_.reports(["mean_test_score"])
    assert len(history) == 12  # each step was reported


def test_a_forest_that_is_stopped_is_refitted_as_small() -> None:
    forest = RandomForestClassifier(12, random_state=0)
    search = TuneSearchCV(
        forest, {"max_depth": tune.randint(1, 6)}, n_trials=4, cv=2, max_iters=4, stopper={"training_iteration": 2}, random_state=0
    ).fit(X, Y)
    assert len(search.best_estimator_.estimators_) == 6
    assert forest.n_estimators == 12


def test_steps_give_what_scikit_learn_gives_in_the_end() -> None:
    from sklearn.model_selection import cross_validate

    search = TuneGridSearchCV(
        RandomForestClassifier(6, random_state=0), {"max_depth": [2]}, cv=3, max_iters=3, return_train_score=True
    ).fit(X, Y)
    theirs = cross_validate(RandomForestClassifier(6, random_state=0, max_depth=2), X, Y, cv=3, return_train_score=True)
    found = search.cv_results_
    assert [found[f"split{k}_test_score"][0] for k in range(3)] == pytest.approx(theirs["test_score"].tolist())
    assert [found[f"split{k}_train_score"][0] for k in range(3)] == pytest.approx(theirs["train_score"].tolist())


def test_a_step_that_fails_ends_its_candidate() -> None:
    with pytest.warns(FitFailedWarning):
        search = TuneGridSearchCV(Curve(level=0.5), {"broken_at": [3, 0]}, cv=2, max_iters=5).fit(X, Y)
    assert search.cv_results_["training_iteration"].tolist() == [3, 5]
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [True, False]
    assert search.best_params_ == {"broken_at": 0}
    with pytest.raises(ValueError, match="broken"):
        TuneGridSearchCV(Curve(), {"broken_at": [3]}, cv=2, max_iters=5, error_score="raise").fit(X, Y)


def test_a_population_is_trained() -> None:
    population = PopulationBasedTraining(
        "training_iteration", perturbation_interval=2, hyperparam_mutations={"slope": tune.uniform(0, 1)}, seed=1
    )
    search = TuneSearchCV(
        Curve(), {"slope": tune.uniform(0, 1)}, n_trials=8, cv=2, early_stopping=population, max_iters=8, random_state=0,
        search_optimization="random",
    ).fit(X, Y)  # fmt: skip
    assert search.cv_results_["training_iteration"].tolist() == [8] * 8
    copied = search.analysis_.lineage()
    assert len(copied) > 0
    last = copied.iloc[-1]
    number = [trial.trial_id for trial in search.analysis_.trials].index(last["trial_id"])
    assert search.cv_results_["params"][number] == {"slope": last["new/slope"]}
    assert search.best_estimator_.passes_ == 8


@pytest.mark.parametrize("name", ["random", "tpe", "gp", "bohb", "evolution", "sobol", "halton", "optuna", "hyperopt", "bayesian"])
def test_every_searcher_by_its_name(name: str) -> None:
    search = TuneSearchCV(Curve(), {"level": tune.uniform(0, 1)}, n_trials=4, cv=2, search_optimization=name, random_state=0).fit(X, Y)
    levels = [params["level"] for params in search.cv_results_["params"]]
    assert len(set(levels)) == 4
    assert search.best_params_["level"] == max(levels)


def test_searchers_and_schedulers_as_objects_with_arguments() -> None:
    space = {"level": tune.uniform(0, 1), "slope": [0.0, 0.1]}
    by_name = TuneSearchCV(
        Curve(), space, n_trials=3, cv=2, search_optimization="tpe", search_kwargs={"seed": 5, "points_to_evaluate": [{"level": 0.25}]}
    ).fit(X, Y)
    assert by_name.cv_results_["params"][0]["level"] == 0.25
    rule = MedianStoppingRule(time_attr="training_iteration", grace_period=1, min_samples_required=1)
    stopped = TuneGridSearchCV(Curve(), {"level": [0.9, 0.1]}, cv=3, early_stopping=rule).fit(X, Y)
    assert stopped.cv_results_["training_iteration"].tolist()[0] == 3
    assert stopped.cv_results_["training_iteration"].tolist()[1] < 3
    again = stopped.fit(X, Y)  # what the rule has seen before is forgotten
    assert again.cv_results_["training_iteration"].tolist()[0] == 3


def test_the_time_budget_ends_the_search_and_what_is_there_counts() -> None:
    search = TuneSearchCV(
        Curve(), {"level": tune.uniform(0, 1)}, n_trials=-1, cv=2, time_budget_s=0.3, search_optimization="random", random_state=0
    ).fit(X, Y)
    assert len(search.cv_results_["params"]) >= 1
    assert search.best_estimator_.passes_ == 1


def test_a_pipelines_last_estimator_stops_early() -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    search = TuneSearchCV(
        make_pipeline(StandardScaler(), SGDClassifier(random_state=0)),
        {"sgdclassifier__alpha": tune.loguniform(1e-6, 1e3), "standardscaler": [StandardScaler(), "passthrough"]},
        n_trials=6, cv=2, max_iters=9, early_stopping="asha", random_state=1, search_optimization="random",
    ).fit(X, Y)  # fmt: skip
    assert search.cv_results_["training_iteration"].max() == 9
    assert search.cv_results_["training_iteration"].min() < 9
    assert search.score(X, Y) > 0.7
