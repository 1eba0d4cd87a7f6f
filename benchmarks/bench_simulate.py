"""Experiments in virtual time: 64 trials of up to 81 epochs on 8 workers, as a whole."""

from __future__ import annotations

from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import ASHAScheduler, TrialScheduler
from fasttune.trial import Trial

SPACE = {"a": tune.uniform(0.0, 1.0)}


def curve(config: dict[str, Any], step: int) -> dict[str, float]:
    return {"loss": config["a"] + 1.0 / step}


class Asked(TrialScheduler):
    """A user's scheduler: asked on every report, stops nothing."""

    def on_trial_result(self, state: Any, trial: Trial, result: dict[str, Any]) -> str:
        return self.CONTINUE


SCHEDULERS: dict[str, Any] = {
    "asha": lambda: ASHAScheduler(max_t=81, reduction_factor=3),
    "fifo": lambda: "fifo",
    "asked on every report": Asked,
}


@pytest.mark.benchmark(group="64 trials of up to 81 epochs in virtual time")
@pytest.mark.parametrize("kind", SCHEDULERS)
def bench_simulation(benchmark: Any, kind: str) -> None:
    def run() -> Any:
        return tune.simulate(
            curve,
            SPACE,
            num_samples=64,
            steps=81,
            metric="loss",
            mode="min",
            workers=8,
            scheduler=SCHEDULERS[kind](),
        )

    simulation = benchmark.pedantic(run, rounds=10, warmup_rounds=2)
    assert len(simulation.trials) == 64
