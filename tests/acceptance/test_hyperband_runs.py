"""Rows C4 and C5 in whole runs: HyperBand and its kin with functions and classes, on both executors."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import HyperBandForBOHB, HyperBandScheduler, SuccessiveHalvingScheduler


def curve(config: dict[str, Any]) -> None:
    """Reports how often it has, so that a trial that starts again from the beginning is seen."""
    for step in range(1, config.get("steps", 1000) + 1):
        if step == config.get("fails_at"):
            raise ArithmeticError("this config fails")
        tune.report(score=config["x"], step=step)


class Curve(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.x, self.taken = config["x"], 0

    def step(self) -> dict[str, Any]:
        self.taken += 1
        return {"score": self.x, "step": self.taken}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"taken": self.taken}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.taken = checkpoint["taken"]


def iterations(analysis: tune.ExperimentAnalysis) -> list[int]:
    return [trial.last_result["training_iteration"] for trial in analysis.trials]


def never_from_the_beginning(analysis: tune.ExperimentAnalysis) -> bool:
    """Every trial's own count of steps is its count of reports: nobody began anew when it went on."""
    return all(
        list(frame["step"]) == list(frame["training_iteration"]) == list(range(1, len(frame) + 1))
        for frame in analysis.trial_dataframes.values()
    )


ROUND = {9: 3 + 2 + 1, 3: 3 + 2, 1: 6}  # iterations that the 17 trials of a round get for max_t=9, eta=3


@pytest.mark.parametrize("trainable", [curve, Curve])
def test_C4_a_round_runs_as_planned_and_nobody_begins_anew(run: Any, trainable: Any) -> None:
    analysis = run(
        trainable,
        config={"x": tune.uniform(0, 1)},
        num_samples=17,
        scheduler=HyperBandScheduler(max_t=9),
        metric="score",
        mode="max",
    )
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert Counter(iterations(analysis)) == ROUND
    assert never_from_the_beginning(analysis)


def test_C4_the_best_of_each_bracket_survive(run: Any) -> None:
    analysis = run(
        curve,
        config={"x": tune.grid_search(list(range(17)))},
        scheduler="hyperband",
        metric="score",
        mode="min",
    )
    # the default has brackets of 5 and 8 (27 and 81), then four of the fifteen (9, 27, 81)
    assert iterations(analysis) == [81] * 5 + [81] * 3 + [27] * 5 + [81] * 2 + [27] * 2


def test_C4_with_one_trial_at_a_time(run: Any) -> None:
    analysis = run(
        curve,
        config={"x": tune.uniform(0, 1)},
        num_samples=34,
        max_concurrent_trials=1,
        scheduler=HyperBandScheduler(max_t=9),
        metric="score",
        mode="max",
    )
    assert Counter(iterations(analysis)) == {t: 2 * n for t, n in ROUND.items()}
    assert never_from_the_beginning(analysis)


def test_C5_errors_and_early_ends_hold_nobody_up(run: Any) -> None:
    analysis = run(
        curve,
        config={
            "x": tune.grid_search(list(range(17))),
            "fails_at": tune.sample_from(lambda spec: 2 if spec.config["x"] % 5 == 0 else None),
            "steps": tune.sample_from(lambda spec: 2 if spec.config["x"] % 5 == 1 else 1000),
        },
        scheduler=HyperBandScheduler(max_t=9),
        metric="score",
        mode="max",
        raise_on_failed_trial=False,
    )
    by_x = {trial.config["x"]: trial for trial in analysis.trials}
    # trials 0 to 2, 3 to 7 and 8 to 16 are the brackets; of the last one only the best three see a second report
    assert [x for x, trial in by_x.items() if trial.status == "ERROR"] == [0, 5, 15]
    reached = {x: trial.last_result["training_iteration"] for x, trial in by_x.items()}
    assert [x for x, t in reached.items() if t == 9] == [2, 4, 7, 14]
    assert reached[6] == reached[16] == 2


def test_a_failed_trial_is_tried_again_in_its_bracket(run: Any, tmp_path: Any) -> None:
    def fails_once(config: dict[str, Any]) -> None:
        mark = tmp_path / f"failed{config['x']}"
        for step in range(1, 100):
            if step == 2 and config["x"] % 4 == 0 and not mark.exists():
                mark.touch()
                raise ArithmeticError("once")
            tune.report(score=config["x"], step=step)

    analysis = run(
        fails_once,
        config={"x": tune.grid_search(list(range(8)))},
        scheduler=HyperBandScheduler(max_t=9),
        metric="score",
        mode="max",
        max_failures=1,
    )
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert max(iterations(analysis)) == 9


@pytest.mark.parametrize("trials", [1, 2, 4, 9, 20])
def test_a_bracket_that_never_fills_comes_to_its_end(run: Any, trials: int) -> None:
    analysis = run(
        curve,
        config={"x": tune.uniform(0, 1)},
        num_samples=trials,
        scheduler=HyperBandScheduler(max_t=9),
        metric="score",
        mode="max",
    )
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert max(iterations(analysis)) == 9


class Few(tune.search.Searcher):
    """Suggests seven configs and hears what becomes of them."""

    def __init__(self) -> None:
        super().__init__(metric="score", mode="max")
        self.given = 0
        self.heard: list[tuple[str, str, Any]] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self.given == 7:
            return self.FINISHED
        self.given += 1
        return {"x": float(self.given)}

    def on_trial_result(self, trial_id: str, result: Any) -> None:
        if result.get("hyperband_info"):
            self.heard.append(("budget", trial_id, result["hyperband_info"]["budget"]))

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.heard.append(("complete", trial_id, None))

    def on_pause(self, trial_id: str) -> None:
        self.heard.append(("pause", trial_id, None))

    def on_unpause(self, trial_id: str) -> None:
        self.heard.append(("unpause", trial_id, None))


@pytest.mark.parametrize("scheduler", [HyperBandScheduler, HyperBandForBOHB])
def test_a_searcher_that_stops_suggesting_leaves_no_bracket_waiting(run: Any, scheduler: Any) -> None:
    analysis = run(curve, search_alg=Few(), num_samples=-1, scheduler=scheduler(max_t=9), metric="score", mode="max")
    assert len(analysis.trials) == 7
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert max(iterations(analysis)) == 9


def test_C4_bohbs_searcher_hears_the_budget_and_who_waits(run: Any) -> None:
    """Trials one at a time: seven of the nine of the largest bracket, then the searcher has no more."""
    searcher = Few()
    run(
        curve,
        search_alg=searcher,
        num_samples=-1,
        scheduler=HyperBandForBOHB(max_t=9),
        metric="score",
        mode="max",
        max_concurrent_trials=1,
    )
    heard: dict[str, list[Any]] = {}
    for what, trial_id, budget in searcher.heard:
        heard.setdefault(trial_id[-5:], []).append(what if budget is None else budget)
    assert [heard[f"{i:05d}"] for i in range(7)] == [["pause", 1, "complete"]] * 4 + [
        ["pause", 1, "unpause", "pause", 3, "complete"],
        ["pause", 1, "unpause", "pause", 3, "complete"],
        ["pause", 1, "unpause", 3, "complete"],
    ]


def test_successive_halving_spends_its_budget(run: Any) -> None:
    scheduler = SuccessiveHalvingScheduler(27, max_t=27)
    analysis = run(
        curve, config={"x": tune.grid_search(list(range(27)))}, scheduler=scheduler, metric="score", mode="max"
    )
    assert sum(iterations(analysis)) == scheduler.budget == 27 + 9 * 2 + 3 * 6 + 18
    assert sorted(iterations(analysis)) == [1] * 18 + [3] * 6 + [9] * 2 + [27]
    assert analysis.best_config["x"] == 26


def test_successive_halving_of_two_experiments_worth_of_candidates(run: Any) -> None:
    """More trials than candidates: they make another bracket."""
    analysis = run(
        curve,
        config={"x": tune.uniform(0, 1)},
        num_samples=18,
        scheduler=SuccessiveHalvingScheduler(9, max_t=9),
        metric="score",
        mode="max",
    )
    assert Counter(iterations(analysis)) == {1: 12, 3: 4, 9: 2}
