"""Estimators that are trained in steps, so that their score is known before they are done.

    PartialFit    ``partial_fit``: a step is a pass over the data
    Growing       ``warm_start`` of ensembles and of histogram gradient boosting: a step adds its share of trees
    Continuing    ``warm_start`` of solvers: a step is its share of ``max_iter``
    Boosted       XGBoost and LightGBM: a step adds its share of trees to the booster of before
    LastStep      a pipeline: its transformers are fitted in the first step, its last estimator in steps

``stepwise`` chooses. What a step needs of an estimator is in its parameters, so those of a trial may change on the way.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

ROUNDS = 100  # of XGBoost's and LightGBM's estimators that say nothing


class Stepwise:
    """An estimator in training. ``steps`` is how many it takes at most; ``estimator`` can be scored after each.

    Derive from it and override ``_advance``. All steps get the same rows.
    """

    def __init__(self, estimator: Any, max_iters: int) -> None:
        self.estimator = estimator
        self.max_iters = max_iters
        self.done = 0

    @property
    def steps(self) -> int:
        """After so many steps it is trained as it was asked for."""
        return self.max_iters

    def step(self, X: Any, y: Any, fit_params: dict[str, Any], classes: Any = None) -> None:
        """One step more on these rows. ``classes``: all labels, of which these rows may lack some."""
        self._advance(X, y, fit_params, classes)
        self.done += 1

    def train(self, steps: int, X: Any, y: Any, fit_params: dict[str, Any], classes: Any = None) -> None:
        """From the beginning, as far as ``steps`` steps lead."""
        for _ in range(steps):
            self.step(X, y, fit_params, classes)

    def change(self, params: dict[str, Any]) -> None:
        """Go on with these parameters."""
        self.estimator.set_params(**params)

    def _advance(self, X: Any, y: Any, fit_params: dict[str, Any], classes: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} must override _advance()")


class PartialFit(Stepwise):
    """A step is a pass over the data."""

    def _advance(self, X: Any, y: Any, fit_params: dict[str, Any], classes: Any) -> None:
        import inspect

        arguments = [X] if y is None else [X, y]
        if classes is not None and "classes" in inspect.signature(self.estimator.partial_fit).parameters:
            fit_params = {**fit_params, "classes": classes}
        self.estimator.partial_fit(*arguments, **fit_params)


class Counted(Stepwise):
    """A parameter says how far training goes; step n of m takes it to n/m of that."""

    def __init__(self, estimator: Any, max_iters: int, parameter: str) -> None:
        super().__init__(estimator, max_iters)
        self.parameter = parameter
        self._remember(estimator.get_params(deep=False)[parameter])

    def _remember(self, target: Any) -> None:
        if target is not None and (not isinstance(target, int) or target < 1):
            raise ValueError(
                f"{type(self.estimator).__name__}.{self.parameter} must be a whole number >= 1 to be reached in steps, got "
                f"{target!r}"
            )
        self.target: int = ROUNDS if target is None else target

    @property
    def steps(self) -> int:
        return min(self.max_iters, self.target)

    def count(self, steps: int) -> int:
        """How far ``steps`` steps lead."""
        return math.ceil(self.target * min(1.0, steps / self.steps) - 1e-9)

    def change(self, params: dict[str, Any]) -> None:
        self.estimator.set_params(**params)
        if self.parameter in params:
            self._remember(params[self.parameter])

    def train(self, steps: int, X: Any, y: Any, fit_params: dict[str, Any], classes: Any = None) -> None:
        self.estimator.set_params(**{self.parameter: self.count(steps)})
        _fit(self.estimator, X, y, fit_params)
        self.done = steps


class Growing(Counted):
    """What was trained stays, and more comes on top."""

    def _advance(self, X: Any, y: Any, fit_params: dict[str, Any], classes: Any) -> None:
        count = self.count(self.done + 1)
        if self.done and count <= self.count(self.done):
            return
        self.estimator.set_params(**{self.parameter: count, "warm_start": True})
        _fit(self.estimator, X, y, fit_params)


class Continuing(Counted):
    """A solver begins where it ended."""

    def _advance(self, X: Any, y: Any, fit_params: dict[str, Any], classes: Any) -> None:
        from sklearn.exceptions import ConvergenceWarning

        share = max(1, self.count(self.done + 1) - self.count(self.done))
        self.estimator.set_params(**{self.parameter: share, "warm_start": True})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it was told to end here
            _fit(self.estimator, X, y, fit_params)


class Boosted(Counted):
    """Gradient boosting of XGBoost or LightGBM goes on from a booster that is handed to ``fit`` as ``keyword``."""

    def __init__(self, estimator: Any, max_iters: int, keyword: str) -> None:
        super().__init__(estimator, max_iters, "n_estimators")
        self.keyword = keyword
        self._booster: Any = None

    def _advance(self, X: Any, y: Any, fit_params: dict[str, Any], classes: Any) -> None:
        share = self.count(self.done + 1) - self.count(self.done)
        self.estimator.set_params(n_estimators=share)
        _fit(self.estimator, X, y, {**fit_params, self.keyword: self._booster})
        self._booster = self.estimator.get_booster() if self.keyword == "xgb_model" else self.estimator.booster_


class LastStep(Stepwise):
    """The last estimator of a pipeline in steps, behind transformers that are fitted once."""

    def __init__(self, pipeline: Any, max_iters: int) -> None:
        super().__init__(pipeline, max_iters)
        self._last = stepwise(pipeline.steps[-1][1], max_iters)
        self._transformed: Any = None

    @property
    def steps(self) -> int:
        return self._last.steps

    def _advance(self, X: Any, y: Any, fit_params: dict[str, Any], classes: Any) -> None:
        before, last = self._shared_out(fit_params)
        if self.done == 0:
            self._transformed = self._fit_transformers(X, y, before)
        elif self._transformed is None:  # it was put away meanwhile
            self._transformed = self.estimator[:-1].transform(X) if len(self.estimator) > 1 else X
        self._last.step(self._transformed, y, last, classes)

    def train(self, steps: int, X: Any, y: Any, fit_params: dict[str, Any], classes: Any = None) -> None:
        before, last = self._shared_out(fit_params)
        self._last.train(steps, self._fit_transformers(X, y, before), y, last, classes)
        self.done = steps

    def change(self, params: dict[str, Any]) -> None:
        name, _ = self.estimator.steps[-1]
        last = {key.removeprefix(f"{name}__"): value for key, value in params.items() if key.startswith(f"{name}__")}
        # Transformers stay as they were fitted: what is behind them was trained on what they gave.
        self._last.change(last)

    def _fit_transformers(self, X: Any, y: Any, fit_params: dict[str, Any]) -> Any:
        if len(self.estimator) == 1:
            return X
        transformers = self.estimator[:-1]
        transformed = transformers.fit_transform(X, y, **fit_params)
        self.estimator.steps[:-1] = transformers.steps  # with a cache, others than those that were there
        return transformed

    def _shared_out(self, fit_params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the transformers get of the parameters of ``fit``, and what the last estimator gets."""
        name = self.estimator.steps[-1][0]
        if not fit_params:
            return {}, {}
        if _routing_enabled():
            from sklearn.utils.metadata_routing import get_routing_for_object, process_routing

            last = dict(process_routing(self.estimator, "fit", **fit_params)[name].fit)
            if len(self.estimator) == 1:
                return {}, last
            taken = get_routing_for_object(self.estimator[:-1]).consumes("fit_transform", fit_params)
            return {key: fit_params[key] for key in taken}, last
        own = {key: value for key, value in fit_params.items() if key.startswith(f"{name}__")}
        others = {key: value for key, value in fit_params.items() if key not in own}
        return others, {key.removeprefix(f"{name}__"): value for key, value in own.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_transformed": None}  # rows, which are there as long as they are needed


def stepwise(estimator: Any, max_iters: int, last_step: bool = True) -> Stepwise:
    """The estimator, with its parameters set, to be trained in ``max_iters`` steps; of a pipeline, with ``last_step``, its last
    one. ValueError if it cannot be."""
    if last_step and _is_pipeline(estimator):
        return LastStep(estimator, max_iters)
    library = _library_of(estimator)
    _check_that_steps_add_up(estimator, library)
    if library == "xgboost":
        return Boosted(estimator, max_iters, "xgb_model")
    if library == "lightgbm":
        return Boosted(estimator, max_iters, "init_model")
    if hasattr(estimator, "partial_fit"):
        return PartialFit(estimator, max_iters)
    parameters = estimator.get_params(deep=False)
    if "warm_start" in parameters:
        if "n_estimators" in parameters:
            return Growing(estimator, max_iters, "n_estimators")
        if "max_iter" in parameters:
            kind = Growing if _is_histogram_boosting(estimator) else Continuing
            return kind(estimator, max_iters, "max_iter")
    raise ValueError(
        f"max_iters={max_iters} asks for training in steps, and {type(estimator).__name__} cannot be: it has neither partial_fit "
        "nor warm_start with n_estimators or max_iter. Leave max_iters at 1: early_stopping then stops between folds"
    )


def _check_that_steps_add_up(estimator: Any, library: str | None) -> None:
    """ValueError for what has the parameters of training in steps and is another model when it is trained so."""
    parameters = estimator.get_params(deep=False)
    reason = None
    if library == "xgboost" and type(estimator).__name__.startswith("XGBRF"):
        reason = "a random forest of XGBoost that goes on is a boosted one"
    elif library == "lightgbm" and parameters.get("boosting_type") == "rf":
        reason = "LightGBM does not go on with a random forest"
    elif library is None and parameters.get("solver") == "liblinear":
        reason = "solver='liblinear' begins anew each time, whatever warm_start says (lbfgs, saga and others go on)"
    elif _is_bagging(estimator) and parameters.get("oob_score"):
        reason = "scikit-learn has no out-of-bag score of a bagging that goes on (oob_score=False, or a random forest)"
    if reason is not None:
        name = type(estimator).__name__
        raise ValueError(f"{name} cannot be trained in steps: {reason}. Leave max_iters at 1: early_stopping then stops between folds")


def _fit(estimator: Any, X: Any, y: Any, fit_params: dict[str, Any]) -> None:
    estimator.fit(*([X] if y is None else [X, y]), **fit_params)


def _is_pipeline(estimator: Any) -> bool:
    from sklearn.pipeline import Pipeline

    return isinstance(estimator, Pipeline)


def _is_histogram_boosting(estimator: Any) -> bool:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return isinstance(estimator, (HistGradientBoostingClassifier, HistGradientBoostingRegressor))


def _is_bagging(estimator: Any) -> bool:
    from sklearn.ensemble import BaggingClassifier, BaggingRegressor

    return isinstance(estimator, (BaggingClassifier, BaggingRegressor))


def _library_of(estimator: Any) -> str | None:
    """The library of gradient boosting that an estimator is of, also of a class that derives from its."""
    for one in type(estimator).__mro__:
        library = one.__module__.split(".")[0]
        if library in ("xgboost", "lightgbm"):
            return library
    return None


def _routing_enabled() -> bool:
    from sklearn import get_config

    return bool(get_config().get("enable_metadata_routing", False))
