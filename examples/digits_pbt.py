"""Train a classifier of handwritten digits with a population that finds its own schedule of learning rates.

    python examples/digits_pbt.py                  half a minute on two cores; needs scikit-learn and matplotlib

Sixteen linear classifiers on 400 kernel features learn by stochastic gradient descent, each with a learning rate and a
penalty of its own. Every five epochs the worst quarter copies weights and settings of the best, and changes the
settings. The same sixteen without copying are random search with the same work. The picture shows both, and the
schedule that the best one's weights have been trained with. In the end one new classifier, with other random numbers, is
trained with this schedule from the beginning: what the population has found is worth something without it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import fasttune as tune
from fasttune.schedulers import PopulationBasedTraining, PopulationBasedTrainingReplay

CLASSES = np.arange(10)
INTERVAL = 5
SPACE = {"eta0": tune.loguniform(1e-3, 10.0), "alpha": tune.loguniform(1e-7, 1e-2)}


class Digits(NamedTuple):
    """1,797 pictures of 8 x 8 pixels: 60 % to train on, 20 % to choose by, 20 % that no trial ever sees."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_valid: np.ndarray
    y_valid: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load_data() -> Digits:
    x, y = load_digits(return_X_y=True)
    x_rest, x_test, y_rest, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    x_train, x_valid, y_train, y_valid = train_test_split(
        x_rest, y_rest, test_size=0.25, stratify=y_rest, random_state=0
    )
    features = Nystroem(gamma=0.0008, n_components=400, random_state=0).fit(x_train)
    parts = [features.transform(part) for part in (x_train, x_valid, x_test)]
    return Digits(parts[0], y_train, parts[1], y_valid, parts[2], y_test)


class Classifier(tune.Trainable):
    """An epoch a step. A checkpoint is the weights; what is copied goes on with its new learning rate."""

    def setup(self, config: dict[str, Any], data: Digits, random_state: int = 0) -> None:
        self.data = data
        self.model = SGDClassifier(
            loss="log_loss",
            learning_rate="constant",
            eta0=config["eta0"],
            alpha=config["alpha"],
            random_state=random_state,
        )

    def step(self) -> dict[str, float]:
        data, model = self.data, self.model
        model.partial_fit(data.x_train, data.y_train, classes=CLASSES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of probabilities that are exactly 0 or 1
            loss = float(log_loss(data.y_valid, model.predict_proba(data.x_valid), labels=CLASSES))
        return {
            "loss": loss,
            "accuracy": float(model.score(data.x_valid, data.y_valid)),
            "test_accuracy": float(model.score(data.x_test, data.y_test)),
            "eta0": model.eta0,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"coef": self.model.coef_.copy(), "intercept": self.model.intercept_.copy()}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        model = self.model
        model.partial_fit(self.data.x_train[:10], self.data.y_train[:10], classes=CLASSES)  # makes the arrays
        model.coef_[:], model.intercept_[:] = checkpoint["coef"], checkpoint["intercept"]


def train(name: str, quantile_fraction: float, args: argparse.Namespace) -> tune.ExperimentAnalysis:
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=INTERVAL,
        hyperparam_mutations=SPACE,
        quantile_fraction=quantile_fraction,
        perturbation_factors=(2.0, 0.5),
        clip=True,
        seed=args.seed,
    )
    return tune.run(
        tune.with_parameters(Classifier, data=load_data()),
        name=name,
        config=SPACE,
        num_samples=args.num_samples,
        scheduler=scheduler,
        metric="loss",
        mode="min",
        stop={"training_iteration": args.epochs},
        executor=args.executor,
        storage_path=args.storage_path,
        verbose=1,
        seed=args.seed,
    )


def best_copier(analysis: tune.ExperimentAnalysis) -> Any:
    """The best of those that have copied another trial, so that a file tells their schedule; None if none has."""
    copiers = set(analysis.lineage()["trial_id"])
    found = [trial for trial in analysis.trials if trial.trial_id in copiers]
    return min(found, key=lambda trial: trial.last_result["loss"], default=None)


def replay(analysis: tune.ExperimentAnalysis, winner: Any, args: argparse.Namespace) -> tune.ExperimentAnalysis:
    """One new trial with the schedule of ``winner``."""
    policy = Path(analysis.experiment_path, f"pbt_policy_{winner.trial_id}.txt")
    return tune.run(
        tune.with_parameters(Classifier, data=load_data(), random_state=1),
        name="digits_replay",
        scheduler=PopulationBasedTrainingReplay(policy),
        metric="loss",
        mode="min",
        stop={"training_iteration": args.epochs},
        executor=args.executor,
        storage_path=args.storage_path,
        verbose=0,
    )


def schedule(analysis: tune.ExperimentAnalysis, trial: Any, epochs: int) -> list[float]:
    """The learning rate of each epoch that has made the trial's weights, those before it copied them included."""
    path = Path(analysis.experiment_path, f"pbt_policy_{trial.trial_id}.txt")
    if not path.exists():
        return [trial.config["eta0"]] * epochs
    rates: list[float] = []
    wanted = None
    upto = epochs
    for line in reversed(path.read_text().splitlines()):
        tag, donor, _, since, old, new = json.loads(line)
        if wanted not in (None, tag):
            break
        rates = [new["eta0"]] * (upto - since) + rates
        upto, wanted, first = since, donor, old["eta0"]
    return [first] * upto + rates


def draw(runs: dict[str, tune.ExperimentAnalysis], epochs: int, picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for (label, analysis), color in zip(runs.items(), ("#9a9a9a", "#c8443c"), strict=True):
        frames = list(analysis.trial_dataframes.values())
        for frame in frames:
            left.plot(frame["training_iteration"], frame["loss"], ".", ms=2.5, color=color, alpha=0.35)
        best = [min(f.loc[f["training_iteration"] == t, "loss"].min() for f in frames) for t in range(1, epochs + 1)]
        left.plot(range(1, epochs + 1), best, color=color, lw=2, label=label)
        winner = analysis.get_best_trial("loss", "min", scope="last")
        right.plot(range(1, epochs + 1), schedule(analysis, winner, epochs), color=color, lw=2, label=label)
    left.set(xlabel="epoch", ylabel="loss on validation data", yscale="log", title="Every trial, and the best so far")
    right.set(xlabel="epoch", ylabel="learning rate", yscale="log", title="What the best weights were trained with")
    left.legend()
    right.legend()
    figure.savefig(picture, dpi=130)
    pyplot.close(figure)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-samples", type=int, default=16, help="size of the population (default 16)")
    parser.add_argument("--epochs", type=int, default=60, help="epochs of every trial (default 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--executor", default="process", choices=["process", "thread", "inline"])
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    parser.add_argument("--picture", default="digits_pbt.png", help="file of the picture (default digits_pbt.png)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> dict[str, tune.ExperimentAnalysis]:
    args = parse_arguments(arguments)
    runs: dict[str, tune.ExperimentAnalysis] = {}
    for label, name, fraction in (("random search", "digits_random", 0.0), ("population", "digits_pbt", 0.25)):
        began = time.perf_counter()
        runs[label] = train(name, fraction, args)
        best = runs[label].get_best_trial("loss", "min", scope="last").last_result
        middle = statistics.median(trial.last_result["loss"] for trial in runs[label].trials)
        print(
            f"{label:<14} best loss {best['loss']:.4f}, median {middle:.4f}; accuracy of the best {best['accuracy']:.3f}, "
            f"on test data {best['test_accuracy']:.3f}  ({time.perf_counter() - began:.1f} s)"
        )
    draw(runs, args.epochs, Path(args.picture))
    winner = best_copier(runs["population"])
    if winner is not None:
        runs["replay"] = replay(runs["population"], winner, args)
        last = runs["replay"].trials[0].last_result
        print(
            f"{'its schedule':<14} loss {last['loss']:.4f} of a new classifier; accuracy {last['accuracy']:.3f}, on test "
            f"data {last['test_accuracy']:.3f}"
        )
    print(f"Picture: {args.picture}")
    return runs


if __name__ == "__main__":
    main()
