"""Runs an experiment whose trials save, in a process of its own, so that a test can kill it. The argument is JSON: see
:func:`run`.

A trial notes each step whose report has returned in an append-only file, as "<x> <step>": what is there was acknowledged.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import fasttune as tune
from fasttune.schedulers import PopulationBasedTraining

FILES = 20  # of a checkpoint that is a directory; the step stands in each of them


def note(config: dict[str, Any], step: int) -> None:
    """The report of this step has returned."""
    fd = os.open(config["acks"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{config['key']} {step}\n".encode())
    os.close(fd)


def last_step(config: dict[str, Any]) -> int:
    """How many steps there are in this session: a later one makes fewer, with the same configs."""
    return int(Path(config["steps"]).read_text())


def stay(config: dict[str, Any], step: int) -> None:
    """In the middle of a save: say so and stay there, or die, if that was asked for and has not been done before."""
    if config.get("stuck_at") == step and not os.path.exists(config["stuck"]):
        Path(config["stuck"]).touch()
        if config.get("dies"):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(1000.0)


def write(config: dict[str, Any], folder: str, step: int) -> None:
    for k in range(FILES):
        Path(folder, f"part_{k}").write_text(str(step))
        if k == FILES // 2:
            stay(config, step)


def read(folder: str) -> int:
    """The step of a whole directory; AssertionError for half a one."""
    found = {Path(folder, f"part_{k}").read_text() for k in range(FILES)}
    assert len(found) == 1, f"half a checkpoint: {found}"
    return int(found.pop())


class Staying:
    """Something that may stay in the middle of being pickled."""

    def __init__(self, config: dict[str, Any], step: int) -> None:
        self.config, self.step = config, step

    def __reduce__(self) -> tuple[Any, ...]:
        stay(self.config, self.step)
        return int, (self.step,)


def dicts(config: dict[str, Any]) -> None:
    """A function that saves a dict at each step."""
    before = tune.get_checkpoint()
    step, last = 0 if before is None else before.to_dict()["step"], last_step(config)
    while step < last:
        step += 1
        saved = tune.Checkpoint.from_dict({"step": step, "staying": Staying(config, step)})
        tune.report(n=step, value=step * config["x"], checkpoint=saved)
        note(config, step)


def directories(config: dict[str, Any]) -> None:
    """A function that saves a directory at each step."""
    before = tune.get_checkpoint()
    step, last = 0, last_step(config)
    if before is not None:
        with before.as_directory() as folder:
            step = read(folder)
    while step < last:
        step += 1
        with tempfile.TemporaryDirectory() as folder:
            write(config, folder, step)
            tune.report(n=step, value=step * config["x"], checkpoint=tune.Checkpoint.from_directory(folder))
        note(config, step)


class ClassOfDicts(tune.Trainable):
    """A class that saves a dict; that a step is called says that the report before it has returned."""

    def setup(self, config: dict[str, Any]) -> None:
        self.n, self.last = 0, last_step(config)

    def step(self) -> dict[str, Any]:
        if self.iteration:
            note(self.config, self.n)
        self.n += 1
        return {"n": self.n, "value": self.n * self.config["x"], "done": self.n >= self.last}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any] | None:
        stay(self.config, self.n)
        return {"step": self.n}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.n = checkpoint["step"]


class ClassOfFiles(ClassOfDicts):
    """The same in files."""

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        write(self.config, checkpoint_dir, self.n)

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.n = read(checkpoint)


TRAINABLES: dict[str, Any] = {one.__name__: one for one in (dicts, directories, ClassOfDicts, ClassOfFiles)}


def population() -> PopulationBasedTraining:
    return PopulationBasedTraining(
        "training_iteration", perturbation_interval=5, hyperparam_mutations={"x": tune.uniform(0, 1)}, seed=2, clip=True
    )


def run(told: dict[str, Any]) -> tune.ExperimentAnalysis:
    """tune.run as a test has asked for it."""
    trainable = TRAINABLES[told["trainable"]]
    config = {"x": tune.uniform(0, 1), "key": tune.sample_from(lambda spec: f"{spec.config.x:.9f}")}
    constants = {key: told[key] for key in ("acks", "stuck", "stuck_at", "dies") if key in told}
    limit = Path(told["folder"], "steps")
    limit.write_text(str(told["steps"]))
    frequency = 1 if isinstance(trainable, type) and not told.get("population") else 0
    return tune.run(
        trainable,
        name="exp",
        storage_path=told["folder"],
        config={**config, **constants, "steps": str(limit)},
        metric="value",
        mode="max",
        num_samples=told.get("samples", 2),
        max_concurrent_trials=2,
        executor=told["executor"],
        resume="AUTO",
        stop={"training_iteration": told["last"]} if "last" in told else None,
        scheduler=population() if told.get("population") else None,
        checkpoint_config=tune.CheckpointConfig(num_to_keep=told.get("keep", 1), checkpoint_frequency=frequency),
        max_failures=told.get("max_failures", 0),
        verbose=0,
        seed=0,
    )


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
