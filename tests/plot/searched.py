"""What the experiments of these tests run."""

from __future__ import annotations

import math
from typing import Any

import fasttune as tune

HOSTILE = "</script><script>window.injected = 1</script><img src=x onerror='window.injected = 1'>&amp; $x^{2$ %{x}"

SPACE: dict[str, Any] = {
    "lr": tune.loguniform(1e-4, 1.0),
    "width": tune.randint(4, 65),
    "act": tune.choice(["relu", "tanh", "gelu"]),
    "batch": tune.choice([32, 64, 128]),
    "opt": tune.choice([{"name": "adam"}, {"name": "sgd", "momentum": tune.uniform(0.5, 0.99)}]),
    "constant": 7,
}


def loss_of(config: dict[str, Any]) -> float:
    """lr decides most, act something, width next to nothing, batch and opt nothing."""
    return (math.log10(config["lr"]) + 2.0) ** 2 + {"relu": 0.0, "tanh": 0.6, "gelu": 0.2}[config["act"]] + config["width"] / 1e4


def curve(config: dict[str, Any], step: int) -> dict[str, float]:
    return {"loss": loss_of(config) + 2.0 / step, "seconds": config["width"] / 10.0, "accuracy": 1.0 / (1.0 + loss_of(config))}


def population_curve(config: dict[str, Any], step: int) -> dict[str, float]:
    return {"score": step * (1.0 - abs(math.log10(config["lr"]) + 2.0) / 4.0)}


def hostile_trainable(config: dict[str, Any]) -> None:
    for step in range(1, 4):
        if config["kind"] == HOSTILE and step == 2:
            raise RuntimeError(HOSTILE)
        if config["x"] > 0.9:
            raise ValueError("x is too large")
        tune.report({HOSTILE: config["x"] / step, "plain": float(step)})
