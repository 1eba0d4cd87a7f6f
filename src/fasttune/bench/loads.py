"""What is run: four loads, each the smallest program that shows one thing, and the schedulers they run under.

``trials``      trials that report once and end: what a trial costs
``reports``     one trial per CPU that reports in a tight loop: what a report costs
``curves``      trials that report up to 81 times and are judged by a scheduler
``population``  16 class Trainables with a checkpoint of 1 KB in memory, which copy each other every 5 steps

Their own work is next to nothing, so what is measured is fasttune.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import fasttune as tune
from fasttune.schedulers.base import FIFOScheduler, TrialScheduler
from fasttune.space.domains import Domain

REPORTS = 81  # of a curve, as in the HyperBand paper's table 1
POPULATION = 16
CHECKPOINT_BYTES = 1024

# A scheduler is made with those of these that its constructor takes; everything else is its default.
STANDARD: dict[str, Any] = {
    "time_attr": "training_iteration",
    "max_t": REPORTS,
    "reduction_factor": 3,
    "grace_period": 1,
    "n": REPORTS,  # candidates of one successive halving; there are as many of those as trials for them
    "perturbation_interval": 5,
    "hyperparam_mutations": {"a": [0.1, 0.3, 0.5, 0.7, 0.9], "b": [0.1, 0.3, 0.5, 0.7, 0.9]},
    "hyperparam_bounds": {"a": [0.0, 1.0], "b": [0.0, 1.0]},
    "log_config": False,
    "seed": 0,
}
NOT_MEASURED = {
    "HyperBandForBOHB": "it decides together with a searcher that learns from budgets",
    "PopulationBasedTrainingReplay": "it follows one trial of an earlier run",
}


def space() -> dict[str, Domain]:
    """Three numbers, as small searches have them."""
    return {"a": tune.uniform(0.0, 1.0), "b": tune.uniform(0.0, 1.0), "x": tune.uniform(-10.0, 10.0)}


def height(config: dict[str, Any]) -> float:
    """Where a trial's curve ends: a parabola, so that some trials are better than others."""
    return float(config["a"] * config["x"] ** 2 + config["b"])


def one_report(config: dict[str, Any]) -> None:
    """The shortest trial there is."""
    tune.report(score=config["a"] * config["x"] ** 2 + config["b"])


@tune.vectorized
def one_column(configs: dict[str, Any]) -> dict[str, Any]:
    """The same of many trials in one call."""
    return {"score": configs["a"] * configs["x"] ** 2 + configs["b"]}


async def one_awaited_report(config: dict[str, Any]) -> None:
    """The same, as a coroutine."""
    one_report(config)


def curve(config: dict[str, Any]) -> None:
    """A learning curve that falls towards the trial's height."""
    score, reports = height(config), config["reports"]
    for epoch in range(1, reports + 1):
        tune.report(score=score * (1.0 + 1.0 / epoch))


def timed_curve(config: dict[str, Any]) -> None:
    """As ``curve``; each report says how many seconds the one before it took."""
    score, reports, clock, waited = height(config), config["reports"], time.perf_counter, 0.0
    for epoch in range(1, reports + 1):
        began = clock()
        tune.report(score=score * (1.0 + 1.0 / epoch), waited=waited)
        waited = clock() - began


class OneOfMany(tune.Trainable):
    """One of a population: its step is an addition, its state a kilobyte."""

    def setup(self, config: dict[str, Any]) -> None:
        self.score = 0.0
        self.weights = bytes(CHECKPOINT_BYTES)

    def step(self) -> dict[str, Any]:
        self.score += self.config["a"] - self.config["b"]
        return {"score": self.score}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"score": self.score, "weights": self.weights}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.score, self.weights = checkpoint["score"], checkpoint["weights"]


# ---- schedulers


def measurable() -> dict[str, type[TrialScheduler]]:
    """Label -> class of every registered scheduler that a load fits, one label for each class."""
    from fasttune import schedulers

    found: dict[str, type[TrialScheduler]] = {}
    for name in sorted(schedulers.__all__):
        kind = getattr(schedulers, name)
        if isinstance(kind, type) and issubclass(kind, TrialScheduler) and kind not in found.values():
            found[name.removesuffix("Scheduler") or name] = kind
    return {
        label: kind
        for label, kind in found.items()
        if kind is not TrialScheduler and kind.__name__ not in NOT_MEASURED and not wants(kind)
    }


def wants(kind: type[TrialScheduler]) -> list[str]:
    """The arguments that the class needs and that no load has."""
    return [
        name
        for name, parameter in _parameters(kind).items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and name not in STANDARD
    ]


def standard_maker(kind: type[TrialScheduler], reports: int = REPORTS) -> Callable[[], TrialScheduler]:
    """Makes the scheduler as it is measured; ``reports`` is where its trials end."""
    given = {**STANDARD, "max_t": reports}
    chosen = {name: value for name, value in given.items() if name in _parameters(kind)}
    return lambda: kind(**chosen)


def is_population(kind: type[TrialScheduler]) -> bool:
    """Whether its trials copy each other, so that they need checkpoints."""
    return "perturbation_interval" in _parameters(kind)


def _parameters(kind: type[TrialScheduler]) -> dict[str, Any]:
    import inspect

    return dict(inspect.signature(kind).parameters)


__all__ = ["FIFOScheduler", "OneOfMany", "curve", "is_population", "measurable", "one_report", "standard_maker", "timed_curve"]
