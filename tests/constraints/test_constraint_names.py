"""What is said of constraints in other words than a dict of plain names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasttune as tune
from fasttune.constraints import constraint_violation


def run(train: Any, tmp_path: Path, **more: Any) -> tune.ExperimentAnalysis:
    given: dict[str, Any] = {
        "config": {"x": tune.uniform(0, 1)}, "num_samples": 30, "metric": "loss", "mode": "min", "seed": 1, "verbose": 0,
        "executor": "inline", "storage_path": str(tmp_path), "raise_on_failed_trial": False, **more,
    }  # fmt: skip
    return tune.run(train, **given)


def reports(value: Any) -> Any:
    return lambda config: tune.report(loss=config["x"], constraints=value(config["x"]))


def returns(value: Any) -> Any:
    return lambda config: {"loss": config["x"], "constraints": value(config["x"])}


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
@pytest.mark.parametrize("form", [reports, returns])
@pytest.mark.parametrize(
    "value", [lambda x: 0.5 - x, lambda x: np.float64(0.5 - x), lambda x: [0.5 - x]], ids=["bare", "numpy", "list"]
)
def test_a_number_alone_is_a_constraint(tmp_path: Path, executor: str, form: Any, value: Any) -> None:
    """It was taken for a metric of that name, and held against nothing."""
    best = run(form(value), tmp_path, executor=executor).best_result
    assert best["loss"] >= 0.5
    assert constraint_violation(best) == 0.0


@pytest.mark.parametrize("form", [reports, returns])
def test_whether_it_holds_is_refused(tmp_path: Path, form: Any) -> None:
    analysis = run(form(lambda x: x < 0.5), tmp_path, num_samples=1)
    assert "must be a number, at most 0 where it holds, got bool" in str(analysis.trials[0].get_error())


def test_nan_breaks_it(tmp_path: Path) -> None:
    analysis = run(reports(lambda x: float("nan") if x < 0.5 else -1.0), tmp_path)
    assert analysis.best_result["loss"] >= 0.5


def test_columns_without_a_name(tmp_path: Path) -> None:
    def formula(configs: dict[str, Any]) -> dict[str, Any]:
        return {"loss": configs["x"], "constraints": 0.5 - configs["x"]}

    assert run(tune.vectorized(formula), tmp_path, executor=None).best_result["loss"] >= 0.5


def test_columns_of_bools_are_refused(tmp_path: Path) -> None:
    def formula(configs: dict[str, Any]) -> dict[str, Any]:
        return {"loss": configs["x"], "constraints": {"low": configs["x"] < 0.5}}

    analysis = run(tune.vectorized(formula), tmp_path, executor=None)
    assert "the constraint 'low' must be a number" in str(analysis.trials[0].get_error())


def test_a_slash_in_a_name(tmp_path: Path) -> None:
    """Results show such a name as a dict within a dict."""

    def train(config: dict[str, Any]) -> None:
        tune.report({"loss": config["x"], "val/acc": config["x"]})

    analysis = run(train, tmp_path, constraints="val/acc >= 0.5", stop="regret")
    assert analysis.best_result["loss"] >= 0.5
    broken = [constraint_violation(trial.last_result) for trial in analysis.trials]
    assert broken == [pytest.approx(max(0.0, 0.5 - trial.config["x"])) for trial in analysis.trials]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time_total_s <= 3", "is about 'time_total_s', which results have beside what trials report"),
        ("training_iteration >= 3", "is about 'training_iteration'"),
        ("config/x <= 1", "is about 'config/x'"),
        ("loss <= 0.1 <= 3", "a constraint must be a metric, <= or >=, and a number"),
    ],
)
def test_a_limit_that_would_hold_nothing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run(lambda config: {"loss": 1.0}, tmp_path, constraints=text)


def test_a_metric_as_large_as_a_score_is_a_metric(tmp_path: Path) -> None:
    assert run(lambda config: {"loss": 1.5e301}, tmp_path, verbose=1).best_result["loss"] == 1.5e301


def test_a_series_of_pandas_has_names(tmp_path: Path) -> None:
    import pandas as pd

    found = tune.run(
        lambda config: {"loss": config["x"]}, config={"x": 0.25}, metric="loss", mode="min", storage_path=str(tmp_path),
        constraints=lambda result: pd.Series({"wide": result["loss"] - 0.5}), executor="inline", verbose=0,
    )  # fmt: skip
    assert found.best_result["constraints"] == {"wide": -0.25}


def size_and_loss(config: dict[str, Any]) -> dict[str, float]:
    return {"loss": config["x"], "size": 1 - config["x"]}


def searched(tmp_path: Path, **more: Any) -> Any:
    asked = {"num_samples": 20, "metric": "loss", "mode": "min", "seed": 1, "storage_path": str(tmp_path), **more}
    return tune.run(size_and_loss, config={"x": tune.uniform(0, 1)}, executor="inline", verbose=0, **asked)


@pytest.mark.parametrize("name", ["tpe", "gp", "optuna"])
@pytest.mark.parametrize("where", ["in the earlier run", "in this one"])
def test_what_is_known_from_elsewhere_is_held_against_them(tmp_path: Path, name: str, where: str) -> None:
    """Results that broke a constraint were learnt from as the best ones: they have the least losses."""
    limit = "size <= 0.5"
    earlier = searched(tmp_path, constraints=limit if where == "in the earlier run" else None, num_samples=40)
    found = searched(tmp_path, search_alg=name, warm_start=earlier, constraints=limit, num_samples=8)
    told = searched(tmp_path, search_alg=name, constraints=limit, num_samples=8)
    assert sum(trial.config["x"] < 0.4 for trial in found.trials) <= 3
    assert [trial.config for trial in found.trials] != [trial.config for trial in told.trials]


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_so_are_trials_that_a_searcher_is_given(tmp_path: Path, name: str) -> None:
    from fasttune.search import create_searcher

    earlier = searched(tmp_path, constraints="size <= 0.5", num_samples=40)
    made = create_searcher(name, space={"x": tune.uniform(0, 1)}, metric="loss", mode="min", seed=1)
    made.add_evaluated_trials(earlier, "loss")
    assert sum(made.ask().config["x"] < 0.4 for _ in range(8)) <= 3


def test_a_search_begins_near_what_would_have_held_them(tmp_path: Path) -> None:
    earlier = searched(tmp_path, num_samples=40)
    holding = sorted(trial.config["x"] for trial in earlier.trials if trial.config["x"] >= 0.5)
    for asked in ("size <= 0.5", lambda result: result["size"] - 0.5):
        found = searched(tmp_path, search_alg="tpe", warm_start_from=earlier, constraints=asked, num_samples=2)
        assert [trial.config["x"] for trial in found.trials] == holding[:2]
    found = searched(tmp_path, search_alg="tpe", warm_start_from=earlier, constraints="size <= -1", num_samples=1)
    assert found.trials[0].config["x"] == max(trial.config["x"] for trial in earlier.trials)
    made = tune.simulate(
        lambda config, step: size_and_loss(config) if step < 2 else None, {"x": tune.uniform(0, 1)}, num_samples=1, metric="loss",
        mode="min", search_alg="tpe", warm_start_from=earlier, constraints="size <= 0.5",
    )  # fmt: skip
    assert made.trials[0].config["x"] == holding[0]


def run_quietly(trainable: Any, tmp_path: Path, **more: Any) -> Any:
    asked = {"config": {"x": tune.uniform(0, 1)}, "metric": "loss", "mode": "min", "verbose": 0, **more}
    return tune.run(trainable, storage_path=str(tmp_path), **asked)


@pytest.mark.parametrize(("told", "names"), [
    (lambda x: [0.5 - x, 0.7 - x], ["0", "1"]),
    (lambda x: (0.5 - x,), ["0"]),
    (lambda x: list(0.5 - x), ["0"]),
    (lambda x: 0.5 - x, ["0"]),
    (lambda x: {"a": 0.5 - x, "b": -1.0}, ["a", "b"]),
    (lambda x: {}, []),
    (lambda x: None, []),
])  # fmt: skip
def test_columns_of_them_are_given_as_a_trial_alone_gives_them(tmp_path: Path, told: Any, names: list[str]) -> None:
    @tune.vectorized
    def columns(config: dict[str, Any]) -> dict[str, Any]:
        return {"loss": config["x"], "constraints": told(np.asarray(config["x"]))}

    asked: dict[str, Any] = {"config": {"x": tune.uniform(0, 1)}, "num_samples": 9, "metric": "loss", "mode": "min", "seed": 2}
    found = tune.run(columns, storage_path=str(tmp_path), verbose=0, **asked)
    assert sorted(found.best_result.get("constraints", {})) == names
    least = 0.7 if names == ["0", "1"] else 0.5 if names else 0.0
    assert found.best_config["x"] == min(trial.config["x"] for trial in found.trials if trial.config["x"] >= least)


def test_a_table_of_them_is_refused_with_what_to_write(tmp_path: Path) -> None:
    @tune.vectorized
    def columns(config: dict[str, Any]) -> dict[str, Any]:
        return {"loss": config["x"], "constraints": np.zeros((2, len(config["x"])))}

    with pytest.raises(tune.TuneError, match=r"the constraints have the shape \(2, 3\): give each a column of its own"):
        run_quietly(columns, tmp_path, num_samples=3)
