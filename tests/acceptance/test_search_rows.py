"""Rows A3 to A13: searchers, wrapped and by name, in runs as a user writes them."""

from __future__ import annotations

import math
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import HyperBandForBOHB
from fasttune.search import ConcurrencyLimiter, Repeater, Searcher, TPESearch, TuneBOHB, create_searcher
from fasttune.search.bayesopt import BayesOptSearch
from fasttune.search.hyperopt import HyperOptSearch
from fasttune.search.optuna import OptunaSearch


@pytest.fixture
def executor(request: pytest.FixtureRequest) -> str:
    """Where trials run: searchers live in this process, so most rows are tried on one executor."""
    return str(getattr(request, "param", "inline"))


BOTH = pytest.mark.parametrize("executor", ["inline", "thread", "process"], indirect=True)
GOAL = {"metric": "loss", "mode": "min"}
ADAPTERS = [BayesOptSearch, HyperOptSearch, OptunaSearch]


def parabola(config: dict[str, Any]) -> None:
    for step in range(1, 4):
        tune.report(loss=(config["x"] - 2) ** 2 + 1 / step)


class Counting(Searcher):
    """Suggests x = 1, 2, 3, ... and notes who is out and what it hears."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__("loss", "min")
        self.given, self.out, self.widest, self.most = 0, set(), 0, most  # type: ignore[var-annotated]
        self.told: list[Any] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.given == self.most:
            return Searcher.FINISHED
        self.given += 1
        self.out.add(trial_id)
        self.widest = max(self.widest, len(self.out))
        return {"x": self.given}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.out.discard(trial_id)
        self.told.append(result and result["loss"])


@BOTH
@pytest.mark.parametrize("batch", [False, True])
def test_A3_no_more_trials_are_out_than_the_limiter_lets(run, batch):
    searcher = Counting()
    analysis = run(parabola, search_alg=ConcurrencyLimiter(searcher, max_concurrent=2, batch=batch), num_samples=7)
    assert len(analysis.trials) == 7
    assert searcher.widest == (1 if run.keywords["executor"] == "inline" else 2)  # inline is one at a time
    assert len(searcher.told) == 7


@pytest.mark.parametrize(("samples", "repeat", "sets"), [(12, 4, 3), (11, 5, 3)])
def test_A4_each_config_runs_as_often_as_asked_and_the_mean_is_told(run, samples, repeat, sets):
    searcher = Counting()
    analysis = run(
        lambda config: tune.report(loss=config["x"] + config["__trial_index__"]),
        search_alg=Repeater(searcher, repeat=repeat),
        num_samples=samples,
        max_concurrent_trials=1,
    )
    assert searcher.given == sets
    assert [trial.config["x"] for trial in analysis.trials] == [1 + i // repeat for i in range(samples)]
    whole = samples // repeat
    assert searcher.told == [pytest.approx(x + (repeat - 1) / 2) for x in range(1, whole + 1)]


def test_A5_key_concepts_search_block_finds_the_least(run):
    algo = BayesOptSearch(random_search_steps=4)
    space = {"x": tune.uniform(0, 20)}
    analysis = run(parabola, config=space, search_alg=algo, num_samples=12, max_concurrent_trials=1, **GOAL)
    assert abs(analysis.best_config["x"] - 2) < 0.5


@pytest.mark.parametrize("name", ["hyperopt", "optuna", "tpe"])
def test_A6_searchers_by_name_get_near_the_least(run, name):
    space = {"x": tune.uniform(-10, 10)}
    analysis = run(parabola, config=space, search_alg=name, num_samples=40, max_concurrent_trials=1, **GOAL)
    assert abs(analysis.best_config["x"] - 2) < 1


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_A7_the_runs_space_is_converted_and_what_cannot_be_is_named(run, adapter):
    space = {
        "x": tune.quniform(-4, 4, 0.5),
        "deep": {"n": tune.lograndint(1, 50)},
        "fixed": "yes",
        "a/b": tune.uniform(0, 1),
    }
    analysis = run(parabola, config=space, search_alg=adapter(), num_samples=4, **GOAL)
    for trial in analysis.trials:
        config = trial.config
        assert config["fixed"] == "yes"
        assert config["x"] * 2 == int(config["x"] * 2)
        assert config["deep"]["n"] in range(1, 50)
        assert 0 <= config["a/b"] < 1  # a key with a slash is a key
    with pytest.raises(ValueError, match="cannot walk through the grid_search at 'g'"):
        run(parabola, config={"g": tune.grid_search([1, 2])}, search_alg=adapter(), **GOAL)
    with pytest.raises(ValueError, match="already instantiated with a search space"):
        run(parabola, config=space, search_alg=adapter(space={"x": tune.uniform(0, 1)}, **GOAL))
    with pytest.raises(ValueError, match="two values of the search space have the name 'a/b'"):
        run(parabola, config={"a/b": tune.uniform(0, 1), "a": {"b": 1}}, search_alg=adapter(), **GOAL)
    assert adapter.convert_search_space({"x": tune.uniform(0, 1)}).keys() == {"x"}
    with pytest.raises(ValueError, match=f"{adapter.__name__} cannot walk through the grid_search at 'g'"):
        adapter.convert_search_space({"g": tune.grid_search([1, 2])})


@pytest.mark.parametrize("adapter", [BayesOptSearch, OptunaSearch])
def test_A7_an_unbounded_normal_is_refused_where_the_library_has_none(run, adapter):
    with pytest.raises(ValueError, match="cannot search 'x': an unbounded normal domain"):
        run(parabola, config={"x": tune.randn(0, 1)}, search_alg=adapter(), **GOAL)


def test_A8_bohb_is_told_budgets(run):
    class Watched(TuneBOHB):
        budgets: set[float] = set()  # noqa: RUF012 - of this test

        def on_trial_result(self, trial_id, result):
            if "budget" in result.get("hyperband_info", {}):
                self.budgets.add(result["hyperband_info"]["budget"])
            super().on_trial_result(trial_id, result)

    def train(config):
        for step in range(1, 10):
            tune.report(loss=(config["x"] - 2) ** 2 + 1 / step)

    space = {"x": tune.uniform(-10, 10)}
    searcher = Watched(seed=2)
    analysis = run(
        train, config=space, search_alg=searcher, scheduler=HyperBandForBOHB(max_t=9), num_samples=20, **GOAL
    )
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert {1, 3} <= searcher.budgets


@pytest.mark.parametrize("name", ["bayesopt", "hyperopt", "optuna", "tpe"])
def test_A9_points_come_first_and_what_is_known_is_learnt(run, name):
    space = {"x": tune.uniform(-10, 10)}
    first = create_searcher(name, points_to_evaluate=[{"x": 3.0}, {"x": 1.0}])
    analysis = run(parabola, config=space, search_alg=first, num_samples=3, max_concurrent_trials=1, **GOAL)
    assert [trial.config["x"] for trial in analysis.trials][:2] == [3.0, 1.0]
    second = create_searcher(name, space=space, **GOAL)
    second.add_evaluated_point({"x": 2.0}, 0.0)
    second.add_evaluated_trials(analysis, "loss")
    assert math.isfinite(second.suggest("next")["x"])


@pytest.mark.parametrize("name", ["bayesopt", "hyperopt", "optuna", "tpe"])
def test_A10_a_saved_searcher_goes_on_with_the_same_sequence(run, tmp_path, name):
    space = {"x": tune.uniform(-10, 10)}
    searcher = create_searcher(name, space=space, **GOAL)
    run(parabola, search_alg=searcher, num_samples=4, max_concurrent_trials=1)
    searcher.save(str(tmp_path / "searcher.pkl"))
    again = create_searcher(name, space=space, **GOAL)
    again.restore(str(tmp_path / "searcher.pkl"))
    assert again.suggest("next") == searcher.suggest("next")


@BOTH
def test_A11_a_searcher_that_is_finished_or_has_nothing_now_ends_the_run(run):
    class NowAndThen(Counting):
        def suggest(self, trial_id):
            return None if self.out else super().suggest(trial_id)

    analysis = run(parabola, search_alg=NowAndThen(most=3), num_samples=10)
    assert [trial.config["x"] for trial in analysis.trials] == [1, 2, 3]


def test_A12_names_make_searchers_and_those_that_are_not_here_say_what_to_take(run):
    space = {"x": tune.uniform(-10, 10)}
    for name in ("random", "variant_generator", "hyperopt", "bayesopt", "bohb", "optuna"):
        assert len(run(parabola, config=space, search_alg=name, **GOAL).trials) == 1
    for name in ("hebo", "zoopt"):
        with pytest.raises(ValueError, match="What to take instead"):
            run(parabola, config=space, search_alg=name, **GOAL)
    with pytest.raises(ValueError, match="search_alg must be one of"):
        tune.create_searcher("tepee")


@pytest.mark.parametrize("searcher", [BayesOptSearch(random_search_steps=3), TPESearch(n_initial_points=3, seed=1)])
def test_A13_failures_at_the_beginning_do_not_hold_the_search_up(run, searcher):
    def fails_at_first(config):
        if config["x"] < 0:
            raise ArithmeticError("negative")
        tune.report(loss=config["x"])

    space = {"x": tune.uniform(-10, 10)}
    analysis = run(
        fails_at_first, config=space, search_alg=searcher, num_samples=8, raise_on_failed_trial=False, **GOAL
    )
    assert len(analysis.trials) == 8
    assert {trial.status for trial in analysis.trials} <= {"TERMINATED", "ERROR"}
