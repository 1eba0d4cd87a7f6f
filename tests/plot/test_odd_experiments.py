"""Experiments that a picture is not made for: they are drawn all the same, or the error says why not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import fasttune as tune
from fasttune import plot
from fasttune.plot.data import ExperimentData

REASONS = ("nothing to draw", "no rungs", "no lineage", "needs at least", "importances need")


class Thing:
    def __str__(self) -> str:
        return "a thing\n<b>"


def x_alone(config: dict[str, Any], step: int) -> float:
    return float(config["x"])


def far(config: dict[str, Any], step: int) -> float:
    x = config["x"]
    return math.inf if x < 0.2 else math.nan if x < 0.3 else -math.inf if x < 0.4 else 10.0 ** (600 * x - 400)


UNIFORM = tune.uniform(0, 1)
CASES: dict[str, tuple[Callable[[dict[str, Any], int], float], dict[str, Any], int]] = {
    "one trial": (x_alone, {"x": UNIFORM}, 1),
    "no parameters": (lambda config, step: 1.0 / step, {}, 5),
    "all equal": (lambda config, step: 2.0, {"x": UNIFORM, "y": tune.choice([1, 2])}, 12),
    "infinite and far apart": (far, {"x": UNIFORM, "y": tune.loguniform(1e-300, 1e300)}, 30),
    "values of all kinds": (
        lambda config, step: float(len(str(config))),
        {"o": tune.choice([Thing(), None, [1, 2], (3,), {"z": 1}, True, 2.5]), "l": [UNIFORM, tune.randint(1, 5)], "n": tune.randn()},
        25,
    ),
    "long names": (lambda config, step: config["x" * 200], {"x" * 200: UNIFORM, "y": tune.choice(["z" * 300, "a\nb"])}, 12),
    "hundreds of options": (x_alone, {"x": tune.choice(list(range(500))), "s": tune.choice([f"s{k}" for k in range(200)])}, 60),
    "many parameters": (lambda config, step: config["p0"], {f"p{k}": UNIFORM for k in range(40)}, 12),
}


QUICK = ("one trial", "all equal", "infinite and far apart", "values of all kinds")


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES])
@pytest.mark.filterwarnings("error")
def test_it_is_drawn_or_the_error_says_why(name: str) -> None:
    curve, space, n = CASES[name]
    reports = {"num_samples": n, "metric": "loss", "mode": "min", "steps": 3, "workers": 2}
    experiment = ExperimentData(tune.simulate(lambda config, step: {"loss": curve(config, step), "step": step}, space, **reports))
    why: dict[str, str] = {}
    for picture, function in plot.PICTURES.items():
        more = {"metrics": {"loss": "min", "step": "min"}} if picture in ("pareto", "hypervolume") else {}
        try:
            figure = function(experiment, **more)
        except ValueError as error:
            why[picture] = str(error)
        else:
            assert figure.to_json()
    assert {picture: said for picture, said in why.items() if not any(reason in said for reason in REASONS)} == {}
    assert len(why) <= 7
