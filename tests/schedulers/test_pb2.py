"""PB2: bounds, types, seeds, and that the bandit goes where the rewards are."""

from __future__ import annotations

import builtins
import importlib.util
import itertools
import math
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from fasttune.error import TuneError
from fasttune.schedulers import PB2
from fasttune.schedulers.bandit import (
    Process,
    best_window,
    distances,
    fit,
    kernel,
    next_point,
    noise,
    slope,
    unlikelihood,
)
from fasttune.space.domains import Float

sys.path.insert(0, str(Path(__file__).parent))
from stage import Stage

BOUNDS = {"lr": [0.1, 1.0], "net": {"width": [8, 64]}}


def pb2(**more: Any) -> PB2:
    given: dict[str, Any] = {"time_attr": "training_iteration", "perturbation_interval": 1, "hyperparam_bounds": BOUNDS}
    return PB2(**{**given, **more})


def grown(seed: int = 0, steps: int = 12, n: int = 4, **more: Any) -> tuple[Stage, list[Any]]:
    """A population whose score grows by the learning rate at every step; what it changed to is in ``changes``."""
    stage = Stage(pb2(seed=seed, **more))
    trials = stage.add(n)
    rng = random.Random(1)
    for trial in trials:
        trial.config = {"lr": rng.uniform(0.1, 1.0), "net": {"width": rng.randint(8, 64)}, "other": "kept"}
    scores = [0.0] * n
    for t in range(1, steps + 1):
        stage.choose_all()
        for trial in trials:
            copied = len(stage.changes)
            scores[trial.index] += trial.config["lr"]
            stage.report(trial, training_iteration=t, score=scores[trial.index])
            if len(stage.changes) > copied:
                scores[trial.index] = stage.changes[-1].donor.last_result["score"]
            stage.choose_all()
    return stage, trials


def test_C11_bounds_and_types_are_kept():
    stage, _ = grown()
    assert len(stage.changes) >= 3
    for change in stage.changes:
        assert 0.1 <= change.config["lr"] <= 1.0
        assert type(change.config["net"]["width"]) is int
        assert 8 <= change.config["net"]["width"] <= 64
        assert change.config["other"] == "kept"


def test_C11_equal_seeds_explore_equally():
    first, second = ([change.config for change in grown(5, steps=6)[0].changes] for _ in range(2))
    assert first
    assert first == second
    points = [pb2()._choose(1.0, 0.0, random.Random(seed)) for seed in (5, 5, 6)]  # before anything is known
    assert points[0] == points[1] != points[2]


def test_C11_it_explores_where_the_rewards_are():
    stage, _ = grown(steps=24)
    late = [change.config["lr"] for change in stage.changes[-4:]]
    assert sum(late) / len(late) > 0.8


def test_C11_scores_that_are_not_finite_teach_nothing():
    stage = Stage(pb2())
    trials = stage.add(4, lr=0.5, net={"width": 8})
    for t in range(1, 9):
        stage.choose_all()
        for trial in trials:
            score = [math.nan, math.inf, -math.inf, 1.0][(trial.index + t) % 4]
            stage.report(trial, training_iteration=t, score=score)
            stage.choose_all()
    assert all(0.1 <= change.config["lr"] <= 1.0 for change in stage.changes)


def test_C11_what_the_space_does_not_name_is_drawn_within_the_bounds():
    whole = pb2().complete_space({"net": {"depth": 3}})
    assert isinstance(whole["lr"], Float)
    assert (whole["lr"].lower, whole["lr"].upper) == (0.1, 1.0)
    assert whole["net"]["depth"] == 3
    assert 8 <= whole["net"]["width"].sample(random_state=1) <= 64


@pytest.mark.parametrize(
    ("bounds", "error"),
    [
        (None, TuneError),
        ({}, TuneError),
        ({"x": [1]}, ValueError),
        ({"x": [2, 1]}, ValueError),
        ({"x": [0, math.inf]}, ValueError),
        ({"x": ["a", "b"]}, ValueError),
        ({"x": {"y": 3}}, ValueError),
    ],
)
def test_C11_bounds_that_cannot_be_are_errors(bounds, error):
    with pytest.raises(error, match="hyperparam_bounds"):
        pb2(hyperparam_bounds=bounds)
    assert pb2(hyperparam_bounds={"x": [1, 1]})


def test_C11_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"fasttune\[scipy\]"):
        pb2()


def test_C11_scipy_is_not_imported_before_it_is_needed(monkeypatch):
    imported = []
    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest: imported.append(name) or original(name, *rest))
    pb2()
    assert not [name for name in imported if name.startswith(("scipy", "numpy"))]


# ---- the bandit alone


def test_the_bandit_finds_the_top_of_a_smooth_hill():
    rng = random.Random(0)
    changes = [(float(i // 4), 0.0, x, -((x - 3.0) ** 2)) for i, x in enumerate(rng.uniform(0, 10) for _ in range(60))]
    (x,) = next_point(changes, [(0.0, 10.0)], [], 15.0, 0.0, 1.0, seed=1)
    assert abs(x - 3.0) < 1.0


def test_points_of_one_round_are_spread():
    changes = [(1.0, 0.0, 0.2, 1.0), (1.0, 0.0, 0.8, 1.0), (2.0, 0.0, 0.2, 1.1)]
    chosen: list[tuple[float, ...]] = []
    for seed in range(4):
        chosen.append(next_point(changes, [(0.0, 1.0)], chosen, 3.0, 0.0, 1.0, seed))
    places = sorted(point[0] for point in chosen)
    assert min(b - a for a, b in itertools.pairwise(places)) > 0.01


@pytest.mark.parametrize("seed", range(5))
def test_the_likelihood_and_its_slopes_are_those_of_the_formula(seed):
    import numpy as np

    rng = np.random.default_rng(seed)
    t, x, y = np.sort(rng.random(40)) * 10, rng.random((40, 3)), rng.standard_normal(40)
    given = *distances(t, x, t, x), y
    at = rng.uniform([-2, -2, -4, -4], [1, 1, 1, 0])
    covariance = kernel(at, t, x, t, x) + noise(at) * np.eye(40)
    wanted = 0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(covariance)[1] + 40 * np.log(2 * np.pi))
    value, slopes = slope(at, *given)
    assert value == pytest.approx(wanted / 40) == pytest.approx(unlikelihood(at, *given))
    small = 1e-5 * np.eye(4)
    differences = [(unlikelihood(at + d, *given) - unlikelihood(at - d, *given)) / 2e-5 for d in small]
    assert slopes == pytest.approx(differences, abs=1e-6)


def test_the_likeliest_parameters_are_likelier_and_the_window_is_one_of_its_sizes():
    import numpy as np

    rng = np.random.default_rng(0)
    t = np.arange(450) / 4
    x = rng.random((450, 2))
    y = np.sin(5 * x[:, 0]) + 0.1 * rng.standard_normal(450)
    fitted = fit(t[-60:], x[-60:], y[-60:])
    given = *distances(t[-60:], x[-60:], t[-60:], x[-60:]), y[-60:]
    assert unlikelihood(fitted, *given) < unlikelihood((0, 0, -2.2, -3), *given)
    assert best_window(fitted, t, x, y) in (200, 300, 400, 450)
    assert best_window(fitted, t[:50], x[:50], y[:50]) == 50
    assert len(Process(t[:30], x[:30], y[:30]).y) == 30
