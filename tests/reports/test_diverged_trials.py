"""A trial whose metric is NaN: which schedulers stop it, as docs/schedulers.md says."""

from __future__ import annotations

import math
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import ASHAScheduler, MedianStoppingRule, SuccessiveHalvingScheduler


def diverge(config: dict[str, Any]) -> None:
    for step in range(27):
        tune.report(loss=math.nan if config["x"] == 4 else config["x"] + step)


def has_diverged(trial_id: str, result: dict[str, Any]) -> bool:
    return math.isnan(result["loss"])


def steps_of_the_diverged(scheduler: Any, stop: Any = None) -> int:
    analysis = tune.run(
        diverge, config={"x": tune.grid_search([0, 1, 2, 3, 4])}, scheduler=scheduler, stop=stop, metric="loss", mode="min",
        executor="inline", verbose=0,
    )  # fmt: skip
    steps: int = analysis.trials[4].last_result["training_iteration"]
    return steps


@pytest.mark.parametrize(
    ("scheduler", "stops"),
    [
        (ASHAScheduler(max_t=27, reduction_factor=3), False),
        (ASHAScheduler(max_t=27, reduction_factor=3, rule="rank"), True),
        (MedianStoppingRule(time_attr="training_iteration", grace_period=1), False),
        (SuccessiveHalvingScheduler(n=5, max_t=27), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_which_schedulers_stop_a_trial_that_has_diverged(scheduler: Any, stops: bool) -> None:
    """A trial that reported NaN from its first step on was trained to the end, and the docs did not say so."""
    assert (steps_of_the_diverged(scheduler) < 27) is stops


def test_a_stop_function_ends_it_at_once() -> None:
    """The way out that the docs name works beside every scheduler."""
    assert steps_of_the_diverged(ASHAScheduler(max_t=27, reduction_factor=3), stop=has_diverged) == 1
