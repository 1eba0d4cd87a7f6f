"""The search classes, with the names and arguments of tune-sklearn's."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, Options

from fasttune.sklearn.base import TuneBaseSearchCV, is_finite
from fasttune.sklearn.results import Evaluated
from fasttune.sklearn.spaces import distribution_space, grid_places, grid_space
from fasttune.sklearn.steering import searcher_of
from fasttune.space.seeds import seed_from


class TuneSearchCV(TuneBaseSearchCV):
    """Search over distributions, with cross-validation, any searcher, and early stopping.

    Takes the place of ``RandomizedSearchCV``: what that has after ``fit`` this has, too, and ``analysis_``, the run as an
    ``ExperimentAnalysis``.

    Args:
        estimator: what is tuned; a pipeline's parameters are named ``step__parameter``.
        param_distributions: parameter -> a list to choose from, a distribution (``rvs``) or a fasttune domain; or a list of such
            dicts, of which one is chosen first.
        early_stopping: True (ASHA), the name of a scheduler ("asha", "hyperband", "MedianStoppingRule", ...) or a TrialScheduler:
            hopeless candidates are stopped, between folds, or with ``max_iters`` > 1 between steps of training.
        n_trials: how many candidates; fewer if the space holds no more. -1: until ``time_budget_s`` or ``stopper`` ends it.
        scoring: a scorer's name, a function ``(estimator, X, y)``, or a list or dict for several scores; None: the estimator's own.
        n_jobs: candidates that are evaluated at a time, in worker processes that share X and y; -1: one for each CPU. None means 1
            (unless ``joblib.parallel_config`` says otherwise), and that is done in this process.
        refit: fit the best candidate to all rows; of several scores the name of the one that says who is best (and that steers
            the search; without it the first one does), or a function of ``cv_results_`` that returns the best row.
        cv: number of folds, a splitter, or an iterable of splits.
        verbose: 0 (nothing) to 3 (every report), as of ``tune.run``.
        random_state: the same number gives the same candidates, whatever ``n_jobs``, with searchers that do not learn; those that
            learn depend on who is done first.
        error_score: the score of a fit that fails; "raise": it ends the search.
        return_train_score: score the rows that were trained on, too.
        search_optimization: "auto" (TPE, or a Gaussian process if fits take long), "random", "tpe", "gp", "bohb", "cmaes", "optuna",
            "hyperopt", ..., or a Searcher.
        search_kwargs: what the searcher of that name is made with.
        mode: "max", or "min" for scores that are losses.
        max_iters: steps of training, each of them scored on all folds: passes over the data for ``partial_fit``; equal shares of
            ``n_estimators`` or ``max_iter`` for ``warm_start`` and gradient boosting. 1: fits as a whole, fold by fold. The best
            candidate is refitted with the steps it had when it was scored last.
        use_gpu: each candidate gets a GPU, or the share of one that is said here, and runs in a worker process.
        loggers: Callbacks, or names ("json", "csv").
        stopper: what else ends candidates or the search: as ``tune.run``'s ``stop``.
        time_budget_s: seconds after which the search ends; what was scored by then counts.
        pipeline_auto_early_stop: with ``max_iters`` > 1 a pipeline's last estimator is trained in steps, its transformers are fitted
            once. False: the pipeline must be able to do it itself.
        name, local_dir: keep the experiment under this name, in this folder (default ``$FASTTUNE_RESULTS_DIR`` or
            ``~/fasttune_results``), for ``fasttune report``, ``dashboard`` and ``plot``. Neither: nothing is kept on disk.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **TuneBaseSearchCV._parameter_constraints,
        "param_distributions": [dict, list, tuple],
        "n_trials": [Interval(Integral, 1, None, closed="left"), Options(Integral, {-1})],
        "random_state": ["random_state"],
        "search_optimization": "no_validation",
        "search_kwargs": [dict, None],
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        early_stopping: Any = None,
        n_trials: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        search_optimization: Any = "auto",
        search_kwargs: dict[str, Any] | None = None,
        mode: str = "max",
        max_iters: int = 1,
        use_gpu: bool | float = False,
        loggers: Sequence[Any] | None = None,
        stopper: Any = None,
        time_budget_s: float | None = None,
        pipeline_auto_early_stop: bool = True,
        name: str | None = None,
        local_dir: Any = None,
    ) -> None:
        super().__init__(
            estimator=estimator,
            early_stopping=early_stopping,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
            mode=mode,
            max_iters=max_iters,
            use_gpu=use_gpu,
            loggers=loggers,
            stopper=stopper,
            time_budget_s=time_budget_s,
            pipeline_auto_early_stop=pipeline_auto_early_stop,
            name=name,
            local_dir=local_dir,
        )
        self.param_distributions = param_distributions
        self.n_trials = n_trials
        self.random_state = random_state
        self.search_optimization = search_optimization
        self.search_kwargs = search_kwargs

    @property
    def _given(self) -> Any:
        return self.param_distributions

    def _seed(self) -> int:
        return seed_from(self.random_state)

    def _search(self, seed: int) -> dict[str, Any]:
        config = distribution_space(self.param_distributions)
        finite = is_finite(config)
        if self.n_trials == -1 and not finite and self.time_budget_s is None and self.stopper is None:
            raise ValueError("n_trials=-1 goes on without end: say by time_budget_s or stopper when it is over")
        return {
            "config": config,
            "num_samples": int(self.n_trials),
            "candidates": int(self.n_trials),
            "search_alg": searcher_of(self.search_optimization, self.search_kwargs, seed),
            # Where everything can be tried, nothing is tried twice: so does scikit-learn with lists.
            "on_duplicate": "skip" if finite else "allow",
        }


class TuneGridSearchCV(TuneBaseSearchCV):
    """Every candidate of a grid, in the order of ``GridSearchCV``, with cross-validation and early stopping.

    Args:
        estimator: what is tuned; a pipeline's parameters are named ``step__parameter``.
        param_grid: parameter -> a list of values; or a list of such dicts, which are walked through one after the other.

    All other arguments are those of :class:`TuneSearchCV`.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **TuneBaseSearchCV._parameter_constraints,
        "param_grid": [dict, list, tuple],
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        early_stopping: Any = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        mode: str = "max",
        max_iters: int = 1,
        use_gpu: bool | float = False,
        loggers: Sequence[Any] | None = None,
        stopper: Any = None,
        time_budget_s: float | None = None,
        pipeline_auto_early_stop: bool = True,
        name: str | None = None,
        local_dir: Any = None,
    ) -> None:
        super().__init__(
            estimator=estimator,
            early_stopping=early_stopping,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
            mode=mode,
            max_iters=max_iters,
            use_gpu=use_gpu,
            loggers=loggers,
            stopper=stopper,
            time_budget_s=time_budget_s,
            pipeline_auto_early_stop=pipeline_auto_early_stop,
            name=name,
            local_dir=local_dir,
        )
        self.param_grid = param_grid

    @property
    def _given(self) -> Any:
        return self.param_grid

    def _search(self, seed: int) -> dict[str, Any]:
        config = grid_space(self.param_grid)
        size = len(grid_places(config))
        return {"config": config, "num_samples": 1, "candidates": size, "search_alg": None, "on_duplicate": "allow"}

    def _in_order(self, candidates: list[Evaluated]) -> list[Evaluated]:
        places = grid_places(grid_space(self.param_grid))
        return sorted(candidates, key=lambda one: places[one.number])
