"""Tune XGBoost on the breast cancer data: 60 configurations, each boosting round reported, stopped early by ASHA.

    pip install 'fasttune[xgboost]' scikit-learn
    python examples/xgboost_asha.py                some seconds on two cores

Prints how many rounds were boosted, the accuracy of the best model on data that no trial has seen, and, last, the best
configuration. The model is the one that was saved while it was found: nothing is trained again.
"""

from __future__ import annotations

import argparse
from typing import Any

import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import fasttune as tune
from fasttune.integration.xgboost import TuneReportCheckpointCallback
from fasttune.schedulers import ASHAScheduler

ROUNDS = 100
SPACE = {
    "eta": tune.loguniform(1e-3, 0.5),
    "max_depth": tune.randint(1, 9),
    "min_child_weight": tune.loguniform(0.1, 10),
    "subsample": tune.uniform(0.5, 1.0),
}


def load_data() -> list[Any]:
    """60 % to train on, 20 % to choose by, 20 % that no trial ever sees."""
    x, y = load_breast_cancer(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    return [(x_train, y_train), (x_valid, y_valid), (x_test, y_test)]


def train(config: dict[str, Any]) -> None:
    """One round a report. A trial has one CPU, so its matrices and its training have one thread."""
    train_set, valid_set = (xgboost.DMatrix(x, y, nthread=1) for x, y in load_data()[:2])
    xgboost.train(
        {"objective": "binary:logistic", "eval_metric": "logloss", "nthread": 1, "seed": 0, **config},
        train_set,
        num_boost_round=ROUNDS,
        evals=[(valid_set, "valid")],
        verbose_eval=False,
        callbacks=[TuneReportCheckpointCallback({"loss": "valid-logloss"}, frequency=10)],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-samples", type=int, default=60, help="configurations to try (default 60)")
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    analysis = tune.run(
        train,
        config=SPACE,
        num_samples=args.num_samples,
        scheduler=ASHAScheduler(max_t=ROUNDS, grace_period=10, reduction_factor=3),
        metric="loss",
        mode="min",
        storage_path=args.storage_path,
        seed=0,
    )
    boosted = sum(trial.last_result["training_iteration"] for trial in analysis.trials)
    print(f"\nrounds boosted: {boosted:,}; all trials to the end take {len(analysis.trials) * ROUNDS:,}")
    model = TuneReportCheckpointCallback.get_model(analysis.best_checkpoint)
    x, y = load_data()[2]
    right = (model.predict(xgboost.DMatrix(x, nthread=1)) > 0.5) == y
    print(f"{analysis.best_said}; test accuracy {right.mean():.3f}, with {model.num_boosted_rounds()} rounds")
    print(f"best config: {analysis.best_config}")


if __name__ == "__main__":
    main()
