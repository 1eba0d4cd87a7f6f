"""Row A8: TuneBOHB with HyperBandForBOHB."""

from __future__ import annotations

import math
import pickle
import statistics
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import HyperBandForBOHB
from fasttune.search import TuneBOHB, create_searcher
from fasttune.space.plan import Plan

SPACE: dict[str, Any] = {
    "x": tune.uniform(-5, 5),
    "lr": tune.loguniform(1e-5, 1.0),
    "kind": tune.choice(["a", "b", "c"]),
}


def loss(config: dict[str, Any], step: int) -> float:
    """Falls with the steps towards what the config is worth."""
    worth = (config["x"] - 2) ** 2 + (math.log10(config["lr"]) + 3) ** 2 + (config["kind"] != "b")
    return worth + 3.0 / step


def train(config: dict[str, Any]) -> None:
    for step in range(1, 28):
        tune.report(loss=loss(config, step))


def searcher(**more: Any) -> TuneBOHB:
    return TuneBOHB(SPACE, metric="loss", mode="min", seed=1, **more)


def suggested(one: TuneBOHB, trial_id: str) -> dict[str, Any]:
    config = one.suggest(trial_id)
    assert isinstance(config, dict)
    return config


def hear(one: TuneBOHB, trial_id: str, budget: float, value: float) -> None:
    one.on_trial_result(trial_id, {"loss": value, "hyperband_info": {"budget": budget}})


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_A8_with_hyperband_it_learns_at_every_budget(executor: str, tmp_path: Path) -> None:
    one = TuneBOHB(seed=3)
    analysis = tune.run(
        train,
        config=SPACE,
        search_alg=one,
        scheduler=HyperBandForBOHB(max_t=27),
        num_samples=80,
        metric="loss",
        mode="min",
        executor=executor,
        max_concurrent_trials=2,
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 80
    counts = one.results
    assert list(counts) == [1.0, 3.0, 9.0, 27.0]
    steps = [trial.last_result["training_iteration"] for trial in analysis.trials]
    assert counts[27.0] == steps.count(27)
    assert one.budget in counts
    plan = Plan(SPACE, 3)
    found = statistics.median(loss(trial.config, 1) for trial in analysis.trials)
    assert found < 0.8 * statistics.median(loss(plan.config(k), 1) for k in range(80))


def test_A8_the_largest_budget_with_enough_results_suggests() -> None:
    one = searcher(bohb_config={"random_fraction": 0.0})
    enough = len(SPACE) + 3
    for k in range(enough):
        assert one.budget is None
        suggested(one, f"{k}")
        hear(one, f"{k}", 1.0, float(k))
    assert one.budget == 1.0
    for k in range(enough):
        hear(one, f"{k}", 3.0, float(k))
    assert one.budget == 3.0
    assert one.results == {1.0: enough, 3.0: enough}


def test_a_result_counts_once_at_a_budget_and_the_end_at_the_time_it_came_to() -> None:
    one = searcher()
    suggested(one, "a")
    hear(one, "a", 3.0, 1.0)
    hear(one, "a", 3.0, 0.5)
    one.on_trial_complete("a", {"loss": 0.5, "training_iteration": 3})
    assert one.results == {3.0: 1}
    suggested(one, "b")
    one.on_trial_complete("b", {"loss": 0.5, "training_iteration": 9})
    assert one.results == {3.0: 1, 9.0: 1}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "good"])
def test_what_is_no_number_is_not_learnt_from(value: Any) -> None:
    one = searcher()
    suggested(one, "a")
    hear(one, "a", 3.0, value)
    one.on_trial_complete("a", {"loss": value, "training_iteration": 3})
    suggested(one, "b")
    one.on_trial_complete("b", error=True)
    assert one.results == {}


def test_a_trial_that_ends_early_leaves_the_model_it_came_from() -> None:
    one = searcher(bohb_config={"random_fraction": 0.0})
    for k in range(6):
        suggested(one, f"{k}")
        hear(one, f"{k}", 9.0, float(k))
    suggested(one, "early")
    model = one._models[9.0]
    assert model.n_pending == 1
    one.on_trial_complete("early", {"loss": 1.0, "training_iteration": 1})
    assert model.n_pending == 0
    assert one.results == {1.0: 1, 9.0: 6}
    again = pickle.loads(pickle.dumps(model))
    assert again.n_pending == 0
    assert again.ask(77) == model.ask(77)


def test_those_that_wait_do_not_count_as_out() -> None:
    one = searcher(max_concurrent=2)
    suggested(one, "a")
    suggested(one, "b")
    assert one.suggest("c") is None
    one.on_pause("a")
    suggested(one, "c")
    one.on_unpause("a")
    assert one.suggest("d") is None
    one.on_trial_complete("a", {"loss": 1.0})
    one.on_trial_complete("b", {"loss": 1.0})
    suggested(one, "d")


def test_results_from_elsewhere_count_at_the_largest_budget() -> None:
    one = searcher()
    for k in range(6):
        one.add_evaluated_point({"x": float(k - 3), "lr": 1e-3, "kind": "b"}, value=float((k - 5) ** 2))
    assert one.results == {}
    for budget, n in ((3.0, 7), (1.0, 1), (9.0, 7)):
        suggested(one, f"{budget}")
        hear(one, f"{budget}", budget, 1.0)
        assert one.results[budget] == n


@pytest.mark.parametrize(
    ("config", "error", "text"),
    [
        ({"bandwidth_factor": 3}, TypeError, "bandwidth_factor"),
        ({"top_n_percent": 0}, ValueError, "top_n_percent"),
        ({"random_fraction": 2}, ValueError, "random_fraction"),
        ({"num_samples": 0}, ValueError, "num_samples"),
        ({"min_points_in_model": 0}, ValueError, "min_points_in_model"),
    ],
)
def test_settings_are_checked(config: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        TuneBOHB(bohb_config=config)


def test_it_is_known_by_name() -> None:
    assert isinstance(create_searcher("BOHB", seed=1), TuneBOHB)


@pytest.mark.parametrize("metric", [["a", "b"]])
def test_several_metrics_are_refused(metric: list[str]) -> None:
    with pytest.raises(ValueError, match="one metric"):
        TuneBOHB(SPACE, metric=metric, mode=["min", "min"])
