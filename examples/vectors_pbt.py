"""Population based training of a hundred networks in one call: the worst rows copy the best, and change what they have copied.

    python examples/vectors_pbt.py                    100 networks, 30 epochs, beside the same without copies: some seconds
    python examples/vectors_pbt.py --size 40          in 40 rows: the networks take turns
    python examples/vectors_pbt.py --executor process several calls, each in a worker of its own

The function takes its state and yields it, so its trials can be held while others have their turn, and be saved: the best
network comes back from its checkpoint at the end.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
from vectors_digits import accuracy, epoch, start

import fasttune as tune
from fasttune.schedulers import PopulationBasedTraining

SPACE = {
    "lr": tune.loguniform(1e-3, 3.0),
    "momentum": tune.uniform(0.0, 0.99),
    "scale": tune.loguniform(0.1, 4.0),
    "seed": tune.randint(0, 1 << 30),
}


def networks(size):
    @tune.vectorized(size=size)
    def train(configs, state=None):
        net, rng = start(configs) if state is None else state, np.random.default_rng(0)
        while True:
            net = epoch(net, configs, rng)
            rows = yield {"accuracy": accuracy(net)}, net
            if rows is not None:  # some copy others, or have their turn
                net, configs = rows.take(net), rows.configs

    return train


def copying(interval):
    return PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=interval,
        hyperparam_mutations={"lr": tune.loguniform(1e-3, 3.0), "momentum": tune.uniform(0.0, 0.99)},
        clip=True,
        seed=1,
    )


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--population", type=int, default=100)
    parser.add_argument("--size", type=int, default=4096, help="networks at once")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--interval", type=int, default=3, help="epochs between two perturbations")
    parser.add_argument("--executor", default="vector", choices=["vector", "process", "thread"])
    parser.add_argument("--storage-path", default=None)
    args = parser.parse_args()
    folder = args.storage_path or tempfile.mkdtemp(prefix="vectors_pbt_")
    for name, scheduler in (("alone", None), ("copying", copying(args.interval))):
        analysis = tune.run(
            networks(args.size),
            name=f"vectors_pbt_{name}",
            config=SPACE,
            num_samples=args.population,
            metric="accuracy",
            mode="max",
            scheduler=scheduler,
            stop={"training_iteration": args.epochs},
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
            executor=args.executor,
            storage_path=folder,
            seed=1,
            verbose=0,
        )
        found = analysis.dataframe()["accuracy"]
        copies = len(analysis.lineage())
        print(f"{name}: {copies} copies; accuracy at the end: best {found.max():.4f}, median {found.median():.4f}")
    best = analysis.best_trial
    net = analysis.get_best_checkpoint(best, "accuracy", "max").to_dict()["state"]
    print(f"the best network, from its checkpoint: {accuracy(net)[0]:.4f}")


if __name__ == "__main__":
    main()
