"""Rows H1 to H10 through a run: what was sampled is what the trial gets, what is shown, and what the journal says."""

from __future__ import annotations

from typing import Any

import pytest

import fasttune as tune
from fasttune.search import BasicVariantGenerator


def echo(config: dict[str, Any]) -> None:
    tune.report(ok=1)


def configs(analysis: tune.ExperimentAnalysis) -> list[dict[str, Any]]:
    return [trial.config for trial in analysis.trials]


def same_from_disk(analysis: tune.ExperimentAnalysis) -> None:
    """What the journal says of configs, parameters and tags equals what the run said."""
    again = tune.ExperimentAnalysis(analysis.experiment_path)
    assert configs(again) == configs(analysis)
    assert [t.evaluated_params for t in again.trials] == [t.evaluated_params for t in analysis.trials]
    assert [t.experiment_tag for t in again.trials] == [t.experiment_tag for t in analysis.trials]


def test_H1_bounds_and_steps_of_every_function(run):
    space = {
        "uniform": tune.uniform(-5, -1),
        "quniform": tune.quniform(3.2, 5.4, 0.2),
        "loguniform": tune.loguniform(1e-4, 1e-1),
        "qloguniform": tune.qloguniform(1e-4, 1e-1, 5e-5),
        "randn": tune.randn(10, 2),
        "qrandn": tune.qrandn(10, 2, 0.2),
        "randint": tune.randint(-9, 15),
        "qrandint": tune.qrandint(-21, 12, 3),
        "lograndint": tune.lograndint(1, 10),
        "qlograndint": tune.qlograndint(1, 10, 2),
        "choice": tune.choice(["a", "b", "c"]),
    }
    analysis = run(echo, config=space, num_samples=500)
    drawn = configs(analysis)
    columns = {name: [config[name] for config in drawn] for name in space}
    assert all(-5 <= x < -1 for x in columns["uniform"])
    assert all(3.19 <= x <= 5.41 for x in columns["quniform"])
    assert all(1e-4 <= x < 1e-1 for x in columns["loguniform"])
    assert all(abs(x / 5e-5 - round(x / 5e-5)) < 1e-6 for x in columns["qloguniform"])
    assert all(abs(x / 0.2 - round(x / 0.2)) < 1e-6 for x in columns["qrandn"])
    assert set(columns["randint"]) == set(range(-9, 15))
    assert set(columns["qrandint"]) == set(range(-21, 13, 3))
    assert set(columns["lograndint"]) == set(range(1, 10))
    assert set(columns["qlograndint"]) == {2, 4, 6, 8, 10}
    assert set(columns["choice"]) == {"a", "b", "c"}
    assert all(type(x) is int for x in columns["randint"])
    assert len(set(columns["uniform"])) == 500


def test_H2_upper_bounds(run):
    space = {"a": tune.randint(0, 3), "b": tune.qrandint(0, 3, 1), "c": tune.qrandint(0, 4, 2)}
    drawn = configs(run(echo, config=space, num_samples=200))
    assert [{config[name] for config in drawn} for name in "abc"] == [{0, 1, 2}, {0, 1, 2}, {0, 2, 4}]


def test_H3_quniform_bounds_must_be_multiples(run):
    with pytest.raises(ValueError, match="multiple"):
        run(echo, config={"x": tune.quniform(0, 32, 3)})


def test_H4_sample_from_in_both_forms_nested_and_dependent(run):
    space = {
        "x": tune.grid_search([1, 10]),
        "y": tune.sample_from(lambda spec: spec.config.x + 1),
        "z": tune.sample_from(lambda config: config["y"] + 1),
        "deep": {"w": tune.sample_from(lambda spec: spec.config["z"] * 2)},
        "none": tune.sample_from(lambda: 5),
    }
    analysis = run(echo, config=space)
    assert configs(analysis) == [
        {"x": 1, "y": 2, "z": 3, "deep": {"w": 6}, "none": 5},
        {"x": 10, "y": 11, "z": 12, "deep": {"w": 24}, "none": 5},
    ]
    assert analysis.trials[0].evaluated_params == {"x": 1, "y": 2, "z": 3, "deep/w": 6, "none": 5}
    same_from_disk(analysis)


def test_H4_functions_are_called_once_and_their_random_values_are_kept(run):
    import random

    rng = random.Random(5)
    space = {"x": tune.sample_from(lambda spec: rng.random())}

    def reports_it(config):
        tune.report(x=config["x"])

    analysis = run(reports_it, config=space, num_samples=5)
    assert [trial.last_result["x"] for trial in analysis.trials] == [c["x"] for c in configs(analysis)]
    assert len({config["x"] for config in configs(analysis)}) == 5
    same_from_disk(analysis)


def test_H4_recursion_is_named(run):
    space = {
        "a": tune.sample_from(lambda spec: spec.config.b),
        "b": tune.sample_from(lambda spec: spec.config.a),
    }
    with pytest.raises(Exception, match="recursively depend"):
        run(echo, config=space)


def test_H5_grids_repeat_and_tags_count(run):
    space = {"bar": tune.grid_search([True, False]), "foo": tune.grid_search([1, 2, 3])}
    analysis = run(echo, config=space)
    assert [trial.experiment_tag for trial in analysis.trials] == [
        "0_bar=True,foo=1",
        "1_bar=False,foo=1",
        "2_bar=True,foo=2",
        "3_bar=False,foo=2",
        "4_bar=True,foo=3",
        "5_bar=False,foo=3",
    ]
    assert len(run(echo, config=space, num_samples=2).trials) == 12
    same_from_disk(analysis)


def test_H6_spaces_in_lists_tuples_choices_and_grids(run):
    space = {
        "x": {"y": {"z": tune.choice([1, 2, 3])}},
        "list": [1, tune.uniform(0, 1), {"a": tune.randint(0, 5)}],
        "model": tune.choice([{"kind": "svm", "c": tune.loguniform(1e-3, 1)}, {"kind": "tree", "depth": 3}]),
        "opt": tune.grid_search([{"name": "sgd", "lr": tune.uniform(0, 1)}, {"name": "adam"}]),
    }
    analysis = run(echo, config=space, num_samples=10)
    assert len(analysis.trials) == 20
    for trial in analysis.trials:
        config = trial.config
        assert trial.evaluated_params["x/y/z"] == config["x"]["y"]["z"]
        assert 0 <= config["list"][1] < 1
        assert config["list"][2]["a"] in range(5)
        assert config["model"]["kind"] in ("svm", "tree")
        assert ("c" in config["model"]) == (config["model"]["kind"] == "svm")
        assert ("lr" in config["opt"]) == (config["opt"]["name"] == "sgd")
    same_from_disk(analysis)


def test_H7_constant_grid_search(run):
    space = {"grid": tune.grid_search([1, 2, 3]), "x": tune.uniform(0, 1)}
    generator = BasicVariantGenerator(constant_grid_search=True)
    drawn = configs(run(echo, config=space, num_samples=2, search_alg=generator))
    assert len({config["x"] for config in drawn[:3]}) == 1
    assert len({config["x"] for config in drawn[3:]}) == 1
    assert drawn[0]["x"] != drawn[3]["x"]


@pytest.mark.parametrize(
    ("points", "total"),
    [
        ([{"grid_1": "b"}], 3 + 60),
        ([{"grid_2": "z"}], 4 + 60),
        ([{"grid_1": "a", "grid_2": "y"}], 1 + 60),
        ([{"grid_1": "b"}, {"grid_2": "z"}, {"grid_1": "a", "grid_2": "y"}], 3 + 4 + 1 + 36),
    ],
)
def test_H8_points_to_evaluate_counts(run, points, total):
    space = {
        "grid_1": tune.grid_search(["a", "b", "c", "d"]),
        "grid_2": tune.grid_search(["x", "y", "z"]),
        "x": tune.uniform(0, 1),
    }
    generator = BasicVariantGenerator(points_to_evaluate=points)
    analysis = run(echo, config=space, num_samples=6, search_alg=generator)
    assert len(analysis.trials) == total
    same_from_disk(analysis)


def test_H9_reproducible_with_numpys_seed_and_with_random_state(executor, tmp_path):
    import numpy as np

    def drawn(**more: Any) -> list[dict[str, Any]]:
        space = {"x": tune.uniform(0, 1), "y": tune.choice([1, 2, 3])}
        return configs(
            tune.run(echo, config=space, num_samples=5, executor=executor, storage_path=tmp_path, verbose=0, **more)
        )

    np.random.seed(7)
    first = drawn()
    np.random.seed(7)
    assert drawn() == first
    assert drawn() != first
    for state in (4, np.random.default_rng(4), np.random.RandomState(4)):
        made = drawn(search_alg=BasicVariantGenerator(random_state=state))
        assert len(made) == 5
    found = [drawn(search_alg=BasicVariantGenerator(random_state=4)) for _ in range(2)]
    assert found[0] == found[1]


class Model:
    def __init__(self, size: int) -> None:
        self.size = size


def test_H10_objects_reach_the_trial(run, executor):
    model = Model(3)

    def uses(config):
        tune.report(size=config["model"].size, same=id(config["model"]) == config["id"], called=config["f"](2))

    space = {
        "model": model,
        "id": id(model),
        "f": lambda x: x + 1,
        "other": tune.choice([Model(1), Model(2)]),
        "x": tune.uniform(0, 1),
    }
    analysis = run(uses, config=space, num_samples=2)
    for trial in analysis.trials:
        assert (trial.last_result["size"], trial.last_result["called"]) == (3, 3)
        assert trial.last_result["same"] is (executor != "process")
        assert trial.config["model"] is model
        assert trial.config["other"].size in (1, 2)
    frame = analysis.dataframe()
    assert "config/x" in frame.columns
    again = tune.ExperimentAnalysis(analysis.experiment_path)
    assert [trial.config["x"] for trial in again.trials] == [trial.config["x"] for trial in analysis.trials]
