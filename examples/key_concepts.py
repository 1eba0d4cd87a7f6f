"""The key concepts, each in a few lines: trainable, search space, search algorithm, scheduler, analysis.

    python examples/key_concepts.py

With Ray Tune the same lines begin with ``from ray import tune`` instead of ``import fasttune as tune``.
"""

from __future__ import annotations

from typing import Any

import fasttune as tune
from fasttune.schedulers import ASHAScheduler


# A trainable is what gets tuned: a function that reports its score as often as it likes ...
def objective(x: float, a: float, b: float) -> float:
    return a * x**2 + b


def trainable(config: dict[str, Any]) -> None:
    for x in range(20):
        tune.report(score=objective(x, config["a"], config["b"]))


# ... or a class, whose steps are the reports.
class Trainable(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.x = 0
        self.a = config["a"]
        self.b = config["b"]

    def step(self) -> dict[str, Any]:
        score = objective(self.x, self.a, self.b)
        self.x += 1
        return {"score": score, "done": self.x == 20}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass


# A search space says where configurations come from. All that can stand in one:
EVERY_DOMAIN = {
    "uniform": tune.uniform(-5, -1),
    "quniform": tune.quniform(3.2, 5.4, 0.2),
    "loguniform": tune.loguniform(1e-4, 1e-1),
    "qloguniform": tune.qloguniform(1e-4, 1e-1, 5e-5),
    "randn": tune.randn(10, 2),
    "qrandn": tune.qrandn(10, 2, 0.2),
    "randint": tune.randint(-9, 15),  # without 15
    "qrandint": tune.qrandint(-21, 12, 3),  # with 12
    "lograndint": tune.lograndint(1, 10),
    "qlograndint": tune.qlograndint(1, 10, 2),
    "choice": tune.choice(["a", "b", "c"]),
    "func": tune.sample_from(lambda spec: spec.config.uniform * 0.01),  # from a value drawn above
    "grid": tune.grid_search([32, 64, 128]),  # every one of them, for every sample
}


def show_config(config: dict[str, Any]) -> None:
    tune.report(total=config["uniform"] + config["func"])


def main() -> None:
    # One trial of one configuration, as a function and as a class.
    tune.run(trainable, config={"a": 2, "b": 4}, verbose=0)
    tune.run(Trainable, config={"a": 2, "b": 4}, verbose=0)

    # Ten trials of random configurations.
    space = {"a": tune.uniform(0, 1), "b": tune.uniform(0, 1)}
    tune.run(trainable, config=space, num_samples=10, verbose=0)

    every = tune.run(show_config, config=EVERY_DOMAIN, num_samples=2, verbose=0)
    print(f"every domain: {len(every.trials)} trials (2 samples x 3 points of the grid)")

    # A scheduler stops trials that are not worth more time.
    asha = ASHAScheduler(metric="score", mode="max", max_t=20)
    tune.run(trainable, config=space, num_samples=20, scheduler=asha, verbose=0)

    # A stop criterion ends each trial; the analysis answers what came of them.
    analysis = tune.run(
        trainable,
        config=space,
        num_samples=20,
        metric="score",
        mode="min",
        scheduler=ASHAScheduler(max_t=20),
        stop={"training_iteration": 20},
        verbose=0,
    )
    print("best trial     ", analysis.best_trial)
    print("best config    ", analysis.best_config)
    print("best folder    ", analysis.best_logdir)
    print("best checkpoint", analysis.best_checkpoint)
    print("best score     ", analysis.best_result["score"])
    print(analysis.best_result_df.T.head())
    print(analysis.results_df[["score", "training_iteration"]].describe())
    print(analysis.dataframe(metric="score", mode="max").head())


if __name__ == "__main__":
    main()
