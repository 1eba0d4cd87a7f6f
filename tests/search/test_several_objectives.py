"""Runs with several metrics: the searchers for a front, and what is told of it."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fasttune as tune
from fasttune.analysis import ExperimentAnalysis
from fasttune.cli import main
from fasttune.error import NoBestTrialError, ResumeError
from fasttune.pareto import covering, hypervolume, hypervolumes, pareto_front
from fasttune.schedulers import ASHAScheduler
from fasttune.search import BasicVariantGenerator, ConcurrencyLimiter, MOTPESearch, NSGA2Search, create_searcher
from fasttune.search.motpe import first_fronts
from fasttune.search.nsga2 import crowding, fronts_of

GOALS = {"loss": "min", "size": "min"}
SEARCHERS = ["motpe", "nsga2"]


# ---- fronts and hypervolumes ----------------------------------------------------------------------------------------


@given(st.integers(1, 4).flatmap(lambda m: st.lists(st.lists(st.integers(0, 5), min_size=m, max_size=m), max_size=8)))
def test_the_hypervolume_is_the_number_of_unit_cells_that_are_covered(rows: list[list[int]]) -> None:
    m = len(rows[0]) if rows else 1
    points = np.array(rows, dtype=float).reshape(len(rows), m)
    every = itertools.product(range(5), repeat=m)
    cells = sum(any(all(a <= c for a, c in zip(row, cell, strict=True)) for row in rows) for cell in every)
    assert hypervolume(points, np.full(m, 5.0)) == cells
    growing = list(hypervolumes(points, np.full(m, 5.0)))
    assert growing == [hypervolume(points[: k + 1], np.full(m, 5.0)) for k in range(len(rows))]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25))
def test_fronts_are_peeled_one_after_the_other(rows: list[tuple[int, int]]) -> None:
    points = np.array(rows, dtype=float)
    numbers, left, number = fronts_of(points), np.arange(len(rows)), 0
    while len(left):
        front = left[pareto_front(points[left])]
        assert set(np.flatnonzero(numbers == number).tolist()) == set(front.tolist())
        left, number = np.setdiff1d(left, front), number + 1
    for n in (1, 3, len(rows)):
        best = first_fronts(points, n)
        assert len(set(best.tolist())) == min(n, len(rows))
        assert sorted(numbers[best]) == sorted(numbers)[: len(best)]


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_chosen_covers_the_most_step_by_step(m: int, seed: int) -> None:
    points = np.random.default_rng(seed).random((12, m))
    points = points[pareto_front(points)]
    unit = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    chosen: list[int] = []
    for row in covering(points, 4).tolist():
        volumes = [hypervolume(unit[[*chosen, k]], np.full(m, 1.1)) for k in range(len(points))]
        assert volumes[row] == pytest.approx(max(volumes))
        chosen.append(row)


def test_ends_of_a_front_are_not_crowded() -> None:
    found = crowding(np.array([[0.0, 3.0], [1.0, 1.0], [1.1, 0.9], [3.0, 0.0]]))
    assert np.isinf(found[[0, 3]]).all()
    assert found[1] == pytest.approx(1.1 / 3 + 2.1 / 3)


# ---- searchers ------------------------------------------------------------------------------------------------------


def both(config: dict[str, Any]) -> dict[str, float]:
    """The front: y = 0, kind = "a", and 0.2 <= x <= 0.8."""
    far = config["y"] + (config["kind"] != "a")
    return {"loss": (config["x"] - 0.2) ** 2 + far, "size": (config["x"] - 0.8) ** 2 + far}


SPACE = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1), "kind": tune.choice(["a", "b", "c"])}


def covered(told: list[dict[str, float]]) -> float:
    return hypervolume(np.array([[one["loss"], one["size"]] for one in told]), np.array([1.0, 1.0]))


@pytest.mark.parametrize("name", SEARCHERS)
def test_they_cover_more_than_random_search(name: str) -> None:
    more = 0
    for seed in range(4):
        draw = random.Random(seed)
        flat = [{"x": draw.random(), "y": draw.random(), "kind": draw.choice("abc")} for _ in range(200)]
        made = create_searcher(name, space=SPACE, metric=list(GOALS), mode=["min", "min"], seed=seed)
        told = []
        for _ in range(200):
            asked = made.ask()
            told.append(both(asked.config))
            made.tell(asked, [told[-1]["loss"], told[-1]["size"]])
        more += covered(told) > covered([both(config) for config in flat])
    assert more == 4


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_mode_of_max_and_one_that_is_watched(name: str) -> None:
    made = create_searcher(name, space={"x": tune.uniform(0, 1)}, metric=["a", "b", "c"], mode=["max", "min", "obs"], seed=1)
    for _ in range(60):
        asked = made.ask()
        made.tell(asked, {"a": asked.config["x"], "b": -asked.config["x"], "c": 0.0})
    assert sum(made.ask().config["x"] > 0.8 for _ in range(20)) > 10


@pytest.mark.parametrize("name", SEARCHERS)
def test_results_come_in_any_order_and_some_never(name: str) -> None:
    draw = random.Random(7)
    made = create_searcher(name, space=SPACE, metric=list(GOALS), mode=["min", "min"], seed=3)
    open_: list[Any] = []
    for _ in range(300):
        if len(open_) < 16 and draw.random() < 0.6:
            open_.append(made.ask())
        elif open_:
            asked = open_.pop(draw.randrange(len(open_)))
            made.tell(asked, None if draw.random() < 0.2 else both(asked.config), error=draw.random() < 0.1)
    assert made.ask() is not None


@pytest.mark.parametrize("name", SEARCHERS)
def test_constraints_hold_on_the_front(name: str) -> None:
    made = create_searcher(name, space=SPACE, metric=list(GOALS), mode=["min", "min"], seed=2)
    holds = []
    for _ in range(120):
        asked = made.ask()
        made.tell(asked, {**both(asked.config), "constraints/x": 0.6 - asked.config["x"]})
        holds.append(asked.config["x"] >= 0.6)
    assert sum(holds[60:]) > 40


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "evolution", "bohb"])
def test_searchers_of_one_metric_refuse_several(name: str) -> None:
    with pytest.raises(ValueError, match="optimises one metric, got"):
        tune.run(both, config={"x": tune.uniform(0, 1), "y": 0.0, "kind": "a"}, metric=list(GOALS), mode="min", search_alg=name)


# ---- runs -----------------------------------------------------------------------------------------------------------


def run(**more: Any) -> Any:
    told = {"config": SPACE, "num_samples": 40, "metric": list(GOALS), "mode": ["min", "min"], "seed": 1, "verbose": 0, **more}
    return tune.run(both, executor="inline", **told)


def front_by_definition(analysis: Any) -> set[str]:
    told = {trial.trial_id: (trial.last_result["loss"], trial.last_result["size"]) for trial in analysis.trials}
    return {
        name
        for name, one in told.items()
        if not any(other != one and all(b <= a for a, b in zip(one, other, strict=True)) for other in told.values())
    }


def test_a_run_of_several_metrics_finds_and_tells_the_front() -> None:
    analysis = run()
    front = front_by_definition(analysis)
    assert analysis._source.meta["searcher"] == "MOTPESearch"
    for one in (analysis, ExperimentAnalysis(analysis.experiment_path)):
        assert one.objectives == GOALS
        assert {trial.trial_id for trial in one.best_trials} == front
        frame = one.dataframe()
        assert set(frame["trial_id"][frame["pareto_front"]]) == front
        grown = one.hypervolume(reference={"loss": 1.0, "size": 1.0})
        assert grown["hypervolume"].iloc[-1] == pytest.approx(covered([trial.last_result for trial in one.trials]))
        assert (np.diff(grown["hypervolume"]) >= 0).all()
        assert one.get_best_trial("loss", "min").last_result["loss"] == min(trial.last_result["loss"] for trial in one.trials)
        with pytest.raises(NoBestTrialError, match=r"the run has 2 metrics \(loss, size\).*best_trials"):
            _ = one.best_trial


def test_many_trials_are_for_evolution_and_a_grid_is_walked_through() -> None:
    assert run(num_samples=151)._source.meta["searcher"] == "NSGA2Search"
    grid = run(config={**SPACE, "y": tune.grid_search([0.0, 0.5])}, num_samples=3)
    assert grid._source.meta["searcher"] == "BasicVariantGenerator"
    assert grid.objectives == GOALS
    assert run(search_alg=BasicVariantGenerator()).objectives == GOALS


def test_a_searcher_that_has_them_tells_the_run() -> None:
    made = ConcurrencyLimiter(NSGA2Search(metric=["loss", "size", "y"], mode=["min", "max", "obs"]), max_concurrent=2)
    analysis = run(metric=None, mode=None, search_alg=made, num_samples=6)
    assert analysis.objectives == {"loss": "min", "size": "max"}


def test_a_run_that_goes_on_has_the_same_metrics(tmp_path: Path) -> None:
    where = {"name": "several", "storage_path": str(tmp_path), "resume": "AUTO"}
    run(num_samples=20, **where)
    more = run(num_samples=170, **where)
    assert len(more.trials) == 170
    assert more._source.meta["searcher"] == "MOTPESearch"  # more trials do not change it
    whole = run(num_samples=40)
    assert [trial.config for trial in more.trials[:40]] == [trial.config for trial in whole.trials[:40]]
    with pytest.raises(ResumeError, match="objectives: "):
        run(num_samples=180, mode=["min", "max"], **where)


def test_a_scheduler_that_compares_says_that_it_needs_one_metric() -> None:
    with pytest.raises(ValueError, match=r"compares trials by one metric, and the run has 2 \(loss, size\)"):
        run(scheduler="asha")
    analysis = run(scheduler=ASHAScheduler(metric="loss", mode="min"))
    assert analysis.default_metric == "loss"
    assert analysis.objectives == GOALS
    assert {trial.trial_id for trial in analysis.best_trials} == front_by_definition(analysis)


@pytest.mark.parametrize(("metric", "mode", "error", "says"), [
    (["loss"], "min", ValueError, "at least two different ones"),
    (["loss", "loss"], "min", ValueError, "at least two different ones"),
    (["loss", 3], "min", TypeError, "got the element 3"),
    (["loss", "size"], ["min"], ValueError, "for each of the metrics"),
    (["loss", "size"], None, ValueError, "metric='loss' was given without a mode"),
    (["loss", "size"], ["min", "up"], ValueError, "mode must be 'min' or 'max', got 'up'"),
    ("loss", ["min", "max"], ValueError, "is a list"),
])  # fmt: skip
def test_what_is_wrong_is_said_at_once(metric: Any, mode: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        run(metric=metric, mode=mode)
    with pytest.raises(error, match=says):
        tune.Tuner(both, param_space=SPACE, tune_config=tune.TuneConfig(metric=metric, mode=mode))


def test_a_tuner_takes_them() -> None:
    config = tune.TuneConfig(metric=list(GOALS), mode="min", num_samples=20)
    running = tune.RunConfig(verbose=0, executor="inline", seed=1)
    grid = tune.Tuner(both, param_space=SPACE, tune_config=config, run_config=running).fit()
    assert grid._analysis.objectives == GOALS
    assert {result.metrics["trial_id"] for result in grid.best_results} == front_by_definition(grid._analysis)
    assert grid.get_best_result("loss").metrics["loss"] == min(result.metrics["loss"] for result in grid)
    with pytest.raises(ValueError, match=r"the experiment has several \(loss, size; best_trials"):
        grid.get_best_result()


def test_pictures_and_page_take_those_of_the_run() -> None:
    analysis = run()
    assert "Pareto front" in analysis.plot.pareto().layout.title.text
    assert "Hypervolume" in analysis.plot.hypervolume(reference={"loss": 2.0, "size": 2.0}).layout.title.text
    assert "Trade-offs" in Path(analysis.report()).read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="reference needs a value of each metric, and has none of 'size'"):
        analysis.hypervolume(reference={"loss": 1.0})


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "train.py"
    script.write_text("def train(config):\n    x = config['x']\n    return {'loss': x, 'gain': x * x}\n", encoding="utf-8")
    line = ["run", f"{script}:train", "--set", "x={uniform=[0, 1]}", "--num-samples", "20", "--executor", "inline", "--seed", "3"]
    line += ["--storage", str(tmp_path), "--name", "two", "--metric", "loss", "--mode", "min", "--metric", "gain", "--mode", "max"]
    assert main(line) == 0
    assert "trials are beaten by no other in loss (min), gain (max)" in capsys.readouterr().out
    folder = str(tmp_path / "two")
    front = len(ExperimentAnalysis(folder).best_trials)
    assert main(["best", folder]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed) == front
    assert printed[0].keys() == {"loss", "gain", "config"}
    assert main(["show", folder]) == 0
    assert f"{front:,} trials that no other beats in loss (min), gain (max)" in capsys.readouterr().out
    assert main(["best", folder, "--metric", "loss", "--mode", "min"]) == 0
    assert json.loads(capsys.readouterr().out)["x"] == printed[0]["config"]["x"]
    assert main(["resume", folder, "--num-samples", "25"]) == 0
    assert len(ExperimentAnalysis(folder).trials) == 25


def test_names_that_reports_never_bring_are_said() -> None:
    with pytest.warns(RuntimeWarning, match="'nothing'"):
        run(metric=["loss", "nothing"], mode="min")


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="population_size"):
        NSGA2Search(population_size=1)
    with pytest.raises(ValueError, match="gamma"):
        MOTPESearch(gamma=2)
