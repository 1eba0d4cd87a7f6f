"""Successive halving of a grid: every candidate is known beforehand, and so is what the search costs.

    python examples/wine_halving.py                some seconds on two cores

48 forests are compared at 2 trees; the best half gets 4, the best quarter 8, and so on, until three have 32. The
trees a forest has already are kept when it goes on: the trial is paused inside its ``report``.
"""

from __future__ import annotations

import argparse
from typing import Any

from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

import fasttune as tune
from fasttune.schedulers import SuccessiveHalvingScheduler

GRID = {
    "max_depth": tune.grid_search([1, 2, 4, 8]),
    "max_features": tune.grid_search([1, 3, 6, 13]),
    "min_samples_leaf": tune.grid_search([1, 4, 16]),
}
CANDIDATES, MOST_TREES = 48, 32


def train(config: dict[str, Any]) -> None:
    """One tree a report."""
    x, y = load_wine(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.4, stratify=y, random_state=0)
    forest = RandomForestClassifier(n_estimators=0, warm_start=True, random_state=0, **config)
    while True:
        forest.n_estimators += 1
        forest.fit(x_train, y_train)
        right = forest.predict_proba(x_valid)[range(len(y_valid)), y_valid]
        tune.report(confidence=float(right.mean()), accuracy=float(forest.score(x_valid, y_valid)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    scheduler = SuccessiveHalvingScheduler(CANDIDATES, min_t=2, max_t=MOST_TREES, reduction_factor=2)
    print("schedule: " + ", then ".join(f"{n} candidates to {t} trees" for n, t in scheduler.schedule))
    analysis = tune.run(
        train,
        config=GRID,
        scheduler=scheduler,
        metric="confidence",
        mode="max",
        storage_path=args.storage_path,
    )
    grown = sum(trial.last_result["training_iteration"] for trial in analysis.trials)
    print(f"\ntrees grown: {grown:,}, planned: {scheduler.budget:,}; the whole grid takes {CANDIDATES * MOST_TREES:,}")
    print(f"{analysis.best_said}, accuracy {analysis.best_result['accuracy']:.3f}, with {analysis.best_config}")


if __name__ == "__main__":
    main()
