"""Four classifiers of handwritten digits find a schedule of learning rates: PB2 beside population based training.

    python examples/digits_pb2.py                  half a minute on two cores; needs scikit-learn and scipy

The same task as digits_pbt.py with a quarter of the trials. With so few, chance tries few changes: population based
training multiplies what it copied by 2 or 0.5, while PB2 fits a Gaussian process to which settings lowered the loss, and
when, and asks it for the next ones. Several seeds of each, because one says little.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from digits_pbt import SPACE, Classifier, load_data

import fasttune as tune
from fasttune.schedulers import PB2, PopulationBasedTraining, TrialScheduler

COMMON: dict[str, Any] = {"time_attr": "training_iteration", "perturbation_interval": 4, "quantile_fraction": 0.25}
BOUNDS = {"eta0": [1e-3, 10.0], "alpha": [1e-7, 1e-2]}


def scheduler(kind: str, seed: int) -> TrialScheduler:
    if kind == "PB2":
        return PB2(**COMMON, hyperparam_bounds=BOUNDS, seed=seed)
    return PopulationBasedTraining(
        **COMMON, hyperparam_mutations=SPACE, perturbation_factors=(2.0, 0.5), clip=True, seed=seed
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=4, help="size of a population (default 4)")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    data = load_data()
    for kind in ("PBT", "PB2"):
        losses = []
        for seed in range(args.seeds):
            analysis = tune.run(
                tune.with_parameters(Classifier, data=data),
                config=SPACE,
                num_samples=args.trials,
                scheduler=scheduler(kind, seed),
                metric="loss",
                mode="min",
                stop={"training_iteration": args.epochs},
                seed=seed,
                executor="inline",
                storage_path=args.storage_path,
                verbose=0,
            )
            losses.append(analysis.best_result["loss"])
            tried = analysis.lineage()["new/eta0"]
            assert kind != "PB2" or tried.between(*BOUNDS["eta0"]).all()
        told = ", ".join(f"{loss:.3f}" for loss in losses)
        print(f"{kind}: median of the best losses {statistics.median(losses):.4f} ({told})")


if __name__ == "__main__":
    main()
