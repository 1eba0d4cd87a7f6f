"""TuneGridSearchCV and TuneSearchCV beside scikit-learn's own search classes, and in its places: pipelines, clones, scores."""

from __future__ import annotations

import os
import pickle
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_classification
from sklearn.exceptions import FitFailedWarning
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, ParameterGrid, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import check_estimator

import fasttune as tune
from fasttune.sklearn import TuneGridSearchCV, TuneSearchCV

X, Y = make_classification(60, 6, random_state=0)
GRID = {"max_depth": [3, 1, 2], "criterion": ["gini", "entropy"]}
TREE = DecisionTreeClassifier(random_state=0)


class Moody(ClassifierMixin, BaseEstimator):
    """A classifier that always gives the first label, and fails or is interrupted as it is told."""

    def __init__(self, mood: str = "good") -> None:
        self.mood = mood

    def fit(self, X: Any, y: Any) -> Moody:
        if self.mood == "bad":
            raise ValueError("in a bad mood")
        if self.mood == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])


class Weighed(ClassifierMixin, BaseEstimator):
    """Remembers the weights and the marks that it was given."""

    def __init__(self, level: int = 0) -> None:
        self.level = level

    def fit(self, X: Any, y: Any, sample_weight: Any = None, mark: Any = None) -> Weighed:
        self.classes_ = np.unique(y)
        self.weight_ = None if sample_weight is None else float(np.sum(sample_weight))
        self.mark_ = mark
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        return -1.0 if self.weight_ is None else self.weight_


def same_columns(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Every column of scikit-learn's but the times, in order, with equal values of equal kinds."""
    assert [key for key in ours if key != "training_iteration"] == list(theirs)
    for key, column in theirs.items():
        if key == "params":
            assert ours[key] == column
        elif not key.endswith("_time"):
            assert ours[key].dtype == column.dtype, key
            np.testing.assert_array_equal(np.ma.getmaskarray(ours[key]), np.ma.getmaskarray(column), err_msg=key)
            if column.dtype == object:
                assert ours[key].tolist() == column.tolist(), key
            else:
                np.testing.assert_allclose(ours[key], column, rtol=1e-12, err_msg=key)


# ---- as an estimator


@pytest.mark.parametrize(
    "search",
    [
        TuneGridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-3]}, cv=2),
        TuneSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, n_trials=2, cv=2, random_state=0),
    ],
    ids=["grid", "random"],
)
def test_scikit_learn_checks_pass(search: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # checks ask for what warns
        checked = check_estimator(search, on_skip=None, on_fail=None)
    failed = [(one["check_name"], one["exception"]) for one in checked if one["status"] not in ("passed", "skipped")]
    assert not failed
    assert sum(one["status"] == "passed" for one in checked) > 40


@pytest.mark.parametrize("grid", [GRID, [GRID, {"min_samples_leaf": [1, 5]}, {}]], ids=["dict", "list"])
def test_a_grid_gives_what_grid_search_gives(grid: Any) -> None:
    theirs = GridSearchCV(TREE, grid, cv=3, return_train_score=True).fit(X, Y)
    ours = TuneGridSearchCV(TREE, grid, cv=3, return_train_score=True).fit(X, Y)
    same_columns(ours.cv_results_, theirs.cv_results_)
    assert ours.cv_results_["params"] == list(ParameterGrid(grid))
    assert (ours.best_index_, ours.best_params_, ours.best_score_) == (theirs.best_index_, theirs.best_params_, theirs.best_score_)
    assert (ours.n_splits_, ours.multimetric_, ours.n_features_in_) == (3, False, 6)
    np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert ours.score(X, Y) == theirs.score(X, Y)
    assert ours.cv_results_["training_iteration"].tolist() == [3] * len(theirs.cv_results_["params"])
    assert (ours.cv_results_["mean_fit_time"] > 0).all()
    assert ours.refit_time_ > 0


def test_workers_give_the_same() -> None:
    alone = TuneGridSearchCV(TREE, GRID, cv=3).fit(X, Y)
    together = TuneGridSearchCV(TREE, GRID, cv=3, n_jobs=2).fit(X, Y)
    same_columns(together.cv_results_, {k: v for k, v in alone.cv_results_.items() if k != "training_iteration"})


def test_it_clones_pickles_and_leaves_its_parameters_alone() -> None:
    searcher = tune.search.TPESearch(seed=1)
    search = TuneSearchCV(TREE, {"max_depth": tune.randint(1, 9)}, n_trials=3, cv=2, search_optimization=searcher, random_state=0)
    before = pickle.dumps(searcher)
    search.fit(X, Y)
    first = search.cv_results_["params"]
    assert pickle.dumps(searcher) == before
    assert search.fit(X, Y).cv_results_["params"] == first  # another fit begins anew
    assert search.analysis_.trials[0].config == first[0]
    there = pickle.loads(pickle.dumps(search))
    assert not hasattr(there, "analysis_")
    assert there.best_params_ == search.best_params_
    np.testing.assert_array_equal(there.predict(X), search.predict(X))
    assert clone(search).get_params()["n_trials"] == 3
    assert "max_depth" in repr(search)


def test_a_pipeline_around_and_within() -> None:
    inner = Pipeline([("scale", StandardScaler()), ("pick", SelectKBest()), ("clf", LogisticRegression())])
    grid = {"clf__C": [0.1, 1.0], "pick__k": [2, 4], "scale": [StandardScaler(), "passthrough"]}
    theirs = GridSearchCV(inner, grid, cv=2).fit(X, Y)
    ours = make_pipeline(StandardScaler(), TuneGridSearchCV(inner, grid, cv=2))
    plain = TuneGridSearchCV(inner, grid, cv=2).fit(X, Y)
    np.testing.assert_allclose(plain.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
    assert plain.cv_results_["param_scale"].dtype == object
    scores = cross_val_score(ours, X, Y, cv=2)
    assert scores.min() > 0.5


def test_nothing_stays_on_disk_unless_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    home, scratch = tmp_path / "home", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("FASTTUNE_RESULTS_DIR", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    TuneGridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}, cv=2).fit(X, Y)
    assert not home.exists()
    assert not list(scratch.iterdir())
    TuneGridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}, cv=2, name="kept").fit(X, Y)
    assert [path.name for path in home.iterdir()] == ["kept"]
    TuneGridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}, cv=2, local_dir=tmp_path / "here", loggers=["csv"]).fit(X, Y)
    assert len(list((tmp_path / "here").glob("TuneGridSearchCV/*/progress.csv"))) == 1
    kept = tune.ExperimentAnalysis(home / "kept")
    assert kept.best_result["mean_test_score"] > 0


# ---- what is sampled


def test_lists_are_sampled_without_replacement() -> None:
    search = TuneSearchCV(TREE, {"max_depth": [1, 2, 3], "criterion": ["gini", "entropy"]}, n_trials=50, cv=2, random_state=0)
    params = search.fit(X, Y).cv_results_["params"]
    assert sorted(params, key=str) == sorted(ParameterGrid({"max_depth": [1, 2, 3], "criterion": ["gini", "entropy"]}), key=str)


def test_the_same_random_state_gives_the_same_candidates() -> None:
    def drawn(state: Any) -> Any:
        space = {"var_smoothing": tune.loguniform(1e-12, 1e-1)}
        search = TuneSearchCV(GaussianNB(), space, n_trials=3, cv=2, random_state=state, search_optimization="random")
        return search.fit(X, Y).cv_results_["params"]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
    assert drawn(np.random.RandomState(3)) == drawn(np.random.RandomState(3))
    np.random.seed(5)
    first = drawn(None)
    np.random.seed(5)
    assert drawn(None) == first


# ---- scores


def test_several_scores() -> None:
    kinds = {"acc": "accuracy", "loss": "neg_log_loss"}
    theirs = GridSearchCV(TREE, GRID, cv=2, scoring=kinds, refit="loss").fit(X, Y)
    ours = TuneGridSearchCV(TREE, GRID, cv=2, scoring=kinds, refit="loss").fit(X, Y)
    same_columns(ours.cv_results_, theirs.cv_results_)
    assert ours.best_params_ == theirs.best_params_
    assert ours.score(X, Y) == theirs.score(X, Y)
    assert ours.multimetric_

    def third(results: dict[str, Any]) -> int:
        return 2

    chosen = TuneGridSearchCV(TREE, GRID, cv=2, scoring=["accuracy", "roc_auc"], refit=third).fit(X, Y)
    assert chosen.best_index_ == 2
    assert not hasattr(chosen, "best_score_")
    apart = TuneGridSearchCV(TREE, GRID, cv=2, scoring=["accuracy", "roc_auc"], refit=False).fit(X, Y)
    assert not hasattr(apart, "best_params_")
    assert "rank_test_roc_auc" in apart.cv_results_


def test_a_function_that_returns_several_scores() -> None:
    def scores(estimator: Any, X: Any, y: Any) -> dict[str, float]:
        return {"depth": float(estimator.get_depth()), "leaves": float(estimator.get_n_leaves())}

    grid = {"max_depth": [3, 1, 2]}
    ours = TuneGridSearchCV(TREE, grid, cv=2, scoring=scores, refit="leaves").fit(X, Y)
    theirs = GridSearchCV(TREE, grid, cv=2, scoring=scores, refit="leaves").fit(X, Y)
    same_columns(ours.cv_results_, theirs.cv_results_)
    assert ours.best_params_ == {"max_depth": 3}
    least = TuneGridSearchCV(TREE, grid, cv=2, scoring=scores, refit="leaves", mode="min").fit(X, Y)
    assert least.best_params_ == {"max_depth": 1}
    apart = TuneGridSearchCV(TREE, grid, cv=2, scoring=scores, refit=False).fit(X, Y)
    assert "mean_test_depth" in apart.cv_results_
    assert "mean_test_score" not in apart.cv_results_
    with pytest.raises(ValueError, match=r"refit='wood' must be one of the scores that scoring returns: depth, leaves"):
        TuneGridSearchCV(TREE, grid, cv=2, scoring=scores, refit="wood").fit(X, Y)
    with pytest.raises(ValueError, match="For multi-metric scoring, the parameter refit must be set"):
        TuneGridSearchCV(TREE, grid, cv=2, scoring=scores).fit(X, Y)


def test_the_least_is_best_when_that_is_asked() -> None:
    ours = TuneGridSearchCV(TREE, {"max_depth": [3, 1, 2]}, cv=2, scoring=lambda e, X, y: float(e.get_depth()), mode="min").fit(X, Y)
    assert ours.best_params_ == {"max_depth": 1}
    assert ours.cv_results_["rank_test_score"].tolist() == [3, 1, 2]


# ---- fits that fail


def test_a_fit_that_fails_is_ranked_last_with_a_warning() -> None:
    with pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 4"), pytest.warns(UserWarning, match="non-finite"):
        search = TuneGridSearchCV(Moody(), {"mood": ["bad", "good"]}, cv=2).fit(X, Y)
    assert search.best_params_ == {"mood": "good"}
    assert np.isnan(search.cv_results_["mean_test_score"][0])
    assert search.cv_results_["rank_test_score"].tolist() == [2, 1]
    with pytest.warns(FitFailedWarning):
        lenient = TuneGridSearchCV(Moody(), {"mood": ["bad", "good"]}, cv=2, error_score=-2.0).fit(X, Y)
    assert lenient.cv_results_["split0_test_score"].tolist()[0] == -2.0


def test_a_failing_fit_has_the_error_score_under_every_name() -> None:
    def scores(estimator: Any, X: Any, y: Any) -> dict[str, float]:
        return {"a": 1.0, "b": 2.0}

    with pytest.warns(FitFailedWarning):
        search = TuneGridSearchCV(
            Moody(), {"mood": ["bad", "good"]}, cv=2, scoring=scores, refit="b", error_score=-9.0
        ).fit(X, Y)
    assert search.cv_results_["mean_test_a"].tolist() == [-9.0, 1.0]
    assert search.cv_results_["mean_test_b"].tolist() == [-9.0, 2.0]


@pytest.mark.parametrize("jobs", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_the_exception_of_a_fit_is_raised_when_that_is_asked(jobs: int | None) -> None:
    with pytest.raises(ValueError, match="in a bad mood") as raised:
        TuneGridSearchCV(Moody(), {"mood": ["good", "bad"]}, cv=2, error_score="raise", n_jobs=jobs).fit(X, Y)
    assert not any("fasttune-search" in note for note in getattr(raised.value, "__notes__", []))


def test_when_all_fits_fail_that_is_said() -> None:
    with pytest.raises(ValueError, match="All the 2 fits failed"):
        TuneGridSearchCV(Moody(), {"mood": ["bad"]}, cv=2).fit(X, Y)


def test_ctrl_c_ends_the_search_and_what_was_found_is_there() -> None:
    search = TuneGridSearchCV(Moody(), {"mood": ["good", "interrupted", "good"]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    assert search.best_params_ == {"mood": "good"}
    assert len(search.cv_results_["params"]) < 3
    assert not hasattr(search, "best_estimator_")


# ---- groups, weights


def test_groups_reach_the_splitter() -> None:
    groups = np.arange(60) % 3
    search = TuneGridSearchCV(TREE, {"max_depth": [1]}, cv=GroupKFold(3)).fit(X, Y, groups=groups)
    assert search.n_splits_ == 3
    with pytest.raises(ValueError, match="groups"):
        TuneGridSearchCV(TREE, {"max_depth": [1]}, cv=GroupKFold(3)).fit(X, Y)


def test_weights_are_split_as_the_rows_are() -> None:
    weights = np.ones(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether a score takes weights is scikit-learn's to say
        search = TuneGridSearchCV(Weighed(), {"level": [0, 1]}, cv=3).fit(X, Y, sample_weight=weights, mark="m")
    assert search.cv_results_["split0_test_score"].tolist() == [40.0, 40.0]
    assert (search.best_estimator_.weight_, search.best_estimator_.mark_) == (60.0, "m")


@pytest.mark.parametrize("jobs", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_metadata_is_routed_to_who_asks_for_it(jobs: int | None) -> None:
    with config_context(enable_metadata_routing=True):
        estimator = Weighed().set_fit_request(sample_weight=True, mark=True).set_score_request(sample_weight=False)
        search = TuneGridSearchCV(estimator, {"level": [0]}, cv=GroupKFold(3), n_jobs=jobs)
        search.fit(X, Y, sample_weight=np.ones(60), mark="m", groups=np.arange(60) % 3)
        assert search.cv_results_["split0_test_score"].tolist() == [40.0]
        assert search.best_estimator_.mark_ == "m"
        unasked = TuneGridSearchCV(Weighed(), {"level": [0]}, cv=2)
        with pytest.raises(Exception, match="not explicitly set as requested"):
            unasked.fit(X, Y, sample_weight=np.ones(60))


# ---- what is refused


def distributions(value: Any) -> Callable[[], Any]:
    return lambda: TuneSearchCV(TREE, value, cv=2).fit(X, Y)


def grid(value: Any) -> Callable[[], Any]:
    return lambda: TuneGridSearchCV(TREE, value, cv=2).fit(X, Y)


def asked(**arguments: Any) -> Callable[[], Any]:
    return lambda: TuneSearchCV(TREE, {"max_depth": [1, 2]}, cv=2, **arguments).fit(X, Y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (distributions({"max_depth": (1, 9)}), "write tune.uniform"),
        (distributions({"max_depth": 3}), r"must be a list of values, a distribution or a domain, got 3: write \[3\]"),
        (distributions({"max_depth": []}), "must not be empty"),
        (distributions([]), "must not be empty"),
        (distributions({3: [1]}), "must have names of parameters"),
        (distributions({"max_depth": np.ones((2, 2))}), "one dimension"),
        (distributions({"depth": [1]}), "Invalid parameter 'depth'"),
        (grid({"max_depth": tune.randint(1, 3)}), "TuneSearchCV samples from it"),
        (grid({"criterion": "gini"}), "must be a list of values"),
        (asked(early_stopping="asha", max_iters=3), "cannot be: it has neither partial_fit nor warm_start"),
        (asked(early_stopping=3), "early_stopping must be True, False"),
        (asked(early_stopping="ash"), "there is no scheduler called 'ash'"),
        (asked(early_stopping="pbt"), "give the scheduler itself, PopulationBasedTraining"),
        (asked(search_optimization="tpee"), "search_alg must be one of"),
        (asked(search_optimization=3), "search_optimization must be a Searcher or its name"),
        (asked(search_kwargs={"seed": 1}), "search_kwargs need the name of a searcher"),
        (asked(loggers=["jsn"]), "loggers must be Callbacks or names"),
        (lambda: TuneSearchCV(TREE, {"x": tune.uniform(0, 1)}, n_trials=-1).fit(X, Y), "n_trials=-1 goes on without end"),
        (asked(use_gpu=10_000.0), "gpu"),
        (asked(n_trials=0), "The 'n_trials' parameter of TuneSearchCV must be"),
        (asked(mode="mox"), "The 'mode' parameter of TuneSearchCV must be"),
        (asked(scoring=["accuracy", "roc_auc"]), "the parameter refit must be set"),
    ],
)
def test_what_cannot_be_is_said_before_a_trial_starts(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_a_search_that_ends_before_its_first_report_says_so() -> None:
    class Never(tune.stopper.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return True

    with pytest.raises(ValueError, match="no candidate was evaluated"):
        TuneSearchCV(TREE, {"max_depth": [1]}, cv=2, stopper=Never()).fit(X, Y)


def test_callbacks_that_would_hear_nothing_are_refused() -> None:
    search = TuneGridSearchCV(TREE, {"max_depth": [1]}, cv=2)
    search._skl_callbacks = [object()]  # what scikit-learn's set_callbacks leaves, from 1.9 on
    with pytest.raises(ValueError, match=r"calls no callbacks of scikit-learn's"):
        search.fit(X, Y)


@pytest.mark.slow
def test_the_example_runs() -> None:
    import subprocess
    import sys

    import fasttune

    script = Path(__file__).resolve().parents[2] / "examples" / "sklearn_search.py"
    source = str(Path(fasttune.__file__).resolve().parents[1])
    call = [sys.executable, "-W", "error", str(script), "--trees", "9", "--steps", "3"]
    done = subprocess.run(call, env={**os.environ, "PYTHONPATH": source}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "candidates got to the end" in done.stdout
