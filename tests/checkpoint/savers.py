"""Trainables that count steps, in each form of checkpoint that there is. A checkpoint holds the steps that made it.

Config: ``steps`` how many; ``scores`` (optional) what each step reports as ``score``; ``fails`` (optional) steps before
which a trial fails, once each, with ``marker`` as the path that remembers it; ``every`` (optional) how often a function
saves.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import fasttune as tune

Steps = list[int]


def fail_once(config: dict[str, Any], step: int) -> None:
    """Raises before a step at which the trial is to fail and has not yet."""
    marker = Path(f"{config.get('marker', '')}_{step}")
    if step in config.get("fails", ()) and not marker.exists():
        marker.touch()
        raise RuntimeError(f"fails before step {step}, once")


def result(config: dict[str, Any], steps: Steps) -> dict[str, Any]:
    """What a step reports."""
    found: dict[str, Any] = {"n": len(steps), "sum": sum(steps)}
    if "scores" in config:
        score = config["scores"][len(steps) - 1]
        found |= {} if score is None else {"score": score, "deep": {"score": score}}
    return found


def is_due(config: dict[str, Any], steps: Steps) -> bool:
    return len(steps) % config.get("every", 1) == 0


def as_dict(config: dict[str, Any]) -> None:
    """A function that reports dicts."""
    before = tune.get_checkpoint()
    steps: Steps = [] if before is None else before.to_dict()["steps"]
    while len(steps) < config["steps"]:
        fail_once(config, len(steps) + 1)
        steps.append(len(steps) + 1)
        saved = tune.Checkpoint.from_dict({"steps": steps}) if is_due(config, steps) else None
        tune.report(result(config, steps), checkpoint=saved)


def as_bytes(config: dict[str, Any]) -> None:
    """A function that reports bytes."""
    before = tune.get_checkpoint()
    steps: Steps = [] if before is None else list(before.to_bytes())
    while len(steps) < config["steps"]:
        fail_once(config, len(steps) + 1)
        steps.append(len(steps) + 1)
        saved = tune.Checkpoint.from_bytes(bytes(steps)) if is_due(config, steps) else None
        tune.report(result(config, steps), checkpoint=saved)


def as_directory(config: dict[str, Any]) -> None:
    """A function that reports directories."""
    before = tune.get_checkpoint()
    steps: Steps = []
    if before is not None:
        with before.as_directory() as folder:
            steps = json.loads(Path(folder, "steps.json").read_text())
    while len(steps) < config["steps"]:
        fail_once(config, len(steps) + 1)
        steps.append(len(steps) + 1)
        if not is_due(config, steps):
            tune.report(result(config, steps))
            continue
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "steps.json").write_text(json.dumps(steps))
            tune.report(result(config, steps), checkpoint=tune.Checkpoint.from_directory(folder))


def as_large_dict(config: dict[str, Any]) -> None:
    """A function that reports dicts of more than 64 KB, which become directories."""
    before = tune.get_checkpoint()
    steps: Steps = [] if before is None else before.to_dict()["steps"]
    while len(steps) < config["steps"]:
        fail_once(config, len(steps) + 1)
        steps.append(len(steps) + 1)
        saved = {"steps": steps, "ballast": bytes(100_000)}
        tune.report(
            result(config, steps), checkpoint=tune.Checkpoint.from_dict(saved) if is_due(config, steps) else None
        )


class Counts(tune.Trainable):
    """A class whose save returns a dict."""

    def setup(self, config: dict[str, Any]) -> None:
        self.steps: Steps = []

    def step(self) -> dict[str, Any]:
        fail_once(self.config, len(self.steps) + 1)
        self.steps = [*self.steps, len(self.steps) + 1]
        return {**result(self.config, self.steps), "done": len(self.steps) == self.config["steps"]}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any] | None:
        return {"steps": self.steps}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.steps = list(checkpoint["steps"])


class CountsInFiles(Counts):
    """A class that writes files."""

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "steps.json").write_text(json.dumps(self.steps))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.steps = json.loads(Path(checkpoint, "steps.json").read_text())


FUNCTIONS = [as_dict, as_bytes, as_directory, as_large_dict]
CLASSES = [Counts, CountsInFiles]
IN_MEMORY = (as_dict, as_bytes, Counts)


def steps_in(checkpoint: tune.Checkpoint) -> Steps:
    """The steps that a checkpoint of any of these trainables holds."""
    with checkpoint.as_directory() as folder:
        if (file := Path(folder, "steps.json")).exists():
            return list(json.loads(file.read_text()))
    data = checkpoint.to_bytes()
    return list(checkpoint.to_dict()["steps"]) if data[:1] == b"\x80" else list(data)


def saved_steps(analysis: tune.ExperimentAnalysis) -> list[list[int]]:
    """How many steps each kept checkpoint of each trial holds; checks that they are the first ones, each whole."""
    found = []
    for trial in analysis.trials:
        source: Any = trial._source
        one = []
        for saved, _ in source.checkpoints(trial.index):
            steps = steps_in(tune.Checkpoint(saved) if isinstance(saved, str) else saved)
            assert steps == list(range(1, len(steps) + 1))
            one.append(len(steps))
        found.append(one)
    return found


def folders(experiment: str | os.PathLike[str]) -> dict[str, list[str]]:
    """The checkpoint directories on disk by trial folder; fails when something unfinished or dropped is left."""
    found: dict[str, list[str]] = {}
    for folder, names, _ in os.walk(experiment):
        left = [name for name in names if name == ".writing" or name.startswith(".dropped")]
        assert not left, f"{left} left in {folder}"
        if saved := sorted(name for name in names if name.startswith("checkpoint_")):
            found[os.path.basename(folder)] = saved
    return found


def stored(experiment: str | os.PathLike[str]) -> list[tuple[int, int]]:
    """(trial, step) of the checkpoints in the table of experiment.db."""
    connection = sqlite3.connect(os.path.join(experiment, "experiment.db"))
    try:
        rows = connection.execute("SELECT trial, step FROM checkpoints ORDER BY trial, step")
        return [(trial, place & 0xFFFFFFFF) for trial, place in rows]  # above it stands the attempt
    finally:
        connection.close()
