"""Tune CatBoost on the wine data: each round is reported, and the model is saved every 20 rounds.

    pip install 'fasttune[catboost]' scikit-learn
    python examples/catboost_asha.py               some seconds on two cores

CatBoost shows its callbacks no model, so the callback trains in pieces of 20 rounds: ``callback.fit(model, ...)`` in place of
``model.fit(...)``. A trial that fails, or that is killed with the run, goes on from its last piece. Prints the accuracy of
the best model on the data it was chosen by and, last, the best configuration.
"""

from __future__ import annotations

import argparse
from typing import Any

from catboost import CatBoostClassifier
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

import fasttune as tune
from fasttune.integration.catboost import TuneReportCheckpointCallback
from fasttune.schedulers import ASHAScheduler

ROUNDS = 60
SPACE = {
    "learning_rate": tune.loguniform(1e-2, 0.5),
    "depth": tune.randint(2, 7),
    "l2_leaf_reg": tune.loguniform(0.1, 30),
}


def load_data() -> list[Any]:
    x, y = load_wine(return_X_y=True)
    return list(train_test_split(x, y, test_size=0.4, stratify=y, random_state=0))


def train(config: dict[str, Any]) -> None:
    """One round a report. A trial has one CPU; CatBoost takes all there are unless it is told otherwise."""
    x_train, x_valid, y_train, y_valid = load_data()
    callback = TuneReportCheckpointCallback({"loss": "validation-MultiClass"}, frequency=20)
    model = CatBoostClassifier(
        iterations=ROUNDS,
        loss_function="MultiClass",
        thread_count=1,
        random_seed=0,
        verbose=False,
        allow_writing_files=False,
        **config,
    )
    before = tune.get_checkpoint()
    callback.fit(
        model,
        x_train,
        y_train,
        eval_set=(x_valid, y_valid),
        init_model=None if before is None else callback.get_model(before),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-samples", type=int, default=30, help="configurations to try (default 30)")
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    analysis = tune.run(
        train,
        config=SPACE,
        num_samples=args.num_samples,
        scheduler=ASHAScheduler(max_t=ROUNDS, grace_period=20, reduction_factor=3),
        metric="loss",
        mode="min",
        max_failures=2,
        storage_path=args.storage_path,
        seed=0,
    )
    model = TuneReportCheckpointCallback.get_model(analysis.best_checkpoint)
    _, x, _, y = load_data()
    accuracy = (model.predict(x, prediction_type="Class").ravel() == y).mean()
    print(f"\n{analysis.best_said}; its model has {model.tree_count_} rounds and an accuracy of {accuracy:.3f}")
    print(f"best config: {analysis.best_config}")


if __name__ == "__main__":
    main()
