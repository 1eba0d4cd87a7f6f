"""A run that goes on without ``config=`` has the one that was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.error import ResumeError

SPACE: dict[str, Any] = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "n": tune.qrandint(2, 8, 2),
    "act": tune.choice(["relu", ("a", 1), None]),
    "net": {"width": [tune.randint(1, 4), 7], 1: "one"},
    "noise": tune.randn(0, 1),
    "t": (1, 2.5),
}
seen: list[dict[str, Any]] = []


@pytest.fixture(autouse=True)
def nobody_is_the_second() -> None:
    """But where a test says so."""
    seen[:] = [{}, {}]


def train(config: dict[str, Any]) -> None:
    seen.append(config)
    tune.report(loss=config["lr"])
    if len(seen) == 2:
        raise RuntimeError("the second one fails")


@pytest.mark.parametrize("searcher", [None, "tpe"])
@pytest.mark.parametrize("grid", [False, True])
def test_the_config_that_was_is_taken(tmp_path: Path, searcher: str | None, grid: bool) -> None:
    """``resume`` without ``config=`` tried trials again with an empty config, or was refused."""
    if grid and searcher:
        return
    space = {**SPACE, "g": tune.grid_search(["a", "b"])} if grid else SPACE
    seen.clear()
    given: dict[str, Any] = {
        "metric": "loss", "mode": "min", "num_samples": 4, "search_alg": searcher, "executor": "inline", "verbose": 0,
        "name": "e", "storage_path": tmp_path, "seed": 3,
    }  # fmt: skip
    first = tune.run(train, config=space, **given, raise_on_failed_trial=False)
    configs = [trial.config for trial in first.trials]
    assert [trial.status for trial in first.trials].count("ERROR") == 1
    again = tune.run(train, **given, resume="ERRORED_ONLY")
    assert [trial.config for trial in again.trials] == configs
    assert seen[-1] == configs[1]
    inside = tune.SearchSpace(space)
    more = tune.run(train, **{**given, "num_samples": 6}, resume=True)
    assert all(inside.contains(trial.config) for trial in more.trials)
    assert len(more.trials) == (12 if grid else 6)


def test_a_config_that_only_the_program_has_is_asked_for(tmp_path: Path) -> None:
    """A function or an object of the config is not in the journal: the run must not go on without it."""
    given: dict[str, Any] = {"executor": "inline", "verbose": 0, "storage_path": tmp_path}
    for k, value in enumerate((tune.sample_from(lambda spec: 1), tune.choice([object()]), print)):
        tune.run(train, config={"lr": 1.0, "odd": value}, name=f"e{k}", **given)
        with pytest.raises(ResumeError, match=r"was asked with a config that holds .*: give config= again"):
            tune.run(train, name=f"e{k}", resume=True, **given)
        tune.run(train, config={"lr": 1.0, "odd": value}, name=f"e{k}", resume=True, **given)


def test_an_empty_config_is_a_config(tmp_path: Path) -> None:
    """``config={}`` says something: it is another space than before."""
    given: dict[str, Any] = {"executor": "inline", "verbose": 0, "name": "e", "storage_path": tmp_path}
    tune.run(train, config={"lr": 1.0}, **given)
    with pytest.raises(ResumeError, match="lr"):
        tune.run(train, config={}, resume=True, **given)


def test_each_of_several_experiments_has_its_own(tmp_path: Path) -> None:
    """The second experiment of a run has another config than the first."""

    def experiments(*configs: Any) -> list[tune.Experiment]:
        return [tune.Experiment(name, train, config=config) for name, config in zip(("a", "b"), configs, strict=True)]

    given: dict[str, Any] = {"executor": "inline", "verbose": 0, "name": "e", "storage_path": tmp_path}
    seen.clear()
    tune.run(experiments({"lr": 1.0}, {"lr": tune.uniform(5, 6)}), **given, raise_on_failed_trial=False)
    again = tune.run(experiments(None, None), **given, resume="ERRORED_ONLY")
    assert again.trials[0].config == {"lr": 1.0}
    assert 5 <= seen[-1]["lr"] < 6
