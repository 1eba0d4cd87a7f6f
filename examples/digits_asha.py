"""Tune a small neural network on handwritten digits: 2,000 configurations, stopped early by ASHA.

    python examples/digits_asha.py                 about a minute on two cores
    python examples/digits_asha.py --resume        goes on after Ctrl-C, a kill or a power cut

Every trial trains scikit-learn's ``MLPClassifier`` epoch by epoch and reports its accuracy on validation data
after each. ASHA lets the best third go on at 1, 3, 9, 27 epochs; few configurations ever see all 81.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

import fasttune as tune
from fasttune.schedulers import ASHAScheduler

NAME = "digits_asha"

SPACE = {
    "learning_rate": tune.loguniform(1e-4, 3e-1),
    "alpha": tune.loguniform(1e-6, 1e-1),  # the L2 penalty
    "hidden_units": tune.lograndint(4, 65),
    "activation": tune.choice(["relu", "tanh", "logistic"]),
    "batch_size": tune.choice([32, 64, 128]),
    # Momentum exists only where it means something: with plain gradient descent.
    "optimizer": tune.choice([{"solver": "adam"}, {"solver": "sgd", "momentum": tune.uniform(0.5, 0.99)}]),
}


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
    scale = StandardScaler().fit(x_train)
    return Digits(
        scale.transform(x_train), y_train, scale.transform(x_valid), y_valid, scale.transform(x_test), y_test
    )


def build_model(config: dict[str, Any]) -> MLPClassifier:
    return MLPClassifier(
        hidden_layer_sizes=(config["hidden_units"],),
        activation=config["activation"],
        learning_rate_init=config["learning_rate"],
        alpha=config["alpha"],
        batch_size=config["batch_size"],
        random_state=0,
        **config["optimizer"],
    )


def train(config: dict[str, Any], data: Digits, max_epochs: int) -> None:
    """The trainable: one report an epoch, until it has had all its epochs or is stopped inside ``report``."""
    model = build_model(config)
    classes = np.arange(10)
    for _ in range(max_epochs):
        try:
            model.partial_fit(data.x_train, data.y_train, classes=classes)
        except ValueError as error:
            if "non-finite" not in str(error):
                raise
            # The weights have grown beyond all bounds: a bad configuration, not a broken program.
            tune.report(accuracy=0.0, loss=float("inf"))
            return
        probability = model.predict_proba(data.x_valid)
        tune.report(
            accuracy=float(np.mean(probability.argmax(axis=1) == data.y_valid)),
            loss=float(log_loss(data.y_valid, probability, labels=classes)),
        )


def test_accuracy(config: dict[str, Any], data: Digits, epochs: int) -> float:
    """Train the chosen configuration once more, on all but the test data, and judge it on those."""
    x = np.concatenate([data.x_train, data.x_valid])
    y = np.concatenate([data.y_train, data.y_valid])
    model = build_model(config)
    for _ in range(epochs):
        model.partial_fit(x, y, classes=np.arange(10))
    return float(model.score(data.x_test, data.y_test))


def draw_learning_curves(analysis: tune.ExperimentAnalysis, best_id: str, picture: Path) -> None:
    """Every trial's accuracy over its epochs, the best one on top."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    frames = analysis.trial_dataframes
    for frame in frames.values():
        if frame.empty:  # an interrupted run leaves trials that have not begun
            continue
        marker = "." if len(frame) == 1 else None
        axes.plot(
            frame["training_iteration"],
            frame["accuracy"],
            color="#4878a8",
            alpha=0.18,
            lw=0.8,
            marker=marker,
            ms=3,
        )
    best = frames[best_id]
    axes.plot(best["training_iteration"], best["accuracy"], color="#c8443c", lw=2.2, label="best trial")
    for milestone in (1, 3, 9, 27, 81):
        axes.axvline(milestone, color="black", alpha=0.12, lw=0.8, zorder=0)
    axes.set_xscale("log", base=3)
    axes.set_xticks([1, 3, 9, 27, 81], ["1", "3", "9", "27", "81"])
    axes.set(xlabel="epoch", ylabel="accuracy on validation data", ylim=(0, 1))
    axes.set_title(f"{len(frames):,} configurations, stopped early by ASHA")
    axes.legend(loc="lower right")
    figure.savefig(picture, dpi=130)
    pyplot.close(figure)


def show_results(
    analysis: tune.ExperimentAnalysis, data: Digits, args: argparse.Namespace, seconds: float
) -> None:
    best, top = analysis.best_trial, analysis.best_result
    epochs = top["training_iteration"]
    tried = [trial for trial in analysis.trials if trial.last_result]  # an interrupted run leaves some that have not begun
    spent = sum(trial.last_result["training_iteration"] for trial in tried)
    to_the_end = len(tried) * args.max_t
    picture = Path(analysis.experiment_path) / "learning_curves.png"
    draw_learning_curves(analysis, best.trial_id, picture)

    print(f"\nBest of {len(tried):,} configurations{' so far' * analysis.interrupted} (trial {best.trial_id}, epoch {epochs}):")
    for key, value in sorted(best.evaluated_params.items()):
        print(f"    {key:<24} {value:.6g}" if isinstance(value, float) else f"    {key:<24} {value}")
    print(f"    accuracy, validation     {top['accuracy']:.4f}")
    tested = test_accuracy(best.config, data, epochs)
    print(f"    accuracy, test           {tested:.4f}   (data that no trial has seen)")
    print(
        f"\n{spent:,} epochs in {seconds:.1f} s. All of them trained to the end take {to_the_end:,}:"
        f" {1 - spent / to_the_end:.1%} saved, {to_the_end / max(spent, 1):.1f} times less work."
    )
    print(f"\nThe experiment lies in   {analysis.experiment_path}")
    print(f"Learning curves          {picture}")
    page = analysis.report(metrics={"accuracy": "max", "loss": "min"})
    print(f"The report, to be opened in a browser:\n                         {page}")
    print("To look at it again:")
    print("    import fasttune as tune")
    print(f"    analysis = tune.ExperimentAnalysis({str(analysis.experiment_path)!r})")
    print("    analysis.dataframe(metric='accuracy', mode='max')")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-samples", type=int, default=2000, help="configurations to try (default 2000)")
    parser.add_argument("--max-t", type=int, default=81, help="epochs of the longest trials (default 81)")
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed tries the same configurations (default 0)"
    )
    parser.add_argument("--resume", action="store_true", help="go on where the last run was interrupted")
    parser.add_argument(
        "--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    data = load_data()
    started = time.perf_counter()
    analysis = tune.run(
        tune.with_parameters(train, data=data, max_epochs=args.max_t),
        name=NAME,
        config=SPACE,
        num_samples=args.num_samples,
        scheduler=ASHAScheduler(max_t=args.max_t, grace_period=1, reduction_factor=3),
        metric="accuracy",
        mode="max",
        scope="all",  # the winner is trained again for as many epochs as were best, so its best moment counts
        storage_path=args.storage_path,
        resume="AUTO" if args.resume else None,
        seed=args.seed,
    )
    seconds = time.perf_counter() - started

    finished = sum(trial.is_finished() for trial in analysis.trials)
    if analysis.interrupted:
        print(f"\nInterrupted: {finished:,} of {args.num_samples:,} trials have finished; the same command with --resume goes on.")
    if any(trial.last_result for trial in analysis.trials):
        show_results(analysis, data, args, seconds)


if __name__ == "__main__":
    main()
