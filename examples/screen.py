"""Trials that print in every way, to look at the block of the terminal meanwhile:  python examples/screen.py"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
import warnings
from typing import Any

import fasttune as tune


def train(config: dict[str, Any]) -> None:
    print("starts with lr", round(config["lr"], 3))
    if config["lr"] > 0.9:
        warnings.warn("lr is large", stacklevel=1)
    for epoch in range(1, 11):
        time.sleep(0.2)
        sys.stderr.write(f"\repoch {epoch} of 10")  # as progress bars do
        sys.stderr.flush()
        tune.report(loss=config["lr"] / epoch, accuracy=1 - config["lr"] / epoch)
        if epoch == 5 and config["lr"] > 0.95:
            raise ValueError("the loss has become infinite")
    sys.stderr.write("\n")
    logging.getLogger("train").warning("done")
    subprocess.run(["echo", "and a child process"], check=True)


if __name__ == "__main__":
    tune.run(
        train,
        config={"lr": tune.uniform(0, 1), "width": tune.choice([16, 32]), "activation": tune.choice(["relu", "tanh"])},
        num_samples=20,
        metric="loss",
        mode="min",
        seed=1,
        raise_on_failed_trial=False,
    )
