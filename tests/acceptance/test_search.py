"""Rows A1 and A2: where configs come from, in runs on both executors."""

from __future__ import annotations

import math
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import BasicVariantGenerator, ConcurrencyLimiter, Repeater, Searcher


def square(config: dict[str, Any]) -> None:
    for i in range(3):
        tune.report(score=config["x"] ** 2 + i)


class Halving(Searcher):
    """Goes towards the best x it has been told of."""

    def __init__(self, last: int | None = None, metric: str | None = None, mode: str | None = None) -> None:
        super().__init__(metric, mode)
        self.last = last
        self.events: list[tuple[Any, ...]] = []
        self.configs: dict[str, dict[str, Any]] = {}
        self.best = 8.0

    def set_search_properties(self, metric, mode, config, **spec):
        self._metric, self._mode = metric, mode
        return False

    def suggest(self, trial_id):
        if self.last is not None and len(self.configs) >= self.last:
            return self.FINISHED
        self.configs[trial_id] = {"x": self.best / 2}
        self.events.append(("suggest", trial_id))
        return self.configs[trial_id]

    def on_trial_result(self, trial_id, result):
        self.events.append(("result", trial_id, result["training_iteration"]))

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.events.append(("complete", trial_id, None if result is None else result.get("score"), error))
        if not error:
            self.best = self.configs[trial_id]["x"]


def xs(analysis: tune.ExperimentAnalysis) -> list[Any]:
    return [trial.config["x"] for trial in analysis.trials]


# ---- A1


def test_A1_random_search_is_the_same_whatever_the_concurrency(run):
    space = {"x": tune.uniform(0, 1), "y": tune.choice(["a", "b"])}
    found = [
        [trial.config for trial in run(square, config=space, num_samples=12, **options).trials]
        for options in ({}, {"max_concurrent_trials": 1}, {"resources_per_trial": {"cpu": 0.1}})
    ]
    assert found[0] == found[1] == found[2]


def test_A1_both_executors_draw_the_same_configs(tmp_path):
    space = {"x": tune.loguniform(1e-5, 1), "layers": tune.randint(1, 9)}
    options: dict[str, Any] = {"num_samples": 9, "seed": 3, "storage_path": tmp_path, "verbose": 0}
    found = [
        [trial.config for trial in tune.run(square, config=space, executor=name, **options).trials]
        for name in ("inline", "process")
    ]
    assert found[0] == found[1]


def test_A1_seeds(run):
    space = {"x": tune.uniform(0, 1)}
    assert xs(run(square, config=space, num_samples=3, seed=5)) == xs(run(square, config=space, num_samples=3, seed=5))
    assert xs(run(square, config=space, num_samples=3, seed=5)) != xs(run(square, config=space, num_samples=3, seed=6))
    generators = [BasicVariantGenerator(random_state=4) for _ in range(2)]
    first, second = (xs(run(square, config=space, num_samples=3, search_alg=one)) for one in generators)
    assert first == second


def test_A1_points_to_evaluate_come_first(run):
    generator = BasicVariantGenerator(points_to_evaluate=[{"x": 0.25}, {"x": 0.75}])
    analysis = run(square, config={"x": tune.uniform(0, 1)}, num_samples=4, search_alg=generator)
    assert xs(analysis)[:2] == [0.25, 0.75]
    assert len(xs(analysis)) == 4


def test_A1_the_searcher_by_name(run):
    assert len(run(square, config={"x": tune.uniform(0, 1)}, num_samples=2, search_alg="random").trials) == 2
    with pytest.raises(ValueError, match="random"):
        run(square, config={"x": 1}, search_alg="nobody")
    with pytest.raises(TypeError, match="search_alg must be"):
        run(square, config={"x": 1}, search_alg=5)


# ---- A2


def test_A2_a_searcher_hears_results_and_suggests_from_them(run):
    searcher = Halving()
    analysis = run(square, search_alg=searcher, num_samples=4, metric="score", mode="min", max_concurrent_trials=1)
    assert xs(analysis) == [4.0, 2.0, 1.0, 0.5]
    assert (searcher.metric, searcher.mode) == ("score", "min")
    first = analysis.trials[0].trial_id
    mine = [event for event in searcher.events if event[1] == first]
    assert mine == [
        ("suggest", first),
        ("result", first, 1),
        ("result", first, 2),
        ("result", first, 3),
        ("complete", first, 18.0, False),
    ]
    assert analysis.best_config == {"x": 0.5}
    assert [trial.experiment_tag for trial in analysis.trials][:2] == ["1_x=4.0000", "2_x=2.0000"]
    assert [trial.evaluated_params for trial in analysis.trials][:2] == [{"x": 4.0}, {"x": 2.0}]


def test_A2_no_on_trial_result_for_the_result_that_ends_the_trial(run):
    searcher = Halving()
    run(square, search_alg=searcher, stop={"training_iteration": 2})
    assert [event[0] for event in searcher.events] == ["suggest", "result", "complete"]


def test_A2_finished_ends_the_run(run):
    searcher = Halving(last=3)
    analysis = run(square, search_alg=searcher, num_samples=100)
    assert len(analysis.trials) == 3
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 3
    assert len(run(square, search_alg=Halving(last=0), num_samples=5).trials) == 0


def test_A2_none_means_later(run):
    class OneByOne(Halving):
        def suggest(self, trial_id):
            busy = len(self.configs) - sum(event[0] == "complete" for event in self.events)
            return None if busy else super().suggest(trial_id)

    analysis = run(square, search_alg=OneByOne(), num_samples=4)
    assert xs(analysis) == [4.0, 2.0, 1.0, 0.5]


def test_A2_none_for_ever_is_an_error_not_a_hang(run, monkeypatch):
    class Silent(Halving):
        def suggest(self, trial_id):
            return None

    monkeypatch.setattr("fasttune.engine.loop.PATIENCE", 5)
    with pytest.raises(tune.TuneError, match="keeps returning None"):
        run(square, search_alg=Silent(), num_samples=4)


def test_A2_errors_are_told(run):
    def fails(config):
        tune.report(score=1)
        if config["x"] == 4.0:
            raise RuntimeError("four")

    searcher = Halving()
    analysis = run(fails, search_alg=searcher, num_samples=2, max_concurrent_trials=1, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["ERROR", "ERROR"]
    ends = [event[3] for event in searcher.events if event[0] == "complete"]
    assert ends == [True, True]


def test_A2_constants_and_nested_suggestions(run):
    class Nested(Halving):
        def suggest(self, trial_id):
            self.configs[trial_id] = {"x": 2.0, "deep": {"a": 1}}
            return self.configs[trial_id]

    def checks(config):
        tune.report(score=config["x"], ok=config == {"x": 2.0, "deep": {"a": 1, "b": 5}, "fixed": "yes"})

    config = {"fixed": "yes", "deep": {"b": 5}}
    analysis = run(checks, search_alg=Nested(), config=config, num_samples=2)
    assert [trial.last_result["ok"] for trial in analysis.trials] == [True, True]
    assert analysis.trials[0].config == {"x": 2.0, "deep": {"a": 1, "b": 5}, "fixed": "yes"}
    assert tune.ExperimentAnalysis(analysis.experiment_path).trials[1].config == analysis.trials[1].config


def test_A2_numpy_values_and_objects_in_suggestions(run):
    import numpy as np

    class Model:
        def __init__(self, n):
            self.n = n

    class Rich(Halving):
        def suggest(self, trial_id):
            self.configs[trial_id] = {"x": np.float64(3.0), "n": np.int64(2), "model": Model(7), "v": np.arange(3)}
            return self.configs[trial_id]

    def uses(config):
        tune.report(score=config["x"] * config["n"] * config["model"].n + config["v"].sum())

    analysis = run(uses, search_alg=Rich())
    assert analysis.trials[0].last_result["score"] == 45.0


def test_A2_wrapped_searchers_in_a_run(run):
    inner = Halving()
    analysis = run(
        square,
        search_alg=ConcurrencyLimiter(Repeater(inner, repeat=2), max_concurrent=2),
        num_samples=6,
        metric="score",
        mode="min",
    )
    assert len(analysis.trials) == 6
    assert len(inner.configs) == 3
    assert sorted(trial.config["__trial_index__"] for trial in analysis.trials) == [0, 0, 0, 1, 1, 1]
    values = [event[2] for event in inner.events if event[0] == "complete"]
    assert len(values) == 3
    assert not any(math.isnan(value) for value in values)


def test_A2_an_interrupted_search_goes_on(run):
    searcher = Halving()
    first = run(
        square, search_alg=searcher, num_samples=2, name="exp", max_concurrent_trials=1, metric="score", mode="min"
    )
    again = Halving()
    second = run(
        square,
        search_alg=again,
        num_samples=4,
        name="exp",
        max_concurrent_trials=1,
        metric="score",
        mode="min",
        resume="AUTO",
    )
    assert xs(first) == [4.0, 2.0]
    assert xs(second) == [4.0, 2.0, 1.0, 0.5]
    assert len(again.configs) == 4
