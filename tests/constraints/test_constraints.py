"""Constraints: the order that they make, against pairs (violation, value), and everybody who goes by it."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fasttune as tune
from fasttune import _core
from fasttune.analysis import ExperimentAnalysis
from fasttune.constraints import BARRIER, as_constraints, constraint_violation, is_broken, score, scores, violation_in
from fasttune.error import TuneError
from fasttune.schedulers import ASHAScheduler, FIFOScheduler, create_scheduler
from fasttune.search import create_searcher
from fasttune.search.space_searcher import SpaceSearcher

VALUES = st.floats(-1e200, 1e200)
BROKEN = st.one_of(st.just(0.0), st.floats(1e-12, 1e12), st.just(math.inf))


# ---- the order -----------------------------------------------------------------------------------------------------


@given(VALUES, BROKEN, VALUES, BROKEN, st.sampled_from(["min", "max"]))
def test_scores_are_in_the_order_of_violations_and_then_of_values(a: float, u: float, b: float, v: float, mode: str) -> None:
    """A difference of violations that is below a billionth of them may be lost."""
    sign = -1.0 if mode == "max" else 1.0
    one, other = sign * score(a, u, mode), sign * score(b, v, mode)
    if u == v == 0:
        assert (one < other) == (sign * a < sign * b)
    elif u == v:
        assert one == other
    elif 0 in (u, v) or max(u, v) > min(u, v) * (1 + 1e-9):
        assert (one < other) == (u < v)
    assert is_broken(one) == (u > 0)
    assert math.isfinite(one)
    assert violation_in(one) == pytest.approx(u, rel=1e-9)


@given(st.lists(st.tuples(VALUES, BROKEN), min_size=1, max_size=20), st.sampled_from(["min", "max"]))
def test_columns_of_scores_are_those_of_single_ones(rows: list[tuple[float, float]], mode: str) -> None:
    import numpy as np

    values, violations = np.array([one for one, _ in rows]), np.array([one for _, one in rows])
    assert scores(values, violations, mode) == pytest.approx([score(*row, mode) for row in rows], rel=1e-14)


def test_the_mean_of_many_scores_is_a_number() -> None:
    import numpy as np

    assert math.isfinite(np.full(100_000, 2 * BARRIER).sum())


def test_a_nan_is_broken_infinitely_and_a_metric_that_is_nan_stays_so() -> None:
    assert constraint_violation({"constraints/a": math.nan}) == math.inf
    assert constraint_violation({"constraints": {"a": 2.0, "b": -5.0}, "constraints/c": 1.0}) == 3.0
    assert constraint_violation({"loss": 1.0}) == 0.0
    assert math.isnan(score(math.nan, 1.0, "min"))


# ---- what trials report --------------------------------------------------------------------------------------------


def told(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"], constraints={"low": 0.5 - config["x"], "always": -1})


def told_by_return(config: dict[str, Any]) -> dict[str, Any]:
    return {"loss": config["x"], "constraints": {"low": 0.5 - config["x"]}}


def told_flat(config: dict[str, Any]) -> None:
    tune.report({"loss": config["x"], "constraints/low": 0.5 - config["x"]})


def told_as_list(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"], constraints=[0.5 - config["x"], -1])


async def told_by_coroutine(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"], constraints={"low": 0.5 - config["x"]})


@tune.vectorized
def told_by_columns(config: dict[str, Any]) -> dict[str, Any]:
    return {"loss": config["x"], "constraints": {"low": 0.5 - config["x"]}}


class ToldByClass(tune.Trainable):
    def step(self) -> dict[str, Any]:
        return {"loss": self.config["x"], "constraints": {"low": 0.5 - self.config["x"]}, "done": True}


def metrics_alone(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])


@tune.vectorized
def columns_alone(config: dict[str, Any]) -> dict[str, Any]:
    return {"loss": config["x"]}


async def coroutine_alone(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])


def run(trainable: Any, **more: Any) -> Any:
    told = {"metric": "loss", "mode": "min", "num_samples": 24, "seed": 3, "verbose": 0, "executor": "inline", **more}
    return tune.run(trainable, config={"x": tune.uniform(0, 1)}, **told)


def check_feasible_first(analysis: Any) -> None:
    holding = [trial.config["x"] for trial in analysis.trials if trial.config["x"] >= 0.5]
    assert 0 < len(holding) < len(analysis.trials)
    assert analysis.best_config["x"] == min(holding)
    assert constraint_violation(analysis.best_result) == 0
    assert analysis.get_best_trial("loss", "min", "all").config["x"] == min(holding)
    assert analysis.get_best_config("loss", "max")["x"] == max(holding)


ALONE = [told, told_by_return, told_flat, told_as_list, ToldByClass, metrics_alone]


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
@pytest.mark.parametrize("trainable", ALONE, ids=lambda one: one.__name__)
def test_the_best_trial_holds_its_constraints(trainable: Any, executor: str) -> None:
    constraints = "loss >= 0.5" if trainable is metrics_alone else None
    check_feasible_first(run(trainable, executor=executor, constraints=constraints))


ELSEWHERE = [told_by_columns, columns_alone, told_by_coroutine, coroutine_alone]


@pytest.mark.parametrize("trainable", ELSEWHERE, ids=lambda one: one.__name__)
def test_the_best_row_and_the_best_task_hold_their_constraints(trainable: Any) -> None:
    constraints = "loss >= 0.5" if "alone" in trainable.__name__ else None
    check_feasible_first(run(trainable, executor=None, constraints=constraints))


@pytest.mark.parametrize("constraints", [
    ["loss >= 0.5", "loss <= 7"],
    lambda result: 0.5 - result["loss"],
    lambda result: {"low": 0.5 - result["loss"], "never": -1},
    lambda result: (0.5 - result["loss"], -1.0),
], ids=["texts", "number", "dict", "tuple"])  # fmt: skip
@pytest.mark.parametrize("executor", ["inline", "process"])
def test_what_a_run_asks_holds_of_results(constraints: Any, executor: str) -> None:
    check_feasible_first(run(metrics_alone, executor=executor, constraints=constraints))


def test_what_they_are_compared_by_is_shown_to_nobody(tmp_path: Path) -> None:
    analysis = run(told)
    analysis.to_sqlite(str(tmp_path / "all.db"))
    names = {"loss", "constraints/low", "constraints/always"}
    assert names <= set(analysis.dataframe().columns)
    seen = repr([
        *analysis.dataframe().columns, *analysis.reports().columns, *analysis.results_df.columns, analysis.results,
        [trial.last_result for trial in analysis.trials], analysis._repr_html_(),
        *(block.keys for block in analysis._source.report_blocks()),
    ])  # fmt: skip
    seen += repr((tmp_path / "all.db").read_bytes())
    assert "score" not in seen
    assert max(analysis.dataframe()["loss"]) < BARRIER


# ---- against a slow model ------------------------------------------------------------------------------------------


def scripted(config: dict[str, Any]) -> None:
    for value, broken in config["script"]:
        tune.report(loss=value, constraints={"a": broken, "b": -1.0}) if broken is not None else tune.report(loss=value)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", ["min", "max"])
def test_best_trials_are_those_of_a_slow_model(seed: int, mode: str) -> None:
    draw = random.Random(seed)
    some = [None, -1.0, 0.0, 0.5, 2.0, math.nan] if seed % 2 else [0.5, 1.0, 3.0]
    scripts = [[(draw.choice([1.0, 2.0, 3.0, 4.0]), draw.choice(some)) for _ in range(draw.randint(1, 4))] for _ in range(12)]
    analysis = tune.run(
        scripted, config={"script": tune.grid_search(scripts)}, metric="loss", mode=mode, executor="inline", verbose=0
    )
    sign = -1.0 if mode == "max" else 1.0

    def order(report: tuple[float, float | None]) -> tuple[float, float]:
        broken = report[1]
        violation = 0.0 if broken is None else math.inf if broken != broken else max(broken, 0.0)
        return violation, sign * report[0] if violation == 0 else 0.0

    last = min(range(12), key=lambda i: order(scripts[i][-1]))
    every = min(range(12), key=lambda i: min(map(order, scripts[i])))
    for one in (analysis, ExperimentAnalysis(analysis.experiment_path)):
        assert one._find_best("loss", mode, "last").trial == last
        best = one._find_best("loss", mode, "all")
        assert best.trial == every
        assert best.value == scripts[every][best.step - 1][0]
        assert best.violation == min(map(order, scripts[every]))[0]


# ---- schedulers ----------------------------------------------------------------------------------------------------


def test_a_rung_ranks_what_breaks_constraints_behind() -> None:
    """The smaller a loss, the more it breaks: a stopping ASHA ends trials with the best losses."""

    def train(config: dict[str, Any]) -> None:
        for _ in range(4):
            tune.report(loss=config["loss"], constraints={"c": config["c"]})

    told = [(5.0, -1.0), (6.0, -1.0), (0.1, 1.0), (0.2, 0.5), (4.0, 0.0)]
    trials = [{"loss": loss, "c": broken} for loss, broken in told]

    analysis = tune.run(
        lambda config: train(config["one"]), config={"one": tune.grid_search(trials)}, metric="loss", mode="min",
        executor="inline", verbose=0, scheduler=ASHAScheduler(max_t=4, grace_period=1, reduction_factor=2),
    )  # fmt: skip
    steps = [trial.last_result["training_iteration"] for trial in analysis.trials]
    assert steps[0] == steps[4] == 4
    assert steps[2] == steps[3] == 1


def test_schedulers_that_are_asked_are_told_the_score() -> None:
    heard = []

    class Asked(FIFOScheduler):
        def core_rule(self) -> Any:
            return None

        def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
            heard.append((result["loss"], result["constraints/low"]))
            return str(self.CONTINUE)

    run(told, scheduler=Asked())
    assert {is_broken(value) for value, _ in heard} == {True, False}
    assert all(is_broken(value) == (low > 0) for value, low in heard)


@pytest.mark.parametrize("name", ["asha", "asha_promotion", "hyperband", "median_stopping_rule", "pbt"])
def test_schedulers_that_pause_find_who_holds_them(name: str) -> None:
    more: dict[str, Any] = {"pbt": {"hyperparam_mutations": {"x": tune.uniform(0, 1)}, "perturbation_interval": 2}}.get(name, {})
    if name in ("asha", "asha_promotion", "hyperband"):
        more = {"max_t": 4}

    class Steps(tune.Trainable):
        def step(self) -> dict[str, Any]:
            return {"loss": self.config["x"], "constraints": {"low": 0.5 - self.config["x"]}}

        def save_checkpoint(self, folder: str) -> None:
            pass

        def load_checkpoint(self, folder: Any) -> None:
            pass

    analysis = run(Steps, scheduler=create_scheduler(name, **more), stop={"training_iteration": 4})
    longest = max(trial.last_result["training_iteration"] for trial in analysis.trials)
    far = [trial for trial in analysis.trials if trial.last_result["training_iteration"] == longest]
    assert any(trial.config["x"] >= 0.5 for trial in far)
    assert constraint_violation(analysis.best_result) == 0


# ---- searchers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tpe", "evolution", "cmaes", "gp", "optuna"])
def test_searchers_look_where_constraints_hold(name: str) -> None:
    """The metric alone pulls into the corner where they are broken."""
    made = create_searcher(name, space={"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}, metric="loss", mode="min", seed=2)
    feasible = []
    for _ in range(90):
        asked = made.ask()
        x, y = asked.config["x"], asked.config["y"]
        made.tell(asked, {"loss": x + y, "constraints/a": 0.6 - x, "constraints/b": 0.3 - y})
        feasible.append(x >= 0.6 and y >= 0.3)
    assert sum(feasible[45:]) > 1.4 * 0.28 * 45  # what flat draws would give


def test_tpe_ranks_what_breaks_constraints_behind_however_far_it_came() -> None:
    made = create_searcher("tpe", space={"x": tune.uniform(0, 1)}, metric="loss", mode="min", n_initial_points=4, seed=1)
    for x in [k / 20 for k in range(20)] * 3:
        result = {"loss": x, "constraints/a": 0.7 - x, "training_iteration": 100 if x < 0.7 else 1}
        suggestion = made.suggest(f"{len(made._live)}_{x}")
        assert isinstance(suggestion, dict)
        made.replay(f"again_{x}", {"x": x})
        made.on_trial_complete(f"again_{x}", result)
    later = [made.suggest(f"later_{k}")["x"] for k in range(20)]
    assert sum(x > 0.6 for x in later) >= 15


def test_models_of_values_are_told_no_scores() -> None:
    told = []

    class Model(SpaceSearcher):
        def _ask(self, trial_id: str) -> Any:
            assert self.dimensions is not None
            return self.dimensions.draw(self._asked)

        def _tell(self, trial_id: str | None, numbers: Any, one: Any) -> None:
            told.append((one.outcome, one.losses))

    run(metrics_alone, search_alg=Model(), constraints="loss >= 0.5")
    assert {outcome for outcome, _ in told} == {"done", "failed"}
    assert all(not losses or losses[0] < 1 for _, losses in told)


# ---- what is kept, and going on ------------------------------------------------------------------------------------


def test_the_best_checkpoint_is_one_that_holds_them() -> None:
    def train(config: dict[str, Any]) -> None:
        for k, (loss, broken) in enumerate([(3.0, -1), (2.0, -1), (1.0, 4.0), (0.5, 2.0)]):
            tune.report(loss=loss, constraints={"c": broken}, checkpoint=tune.Checkpoint.from_dict({"k": k}))

    keep = tune.CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="loss", checkpoint_score_order="min")
    analysis = run(train, num_samples=1, checkpoint_config=keep)
    assert analysis.best_checkpoint.to_dict()["k"] == 1
    kept = {result["training_iteration"] for _, result in analysis._source.checkpoints(0)}
    assert kept == {2, 4} or kept == {1, 2, 4}


def test_a_run_that_goes_on_holds_results_against_the_texts_of_before(tmp_path: Path) -> None:
    where = {"name": "again", "storage_path": str(tmp_path), "resume": "AUTO", "search_alg": "tpe"}
    run(metrics_alone, num_samples=8, constraints="loss >= 0.5", **where)
    analysis = run(metrics_alone, num_samples=24, **where)
    check_feasible_first(analysis)
    assert all("constraints/loss >= 0.5" in trial.last_result for trial in analysis.trials)


def test_what_a_replay_decides_is_what_was_decided(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for _ in range(9):
            tune.report(loss=config["x"], constraints={"low": 0.5 - config["x"]})

    analysis = run(train, scheduler="asha", storage_path=str(tmp_path))
    assert analysis.verify(create_scheduler("asha", metric="loss", mode="min")) == []


def test_simulations_go_by_them() -> None:
    found = tune.simulate(
        lambda config, step: {"loss": config["x"], "constraints": {"low": 0.5 - config["x"]}} if step <= 3 else None,
        config={"x": tune.uniform(0, 1)}, num_samples=24, metric="loss", mode="min", seed=3, scheduler="asha",
    )  # fmt: skip
    holding = [trial.config["x"] for trial in found.trials if trial.config["x"] >= 0.5]
    assert found.best_config["x"] == min(holding)


def test_reused_results_are_compared_as_the_first_ones() -> None:
    analysis = tune.run(
        told, config={"x": tune.choice([0.2, 0.6])}, num_samples=8, on_duplicate="reuse", metric="loss", mode="min", executor="inline",
        verbose=0, seed=1,
    )  # fmt: skip
    assert analysis.best_config["x"] == 0.6
    assert all((trial.last_result["constraints"]["low"] > 0) == (trial.config["x"] < 0.5) for trial in analysis.trials)


def test_ask_and_tell() -> None:
    with tune.open_experiment({"x": tune.uniform(0, 1)}, metric="loss", mode="min", seed=3, constraints="loss >= 0.5") as opened:
        for _ in range(24):
            asked = opened.ask()
            opened.tell(asked, {"loss": asked.config["x"]})
        check_feasible_first(opened.analysis)


# ---- people --------------------------------------------------------------------------------------------------------


def test_a_best_trial_that_breaks_them_is_said_to(capsys: pytest.CaptureFixture[str]) -> None:
    from fasttune.cli import main

    analysis = run(metrics_alone, constraints="loss >= 3", verbose=1)
    least = max(trial.config["x"] for trial in analysis.trials)
    assert analysis.best_config["x"] == least
    said = f"(breaks constraints by {3 - least:.4g})"
    assert said in capsys.readouterr().out
    for command in ("show", "watch"):
        assert main([command, analysis.experiment_path]) == 0
        assert said in capsys.readouterr().out
    assert main(["best", analysis.experiment_path]) == 0
    assert "breaks its constraints by" in capsys.readouterr().err


def test_the_command_line_takes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fasttune.cli import main

    script = tmp_path / "train.py"
    script.write_text("def train(config):\n    return {'loss': config['x']}\n", encoding="utf-8")
    line = ["run", f"{script}:train", "--set", "x={uniform=[0, 1]}", "--num-samples", "20", "--metric", "loss", "--mode", "min"]
    line += ["--executor", "inline", "--seed", "3", "--storage", str(tmp_path), "--name", "held", "--verbose", "0"]
    assert main([*line, "--constraint", "loss >= 0.5", "--constraint", "loss <= 2"]) == 0
    check_feasible_first(ExperimentAnalysis(str(tmp_path / "held")))
    assert main([*line, "--constraint", "loss"]) != 0
    assert "a constraint must be a metric, <= or >=, and a number" in capsys.readouterr().err


@pytest.mark.parametrize(("wrong", "error", "says"), [
    ("loss < 3", ValueError, "'loss < 3'"),
    ("loss <= high", ValueError, "'loss <= high'"),
    (["loss <= 3", 4], TypeError, "texts like"),
    (3, TypeError, "got int"),
])  # fmt: skip
def test_what_is_no_constraint_is_refused_at_once(wrong: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        run(metrics_alone, constraints=wrong)
    with pytest.raises(error, match=says):
        tune.TuneConfig(constraints=wrong)
    with pytest.raises(error, match=says):
        as_constraints(wrong)


@pytest.mark.parametrize("value", [True, "yes", None, [1]], ids=repr)
def test_a_trial_that_reports_no_number_fails_with_its_name(value: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0, constraints={"fits": value})

    with pytest.raises(TuneError, match="the constraint 'fits' must be a number, at most 0 where it holds"):
        run(train, num_samples=1)


def test_a_function_of_one_result_is_refused_beside_columns() -> None:
    with pytest.raises(ValueError, match="constraints=function is asked about one result"):
        run(columns_alone, executor=None, constraints=lambda result: 0)


def test_a_limit_on_what_nobody_reports_is_said() -> None:
    with pytest.warns(RuntimeWarning, match="'latency <= 1' is held against no result"):
        run(metrics_alone, constraints="latency <= 1")


def test_a_score_that_is_not_the_last_column_is_damage() -> None:
    ring = _core.Ring(bytearray(_core.Ring.HEADER + 4096), create=True)
    reporter = _core.Reporter(ring, metric="loss")
    reporter.begin(0)
    reporter.report_extra({_core.SCORE: 1.0, "loss": 2.0}, {}, b"")
    with pytest.raises(ValueError, match="no names of metrics"):
        _core.ReportColumns().add(bytes(ring.take()), 1)
