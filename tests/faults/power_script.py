"""The run that power_laboratory.py records, and the same call that goes on with it. The argument is JSON: see :func:`run`.

What a trial reports is a function of its config and step, and bears a number that no other report has. A trial notes it
in the file of truth before it reports (made) and when ``report()`` has returned (acknowledged).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from typing import Any

import fasttune as tune
from fasttune.schedulers import ASHAScheduler, PopulationBasedTraining, TrialScheduler

NAME = "cut"
TRUTH = "POWER_TRUTH"  # file of what was reported
PAUSE = "POWER_PAUSE_S"  # between two reports
SILENCE = "POWER_SILENCE_S"  # behind the last one
STEPS = {"random": 5, "asha": 9, "searcher": 4, "population": 12}
FIRST = 0  # digest before the first step of a population's member


class Witness:
    """Notes what one trial makes and what is acknowledged."""

    def __init__(self) -> None:
        self._fd = os.open(os.environ[TRUTH], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._pause = float(os.environ.get(PAUSE, "0"))
        self._next = int.from_bytes(os.urandom(5), "little") << 12
        self._trial = tune.get_trial_id()

    def report(self, step: int, x: float, before: int, checkpoint: tune.Checkpoint | None = None, /, **metrics: Any) -> None:
        number = self._next
        self._next += 1
        note = json.dumps([self._trial, step, number, x, before, metrics["loss"], metrics.get("digest", 0)])
        self._write("made " + note)
        time.sleep(self._pause)
        tune.report({**metrics, "n": step, "number": number}, checkpoint=checkpoint)
        self._write("acknowledged " + note)

    def _write(self, text: str) -> None:
        os.write(self._fd, f"{text}\n".encode())

    def close(self) -> None:
        os.close(self._fd)


def loss_of(x: float, step: int) -> float:
    """What a trial with this config reports at this step."""
    return (x - 0.3) ** 2 + 1.0 / step + math.sin(1000.0 * x + step) / 64


def digest_of(before: int, x: float, step: int) -> int:
    """The state of a population's member after one more step."""
    told = hashlib.blake2b(f"{before} {x!r} {step}".encode(), digest_size=6).digest()
    return int.from_bytes(told, "little")


def plain(config: dict[str, Any]) -> None:
    """A few reports of numbers, the last one with a text."""
    witness = Witness()
    try:
        x, steps = config["x"], config["steps"]
        for step in range(1, steps + 1):
            more = {"word": f"last of {steps}"} if step == steps else {}
            witness.report(step, x, 0, loss=loss_of(x, step), **more)
        time.sleep(float(os.environ.get(SILENCE, "0")))
    finally:
        witness.close()


def member(config: dict[str, Any]) -> None:
    """Goes on from its checkpoint, or another one's; each step depends on all before it."""
    witness = Witness()
    try:
        found = tune.get_checkpoint()
        state = {"n": 0, "digest": FIRST} if found is None else found.to_dict()
        x = config["x"]
        for step in range(state["n"] + 1, config["steps"] + 1):
            before, digest = state["digest"], digest_of(state["digest"], x, step)
            state = {"n": step, "digest": digest, "weights": digest.to_bytes(6, "little") * config["weights"]}
            saved = tune.Checkpoint.from_dict(state)
            witness.report(step, x, before, saved, loss=loss_of(x, step), digest=digest)
    finally:
        witness.close()


def scheduler_of(kind: str) -> TrialScheduler | None:
    if kind == "asha":
        return ASHAScheduler(max_t=STEPS["asha"], reduction_factor=3)
    if kind != "population":
        return None
    return PopulationBasedTraining(
        "training_iteration",
        perturbation_interval=3,
        hyperparam_mutations={"x": tune.uniform(0, 1)},
        clip=True,
        seed=3,
    )


def run(told: dict[str, Any]) -> tune.ExperimentAnalysis:
    """The experiment of one kind in a folder: it begins, or goes on with what is there."""
    kind = told["kind"]
    more: dict[str, Any] = {"durability": told["durability"]} if told.get("durability") else {}
    if kind == "population":
        more["checkpoint_config"] = tune.CheckpointConfig(num_to_keep=2)
    return tune.run(
        member if kind == "population" else plain,
        name=NAME,
        storage_path=told["folder"],
        config={"x": tune.uniform(0, 1), "steps": STEPS[kind], "weights": told.get("weights", 40)},
        num_samples=told["samples"],
        metric="loss",
        mode="min",
        seed=told.get("seed", 1),
        verbose=0,
        executor=told["executor"],
        max_concurrent_trials=told.get("workers", 2),
        resources_per_trial={"cpu": 0.25},
        search_alg="tpe" if kind == "searcher" else None,
        scheduler=scheduler_of(kind),
        raise_on_failed_trial=False,
        resume="AUTO",
        **more,
    )


def shrink(told: dict[str, Any]) -> None:
    """Smaller measures than a real run has, so that a short one comes around them: bytes of the ring, seconds after which
    the database's log is brought into it."""
    from fasttune.executors import inline
    from fasttune.storage import sqlite

    if told.get("ring"):
        inline.RING_BYTES = told["ring"]
    if told.get("flush_s"):
        sqlite.FLUSH_S, sqlite.FLUSH_SHARE = told["flush_s"], 1.0


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    shrink(asked)
    run(asked)
