"""Tune LightGBM on the diabetes data with HyperBand: trainings are paused inside of LightGBM, and go on there.

    pip install 'fasttune[lightgbm]' scikit-learn
    python examples/lightgbm_hyperband.py          some seconds on two cores

HyperBand compares trials at 1, 3, 9 and 27 rounds; the best go on to 81. One that waits for its bracket stays where it is, in
the middle of its training, so it needs no checkpoint. Prints how many trials got how far and, last, the best
configuration.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import lightgbm
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

import fasttune as tune
from fasttune.integration.lightgbm import TuneReportCallback
from fasttune.schedulers import HyperBandScheduler

ROUNDS = 81
SPACE = {
    "learning_rate": tune.loguniform(1e-3, 0.5),
    "num_leaves": tune.lograndint(2, 32),
    "min_child_samples": tune.randint(1, 40),
    "lambda_l2": tune.loguniform(1e-3, 10),
}


def train(config: dict[str, Any]) -> None:
    """One round a report. A trial has one CPU, so its training has one thread."""
    x, y = load_diabetes(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.3, random_state=0)
    data = lightgbm.Dataset(x_train, y_train)
    lightgbm.train(
        {"objective": "l2", "metric": "rmse", "num_threads": 1, "seed": 0, "verbosity": -1, **config},
        data,
        num_boost_round=ROUNDS,
        valid_sets=[lightgbm.Dataset(x_valid, y_valid, reference=data)],
        valid_names=["valid"],
        callbacks=[TuneReportCallback({"rmse": "valid-rmse"})],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-samples", type=int, default=120, help="configurations to try (default 120)")
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    analysis = tune.run(
        train,
        config=SPACE,
        num_samples=args.num_samples,
        scheduler=HyperBandScheduler(max_t=ROUNDS, reduction_factor=3),
        metric="rmse",
        mode="min",
        storage_path=args.storage_path,
        seed=0,
    )
    lengths = Counter(trial.last_result["training_iteration"] for trial in analysis.trials)
    print("\n" + ", ".join(f"{n} trials to round {length}" for length, n in sorted(lengths.items())))
    print(analysis.best_said)
    print(f"best config: {analysis.best_config}")


if __name__ == "__main__":
    main()
