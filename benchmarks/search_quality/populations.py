"""Populations compared at equal training time, by the last scores, and in step: ``python -m benchmarks.search_quality.populations``.

    python -m benchmarks.search_quality.populations                         three learners, sixteen trials, 1, 4 and 16 places
    python -m benchmarks.search_quality.populations --seeds 10 --places 4

Three learners whose best learning rate falls as they train: a loss that falls at every step, noisy descent on a quadratic bowl,
and softmax regression on scikit-learn's digits. Trials are coroutines, whose steps take one to four turns of the event loop, so
reports come in an order of chance that a seed repeats. Printed are the middle, over the seeds, of the best last loss (on what was
not trained on), and the mean number of copies.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Protocol

import numpy as np

import fasttune as tune
from fasttune.schedulers import PopulationBasedTraining

TRIALS, STEPS, INTERVAL = 16, 60, 5
HOW: dict[str, dict[str, Any]] = {
    "no copies": {"quantile_fraction": 0.0},
    "last_scores": {"compare": "last_scores"},
    "equal_times": {"compare": "equal_times"},
    "synch=True": {"synch": True},
}


class Learner(Protocol):
    """What is trained: a step under a config, the loss that it has then, and all of it as a value."""

    state: Any

    def step(self, config: dict[str, Any]) -> float: ...


class Descent:
    """Noisy gradients of a bowl that is a hundred times as steep in one direction as in another."""

    space: ClassVar[dict[str, Any]] = {"lr": tune.loguniform(1e-4, 1.0)}
    steepness = np.logspace(-2, 0, 20)

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.state = np.ones(20)

    def step(self, config: dict[str, Any]) -> float:
        for _ in range(10):
            gradient = self.steepness * (self.state + self.draw.standard_normal(20))
            self.state = np.clip(self.state - config["lr"] * gradient, -1e3, 1e3)
        return float(0.5 * self.steepness @ self.state**2)


@cache
def digits() -> tuple[Any, Any, Any, Any]:
    from sklearn.datasets import load_digits

    images, numbers = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(numbers))
    images, numbers = images[order] / 16.0, numbers[order]
    return images[:300], numbers[:300], images[300:1000], numbers[300:1000]


class Digits:
    """Softmax regression by stochastic gradient descent, an epoch a step; its loss is the log loss of the other digits."""

    space: ClassVar[dict[str, Any]] = {"lr": tune.loguniform(1e-3, 10.0), "alpha": tune.loguniform(1e-6, 1e-1)}
    batch = 20

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.state = np.zeros((64, 10))

    def step(self, config: dict[str, Any]) -> float:
        x, y, others, truth = digits()
        for rows in self.draw.permutation(len(x)).reshape(-1, self.batch):
            off = softmax(x[rows] @ self.state)
            off[np.arange(self.batch), y[rows]] -= 1.0
            self.state = self.state - config["lr"] * (x[rows].T @ off / self.batch + config["alpha"] * self.state)
        told = softmax(others @ self.state)[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(told, 1e-15)).mean())


def softmax(scores: Any) -> Any:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


class Falling:
    """A loss that falls by a share of itself at every step, most where a rate is right that moves as training goes on."""

    space: ClassVar[dict[str, Any]] = {"lr": tune.loguniform(1e-3, 1.0)}

    def __init__(self, seed: int) -> None:
        self.state = 0, 1.0

    def step(self, config: dict[str, Any]) -> float:
        done, loss = self.state
        off = np.log10(config["lr"]) + 0.5 + 2.0 * done / STEPS  # right: from 0.3 down to 0.003
        self.state = done + 1, float(loss * (1.0 - 0.2 * np.exp(-(off**2) / 0.1)))
        return self.state[1]


LEARNERS: dict[str, Any] = {"falling": Falling, "descent": Descent, "digits": Digits}


def trainable(learner: Callable[[int], Learner], seed: int) -> Any:
    async def train(config: dict[str, Any]) -> None:
        number = int(tune.get_context().get_trial_id().rsplit("_")[-1])
        found = tune.get_checkpoint()
        done = found.to_dict()["done"] if found else 0
        turns = np.random.default_rng([seed, number, done])
        model = learner(1000 * seed + number)
        if found:
            model.state = found.to_dict()["state"]
        for step in range(done + 1, STEPS + 1):
            for _ in range(int(turns.integers(1, 5))):
                await asyncio.sleep(0)
            loss = model.step(config)
            tune.report(loss=loss, checkpoint=tune.Checkpoint.from_dict({"done": step, "state": model.state}))

    return train


def trained(name: str, how: str, places: int, seed: int, folder: str) -> tuple[float, int]:
    """The best last loss, and how many copies there were."""
    learner = LEARNERS[name]
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=INTERVAL,
        hyperparam_mutations=learner.space,
        perturbation_factors=(2.0, 0.5),
        clip=True,
        seed=seed,
        **HOW[how],
    )
    analysis = tune.run(
        trainable(learner, seed),
        config=learner.space,
        num_samples=TRIALS,
        max_concurrent_trials=places,
        scheduler=scheduler,
        metric="loss",
        mode="min",
        storage_path=folder,
        verbose=0,
        seed=seed,
    )
    return min(trial.last_result["loss"] for trial in analysis.trials), scheduler.num_perturbations


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--learners", nargs="+", choices=[*LEARNERS], default=[*LEARNERS])
    parser.add_argument("--places", nargs="+", type=int, default=[1, 4, TRIALS])
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{TRIALS} trials of {STEPS} steps, a perturbation every {INTERVAL}, {args.seeds} seeds")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.learners:
            for places in args.places:
                print(f"{name}, {places} at once")
                for how in HOW:
                    runs = [trained(name, how, places, seed, folder) for seed in range(args.seeds)]
                    loss, copies = statistics.median(one for one, _ in runs), statistics.mean(many for _, many in runs)
                    print(f"  {how:14}{loss:10.3g}{copies:8.1f} copies", flush=True)


if __name__ == "__main__":
    main()
