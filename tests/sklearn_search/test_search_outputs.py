"""Several outputs, many folds, the caller's warning filters, and what would silently be another search."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import LeaveOneOut
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fasttune as tune
from fasttune.sklearn import TuneGridSearchCV, TuneSearchCV
from fasttune.sklearn.base import evaluated

X, Y = load_iris(return_X_y=True)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (MLPClassifier(hidden_layer_sizes=(4,), random_state=0), "alpha"),
        (make_pipeline(StandardScaler(), MLPClassifier(hidden_layer_sizes=(4,), random_state=0)), "mlpclassifier__alpha"),
        (MultiOutputClassifier(SGDClassifier(random_state=0)), "estimator__alpha"),
    ],
    ids=["multilabel", "pipeline", "multioutput"],
)
@pytest.mark.parametrize("form", [np.asarray, csr_matrix], ids=["array", "sparse"])
def test_labels_of_several_outputs_are_trained_in_steps(estimator: Any, name: str, form: Any) -> None:
    rows, labels = make_multilabel_classification(60, 5, n_classes=3, random_state=0)
    if form is csr_matrix and isinstance(estimator, MultiOutputClassifier):
        form = np.asarray  # scikit-learn's MultiOutputClassifier takes no sparse ones
    search = TuneGridSearchCV(estimator, {name: [1e-4, 1e-2]}, cv=2, max_iters=3, error_score="raise")
    search.fit(rows, form(labels))
    assert search.predict(rows).shape == (60, 3)
    assert (search.cv_results_["training_iteration"] == 3).all()


@pytest.mark.parametrize("whole", [False, True])
def test_what_candidates_reported_last_costs_no_square_of_the_folds(tmp_path: Path, whole: bool) -> None:
    folds, candidates = 400, 20

    def train(config: dict[str, Any]) -> None:
        for k in range(folds // (1 + 3 * config["stopped"])):
            fold = 0 if whole else k
            words = {f"split{fold}_fit_error": "no luck"} if k % 7 == 3 else {f"split{fold}_test_score": config["a"] + k}
            tune.report({**words, f"split{fold}_fit_time": 0.5, "mean_test_score": float("nan") if k % 2 else float(k)})

    space = {"a": tune.grid_search([float(a) for a in range(candidates // 2)]), "stopped": tune.grid_search([0, 1])}
    analysis = tune.run(train, config=space, executor="inline", verbose=0, storage_path=str(tmp_path))
    frame = analysis.reports().drop(columns=["time", "training_iteration"])
    by_trial = frame.groupby("trial_id", observed=True, sort=False)
    wide = (by_trial.tail(1).set_index("trial_id") if whole else by_trial.last()).to_dict("index")
    analysis = tune.ExperimentAnalysis(analysis.experiment_path)
    len(analysis._columns)
    tracemalloc.start()
    found = evaluated(analysis, {"a": [], "stopped": []}, whole)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 15e6  # the frame of all reports has 160 MB where each fold has names of its own
    assert [one.number for one in found] == list(range(candidates))
    for one, trial in zip(found, analysis.trials, strict=True):
        assert one.values == {name: value for name, value in wide[trial.trial_id].items() if value is not None and value == value}
        assert one.iterations == trial.last_result["training_iteration"]
        assert one.params == {"a": trial.config["a"], "stopped": trial.config["stopped"]}


def test_leave_one_out() -> None:
    search = TuneGridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-1]}, cv=LeaveOneOut()).fit(X, Y)
    assert search.n_splits_ == len(X)
    assert search.cv_results_[f"split{len(X) - 1}_test_score"].shape == (2,)
    assert search.best_score_ == pytest.approx(np.mean([search.cv_results_[f"split{k}_test_score"][search.best_index_]
                                                        for k in range(len(X))]))  # fmt: skip


class Warns(ClassifierMixin, BaseEstimator):
    """Warns when it is fitted."""

    def __init__(self, a: int = 0) -> None:
        self.a = a

    def fit(self, X: Any, y: Any) -> Warns:
        warnings.warn("of a fit", RuntimeWarning, stacklevel=2)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_callers_warning_filters_hold_in_workers(jobs: int) -> None:
    search = TuneGridSearchCV(Warns(), {"a": [0, 1]}, cv=2, n_jobs=jobs, error_score="raise", refit=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(RuntimeWarning, match="of a fit"):
            search.fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        search.fit(X, Y)


def test_a_bagging_with_its_out_of_bag_score_is_refused_in_steps() -> None:
    with pytest.raises(ValueError, match="no out-of-bag score of a bagging that goes on"):
        TuneGridSearchCV(BaggingClassifier(oob_score=True), {"n_estimators": [4]}, cv=2, max_iters=2).fit(X, Y)
    search = TuneGridSearchCV(BaggingClassifier(oob_score=True, random_state=0), {"n_estimators": [30]}, cv=2).fit(X, Y)
    assert search.best_estimator_.oob_score_ > 0.5
    forest = RandomForestClassifier(oob_score=True, random_state=0)
    assert TuneGridSearchCV(forest, {"n_estimators": [60]}, cv=2, max_iters=2).fit(X, Y).best_estimator_.oob_score_ > 0.5


def test_a_grid_within_what_is_sampled_is_refused() -> None:
    with pytest.raises(ValueError, match=r"param_distributions\['var_smoothing'\] must be .* or use TuneGridSearchCV"):
        TuneSearchCV(GaussianNB(), {"var_smoothing": tune.grid_search([1e-9, 1e-8])}, n_trials=2, cv=2).fit(X, Y)
