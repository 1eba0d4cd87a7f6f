"""The toy problem of population based training: two workers, each blind in one direction, that only together succeed.

    python examples/pbt_toy.py                     a few seconds; needs matplotlib for the picture

Jaderberg et al. 2017, figure 2: Q(theta) = 1.2 - theta0^2 - theta1^2 is to be maximised from theta = (0.9, 0.9), but a
worker climbs the surrogate 1.2 - h0 * theta0^2 - h1 * theta1^2 and never sees Q while it does. One worker has
h = (1, 0), the other (0, 1), so each moves along one axis only and ends at 0.39.

    alone            nobody copies                               Q = 0.39
    copy theta       the worse copies theta and perturbs its own h     about 1.15: they take turns
    copy both        the worse copies theta and h, perturbed     Q = 0.39: 0 times 1.2 is 0, both go the same way
    copy, resample   as before, and h is drawn anew at times     most of the way again
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

import fasttune as tune
from fasttune.schedulers import PopulationBasedTraining

START = 0.9
LEARNING_RATE = 0.01
STEPS, INTERVAL = 200, 4
BEST, ALONE = 1.2, 1.2 - START**2


class Worker(tune.Trainable):
    """Climbs the surrogate from theta; reports Q and where it is."""

    def setup(self, config: dict[str, Any]) -> None:
        self.h = (config["h0"], config["h1"])
        self.theta = [START, START]

    def step(self) -> dict[str, float]:
        for axis, h in enumerate(self.h):
            self.theta[axis] -= LEARNING_RATE * 2 * h * self.theta[axis]
        first, second = self.theta
        return {"Q": 1.2 - first**2 - second**2, "theta0": first, "theta1": second}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"theta": list(self.theta)}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.theta = list(checkpoint["theta"])


class CopiesTheta(PopulationBasedTraining):
    """Copies weights, and explores from the config that the trial had."""

    def new_config(self, trial: Any, donor: Any, rng: random.Random) -> dict[str, Any]:
        return super().new_config(trial, trial, rng)


CASES: dict[str, tuple[type[PopulationBasedTraining], dict[str, Any]]] = {
    "alone": (PopulationBasedTraining, {"quantile_fraction": 0.0}),
    "copy theta": (CopiesTheta, {}),
    "copy both": (PopulationBasedTraining, {}),
    "copy, resample": (PopulationBasedTraining, {"resample_probability": 0.25}),
}


def play(case: str, seed: int, storage: str, name: str | None = None) -> tune.ExperimentAnalysis:
    """One experiment of two workers."""
    scheduler, changed = CASES[case]
    settings = {"quantile_fraction": 0.5, "resample_probability": 0.0, **changed}
    drawn = random.Random(seed).random
    return tune.run(
        Worker,
        name=name or f"{case.replace(', ', '_').replace(' ', '_')}_{seed}",
        config={"pair": tune.grid_search([(1.0, 0.0), (0.0, 1.0)]), "h0": first_of_pair, "h1": second_of_pair},
        scheduler=scheduler(
            time_attr="training_iteration",
            perturbation_interval=INTERVAL,
            hyperparam_mutations={"h0": drawn, "h1": drawn},
            seed=seed,
            **settings,
        ),
        metric="Q",
        mode="max",
        stop={"training_iteration": STEPS},
        executor="inline",
        max_concurrent_trials=1,
        storage_path=storage,
        verbose=0,
        seed=seed,
    )


first_of_pair = tune.sample_from(lambda config: config["pair"][0])
second_of_pair = tune.sample_from(lambda config: config["pair"][1])


def best_q(analysis: tune.ExperimentAnalysis) -> float:
    """Q of the better worker at the end."""
    return max(trial.last_result["Q"] for trial in analysis.trials)


def draw(shown: dict[str, tune.ExperimentAnalysis], ends: dict[str, list[float]], picture: Path) -> None:
    """The workers' ways over the landscape of Q, a panel per case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(shown), figsize=(3.6 * len(shown), 4.6), sharey=True, layout="compressed")
    grid = [x / 100 for x in range(101)]
    for axes, (case, analysis) in zip(panels, shown.items(), strict=True):
        heights = [[1.2 - x * x - y * y for x in grid] for y in grid]
        axes.contourf(grid, grid, heights, levels=18, cmap="Greys_r", alpha=0.6)
        for frame, color in zip(analysis.trial_dataframes.values(), ("#c8443c", "#2f6fab"), strict=True):
            axes.scatter(frame["theta0"], frame["theta1"], s=9, color=color, alpha=0.75, linewidths=0)
        axes.plot(0, 0, marker="*", ms=13, color="#e0a030", clip_on=False, zorder=5)
        axes.set(title=f"{case}\nmedian Q = {statistics.median(ends[case]):.2f}", xlabel="theta 0", aspect="equal")
        axes.set(xlim=(0, 1), ylim=(0, 1))
    panels[0].set_ylabel("theta 1")
    figure.suptitle("Two workers, each blind in one direction (Jaderberg et al. 2017, figure 2)")
    figure.savefig(picture, dpi=130)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20, help="experiments per case (default 20)")
    parser.add_argument("--picture", default="pbt_toy.png", help="file of the picture (default pbt_toy.png)")
    args = parser.parse_args()
    shown: dict[str, tune.ExperimentAnalysis] = {}
    ends: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as storage:
        for case in CASES:
            runs = [play(case, seed, storage) for seed in range(args.seeds)]
            ends[case] = [best_q(analysis) for analysis in runs]
            shown[case] = runs[0]
            low, middle, high = min(ends[case]), statistics.median(ends[case]), max(ends[case])
            print(f"{case:<16} Q = {middle:.3f}  (from {low:.3f} to {high:.3f} over {args.seeds} seeds; best {BEST})")
        draw(shown, ends, Path(args.picture))
    print(f"Picture: {args.picture}")


if __name__ == "__main__":
    main()
