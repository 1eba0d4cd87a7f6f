"""ASHA in whole runs, on both executors: each trial gets as far as the slow rule says; a killed run goes on as it was."""

from __future__ import annotations

import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.engine.opening import open_records
from fasttune.schedulers import ASHAScheduler
from fasttune.search import Searcher

sys.path.insert(0, str(Path(__file__).parents[1]))
from model_asha_rank import SlowRanked

SETTINGS: dict[str, dict[str, Any]] = {
    "percentile": {},
    "rank": {"rule": "rank"},
    "rank, patience": {"rule": "rank", "patience": 2},
    "rank, patience, best": {"rule": "rank", "patience": 2, "smoothing": "best", "brackets": 2},
    "percentile, best": {"smoothing": "best", "grace_period": 2},
}


@pytest.fixture(params=["inline", "thread", "process"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return partial(
        tune.run, executor=request.param, storage_path=tmp_path, verbose=0, seed=1, metric="score", mode="max"
    )


def noisy(config: dict[str, Any]) -> None:
    draw = random.Random(config["n"])
    for _ in range(12):
        tune.report(score=draw.random() + 0.02 * config["n"])


def slow_iterations(n: int, **given: Any) -> list[int]:
    """How far each trial of ``noisy`` gets, one after the other."""
    told = {
        "max_t": 9,
        "grace_period": given.get("grace_period", 1),
        "reduction_factor": 3,
        "brackets": given.get("brackets", 1),
        "maximise": True,
        "stop_last_trials": True,
        "rank": given.get("rule") == "rank",
        "patience": given.get("patience", 1),
        "smooth": given.get("smoothing") == "best",
    }
    from fasttune._core import Asha

    slow = SlowRanked(Asha(**told, capacity=1).bracket, **told)
    found = []
    for i in range(n):
        draw = random.Random(i)
        for t in range(1, 13):
            value = draw.random() + 0.02 * i
            if slow.judge(i, t, value):
                break
        slow.complete(i, t, value)
        found.append(t)
    return found


def iterations(analysis: tune.ExperimentAnalysis) -> list[int]:
    return [trial.last_result["training_iteration"] for trial in analysis.trials]


@pytest.mark.parametrize(
    ("name", "asked"), [*((name, False) for name in SETTINGS), ("rank, patience, best", True)]
)
def test_C2_each_trial_gets_what_the_slow_rule_gives_it(run: Any, name: str, asked: bool) -> None:
    scheduler = ASHAScheduler(max_t=9, reduction_factor=3, **SETTINGS[name])
    more: dict[str, Any] = {"stop": lambda trial_id, result: False} if asked else {}
    analysis = run(
        noisy,
        config={"n": tune.grid_search(list(range(40)))},
        scheduler=scheduler,
        max_concurrent_trials=1,
        **more,
    )
    assert iterations(analysis) == slow_iterations(40, **SETTINGS[name])
    assert len(set(iterations(analysis))) > 1


def test_C2_a_metric_that_is_filled_in_is_judged_as_well(run: Any) -> None:
    def sleeps(config: dict[str, Any]) -> None:
        for _ in range(4):
            time.sleep(config["seconds"])
            tune.report(score=1)

    analysis = run(
        sleeps,
        config={"seconds": tune.grid_search([0.001, 0.001, 0.2])},
        metric="time_total_s",
        mode="min",
        scheduler=ASHAScheduler(max_t=4, reduction_factor=2),
        max_concurrent_trials=1,
    )
    assert iterations(analysis)[0] == 4
    assert iterations(analysis)[2] == 1


def test_C2_time_total_s_is_a_time_attribute(run: Any) -> None:
    def works(config: dict[str, Any]) -> None:
        for _ in range(1000):
            time.sleep(0.002)
            tune.report(score=config["x"])

    analysis = run(
        works,
        config={"x": tune.grid_search([2, 1])},
        scheduler=ASHAScheduler("time_total_s", max_t=0.2, grace_period=0.05, reduction_factor=2),
        max_concurrent_trials=1,
    )
    first, second = (trial.last_result["time_total_s"] for trial in analysis.trials)
    assert first >= 0.2
    assert 0.05 <= second < first


def test_a_trial_that_is_tried_again_keeps_its_strikes_and_its_best_value(run: Any, tmp_path: Path) -> None:
    """Its first attempt is below the cut-off at rung 1; the second is at the next rung and stops there."""

    def fails_once(config: dict[str, Any]) -> None:
        for t in range(1, 28):
            tune.report(score=config["x"])
            marker = tmp_path / "failed"
            if config["x"] < 5 and t == 2 and not marker.exists():
                marker.touch()
                raise RuntimeError("once")

    scheduler = ASHAScheduler(max_t=27, reduction_factor=3, rule="rank", patience=2)
    analysis = run(
        fails_once,
        config={"x": tune.grid_search([10, 1])},
        scheduler=scheduler,
        max_failures=1,
        max_concurrent_trials=1,
    )
    assert iterations(analysis) == [27, 3]
    state = open_records(analysis.experiment_path)
    assert (state.table.attempt(1), state.table.rung(1), state.table.strikes(1)) == (2, 1, 2)
    assert state.table.extremes(1) == (1.0, 1.0)


def rungs_mapped() -> int:
    """Bytes of this process's address space that show a shared rule's rungs."""
    with open("/proc/self/maps") as file:
        spans = [line.split()[0].split("-") for line in file if "fasttune-rungs" in line]
    return sum(int(end, 16) - int(begin, 16) for begin, end in spans)


def test_a_run_without_an_end_begins_with_small_rungs(tmp_path: Path) -> None:
    """Driver and workers mapped 5.3 GiB."""

    def told(config: dict[str, Any]) -> None:
        for k in range(3):
            tune.report(score=config["x"] * k, worker=rungs_mapped())

    class Thirty(Searcher):
        """A user's, of which nobody knows when it ends."""

        given = 0

        def suggest(self, trial_id: str) -> dict[str, Any] | str:
            self.given += 1
            return {"x": float(self.given)} if self.given <= 30 else self.FINISHED

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            pass

    class Watch(tune.Callback):
        most = 0

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self.most = max(self.most, rungs_mapped())

    watch = Watch()
    analysis = tune.run(
        told,
        search_alg=Thirty(),
        num_samples=-1,
        scheduler=ASHAScheduler(max_t=1000, reduction_factor=3, brackets=3),
        executor="process",
        storage_path=tmp_path,
        verbose=0,
        metric="score",
        mode="max",
        callbacks=[watch],
    )
    assert 0 < watch.most < 1 << 20
    assert 0 < analysis.results_df["worker"].max() < 4 << 20
