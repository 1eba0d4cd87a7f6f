"""What both search classes share: scikit-learn's ``fit``, with a run of fasttune's in the place of its loops."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from numbers import Integral, Real
from typing import Any, ClassVar, Never, Self

import numpy as np
from joblib import effective_n_jobs
from sklearn import get_config
from sklearn.base import _fit_context, clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import _warn_or_raise_about_fit_failures
from sklearn.utils import get_tags, indexable
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_method_params

from fasttune.analysis import ExperimentAnalysis
from fasttune.sklearn.evaluation import Candidate, CrossValidation, classes_of, names_of
from fasttune.sklearn.results import Evaluated, cv_results
from fasttune.sklearn.shared import Shared
from fasttune.sklearn.spaces import params_of
from fasttune.sklearn.steering import callbacks_of, scheduler_of
from fasttune.sklearn.stepwise import stepwise
from fasttune.space.domains import SearchSpaceError
from fasttune.tables.columns import Columns

NOT_SCORES = ("done", "time", "training_iteration")  # of what a report bears
STEERING = "mean_test_{}"  # what a report calls the score that steers


class TuneBaseSearchCV(BaseSearchCV):  # type: ignore[misc, unused-ignore]
    """Base of :class:`TuneSearchCV` and :class:`TuneGridSearchCV`, which say what is searched and by whom.

    A candidate is a trial. It reports each fold as it is scored; with ``max_iters`` > 1 it trains the estimators of all folds in
    steps, and reports after each.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **{name: rule for name, rule in BaseSearchCV._parameter_constraints.items() if name != "pre_dispatch"},
        "early_stopping": "no_validation",  # scheduler_of says what is wrong
        "mode": [StrOptions({"max", "min"})],
        "max_iters": [Interval(Integral, 1, None, closed="left")],
        "use_gpu": ["boolean", Interval(Real, 0, None, closed="left")],
        "loggers": "no_validation",
        "stopper": "no_validation",
        "time_budget_s": [Interval(Real, 0, None, closed="neither"), None],
        "pipeline_auto_early_stop": ["boolean"],
        "name": [str, None],
        "local_dir": [str, os.PathLike, None],
    }

    @abstractmethod
    def __init__(
        self,
        estimator: Any,
        *,
        early_stopping: Any,
        scoring: Any,
        n_jobs: int | None,
        refit: Any,
        cv: Any,
        verbose: int,
        error_score: Any,
        return_train_score: bool,
        mode: str,
        max_iters: int,
        use_gpu: bool | float,
        loggers: Any,
        stopper: Any,
        time_budget_s: float | None,
        pipeline_auto_early_stop: bool,
        name: str | None,
        local_dir: Any,
    ) -> None:
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.early_stopping = early_stopping
        self.mode = mode
        self.max_iters = max_iters
        self.use_gpu = use_gpu
        self.loggers = loggers
        self.stopper = stopper
        self.time_budget_s = time_budget_s
        self.pipeline_auto_early_stop = pipeline_auto_early_stop
        self.name = name
        self.local_dir = local_dir

    # ---- what the two classes say

    @property
    @abstractmethod
    def _given(self) -> Any:
        """The parameters to be searched, as they were given."""

    @abstractmethod
    def _search(self, seed: int) -> dict[str, Any]:
        """``config``, ``num_samples``, ``search_alg`` and ``on_duplicate`` of the run, and how many ``candidates`` there are."""

    def _seed(self) -> int:
        return 0

    def _in_order(self, candidates: list[Evaluated]) -> list[Evaluated]:
        """The rows of ``cv_results_``; of equals the first is best."""
        return candidates

    # ---- scikit-learn's methods

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags = deepcopy(get_tags(self.estimator).target_tags)
        return tags

    @_fit_context(prefer_skip_nested_validation=False)  # type: ignore[untyped-decorator, unused-ignore]
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search, and fit the best candidate to all rows.

        Args:
            X: rows to learn from: an array, sparse matrix, data frame or list of ``n_samples``.
            y: their targets; None where there are none.
            params: ``groups`` for the splitter; the rest for the estimator's ``fit``, with metadata routing for whoever asks
                for it. What has a value for each row (``sample_weight``) is split as the rows are.

        Raises:
            ValueError: what was asked for cannot be; or all fits have failed.
            KeyboardInterrupt: after Ctrl-C; ``cv_results_`` and ``best_params_`` tell of what was evaluated until then.
        """
        refuse_callbacks(self)
        scorers, refit_metric = self._get_scorers()
        if y is None and get_tags(self.estimator).target_tags.required:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        splits = self._splits(X, y, routed.splitter.split)
        task = CrossValidation(
            estimator=clone(self.estimator),
            X=contiguous(X),
            y=contiguous(y),
            splits=splits,
            scorer=scorers,
            metric=STEERING.format(steering_score(scorers, self.refit)),
            given=self._given,
            fit_params=dict(routed.estimator.fit),
            score_params=dict(routed.scorer.score),
            train_scores=self.return_train_score,
            error_score=self.error_score,
            max_iters=int(self.max_iters),
            last_step=self.pipeline_auto_early_stop,
            config=get_config(),
            warning_filters=list(warnings.filters),
        )
        if self.max_iters > 1 and not searches_estimators(task.estimator, self._given):
            stepwise(clone(task.estimator), task.max_iters, task.last_step)  # refuses what cannot be trained in steps
        with self._folder() as folder, shared(task) as handed:
            analysis = self._run(task, handed, folder)
            candidates = self._in_order(evaluated(analysis, self._given, whole=task.max_iters > 1))
        try:
            self._take(task, analysis, candidates, refit_metric)
        finally:  # a Ctrl-C is no error of the search: too few candidates come of it
            if analysis.interrupted:
                raise KeyboardInterrupt(f"the search was interrupted after {len(candidates)} candidates")
        if self.refit:
            self._refit(task, X, y)
        return self

    def _splits(self, X: Any, y: Any, split_params: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        self.n_splits_ = cv.get_n_splits(X, y, **split_params)
        splits = list(cv.split(X, y, **split_params))
        if len(splits) != self.n_splits_:
            raise ValueError(
                f"cv.split and cv.get_n_splits return inconsistent results. Expected {self.n_splits_} splits, got {len(splits)}"
            )
        if not splits:
            raise ValueError("No fits were performed. Was the CV iterator empty? Were there no candidates?")
        return splits

    def _run(self, task: CrossValidation, handed: Shared, folder: str | None) -> ExperimentAnalysis:
        from fasttune.resolve import Call
        from fasttune.trainable import with_parameters
        from fasttune.tuner import carry_out

        seed = self._seed()
        search = self._search(seed)
        jobs = effective_n_jobs(self.n_jobs)
        executor = "inline" if jobs == 1 and not self.use_gpu else "process"
        reports = len(task.splits) if task.max_iters == 1 else task.max_iters
        about_one = {
            "config": search["config"],
            "num_samples": search["num_samples"],
            "stop": self.stopper,
            "time_budget_s": self.time_budget_s,
            "resources_per_trial": {"cpu": 1, "gpu": float(self.use_gpu)},
        }
        call = Call(
            name=self.name or type(self).__name__,
            storage_path=folder,
            metric=task.metric,
            mode=self.mode,
            search_alg=search["search_alg"],
            on_duplicate=search["on_duplicate"],
            scheduler=scheduler_of(
                self.early_stopping, reports=reports, candidates=search["candidates"], search=search["search_alg"]
            ),
            max_concurrent=jobs,
            fail_fast="raise",
            reuse_actors=True,
            callbacks=callbacks_of(self.loggers),
            executor=executor,
            verbose=min(int(self.verbose), 3),
            seed=seed,
        )
        trainable = with_parameters(Candidate, task=handed)
        return carry_out(trainable, about_one, call, preload=modules_of(task.estimator))

    @contextmanager
    def _folder(self) -> Iterator[str | None]:
        """Where the experiment is stored: where the user says; in a folder that goes again, when nobody asks for it."""
        if self.local_dir is not None or self.name is not None or self.loggers:
            yield None if self.local_dir is None else os.fspath(self.local_dir)
            return
        with tempfile.TemporaryDirectory(prefix="fasttune-search-", ignore_cleanup_errors=True) as folder:
            try:
                yield folder
            except BaseException as error:  # what a run says of its folder is not true of this one
                notes = getattr(error, "__notes__", [])
                notes[:] = [note for note in notes if folder not in note]
                raise

    def _take(
        self, task: CrossValidation, analysis: ExperimentAnalysis, candidates: list[Evaluated], refit_metric: Any
    ) -> None:
        """Everything that is known once the candidates are: results, and who is best."""
        error_score = np.nan if isinstance(task.error_score, str) else float(task.error_score)
        if not candidates:
            raise ValueError(
                "no candidate was evaluated: the search ended before the first report (time_budget_s? a stopper?)"
            )
        fits = fits_of(candidates, self.n_splits_)
        _warn_or_raise_about_fit_failures(fits, self.error_score)
        results = cv_results(
            candidates,
            self.n_splits_,
            mode=self.mode,
            error_score=error_score,
            train_scores=self.return_train_score,
            iterative=task.max_iters > 1,
            expected=names_of(task.scorer),
        )
        names = [key.removeprefix("rank_test_") for key in results if key.startswith("rank_test_")]
        self.multimetric_ = names != ["score"]
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(dict.fromkeys(names))
            refit_metric = self.refit
        if self.refit or not self.multimetric_:
            self.best_index_ = self._select_best_index(self.refit, refit_metric, results)
            if not callable(self.refit):
                self.best_score_ = results[f"mean_test_{refit_metric}"][self.best_index_]
            self.best_params_ = results["params"][self.best_index_]
        self.scorer_ = getattr(task.scorer, "_scorers", task.scorer)
        self.cv_results_ = results
        self.analysis_ = analysis

    def _refit(self, task: CrossValidation, X: Any, y: Any) -> None:
        """The best candidate, trained on all rows for as many steps as it was evaluated with."""
        best = task.with_params(self.best_params_)
        began = time.time()
        if task.max_iters > 1:
            steps = int(self.cv_results_["training_iteration"][self.best_index_])
            trained = stepwise(best, task.max_iters, task.last_step)
            trained.train(min(steps, trained.steps), X, y, task.fit_params, classes_of(best, y))
            best = trained.estimator
        else:
            best.fit(*([X] if y is None else [X, y]), **task.fit_params)
        self.refit_time_ = time.time() - began
        self.best_estimator_ = best
        if hasattr(best, "feature_names_in_"):
            self.feature_names_in_ = best.feature_names_in_

    def _run_search(self, evaluate_candidates: Any) -> Never:
        raise NotImplementedError(f"{type(self).__name__} evaluates its candidates as trials of a run: call fit()")

    def __getstate__(self) -> dict[str, Any]:
        # An analysis has the journal open, and is as large as that.
        return {name: value for name, value in super().__getstate__().items() if name != "analysis_"}


@contextmanager
def shared(task: CrossValidation) -> Iterator[Shared]:
    """The task, for workers to map as long as the block lasts."""
    handed = Shared(task)
    try:
        yield handed
    finally:
        handed.close()


def contiguous(rows: Any) -> Any:
    """An array in one piece, so that processes can share it; anything else as it is."""
    if type(rows) is np.ndarray and not (rows.flags.c_contiguous or rows.flags.f_contiguous):
        return np.ascontiguousarray(rows)
    return rows


def steering_score(scorers: Any, refit: Any) -> str:
    """The name of the score that steers the search: the one that the best candidate is chosen by; of several the first one
    where that is not said."""
    names = names_of(scorers)
    if isinstance(refit, str) and names != ["score"]:
        return refit
    return names[0] if names else "score"


def searches_estimators(estimator: Any, given: Any) -> bool:
    """Whether a whole estimator, or a pipeline's step, is among what is searched: how it is trained is known then only."""
    names = {name for one in (given if isinstance(given, (list, tuple)) else [given]) for name in one}
    return any(name in names for name in ("estimator", *dict(getattr(estimator, "steps", ()))))


def modules_of(estimator: Any) -> tuple[str, ...]:
    """What a worker has to load for an estimator, of this package and of scikit-learn: once for all workers."""
    parts = [estimator, *estimator.get_params().values()]
    names = {type(part).__module__ for part in parts if hasattr(part, "get_params")}
    return (Candidate.__module__, *sorted(name for name in names if name.startswith("sklearn.")))


def evaluated(analysis: ExperimentAnalysis, given: Any, whole: bool) -> list[Evaluated]:
    """The candidates that have reported, in the order in which they were made, with the last value under each name.
    ``whole``: each report has all of them, and the last one counts.

    Each fold has names of its own: a frame of all reports grows with the square of the folds.
    """
    columns = analysis._columns
    last = columns.last_rows()
    rows: dict[int, dict[str, Any]] = {trial: {} for trial in columns.trial[last].tolist()}
    for name in columns.names:
        if name not in NOT_SCORES:
            for trial, value in _last_values(columns, name, last if whole else None):
                rows[trial][name] = value
    iterations = dict(zip(columns.trial[last].tolist(), columns.step[last].tolist(), strict=True))
    return [
        Evaluated(params_of(trial.config, given), row, iterations[i], number)
        for number, (i, trial) in enumerate(zip(analysis._indices, analysis.trials, strict=True))
        if (row := rows.get(int(i))) is not None
    ]


def _last_values(columns: Columns, name: str, rows: Any) -> Iterator[tuple[int, Any]]:
    """(trial, value) of each value under this name, a trial's last one last; ``rows``: in these reports alone."""
    places, values = columns.where(name)
    texts = columns.extra(name)
    if rows is not None:
        chosen = np.isin(places, rows)
        places, values = places[chosen], values[chosen]
        texts = {place: text for place, text in texts.items() if place in set(rows.tolist())}
    known = ~np.isnan(values)
    yield from zip(columns.trial[places[known]].tolist(), values[known].tolist(), strict=True)
    numbers = set(places.tolist())
    for place, text in sorted(texts.items()):
        if place not in numbers and text is not None:
            yield int(columns.trial[place]), text


def fits_of(candidates: list[Evaluated], n_splits: int) -> list[dict[str, Any]]:
    """Each fit that was done, and how it failed if it did."""
    return [
        {"fit_error": one.values.get(f"split{k}_fit_error")}
        for one in candidates
        for k in range(n_splits)
        if f"split{k}_fit_time" in one.values
    ]


def refuse_callbacks(search: Any) -> None:
    """scikit-learn's callbacks would hear nothing of a search whose fits are trials."""
    if getattr(search, "_skl_callbacks", None):
        raise ValueError(
            f"{type(search).__name__} calls no callbacks of scikit-learn's: give fasttune Callbacks as loggers=[...]"
        )


def is_finite(config: Mapping[str, Any]) -> bool:
    """Whether a space holds so many candidates and no more."""
    from fasttune.space.search_space import SearchSpace

    try:
        return SearchSpace(config).size() != float("inf")
    except SearchSpaceError:
        return False

