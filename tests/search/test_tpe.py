"""The native TPE: it finds what random search does not, in every kind of space, and the same way every time."""

from __future__ import annotations

import itertools
import math
import os
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import TPESearch, create_searcher
from fasttune.search.latin_hypercube import latin_hypercube
from fasttune.space.plan import Plan

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


def test_Q4_better_than_random_in_a_curved_valley() -> None:
    space = {f"x{k}": tune.uniform(-2, 2) for k in range(5)}

    def rosenbrock(config: dict[str, Any]) -> float:
        x = list(config.values())
        return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x))

    ours = [best(space, rosenbrock, 200, seed) for seed in range(7)]
    random = [best_random(space, rosenbrock, 200, seed) for seed in range(7)]
    assert statistics.median(ours) < 0.3 * statistics.median(random)


MIXED: dict[str, Any] = {
    "lr": tune.loguniform(1e-5, 1.0),
    "layers": tune.randint(1, 9),
    "units": tune.lograndint(8, 1025),
    "drop": tune.quniform(0, 0.8, 0.1),
    "noise": tune.randn(0, 1),
    "kind": tune.choice(["a", "b", "c", "d"]),
}


def mixed(config: dict[str, Any]) -> float:
    loss = 0.1 * (math.log10(config["lr"]) + 2.5) ** 2 + 0.05 * abs(config["layers"] - 3)
    loss += 0.1 * abs(math.log2(config["units"]) - 7) + (config["drop"] - 0.3) ** 2 + 0.1 * (config["noise"] - 1) ** 2
    return loss + 0.2 * "cadb".index(config["kind"])


def test_mixed_spaces() -> None:
    ours = [best(MIXED, mixed, 100, seed) for seed in range(7)]
    random = [best_random(MIXED, mixed, 100, seed) for seed in range(7)]
    assert statistics.median(ours) < 0.5 * statistics.median(random)
    one_by_one = [best(MIXED, mixed, 100, seed, multivariate=False) for seed in range(7)]
    assert statistics.median(one_by_one) < 0.7 * statistics.median(random)


CONDITIONAL: dict[str, Any] = {
    "x": tune.uniform(0, 1),
    "model": tune.choice(
        [
            {"kind": "flat"},
            {"kind": "bowl", "a": tune.uniform(0, 1), "b": tune.uniform(0, 1), "inner": tune.choice([1, 2])},
            {"kind": "line", "c": tune.loguniform(1e-4, 1)},
        ]
    ),
}


def conditional(config: dict[str, Any]) -> float:
    model, loss = config["model"], (config["x"] - 0.7) ** 2
    if model["kind"] == "bowl":
        return loss + (model["a"] - 0.2) ** 2 + (model["b"] - 0.9) ** 2 + 0.1 * model["inner"] - 0.1
    return loss + (0.1 + 0.1 * abs(math.log10(model["c"]) + 1) if model["kind"] == "line" else 0.5)


def test_conditional_spaces() -> None:
    """Configs are whole, and the parts of the best option are learnt from the trials that had it."""
    ours = [best(CONDITIONAL, conditional, 120, seed) for seed in range(7)]
    random = [best_random(CONDITIONAL, conditional, 120, seed) for seed in range(7)]
    assert statistics.median(ours) < 0.3 * statistics.median(random)


def run_by_hand(searcher: TPESearch, n: int, at_once: int = 1) -> list[dict[str, Any]]:
    """n suggestions of which ``at_once`` are out at any time."""
    configs: list[dict[str, Any]] = []
    for number in range(n):
        config = searcher.suggest(str(number))
        assert isinstance(config, dict)
        configs.append(config)
        if number >= at_once - 1:
            ended = number - at_once + 1
            searcher.on_trial_complete(str(ended), {"loss": mixed(configs[ended])})
    return configs


def test_the_same_seed_and_results_bring_the_same_suggestions() -> None:
    made = [run_by_hand(TPESearch(MIXED, "loss", "min", seed=seed), 60) for seed in (3, 3, 4)]
    assert made[0] == made[1] != made[2]


def test_parallel_trials_are_kept_apart() -> None:
    """Suggestions made without a result in between do not gather at one place, and still learn."""
    space = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}
    searcher = TPESearch(space, "loss", "min", seed=1)
    for number in range(40):
        config: Any = searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), {"loss": (config["x"] - 0.4) ** 2 + (config["y"] - 0.4) ** 2})
    together: list[Any] = [searcher.suggest(f"p{number}") for number in range(16)]
    gaps = [math.dist(a.values(), b.values()) for a, b in itertools.combinations(together, 2)]
    assert min(gaps) > 1e-4
    assert max(gaps) > 0.1
    losses = [mixed(config) for config in run_by_hand(TPESearch(MIXED, "loss", "min", seed=2), 120, at_once=8)]
    assert statistics.median(losses[-30:]) < 0.6 * statistics.median(losses[:20])


def test_where_trials_fail_it_does_not_go_again() -> None:
    """The left half fails; the best losses are next to it."""
    searcher = TPESearch({"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}, "loss", "min", seed=0)
    failed = []
    for number in range(80):
        config: Any = searcher.suggest(str(number))
        failed.append(config["x"] < 0.5)
        searcher.on_trial_complete(str(number), {"loss": config["x"]}, error=failed[-1])
    assert sum(failed[-40:]) < 0.5 * 40
    assert sum(failed[-40:]) < 40 * statistics.mean(failed[:10]) + 8


def test_trials_that_came_farther_count_for_more() -> None:
    """Large x is stopped early, with better losses than those that go on."""
    searcher = TPESearch({"x": tune.uniform(0, 1)}, "loss", "min", seed=0)
    xs = []
    for number in range(60):
        config: Any = searcher.suggest(str(number))
        xs.append(config["x"])
        whole = config["x"] < 0.3
        result = {"loss": 1.0 - config["x"], "training_iteration": 9 if whole else 1}
        searcher.on_trial_complete(str(number), result)
    assert statistics.mean(x < 0.45 for x in xs[-30:]) > 0.7


def test_evaluated_points_warm_it_up() -> None:
    space = {"x": tune.uniform(0, 1), "n": tune.randn(0, 1)}
    searcher = TPESearch(space, "score", "max", seed=0)
    for k in range(30):
        x, n = (k % 6) / 6, k / 15 - 1
        searcher.add_evaluated_point(
            {"x": x, "n": n}, -((x - 0.5) ** 2) - (n - 0.5) ** 2, pruned=k % 5 == 4, error=k == 17
        )
    first: list[Any] = [searcher.suggest(str(number)) for number in range(8)]
    assert statistics.median(abs(config["x"] - 0.5) for config in first) < 0.2
    assert statistics.median(abs(config["n"] - 0.5) for config in first) < 0.5
    points = [{"x": 0.2, "n": 0.0}, {"x": 0.9, "n": 1.0}]
    given = TPESearch(space, "score", "max", points, [1.0, 0.0], n_initial_points=2, seed=0)
    assert [model.n_finished for model in given._models.values()] == [2]


def test_first_trials_are_a_latin_hypercube() -> None:
    points = latin_hypercube(10, 3, seed=5)
    assert all(sorted(int(10 * point[k]) for point in points) == list(range(10)) for k in range(3))
    space = {"x": tune.uniform(0, 1), "y": tune.loguniform(1e-3, 1)}
    searcher = TPESearch(space, "loss", "min", n_initial_points=8, seed=2)
    configs: list[Any] = [searcher.suggest(str(number)) for number in range(20)]  # more than the hypercube has
    assert sorted(int(8 * config["x"]) for config in configs[:8]) == list(range(8))
    assert len({config["x"] for config in configs}) == 20


def test_wrong_arguments() -> None:
    for name, value in [("n_initial_points", 0), ("n_candidates", 2.5), ("most_good", -1)]:
        with pytest.raises(ValueError, match=f"{name} must be an integer >= 1, got {value}"):
            TPESearch(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"gamma, the share of good trials, must be a number > 0 and < 1, got 1\.5"):
        TPESearch(gamma=1.5)
    with pytest.raises(ValueError, match="prior_weight must be a finite number > 0, got 0"):
        TPESearch(prior_weight=0)
    with pytest.raises(ValueError, match="TPESearch optimises one metric"):
        TPESearch(MIXED, ["a", "b"], ["min", "max"])
    assert TPESearch(MIXED, ["a", "b"], ["min", "obs"]).suggest("t")


def test_A10_a_resumed_run_goes_on_with_what_it_had_learnt(tmp_path: Path) -> None:
    """Conditional, with numbers that the core has as units, and points to try first."""
    space = {**CONDITIONAL, "n": tune.randn(0, 1)}
    point: dict[str, Any] = {"x": 0.5, "model": {"kind": "bowl", "a": 0.1, "b": 0.2, "inner": 2}, "n": 0.0}

    def run(n: int, name: str, **more: Any) -> list[dict[str, Any]]:
        analysis = tune.run(
            lambda config: tune.report({"loss": conditional(config)}),
            config=space,
            search_alg=TPESearch(points_to_evaluate=[point], seed=6),
            num_samples=n,
            metric="loss",
            mode="min",
            executor="inline",
            resources_per_trial={"cpu": len(os.sched_getaffinity(0))},
            storage_path=str(tmp_path),
            name=name,
            verbose=0,
            **more,
        )
        return [trial.config for trial in analysis.trials]

    run(20, "halves")
    assert run(40, "halves", resume=True) == run(40, "whole")
