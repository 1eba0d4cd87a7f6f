"""The median rule on noisy learning curves: stochastic gradient descent on a table of 442 patients.

    python examples/diabetes_median.py             some seconds on two cores

Every trial trains scikit-learn's ``MLPRegressor`` an epoch a report. Its validation score jumps up and down, so a trial
is not stopped for one bad epoch: it stops when its best score so far is worse than the average of half of the others.
"""

from __future__ import annotations

import argparse
import math
import warnings
from typing import Any

from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

import fasttune as tune
from fasttune.schedulers import MedianStoppingRule

SPACE = {
    "learning_rate_init": tune.loguniform(1e-4, 1e-1),
    "alpha": tune.loguniform(1e-5, 1e1),
    "hidden": tune.lograndint(4, 65),
    "batch_size": tune.choice([8, 32, 64]),
}
EPOCHS = 40


def train(config: dict[str, Any]) -> None:
    """The share of the variance that the model explains on data it has not seen, after each epoch."""
    x, y = load_diabetes(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.4, random_state=0)
    scale = StandardScaler().fit(x_train)
    middle, width = y_train.mean(), y_train.std()
    model = MLPRegressor(
        hidden_layer_sizes=(config["hidden"],),
        learning_rate_init=config["learning_rate_init"],
        alpha=config["alpha"],
        batch_size=config["batch_size"],
        random_state=0,
    )
    for _ in range(EPOCHS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a step that is too long overflows: that is a bad score, no surprise
            try:
                model.partial_fit(scale.transform(x_train), (y_train - middle) / width)
                r2 = float(model.score(scale.transform(x_valid), (y_valid - middle) / width))
            except ValueError:
                r2 = math.nan
        tune.report(r2=r2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    scheduler = MedianStoppingRule(
        "training_iteration", grace_period=4, min_samples_required=5, min_time_slice=math.inf, patience=2
    )
    analysis = tune.run(
        train,
        config=SPACE,
        num_samples=args.trials,
        scheduler=scheduler,
        metric="r2",
        mode="max",
        seed=1,
        storage_path=args.storage_path,
        verbose=0,
    )
    spent = sum(trial.last_result["training_iteration"] for trial in analysis.trials)
    print(f"{scheduler.debug_string()} Epochs trained: {spent:,} of {args.trials * EPOCHS:,}")
    print(f"{analysis.best_said}, with {analysis.best_config}")


if __name__ == "__main__":
    main()
