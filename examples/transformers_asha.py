"""Tune a tiny vision transformer with Hugging Face's Trainer: each evaluation is a report, ASHA stops early.

    pip install 'fasttune[transformers]' scikit-learn
    python examples/transformers_asha.py           half a minute on two cores; downloads nothing

The model is made of a configuration, not of pretrained weights: 16 patches of 2 x 2 pixels of a handwritten digit. Each report
comes with the trainer's own checkpoint, so a trial that fails or that is killed with the run goes on at its step. Prints how
many epochs were trained, the test accuracy of the best model as it was saved and, last, the best configuration.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from transformers import PrinterCallback, Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed
from transformers.utils.logging import disable_progress_bar

import fasttune as tune
from fasttune.integration.transformers import TuneReportCheckpointCallback
from fasttune.schedulers import ASHAScheduler

EPOCHS = 9
SPACE = {
    "learning_rate": tune.loguniform(1e-5, 3e-2),
    "weight_decay": tune.loguniform(1e-5, 1e-1),
    "layers": tune.randint(1, 4),
}


def load_data() -> list[Any]:
    """60 % to train on, 20 % to choose by, 20 % that no trial ever sees; each as the Trainer wants it."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16.0).reshape(-1, 1, 8, 8).astype("float32")
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    parts = [(x_train, y_train), (x_valid, y_valid), (x_test, y_test)]
    return [
        [{"pixel_values": torch.as_tensor(one), "labels": int(label)} for one, label in zip(x, y, strict=True)]
        for x, y in parts
    ]


def build_model(layers: int) -> ViTForImageClassification:
    return ViTForImageClassification(
        ViTConfig(
            image_size=8,
            patch_size=2,
            num_channels=1,
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=4,
            intermediate_size=64,
            num_labels=10,
        )
    )


def accuracy_of(prediction: Any) -> dict[str, float]:
    return {"accuracy": float(np.mean(prediction.predictions.argmax(axis=1) == prediction.label_ids))}


def train(config: dict[str, Any]) -> None:
    """One evaluation a report."""
    disable_progress_bar()
    set_seed(0)
    train_set, valid_set, _ = load_data()
    callback = TuneReportCheckpointCallback({"loss": "eval_loss", "accuracy": "eval_accuracy"})
    arguments = TrainingArguments(
        output_dir=f"{tune.get_context().get_trial_dir()}/trainer",
        num_train_epochs=EPOCHS,
        learning_rate=config["learning_rate"],
        weight_decay=config["weight_decay"],
        per_device_train_batch_size=64,
        per_device_eval_batch_size=512,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,  # fasttune has copies of its own
        logging_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
    )
    trainer = Trainer(
        build_model(config["layers"]),
        arguments,
        train_dataset=train_set,
        eval_dataset=valid_set,
        compute_metrics=accuracy_of,
        callbacks=[callback],
    )
    trainer.remove_callback(PrinterCallback)  # of each log, of each trial
    before = tune.get_checkpoint()
    trainer.train(resume_from_checkpoint=None if before is None else callback.get_path(before))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-samples", type=int, default=10, help="configurations to try (default 10)")
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()
    disable_progress_bar()

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
    folder = TuneReportCheckpointCallback.get_path(analysis.best_checkpoint)
    model = ViTForImageClassification.from_pretrained(folder, local_files_only=True)
    test_set = load_data()[2]
    with torch.no_grad():
        found = model(torch.stack([one["pixel_values"] for one in test_set])).logits.argmax(dim=1)
    accuracy = np.mean(found.numpy() == [one["labels"] for one in test_set])
    print(f"{analysis.best_said}; test accuracy {accuracy:.3f}")
    print(f"best config: {analysis.best_config}")


if __name__ == "__main__":
    main()
