"""Tune a PyTorch Lightning module on handwritten digits: each validation is a report, ASHA stops early.

    pip install 'fasttune[lightning]' scikit-learn
    python examples/lightning_asha.py              half a minute on two cores

Each report comes with Lightning's checkpoint, so a trial that fails or that is killed with the run goes on at its epoch.
Prints how many epochs were trained, the test accuracy of the best module as it was saved and, last, the best configuration.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

import fasttune as tune
from fasttune.integration.pytorch_lightning import TuneReportCheckpointCallback
from fasttune.schedulers import ASHAScheduler

EPOCHS = 9
SPACE = {
    "lr": tune.loguniform(1e-5, 1e-1),
    "units": tune.lograndint(8, 129),
    "batch_size": tune.choice([32, 64, 128]),
}


def load_data() -> list[TensorDataset]:
    """60 % to train on, 20 % to choose by, 20 % that no trial ever sees."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16.0).astype("float32")
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    parts = [(x_train, y_train), (x_valid, y_valid), (x_test, y_test)]
    return [TensorDataset(torch.as_tensor(x), torch.as_tensor(y)) for x, y in parts]


class Classifier(LightningModule):
    """One hidden layer."""

    def __init__(self, lr: float, units: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = torch.nn.Sequential(torch.nn.Linear(64, units), torch.nn.ReLU(), torch.nn.Linear(units, 10))

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        x, y = batch
        return torch.nn.functional.cross_entropy(self.layers(x), y)

    def validation_step(self, batch: Any, number: int) -> None:
        x, y = batch
        scores = self.layers(x)
        self.log("val_loss", torch.nn.functional.cross_entropy(scores, y))
        self.log("val_acc", (scores.argmax(dim=1) == y).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.hparams["lr"])


def train(config: dict[str, Any]) -> None:
    """One validation a report."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")  # of its own use of PyTorch
    seed_everything(0, verbose=False)
    train_set, valid_set, _ = load_data()
    callback = TuneReportCheckpointCallback({"loss": "val_loss", "accuracy": "val_acc"})
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        devices=1,
        callbacks=[callback],
        default_root_dir=tune.get_context().get_trial_dir(),
        logger=False,
        enable_checkpointing=False,  # the callback saves
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    before = tune.get_checkpoint()
    trainer.fit(
        Classifier(config["lr"], config["units"]),
        DataLoader(train_set, config["batch_size"], shuffle=True),
        DataLoader(valid_set, 512),
        ckpt_path=None if before is None else callback.get_path(before),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-samples", type=int, default=20, help="configurations to try (default 20)")
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
    print(f"\nepochs trained: {epochs}; all trials to the end take {len(analysis.trials) * EPOCHS}")
    module = Classifier.load_from_checkpoint(TuneReportCheckpointCallback.get_path(analysis.best_checkpoint))
    x, y = load_data()[2].tensors
    with torch.no_grad():
        accuracy = (module.layers(x).argmax(dim=1) == y).float().mean()
    print(f"{analysis.best_said}; test accuracy {accuracy:.3f}")
    print(f"best config: {analysis.best_config}")


if __name__ == "__main__":
    main()
