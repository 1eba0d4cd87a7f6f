"""The native TPE: it finds what random search does not, in every kind of space, and the same way every time."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import fasttune as tune
from fasttune.search import TPESearch, create_searcher
from fasttune.search.plan import Plan

Objective = Callable[[dict[str, Any]], float]


def best(space: Mapping[str, Any], objective: Objective, n: int, seed: int, **more: Any) -> float:
    """The least loss of n trials, one after the other."""
    searcher = TPESearch(space, "loss", "min", seed=seed, **more)
    losses = []
    for number in range(n):
        config = searcher.suggest(str(number))
        assert isinstance(config, dict)
        losses.append(objective(config))
        searcher.on_trial_complete(str(number), {"loss": losses[-1]})
    return min(losses)


def best_random(space: Mapping[str, Any], objective: Objective, n: int, seed: int) -> float:
    plan = Plan(space, seed)
    return min(objective(plan.config(number)) for number in range(n))


def test_it_is_known_by_name() -> None:
    assert isinstance(create_searcher("tpe", seed=1), TPESearch)


def test_Q4_better_than_random_on_a_bowl() -> None:
    space = {f"x{k}": tune.uniform(-5, 5) for k in range(5)}

    def bowl(config: dict[str, Any]) -> float:
        return sum((value - 1.0) ** 2 for value in config.values())

    ours = [best(space, bowl, 100, seed) for seed in range(5)]
    random = [best_random(space, bowl, 100, seed) for seed in range(5)]
    assert statistics.median(ours) < 0.3 * statistics.median(random)
