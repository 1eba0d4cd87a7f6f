"""Trials that get the CPUs that others have left: random forests on handwritten digits.

    python examples/digits_forest.py               some seconds on two cores; needs scikit-learn

Every trial grows a forest, ten trees a report, on as many CPUs as it has. It begins with one; ASHA ends most trials
early, and ResourceChangingScheduler gives what they had to those that go on: the last one has the machine for itself. A
trial goes on with its new share from a checkpoint of the very report, so no tree is grown twice.
"""

from __future__ import annotations

import argparse
import pickle
import time
from pathlib import Path
from typing import Any

from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import train_test_split

import fasttune as tune
from fasttune.schedulers import ASHAScheduler, DistributeResources, ResourceChangingScheduler

TREES, REPORTS = 10, 27
SPACE = {
    "max_features": tune.uniform(0.02, 1.0),
    "min_samples_leaf": tune.lograndint(1, 65),
    "max_depth": tune.randint(3, 25),
}


class Forest(tune.Trainable):
    """Ten more trees a step, on all the CPUs that the trial has then."""

    def setup(self, config: dict[str, Any]) -> None:
        x, y = load_digits(return_X_y=True)
        self.data = train_test_split(x, y, test_size=0.5, stratify=y, random_state=0)
        self.forest = ExtraTreesClassifier(n_estimators=0, warm_start=True, random_state=0, **config)

    def step(self) -> dict[str, Any]:
        x_train, x_valid, y_train, y_valid = self.data
        cpus = int(self.trial_resources.required_resources["CPU"])
        self.forest.set_params(n_jobs=cpus, n_estimators=self.forest.n_estimators + TREES)
        self.forest.fit(x_train, y_train)
        return {
            "accuracy": float(self.forest.score(x_valid, y_valid)),
            "trees": len(self.forest.estimators_),
            "cpus": cpus,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "forest.pickle").write_bytes(pickle.dumps(self.forest))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.forest = pickle.loads(Path(checkpoint, "forest.pickle").read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--executor", default="process", choices=["process", "thread", "inline"])
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    began = time.perf_counter()
    analysis = tune.run(
        Forest,
        config=SPACE,
        num_samples=args.trials,
        resources_per_trial={"cpu": 1},
        scheduler=ResourceChangingScheduler(
            ASHAScheduler(max_t=REPORTS, grace_period=1, reduction_factor=3), DistributeResources()
        ),
        metric="accuracy",
        mode="max",
        seed=1,
        executor=args.executor,
        storage_path=args.storage_path,
        verbose=0,
    )
    frames = analysis.trial_dataframes
    for trial_id, frame in frames.items():
        assert list(frame["trees"]) == [TREES * n for n in frame["training_iteration"]], trial_id
    cpus = [int(frame["cpus"].iloc[-1]) for frame in frames.values()]
    print(f"{sum(frame['trees'].iloc[-1] for frame in frames.values()):,} trees, {time.perf_counter() - began:.1f} s")
    print(f"trials by the CPUs they ended with: {({n: cpus.count(n) for n in sorted(set(cpus))})}")
    print(f"{analysis.best_said}, with {analysis.best_result['trees']} trees, {analysis.best_config}")


if __name__ == "__main__":
    main()
