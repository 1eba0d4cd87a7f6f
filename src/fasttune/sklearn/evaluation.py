"""What a trial does: one candidate, cross-validated fold by fold, or by steps of training on all folds at once.

A report bears the scores under the names of ``cv_results_``: ``split0_test_score``, ... of what was scored with it, and
``mean_test_score`` over the folds that are known.
"""

from __future__ import annotations

import os
import pickle
import time
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection._validation import _fit_and_score, _score
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params

from fasttune.executors.thread_pools import set_threads
from fasttune.script import is_elsewhere
from fasttune.sklearn.shared import Mapped, Shared
from fasttune.sklearn.spaces import params_of
from fasttune.sklearn.stepwise import Stepwise, stepwise
from fasttune.trainable import Trainable

STATE = "folds.pickle"
Scores = dict[str, float]


@dataclass(frozen=True)
class CrossValidation:
    """What is the same for all candidates.

    Attributes:
        estimator: unfitted; a clone of it gets a candidate's parameters.
        X, y: the data, as ``fit`` was given it; y may be None.
        splits: (rows to train on, rows to test on) of each fold.
        scorer: scikit-learn's, of one score or of several.
        metric: the report's key that steers the search.
        fit_params, score_params: what ``fit`` and the scorer are given besides; what has a value for each row is split.
        train_scores: whether rows that were trained on are scored, too.
        error_score: the score of a fit that fails; "raise": its exception ends the search.
        max_iters: steps of training, each of them scored; 1: trained as a whole, fold by fold.
        last_step: of a pipeline the last estimator is what is trained in steps.
        given: the parameters to be searched, as they were given.
        config: scikit-learn's global settings, metadata routing among them.
        warning_filters: those of the process that searches, which hold in workers too, as scikit-learn's own do.
    """

    estimator: Any
    X: Any
    y: Any
    splits: list[tuple[Any, Any]]
    scorer: Any
    metric: str
    given: Any
    fit_params: dict[str, Any] = field(default_factory=dict)
    score_params: dict[str, Any] = field(default_factory=dict)
    train_scores: bool = False
    error_score: float | str = float("nan")
    max_iters: int = 1
    last_step: bool = True
    config: dict[str, Any] = field(default_factory=dict)
    warning_filters: list[Any] = field(default_factory=list)

    def with_params(self, params: dict[str, Any]) -> Any:
        """A new estimator with a candidate's parameters, which may be estimators themselves."""
        return clone(self.estimator).set_params(**clone(params, safe=False))


class Candidate(Trainable):
    """One candidate, cross-validated: a fold a report, or a step of training a report."""

    def setup(self, config: dict[str, Any], task: Shared | Mapped) -> None:  # type: ignore[override]
        self.task: CrossValidation = task.get()
        self._begin(config)

    def _begin(self, config: dict[str, Any]) -> None:
        params = params_of(config, self.task.given)
        self.folds: FoldByFold | StepByStep = (FoldByFold if self.task.max_iters == 1 else StepByStep)(self.task, params)

    def step(self) -> dict[str, Any]:
        from sklearn import config_context

        elsewhere = is_elsewhere()
        if elsewhere:
            limit_threads(self)
        with config_context(**self.task.config), warnings.catch_warnings():
            if elsewhere:
                warnings.filters = list(self.task.warning_filters)
            result = self.folds.step()
        if self.task.metric not in result:
            result[self.task.metric] = self._steering(result)
        return result

    def _steering(self, result: dict[str, Any]) -> float:
        """What steers when the scores that a scoring function returned do not bear the name that was expected."""
        errors = any(name.endswith("_fit_error") for name in result)
        if errors and not isinstance(self.task.error_score, str):
            return self.task.error_score
        means = [name for name in result if name.startswith("mean_test_")]
        if not means or self.task.metric != "mean_test_score":
            wanted, there = self.task.metric.removeprefix("mean_test_"), [name.removeprefix("mean_test_") for name in means]
            raise ValueError(f"refit={wanted!r} must be one of the scores that scoring returns: {', '.join(there)}")
        return float(result[means[0]])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        with open(os.path.join(checkpoint_dir, STATE), "wb") as file:
            pickle.dump(self.folds.state(), file)

    def load_checkpoint(self, checkpoint: Any) -> None:
        with open(os.path.join(checkpoint, STATE), "rb") as file:
            self.folds.go_on(pickle.load(file))


class FoldByFold:
    """Each step fits and scores one fold as a whole, with scikit-learn's own function for that."""

    def __init__(self, task: CrossValidation, params: dict[str, Any]) -> None:
        self.task, self.params = task, params
        self.scored: list[Scores] = []  # of each fold that is done

    def step(self) -> dict[str, Any]:
        task, k = self.task, len(self.scored)
        train, test = task.splits[k]
        found = _fit_and_score(
            clone(task.estimator),
            task.X,
            task.y,
            scorer=task.scorer,
            train=train,
            test=test,
            verbose=0,
            parameters=self.params,
            fit_params=task.fit_params,
            score_params=task.score_params,
            return_train_score=task.train_scores,
            return_times=True,
            error_score=task.error_score,
        )
        failed = found.get("fit_error")
        scores = {} if failed and not names_of(task.scorer) else by_name(found["test_scores"])
        self.scored.append(scores)
        result = means_of(self.scored, task.error_score)
        result |= {f"split{k}_test_{name}": score for name, score in scores.items()}
        if task.train_scores and scores:
            result |= {f"split{k}_train_{name}": score for name, score in by_name(found["train_scores"]).items()}
        result |= {f"split{k}_fit_time": found["fit_time"], f"split{k}_score_time": found["score_time"]}
        if failed:
            result[f"split{k}_fit_error"] = failed
        return {**result, "done": len(self.scored) == len(task.splits)}

    def state(self) -> Any:
        """What ``go_on`` needs."""
        return self.scored

    def go_on(self, state: Any) -> None:
        """From what ``state`` gave, perhaps with other parameters: folds that are done stay as they are."""
        self.scored = list(state)


class StepByStep:
    """Each step trains the estimators of all folds a step further, and scores them."""

    def __init__(self, task: CrossValidation, params: dict[str, Any]) -> None:
        self.task, self.params = task, params
        self.folds = [self._new_fold() for _ in task.splits]
        self.fit_times = [0.0] * len(self.folds)
        self.classes = classes_of(task.estimator, task.y)

    def _new_fold(self) -> Stepwise:
        return stepwise(self.task.with_params(self.params), self.task.max_iters, self.task.last_step)

    def step(self) -> dict[str, Any]:
        result: dict[str, Any] = {}
        scored = []
        failed = False
        for k, fold in enumerate(self.folds):
            error, scores = self._train_and_score(k, fold, result)
            failed = failed or error
            scored.append(scores)
        result = means_of(scored, self.task.error_score) | result
        # A fit that failed will not do better from where it is.
        return {**result, "done": failed or all(fold.done >= fold.steps for fold in self.folds)}

    def _train_and_score(self, k: int, fold: Stepwise, result: dict[str, Any]) -> tuple[bool, Scores]:
        task = self.task
        train, test = task.splits[k]
        X_train, y_train = _safe_split(fold.estimator, task.X, task.y, train)
        began = time.perf_counter()
        try:
            fold.step(X_train, y_train, _check_method_params(task.X, params=task.fit_params, indices=train), self.classes)
        except Exception:
            if isinstance(task.error_score, str):
                raise
            from traceback import format_exc

            result[f"split{k}_fit_error"] = format_exc()
            scores = dict.fromkeys(names_of(task.scorer), task.error_score)
            result |= {f"split{k}_test_{name}": score for name, score in scores.items()}
            if task.train_scores:
                result |= {f"split{k}_train_{name}": score for name, score in scores.items()}
            return True, scores
        finally:
            self.fit_times[k] += time.perf_counter() - began
            result[f"split{k}_fit_time"] = self.fit_times[k]
            result[f"split{k}_score_time"] = 0.0
        X_test, y_test = _safe_split(fold.estimator, task.X, task.y, test, train)
        began = time.perf_counter()
        scores = self._scores(fold.estimator, X_test, y_test, test)
        result[f"split{k}_score_time"] = time.perf_counter() - began
        result |= {f"split{k}_test_{name}": score for name, score in scores.items()}
        if task.train_scores:
            trained = self._scores(fold.estimator, X_train, y_train, train)
            result |= {f"split{k}_train_{name}": score for name, score in trained.items()}
        return False, scores

    def _scores(self, estimator: Any, X: Any, y: Any, rows: Any) -> Scores:
        task = self.task
        params = _check_method_params(task.X, params=task.score_params, indices=rows)
        return by_name(_score(estimator, X, y, task.scorer, params, task.error_score))

    def state(self) -> Any:
        """What ``go_on`` needs."""
        return self.folds, self.fit_times

    def go_on(self, state: Any) -> None:
        """From what ``state`` gave, with this candidate's parameters."""
        self.folds, self.fit_times = state
        for fold in self.folds:
            fold.change(clone(self.params, safe=False))


def by_name(scores: Any) -> Scores:
    """One score, or several by name, as scores by name; one is called "score"."""
    return dict(scores) if isinstance(scores, dict) else {"score": float(scores)}


def means_of(scored: list[Scores], otherwise: Any) -> dict[str, float]:
    """The mean of each score over these folds. ``otherwise``: the score of a fold that failed before its scores had names."""
    names = dict.fromkeys(name for scores in scored for name in scores)
    return {f"mean_test_{name}": float(np.mean([scores.get(name, otherwise) for scores in scored])) for name in names}


def names_of(scorer: Any) -> list[str]:
    """The names of the scores of a scorer; none of a function of the user's, which may return anything."""
    several = getattr(scorer, "_scorers", None)
    return list(several) if isinstance(several, dict) else [] if _is_plain_function(scorer) else ["score"]


def _is_plain_function(scorer: Any) -> bool:
    """Whether it is a scoring function of the user's, which may return anything."""
    return not (hasattr(scorer, "_scorers") or hasattr(scorer, "_score_func") or type(scorer).__name__ == "_PassthroughScorer")


def classes_of(estimator: Any, y: Any) -> Any:
    """All labels, which ``partial_fit`` of a classifier wants to know from the first: of several outputs a list of them for
    MultiOutputClassifier, and their numbers where y says of each label whether a row has it."""
    from sklearn.base import is_classifier
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.utils.multiclass import type_of_target, unique_labels

    if y is None or not is_classifier(estimator):
        return None
    labels = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:  # a column is taken for its labels, as fit does
        labels = labels.ravel()
    if labels.ndim == 1:
        return np.unique(labels)
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    if not isinstance(last, MultiOutputClassifier) and type_of_target(labels) == "multilabel-indicator":
        return unique_labels(labels)
    return [np.unique(column) for column in labels.T]


_limited = -1  # threads that this process's libraries were last told to use


def limit_threads(trial: Trainable) -> None:
    """Lets a worker's libraries of linear algebra and OpenMP use as many threads as the trial has CPUs: they were loaded
    before the worker's environment could tell them."""
    global _limited
    cpus = max(1, int(trial.trial_resources.required_resources.get("CPU", 1)))
    if cpus != _limited:
        set_threads(cpus)
        _limited = cpus
