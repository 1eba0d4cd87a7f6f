"""A constrained run that is killed: python killed_constraints.py FOLDER."""

import sys
import time

import fasttune as tune
from fasttune.schedulers import ASHAScheduler


def train(config):
    for epoch in range(1, 10):
        time.sleep(0.005)
        tune.report(loss=config["x"] / epoch, memory=1 - config["x"])


def run(folder, num_samples, resume):
    return tune.run(
        train, config={"x": tune.uniform(0, 1)}, num_samples=num_samples, metric="loss", mode="min", seed=5, verbose=0,
        scheduler=ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3), search_alg="tpe", constraints="memory <= 0.5",
        name="killed", storage_path=folder, resume=resume, max_concurrent_trials=3,
    )  # fmt: skip


if __name__ == "__main__":
    run(sys.argv[1], 400, None)
