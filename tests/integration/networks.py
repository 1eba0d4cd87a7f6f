"""Trainables of the tests: the same small classifier by Keras, Lightning and the Trainer of Transformers.

A trial appends a line to ``<folder>/<trial id>`` when it begins: how many epochs its model has been trained, and its ``lr``.
``kills``: the process ends itself in its first attempt, behind the report of this epoch. ``stopped.<library>`` in the folder
has a line for each trial whose clean-up has run.
"""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import fasttune as tune

EPOCHS = 6


@functools.cache
def data() -> tuple[Any, Any, Any, Any]:
    from sklearn.datasets import load_wine
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    x, y = load_wine(return_X_y=True)
    x = StandardScaler().fit_transform(x).astype("float32")
    return tuple(train_test_split(x, y, test_size=0.3, stratify=y, random_state=0))  # type: ignore[return-value]


def begin(config: dict[str, Any], done: int) -> None:
    with _begun(config).open("a") as file:
        file.write(f"{done} {config['lr']}\n")


def _begun(config: dict[str, Any]) -> Path:
    return Path(config["folder"], tune.get_context().get_trial_id() or "outside")


def maybe_kill(config: dict[str, Any], epochs: int) -> None:
    if epochs == config.get("kills") and len(_begun(config).read_text().splitlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def clean_up(config: dict[str, Any], library: str) -> None:
    with Path(config["folder"], f"stopped.{library}").open("a") as file:
        file.write(f"{tune.get_context().get_trial_id()}\n")


# ---- Keras -------------------------------------------------------------------------------------------------------


def keras_model(lr: float) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((13,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")])
    model.compile(keras.optimizers.Adam(lr), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def keras_fit(model: Any, first: int, callbacks: list[Any]) -> dict[str, list[float]]:
    x, x_valid, y, y_valid = data()
    history = model.fit(
        x, y, epochs=EPOCHS, initial_epoch=first, shuffle=False, validation_data=(x_valid, y_valid), verbose=0, callbacks=callbacks
    )
    found: dict[str, list[float]] = history.history
    return found


def train_keras(config: dict[str, Any]) -> None:
    import keras

    from fasttune.integration.keras import TuneReportCheckpointCallback

    class Other(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            maybe_kill(config, epoch)

        def on_train_end(self, logs: Any = None) -> None:
            clean_up(config, "keras")

    callback = TuneReportCheckpointCallback({"loss": "val_loss", "accuracy": "val_accuracy"})
    before = tune.get_checkpoint()
    model = keras_model(config["lr"]) if before is None else callback.get_model(before)
    model.optimizer.learning_rate = config["lr"]
    first = 0 if before is None else callback.get_epoch(before)
    begin(config, first)
    keras_fit(model, first, [Other(), callback])


def direct_keras(lr: float) -> list[float]:
    return keras_fit(keras_model(lr), 0, [])["val_loss"]


# ---- Lightning ---------------------------------------------------------------------------------------------------


def lightning_module(lr: float) -> Any:
    import torch
    from lightning.pytorch import LightningModule, seed_everything

    class Classifier(LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(13, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))

        def training_step(self, batch: Any, number: int) -> Any:
            x, y = batch
            loss = torch.nn.functional.cross_entropy(self.layers(x), y)
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, number: int) -> None:
            x, y = batch
            self.log("val_loss", torch.nn.functional.cross_entropy(self.layers(x), y))

        def on_train_start(self) -> None:
            for group in self.optimizers().optimizer.param_groups:
                group["lr"] = lr

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr)

    seed_everything(0, verbose=False)
    return Classifier()


def lightning_fit(module: Any, callbacks: list[Any], folder: str, before: str | None = None) -> Any:
    import logging

    import torch
    from lightning.pytorch import Trainer

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    x, x_valid, y, y_valid = map(torch.as_tensor, data())
    loaders = [
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*pair), batch_size=64)
        for pair in ((x, y), (x_valid, y_valid))
    ]
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        devices=1,
        callbacks=callbacks,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, *loaders, ckpt_path=before)
    return trainer


def train_lightning(config: dict[str, Any]) -> None:
    from lightning.pytorch import Callback

    from fasttune.integration.pytorch_lightning import TuneReportCheckpointCallback

    class Other(Callback):  # type: ignore[misc]
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            begin(config, trainer.current_epoch)

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            maybe_kill(config, trainer.current_epoch)

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            clean_up(config, "lightning")

    callback = TuneReportCheckpointCallback({"loss": "val_loss"}, on=config.get("on", "validation_end"))
    before = tune.get_checkpoint()
    path = None if before is None else callback.get_path(before)
    lightning_fit(lightning_module(config["lr"]), [callback, Other()], config["folder"], path)


def direct_lightning(lr: float) -> list[float]:
    from lightning.pytorch import Callback

    seen: list[float] = []

    class Listens(Callback):  # type: ignore[misc]
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(float(trainer.callback_metrics["val_loss"]))

    lightning_fit(lightning_module(lr), [Listens()], ".")
    return seen


# ---- Transformers ------------------------------------------------------------------------------------------------


def transformers_trainer(lr: float, folder: str, callbacks: list[Any]) -> Any:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    disable_progress_bar()  # which has a thread
    set_verbosity_error()
    set_seed(0)
    shape = {"vocab_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertForSequenceClassification(BertConfig(**shape, max_position_embeddings=16, num_labels=3))
    x, x_valid, y, y_valid = data()

    def examples(x: Any, y: Any) -> list[dict[str, Any]]:
        words = (x.clip(-2, 2) * 3 + 8).astype("int64")  # each measurement as one of 13 words
        return [{"input_ids": torch.as_tensor(row), "labels": int(label)} for row, label in zip(words, y, strict=True)]

    arguments = TrainingArguments(
        output_dir=folder,
        num_train_epochs=EPOCHS,
        learning_rate=lr,
        lr_scheduler_type="constant",
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
    )
    return Trainer(model, arguments, train_dataset=examples(x, y), eval_dataset=examples(x_valid, y_valid), callbacks=callbacks)


def train_transformers(config: dict[str, Any]) -> None:
    from transformers import TrainerCallback

    from fasttune.integration.transformers import TuneReportCheckpointCallback

    class Other(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
            begin(config, round(state.epoch or 0))

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
            maybe_kill(config, round(state.epoch or 0))

        def on_train_end(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
            clean_up(config, "transformers")

    callback = TuneReportCheckpointCallback({"loss": "eval_loss", "train": "loss"})
    before = tune.get_checkpoint()
    trainer = transformers_trainer(config["lr"], tune.get_context().get_trial_dir() or ".", [Other(), callback])
    trainer.train(resume_from_checkpoint=None if before is None else callback.get_path(before))


def direct_transformers(lr: float) -> list[float]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers_trainer(lr, folder, [])
        trainer.train()
    return [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]


TRAIN = {"keras": train_keras, "lightning": train_lightning, "transformers": train_transformers}
DIRECT = {"keras": direct_keras, "lightning": direct_lightning, "transformers": direct_transformers}
