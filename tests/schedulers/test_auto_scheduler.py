"""``scheduler="auto"``: where trials begin to be compared depends on what early rungs are worth."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import AutoScheduler, create_scheduler
from fasttune.schedulers.auto import FAR, expected_best

SPACE = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}


def good_guide(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    for epoch in range(1, 82):
        yield {"loss": config["x"] + 1 / epoch}


def bad_guide(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Until epoch 20 the worst look best."""
    for epoch in range(1, 82):
        yield {"loss": (1 + config["x"] if epoch > 20 else 5 - config["x"]) + 1 / epoch}


def simulated(curve: Any, scheduler: Any = "auto", seed: int = 0, **more: Any) -> Any:
    return tune.simulate(
        curve, SPACE, **{"num_samples": 400, "metric": "loss", "mode": "min", "workers": 4, "time_budget_s": 600, **more},
        scheduler=scheduler, seed=seed,
    )  # fmt: skip


def begun(made: Any) -> list[Any]:
    return [trial for trial in made.trials if trial.last_result]


@pytest.mark.parametrize("seed", range(3))
def test_good_rungs_are_used_from_the_first_on(seed: int) -> None:
    made = simulated(good_guide, AutoScheduler(max_t=81), seed)
    assert made.scheduler.first_rung == 1
    assert min(made.scheduler.trust()) > 0.7
    best = min(trial.config["x"] for trial in begun(made))
    assert min(begun(made), key=lambda trial: trial.last_result["loss"]).config["x"] == best


@pytest.mark.parametrize("seed", range(3))
def test_rungs_that_mislead_are_left_out(seed: int) -> None:
    made = simulated(bad_guide, AutoScheduler(max_t=81), seed)
    assert made.scheduler.first_rung >= 27
    assert max(made.scheduler.trust()[:3]) < 0.3
    promotions = simulated(bad_guide, create_scheduler("asha_promotion", max_t=81, reduction_factor=3), seed)
    ends = [
        [trial.config["x"] for trial in begun(one) if trial.last_result["training_iteration"] == 81]
        for one in (made, promotions)
    ]
    assert min(ends[0]) < 0.15 < 0.3 < min(ends[1])


def test_decisions_are_a_matter_of_ranks() -> None:
    """A strictly increasing transform of the metric, and the other direction of a mirrored one, change nothing."""

    def noisy(config: dict[str, Any], bend: Any) -> Iterator[dict[str, float]]:
        draw = random.Random(config["y"])
        for epoch in range(1, 82):
            yield {"loss": bend(config["x"] + draw.random() + 1 / epoch)}

    def steps(bend: Any, mode: str) -> list[int]:
        def curve(config: dict[str, Any]) -> Iterator[dict[str, float]]:
            yield from noisy(config, bend)

        made = simulated(curve, AutoScheduler(max_t=81), num_samples=150, mode=mode)
        return [trial.last_result.get("training_iteration", 0) for trial in made.trials]

    plain = steps(lambda value: value, "min")
    assert plain == steps(math.exp, "min") == steps(lambda value: -value, "max")
    assert len(set(plain)) > 3


def test_some_trials_run_on_whatever_their_value_is() -> None:
    """So that rungs are judged by trials that were not chosen by them."""
    made = simulated(good_guide, AutoScheduler(max_t=81), time_budget_s=1200)
    scheduler: Any = made.scheduler
    assert scheduler._came[0] > scheduler._ran_on[0] > 0
    assert scheduler._ran_on[0] < 0.3 * scheduler._came[0]


def test_where_trials_end_is_taken_from_stop_or_seen() -> None:
    scheduler = AutoScheduler()
    assert scheduler.set_search_properties("loss", "min", stop={"training_iteration": 81})
    assert scheduler.milestones == [1, 3, 9, 27, 81]
    given = AutoScheduler(max_t=27)
    given.set_search_properties("loss", "min", stop={"training_iteration": 81})
    assert given.milestones == [1, 3, 9, 27]
    for stop in (None, {"loss": 0.1}, lambda trial_id, result: False, {"training_iteration": math.inf}):
        still_open = AutoScheduler()
        still_open.set_search_properties("loss", "min", stop=stop)
        assert still_open.milestones[-1] == FAR
    seen = simulated(bad_guide, "auto")
    assert seen.scheduler._end == 81
    assert seen.scheduler.first_rung >= 27


def test_every_trial_comes_to_an_end_without_one_that_is_known() -> None:
    made = simulated(good_guide, "auto", num_samples=200, time_budget_s=None)
    assert {trial.status for trial in made.trials} == {"TERMINATED"}
    assert max(trial.last_result["training_iteration"] for trial in made.trials) == 81
    assert "trusted" in made.scheduler.debug_string()


def test_with_a_searcher_that_is_chosen_by_itself() -> None:
    made = simulated(good_guide, AutoScheduler(max_t=81), search_alg="auto")
    random_search = simulated(good_guide, AutoScheduler(max_t=81))
    assert made.best_result["loss"] < random_search.best_result["loss"]


def test_the_run_says_what_it_picked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def train(config: dict[str, Any]) -> None:
        for epoch in range(1, 10):
            tune.report(loss=config["x"] + 1 / epoch)

    tune.run(
        train, config=SPACE, num_samples=12, metric="loss", mode="min", scheduler="auto", search_alg="auto",
        stop={"training_iteration": 9}, storage_path=str(tmp_path), executor="inline", verbose=1, seed=1,
    )  # fmt: skip
    said = [line for line in capsys.readouterr().out.splitlines() if '="auto"' in line]
    assert [line.split(":")[1] for line in said] == [' scheduler="auto" is AutoScheduler', ' search_alg="auto" is "tpe"']


def test_rows_that_cannot_be_paused_are_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    @tune.vectorized
    def train(configs: Any) -> Iterator[dict[str, Any]]:
        for epoch in range(1, 28):
            rows = yield {"loss": configs["x"] + 1 / epoch}
            configs = configs if rows is None else rows.configs

    analysis = tune.run(
        train, config=SPACE, num_samples=60, metric="loss", mode="min", scheduler="auto", storage_path=str(tmp_path),
        verbose=1, seed=1,
    )  # fmt: skip
    steps = [trial.last_result["training_iteration"] for trial in analysis.trials]
    assert min(steps) == 1
    assert max(steps) == 27
    assert "they cannot be paused" in capsys.readouterr().out


def test_arguments() -> None:
    assert AutoScheduler(max_t=10, grace_period=2, reduction_factor=2).milestones == [2, 4, 8, 10]
    assert AutoScheduler(max_t=0.5, grace_period=0.1).milestones == pytest.approx([0.1, 0.3, 0.5])
    for wrong in ({"grace_period": 0}, {"reduction_factor": 1}, {"max_t": 3, "grace_period": 5}, {"max_t": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong)) if len(wrong) == 1 else "grace_period"):
            AutoScheduler(**wrong)
    with pytest.raises(ValueError, match="without a metric and mode"):
        simulated(good_guide, "auto", metric=None, mode=None)


def test_the_best_of_n_draws() -> None:
    draw = random.Random(0)
    for n in (2, 10, 100):
        seen = sum(max(draw.gauss(0, 1) for _ in range(n)) for _ in range(4000)) / 4000
        assert expected_best(n) == pytest.approx(seen, abs=0.05)
    assert expected_best(0.1) == expected_best(2)


def test_a_budget_that_ends_while_a_bracket_loses_trials() -> None:
    """A scheduler that hears of a paused trial's end may end others that were to be ended, too."""
    made = simulated(
        bad_guide, create_scheduler("hyperband", time_attr="training_iteration", max_t=81), time_budget_s=300
    )
    assert {trial.status for trial in begun(made)} == {"TERMINATED"}


@pytest.mark.parametrize("executor", ["inline", "process"])
@pytest.mark.parametrize("stop", [None, {"training_iteration": 27}], ids=["open", "told"])
@pytest.mark.parametrize("n", [1, 3, 12])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_of_few_trials_one_is_trained_to_its_end(tmp_path: Path, executor: str, stop: Any, n: int, mode: str) -> None:
    """When nothing else can begin the machine is idle: the most promising one goes on."""

    def train(config: dict[str, Any]) -> None:
        for epoch in range(1, 28):
            tune.report(loss=config["k"] + 0.1 / epoch)

    analysis = tune.run(
        train, config={"k": tune.grid_search(list(range(n)))}, scheduler="auto", stop=stop, metric="loss", mode=mode,
        executor=executor, storage_path=str(tmp_path), verbose=0,
    )  # fmt: skip
    came = [trial.last_result["training_iteration"] for trial in analysis.trials]
    assert came[0 if mode == "min" else -1] == 27
    assert sum(came) < 27 * n or n == 1


def test_a_run_that_does_not_say_how_long_trials_are_ends_none() -> None:
    def tokens(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        for step in range(1, 11):
            yield {"loss": config["x"] + 1 / step, "tokens": step * 1e9}

    made = simulated(tokens, AutoScheduler(time_attr="tokens"), num_samples=30, time_budget_s=None)
    assert max(trial.last_result["training_iteration"] for trial in made.trials) == 10


@pytest.mark.parametrize("arguments", [{"reduction_factor": 1.01}, {"grace_period": 1e-300}])
def test_rungs_without_number_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="makes more than 64 rungs"):
        AutoScheduler(**arguments)


@pytest.mark.parametrize("max_t", [81, 82, 100, 1000])
@pytest.mark.parametrize("workers", [1, 4])
def test_trials_that_end_before_max_t_are_whole_when_they_end(max_t: float, workers: int) -> None:
    made = simulated(good_guide, None, num_samples=100, workers=workers, time_budget_s=None, max_t=max_t, search_alg="random")
    assert len(begun(made)) == 100
    came = [trial.last_result["training_iteration"] for trial in made.trials]
    assert max(came) == 81
    assert sum(came) < 0.15 * 81 * 100


def test_where_trials_end_is_found_in_a_list_of_stops(tmp_path: Path) -> None:
    made = AutoScheduler()
    tune.run(
        lambda config: tune.report(loss=config["x"]), config=SPACE, num_samples=3, metric="loss", mode="min", scheduler=made,
        stop=[{"training_iteration": 27}, {"loss": -1}], storage_path=str(tmp_path), executor="inline", verbose=0,
    )  # fmt: skip
    assert made.milestones == [1, 3, 9, 27]
