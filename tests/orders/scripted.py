"""Small schedulers that give orders, and trainables to give them about."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import fasttune as tune
from fasttune.schedulers.base import Change, End, Order, Save, TrialScheduler


class Counting(tune.Trainable):
    """Adds ``rate`` to a score in each step; done at ``last``."""

    def setup(self, config: dict[str, Any]) -> None:
        self.score = 0.0
        self.taken = config

    def step(self) -> dict[str, Any]:
        self.score += self.taken["rate"]
        return {"score": self.score, "rate": self.taken["rate"], "done": self.iteration + 1 >= self.taken["last"]}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        with open(os.path.join(checkpoint_dir, "score.json"), "w") as file:
            json.dump(self.score, file)

    def load_checkpoint(self, checkpoint: Any) -> None:
        with open(os.path.join(checkpoint, "score.json")) as file:
            self.score = json.load(file)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.taken = new_config
        self.score = 0.0
        return True


def counting(config: dict[str, Any]) -> None:
    """The same as a function that reports a checkpoint with every step."""
    score, first = 0.0, 1
    found = tune.get_checkpoint()
    if found is not None:
        with found.as_directory() as folder, open(os.path.join(folder, "score.json")) as file:
            score, first = json.load(file)
    for step in range(first, config["last"] + 1):
        score += config["rate"]
        with tune.checkpoint_dir(step) as folder, open(os.path.join(folder, "score.json"), "w") as file:
            json.dump((score, step + 1), file)
        tune.report(score=score, rate=config["rate"])


def plain(config: dict[str, Any]) -> None:
    """The same without checkpoints: all there is lives in local variables."""
    score = 0.0
    for _ in range(config["last"]):
        score += config["rate"]
        tune.report(score=score, rate=config["rate"])


class Scripted(TrialScheduler):
    """``decide(scheduler, state, trial, step)`` answers each report; it may put orders into ``scheduler.given``."""

    def __init__(self, decide: Callable[[Any, Any, Any, int], str | None], every: int = 1) -> None:
        super().__init__()
        self.decide = decide
        self.every = every
        self.given: list[Order] = []
        self.heard: list[tuple[str, int, int]] = []
        self.next_step: dict[int, int] = {}
        self.choose: Callable[[Any], Any] | None = None

    def ask_from(self, trial: Any) -> int:
        return self.next_step.get(trial.index, self.every)

    def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
        step = result["training_iteration"]
        self.heard.append(("result", trial.index, step))
        self.next_step[trial.index] = step + self.every
        return self.decide(self, state, trial, step) or self.CONTINUE

    def on_trial_complete(self, state: Any, trial: Any, result: dict[str, Any]) -> None:
        self.heard.append(("complete", trial.index, result["training_iteration"]))

    def on_trial_remove(self, state: Any, trial: Any) -> None:
        self.heard.append(("remove", trial.index, 0))

    def on_trial_error(self, state: Any, trial: Any) -> None:
        self.heard.append(("error", trial.index, 0))

    def choose_trial_to_run(self, state: Any) -> Any:
        return self.choose(state) if self.choose is not None else super().choose_trial_to_run(state)

    def orders(self) -> list[Order]:
        given, self.given = self.given, []
        return given


__all__ = ["Change", "Counting", "End", "Save", "Scripted", "counting", "plain"]
