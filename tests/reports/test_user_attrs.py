"""What users attach to runs and trials: it is kept with the experiment, and steers nothing."""

from __future__ import annotations

import pickle
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune

EXECUTORS = pytest.mark.parametrize("executor", ["inline", "thread", "process"])


def attaching(config: dict[str, Any]) -> None:
    tune.set_user_attr("size", 10 * config["n"])
    tune.set_user_attr("note", "first")
    for n in range(3):
        tune.report(loss=config["n"] - n)
    tune.set_user_attr("note", {"said": ["last", config["n"]]})


class Attaching(tune.Trainable):
    def step(self) -> dict[str, Any]:
        tune.set_user_attr("size", 10 * self.config["n"])
        tune.set_user_attr("note", {"said": ["last", self.config["n"]]})
        return {"loss": self.config["n"] - self.iteration, "done": self.iteration == 2}


def run(trainable: Any, folder: Path, **more: Any) -> tune.ExperimentAnalysis:
    asked = {"config": {"n": tune.grid_search([1, 2, 3])}, "metric": "loss", "mode": "min", "verbose": 0, **more}
    return tune.run(trainable, name="e", storage_path=folder, **asked)


@EXECUTORS
@pytest.mark.parametrize("trainable", [attaching, Attaching])
def test_of_trials(tmp_path: Path, executor: str, trainable: Any) -> None:
    analysis = run(trainable, tmp_path, executor=executor)
    for found in (analysis, tune.ExperimentAnalysis(tmp_path / "e"), pickle.loads(pickle.dumps(analysis))):
        for trial in found.trials:
            n = trial.config["n"]
            assert trial.user_attrs == {"size": 10 * n, "note": {"said": ["last", n]}}
            assert "size" not in trial.last_result
            trial.user_attrs["note"]["said"].clear()  # a copy: nobody changes the experiment through it
            assert trial.user_attrs["note"]["said"] == ["last", n]
        for frame in (found.dataframe(), found.results_df):
            assert frame["user_attrs/size"].tolist() == [10, 20, 30]
            assert frame["user_attrs/note/said"].tolist() == [["last", 1], ["last", 2], ["last", 3]]
    results = tune.ResultGrid(analysis)
    assert sorted(result.user_attrs["size"] for result in results) == [10, 20, 30]


def test_columns_of_what_some_trials_have(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        if config["n"] > 1:
            tune.set_user_attr("n", config["n"])
            tune.set_user_attr("text", "\ud800" if config["n"] == 3 else "plain")
        if config["n"] < 3:
            tune.report(loss=1.0)

    frame = run(train, tmp_path, raise_on_failed_trial=False).results_df
    assert frame["user_attrs/n"].dtype == "float64"
    assert frame["user_attrs/n"].fillna(0).tolist() == [0, 2, 3]
    assert frame["user_attrs/text"].isna().tolist() == [True, False, False]
    assert "user_attrs/n" not in run(train, tmp_path / "2", config={"n": 1}).dataframe()


def test_of_runs_by_all_sessions(tmp_path: Path) -> None:
    first = run(attaching, tmp_path, user_attrs={"data": "v3", "by": {"whom": "me"}})
    assert first.user_attrs == {"data": "v3", "by": {"whom": "me"}}
    again: dict[str, Any] = {"resume": "AUTO", "num_samples": 2}
    run(attaching, tmp_path, **again)
    last = run(attaching, tmp_path, **{**again, "num_samples": 3}, user_attrs={"data": "v4", "rate": 0.5})
    for found in (last, tune.ExperimentAnalysis(tmp_path / "e"), pickle.loads(pickle.dumps(last))):
        assert found.user_attrs == {"data": "v4", "by": {"whom": "me"}, "rate": 0.5}
        assert len(found.trials) == 9
    config = tune.RunConfig(name="t", storage_path=tmp_path, verbose=0, user_attrs={"data": 1})
    grid = tune.Tuner(attaching, param_space={"n": 1}, run_config=config).fit()
    assert tune.ExperimentAnalysis(grid.experiment_path).user_attrs == {"data": 1}


def test_told_by_hand(tmp_path: Path) -> None:
    with tune.open_experiment(
        {"n": 1}, name="e", metric="loss", mode="min", storage_path=tmp_path, user_attrs={"a": 1}
    ) as experiment:
        asked = experiment.ask()
        assert asked is not None
        experiment.set_user_attr(asked, "seen", 3)
        experiment.report(asked, 2.0)
        experiment.set_user_attr(asked, "seen", 4)
        experiment.tell(asked, 1.0)
        with pytest.raises((LookupError, ValueError)):
            experiment.set_user_attr(asked, "seen", 5)
    found = tune.ExperimentAnalysis(tmp_path / "e")
    assert (found.user_attrs, found.trials[0].user_attrs) == ({"a": 1}, {"seen": 4})
    assert found.trials[0].last_result["loss"] == 1.0


@EXECUTORS
def test_from_threads_of_a_trial(tmp_path: Path, executor: str) -> None:
    def train(config: dict[str, Any]) -> None:
        threads = [threading.Thread(target=tune.set_user_attr, args=(f"of {k}", config["n"])) for k in range(4)]
        for one in threads:
            one.start()
        tune.report(loss=1.0)
        for one in threads:
            one.join()

    for trial in run(train, tmp_path, executor=executor).trials:
        assert trial.user_attrs == {f"of {k}": trial.config["n"] for k in range(4)}


@EXECUTORS
def test_values_of_any_kind(tmp_path: Path, executor: str) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.set_user_attr("set", {3})
        tune.set_user_attr("decimal", Decimal("0.5"))
        tune.set_user_attr("nothing", None)
        tune.set_user_attr("nan", float("nan"))
        tune.report(loss=1.0)

    analysis = run(train, tmp_path, executor=executor, config={"n": 1})
    [trial] = analysis.trials
    nan = trial.user_attrs["nan"]
    assert nan != nan
    assert {**trial.user_attrs, "nan": 0} == {"set": [3], "decimal": 0.5, "nothing": None, "nan": 0}


def test_what_is_refused(tmp_path: Path) -> None:
    for given, error, words in (
        ({"user_attrs": ["a"]}, TypeError, "must be a dict"),
        ({"user_attrs": {1: "a"}}, TypeError, "must be a text, got 1"),
        ({"user_attrs": {"": "a"}}, ValueError, "must not be empty"),
        ({"user_attrs": {"long": "x" * 70_000}}, ValueError, "'long' take 70,"),
    ):
        with pytest.raises(error, match=words):
            run(attaching, tmp_path, **given)
    assert list(tmp_path.iterdir()) == []
    with pytest.warns(UserWarning, match=r"tune.set_user_attr\(\) does nothing here"):
        tune.set_user_attr("a", 1)
