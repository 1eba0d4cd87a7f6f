"""What a run says when it begins and when it is over: nobody who reads it is left with a wrong idea."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasttune as tune
from fasttune import cli
from fasttune.error import JournalError, ResumeError
from fasttune.schedulers import ASHAScheduler


def once(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])


def twice(config: dict[str, Any]) -> None:
    for _ in range(2):
        tune.report(loss=config["x"])


def run(trainable: Any, folder: Path, **more: Any) -> Any:
    told = {"config": {"x": tune.uniform(0, 1)}, "num_samples": 3, "storage_path": str(folder), "verbose": 1, "executor": "inline"}
    return tune.run(trainable, **{**told, **more})


def last_line(capsys: pytest.CaptureFixture[str], begins: str = "fasttune: ") -> str:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith(begins)][-1]


class AfterThree(tune.Stopper):
    def __init__(self) -> None:
        self.results = 0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.results += 1
        return False

    def stop_all(self) -> bool:
        return self.results >= 3


def test_trials_that_were_never_begun_are_not_among_those_that_did_not_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"x": tune.grid_search([i / 20 for i in range(20)])}
    analysis = run(once, tmp_path, config=grid, num_samples=1, stop=AfterThree(), search_alg=tune.search.BasicVariantGenerator())
    said = last_line(capsys)
    waiting = sum(trial.status == "PENDING" for trial in analysis.trials)
    assert "did not end" not in said
    assert (f"{waiting} still to run" in said) == (waiting > 0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_run_without_a_finite_value_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float) -> None:
    def diverges(config: dict[str, Any]) -> None:
        tune.report(loss=value)

    run(diverges, tmp_path, metric="loss", mode="min")
    assert "no value of loss is a finite number" in last_line(capsys)
    run(once, tmp_path, metric="loss", mode="min")
    assert "finite" not in last_line(capsys)
    run(diverges, tmp_path)  # nobody asked for the best
    assert "finite" not in last_line(capsys)


def test_trials_that_a_limit_ended_are_counted_with_their_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The best trial may be one of them."""

    def is_endless(config: dict[str, Any]) -> None:
        tune.report(loss=config["x"])
        while config["x"]:
            pass

    limit: dict[str, Any] = {"trial_timeout_s": 0.5, "executor": "process", "metric": "loss", "mode": "min"}
    for name, ends, words in (("all", [0, 0], ""), ("one", [0, 1], "1 trial was"), ("two", [1, 2], "2 trials were")):
        run(is_endless, tmp_path, name=name, config={"x": tune.grid_search(ends)}, num_samples=1, **limit)
        said = last_line(capsys)
        assert (f"{words} ended early: trial_timeout_s=0.5" if words else "") in said
        assert ("ended early" in said) == bool(words)
        assert cli.main(["show", str(tmp_path / name)]) == 0
        shown = last_line(capsys, "ended early") if words else ""
        assert shown.split() == (["ended", "early", f"{words[0]}:", "trial_timeout_s=0.5"] if words else [])


def test_asha_over_trials_that_report_once_says_that_it_could_stop_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asha = {"metric": "loss", "mode": "min"}
    run(once, tmp_path, scheduler=ASHAScheduler(), **asha)
    assert "stopped no trial early, as each reported once" in last_line(capsys)
    run(twice, tmp_path, scheduler=ASHAScheduler(), **asha)
    assert "stopped no trial early" not in last_line(capsys)
    run(once, tmp_path, **asha)
    assert "stopped no trial early" not in last_line(capsys)


def test_a_name_that_is_taken_begins_another_experiment_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(once, tmp_path, name="mnist")
    assert "already" not in capsys.readouterr().out
    run(once, tmp_path, name="mnist")
    assert "there is an experiment 'mnist' already, and this is a new one, 'mnist_2': resume='AUTO'" in capsys.readouterr().out
    run(once, tmp_path, name="mnist", resume="AUTO")
    assert "already" not in capsys.readouterr().out
    run(once, tmp_path, name="mnist", verbose=0)
    assert capsys.readouterr().out == ""


def test_one_trial_is_one_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for resume in (None, "AUTO"):
        run(once, tmp_path, name="one", num_samples=1, resume=resume)
    assert "going on with" in (said := capsys.readouterr().out)
    assert "1 trial, 1 of them ended" in said
    assert "1 trials" not in said


def test_the_failure_of_a_call_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    @tune.vectorized(size=4)
    def breaks(configs: Any) -> Any:
        raise ValueError(f"{len(configs)} is broken")

    run(breaks, tmp_path, num_samples=4, executor="vector", raise_on_failed_trial=False)
    said = capsys.readouterr().out
    assert said.count("failed: ValueError") == 1
    assert "breaks" in said


def test_a_report_from_the_loops_own_pool_is_told_of_to_thread(tmp_path: Path) -> None:
    async def train(config: dict[str, Any]) -> None:
        await asyncio.get_running_loop().run_in_executor(None, lambda: tune.report(loss=1.0))
        await asyncio.to_thread(tune.report, loss=2.0)

    with pytest.warns(UserWarning, match=r"run_in_executor.* asyncio.to_thread"):
        analysis = run(train, tmp_path, num_samples=1, executor="async", verbose=0)
    assert analysis.trials[0].last_result["loss"] == 2.0


def test_an_empty_database_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "experiment.db").touch()
    with pytest.raises(JournalError, match="is empty: the run that made it ended before"):
        tune.ExperimentAnalysis(str(tmp_path))


def test_a_zero_of_the_other_sign_is_another_space(tmp_path: Path) -> None:
    def space(zero: float) -> dict[str, Any]:
        return {"x": tune.choice([zero, 1.0])}

    run(once, tmp_path, name="zero", config=space(0.0), verbose=0)
    run(once, tmp_path, name="zero", config=space(0.0), verbose=0, resume="AUTO")
    with pytest.raises(ResumeError, match=r"choice\(\[0.0, 1.0\]\) was, choice\(\[-0.0, 1.0\]\) is"):
        run(once, tmp_path, name="zero", config=space(-0.0), verbose=0, resume="AUTO")


@pytest.mark.parametrize("given", [(3,), ("abc",), ({"a": 1},), (None,)])
def test_options_that_are_no_list(given: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=r"the options must be a list, got .* brackets are missing"):
        tune.choice(*given)


def test_options_one_by_one() -> None:
    with pytest.raises(TypeError, match=r"in one list, got 3 arguments: choice\(\['a', 'b', 1\]\)"):
        tune.choice("a", "b", 1)
    assert tune.choice(np.array([1, 2])).categories == [1, 2]
