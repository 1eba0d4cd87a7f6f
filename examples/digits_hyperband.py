"""HyperBand on handwritten digits: one round of brackets for a network trained by gradient descent, as a class Trainable.

    python examples/digits_hyperband.py            some seconds on two cores

The first bracket trains a few configurations to the end, the last one tries many for one epoch and thins them out. No
bracket has to be right about how early a curve tells its end. Trials are paused in memory and go on where they were.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import fasttune as tune
from fasttune.schedulers import HyperBandScheduler

SPACE = {
    "alpha": tune.loguniform(1e-6, 1e0),
    "eta0": tune.loguniform(1e-4, 1e0),
    "loss": tune.choice(["hinge", "log_loss", "modified_huber"]),
    "learning_rate": tune.choice(["constant", "invscaling", "adaptive"]),
}


class Digits(tune.Trainable):
    """One epoch a step."""

    def setup(self, config: dict[str, Any]) -> None:
        x, y = load_digits(return_X_y=True)
        self.x, self.x_valid, self.y, self.y_valid = train_test_split(x / 16, y, test_size=0.3, random_state=0)
        self.model = SGDClassifier(random_state=0, **config)

    def step(self) -> dict[str, Any]:
        self.model.partial_fit(self.x, self.y, classes=np.arange(10))
        return {"accuracy": float(self.model.score(self.x_valid, self.y_valid))}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"model": self.model}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.model = checkpoint["model"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--max-t", type=int, default=27, help="epochs of the longest trials (default 27)")
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    scheduler = HyperBandScheduler(max_t=args.max_t, reduction_factor=3)
    for number, stages in enumerate(scheduler.brackets):
        print(f"bracket {number}: " + ", then ".join(f"{n} trials to epoch {t}" for n, t in stages))
    analysis = tune.run(
        Digits,
        config=SPACE,
        num_samples=sum(stages[0][0] for stages in scheduler.brackets),
        scheduler=scheduler,
        metric="accuracy",
        mode="max",
        storage_path=args.storage_path,
        seed=0,
    )
    epochs = [trial.last_result["training_iteration"] for trial in analysis.trials]
    print(f"\ntrials by the epochs they got: {dict(sorted(Counter(epochs).items()))}")
    print(f"{sum(epochs):,} epochs; all trials to the end take {args.max_t * len(epochs):,}")
    print(f"{analysis.best_said}, with {analysis.best_config}")


if __name__ == "__main__":
    main()
