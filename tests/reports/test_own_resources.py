"""Kinds of resources that only the user knows of are declared, given out and remembered."""

import os
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune


def alone(config: dict[str, Any]) -> None:
    """Fails when another trial has the licence, too."""
    fd = os.open(config["licence"], os.O_CREAT | os.O_EXCL)
    for step in range(300):
        tune.report(x=step)
    os.close(fd)
    os.unlink(config["licence"])


def run(trainable: Any, folder: Path, **more: Any) -> Any:
    return tune.run(trainable, **{"storage_path": str(folder), "name": "a", "verbose": 0, "executor": "inline", **more})


def one(config: dict[str, Any]) -> None:
    tune.report(x=1)


@pytest.mark.parametrize("written", [{"cpu": 0.01, "custom_resources": {"hi": 2}}, {"cpu": 0.01, "hi": 2}])
def test_what_is_declared_is_given_out_to_one_at_a_time(tmp_path: Path, written: dict[str, Any]) -> None:
    """A trial could ask for a kind of its own, and nowhere could anybody say that there is some."""
    analysis = run(
        alone, tmp_path, config={"licence": str(tmp_path / "licence")}, num_samples=4, resources_per_trial=written,
        resources={"hi": 3}, executor="process",
    )  # fmt: skip
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert analysis.trials[0].placement_group_factory.required_resources == {"CPU": 0.01, "hi": 2}


@pytest.mark.parametrize("door", ["run", "tuner", "experiments"])
def test_each_door_declares(tmp_path: Path, door: str) -> None:
    """Only one of the ways to start a run took resources."""
    needs = {"custom_resources": {"hi": 1}}
    if door == "run":
        trials = run(one, tmp_path, resources_per_trial=needs, resources={"hi": 1}).trials
    elif door == "tuner":
        run_config = tune.RunConfig(storage_path=str(tmp_path), resources={"hi": 1}, verbose=0, executor="inline")
        grid = tune.Tuner(tune.with_resources(one, needs), run_config=run_config).fit()
        assert not grid.errors
        return
    else:
        spec = {"run": one, "resources_per_trial": needs, "storage_path": str(tmp_path)}
        trials = tune.run_experiments({"a": spec}, resources={"hi": 1}, verbose=0)
    assert [trial.status for trial in trials] == ["TERMINATED"]


def test_what_is_not_declared_is_refused_with_the_place_to_do_it(tmp_path: Path) -> None:
    """The refusal of a kind that nobody knows did not say where it could be made known."""
    said = r"asks hi=2, this machine has 0: declare them, by tune.run\(..., resources=\{'hi': 2\}\) or RunConfig"
    with pytest.raises(ValueError, match=said):
        run(one, tmp_path, resources_per_trial={"hi": 2})
    with pytest.raises(ValueError, match="asks hi=2, this machine has 1: so many are declared"):
        run(one, tmp_path, resources_per_trial={"hi": 2}, resources={"hi": 1})
    with pytest.raises(ValueError, match="asks licences=1, this machine has 0: did you mean 'licence'"):
        run(one, tmp_path, resources_per_trial={"licences": 1}, resources={"licence": 1})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [{"cpu": 4}, {"GPU": 1}, {"memory": 1}, {"custom_resources": {"hi": 1}}])
def test_what_is_found_out_is_not_declared(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Declared CPUs would have been taken without effect."""
    with pytest.raises(ValueError, match=f"{next(iter(wrong))!r} is not one"):
        run(one, tmp_path, resources=wrong)
    with pytest.raises(TypeError, match="must be a dict of amounts"):
        run(one, tmp_path, resources=["hi"])
    with pytest.raises(ValueError, match="'hi' must be a finite number"):
        run(one, tmp_path, resources={"hi": -1})


def test_a_run_that_goes_on_has_what_was_declared(tmp_path: Path) -> None:
    """After a resume the declared kinds were forgotten, and every trial refused."""
    needs = {"hi": 1}
    run(one, tmp_path, resources_per_trial=needs, resources={"hi": 2})
    analysis = run(one, tmp_path, resources_per_trial=needs, resume="AUTO", num_samples=2)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    run(one, tmp_path, resources_per_trial={"hi": 5}, resources={"hi": 5}, resume="AUTO", num_samples=3)
    analysis = run(one, tmp_path, resources_per_trial={"hi": 5}, resume="AUTO", num_samples=4)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 4


def test_trials_show_what_they_had_when_they_ran(tmp_path: Path) -> None:
    """After a resume with other resources all trials showed those of the first session."""

    def fails(config: dict[str, Any]) -> None:
        if not (tmp_path / "again").exists():
            raise OSError

    run(one, tmp_path / "one", resources_per_trial={"cpu": 0.25})
    analysis = run(one, tmp_path / "one", resources_per_trial={"cpu": 0.5}, resume="AUTO", num_samples=2)
    seen = [trial.placement_group_factory.head_cpus for trial in analysis.trials]
    loaded = tune.ExperimentAnalysis(str(tmp_path / "one" / "a"))
    assert seen == [trial.placement_group_factory.head_cpus for trial in loaded.trials] == [0.25, 0.5]
    run(fails, tmp_path / "two", resources_per_trial={"cpu": 0.25}, raise_on_failed_trial=False)
    (tmp_path / "again").touch()
    analysis = run(fails, tmp_path / "two", resources_per_trial={"cpu": 0.5}, resume="AUTO+ERRORED")
    assert analysis.trials[0].placement_group_factory.head_cpus == 0.5
