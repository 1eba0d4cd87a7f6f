"""Trials that one call evaluates: what a user sees of them is what he sees of all others."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasttune as tune
import forks
from fasttune.error import TuneError
from fasttune.schedulers import ASHAScheduler, FIFOScheduler, HyperBandScheduler, PopulationBasedTraining
from fasttune.search import Searcher, TPESearch

SPACE = {"x": tune.uniform(-1, 1), "kind": tune.choice(["a", "b"]), "inner": {"n": tune.randint(0, 9), "c": 7}}


def run(function: Any, tmp_path: Path, config: dict[str, Any] = SPACE, num_samples: int = 20, **more: Any) -> Any:
    told: dict[str, Any] = {"metric": "loss", "mode": "min", "verbose": 0, "seed": 3, **more}
    return tune.run(function, config=config, num_samples=num_samples, storage_path=str(tmp_path), name="run", **told)


@tune.vectorized(size=8)
def square(configs: dict[str, Any]) -> dict[str, Any]:
    return {"loss": configs["x"] ** 2, "n": configs["inner"]["n"]}


def one_square(config: dict[str, Any]) -> None:
    tune.report({"loss": config["x"] ** 2, "n": config["inner"]["n"]})


def curve(x: float, step: int) -> float:
    return float(x**2 + 1 / step)


@tune.vectorized(size=16)
def curves(configs: dict[str, Any]) -> Any:
    step = np.zeros(len(configs["x"]))
    while True:
        step += 1
        rows = yield {"loss": configs["x"] ** 2 + 1 / step}
        if rows is not None:
            step, configs = rows.take(step), rows.configs


def one_curve(config: dict[str, Any]) -> None:
    step = 0
    while True:
        step += 1
        tune.report(loss=curve(config["x"], step))


def table_of(analysis: Any, *columns: str) -> list[tuple[Any, ...]]:
    frame = analysis.results_df if hasattr(analysis, "results_df") else analysis.dataframe()
    found = frame[[*columns, "training_iteration"]].to_numpy().tolist()
    return sorted(tuple(row) for row in found)


def test_the_same_results_as_one_by_one(tmp_path: Path) -> None:
    together = run(square, tmp_path / "a")
    single = run(one_square, tmp_path / "b", executor="inline")
    columns = ("config/x", "config/kind", "config/inner/n", "config/inner/c", "loss", "n")
    assert table_of(together, *columns) == table_of(single, *columns)
    assert together.best_config == single.best_config
    assert [trial.status for trial in together.trials] == ["TERMINATED"] * 20
    assert together.trials[0].last_result["n"] == together.trials[0].config["inner"]["n"]
    assert isinstance(together.trials[0].last_result["n"], int)


class Impatient(FIFOScheduler):
    """Asked on each report; stops whoever is worse than 0.5 from its third step on."""

    def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
        return self.STOP if result["training_iteration"] >= 3 and result["loss"] > 0.5 else self.CONTINUE


@pytest.mark.parametrize("scheduler", ["none", "asha", "asked"])
def test_schedulers_decide_as_they_do_one_by_one(scheduler: str, tmp_path: Path) -> None:
    """Compiled rules decide the column; others are asked, and the vector waits for all answers."""

    def made() -> Any:
        if scheduler == "asha":
            return ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3)
        return Impatient() if scheduler == "asked" else None

    analysis = run(curves, tmp_path, num_samples=40, scheduler=made(), stop={"training_iteration": 27})
    steps = analysis.dataframe()["training_iteration"].tolist()
    assert all(trial.status == "TERMINATED" for trial in analysis.trials)
    assert max(steps) == 27
    if scheduler == "none":
        assert set(steps) == {27}
    else:
        assert min(steps) < 27
    for trial in analysis.trials:
        last = trial.last_result
        assert last["loss"] == pytest.approx(curve(trial.config["x"], last["training_iteration"]))
    assert analysis.best_trial.last_result["training_iteration"] == 27


def test_asha_in_one_vector_is_asha_in_the_same_order(tmp_path: Path) -> None:
    """All trials in one call: each step is judged row by row, as if trials had reported in turn."""
    asha = {"max_t": 9, "grace_period": 1, "reduction_factor": 3}
    analysis = run(tune.vectorized(curves.function, size=100), tmp_path, num_samples=100, scheduler=ASHAScheduler(**asha))
    rungs: dict[int, list[float]] = {1: [], 3: []}
    alive = list(range(100))
    expected = dict.fromkeys(alive, 9)
    for step in range(1, 9):
        for i in list(alive):
            if step not in rungs:
                continue
            loss = curve(analysis.trials[i].config["x"], step)
            seen = rungs[step]
            if seen and loss > np.percentile(seen, 100 / 3):
                alive.remove(i)
                expected[i] = step
            seen.append(loss)
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == list(expected.values())


def test_new_trials_take_the_places_of_those_that_ended(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    @tune.vectorized(size=8, refill=True)
    def train(configs: dict[str, Any]) -> Any:
        step = np.zeros(len(configs["x"]))
        while True:
            step += 1
            seen.append((len(step), len(np.unique(step))))
            rows = yield {"loss": configs["x"] ** 2 + 1 / step}
            if rows is not None:
                fresh = np.zeros(rows.fresh.sum())
                assert len(rows.fresh_configs["x"]) == len(fresh)
                step, configs = rows.take(step, fresh), rows.configs
                assert rows.steps.tolist() == step.tolist()
                assert (rows.index[rows.fresh] == -1).all()

    analysis = run(train, tmp_path, num_samples=60, scheduler=ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3))
    for trial in analysis.trials:
        last = trial.last_result
        assert last["loss"] == pytest.approx(curve(trial.config["x"], last["training_iteration"]))
    assert len(analysis.trials) == 60
    full = [n for n, _ in seen[:-30]]
    assert np.mean(full) > 6.5, seen  # the vector stays full
    assert max(kinds for _, kinds in seen) > 1


def test_take_says_what_is_missing_for_rows_that_begin(tmp_path: Path) -> None:
    @tune.vectorized(size=4, refill=True)
    def train(configs: dict[str, Any]) -> Any:
        step = np.zeros(len(configs["x"]))
        while True:
            rows = yield {"loss": step}
            if rows is not None:
                step = rows.take(step)

    with pytest.raises(TuneError, match=r"rows begin.*rows\.take\(weights, fresh=start\(rows\.fresh_configs\)\)"):
        run(train, tmp_path, num_samples=9, stop={"training_iteration": 1})


def test_a_searcher_suggests_the_rows(tmp_path: Path) -> None:
    analysis = run(square, tmp_path, num_samples=60, search_alg=TPESearch(seed=1))
    assert len(analysis.trials) == 60
    assert analysis.best_result["loss"] < 0.01
    frame = analysis.dataframe()
    assert np.allclose(frame["loss"], frame["config/x"] ** 2)


def test_points_and_functions_of_the_space_come_as_columns(tmp_path: Path) -> None:
    space = {"x": tune.uniform(0, 1), "double": tune.sample_from(lambda spec: 2 * spec.config.x), "it": tune.choice([None, "t", 3])}

    @tune.vectorized(size=4)
    def check(configs: dict[str, Any]) -> dict[str, Any]:
        assert isinstance(configs["it"], list)
        return {"loss": np.asarray(configs["double"]) - 2 * configs["x"]}

    from fasttune.search import BasicVariantGenerator

    analysis = run(check, tmp_path, space, 10, search_alg=BasicVariantGenerator(points_to_evaluate=[{"x": 0.5}, {"x": 0.25, "it": 3}]))
    assert analysis.dataframe()["loss"].abs().max() == 0.0
    assert analysis.trials[0].config["x"] == 0.5
    assert analysis.trials[1].config["it"] == 3


def test_options_with_names_of_their_own_are_none_elsewhere(tmp_path: Path) -> None:
    space = {"model": tune.choice([{"kind": "tree", "depth": tune.randint(1, 9)}, {"kind": "line", "slope": tune.uniform(0, 1)}])}

    @tune.vectorized(size=30)
    def check(configs: dict[str, Any]) -> dict[str, Any]:
        model = configs["model"]
        return {"loss": [depth if kind == "tree" else slope for kind, depth, slope in zip(*model.values(), strict=True)]}

    analysis = run(check, tmp_path, space, 30)
    for trial in analysis.trials:
        model = trial.config["model"]
        assert trial.last_result["loss"] == model.get("depth", model.get("slope"))


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ([None, {"depth": tune.randint(1, 9)}], list),
        ([{}, {"depth": 3}], list),
        ([{"depth": 3}, {"depth": {"least": 1}}], dict),
        ([{"depth": 3}, {"depth": 4}], dict),
    ],
)  # fmt: skip
def test_a_place_with_values_and_names_below_it_is_a_list(options: Any, seen: type, tmp_path: Path) -> None:
    """Of what each config has there: also in a call all of whose trials have chosen alike."""
    found: list[dict[str, Any]] = []

    @tune.vectorized(size=3, refill=True)
    def check(configs: dict[str, Any]) -> Any:
        assert type(configs["model"]) is seen
        for _ in range(40):
            found.append(configs)
            rows = yield {"loss": configs["x"]}
            if rows is not None:
                configs = rows.configs

    analysis = run(check, tmp_path, {"x": tune.uniform(0, 1), "model": tune.choice(options)}, 12, stop={"training_iteration": 2})
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 12
    by_x = {trial.config["x"]: trial.config["model"] for trial in analysis.trials}
    for configs in found:
        wanted = [by_x[x] for x in configs["x"]]
        model = configs["model"]
        assert list(model if seen is list else model["depth"]) == (wanted if seen is list else [one["depth"] for one in wanted])


def test_what_a_function_of_the_space_returns_may_be_a_dict_for_some(tmp_path: Path) -> None:
    space = {"x": tune.uniform(0, 1), "more": tune.sample_from(lambda spec: {"a": 1} if spec.config.x < 0.5 else None)}

    @tune.vectorized(size=4, refill=True)
    def check(configs: dict[str, Any]) -> Any:
        while True:
            more = configs["more"]
            if isinstance(more, list) and (configs["x"] < 0.5).any() and (configs["x"] >= 0.5).any():
                assert more == [{"a": 1} if x < 0.5 else None for x in configs["x"]]
            rows = yield {"loss": configs["x"]}
            if rows is not None:
                configs = rows.configs

    analysis = run(check, tmp_path, space, 20, stop={"training_iteration": 1})
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 20


@pytest.mark.parametrize("searcher", [None, "tpe"])
def test_keys_are_those_of_the_config(searcher: Any, tmp_path: Path) -> None:
    space = {"x": tune.uniform(0, 1), "a/b": tune.uniform(0, 1), "a": tune.uniform(0, 1), 5: {"c/d": 1.0}}
    found: list[Any] = []

    @tune.vectorized
    def check(configs: dict[str, Any]) -> dict[str, Any]:
        found.append(configs)
        return {"loss": configs["a/b"]}

    analysis = run(check, tmp_path, space, 3, search_alg=searcher)
    assert analysis.trials[0].config.keys() == space.keys()
    for configs in found:
        assert configs.keys() == space.keys()
        assert list(configs[5]["c/d"]) == [1.0] * len(configs["x"])


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (lambda n: {"loss": np.zeros(n + 1)}, r"'loss' has the shape \(9,\), and this step has 8 trials.*rows\.take"),
        (lambda n: {"loss": np.zeros((n, 1))}, r"'loss' has the shape \(8, 1\)"),
        (lambda n: {"loss": ["a"] * n}, r"'loss' must hold numbers, and is of dtype <U1"),
        (lambda n: {"loss": np.zeros(n, dtype=complex)}, "of dtype complex128"),
        (lambda n: {"loss": [[0.0], [0.0, 1.0]] * (n // 2)}, "'loss' is no array of numbers"),
        (lambda n: np.zeros(n), r"must return or yield a dict of columns.*ndarray of shape \(8,\)"),
        (lambda n: {}, "got nothing"),
        (lambda n: None, "dict of columns.*got nothing"),
        (lambda n: {"los": np.zeros(n)}, "steers by metric 'loss'.*'los'"),
    ],
)  # fmt: skip
def test_bad_columns_are_told_with_name_and_shape(said: Any, match: str, tmp_path: Path) -> None:
    @tune.vectorized(size=8)
    def bad(configs: dict[str, Any]) -> Any:
        return said(len(configs["x"]))

    with pytest.raises(TuneError, match=match):
        run(bad, tmp_path, num_samples=8)


def test_a_number_stands_for_all_and_nan_is_a_value(tmp_path: Path) -> None:
    @tune.vectorized(size=4)
    def constant(configs: dict[str, Any]) -> dict[str, Any]:
        loss = np.array([1.0, np.nan, 2.0, 3.0])
        return {"loss": loss, "epoch": 7, "more": {"ok": [True, False, True, False]}}

    analysis = run(constant, tmp_path, num_samples=4)
    frame = analysis.dataframe()
    assert frame["epoch"].tolist() == [7] * 4
    assert frame["more/ok"].tolist() == [True, False, True, False]
    assert analysis.best_result["loss"] == 1.0


def test_a_failure_is_that_of_all_rows_and_one_has_the_story(tmp_path: Path) -> None:
    @tune.vectorized(size=4)
    def failing(configs: dict[str, Any]) -> Any:
        for step in range(3):
            if step == 2:
                raise ArithmeticError("no luck with this one")
            yield {"loss": configs["x"]}

    analysis = run(failing, tmp_path, num_samples=8, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["ERROR"] * 8
    texts = [Path(trial.error_file).read_text() for trial in analysis.trials]
    assert "raise ArithmeticError" in texts[0]
    assert "ArithmeticError: no luck" in texts[3]
    assert analysis.trials[0].trial_id in texts[3]
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [2] * 8


def test_failed_trials_are_tried_again_by_themselves(tmp_path: Path) -> None:
    calls: list[int] = []

    @tune.vectorized(size=4)
    def failing(configs: dict[str, Any]) -> Any:
        calls.append(len(configs["x"]))
        if len(calls) == 1:
            raise ArithmeticError("once")
        return {"loss": configs["x"]}

    analysis = run(failing, tmp_path, num_samples=8, max_failures=1)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 8
    assert sum(calls) == 12
    frame = analysis.dataframe()
    assert np.allclose(frame["loss"], frame["config/x"])


def test_a_generator_is_closed_when_none_of_its_trials_goes_on(tmp_path: Path) -> None:
    closed: list[bool] = []

    @tune.vectorized
    def train(configs: dict[str, Any]) -> Any:
        try:
            while True:
                yield {"loss": configs["x"]}
        finally:
            closed.append(True)

    run(train, tmp_path, num_samples=5, stop={"training_iteration": 3})
    assert closed == [True]


class Forks:
    """A column whose numbers another process was forked for."""

    def __init__(self, column: Any) -> None:
        self.column = column

    def __array__(self, *_: Any, **__: Any) -> Any:
        in_a_fork()
        return self.column


def in_a_fork() -> bool:
    child = os.fork()
    if child == 0:
        return True
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 1)
    return False


@pytest.mark.parametrize("where", ["call", "raises", "step", "column", "space", "closing"])
def test_a_process_that_is_forked_within_does_not_come_back(where: str, tmp_path: Path) -> None:
    """It has the run's ring, and what it would write there would be for all."""

    @tune.vectorized(size=4)
    def train(configs: dict[str, Any]) -> Any:
        if where == "raises" and in_a_fork():
            raise KeyboardInterrupt
        try:
            for _ in range(2):
                if where == "step":
                    in_a_fork()
                yield {"loss": Forks(configs["x"]) if where == "column" else configs["x"]}
        finally:
            if where == "closing":
                in_a_fork()

    def call(configs: dict[str, Any]) -> Any:
        in_a_fork()
        return {"loss": configs["x"]}

    space = {"x": tune.sample_from(lambda spec: float(in_a_fork()) if where == "space" else 0.5)}
    function = tune.vectorized(size=4)(call) if where == "call" else train
    analysis = run(function, tmp_path, space, num_samples=10, stop={"training_iteration": 2})
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 10
    assert analysis.reports().groupby("trial_id").size().tolist() == [1 if where == "call" else 2] * 10


@pytest.mark.parametrize("refill", [False, True])
def test_a_trial_lasts_from_its_call_on(refill: bool, tmp_path: Path) -> None:
    """Also one of a later call than the first, whose beginning is told with its first report."""

    @tune.vectorized(size=4, refill=refill)
    def train(configs: dict[str, Any]) -> Any:
        calls.append(len(configs["x"]))
        while True:
            time.sleep(0.0 if len(calls) < 2 and refill is False else 0.02)
            rows = yield {"loss": configs["x"]}
            if rows is not None:
                configs = rows.configs

    calls: list[int] = []
    analysis = run(train, tmp_path, num_samples=12, stop={"training_iteration": 1})
    frame = analysis.dataframe()
    assert (frame["time_total_s"] > 0.0).all()
    assert (frame["time_total_s"][4:] >= 0.02).all()
    assert np.allclose(frame["time_this_iter_s"], frame["time_total_s"])


def test_a_rule_by_the_clock_decides_again_as_it_did(tmp_path: Path) -> None:
    @tune.vectorized(size=20)
    def train(configs: dict[str, Any]) -> Any:
        for _ in range(12):
            time.sleep(0.001)
            rows = yield {"loss": configs["x"]}
            if rows is not None:
                configs = rows.configs

    def asha() -> Any:
        return ASHAScheduler(time_attr="time_total_s", max_t=1.0, grace_period=0.002, reduction_factor=2)

    analysis = run(train, tmp_path, num_samples=60, scheduler=asha())
    assert analysis.verify(asha()) == []
    assert len(set(analysis.dataframe()["training_iteration"])) > 1


@pytest.mark.parametrize("says", ["raises", "goes on"])
@pytest.mark.parametrize("ends", ["stopped", "failed", "out of time"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_generator_that_does_not_let_itself_be_closed_is_told_of(says: str, ends: str, tmp_path: Path) -> None:
    @tune.vectorized
    def train(configs: dict[str, Any]) -> Any:
        (tmp_path / "begun").touch()
        try:
            while True:
                yield {"loss": configs["x"][1:] if ends == "failed" else configs["x"]}
        finally:
            if says == "raises":
                raise ArithmeticError("while it was closed")
            yield {"loss": configs["x"]}

    budgets = [{"time_budget_s": 0.1 * 4**k} for k in range(5)]  # a busy machine may need longer until it has begun
    asked = {"stopped": [{"stop": {"training_iteration": 2}}], "failed": [{}], "out of time": budgets}[ends]
    match = "ArithmeticError: while it was closed" if says == "raises" else "generator ignored GeneratorExit"

    def runs_until_one_has_begun() -> Any:
        for k, more in enumerate(asked):
            analysis = run(train, tmp_path / str(k), num_samples=5, raise_on_failed_trial=False, **more)
            if (tmp_path / "begun").exists():
                return analysis
        return None

    with pytest.warns(RuntimeWarning, match=f"the generator of train was closed, and raised .*{match}"):
        analysis = runs_until_one_has_begun()
    status = "ERROR" if ends == "failed" else "TERMINATED"
    assert [trial.status for trial in analysis.trials] == [status] * 5
    if ends == "failed":
        assert "has the shape (4,)" in Path(analysis.trials[0].error_file).read_text()


def test_what_a_generator_returns_is_its_last_report(tmp_path: Path) -> None:
    @tune.vectorized
    def train(configs: dict[str, Any]) -> Any:
        yield {"loss": configs["x"]}
        return {"loss": configs["x"] - 1}

    analysis = run(train, tmp_path, num_samples=5)
    frame = analysis.dataframe()
    assert frame["training_iteration"].tolist() == [2] * 5
    assert np.allclose(frame["loss"], frame["config/x"] - 1)


def test_a_trial_that_is_done_says_so_in_a_column(tmp_path: Path) -> None:
    @tune.vectorized(size=6)
    def train(configs: dict[str, Any]) -> Any:
        left = np.arange(1, 7)
        while True:
            left = left - 1
            rows = yield {"loss": left, "done": left == 0}
            if rows is not None:
                left = rows.take(left)

    analysis = run(train, tmp_path, num_samples=6)
    assert analysis.dataframe()["training_iteration"].tolist() == [1, 2, 3, 4, 5, 6]


def test_take_knows_trees() -> None:
    from collections import namedtuple

    from fasttune.space.config_columns import ConfigColumns
    from fasttune.vectors import Rows

    Pair = namedtuple("Pair", "one two")
    rows = Rows(np.array([2, 0, -1]), ConfigColumns({"a": np.arange(3), "b/c": ["x", "y", "z"]}, 3), np.array([4, 4, 0]))
    tree = {"w": np.arange(3), "l": [np.arange(6).reshape(3, 2)], "t": (None, Pair(np.arange(3) * 10, None))}
    fresh = {"w": [9], "l": [np.array([[7, 7]])], "t": (None, Pair(np.array([5]), None))}
    taken = rows.take(tree, fresh)
    assert taken["w"].tolist() == [2, 0, 9]
    assert taken["l"][0].tolist() == [[4, 5], [0, 1], [7, 7]]
    assert taken["t"] == (None, taken["t"][1])
    assert isinstance(taken["t"][1], Pair)
    assert taken["t"][1].one.tolist() == [20, 0, 5]
    assert rows.fresh.tolist() == [False, False, True]
    assert rows.configs["b"]["c"] == ["x", "y", "z"]
    assert rows.fresh_configs["a"].tolist() == [2]
    with pytest.raises(ValueError, match="1 rows begin"):
        rows.take(tree)
    with pytest.raises(ValueError, match="one is a ndarray, another a dict of 'w'"):  # a state of another shape than what is taken
        rows.take(np.arange(3), {"w": [9]})


def test_take_knows_tables_and_dicts_of_other_kinds_and_says_what_has_no_rows() -> None:
    from collections import defaultdict

    import pandas as pd

    from fasttune.space.config_columns import ConfigColumns
    from fasttune.vectors import Rows

    def rows(*index: int) -> Rows:
        return Rows(np.array(index), ConfigColumns({}, len(index)), np.zeros(len(index), dtype=np.int64))

    series = rows(1, 2).take(pd.Series([10, 20, 30]))
    assert rows(1, -1).take(series, pd.Series([7])).tolist() == [30, 7]
    assert rows(1).take(rows(1, 2).take(pd.DataFrame({"a": [1, 2, 3]})))["a"].tolist() == [3]
    taken = rows(0).take(defaultdict(list, a=np.arange(2)))
    assert isinstance(taken, defaultdict)
    assert taken["a"].tolist() == [0]
    with pytest.raises(TypeError, match=r"takes rows of arrays, and 'a' has none.*rows\.configs"):
        rows(1).take(["a", "b"])


def test_a_method(tmp_path: Path) -> None:
    class Model:
        power = 2

        @tune.vectorized(size=4)
        def loss(self, configs: dict[str, Any]) -> dict[str, Any]:
            return {"loss": configs["x"] ** self.power}

    analysis = run(Model().loss, tmp_path, num_samples=9)
    frame = analysis.dataframe()
    assert np.allclose(frame["loss"], frame["config/x"] ** 2)


@pytest.mark.parametrize("scheduler", [None, "asha", "pbt"])
def test_a_simulation_asks_for_one_row(scheduler: str | None) -> None:
    """The same as of the function of one config."""

    @tune.vectorized(size=16)
    def many(configs: dict[str, Any], state: Any = None) -> Any:
        assert state is None
        assert isinstance(configs["kind"], list)
        for step in range(1, 28):
            yield {"loss": configs["x"] ** 2 + 1 / step, "n": configs["inner"]["n"]}, configs["x"]
        return {"loss": configs["x"], "n": 0}

    def one(config: dict[str, Any]) -> Any:
        for step in range(1, 28):
            yield {"loss": config["x"] ** 2 + 1 / step, "n": config["inner"]["n"]}
        yield {"loss": config["x"], "n": 0}

    def made() -> Any:
        if scheduler == "asha":
            return ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3)
        more = {"time_attr": "training_iteration", "perturbation_interval": 3, "hyperparam_mutations": {"x": tune.uniform(-1, 1)}}
        return PopulationBasedTraining(**more, clip=True) if scheduler else None

    told: dict[str, Any] = {"config": SPACE, "num_samples": 20, "metric": "loss", "mode": "min", "seed": 3, "workers": 4}
    together, single = (tune.simulate(curve, scheduler=made(), **told) for curve in (many, one))
    columns = ["loss", "n", "training_iteration", "config/x"]
    assert together.dataframe()[columns].to_numpy().tolist() == single.dataframe()[columns].to_numpy().tolist()
    assert isinstance(together.trials[0].last_result["n"], int)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"executor": "inline"}, "evaluates many trials in one call, which executor='vector' or 'process' or 'thread' does"),
        ({"scheduler": PopulationBasedTraining(time_attr="training_iteration", hyperparam_mutations={"x": tune.uniform(0, 1)}),
          "max_concurrent_trials": 10}, "lets 20 trials take turns in the 10 rows of a call.*yield metrics, state"),
        ({"checkpoint_config": tune.CheckpointConfig(checkpoint_frequency=1)}, "has no state that could be saved"),
        ({"scheduler": HyperBandScheduler(max_t=9)}, "HyperBandScheduler leaves trials paused"),
        ({"log_to_file": True}, "log_to_file"),
    ],
)  # fmt: skip
def test_what_vectors_cannot_is_refused_before_a_trial_starts(more: Any, match: str, tmp_path: Path) -> None:
    def never(configs: dict[str, Any]) -> Any:
        raise AssertionError("it has begun")

    with pytest.raises((TuneError, ValueError), match=match):
        run(tune.vectorized(never), tmp_path, **more)


def test_functions_of_one_config_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="executor='vector' evaluates many trials in one call, and one_square evaluates one"):
        run(one_square, tmp_path, executor="vector")
    with pytest.raises(ValueError, match="size must be a whole number"):
        tune.vectorized(size=0)
    with pytest.raises(TypeError, match="of a function"):
        tune.vectorized(int)


def test_with_parameters_and_resources(tmp_path: Path) -> None:
    @tune.vectorized(size=4)
    def train(configs: dict[str, Any], data: Any) -> dict[str, Any]:
        return {"loss": configs["x"] + data.sum()}

    analysis = run(tune.with_parameters(train, data=np.ones(3)), tmp_path, num_samples=9)
    frame = analysis.dataframe()
    assert np.allclose(frame["loss"], frame["config/x"] + 3)


def test_no_more_at_once_than_are_allowed(tmp_path: Path) -> None:
    sizes: list[int] = []

    @tune.vectorized
    def train(configs: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(configs["x"]))
        return {"loss": configs["x"]}

    run(train, tmp_path, num_samples=10, max_concurrent_trials=4)
    assert sizes == [4, 4, 2]


def test_callbacks_hear_of_each_trial(tmp_path: Path) -> None:
    class Counting(tune.Callback):
        def __init__(self) -> None:
            self.heard: list[tuple[str, str]] = []

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self.heard.append(("start", trial.trial_id))

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            self.heard.append(("result", trial.trial_id))

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self.heard.append(("complete", trial.trial_id))

    counting = Counting()
    analysis = run(curves, tmp_path, num_samples=3, stop={"training_iteration": 2}, callbacks=[counting])
    for trial in analysis.trials:
        mine = [what for what, who in counting.heard if who == trial.trial_id]
        assert mine == ["start", "result", "result", "complete"]


KILLED = """
    import os, sys
    import numpy as np
    import fasttune as tune
    from fasttune.schedulers import ASHAScheduler

    calls = 0

    @tune.vectorized(size=16)
    def train(configs):
        global calls
        step = np.zeros(len(configs["x"]))
        while True:
            step += 1
            calls += 1
            if calls == int(sys.argv[2]):
                os.kill(os.getpid(), 9)
            rows = yield {"loss": configs["x"] ** 2 + 1 / step}
            if rows is not None:
                step, configs = rows.take(step), rows.configs

    if __name__ == "__main__":
        analysis = tune.run(train, config={"x": tune.uniform(-1, 1)}, num_samples=100, metric="loss", mode="min", seed=3,
                            scheduler=ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3), verbose=0,
                            storage_path=sys.argv[1], name="run", resume="AUTO")
"""


@pytest.mark.parametrize("at", [1, 2, 7, 30])
def test_killed_and_gone_on_with(at: int, tmp_path: Path) -> None:
    program = tmp_path / "killed.py"
    program.write_text(textwrap.dedent(KILLED))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = forks.run([sys.executable, str(program), str(tmp_path), str(at)], env=env, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    before = tune.ExperimentAnalysis(str(tmp_path / "run"))
    ended = {t.trial_id: t.last_result["training_iteration"] for t in before.trials if t.status == "TERMINATED"}
    if at > 1:
        assert before.results_df["training_iteration"].max() >= 1
    done = forks.run([sys.executable, str(program), str(tmp_path), "-1"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = tune.ExperimentAnalysis(str(tmp_path / "run"))
    assert [trial.status for trial in after.trials] == ["TERMINATED"] * 100
    steps = {trial.trial_id: trial.last_result["training_iteration"] for trial in after.trials}
    assert ended.items() <= steps.items()  # no finished trial runs again
    for trial in after.trials:
        assert trial.last_result["loss"] == pytest.approx(curve(trial.config["x"], trial.last_result["training_iteration"]))
    assert after.verify(ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3)) == []
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {".lock", "experiment.db"}


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_column_is_a_list_by_its_domain_not_by_its_values(search: str, tmp_path: Path) -> None:
    space = {
        "it": tune.choice([None, "t", 3]),
        "n": tune.choice([1, 2]),
        "some": tune.choice([0.5, 1]),
        "model": tune.choice([{"depth": 3}, {"depth": 4}]),
        "yes": tune.choice([True, False]),
    }
    kinds: dict[str, set[str]] = {}

    @tune.vectorized(size=1)
    def check(configs: dict[str, Any]) -> dict[str, Any]:
        for name, column in [*configs.items(), ("depth", configs["model"]["depth"])]:
            if name == "model":
                continue
            kinds.setdefault(name, set()).add(type(column).__name__ if isinstance(column, list) else str(column.dtype))
        return {"loss": configs["n"]}

    run(check, tmp_path, space, 12, search_alg=TPESearch(seed=1) if search == "tpe" else None)
    assert {name: len(found) for name, found in kinds.items() if name != "some"} == {"it": 1, "n": 1, "yes": 1, "depth": 1}
    assert kinds["it"] == kinds["depth"] == {"list"}
    assert kinds["n"] == {"int64"}
    assert kinds["yes"] == {"bool"}


@pytest.mark.parametrize("refill", [False, True])
def test_a_searcher_suggests_no_more_than_the_next_call_takes(refill: bool, tmp_path: Path) -> None:
    heard: list[str] = []

    class Listening(Searcher):
        def suggest(self, trial_id: str) -> Any:
            heard.append("suggest")
            return {"x": 0.5}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            heard.append("complete")

    @tune.vectorized(size=3, refill=refill)
    def train(configs: dict[str, Any]) -> dict[str, Any]:
        heard.append("call")
        return {"loss": configs["x"]}

    run(train, tmp_path, {}, 9, search_alg=Listening(metric="loss", mode="min"))
    assert heard == [*["suggest"] * 3, "call", *["complete"] * 3] * 3


def test_a_searcher_has_few_rows_to_suggest_blindly(tmp_path: Path) -> None:
    sizes: list[int] = []

    def train(configs: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(configs["x"]))
        return {"loss": configs["x"] ** 2}

    run(tune.vectorized(train), tmp_path / "a", num_samples=40, search_alg=TPESearch(seed=1))
    assert max(sizes) == 16
    sizes.clear()
    run(tune.vectorized(size=20)(train), tmp_path / "b", num_samples=40, search_alg=TPESearch(seed=1))
    assert max(sizes) == 20


def test_the_metric_of_many_is_not_one_number(tmp_path: Path) -> None:
    @tune.vectorized
    def train(configs: dict[str, Any]) -> dict[str, Any]:
        return {"loss": ((configs["x"] - 0.3) ** 2).mean()}

    with pytest.raises(TuneError, match=r"'loss' is one number for 20 trials.*axis"):
        run(train, tmp_path)


def test_what_it_is_not_made_of_is_said() -> None:
    async def waits(configs: dict[str, Any]) -> None: ...

    with pytest.raises(TypeError, match="waits is an async function"):
        tune.vectorized(waits)


def test_with_the_executor_of_coroutines_it_is_told_its_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"square evaluates many trials in one call, which executor=.* does"):
        run(square, tmp_path, executor="async")
