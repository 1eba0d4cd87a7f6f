"""BOHB: HyperBand decides how long a config is trained, a density model for each budget says which config comes next.

    python examples/cancer_bohb.py                 some seconds on two cores

The scheduler fills the largest bracket first and says at which budget a result was reached. The searcher learns at every
budget, and suggests by the largest one of which it knows enough; a third of the suggestions stays random.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import fasttune as tune
from fasttune.schedulers import HyperBandForBOHB
from fasttune.search import TuneBOHB


def train(config: dict[str, Any]) -> None:
    """One epoch a report."""
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.4, stratify=y, random_state=0)
    scale = StandardScaler().fit(x_train)
    x_train, x_valid = scale.transform(x_train), scale.transform(x_valid)
    model = SGDClassifier(loss="log_loss", learning_rate="constant", random_state=0, **config)
    while True:
        model.partial_fit(x_train, y_train, classes=np.arange(2))
        margin = np.where(y_valid == 1, 1, -1) * model.decision_function(x_valid)
        tune.report(loss=float(np.mean(np.logaddexp(0.0, -margin))), accuracy=float(np.mean(margin > 0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--max-t", type=int, default=27, help="epochs of the longest trials (default 27)")
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    scheduler = HyperBandForBOHB(max_t=args.max_t)
    searcher = TuneBOHB(seed=0)
    analysis = tune.run(
        train,
        config={"alpha": tune.loguniform(1e-7, 10), "eta0": tune.loguniform(1e-5, 10)},
        search_alg=searcher,
        num_samples=sum(stages[0][0] for stages in scheduler.brackets),
        scheduler=scheduler,
        metric="loss",
        mode="min",
        storage_path=args.storage_path,
    )
    epochs = [trial.last_result["training_iteration"] for trial in analysis.trials]
    print(f"\ntrials by the epochs they got: {dict(sorted(Counter(epochs).items()))}")
    print(f"results by budget: { {int(budget): n for budget, n in searcher.results.items()} }")
    print(f"{analysis.best_said}, with {analysis.best_config}")


if __name__ == "__main__":
    main()
