"""Tune a scikit-learn pipeline by cross-validation, and give up on a configuration after a few bad folds.

    python examples/pipeline_cv.py                 half a minute on two cores; needs scikit-learn

Each of the ten folds is a report, of the mean over the folds so far: what ASHA compares are means over equally many folds, all
trials have the same folds, and most configurations see only some of them. Prints how many fits that saved, the accuracy
on data that no fold has seen, and, last, the best configuration.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import fasttune as tune
from fasttune.schedulers import ASHAScheduler

FOLDS = 10
SPACE = {
    "components": tune.randint(5, 61),
    "whiten": tune.choice([True, False]),
    "C": tune.loguniform(1e-2, 1e3),
    "gamma": tune.loguniform(1e-5, 1.0),
}


def load_data() -> list[Any]:
    x, y = load_digits(return_X_y=True)
    return list(train_test_split(x, y, test_size=0.3, stratify=y, random_state=0))


def pipeline(config: dict[str, Any]) -> Pipeline:
    return make_pipeline(
        StandardScaler(),
        PCA(config["components"], whiten=config["whiten"], svd_solver="full"),
        SVC(C=config["C"], gamma=config["gamma"]),
    )


def train(config: dict[str, Any]) -> None:
    """One fold a report."""
    x, _, y, _ = load_data()
    scores: list[float] = []
    for fitted, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, y):
        model = pipeline(config).fit(x[fitted], y[fitted])
        scores.append(float(model.score(x[held_out], y[held_out])))
        tune.report(accuracy=statistics.fmean(scores), worst=min(scores), fold=len(scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-samples", type=int, default=60, help="configurations to try (default 60)")
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    analysis = tune.run(
        train,
        config=SPACE,
        num_samples=args.num_samples,
        scheduler=ASHAScheduler(max_t=FOLDS, grace_period=1, reduction_factor=3),
        metric="accuracy",
        mode="max",
        scope="last",  # the mean over most folds: that of a trial's best fold alone would be luck
        storage_path=args.storage_path,
        seed=0,
    )
    fits = sum(trial.last_result["fold"] for trial in analysis.trials)
    through = [trial for trial in analysis.trials if trial.last_result["fold"] == FOLDS]
    best = max(through, key=lambda trial: trial.last_result["accuracy"])  # who was stopped has too few folds to be it
    x, x_test, y, y_test = load_data()
    print(f"\nfits: {fits}; all folds of all configurations take {len(analysis.trials) * FOLDS}")
    print(
        f"{len(through)} configurations had all {FOLDS} folds; the best of them has a mean accuracy of "
        f"{best.last_result['accuracy']:.4f}, and {pipeline(best.config).fit(x, y).score(x_test, y_test):.4f} on the test data"
    )
    print(f"best config: {best.config}")


if __name__ == "__main__":
    main()
