"""Promotions against training everything: which network, and which of two ways to find it, needs the fewest epochs?

    python examples/cancer_promotion.py            some seconds on two cores

Every trial trains scikit-learn's ``SGDClassifier`` on the Wisconsin breast cancer data, an epoch a report, and is paused
at 1, 3, 9 and 27 epochs until it is one of the best third there. ASHA with promotions goes on until some have had all
81; PASHA opens the next rung only when the trials of the two highest ones change places by more than their noise.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import fasttune as tune
from fasttune.schedulers import ASHAPromotionScheduler, PASHAScheduler

SPACE = {
    "eta0": tune.loguniform(1e-5, 1e-1),  # the first step
    "power_t": tune.uniform(0.0, 0.5),  # how quickly steps become shorter
    "alpha": tune.loguniform(1e-6, 1e-1),  # the penalty
    "batch": tune.choice([8, 32, 128]),
}
EPOCHS = 81


def train(config: dict[str, Any]) -> None:
    """One pass over the data a report, in small batches."""
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.4, stratify=y, random_state=0)
    scale = StandardScaler().fit(x_train)
    x_train, x_valid = scale.transform(x_train), scale.transform(x_valid)
    model = SGDClassifier(
        loss="log_loss",
        learning_rate="invscaling",
        eta0=config["eta0"],
        power_t=config["power_t"],
        alpha=config["alpha"],
        random_state=0,
    )
    rng = np.random.default_rng(0)
    while True:
        for rows in np.array_split(rng.permutation(len(y_train)), len(y_train) // config["batch"]):
            model.partial_fit(x_train[rows], y_train[rows], classes=[0, 1])
        predicted = model.predict_proba(x_valid)
        tune.report(loss=float(log_loss(y_valid, predicted)), accuracy=float(model.score(x_valid, y_valid)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    print(f"{args.trials} trials of {EPOCHS} epochs would be {args.trials * EPOCHS:,} epochs")
    for kind in (ASHAPromotionScheduler, PASHAScheduler):
        scheduler = kind(max_t=EPOCHS, grace_period=1, reduction_factor=3)
        analysis = tune.run(
            train,
            config=SPACE,
            num_samples=args.trials,
            scheduler=scheduler,
            metric="loss",
            mode="min",
            seed=1,
            max_concurrent_trials=2,
            storage_path=args.storage_path,
            verbose=0,
        )
        spent = [trial.last_result["training_iteration"] for trial in analysis.trials]
        best = analysis.best_result
        print(
            f"{kind.__name__:<23} {sum(spent):5,} epochs, at most {max(spent)} a trial; best last loss {best['loss']:.4f}, "
            f"accuracy {best['accuracy']:.3f}"
        )
    assert isinstance(scheduler, PASHAScheduler)
    print(f"PASHA opened rungs up to {scheduler.resource_limit:g} epochs; the noise it measured: {scheduler.epsilon:.4f}")


if __name__ == "__main__":
    main()
