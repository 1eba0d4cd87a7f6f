"""Tune a plain PyTorch training loop on handwritten digits, on the CPU: one report an epoch, with weights and optimizer.

    pip install torch scikit-learn
    python examples/pytorch_asha.py                half a minute on two cores

Nothing but ``tune.report`` and ``tune.get_checkpoint`` is needed in a loop of one's own. A trial that fails or that is killed
with the run goes on at its epoch. Prints how many epochs were trained, the test accuracy of the best network as it was
saved and, last, the best configuration.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fasttune as tune
from fasttune.schedulers import ASHAScheduler

EPOCHS = 27
SPACE = {
    "lr": tune.loguniform(1e-3, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "units": tune.lograndint(8, 129),
    "batch_size": tune.choice([32, 64, 128]),
}


def load_data() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """60 % to train on, 20 % to choose by, 20 % that no trial ever sees."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16.0).astype("float32")
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    parts = [(x_train, y_train), (x_valid, y_valid), (x_test, y_test)]
    return [(torch.as_tensor(x), torch.as_tensor(y)) for x, y in parts]


def build_network(units: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(64, units), torch.nn.ReLU(), torch.nn.Linear(units, 10))


def train(config: dict[str, Any]) -> None:
    """One epoch a report. A worker of one CPU has OMP_NUM_THREADS=1, so PyTorch starts no threads beside those of others."""
    (x, y), (x_valid, y_valid), _ = load_data()
    torch.manual_seed(0)
    network = build_network(config["units"])
    optimizer = torch.optim.SGD(network.parameters(), lr=config["lr"], momentum=config["momentum"])
    first = 0
    before = tune.get_checkpoint()
    if before is not None:
        state = torch.load(os.path.join(before.path, "state.pt"))
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"]
    for epoch in range(first, EPOCHS):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))  # the same behind a restart
        for batch in order.split(config["batch_size"]):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            scores = network(x_valid)
        metrics = {
            "loss": float(torch.nn.functional.cross_entropy(scores, y_valid)),
            "accuracy": float((scores.argmax(dim=1) == y_valid).float().mean()),
        }
        with tempfile.TemporaryDirectory() as folder:
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
            torch.save(state, os.path.join(folder, "state.pt"))
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-samples", type=int, default=40, help="configurations to try (default 40)")
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    analysis = tune.run(
        train,
        config=SPACE,
        num_samples=args.num_samples,
        scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=3),
        metric="loss",
        mode="min",
        max_failures=2,
        storage_path=args.storage_path,
        seed=0,
    )
    epochs = sum(trial.last_result["training_iteration"] for trial in analysis.trials)
    print(f"\nepochs trained: {epochs}; all trials to the end take {len(analysis.trials) * EPOCHS:,}")
    network = build_network(analysis.best_config["units"])
    network.load_state_dict(torch.load(os.path.join(analysis.best_checkpoint.path, "state.pt"))["network"])
    x, y = load_data()[2]
    with torch.no_grad():
        accuracy = (network(x).argmax(dim=1) == y).float().mean()
    print(f"{analysis.best_said}; test accuracy {accuracy:.3f}")
    print(f"best config: {analysis.best_config}")


if __name__ == "__main__":
    main()
