"""Successive halving on the stage: what it plans is what it spends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune.schedulers import SuccessiveHalvingScheduler
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parent))
from stage import Stage


@pytest.mark.parametrize(
    ("arguments", "schedule", "budget"),
    [
        ({"n": 81}, [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)], 81 + 27 * 2 + 9 * 6 + 3 * 18 + 54),
        ({"n": 16, "max_t": 16, "reduction_factor": 2}, [(16, 1), (8, 2), (4, 4), (2, 8), (1, 16)], 16 + 8 + 8 + 8 + 8),
        ({"n": 50, "max_t": 27}, [(50, 1), (17, 3), (6, 9), (2, 27)], 50 + 17 * 2 + 6 * 6 + 2 * 18),
        ({"n": 5, "min_t": 2, "max_t": 100, "reduction_factor": 4}, [(5, 2), (2, 8), (1, 100)], 10 + 12 + 92),
        ({"n": 1}, [(1, 81)], 81),
        ({"n": 7, "min_t": 10, "max_t": 10}, [(7, 10)], 70),
        ({"n": 6, "min_t": 1, "max_t": 5, "reduction_factor": 1.5}, [(6, 1), (4, 1.5), (3, 2.25), (2, 3.375), (2, 5)], None),
    ],
)
def test_the_schedule_and_its_budget(arguments: dict[str, Any], schedule: list[Any], budget: float | None) -> None:
    scheduler = SuccessiveHalvingScheduler(**arguments)
    assert scheduler.schedule == schedule
    assert budget is None or scheduler.budget == budget


@given(
    n=st.integers(1, 40),
    eta=st.sampled_from([2, 3, 4, 2.5]),
    max_t=st.integers(1, 30),
    scores=st.lists(st.integers(-5, 5), min_size=40, max_size=40),
)
@settings(max_examples=rounds(150), deadline=None)
def test_a_run_spends_its_budget_to_the_last_iteration(n: int, eta: float, max_t: int, scores: list[int]) -> None:
    """One trial after the other, each reporting every iteration; whole milestones are met exactly."""
    scheduler = SuccessiveHalvingScheduler(n, max_t=max_t, reduction_factor=eta)
    stage = Stage(scheduler)
    stage.add(n)
    while (trial := stage.choose()) is not None:
        while trial.status == "RUNNING":
            stage.report(trial, score=scores[trial.index])
    assert {trial.status for trial in stage.trials} == {"TERMINATED"}
    spent = sum(trial.last_result["training_iteration"] for trial in stage.trials)
    if all(float(milestone).is_integer() for _, milestone in scheduler.schedule):
        assert spent == scheduler.budget
    best = [trial for trial in stage.trials if trial.last_result["training_iteration"] == max_t]
    assert max(scores[:n]) in {scores[trial.index] for trial in best}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be an integer >= 1, got 0"),
        ({"n": 4.0}, "n must be an integer"),
        ({"n": 4, "min_t": 82}, r"min_t must be a number > 0 and <= max_t \(81\), got 82"),
        ({"n": 4, "max_t": 0}, "max_t must be a finite number > 0, got 0"),
        ({"n": 4, "reduction_factor": 1}, "reduction_factor must be a finite number > 1, got 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SuccessiveHalvingScheduler(**arguments)
