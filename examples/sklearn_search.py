"""scikit-learn's search beside fasttune's: the same forests, stopped early.

    python examples/sklearn_search.py              some seconds on two cores; needs scikit-learn

``GridSearchCV`` trains every candidate of a grid to the end. ``TuneSearchCV`` draws candidates from the same ranges, trains them
in steps of some trees, and ASHA ends those that fall behind; the best one is refitted with all its trees.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import GridSearchCV, train_test_split

import fasttune as tune
from fasttune.sklearn import TuneSearchCV

GRID = {"max_features": [0.05, 0.1, 0.3], "min_samples_leaf": [1, 3, 10], "max_depth": [4, 12]}
SPACE = {
    "max_features": tune.uniform(0.03, 0.5),
    "min_samples_leaf": tune.lograndint(1, 20),
    "max_depth": tune.randint(3, 20),
}


def fitted(search: Any, x: Any, y: Any) -> float:
    """Seconds that the search took."""
    began = time.perf_counter()
    search.fit(x, y)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trees", type=int, default=45)
    parser.add_argument("--steps", type=int, default=9, help="steps in which they are grown")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()

    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.3, stratify=y, random_state=0)
    forest = ExtraTreesClassifier(args.trees, random_state=0)
    grid = GridSearchCV(forest, GRID, cv=3, n_jobs=args.jobs)
    early = TuneSearchCV(
        forest,
        SPACE,
        n_trials=18,
        cv=3,
        n_jobs=args.jobs,
        early_stopping=True,
        max_iters=args.steps,
        search_optimization="tpe",
        random_state=0,
    )
    for search in (grid, early):
        seconds = fitted(search, x, y)
        print(f"{type(search).__name__}: {seconds:.1f} s, {search.best_score_:.3f} in cross-validation, "
              f"{search.score(x_test, y_test):.3f} on other rows, {search.best_params_}")  # fmt: skip
    steps = early.cv_results_["training_iteration"]
    print(f"{steps.sum()} of {args.steps * len(steps)} steps were trained; {(steps == args.steps).sum()} candidates got to the end")


if __name__ == "__main__":
    main()
