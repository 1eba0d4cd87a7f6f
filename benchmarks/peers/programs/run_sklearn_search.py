"""One search with a scikit-learn search class: prints its seconds, its best score, and the seconds to the target score.

    python run_sklearn_search.py CLASS DATA --jobs 2 --seed 0 --target 0.98 --log FILE

Every score of every fold is written to the log with its time, by the scoring function, wherever it is computed: so all classes
are watched in the same way. The target is reached when the last scores of one candidate's folds have a mean that high.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
import zlib
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import accuracy_score
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC

FOLDS = 5
LOG = "SEARCH_LOG"  # environment: where the scoring function writes

# data set -> (loader, estimator, {parameter: (low, high, logarithmic)}, grid points per parameter, candidates, steps)
DATA: dict[str, Any] = {
    "digits": (load_digits, lambda: SVC(), {"C": (1e-2, 1e3, True), "gamma": (1e-6, 1e-1, True)}, 8, 64, 1),
    "cancer": (
        load_breast_cancer,
        lambda: GradientBoostingClassifier(n_estimators=60, random_state=0),
        {"learning_rate": (1e-3, 1.0, True), "subsample": (0.3, 1.0, False), "max_features": (0.05, 1.0, False)},
        4,
        64,
        6,
    ),
    "cheap": (load_iris, lambda: GaussianNB(), {"var_smoothing": (1e-12, 1e-1, True)}, 400, 400, 1),
}


def logged(estimator: Any, X: Any, y: Any) -> float:
    """Accuracy; the log gets a line of it. Not for the cheap fits, where the line would cost more than the fit."""
    score = float(accuracy_score(y, estimator.predict(X)))
    path = os.environ.get(LOG)
    if path:
        names = DATA[os.environ["SEARCH_DATA"]][2]
        params = {name: value for name, value in estimator.get_params().items() if name in names}
        fold = zlib.crc32(np.ascontiguousarray(X).tobytes())
        line = json.dumps([time.time(), params, fold, score]) + "\n"
        with open(path, "ab", buffering=0) as log:  # one write: lines of several processes stay whole
            log.write(line.encode())
    return score


def grid(space: dict[str, Any], points: int) -> dict[str, list[float]]:
    return {
        name: (np.geomspace if logarithmic else np.linspace)(low, high, points).tolist()
        for name, (low, high, logarithmic) in space.items()
    }


def distributions(space: dict[str, Any]) -> dict[str, Any]:
    from scipy.stats import loguniform, uniform

    return {
        name: loguniform(low, high) if logarithmic else uniform(low, high - low) for name, (low, high, logarithmic) in space.items()
    }


def search_of(kind: str, data: str, jobs: int, seed: int) -> Any:
    """The search object that is measured."""
    _, estimator, space, points, candidates, steps = DATA[data]
    common = {"cv": FOLDS, "scoring": "accuracy" if data == "cheap" else logged, "n_jobs": jobs}
    if kind == "GridSearchCV":
        from sklearn.model_selection import GridSearchCV

        return GridSearchCV(estimator(), grid(space, points), **common)
    if kind == "RandomizedSearchCV":
        from sklearn.model_selection import RandomizedSearchCV

        return RandomizedSearchCV(estimator(), distributions(space), n_iter=candidates, random_state=seed, **common)
    if kind == "HalvingRandomSearchCV":
        from sklearn.experimental import enable_halving_search_cv  # noqa: F401
        from sklearn.model_selection import HalvingRandomSearchCV

        return HalvingRandomSearchCV(estimator(), distributions(space), n_candidates=candidates, random_state=seed, **common)
    if kind == "OptunaSearchCV":
        import optuna
        from optuna_integration.sklearn import OptunaSearchCV

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        floats = {name: optuna.distributions.FloatDistribution(low, high, log=log) for name, (low, high, log) in space.items()}
        return OptunaSearchCV(estimator(), floats, n_trials=candidates, random_state=seed, **common)
    from fasttune.sklearn import TuneGridSearchCV, TuneSearchCV

    if kind == "TuneGridSearchCV":
        return TuneGridSearchCV(estimator(), grid(space, points), **common)
    how = {"search_optimization": "random"} if kind == "TuneSearchCV random" else {}
    if kind == "TuneSearchCV early":
        how = {"early_stopping": True, "max_iters": steps}
    return TuneSearchCV(estimator(), distributions(space), n_trials=candidates, random_state=seed, **how, **common)


def seconds_to(target: float, log: str, began: float) -> float | None:
    """When a candidate's folds had that mean; None if none had."""
    scores: dict[str, dict[int, float]] = {}
    with open(log) as lines:
        for at, params, fold, score in sorted(map(json.loads, lines), key=lambda line: line[0]):
            folds = scores.setdefault(json.dumps(params), {})
            folds.pop(fold, None)
            folds[fold] = score
            last = list(folds.values())[-FOLDS:]
            if len(last) == FOLDS and np.mean(last) >= target:
                return float(at - began)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind")
    parser.add_argument("data", choices=list(DATA))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", type=float, default=float("inf"))
    parser.add_argument("--log", default="")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.log:
        open(args.log, "w").close()
        os.environ[LOG], os.environ["SEARCH_DATA"] = args.log, args.data
    X, y = DATA[args.data][0](return_X_y=True)
    search = search_of(args.kind, args.data, args.jobs, args.seed)
    began, clock = time.time(), time.perf_counter()
    search.fit(X, y)
    seconds = time.perf_counter() - clock
    reached = seconds_to(args.target, args.log, began) if args.log else None
    print(json.dumps({"seconds": seconds, "best": float(search.best_score_), "reached": reached}))


if __name__ == "__main__":
    main()
