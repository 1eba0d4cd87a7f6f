"""Experiments of all kinds for the dashboard, good ones and broken ones, and a browser's side of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

import fasttune as tune
from fasttune.dashboard.app import application
from fasttune.schedulers import ASHAScheduler, PopulationBasedTraining

TOKEN = "an-unguessable-word-of-many-letters"
HERE = "http://127.0.0.1:8000"
MARKUP = "<img src=x onerror=alert(1)>"
Asking = Callable[..., Any]
RUNS_UNTIL_STOPPED = """
import sys, time
import fasttune as tune

def train(config):
    while True:
        time.sleep(0.01)
        tune.report(loss=config["x"])

tune.run(train, name="endless", config={"x": tune.uniform(0, 1)}, num_samples=2, metric="loss", mode="min",
         storage_path=sys.argv[1], executor="inline", verbose=0)
"""


def searched(config: dict[str, Any]) -> None:
    for step in range(1, 10):
        if config["layers"] == 4 and step == 3:
            raise ValueError(f"{config['layers']} layers are too many {MARKUP}")
        tune.report(loss=(config["lr"] - 0.3) ** 2 + 1 / step, seconds=step * 0.5, good=step > 4)


def population(config: dict[str, Any]) -> None:
    score = 0.0
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        score = checkpoint.to_dict()["score"]
    for _ in range(12):
        score += config["lr"]
        tune.report({"score": score}, checkpoint=tune.Checkpoint.from_dict({"score": score}))


def hostile(config: dict[str, Any]) -> None:
    if config[MARKUP] == "<b>1</b>":
        raise RuntimeError(f"{MARKUP} & <script>alert(2)</script>")
    tune.report({MARKUP: config["x"]})


SPACE = {
    "lr": tune.uniform(0, 1),
    "layers": tune.choice([1, 2, 4]),
    "optimizer": tune.choice([{"name": "adam"}, {"name": "sgd", "momentum": tune.uniform(0.5, 0.99)}]),
    "fixed": "as it is",
}


def make_folder(root: Path) -> None:
    """search, population, hostile, without_metric; junk, pipe, other_database, cut and a name that is no text."""
    given: dict[str, Any] = {"storage_path": root, "executor": "inline", "verbose": 0, "raise_on_failed_trial": False}
    scheduler = ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3)
    tune.run(searched, name="search", config=SPACE, num_samples=80, metric="loss", mode="min", scheduler=scheduler, seed=1, **given)
    mutations = {"lr": tune.uniform(0, 1)}
    pbt = PopulationBasedTraining("training_iteration", perturbation_interval=3, hyperparam_mutations=mutations, clip=True, seed=3)
    space = {"lr": tune.uniform(0, 1)}
    tune.run(population, name="population", config=space, num_samples=6, metric="score", mode="max", scheduler=pbt, seed=2, **given)
    markup = {"x": tune.uniform(0, 1), MARKUP: tune.choice(["<b>1</b>", "<i>2</i>"])}
    tune.run(hostile, name="a<b>&c", config=markup, num_samples=20, metric=MARKUP, mode="min", seed=5, **given)
    tune.run(searched, name="without_metric", config=SPACE, num_samples=5, seed=1, **given)
    _break(root)


def _break(root: Path) -> None:
    """Beside the good ones: what is no experiment, or no whole one."""
    for name in ("junk", "pipe", "other_database", "cut", os.fsdecode(b"bytes-\xff")):
        (root / name).mkdir()
    (root / "junk" / "experiment.db").write_bytes(b"this is no database" * 1000)
    os.mkfifo(root / "pipe" / "experiment.db")
    other = sqlite3.connect(root / "other_database" / "experiment.db")
    other.execute("CREATE TABLE journal2 (x)")
    other.commit()
    other.close()
    whole = (root / "search" / "experiment.db").read_bytes()
    (root / "cut" / "experiment.db").write_bytes(whole[: len(whole) // 2])
    shutil.copy(root / "search" / "experiment.db", os.fsencode(root / os.fsdecode(b"bytes-\xff") / "experiment.db"))
    (root / "not_an_experiment").mkdir()
    (root / "a_file").write_text("")


def browser_of(root: Path, **given: Any) -> TestClient:
    """A browser that has opened the printed address."""
    client = TestClient(application(str(root), TOKEN, **given), base_url=HERE)
    assert client.get(f"/?token={TOKEN}").status_code == 200
    return client


def runs_until_stopped(folder: Path) -> subprocess.Popen[bytes]:
    """A run named "endless", of two trials that report until somebody stops them."""
    return subprocess.Popen([sys.executable, "-c", RUNS_UNTIL_STOPPED, str(folder)])
