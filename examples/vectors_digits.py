"""A thousand small networks on handwritten digits, trained at once: one call of numpy makes a step of all of them.

    python examples/vectors_digits.py                    1,000 networks, up to 27 epochs, ASHA: some seconds
    python examples/vectors_digits.py --num-samples 4000 --size 512

A vectorized trainable gets columns of configs, and yields columns of metrics. What ASHA stops leaves the arrays, and new networks
take the free rows (refill), so that the machine stays full.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fasttune as tune
from fasttune.schedulers import ASHAScheduler

HIDDEN, CLASSES, BATCH, EPOCHS = 24, 10, 64, 27


def data():
    images, digits = load_digits(return_X_y=True)
    images = (images / 16.0).astype(np.float32)
    return train_test_split(images, digits, test_size=0.3, random_state=0, stratify=digits)


TRAIN, VALID, TRAIN_DIGITS, VALID_DIGITS = data()
TARGETS = np.eye(CLASSES, dtype=np.float32)[TRAIN_DIGITS]


def start(configs):
    """Weights of n networks, each from its own seed: a dict of arrays whose first axis is n."""
    n = len(configs["seed"])
    weights = {"w1": np.empty((n, 64, HIDDEN), np.float32), "w2": np.empty((n, HIDDEN, CLASSES), np.float32)}
    for row, (seed, scale) in enumerate(zip(configs["seed"], configs["scale"], strict=True)):
        rng = np.random.default_rng(seed)
        weights["w1"][row] = rng.normal(0, scale / 8, (64, HIDDEN))
        weights["w2"][row] = rng.normal(0, scale / np.sqrt(HIDDEN), (HIDDEN, CLASSES))
    return weights | {"v1": np.zeros_like(weights["w1"]), "v2": np.zeros_like(weights["w2"])}


def epoch(net, configs, rng):
    """One pass over the data, all networks on the same batches."""
    rate = np.asarray(configs["lr"], np.float32)[:, None, None]
    keep = np.asarray(configs["momentum"], np.float32)[:, None, None]
    order = rng.permutation(len(TRAIN))
    for begin in range(0, len(order) - BATCH + 1, BATCH):
        at = order[begin : begin + BATCH]
        hidden = np.maximum(TRAIN[at] @ net["w1"], 0)  # n x batch x hidden
        logits = hidden @ net["w2"]
        logits -= logits.max(axis=2, keepdims=True)
        part = np.exp(logits)
        part /= part.sum(axis=2, keepdims=True)
        part -= TARGETS[at]
        part /= BATCH
        back = (part @ net["w2"].transpose(0, 2, 1)) * (hidden > 0)
        for weight, speed, slope in (("w2", "v2", hidden.transpose(0, 2, 1) @ part), ("w1", "v1", TRAIN[at].T @ back)):
            net[speed] *= keep
            net[speed] -= rate * slope
            net[weight] += net[speed]
    return net


def accuracy(net):
    hidden = np.maximum(VALID @ net["w1"], 0)
    return ((hidden @ net["w2"]).argmax(axis=2) == VALID_DIGITS).mean(axis=1)


def networks(size):
    @tune.vectorized(size=size, refill=True)
    def train(configs):
        net, rng = start(configs), np.random.default_rng(0)
        while True:
            net = epoch(net, configs, rng)
            rows = yield {"accuracy": accuracy(net)}
            if rows is not None:  # some were stopped, and others begin in their places
                fresh = start(rows.fresh_configs) if rows.fresh.any() else None
                net, configs = rows.take(net, fresh), rows.configs

    return train


SPACE = {
    "lr": tune.loguniform(1e-3, 3.0),
    "momentum": tune.uniform(0.0, 0.99),
    "scale": tune.loguniform(0.1, 4.0),
    "seed": tune.randint(0, 1 << 30),
}


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--size", type=int, default=256, help="networks at once")
    args = parser.parse_args()
    began = time.perf_counter()
    analysis = tune.run(
        networks(args.size),
        name="vectors_digits",
        config=SPACE,
        num_samples=args.num_samples,
        metric="accuracy",
        mode="max",
        scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=3),
        seed=1,
    )
    took = time.perf_counter() - began
    epochs = analysis.dataframe()["training_iteration"].sum()
    print(f"{args.num_samples:,} networks, {epochs:,} epochs in {took:.1f} s: {args.num_samples / took:.0f} networks a second")
    print(f"best: {analysis.best_result['accuracy']:.4f} with {analysis.best_config}")


if __name__ == "__main__":
    main()
