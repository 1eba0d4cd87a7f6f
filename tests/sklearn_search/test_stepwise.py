"""Estimators that are trained in steps: what each step leaves is what the estimator's own way of going on gives."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import config_context
from sklearn.datasets import make_classification, make_regression
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from fasttune.sklearn.stepwise import Continuing, Counted, Growing, LastStep, PartialFit, stepwise

X, Y = make_classification(80, 6, n_informative=4, n_classes=3, random_state=0)
LABELS = np.unique(Y)


def trained(estimator: Any, max_iters: int, steps: int, y: Any = Y) -> Any:
    training = stepwise(estimator, max_iters)
    for _ in range(steps):
        training.step(X, y, {}, LABELS)
    return training.estimator


@pytest.mark.parametrize(
    ("estimator", "kind"),
    [
        (SGDClassifier(), PartialFit),
        (MLPClassifier(), PartialFit),
        (MLPClassifier(solver="lbfgs"), Continuing),
        (GaussianNB(), PartialFit),
        (RandomForestClassifier(), Growing),
        (BaggingClassifier(), Growing),
        (GradientBoostingClassifier(), Growing),
        (HistGradientBoostingClassifier(), Growing),
        (IsolationForest(), Growing),
        (LogisticRegression(), Continuing),
        (make_pipeline(StandardScaler(), SGDClassifier()), LastStep),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, type) else value.__name__,
)
def test_how_an_estimator_is_trained(estimator: Any, kind: type) -> None:
    assert type(stepwise(estimator, 5)) is kind


def test_partial_fit_sees_all_rows_at_each_step_and_all_labels_at_the_first() -> None:
    by_hand = SGDClassifier(random_state=0)
    for _ in range(4):
        by_hand.partial_fit(X[Y > 0], Y[Y > 0], classes=LABELS)
    training = stepwise(SGDClassifier(random_state=0), 9)
    for _ in range(4):
        training.step(X[Y > 0], Y[Y > 0], {}, LABELS)
    np.testing.assert_array_equal(training.estimator.coef_, by_hand.coef_)
    assert (training.done, training.steps) == (4, 9)


def test_partial_fit_without_labels_and_without_targets() -> None:
    rows, targets = make_regression(40, 3, random_state=0)
    training = stepwise(SGDRegressor(random_state=0), 3)
    training.step(rows, targets, {"sample_weight": np.ones(40)})
    by_hand = SGDRegressor(random_state=0).partial_fit(rows, targets, sample_weight=np.ones(40))
    np.testing.assert_array_equal(training.estimator.coef_, by_hand.coef_)
    from sklearn.cluster import MiniBatchKMeans

    clusters = stepwise(MiniBatchKMeans(2, random_state=0, n_init=1), 3)
    clusters.step(rows, None, {})
    assert clusters.estimator.cluster_centers_.shape == (2, 3)
    several = stepwise(MultiOutputClassifier(SGDClassifier(random_state=0)), 2)
    several.step(X, np.c_[Y, Y], {}, [LABELS, LABELS])
    assert several.estimator.predict(X).shape == (80, 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: RandomForestClassifier(n, random_state=0),
        lambda n: GradientBoostingClassifier(n_estimators=n, random_state=0),
        lambda n: HistGradientBoostingClassifier(max_iter=n, random_state=0, early_stopping=False, max_bins=8, min_samples_leaf=5),
    ],
    ids=["forest", "boosting", "histogram"],
)
def test_what_grows_in_steps_is_what_is_grown_at_once(make: Callable[[int], Any]) -> None:
    for steps, trees in ((1, 3), (2, 5), (4, 10)):  # 10 in 4 steps: 2.5, 5, 7.5, 10, rounded up
        stepped, at_once = trained(make(10), 4, steps), make(trees).fit(X, Y)
        np.testing.assert_allclose(stepped.predict_proba(X), at_once.predict_proba(X))
        refitted = stepwise(make(10), 4)
        refitted.train(steps, X, Y, {}, LABELS)
        np.testing.assert_allclose(refitted.estimator.predict_proba(X), at_once.predict_proba(X))
        assert not refitted.estimator.get_params()["warm_start"]


def test_a_solver_goes_on_where_it_was_and_says_nothing_of_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        stepped = trained(LogisticRegression(max_iter=200, tol=1e-8), 4, 4)
    at_once = LogisticRegression(max_iter=200, tol=1e-8).fit(X, Y)
    np.testing.assert_allclose(stepped.coef_, at_once.coef_, rtol=1e-2, atol=1e-3)
    fewer = trained(LogisticRegression(max_iter=8), 4, 1)
    assert fewer.n_iter_[0] <= 2


@pytest.mark.parametrize(("target", "max_iters", "counts"), [(10, 4, [3, 5, 8, 10]), (3, 5, [1, 2, 3]), (100, 3, [34, 67, 100])])
def test_steps_are_equal_shares(target: int, max_iters: int, counts: list[int]) -> None:
    training = stepwise(RandomForestClassifier(target), max_iters)
    assert isinstance(training, Counted)
    assert training.steps == len(counts)
    assert [training.count(step + 1) for step in range(training.steps)] == counts


def test_transformers_of_a_pipeline_are_fitted_once() -> None:
    class Counting(StandardScaler):
        fits = 0

        def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
            Counting.fits += 1
            return super().fit(X, y)

    pipeline = Pipeline([("scale", Counting()), ("pca", PCA(3, random_state=0)), ("clf", SGDClassifier(random_state=0))])
    training = stepwise(pipeline, 5)
    for _ in range(3):
        training.step(X, Y, {}, LABELS)
    assert Counting.fits == 1
    by_hand = SGDClassifier(random_state=0)
    rows = pipeline[:-1].transform(X)
    for _ in range(3):
        by_hand.partial_fit(rows, Y, classes=LABELS)
    np.testing.assert_array_equal(training.estimator.predict(X), by_hand.predict(rows))
    alone = stepwise(Pipeline([("clf", SGDClassifier(random_state=0))]), 5)
    alone.step(X, Y, {"clf__sample_weight": np.ones(80)}, LABELS)
    assert alone.estimator.predict(X).shape == (80,)


def test_a_pipeline_with_a_cache(tmp_path: Any) -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", SGDClassifier(random_state=0))], memory=str(tmp_path))
    training = stepwise(pipeline, 2)
    training.step(X, Y, {}, LABELS)
    assert training.estimator.predict(X).shape == (80,)


def test_what_was_put_away_goes_on_where_it_was() -> None:
    def make() -> Any:
        return stepwise(make_pipeline(StandardScaler(), SGDClassifier(random_state=0)), 5)

    straight, away = make(), make()
    for _ in range(2):
        straight.step(X, Y, {}, LABELS)
        away.step(X, Y, {}, LABELS)
    data = pickle.dumps(away)
    assert len(data) < X.nbytes  # without the rows
    back = pickle.loads(data)
    straight.step(X, Y, {}, LABELS)
    back.step(X, Y, {}, LABELS)
    np.testing.assert_array_equal(back.estimator[-1].coef_, straight.estimator[-1].coef_)


def test_parameters_change_on_the_way() -> None:
    training = stepwise(RandomForestClassifier(10, random_state=0), 5)
    training.step(X, Y, {}, LABELS)
    training.change({"n_estimators": 20, "max_depth": 2})
    training.step(X, Y, {}, LABELS)
    assert len(training.estimator.estimators_) == 8
    assert training.estimator.max_depth == 2
    pipeline = stepwise(make_pipeline(StandardScaler(), SGDClassifier(random_state=0)), 5)
    pipeline.step(X, Y, {}, LABELS)
    pipeline.change({"sgdclassifier__alpha": 0.5})
    assert pipeline.estimator[-1].alpha == 0.5


def test_metadata_of_a_pipeline_goes_to_its_steps() -> None:
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False), SGDClassifier(random_state=0).set_fit_request(sample_weight=True)
        )
        weights = np.where(Y == 0, 1.0, 0.0)
        training = stepwise(pipeline, 3)
        training.step(X, Y, {"sample_weight": weights}, LABELS)
        by_hand = SGDClassifier(random_state=0)
        by_hand.partial_fit(StandardScaler().fit_transform(X), Y, classes=LABELS, sample_weight=weights)
        np.testing.assert_allclose(training.estimator[-1].coef_, by_hand.coef_)


def test_what_cannot_be_trained_in_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="Ridge cannot be: it has neither partial_fit nor warm_start"):
        stepwise(Ridge(), 3)
    with pytest.raises(ValueError, match="Pipeline cannot be"):
        stepwise(make_pipeline(SGDClassifier()), 3, last_step=False)
    with pytest.raises(ValueError, match=r"n_estimators must be a whole number >= 1 to be reached in steps, got 'many'"):
        stepwise(RandomForestClassifier("many"), 3)
