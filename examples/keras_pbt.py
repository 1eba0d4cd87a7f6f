"""Tune a Keras network on handwritten digits with a population: the worst copy model and optimizer of the best.

    pip install 'fasttune[keras]' torch scikit-learn
    python examples/keras_pbt.py                   half a minute on two cores

Eight networks train for twelve epochs. Every three epochs the worst quarter goes on from the checkpoint of one of the best, with
another learning rate. Prints who copied whom, the test accuracy of the best network as it was saved and, last, its
configuration.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")  # before the first import of keras; workers get it too

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fasttune as tune
from fasttune.integration.keras import TuneReportCheckpointCallback
from fasttune.schedulers import PopulationBasedTraining

EPOCHS, INTERVAL = 12, 3
SPACE = {"lr": tune.loguniform(1e-5, 1e-1), "units": 32}


def load_data() -> list[Any]:
    """60 % to train on, 20 % to choose by, 20 % that no trial ever sees."""
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x / 16.0, y, test_size=0.2, stratify=y, random_state=0)
    x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    return [(x_train, y_train), (x_valid, y_valid), (x_test, y_test)]


def build_model(config: dict[str, Any]) -> keras.Model:
    model = keras.Sequential(
        [keras.layers.Input((64,)), keras.layers.Dense(config["units"], "relu"), keras.layers.Dense(10, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(config: dict[str, Any]) -> None:
    """One epoch a report, with the model; it goes on from its own or from another trial's."""
    keras.utils.set_random_seed(0)
    callback = TuneReportCheckpointCallback({"loss": "val_loss", "accuracy": "val_accuracy"}, frequency=INTERVAL)
    before = tune.get_checkpoint()
    model = build_model(config) if before is None else callback.get_model(before)
    model.optimizer.learning_rate = config["lr"]  # a model from a checkpoint comes with the one that it had
    x, y = load_data()[0]
    model.fit(
        x,
        y,
        batch_size=64,
        epochs=EPOCHS,
        initial_epoch=0 if before is None else callback.get_epoch(before),
        validation_data=load_data()[1],
        verbose=0,
        callbacks=[callback],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-samples", type=int, default=8, help="networks in the population (default 8)")
    parser.add_argument("--storage-path", default=None, help="folder of experiments (default ~/fasttune_results)")
    args = parser.parse_args()

    analysis = tune.run(
        train,
        config=SPACE,
        num_samples=args.num_samples,
        scheduler=PopulationBasedTraining(
            time_attr="training_iteration",
            perturbation_interval=INTERVAL,
            hyperparam_mutations={"lr": tune.loguniform(1e-5, 1e-1)},
            clip=True,
            seed=0,
        ),
        metric="loss",
        mode="min",
        stop={"training_iteration": EPOCHS},
        storage_path=args.storage_path,
        seed=0,
    )
    copies = analysis.lineage()
    print(f"\n{len(copies)} times a network went on as a copy of a better one")
    model = TuneReportCheckpointCallback.get_model(analysis.best_checkpoint)
    x, y = load_data()[2]
    accuracy = (model.predict(x, verbose=0).argmax(axis=1) == y).mean()
    print(f"{analysis.best_said}; test accuracy {accuracy:.3f}")
    print(f"best config: {analysis.best_config}")


if __name__ == "__main__":
    main()
