"""Population based training: a decision at sizes up to 10^6, and whole runs of 16 trials with cheap steps.

The runs' step takes about 10 us and their checkpoint 1 KB; a perturbation comes every 5 steps. A figure is the time of
16 trials of STEPS steps each.
"""

from __future__ import annotations

import random
from array import array
from typing import Any

import pytest

import fasttune as tune
from fasttune import _rules
from fasttune.schedulers import PopulationBasedTraining

LOOPS = 1_000
TRIALS, STEPS = 16, 1_000


@pytest.mark.benchmark(group="population: 1,000 decisions")
@pytest.mark.parametrize("size", [100, 10_000, 1_000_000])
def bench_population_decision(benchmark: Any, size: int) -> None:
    draw = random.Random(0)
    population = _rules.Population(0.25, 1.0)
    everybody = array("q", range(size))
    scores = array("d", [draw.random() for _ in range(size)])
    population.decide(everybody, array("d", [1.0] * size), scores, array("b", bytes(size)))
    trials = array("q", [draw.randrange(size) for _ in range(LOOPS)])
    values = array("d", [draw.random() for _ in range(LOOPS)])
    decisions = array("b", bytes(LOOPS))
    now = 1.0

    def turn() -> None:
        nonlocal now
        now += LOOPS
        times = array("d", [now + i for i in range(LOOPS)])
        population.decide(trials, times, values, decisions)

    benchmark(turn)


class Member(tune.Trainable):
    """A step of about 10 us, a checkpoint of 1 KB."""

    def setup(self, config: dict[str, Any]) -> None:
        self.x, self.value, self.weights = config["x"], 0.0, bytes(1000)

    def step(self) -> dict[str, float]:
        for _ in range(450):
            self.value += self.x
        return {"value": self.value}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"value": self.value, "weights": self.weights}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.value, self.weights = checkpoint["value"], checkpoint["weights"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.x = new_config["x"]
        return True


def train(executor: str) -> tune.ExperimentAnalysis:
    scheduler = PopulationBasedTraining(
        "training_iteration", perturbation_interval=5, hyperparam_mutations={"x": tune.uniform(0, 1)}, clip=True
    )
    return tune.run(
        Member,
        num_samples=TRIALS,
        stop={"training_iteration": STEPS},
        metric="value",
        mode="max",
        scheduler=scheduler,
        executor=executor,
        reuse_actors=True,
        verbose=0,
        seed=0,
    )


@pytest.mark.benchmark(group=f"PBT: {TRIALS} trials of {STEPS} steps, a perturbation every 5")
@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def bench_pbt_run(benchmark: Any, executor: str) -> None:
    analysis = benchmark.pedantic(lambda: train(executor), rounds=3, warmup_rounds=1)
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [STEPS] * TRIALS
    benchmark.extra_info["steps_per_s"] = TRIALS * STEPS / benchmark.stats["median"]
