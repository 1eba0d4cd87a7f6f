"""XGBoost's and LightGBM's estimators, grown in steps on top of what they have."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification

import fasttune as tune
from fasttune.sklearn import TuneSearchCV
from fasttune.sklearn.stepwise import Boosted, stepwise

X, Y = make_classification(120, 6, random_state=0)


def made(kind: str, trees: int | None) -> Any:
    if kind.startswith("XGB"):
        import xgboost

        return getattr(xgboost, kind)(n_estimators=trees, n_jobs=1, random_state=0)
    import lightgbm

    return getattr(lightgbm, kind)(n_estimators=trees, n_jobs=1, random_state=0, verbose=-1)


@pytest.mark.parametrize("kind", ["XGBClassifier", "XGBRegressor", "LGBMClassifier", "LGBMRegressor"])
def test_what_grows_in_steps_is_what_is_grown_at_once(kind: str) -> None:
    training = stepwise(made(kind, 10), 4)
    assert isinstance(training, Boosted)
    for trees in (3, 5, 8, 10):
        training.step(X, Y, {}, np.unique(Y))
        at_once = made(kind, trees).fit(X, Y)
        predict = "predict_proba" if hasattr(at_once, "predict_proba") else "predict"
        np.testing.assert_allclose(getattr(training.estimator, predict)(X), getattr(at_once, predict)(X), atol=1e-6)
        training = pickle.loads(pickle.dumps(training))  # as between two turns of a population


def test_trees_that_are_not_said_are_a_hundred() -> None:
    training = stepwise(made("XGBClassifier", None), 10)
    assert [training.count(step) for step in (1, 10)] == [10, 100]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["XGBClassifier", "LGBMClassifier"])
def test_hopeless_candidates_are_stopped(kind: str) -> None:
    search = TuneSearchCV(
        made(kind, 20), {"learning_rate": tune.loguniform(1e-3, 0.5)}, n_trials=6, cv=2, early_stopping=True, max_iters=5,
        search_optimization="random", random_state=0,
    ).fit(X, Y)  # fmt: skip
    steps = search.cv_results_["training_iteration"]
    assert steps.min() < steps.max() == 5
    assert search.best_estimator_.n_estimators == 4 * steps[search.best_index_]
    assert search.score(X, Y) > 0.8
