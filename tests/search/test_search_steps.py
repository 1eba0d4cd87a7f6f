"""Losses that were told after different numbers of steps: the early ones do not lead the search."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import create_searcher
from fasttune.search.steps import comparable


def test_of_equal_steps_losses_stay_as_they_are() -> None:
    losses = [3.0, math.nan, 1.0, math.inf]
    assert comparable(losses, [9, 9, 9, 9], 2) is not losses
    assert comparable(losses, [9, 9, 9, 9], 2)[2:] == losses[2:]
    assert comparable([], [], 1) == []


def test_what_was_told_too_early_is_no_better_than_the_middle_of_the_others() -> None:
    losses = [0.5, 0.7, 0.6, 0.1, 0.9]
    steps = [81, 81, 27, 1, 3]
    assert comparable(losses, steps, 2) == [0.5, 0.7, 0.7, 0.7, 0.9]
    assert comparable(losses, steps, 3) == [0.5, 0.7, 0.6, 0.6, 0.9]
    assert comparable(losses, steps, 9) == losses  # there are not so many: all count


def test_a_step_that_nobody_said_counts_as_the_last_one() -> None:
    assert comparable([1.0, 2.0, 0.5], [0, 9, 1], 2) == [1.0, 2.0, 2.0]


def test_failures_say_nothing_about_steps() -> None:
    found = comparable([math.nan, math.nan, 2.0, 1.0], [81, 81, 3, 1], 1)
    assert found[2:] == [2.0, 2.0]
    assert comparable([math.nan, math.inf], [3, 1], 1)[1] == math.inf


def test_against_a_slow_twin() -> None:
    draw = random.Random(4)
    for _ in range(300):
        n, enough = draw.randint(1, 12), draw.randint(1, 6)
        losses = [draw.choice([math.nan, draw.random()]) for _ in range(n)]
        steps = [draw.choice([0, 1, 3, 9]) for _ in range(n)]
        found = comparable(losses, steps, enough)
        real = [step or max(steps) for step in steps]
        usable = [k for k in range(n) if math.isfinite(losses[k])]
        far = [least for least in set(real) if sum(real[k] >= least for k in usable) >= min(enough, len(usable))]
        for k in usable:
            if real[k] >= max(far):
                assert found[k] == losses[k]
            else:
                assert found[k] >= losses[k]
                better = sum(losses[j] < found[k] for j in usable if real[j] >= max(far))
                assert better >= sum(real[j] >= max(far) for j in usable) // 2 or found[k] == losses[k]


@pytest.mark.parametrize("name", ["gp", "tpe", "evolution", "cmaes"])
def test_a_search_is_not_led_by_losses_of_the_first_step(name: str) -> None:
    """After one step the configs far from the optimum look best, as with a learning rate that is too large."""
    searcher = create_searcher(name, space={f"x{k}": tune.uniform(0, 1) for k in range(3)}, metric="loss", mode="min", seed=1)

    def loss(config: dict[str, Any], step: int) -> float:
        far = sum((value - 0.2) ** 2 for value in config.values())
        return far + 1.0 if step == 27 else 0.5 - 0.1 * far

    late: list[float] = []
    for number in range(160):
        config = searcher.suggest(f"t{number}")
        assert isinstance(config, dict)
        step = 27 if number % 2 else 1
        searcher.on_trial_complete(f"t{number}", {"loss": loss(config, step), "training_iteration": step})
        if number >= 120:
            late.append(loss(config, 27))
    drawn = random.Random(1)
    anywhere = [loss({k: drawn.random() for k in "abc"}, 27) for _ in range(1000)]
    assert sorted(late)[len(late) // 2] < sorted(anywhere)[len(anywhere) // 3]
