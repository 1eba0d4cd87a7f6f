"""Two objectives: trees that err little and are small. NSGA-II through Optuna, and the front of what no other tree beats.

    pip install 'fasttune[optuna]'
    python examples/digits_pareto.py               some seconds on two cores
"""

from __future__ import annotations

import argparse
from typing import Any

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

import fasttune as tune
from fasttune.search.optuna import OptunaSearch

SPACE = {
    "max_depth": tune.randint(1, 21),
    "min_samples_leaf": tune.lograndint(1, 101),
    "max_leaf_nodes": tune.lograndint(2, 301),
    "criterion": tune.choice(["gini", "entropy"]),
}


def train(config: dict[str, Any]) -> None:
    x, y = load_digits(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.4, stratify=y, random_state=0)
    tree = DecisionTreeClassifier(random_state=0, **config).fit(x_train, y_train)
    tune.report(error=1.0 - tree.score(x_valid, y_valid), leaves=int(tree.get_n_leaves()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-samples", type=int, default=200, help="trees (default 200)")
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    from optuna.samplers import NSGAIISampler

    objectives = {"error": "min", "leaves": "min"}
    search = OptunaSearch(
        metric=list(objectives), mode=list(objectives.values()), sampler=NSGAIISampler(population_size=20, seed=0)
    )
    analysis = tune.run(
        train, config=SPACE, search_alg=search, num_samples=args.num_samples, storage_path=args.storage_path
    )
    print("\nleaves  error   config")
    for trial in reversed(analysis.pareto_front(objectives)):
        result = trial.last_result
        print(f"{result['leaves']:6d}  {result['error']:.3f}   {trial.config}")


if __name__ == "__main__":
    main()
