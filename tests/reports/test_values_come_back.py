"""Values of configs and reports are what they were: in the trial, in the analysis, in an experiment that is opened or gone on with."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import json
import os
import pathlib
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasttune as tune
from fasttune.cli import main
from fasttune.logger import CSVLoggerCallback, JsonLoggerCallback
from fasttune.metric_values import from_json, split_metrics, to_json
from fasttune.schedulers import PopulationBasedTraining
from fasttune.search import Searcher
from fasttune.space.as_json import config_from_json, config_to_json

HALF = "a\ud800b"  # one half of a pair of surrogates, which UTF-8 does not have


class Act(enum.Enum):
    RELU = 1


class Kind(enum.IntEnum):
    GOOD = 1


class Text(str):
    pass


class Broken:
    """Nothing of it can be kept but its text."""

    made = 0

    def __init__(self) -> None:
        Broken.made += 1
        self.number = Broken.made

    def __reduce__(self) -> Any:
        raise RuntimeError("not this one")

    def __repr__(self) -> str:
        return "a broken one"


EXACT: dict[str, Any] = {  # as it was also where nothing is unpickled
    "longdouble": np.longdouble("0.1"),
    "float32": np.float32(0.1),
    "float64": np.float64(0.1),
    "int8": np.int8(-3),
    "bool_": np.bool_(True),
    "str_": np.str_("x"),
    "nan32": np.float32("nan"),
    "datetime64": np.datetime64("2020-01-01T00:00:00.123456789"),
    "not a time": np.datetime64("NaT"),
    "timedelta64": np.timedelta64(5, "ns"),
    "array": np.arange(6, dtype=np.int16).reshape(2, 3),
    "moments": np.array(["2020-01-01"], dtype="datetime64[ns]"),
    "half": HALF,
    "half key": {HALF: 1},
    "beyond 53 bits": 2**60,
    "two kinds of keys": {1: 1, "b": {2: 3, "c": 4}, None: 5, (1, 2): 6, 2.5: 7},
    "tuple": (1, (2, [3])),
    "not finite": [float("nan"), float("inf"), -float("inf")],
    "bytes": b"\x00x",
    "set": {(2, "a")},  # one element: the order of more is another one in each process
    "frozenset": frozenset([1, 2]),
    "path": pathlib.Path("/x/y"),
    "pure path": pathlib.PureWindowsPath("c:\\x"),
    "date": datetime.date(2020, 1, 1),
    "datetime": datetime.datetime(2020, 1, 1, 3, tzinfo=datetime.UTC),
    "duration": datetime.timedelta(1, 2, 3),
    "decimal": decimal.Decimal("1.50"),
    "fraction": fractions.Fraction(1, 3),
    "complex": 1 + 2j,
    "tilde": {"~": "tuple", "items": 3},
    "range": range(0, 10, 3),
    "none": None,
}
PICKLED: dict[str, Any] = {  # as it was where a run goes on
    "enum": Act.RELU,
    "int enum": Kind.GOOD,
    "subclass of str": Text("x"),
    "objects": np.array([None, Act.RELU], dtype=object),
    "class": Act,
    "function": config_to_json,
}
ALL = {**EXACT, **PICKLED}


def shown(config: dict[str, Any]) -> dict[str, str]:
    """With the types, and with those of keys and elements."""
    told = {name: f"{type(value).__name__} {value!r:.300}" for name, value in config.items()}
    return {name: re.sub(" at 0x[0-9a-f]+", "", text) for name, text in told.items()}


seen: list[dict[str, str]] = []


def train(config: dict[str, Any]) -> None:
    seen.append(shown({name: config[name] for name in ALL}))
    tune.report(loss=1.0)


class Own(Searcher):
    def suggest(self, trial_id: str) -> dict[str, Any]:
        return dict(ALL)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None: ...


def forms() -> dict[str, dict[str, Any]]:
    functions = {name: tune.sample_from(lambda spec, name=name: ALL[name]) for name in ALL}
    return {
        "constants": {"config": ALL},
        "choices": {"config": {name: tune.choice([value]) for name, value in ALL.items()}},
        "grids": {"config": {name: tune.grid_search([value]) for name, value in ALL.items()}},
        "functions": {"config": functions},
        "a searcher of one's own": {"search_alg": Own()},
        "tpe, choices": {"config": {name: tune.choice([value]) for name, value in ALL.items()}, "search_alg": "tpe"},
        "tpe, constants": {"config": {**ALL, "x": tune.uniform(0, 1)}, "search_alg": "tpe"},
        "tpe, functions": {"config": {"x": tune.uniform(0, 1), **functions}, "search_alg": "tpe"},
    }


def as_now(config: dict[str, Any], names: Any = ALL) -> None:
    assert shown({name: config[name] for name in names}) == shown({name: ALL[name] for name in names})


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", forms())
def test_configs_are_what_they_were(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """np.longdouble recursed, np.datetime64 came back as a number, a half of a surrogate pair ended the finished run, keys of
    two kinds could not be sorted, and after a resume a Path was a text and np.float32 a float."""
    given: dict[str, Any] = {
        "metric": "loss",
        "mode": "min",
        "executor": "inline",
        "name": "e",
        "storage_path": tmp_path,
    }
    seen.clear()
    loggers = [CSVLoggerCallback(), JsonLoggerCallback()]
    told = tune.run(train, **given, **forms()[form], verbose=2, callbacks=loggers)
    as_now(told.trials[0].config)
    assert seen == [shown(ALL)]
    params = json.loads((Path(told.trials[0].local_path) / "params.json").read_text())
    assert params["tuple"] == [1, [2, [3]]]
    opened = tune.ExperimentAnalysis(str(tmp_path / "e"))
    as_now(opened.trials[0].config, EXACT)
    for analysis in (told, opened):
        for frame in (analysis.dataframe(), analysis.results_df):
            frame.to_csv(tmp_path / "frame.csv")  # as UTF-8
        assert analysis.trials[0].experiment_tag
        assert analysis.trials[0].evaluated_params is not None
    assert main(["show", str(tmp_path / "e")]) == 0
    assert main(["ls", str(tmp_path / "e")]) == 0
    assert main(["table", str(tmp_path / "e")]) == 0
    again = tune.run(train, **given, **forms()[form], verbose=0, resume=True)
    assert len(seen) == 1
    as_now(again.trials[0].config)
    rerun = tune.run(train, **given, **forms()[form], verbose=0, resume_config=tune.ResumeConfig(finished="restart"))
    as_now(rerun.trials[0].config)
    assert seen == [shown(ALL)] * 2
    assert "raised an error" not in capsys.readouterr().err


def test_an_int_of_more_digits_than_python_writes(tmp_path: Path) -> None:
    """It ended the run before its first trial, or behind its last one."""
    huge = -(2**20_000)

    def nothing(config: dict[str, Any]) -> None:
        tune.report(loss=float(config["x"] == huge))

    for k, x in enumerate((huge, tune.choice([huge]), tune.sample_from(lambda spec: huge))):
        for searcher in (None, "tpe") if k < 2 else (None,):
            space = {"x": x, "y": tune.uniform(0, 1)}
            given: dict[str, Any] = {"config": space, "search_alg": searcher, "executor": "inline", "verbose": 0}
            name = f"{k}{searcher}"
            told = tune.run(nothing, name=name, storage_path=tmp_path, metric="loss", mode="min", **given)
            assert told.trials[0].last_result["loss"] == 1.0
            assert tune.ExperimentAnalysis(str(tmp_path / name)).trials[0].config["x"] == huge


def test_configs_reach_worker_processes_and_come_back(tmp_path: Path) -> None:
    """The same, where a trial is another process."""

    def reports(config: dict[str, Any]) -> None:
        tune.report(loss=1.0, seen=shown(config))

    for form in ("functions", "a searcher of one's own"):
        given: dict[str, Any] = {"name": form[:5], "storage_path": tmp_path, "verbose": 0, **forms()[form]}
        told = tune.run(reports, **given)
        assert told.trials[0].last_result["seen"] == shown(ALL)
        as_now(tune.run(reports, **given, resume=True).trials[0].config)


class Steps(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.i = 0

    def step(self) -> dict[str, Any]:
        self.i += 1
        seen.append(shown({name: self.config[name] for name in ALL}))
        return {"score": self.i * self.config["lr"]}

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        return {"i": self.i}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.i = checkpoint["i"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_configs_that_a_population_has_changed_are_what_they_were(tmp_path: Path) -> None:
    """After a resume of a population, tuples were lists and objects their texts in every trial that had copied another one."""

    def go(until: int, **more: Any) -> Any:
        pbt = PopulationBasedTraining(
            time_attr="training_iteration",
            perturbation_interval=1,
            hyperparam_mutations={"lr": tune.uniform(0, 1)},
            seed=1,
        )
        return tune.run(
            Steps, config={**ALL, "lr": tune.uniform(0, 1)}, scheduler=pbt, num_samples=4, stop={"training_iteration": until},
            metric="score", mode="max", executor="inline", verbose=0, name="e", storage_path=tmp_path, seed=1, **more,
        )  # fmt: skip

    go(4)
    assert len(tune.ExperimentAnalysis(str(tmp_path / "e")).lineage())
    for trial in tune.ExperimentAnalysis(str(tmp_path / "e")).trials:
        as_now(trial.config, EXACT)
    seen.clear()
    again = go(4, resume_config=tune.ResumeConfig(finished="restart"))
    for trial in again.trials:
        as_now(trial.config)
    assert seen
    assert all(one == shown(ALL) for one in seen)


got: list[Any] = []


def test_what_cannot_be_kept_is_sampled_again_and_said(tmp_path: Path) -> None:
    """After a resume a trial was given the text of an object that a function had made."""
    got.clear()
    fails = [True]

    def fragile(config: dict[str, Any]) -> None:
        got.append(config["object"])
        tune.report(loss=float(config["x"]))
        if fails[0]:
            raise RuntimeError("on purpose")

    space = {"x": tune.sample_from(lambda spec: len(got) + 5), "object": tune.sample_from(Broken)}
    given: dict[str, Any] = {"config": space, "executor": "inline", "verbose": 0, "name": "e", "storage_path": tmp_path}
    first = tune.run(fragile, **given, raise_on_failed_trial=False)
    assert first.trials[0].config["x"] == 5
    fails[0] = False
    assert tune.ExperimentAnalysis(str(tmp_path / "e")).trials[0].config["object"] == "a broken one"
    with pytest.warns(RuntimeWarning, match=r"1 trials that go on .* hold 'object', which is sampled again"):
        again = tune.run(fragile, **given, resume="ERRORED_ONLY")
    assert [type(one) for one in got] == [Broken, Broken]
    assert again.trials[0].config["object"] is got[1]
    assert again.trials[0].config["x"] == 5  # the other function is not asked again
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing goes on, nothing is said
        tune.run(fragile, **given, resume=True)


class OwnBroken(Own):
    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"object": Broken(), "n": Broken.made}


def test_a_suggestion_that_cannot_be_kept_is_said(tmp_path: Path) -> None:
    """A searcher that suggests objects anew at each resume: the trial gets the text, and nobody said so."""
    fails = [True]

    def fragile(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        if fails[0]:
            raise RuntimeError("on purpose")

    given: dict[str, Any] = {"executor": "inline", "verbose": 0, "name": "e", "storage_path": tmp_path}
    tune.run(fragile, search_alg=OwnBroken(), **given, raise_on_failed_trial=False)
    fails[0] = False
    with pytest.warns(RuntimeWarning, match="hold an object, of which it gets the text"):
        tune.run(fragile, search_alg=OwnBroken(), **given, resume="ERRORED_ONLY")


def test_nothing_is_unpickled_by_looking(tmp_path: Path) -> None:
    """Whoever opens an experiment runs none of the code that lies in it."""
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(marker),)

    def nothing(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)

    space = {"object": tune.sample_from(Evil)}
    tune.run(nothing, config=space, executor="inline", verbose=0, name="e", storage_path=tmp_path)
    analysis = tune.ExperimentAnalysis(str(tmp_path / "e"))
    assert "Evil object" in analysis.trials[0].config["object"]
    analysis.dataframe()
    assert not marker.exists()


def test_forms_that_somebody_made_up_cost_only_themselves() -> None:
    """A journal may be a stranger's: a number of a billion digits, or an array of a terabyte, is not made."""
    for form in (
        {"~": "numpy", "dtype": "<U1000000000", "value": "x"},
        {"~": "numpy", "dtype": "O", "value": 1},
        {"~": "array", "dtype": "<i8", "shape": [10**9], "data": ""},
        {"~": "array", "dtype": "|O", "shape": [1], "data": "AAAAAAAAAAA="},
        {"~": "Fraction", "parts": ["1e1000000000", 1]},
        {"~": "path", "kind": "Evil", "text": "x"},
        {"~": "set", "items": [{}]},
        {"~": "nothing of the kind"},
        {"~": ["unhashable"]},
    ):
        with pytest.raises((ValueError, TypeError, KeyError)):
            config_from_json(form, True)


def rich_report(config: dict[str, Any]) -> None:
    tune.report(
        {
            "loss": 2**60 + 1,
            "tuple": (1, (2, [3, {1: 2, "1": (4,), "~": 5}])),
            "~": "x",
            "longdouble": np.longdouble("0.5"),
            "moment": np.datetime64("2020-01-01T00:00:00.000000001"),
            "moments": np.array(["2020-01-01"], dtype="datetime64[ns]"),
            "half": HALF,
            "half key": {HALF: 1},
            "keys": {1: "one", "1": "text", None: 2},
            "huge": 2**20_000,
            "deep": [[{2.5: True}]],
        }
    )


KEPT = {
    "tuple": (1, (2, [3, {1: 2, "1": (4,), "~": 5}])),
    "~": "x",
    "longdouble": 0.5,
    "moment": "2020-01-01T00:00:00.000000001",
    "moments": ["2020-01-01T00:00:00.000000000"],
    "half": "a\\ud800b",
    "half key": {"a\\ud800b": 1},
    "keys": {"1 (int)": "one", "1": "text", "None": 2},
    "deep": [[{2.5: True}]],
}


@pytest.mark.filterwarnings("ignore:two keys of a report")
@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_reports_are_what_they_were(tmp_path: Path, executor: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Tuples came back as lists, keys of two types as "reported twice", and an int beyond 2**53 could not be the metric."""
    told = tune.run(
        rich_report, metric="loss", mode="max", executor=executor, verbose=2, name="e", storage_path=tmp_path,
        callbacks=[CSVLoggerCallback(), JsonLoggerCallback()],
    )  # fmt: skip
    opened = tune.ExperimentAnalysis(str(tmp_path / "e"), default_metric="loss", default_mode="max")
    again = tune.run(rich_report, metric="loss", mode="max", verbose=0, name="e", storage_path=tmp_path, resume=True)
    for analysis in (told, opened, again):
        result = analysis.best_trial.last_result
        assert {name: result[name] for name in KEPT} == KEPT
        assert result["loss"] == 2**60 + 1
        assert result["huge"].startswith("0x1000")
        analysis.dataframe().to_csv(tmp_path / "frame.csv")
    assert main(["show", str(tmp_path / "e")]) == 0
    assert "raised an error" not in capsys.readouterr().err


def test_results_that_are_used_again_are_what_they_were() -> None:
    """on_duplicate="reuse" gave the second trial a rounded metric, and lists in place of tuples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = tune.run(
            rich_report, metric="loss", mode="max", num_samples=2, on_duplicate="reuse", executor="inline", verbose=0,
            config={"k": tune.choice([(1, 2)])}, max_concurrent_trials=1,
        )  # fmt: skip
    first, second = (trial.last_result for trial in told.trials)
    assert first["loss"] == second["loss"] == 2**60 + 1
    assert {name: second[name] for name in KEPT} == KEPT


def test_an_int_beyond_53_bits_is_the_metric_of_an_open_experiment() -> None:
    """``tell`` said that the metric was misspelt."""
    with tune.open_experiment({"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=1) as experiment:
        asked = experiment.ask()
        assert asked is not None
        experiment.tell(asked, {"loss": 2**60 + 1, "t": (1, 2)})
        (trial,) = experiment.analysis.trials
        assert (trial.last_result["loss"], trial.last_result["t"]) == (2**60 + 1, (1, 2))


def test_values_in_each_other_as_deep_as_reports_may_be_are_read() -> None:
    """A tuple takes two levels of JSON: what was written must not be too deep for who reads it."""
    value: Any = (1,)
    for k in range(85):
        value = (value,) if k % 2 else [value]
    _, extra = split_metrics({"deep": value})
    text = to_json(extra)
    assert from_json(text) == extra
    assert (
        max(text[: k + 1].count(b"[") + text[: k + 1].count(b"{") - text[: k + 1].count(b"]") for k in range(300)) < 100
    )
