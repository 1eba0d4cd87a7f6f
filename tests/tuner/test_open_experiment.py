"""``open_experiment``: trials that the caller runs; what is told is in the journal, and searcher and scheduler hear it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
import forks
from fasttune.error import ExperimentLockedError
from fasttune.schedulers import ASHAScheduler, HyperBandScheduler

SPACE: dict[str, Any] = {"x": tune.uniform(-1, 1), "kind": tune.choice(["a", "b"]), "k": 3}


def opened(folder: Path, **options: Any) -> Any:
    given = {"config": SPACE, "metric": "loss", "mode": "min", "storage_path": folder, "seed": 1, "name": "hand"}
    return tune.open_experiment(**{**given, **options})


def loss(config: dict[str, Any]) -> float:
    return float(config["x"] ** 2 + (config["kind"] == "b"))


@pytest.mark.parametrize("search_alg", [None, "tpe", "sobol", "optuna"])
def test_a_loop_of_ones_own_is_stored(tmp_path: Path, search_alg: Any) -> None:
    with opened(tmp_path, search_alg=search_alg, num_samples=12) as experiment:
        seen = []
        for _ in range(12):
            asked = experiment.ask()
            assert asked.config["k"] == 3
            seen.append(asked.config)
            experiment.tell(asked, loss(asked.config))
        with pytest.raises(LookupError, match="no more trials"):
            experiment.ask()
        assert experiment.analysis.best_result["loss"] == min(map(loss, seen))
    read = tune.ExperimentAnalysis(experiment.experiment_path, default_metric="loss", default_mode="min")
    assert [trial.config for trial in read.trials] == seen
    assert {trial.status for trial in read.trials} == {"TERMINATED"}
    assert read.dataframe()["loss"].tolist() == [loss(config) for config in seen]


@pytest.mark.parametrize("search_alg", [None, "tpe"])
def test_it_asks_for_the_configs_of_a_run(tmp_path: Path, search_alg: Any) -> None:
    analysis = tune.run(
        lambda config: tune.report(loss=loss(config)),
        config=SPACE,
        num_samples=15,
        search_alg=search_alg,
        metric="loss",
        mode="min",
        seed=1,
        max_concurrent_trials=1,
        executor="inline",
        storage_path=tmp_path,
        verbose=0,
    )
    with opened(tmp_path, search_alg=search_alg) as experiment:
        configs = []
        for _ in range(15):
            asked = experiment.ask()
            configs.append(asked.config)
            experiment.tell(asked, {"loss": loss(asked.config)})
    assert configs == [trial.config for trial in analysis.trials]


def test_several_are_out_at_once_and_come_back_in_any_order(tmp_path: Path) -> None:
    with opened(tmp_path, search_alg="tpe") as experiment:
        out = [experiment.ask() for _ in range(5)]
        assert len({one.trial_id for one in out}) == 5
        for one in reversed(out):
            assert experiment.report(one, {"loss": 9.0, "note": "half", "deep": {"er": 1}}) is True
        for one in out:
            experiment.tell(one, loss(one.config))
        results = [trial.last_result for trial in experiment.analysis.trials]
        assert [result["training_iteration"] for result in results] == [2] * 5
        assert results[0]["loss"] == loss(out[0].config)


def test_errors_are_told_too(tmp_path: Path) -> None:
    with opened(tmp_path) as experiment:
        asked = experiment.ask()
        experiment.report(asked, 1.0)
        experiment.tell(asked, error=ValueError("too hot"))
        again = experiment.ask()
        experiment.tell(again)
        assert [trial.status for trial in experiment.analysis.trials] == ["ERROR", "TERMINATED"]
        assert "too hot" in str(experiment.analysis.errors[0])
        with pytest.raises(ValueError, match="a result or an error"):
            experiment.tell(experiment.ask(), 1.0, error="both")


def test_a_scheduler_says_when_to_stop(tmp_path: Path) -> None:
    with opened(tmp_path, scheduler=ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3)) as experiment:
        reports = []
        for _ in range(9):
            asked = experiment.ask()
            for step in range(1, 20):
                if not experiment.report(asked, loss(asked.config) + 1 / step):
                    break
            reports.append(step)
            with pytest.raises(ValueError, match="is not out"):
                experiment.tell(asked, 1.0)
        assert 1 in reports
        assert 9 in reports
        assert max(reports) == 9
    read = tune.ExperimentAnalysis(experiment.experiment_path)
    assert [trial.last_result["training_iteration"] for trial in read.trials] == reports


def test_a_paused_trial_comes_again_under_its_id(tmp_path: Path) -> None:
    scheduler = HyperBandScheduler("training_iteration", max_t=9, reduction_factor=3)
    steps: dict[str, int] = {}
    with opened(tmp_path, scheduler=scheduler, num_samples=9) as experiment:
        for _ in range(200):
            try:
                asked = experiment.ask()
            except LookupError:
                break
            assert asked is not None
            go_on = True
            while go_on:
                steps[asked.trial_id] = steps.get(asked.trial_id, 0) + 1
                go_on = experiment.report(asked, loss(asked.config))
        trials = experiment.analysis.trials
        assert {trial.status for trial in trials} == {"TERMINATED"}
        assert {trial.trial_id: trial.last_result["training_iteration"] for trial in trials} == steps
    assert max(steps.values()) == 9
    assert min(steps.values()) < 9


def test_stop_criteria_hold(tmp_path: Path) -> None:
    with opened(tmp_path, stop={"training_iteration": 3}) as experiment:
        asked = experiment.ask()
        assert [experiment.report(asked, 1.0) for _ in range(3)] == [True, True, False]


def test_what_was_asked_for_and_not_told_comes_again(tmp_path: Path) -> None:
    with opened(tmp_path, search_alg="tpe", num_samples=6) as experiment:
        first, second, third = (experiment.ask() for _ in range(3))
        experiment.tell(second, 0.5)
        with pytest.raises(ExperimentLockedError):
            opened(tmp_path, search_alg="tpe", num_samples=6)
    with pytest.raises(ValueError, match="is closed"):
        experiment.ask()
    with opened(tmp_path, search_alg="tpe", num_samples=6) as experiment:
        again = [experiment.ask() for _ in range(2)]
        assert {one.trial_id for one in again} == {first.trial_id, third.trial_id}
        assert {one.trial_id: one.config for one in again}[first.trial_id] == first.config
        with pytest.raises(ValueError, match="is not out"):
            experiment.tell(second, 1.0)
        for one in again:
            experiment.tell(one, loss(one.config))
        for _ in range(3):
            experiment.tell(experiment.ask(), 1.0)
        with pytest.raises(LookupError):
            experiment.ask()
        assert len(experiment.analysis.trials) == 6


def test_what_was_told_survives_a_kill(tmp_path: Path) -> None:
    script = f"""
import os, signal, fasttune as tune
experiment = tune.open_experiment({{"x": tune.uniform(0, 1)}}, name="hand", metric="loss", mode="min", search_alg="tpe",
                                  seed=1, storage_path={str(tmp_path)!r})
for k in range(7):
    asked = experiment.ask()
    experiment.tell(asked, float(k))
    print(asked.trial_id, flush=True)
experiment.ask()
os.kill(os.getpid(), signal.SIGKILL)
"""
    environ = {**os.environ, "PYTHONPATH": str(Path(tune.__file__).parents[1])}
    done = forks.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with opened(tmp_path, config={"x": tune.uniform(0, 1)}, search_alg="tpe") as experiment:
        trials = experiment.analysis.trials
        assert [trial.last_result["loss"] for trial in trials[:7]] == [float(k) for k in range(7)]
        assert [trial.trial_id for trial in trials[:7]] == done.stdout.split()
        assert experiment.ask().trial_id == trials[7].trial_id


def test_what_is_known_elsewhere_is_told_before(tmp_path: Path) -> None:
    with opened(tmp_path, name="first") as experiment:
        for _ in range(30):
            asked = experiment.ask()
            experiment.tell(asked, loss(asked.config))
    from fasttune.search import TPESearch

    search = TPESearch(seed=1)
    search.add_evaluated_trials(tune.ExperimentAnalysis(experiment.experiment_path), "loss")
    with opened(tmp_path, name="second", search_alg=search) as experiment:
        kinds = []
        for _ in range(10):
            asked = experiment.ask()
            kinds.append(asked.config["kind"])
            experiment.tell(asked, loss(asked.config))
    assert kinds.count("a") > 7


@pytest.mark.parametrize(
    ("result", "error", "told"),
    [
        ({"lossy": 1.0}, ValueError, "is it misspelt"),
        ({"loss": object()}, (TypeError, ValueError), "loss"),
    ],
)
def test_wrong_results_change_nothing(tmp_path: Path, result: Any, error: Any, told: str) -> None:
    with opened(tmp_path) as experiment:
        asked = experiment.ask()
        with pytest.raises(error, match=told):
            experiment.tell(asked, result)
        experiment.tell(asked, 1.0)
        assert experiment.analysis.trials[0].last_result["training_iteration"] == 1


def test_a_number_needs_a_metric(tmp_path: Path) -> None:
    with opened(tmp_path, metric=None, mode=None) as experiment:
        with pytest.raises(ValueError, match="needs a metric"):
            experiment.tell(experiment.ask(), 1.0)
        with pytest.raises(ValueError, match="is not out"):
            experiment.tell("nobody", {"a": 1.0})


def test_duplicates_are_skipped_or_used_again(tmp_path: Path) -> None:
    space = {"a": tune.choice([1, 2])}
    with opened(tmp_path, config=space, on_duplicate="skip", name="skip", num_samples=9) as experiment:
        for _ in range(2):
            experiment.tell(experiment.ask(), 1.0)
        with pytest.warns(UserWarning, match="all 2 configs"), pytest.raises(LookupError):
            experiment.ask()
    with opened(tmp_path, config=space, on_duplicate="reuse", name="reuse", num_samples=9) as experiment:
        asked = 0
        while True:
            try:
                one = experiment.ask()
            except LookupError:
                break
            asked += 1
            experiment.tell(one, float(one.config["a"]))
        assert asked == 2
        trials = experiment.analysis.trials
        assert [trial.last_result["loss"] for trial in trials] == [float(trial.config["a"]) for trial in trials]
        assert len(trials) == 9
