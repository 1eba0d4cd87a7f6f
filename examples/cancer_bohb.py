"""HyperBandForBOHB with a searcher of one's own, which learns at every budget.

    python examples/cancer_bohb.py                 some seconds on two cores

The scheduler fills the largest bracket first and says at which budget a result was reached. The searcher keeps what it
heard by budget, and suggests the neighbours of what was good at the largest budget that it has enough results of: BOHB's
idea, with a plain draw in place of its density model.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import fasttune as tune
from fasttune.schedulers import HyperBandForBOHB
from fasttune.search import Searcher

ENOUGH = 8  # results at a budget before it is learnt from


class Neighbours(Searcher):
    """Both parameters are exponents of ten; a third of the suggestions stays random."""

    bounds: Mapping[str, tuple[float, float]] = {"alpha": (-7.0, 1.0), "eta0": (-5.0, 1.0)}

    def __init__(self, metric: str, mode: str, seed: int = 0) -> None:
        super().__init__(metric=metric, mode=mode)
        self.random = random.Random(seed)
        self.points: dict[str, dict[str, float]] = {}
        self.heard: dict[float, list[tuple[float, str]]] = {}  # budget -> (score, trial)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        rich = [budget for budget, results in self.heard.items() if len(results) >= ENOUGH]
        if rich and self.random.random() > 1 / 3:
            results = sorted(self.heard[max(rich)], reverse=self.mode == "max")
            _, good = self.random.choice(results[: len(results) // 4])
            point = {name: x + self.random.gauss(0.0, 0.4) for name, x in self.points[good].items()}
        else:
            point = {name: self.random.uniform(low, high) for name, (low, high) in self.bounds.items()}
        self.points[trial_id] = point
        return {name: 10.0**x for name, x in point.items()}

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        budget = result.get("hyperband_info", {}).get("budget")
        score = result[str(self.metric)]
        if budget is not None and math.isfinite(score):
            self.heard.setdefault(budget, []).append((score, trial_id))

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        pass


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
    searcher = Neighbours("loss", "min")
    analysis = tune.run(
        train,
        search_alg=searcher,
        num_samples=sum(stages[0][0] for stages in scheduler.brackets),
        scheduler=scheduler,
        metric="loss",
        mode="min",
        storage_path=args.storage_path,
    )
    epochs = [trial.last_result["training_iteration"] for trial in analysis.trials]
    print(f"\ntrials by the epochs they got: {dict(sorted(Counter(epochs).items()))}")
    print(f"results heard by budget: { {int(b): len(r) for b, r in sorted(searcher.heard.items())} }")
    print(f"best loss {analysis.best_result['loss']:.4f} with {analysis.best_config}")


if __name__ == "__main__":
    main()
