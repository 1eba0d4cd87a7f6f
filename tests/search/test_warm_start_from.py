"""Earlier experiments, of which the order of the trials counts: what is taken of them, and that it is in the journal."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.analysis import ExperimentAnalysis
from fasttune.cli import main
from fasttune.space.dimensions import Dimensions
from fasttune.space.near_prior import numbers_known
from fasttune.warm_start import KnownTrial, WarmStart
from fasttune.warm_start.earlier import good_configs


def train(config: dict[str, Any]) -> dict[str, float]:
    return {"loss": config.get("scale", 1.0) * (config["x"] - 0.7) ** 2 + config.get("shift", 0.0), "size": 1 - config["x"]}


def run(space: dict[str, Any] | None = None, **more: Any) -> Any:
    told = {"num_samples": 30, "metric": "loss", "mode": "min", "search_alg": "tpe", "seed": 1, "verbose": 0, **more}
    return tune.run(train, config={"x": tune.uniform(0, 1), **(space or {})}, executor="inline", **told)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Any:
    where = {"storage_path": str(tmp_path_factory.mktemp("earlier")), "search_alg": None, "num_samples": 40}
    return [run({"scale": 100.0, "shift": -5.0}, name="steep", **where), run({"shift": 9.0}, name="high", **{**where, "seed": 2})]


def best(analysis: Any, n: int) -> list[float]:
    order = sorted(analysis.trials, key=lambda trial: trial.last_result["loss"])
    return [trial.config["x"] for trial in order[:n]]


def test_the_best_of_each_come_first_whatever_their_values(earlier: Any) -> None:
    found = [config["x"] for config in good_configs(earlier, {"loss": "min"})]
    first, second = best(earlier[0], 4), best(earlier[1], 4)
    assert found == [x for pair in zip(first, second, strict=True) for x in pair]
    assert [config["x"] for config in good_configs([one.experiment_path for one in earlier], {"loss": "min"})] == found


def test_a_front_counts_where_there_are_several_metrics(earlier: Any) -> None:
    found = good_configs(earlier[0], {"loss": "min", "size": "min"})
    front = {trial.config["x"] for trial in earlier[0].pareto_front({"loss": "min", "size": "min"})}
    assert {config["x"] for config in found} <= front


def test_failed_ones_and_those_that_break_constraints_are_none() -> None:
    known = [
        KnownTrial({"x": 0.1}, {"loss": 1.0, "constraints/c": 1.0}),
        KnownTrial({"x": 0.2}, {"loss": 0.5}, "failed"),
        KnownTrial({"x": 0.3}, {"loss": 2.0, "constraints/c": -1.0}),
        KnownTrial({"x": 0.4}, {"loss": 0.1}, "pruned"),
    ]
    assert good_configs([WarmStart(known)], {"loss": "min"}) == [{"x": 0.3}]


@pytest.mark.parametrize("name", ["tpe", "gp", "evolution", None])
def test_a_search_begins_near_them(earlier: Any, name: str | None) -> None:
    analysis = run({"y": tune.uniform(0, 1)}, warm_start_from=earlier, search_alg=name)
    tried = [trial.config["x"] for trial in analysis.trials]
    assert tried[:3] == [config["x"] for config in good_configs(earlier, {"loss": "min"})[:3]]
    assert sum(abs(x - 0.7) < 0.35 for x in tried[3:13]) >= 6
    assert len({trial.config["y"] for trial in analysis.trials}) > 20


def test_only_what_lies_in_the_space_is_taken() -> None:
    inner = {"kind": "deep", "layers": tune.randint(1, 5)}
    net = tune.choice([{"kind": "flat"}, inner])
    space = {"x": tune.uniform(0, 1), "k": tune.choice(["a", "b"]), "n": tune.randint(1, 4), "net": net}
    dimensions = Dimensions(space)
    names = [one.name for one in dimensions]
    told = dict(zip(names, numbers_known(dimensions, {"x": 0.5, "k": "b", "n": 9, "other": 1, "net/layers": 3}), strict=True))
    assert told == {"k": 1, "n": None, "net": None, "net/layers": 3, "x": 0.5}
    assert set(numbers_known(dimensions, {"x": 2.0, "k": "c", "n": "many"})) == {None}


def test_a_run_that_goes_on_needs_the_earlier_ones_no_more(earlier: Any, tmp_path: Path) -> None:
    copies = [shutil.copytree(one.experiment_path, tmp_path / one._source.name) for one in earlier]
    where = {"name": "later", "storage_path": str(tmp_path), "resume": "AUTO"}
    for searcher in ("tpe", None):
        where["name"] = f"later_{searcher}"
        whole = run(warm_start_from=earlier, search_alg=searcher)
        run(num_samples=8, warm_start_from=[str(one) for one in copies], search_alg=searcher, **where)
        gone = [tmp_path / "gone" / one.name for one in copies]
        for one, away in zip(copies, gone, strict=True):
            away.parent.mkdir(exist_ok=True)
            shutil.move(str(one), str(away))
        parts = run(search_alg=searcher, **where)
        assert [trial.config for trial in parts.trials] == [trial.config for trial in whole.trials]
        for one, away in zip(copies, gone, strict=True):
            shutil.move(str(away), str(one))


def test_other_ones_than_those_of_the_journal_are_said(earlier: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    where = {"name": "later", "storage_path": str(tmp_path), "resume": "AUTO"}
    whole = run(num_samples=8, warm_start_from=earlier)
    for n, given, said in (
        (2, earlier, None),
        (4, [one.experiment_path for one in earlier], None),
        (6, earlier[1:], "The ones that are given now are others"),
        (8, [str(tmp_path / "gone")], "are not to be read any more (JournalError"),
    ):
        caplog.clear()
        parts = run(num_samples=n, warm_start_from=given, **where)
        assert len(caplog.messages) == (said is not None)
        assert said is None or said in caplog.text
    assert [trial.config for trial in parts.trials] == [trial.config for trial in whole.trials]
    with pytest.raises(TypeError, match="warm_start_from must be a list"):
        run(num_samples=9, warm_start_from=3, **where)


def test_in_a_new_space_those_that_are_given_count(earlier: Any, tmp_path: Path) -> None:
    where = {"name": "later", "storage_path": str(tmp_path), "resume": "AUTO+NEW_SPACE"}
    run(num_samples=2, warm_start_from=earlier[0], **where)
    with pytest.raises(ValueError, match=r"'x' is from 5 to 6 here, and the best of them has 0\.\d+\. Usual cause: another unit"):
        run({"x": tune.uniform(5, 6)}, num_samples=2, warm_start_from=earlier[1], **where)
    found = run({"x": tune.uniform(0.4, 1)}, num_samples=2, warm_start_from=earlier[1], **where)
    assert [trial.config["x"] for trial in found.trials[2:]] == best(earlier[1], 2)
    away = run({"x": tune.uniform(5, 6)}, num_samples=2, **where)  # those of the journal say nothing of it
    assert all(trial.config["x"] >= 5 for trial in away.trials[4:])


def test_that_results_of_elsewhere_are_forgotten_is_said_once(
    earlier: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    where = {"name": "later", "storage_path": str(tmp_path), "resume": "AUTO", "space": {"shift": 9.0}}
    run(num_samples=2, warm_start=earlier[1], **where)
    run(num_samples=3, warm_start=earlier[1], **where)
    assert caplog.messages == []
    run(num_samples=4, **where)
    run(num_samples=5, **where)
    (said,) = caplog.messages
    assert said.startswith("The experiment was begun with warm_start=the experiment 'high', which only the program has")


def test_what_is_given_twice_is_tried_once(earlier: Any) -> None:
    whole = [trial.config for trial in run(warm_start_from=[earlier[0]]).trials]
    assert [trial.config for trial in run(warm_start_from=[earlier[0], earlier[0]]).trials] == whole
    alike = WarmStart([KnownTrial({"x": 0.5, "other": k}, {"loss": 1.0 + k}) for k in range(20)])
    tried = [trial.config["x"] for trial in run(warm_start_from=alike).trials]
    assert tried.count(0.5) == 1


@pytest.mark.parametrize(("given", "error", "says"), [
    ([WarmStart([KnownTrial({"x": 3.0, "z": 1}, {"loss": 1.0})])], ValueError, r"'x' is from 0 to 1 here, and .* has 3\.0\."),
    ([WarmStart([KnownTrial({"x": 0.5}, {"loss": 1.0})], modes={"loss": "max"})], ValueError, "was run with mode 'max' of 'loss'"),
    ([3], TypeError, "warm_start_from must be a list of experiments"),
    ([WarmStart([KnownTrial({"x": 0.5}, {"other": 1.0})])], ValueError, "no finished trial of known trials has a value of 'loss'"),
    ([WarmStart([KnownTrial({"z": 0.5}, {"loss": 1.0})])], ValueError, "says anything of this space: they have z"),
])  # fmt: skip
def test_what_says_nothing_is_refused_at_once(given: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        run(warm_start_from=given)


def test_what_cannot_take_them_is_refused(earlier: Any) -> None:
    with pytest.raises(ValueError, match="no metric and mode that say which"):
        tune.run(train, config={"x": tune.uniform(0, 1)}, warm_start_from=earlier, verbose=0)
    with pytest.raises(ValueError, match="warm_start_from has no effect beside the grid of 'k'"):
        run({"k": tune.grid_search([1, 2])}, warm_start_from=earlier, search_alg=None)


def test_the_command_line_and_open_experiments(earlier: Any, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("def train(config):\n    return {'loss': config['x']}\n", encoding="utf-8")
    line = ["run", f"{script}:train", "--set", "x={uniform=[0, 1]}", "--num-samples", "5", "--metric", "loss", "--mode", "min"]
    line += ["--executor", "inline", "--storage", str(tmp_path), "--name", "near", "--verbose", "0"]
    assert main([*line, *(part for one in earlier for part in ("--warm-start-from", one.experiment_path))]) == 0
    expected = best(earlier[0], 1)[0]
    assert ExperimentAnalysis(str(tmp_path / "near")).trials[0].config["x"] == expected
    told: dict[str, Any] = {"metric": "loss", "mode": "min", "warm_start_from": earlier, "search_alg": "tpe"}
    with tune.open_experiment({"x": tune.uniform(0, 1)}, **told) as opened:
        asked = opened.ask()
        assert asked is not None
        assert asked.config["x"] == expected


@pytest.mark.parametrize(
    "space",
    [
        {"x": tune.choice([{"name": "adam"}, {"name": "sgd", "momentum": tune.uniform(0.5, 0.99)}])},
        {"x": tune.choice([{"name": "adam"}, {"name": "sgd"}, {"name": "lion"}])},
        {"x": tune.choice([None, tune.uniform(0, 1)])},
        {"x": {"deep": tune.choice([tune.choice([1, 2, 3]), {"more": tune.randint(0, 9)}])}},
    ],
)
@pytest.mark.parametrize("by", ["analysis", "folder"])
def test_options_that_hold_more_are_tried_as_they_were(space: dict[str, Any], by: str, tmp_path: Path) -> None:
    def any_order(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": float(sum(map(ord, str(config["x"]))) % 97)}

    told: dict[str, Any] = {
        "config": space, "metric": "loss", "mode": "min", "executor": "inline", "verbose": 0, "storage_path": str(tmp_path),
    }  # fmt: skip
    first = tune.run(any_order, num_samples=40, seed=1, **told)
    given = first if by == "analysis" else first.experiment_path
    second = tune.run(any_order, num_samples=3, seed=2, search_alg="tpe", warm_start_from=[given], **told)
    assert second.trials[0].config == first.best_config
