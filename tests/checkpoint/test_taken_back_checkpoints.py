"""A trial that goes back repeats steps: what it had saved at them before is not of the reports that count now."""

from __future__ import annotations

from typing import Any

import fasttune as tune
from fasttune.schedulers import PopulationBasedTraining


def train(config: dict[str, Any]) -> None:
    """The good one saves at its first step only, so whoever copies it goes back to there, and repeats steps."""
    before = tune.get_checkpoint()
    state = {"step": 0, "value": 0.0, "life": 0} if before is None else before.to_dict()
    state["life"] += before is not None
    while state["step"] < 8:
        state["step"] += 1
        state["value"] += config["x"]
        saves = config["x"] < 1 or state["step"] == 1 or state["life"] > 0
        tune.report(value=state["value"], checkpoint=tune.Checkpoint.from_dict(state) if saves else None)


def test_a_checkpoint_has_the_result_that_it_was_saved_with_or_none() -> None:
    analysis = tune.run(
        train,
        config={"x": tune.grid_search([2.0, 0.001])},
        metric="value",
        mode="max",
        scheduler=PopulationBasedTraining(
            time_attr="training_iteration",
            perturbation_interval=4,
            quantile_fraction=0.5,
            hyperparam_mutations={"x": [2.0]},
            synch=True,
            seed=0,
        ),
        keep_checkpoints_num=100,
        checkpoint_score_attr="training_iteration",
        executor="inline",
        verbose=0,
    )
    copier = analysis.trials[1]
    assert analysis.lineage()["donor_iteration"].iloc[0] == 1
    found = [(tune.Checkpoint(path).to_dict(), value) for path, value in analysis.get_trial_checkpoints_paths(copier, "value")]
    first_life = [(state["step"], value) for state, value in found if state["life"] == 0]
    assert [step for step, _ in first_life] == [1, 2, 3, 4]
    assert [value is None for _, value in first_life] == [False, True, True, True]
    assert all(value == state["value"] for state, value in found if value is not None)
    best = analysis.get_best_checkpoint(copier, "value", "max")
    assert best is not None
    assert best.to_dict()["value"] == max(analysis.trial_dataframes[copier.trial_id]["value"])
