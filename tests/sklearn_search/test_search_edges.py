"""What is best where fits fail, what cannot be trained in steps, and parameters with odd names."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.svm import SVC

from fasttune.sklearn import TuneGridSearchCV
from fasttune.sklearn.results import ranks

X, Y = load_iris(return_X_y=True)


class First(ClassifierMixin, BaseEstimator):
    """Says the first class. With ``a`` of 0 its fits fail, with 2 somebody presses Ctrl-C while it is fitted."""

    def __init__(self, a: int = 0, params: int = 0) -> None:
        self.a = a
        self.params = params

    def fit(self, X: Any, y: Any) -> First:
        if self.a == 0:
            raise ValueError("bad a")
        if self.a == 2:
            os.kill(os.getpid(), signal.SIGINT)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])


def test_a_candidate_that_failed_is_behind_all_others() -> None:
    assert ranks(np.array([np.nan, 0.3, 0.5, np.nan]), np.array([5, 4, 5, 1]), "max").tolist() == [3, 2, 1, 3]


@pytest.mark.filterwarnings("ignore:.*fits failed")
@pytest.mark.parametrize("grid", [[2, 1], [0, 2, 1]], ids=["nothing is known yet", "only failed fits are"])
def test_ctrl_c_is_a_keyboard_interrupt(grid: list[int]) -> None:
    with pytest.raises(KeyboardInterrupt):
        TuneGridSearchCV(First(), {"a": grid}, error_score=np.nan).fit(X, Y)


def test_a_parameter_may_be_called_params() -> None:
    search = TuneGridSearchCV(First(), {"params": [0, 1], "a": [1]}).fit(X, Y)
    assert search.cv_results_["params"] == [{"a": 1, "params": 0}, {"a": 1, "params": 1}]


def test_what_begins_anew_in_each_step_is_not_trained_in_steps() -> None:
    with pytest.raises(ValueError, match="solver='liblinear' begins anew each time"):
        TuneGridSearchCV(LogisticRegression(solver="liblinear"), {"C": [1.0]}, max_iters=5).fit(X, Y == 0)


def test_forests_of_boosting_libraries_are_not_trained_in_steps() -> None:
    from lightgbm import LGBMClassifier
    from xgboost import XGBRFClassifier

    with pytest.raises(ValueError, match="a random forest of XGBoost that goes on is a boosted one"):
        TuneGridSearchCV(XGBRFClassifier(), {"max_depth": [2]}, max_iters=5).fit(X, Y)
    with pytest.raises(ValueError, match="LightGBM does not go on with a random forest"):
        TuneGridSearchCV(LGBMClassifier(boosting_type="rf"), {"max_depth": [2]}, max_iters=5).fit(X, Y)


@pytest.mark.filterwarnings("ignore:Scoring failed", "ignore:One or more of the test scores")
def test_a_score_that_nobody_has_keeps_its_columns() -> None:
    """The area under one curve is of two classes, and there are three."""
    grid, scoring = {"C": [1.0, 2.0]}, ["accuracy", "roc_auc"]
    search = TuneGridSearchCV(SVC(), grid, scoring=scoring, refit="accuracy").fit(X, Y)
    assert np.isnan(search.cv_results_["mean_test_roc_auc"]).all()
    assert search.cv_results_["rank_test_roc_auc"].tolist() == [1, 1]
    assert TuneGridSearchCV(SVC(), grid, scoring=scoring, refit="roc_auc").fit(X, Y).best_index_ == 0


def test_labels_in_a_column_are_trained_in_steps_too() -> None:
    search = TuneGridSearchCV(SGDClassifier(random_state=0), {"alpha": [1e-3]}, max_iters=3, error_score="raise")
    flat = search.fit(X, Y).best_score_
    assert search.fit(X, Y[:, None]).best_score_ == flat
